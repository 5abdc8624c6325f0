"""Devices one does not own: a datasheet and a graph go in, a profile marked as modelled comes out.

`datasheets` reads the catalogue in `devices.toml`, `roofline` models times and fits its efficiency
to measured profiles.
"""

from dscwb.devices.datasheets import Device, Efficiency, catalogue, device, devices

__all__ = ["Device", "Efficiency", "catalogue", "device", "devices"]
