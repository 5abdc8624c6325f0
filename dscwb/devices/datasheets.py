"""Hardware one does not own: what its documents state, from ``devices.toml``."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Device:
    """What documents state of a board or card.

    Attributes:
        name: What the catalogue, tables and figures call it.
        kind: ``cpu`` or ``gpu``, the processor that runs the model.
        peak_flop_per_s: FLOP/s by element type, dense, a multiply-add counted as two.
        bandwidth_bytes_per_s: Of the memory, bytes/s.
        memory_bytes: Size of the memory, bytes.
        assumed_overhead_s: Seconds that launching one operation costs: an assumption.
        source: Title, publisher and year of the document.
        power_w: Watts, where stated.
        derived: Which figures no document states, and their formula.
        notes: What else a reader should know.
    """

    name: str
    kind: Literal["cpu", "gpu"]
    peak_flop_per_s: Mapping[str, float]
    bandwidth_bytes_per_s: float
    memory_bytes: float
    assumed_overhead_s: float
    source: str
    power_w: float | None = None
    derived: str = ""
    notes: str = ""

    def __post_init__(self) -> None:
        """Refuse figures that no hardware has."""
        sizes = (self.bandwidth_bytes_per_s, self.memory_bytes, *self.peak_flop_per_s.values())
        figures = (*sizes, self.power_w or 1.0, self.assumed_overhead_s or 1.0)
        if not self.peak_flop_per_s or not all(0 < figure < math.inf for figure in figures):
            raise ValueError(f"Device {self.name!r}: every figure must be finite and above zero.")


@dataclass(frozen=True)
class Efficiency:
    """What programs reach of a device's peak; shares above 1 beat it (a cache, TF32).

    Attributes:
        dense: Share of the FLOP/s in convolutions over all channels.
        depthwise: The same in depthwise and other grouped convolutions.
        product: The same in matrix products and attention.
        memory: Share of the memory's bandwidth, whatever the operation.
        overhead_s: Seconds that launching one operation costs; None for the device's assumption.
        first_touch_bytes_per_s: Bytes/s at which a CPU gets new pages for outputs above 32 MiB.
        kernel_s: Seconds that a GPU takes for an operation beside its work: to start it, and to
            fill the card where there is little to do. A CPU has none.
        origin: Where the shares come from, in words.
        time_error: `Provenance.time_error` of times modelled with these; None where nobody knows.
    """

    dense: float
    depthwise: float
    product: float
    memory: float
    overhead_s: float | None = None
    first_touch_bytes_per_s: float = math.inf
    kernel_s: float = 0.0
    origin: str = "given by hand"
    time_error: float | None = None

    def __str__(self) -> str:
        """For captions: ``rough default: dense 0.5, depthwise 0.1, product 0.6, memory 0.5``."""
        names = ("dense", "depthwise", "product", "memory")
        parts = [f"{name} {getattr(self, name):.2g}" for name in names]
        if self.overhead_s is not None:
            parts.append(f"{self.overhead_s * 1e6:.2g} µs an op")
        if self.kernel_s:
            parts.append(f"{self.kernel_s * 1e6:.2g} µs a kernel")
        return f"{self.origin}: {', '.join(parts)}"


# For a device without measured profiles. The GPU's are a fit to the whole of an NVIDIA H200, its
# error that of slices of the card at models left out (`python -m benchmarks.model_error` prints
# both); no other card has been measured. The CPU's are guesses, so expect a factor of two: large
# float32 convolutions reach half of a peak (a server's core: 75 GFLOP/s of about 120, products 85),
# depthwise ones reuse no input across channels, so that wide units starve, and a page of 4 KiB is
# mapped and zeroed in about 2 µs.
DEFAULT_EFFICIENCY = {
    "gpu": Efficiency(
        dense=0.37,
        depthwise=0.042,
        product=0.54,
        memory=0.83,
        kernel_s=9.8e-6,
        origin="fitted to an NVIDIA H200",
        time_error=0.31,
    ),
    "cpu": Efficiency(
        dense=0.5,
        depthwise=0.1,
        product=0.6,
        memory=0.5,
        first_touch_bytes_per_s=2e9,
        origin="rough default",
        time_error=1.0,
    ),
}


@cache
def catalogue() -> tuple[Device, ...]:
    """All devices of ``devices.toml``, in its order."""
    text = (files("dscwb.devices") / "devices.toml").read_text(encoding="utf-8")
    return tuple(Device(**record) for record in tomllib.loads(text)["device"])


def devices() -> pd.DataFrame:
    """The catalogue as a table: one row a device, a column a figure; NaN where nothing is stated.

    Peaks are columns of their own, ``float32_flop_per_s`` and so on.
    """
    import pandas as pd

    peak = "peak_flop_per_s."
    table = pd.json_normalize([asdict(one) for one in catalogue()]).astype({"power_w": float})
    columns = [str(name) for name in table.columns]
    names = {name: f"{name.removeprefix(peak)}_flop_per_s" for name in columns if peak in name}
    return table.rename(columns=names)


def device(name: str | Device) -> Device:
    """Look a device of the catalogue up by its name, capitals or not; a `Device` passes through.

    Raises:
        ValueError: The name is unknown; the nearest ones are named.

    Example:
        >>> device("jetson agx orin 64gb").name
        'Jetson AGX Orin 64GB'
    """
    if isinstance(name, Device):
        return name
    known = {one.name.lower(): one for one in catalogue()}
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, cutoff=0.4) or list(known)
    raise ValueError(
        f"Unknown device {name!r}; did you mean {' or '.join(known[n].name for n in near)}? "
        "dscwb.catalogue() or `dscwb devices` lists all, dscwb.Device(...) makes one of your own."
    )
