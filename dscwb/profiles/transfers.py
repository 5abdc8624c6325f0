"""Copies between accelerator and host: measured times go in, nanoseconds of a payload come out.

A real split pays them: the head's result leaves the device's accelerator through its host, and
enters the server's accelerator through that one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HostMemory = Literal["pinned", "pageable"]


@dataclass(frozen=True, eq=False)
class Transfers:
    """Raw times of copies, in both directions.

    Attributes:
        sizes_bytes: Sizes of the copies, ascending, ``(size,)``.
        to_host_ns: Times from the accelerator to the host, ``(size, repeat)``.
        to_device_ns: Times from the host to the accelerator, ``(size, repeat)``.
        host_memory: ``pinned`` (page-locked, allocated once beforehand) or ``pageable``.
    """

    sizes_bytes: Integers
    to_host_ns: Integers
    to_device_ns: Integers
    host_memory: HostMemory = "pinned"

    def median_ns(self, times_ns: Integers, payload_bytes: Floats) -> Floats:
        """Median nanoseconds of payloads of any size, of either direction, same shape as these.

        Linear between measured sizes; nothing for nothing; NaN outside of the measured sizes.
        """
        medians, sizes = np.median(times_ns, axis=1), self.sizes_bytes
        between = np.interp(payload_bytes, sizes, medians, left=np.nan, right=np.nan)
        return np.where(payload_bytes == 0, 0.0, between)

    def fault(self) -> str:
        """What no measurement can give, in words; empty where nothing is wrong."""
        sizes = self.sizes_bytes
        if sizes.ndim != 1 or not len(sizes) or sizes[0] < 1 or np.any(np.diff(sizes) <= 0):
            return f"sizes {sizes.tolist()} must be positive, ascending, each once"
        for name, times in (("to_host_ns", self.to_host_ns), ("to_device_ns", self.to_device_ns)):
            if times.ndim != 2 or len(times) != len(sizes) or not times.shape[1]:
                return f"{name} has shape {times.shape} for {len(sizes)} sizes"
            if np.any(times <= 0):
                return f"{name} holds a time that is not positive"
        if self.host_memory not in ("pinned", "pageable"):
            return f"host_memory is {self.host_memory!r}, neither pinned nor pageable"
        return ""
