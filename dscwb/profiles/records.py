"""A profile: raw passes of one model on one device, and the times of every head and tail.

The torch arm ends here and the analysis arm begins here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Literal

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

from dscwb.cuts import memory_terms
from dscwb.graph import ModelGraph
from dscwb.profiles.passes import (
    NOT_STAMPED,
    NS,
    Nanoseconds,
    Passes,
    Separate,
)
from dscwb.profiles.transfers import Transfers
from dscwb.units import format_percent, format_seconds

__all__ = [
    "NOT_STAMPED",
    "NS",
    "Nanoseconds",
    "Passes",
    "Profile",
    "ProfileError",
    "Provenance",
    "Separate",
]

Seconds = NDArray[np.float64]
Origin = Literal["measured", "modelled", "assumed", "imported"]
Status = Literal["ok", "noisy", "unreliable", "biased", "oom"]

# Interquartile range over median of the plain passes (MEASURING protocol, step 4).
NOISY_ABOVE = 0.10
UNRELIABLE_ABOVE = 0.25
MOST_ROWS = 12  # of the table that a notebook shows


class ProfileError(ValueError):
    """A profile or file that cannot be used: says which, why, and what to do."""


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from; travels with them to every figure.

    Attributes:
        origin: ``measured`` on the device named here, ``modelled`` from a datasheet, ``assumed``
            (a measurement scaled by somebody's guess), or ``imported`` from elsewhere.
        device: Name of the processor or GPU.
        threads: CPU threads used by torch; None on a GPU.
        clocks: What is known of clock rates, in words; empty where nothing is.
        dtype: Element type of weights and activations.
        versions: Pairs (library, version) that were used.
        date: UTC date and time, ISO 8601.
        protocol: Name and version of the measuring protocol.
        note: What was done to the numbers since, or anything a reader should know.
        throttled: What held the clocks of a GPU down while it was measured, by name.
        weights_sha256: SHA-256 of the weights where they were the user's own, in hexadecimal.
        gap_s: Seconds of idling before every pass; 0 for passes back to back.
        time_error: How far times modelled like these were off where they could be held against a
            measurement, nine in ten of them, as a share of T: 0.3 says that the true time lies
            between T / 1.3 and T · 1.3. None where nobody knows, and for what was measured.
    """

    origin: Origin
    device: str
    threads: int | None = None
    clocks: str = ""
    dtype: str = "float32"
    versions: tuple[tuple[str, str], ...] = ()
    date: str = ""
    protocol: str = ""
    note: str = ""
    throttled: tuple[str, ...] = ()
    weights_sha256: str = ""
    gap_s: float = 0.0
    time_error: float | None = None

    def machine(self) -> str:
        """Device and how it was used: ``AMD EPYC, 2 threads, 20 ms idle before each pass``."""
        words = [self.device]
        if self.threads:
            words.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        if self.gap_s:
            words.append(f"{format_seconds(self.gap_s)} idle before each pass")
        return ", ".join(words)

    def label(self) -> str:
        """Machine and origin for captions: ``AMD EPYC, 1 thread, float32 (measured)``."""
        marks = [f"throttled by {' and '.join(self.throttled)}"] if self.throttled else []
        notes = ", ".join([note for note in (self.note, *marks) if note])
        return f"{self.machine()}, {self.dtype} ({self.origin}{': ' if notes else ''}{notes})"


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """Times of one model on one device.

    Attributes:
        graph: The model that was timed.
        provenance: Where the numbers come from.
        passes: One record for each batch size, ascending.
        time_scale: Factor on every time; 1 unless `scale_profile` assumed another machine.
        transfers: Copies between accelerator and host; None on a CPU, where nothing is copied,
            and where they were not measured.
    """

    graph: ModelGraph
    provenance: Provenance
    passes: tuple[Passes, ...]
    time_scale: float = 1.0
    transfers: Transfers | None = None

    def __post_init__(self) -> None:
        """Refuse what no measurement can give."""
        sizes = [p.batch_size for p in self.passes]
        who = f"Profile of {self.graph.model!r}"
        if sizes != sorted(set(sizes)) or any(size < 1 for size in sizes):
            raise ProfileError(
                f"{who}: batch sizes {sizes} must be positive, ascending, each once; measure it "
                "again."
            )
        if not (np.isfinite(self.time_scale) and self.time_scale > 0):
            raise ProfileError(
                f"{who}: time_scale {self.time_scale} must be finite and above zero."
            )
        faults = {f", batch size {p.batch_size}": p.fault(self.cuts) for p in self.passes}
        if self.transfers is not None:
            faults[", copies to and from the accelerator"] = self.transfers.fault()
        for where in filter(faults.get, faults):
            raise ProfileError(f"{who}{where}: {faults[where]}; measure it again.")

    def __repr__(self) -> str:
        """Model, machine, and times and states of the batch sizes, in three lines."""
        graph, sizes = self.graph, self.batch_sizes
        ends = dict.fromkeys((*sizes[:1], *sizes[-1:]))
        times = " to ".join(f"T = {format_seconds(self.total_s(n))} at {n}" for n in ends)
        states: dict[str, list[str]] = {}
        for p in self.passes:
            states.setdefault(self.status(p.batch_size), []).append(f"{p.batch_size}")
        marks = [f"{state} at {', '.join(at)}" for state, at in states.items() if state != "ok"]
        return (
            f"Profile of {graph.model}: {len(graph.layers)} layers, {len(graph.blocks)} blocks\n"
            f"on {self.provenance.label()}\n"
            f"{len(sizes)} batch sizes: {times or 'none'}; {'; '.join(marks) or 'all ok'}"
        )

    def _repr_html_(self) -> str:
        """A small table for notebooks: time and state of up to a dozen batch sizes."""
        import pandas as pd

        sizes = [p.batch_size for p in self.passes]
        times = ["–" if p.oom else format_seconds(self.total_s(p.batch_size)) for p in self.passes]
        states = map(self.status, sizes)
        table = pd.DataFrame({"batch size": sizes, "T": times, "state": list(states)})
        number = min(MOST_ROWS, len(table))
        shown = table.iloc[np.linspace(0, len(table) - 1, number).round().astype(int)]
        more = f"; {len(shown)} of {len(table)} batch sizes" * (len(shown) < len(table))
        who = f"<b>{escape(self.graph.model)}</b> on {escape(self.provenance.label())}{more}"
        return f"<p>{who}</p>{shown.to_html(index=False, border=0)}"

    @cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes with times, ascending; those that ran out of memory are left out."""
        return tuple(self._timed)

    @cached_property
    def _timed(self) -> dict[int, Passes]:
        return {p.batch_size: p for p in self.passes if not p.oom}

    def neighbours(self, batch_size: int) -> tuple[int, ...]:
        """Batch sizes with times that stand behind this one: itself, or those next to it."""
        if batch_size in self.batch_sizes:
            return (batch_size,)
        below = [size for size in self.batch_sizes if size < batch_size][-1:]
        above = [size for size in self.batch_sizes if size > batch_size][:1]
        return (*below, *above)

    @property
    def cuts(self) -> int:
        """Number of cuts, input and output included."""
        return len(self.graph.layers) + 1

    def at(self, batch_size: int) -> Passes:
        """What was measured at a batch size.

        Raises:
            ProfileError: There are no times at this batch size.
        """
        if batch_size not in self._timed:
            raise ProfileError(
                f"No times at batch size {batch_size} in the profile of {self.graph.model!r} on "
                f"{self.provenance.device}; it holds {list(self.batch_sizes)}."
            )
        return self._timed[batch_size]

    def head_s(self, batch_size: int) -> Seconds:
        """Median seconds of the head at each cut, ``(cut,)``; NaN where nothing was measured.

        T(B) times the median over passes of the cut's share of its own pass.
        """
        return self._halves_s(batch_size)[0]

    def tail_s(self, batch_size: int) -> Seconds:
        """Median seconds of the tail at each cut, ``(cut,)``; NaN where nothing was measured.

        T(B) less the head; of passes after an idle gap a tail that begins after one itself, which
        takes longer than the rest of a pass (see `Passes.restart_ns`).
        """
        return self._halves_s(batch_size)[1]

    def _halves_s(self, batch_size: int) -> tuple[Seconds, Seconds]:
        head_ns, tail_ns = self.at(batch_size).medians_ns
        factor = NS * self.time_scale
        return head_ns * factor, tail_ns * factor

    def total_s(self, batch_size: int) -> float:
        """Median seconds T(B) of the whole model."""
        return float(self.head_s(batch_size)[-1])

    def to_host_s(self, batch_size: int) -> Seconds:
        """Median seconds in which each cut's payload goes from accelerator to host, ``(cut,)``.

        The payload has its own element types, as it lies in the accelerator's memory. Between
        measured sizes times are interpolated linearly; NaN beyond them. Zero at the input, which
        the host has already, at the output, which is not sent, and everywhere without `transfers`.
        """
        seconds = self._copied_s("to_host_ns", batch_size)
        seconds[0] = 0
        return seconds

    def to_device_s(self, batch_size: int) -> Seconds:
        """Median seconds in which each cut's payload goes from host to accelerator, ``(cut,)``.

        As `to_host_s`, but at the input too: a server that runs everything must copy it.
        """
        return self._copied_s("to_device_ns", batch_size)

    def _copied_s(self, direction: str, batch_size: int) -> Seconds:
        if self.transfers is None:
            return np.zeros(self.cuts)
        payload = np.asarray(polyval(batch_size, self._payload_terms))
        payload[-1] = 0
        times_ns = getattr(self.transfers, direction)
        return self.transfers.median_ns(times_ns, payload) * NS * self.time_scale

    @cached_property
    def _payload_terms(self) -> Seconds:
        return memory_terms(self.graph)[0]

    def spread(self, batch_size: int) -> float:
        """Interquartile range over median of the whole passes, the raw noise of this machine."""
        return self.at(batch_size).spread

    def status(self, batch_size: int) -> Status:
        """How far the times at this batch size can be trusted; `caution` says why and what to do.

        Returns:
            ``oom`` where memory ran out. ``biased`` where stamps cost more than 10 % of a pass, or
            heads or tails read off stamped passes lie more than 3 % of T from executed ones: at
            all cuts in the median, or at one cut by more than noise explains. ``unreliable`` where
            the whole passes' interquartile range is above 25 % of their median, ``noisy`` where it
            is above 10 %.
        """
        if batch_size not in self._timed and any(p.batch_size == batch_size for p in self.passes):
            return "oom"
        passes = self.at(batch_size)
        if passes.bias:  # which no quieter machine mends
            return "biased"
        if passes.spread > UNRELIABLE_ABOVE:
            return "unreliable"
        return "noisy" if passes.spread > NOISY_ABOVE else "ok"

    def caution(self, batch_size: int) -> str:
        """Why the times at this batch size are not ``ok``, and what to do; empty where they are.

        Also where only some cuts have times: no pass was stamped, or not long enough.
        """
        status = self.status(batch_size)
        if status == "oom":
            return "oom: the device ran out of memory; take a smaller batch size"
        passes = self.at(batch_size)
        if status == "ok":
            inner = np.isfinite(self.head_s(batch_size)[1:-1])
            known = f"{inner.sum()} of {len(inner)} cuts"
            if self.provenance.origin != "measured" or (len(passes.stamped_ns) and inner.all()):
                return ""
            if not len(passes.stamped_ns):
                return f"of really executed halves at {known}"
            return f"known at {known}, the others had no stamp yet; measure longer"
        why, remedies = list(passes.bias), []
        if passes.spread > NOISY_ABOVE:
            spread = format_percent(passes.spread)
            why.insert(0, f"the middle half of the passes spans {spread} of their median")
            remedies.append("measure again while nothing else runs there")
        if passes.bias:
            remedies.append(
                "measure more passes (passes=, --passes), or executed halves only (stamps=False, "
                "--no-stamps)"
            )
        return f"{status}: {' and '.join(why)}; {', then '.join(remedies)}"
