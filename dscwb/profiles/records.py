"""The measured truth: raw passes with provenance go in, times of every head and tail come out.

The torch arm ends here and the analysis arm begins here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import all_cuts
from dscwb.graph import ModelGraph
from dscwb.profiles.transfers import Transfers, payload_bytes, payload_terms

Seconds = NDArray[np.float64]
Nanoseconds = NDArray[np.int64]
Origin = Literal["measured", "modelled", "assumed", "imported"]

NOT_STAMPED = -1
"""Stands in `Passes.stamped_ns` for a cut that this pass did not stamp."""
NS = 1e-9
# Interquartile range over median of the plain passes (MEASURING protocol, step 4).
NOISY_ABOVE = 0.10
UNRELIABLE_ABOVE = 0.25


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
        """Device and how much of it was used: ``AMD EPYC, 2 threads``."""
        if not self.threads:
            return self.device
        return f"{self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def label(self) -> str:
        """Machine and origin for captions: ``AMD EPYC, 1 thread, float32 (measured)``."""
        marks = [f"throttled by {' and '.join(self.throttled)}"] if self.throttled else []
        notes = ", ".join([note for note in (self.note, *marks) if note])
        return f"{self.machine()}, {self.dtype} ({self.origin}{': ' if notes else ''}{notes})"


@dataclass(frozen=True, eq=False)
class Separate:
    """Head and tail at one cut, really executed on their own.

    Attributes:
        cut: Number of layers in the head.
        head_ns: Times of the head, ``(repeat,)``.
        tail_ns: Times of the tail, ``(repeat,)``.
        whole_ns: Times of the whole model run next to them, ``(repeat,)``; empty where it was not.
    """

    cut: int
    head_ns: Nanoseconds
    tail_ns: Nanoseconds
    whole_ns: Nanoseconds = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def times(self) -> tuple[Nanoseconds, Nanoseconds, Nanoseconds]:
        """Head, tail and whole, each ``(repeat,)``."""
        return self.head_ns, self.tail_ns, self.whole_ns


@dataclass(frozen=True, eq=False)
class Passes:
    """Everything measured at one batch size.

    Attributes:
        batch_size: Samples in one pass.
        plain_ns: Times of whole passes, ``(round,)``.
        stamped_ns: Times from a pass's start to each cut, ``(round, cut)``; the first column is 0,
            the last the pass's own total; `NOT_STAMPED` where a pass left a cut out. Round i of
            both arrays ran next to each other, in random order.
        separate: Heads and tails executed on their own.
        oom: True where the device ran out of memory; then there are no times.
    """

    batch_size: int
    plain_ns: Nanoseconds
    stamped_ns: Nanoseconds
    separate: tuple[Separate, ...] = ()
    oom: bool = False

    @property
    def rounds(self) -> int:
        """Number of rounds: whole passes, or repeats of a head where only halves were run."""
        return len(self.plain_ns) or max((len(one.head_ns) for one in self.separate), default=0)


@dataclass(frozen=True, eq=False)
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
        _validate(self)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes with times, ascending; those that ran out of memory are left out."""
        return tuple(p.batch_size for p in self.passes if not p.oom)

    @property
    def cuts(self) -> int:
        """Number of cuts, input and output included."""
        return len(self.graph.layers) + 1

    def head_s(self, batch_size: int) -> Seconds:
        """Median seconds of the head at each cut, ``(cut,)``; NaN where nothing was measured.

        T(B) times the median over passes of the cut's share of its own pass: dividing by the own
        pass takes out the machine's slow drift.
        """
        return self._times(batch_size)[0].copy()

    def tail_s(self, batch_size: int) -> Seconds:
        """Median seconds of the tail at each cut, ``(cut,)``; NaN where nothing was measured."""
        return self._times(batch_size)[1].copy()

    def total_s(self, batch_size: int) -> float:
        """Median seconds T(B) of the whole model."""
        return float(self.head_s(batch_size)[-1])

    def to_host_s(self, batch_size: int) -> Seconds:
        """Median seconds in which each cut's payload goes from accelerator to host, ``(cut,)``.

        The payload has its own element types, as it lies in the accelerator's memory. Between
        measured sizes times are interpolated linearly; NaN beyond them. Zero at the input, which
        the host has already, at the output, which is not sent, and everywhere without `transfers`.
        """
        copies = self.transfers
        if copies is None:
            return np.zeros(self.cuts)
        seconds = self._copied_s(copies, copies.to_host_ns, batch_size)
        seconds[0] = 0
        return seconds

    def to_device_s(self, batch_size: int) -> Seconds:
        """Median seconds in which each cut's payload goes from host to accelerator, ``(cut,)``.

        As `to_host_s`, but at the input too: a server that runs everything must copy it.
        """
        copies = self.transfers
        if copies is None:
            return np.zeros(self.cuts)
        return self._copied_s(copies, copies.to_device_ns, batch_size)

    def _copied_s(self, copies: Transfers, times_ns: Nanoseconds, batch_size: int) -> Seconds:
        payload = payload_bytes(self._payload_terms, batch_size)
        payload[-1] = 0
        return copies.median_ns(times_ns, payload) * NS * self.time_scale

    @cached_property
    def _payload_terms(self) -> Seconds:
        return payload_terms(all_cuts(self.graph))

    def spread(self, batch_size: int) -> float:
        """Interquartile range over median of the whole passes, the raw noise of this machine."""
        whole = _whole(self._at(batch_size), self.cuts)
        if len(whole) < 2:
            return float("nan")
        low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
        return float((high - low) / middle)

    def status(self, batch_size: int) -> Literal["ok", "noisy", "unreliable", "oom"]:
        """How far the times at this batch size can be trusted."""
        if any(p.oom and p.batch_size == batch_size for p in self.passes):
            return "oom"
        spread = self.spread(batch_size)
        if spread > UNRELIABLE_ABOVE:
            return "unreliable"
        return "noisy" if spread > NOISY_ABOVE else "ok"

    @cached_property
    def _medians(self) -> dict[int, tuple[Seconds, Seconds]]:
        scale = NS * self.time_scale
        return {
            p.batch_size: (head * scale, tail * scale)
            for p in self.passes
            if not p.oom
            for head, tail in (_medians(p, self.cuts),)
        }

    def _times(self, batch_size: int) -> tuple[Seconds, Seconds]:
        self._at(batch_size)
        return self._medians[batch_size]

    def _at(self, batch_size: int) -> Passes:
        for passes in self.passes:
            if passes.batch_size == batch_size:
                if passes.oom:
                    break
                return passes
        raise ProfileError(
            f"No times at batch size {batch_size} in the profile of {self.graph.model!r} on "
            f"{self.provenance.device}; it holds {list(self.batch_sizes)}."
        )


def _medians(passes: Passes, cuts: int) -> tuple[Seconds, Seconds]:
    """Head and tail in nanoseconds at each cut."""
    if len(passes.stamped_ns):
        stamped = passes.stamped_ns.astype(np.float64)
        stamped[passes.stamped_ns == NOT_STAMPED] = np.nan
        shares = np.nanmedian(stamped / stamped[:, -1:], axis=0)
        total = float(np.median(passes.plain_ns))
        head = np.maximum.accumulate(shares) * total
        return head, total - head
    head, tail = np.full(cuts, np.nan), np.full(cuts, np.nan)
    whole = _whole(passes, cuts)
    for one in passes.separate:
        if len(one.whole_ns) and len(whole):  # the whole next to it takes out drift, as above
            head[one.cut] = np.median(one.head_ns / one.whole_ns) * np.median(whole)
            tail[one.cut] = np.median(one.tail_ns / one.whole_ns) * np.median(whole)
        else:
            head[one.cut], tail[one.cut] = np.median(one.head_ns), np.median(one.tail_ns)
    return head, tail


def _whole(passes: Passes, cuts: int) -> Nanoseconds:
    """Times of the whole model, ``(repeat,)``: plain passes, or else heads that end at the output.

    Empty where neither was run.
    """
    if len(passes.plain_ns):
        return passes.plain_ns
    at_output = (one.head_ns for one in passes.separate if one.cut == cuts - 1)
    return next(at_output, passes.plain_ns)


def scale_profile(profile: Profile, speedup: float) -> Profile:
    """The same model on an imagined machine, `speedup` times as fast in every layer.

    A guess, for what-if questions: the result's origin is ``assumed`` for ever.

    Raises:
        ValueError: `speedup` is not a finite number above zero.
    """
    if not (np.isfinite(speedup) and speedup > 0):
        raise ValueError(f"speedup is {speedup}; give a finite number above zero.")
    source = profile.provenance
    scale = profile.time_scale / speedup
    note = f"{1 / scale:g} × as fast as {source.device}"
    if source.origin not in ("measured", "assumed"):
        note += f", itself {source.origin}"
    device = "imagined machine"
    if source.origin == "assumed":  # scaled before: the first machine is named in its note
        note = f"{1 / scale:g} × as fast as {source.note.split(' × as fast as ', 1)[-1]}"
    provenance = replace(source, origin="assumed", device=device, threads=None, note=note)
    return replace(profile, provenance=provenance, time_scale=scale)


def _validate(profile: Profile) -> None:
    sizes = [p.batch_size for p in profile.passes]
    who = f"Profile of {profile.graph.model!r}"
    if sizes != sorted(set(sizes)) or any(size < 1 for size in sizes):
        raise ProfileError(
            f"{who}: batch sizes {sizes} must be positive, ascending, each once; measure it again."
        )
    if not (np.isfinite(profile.time_scale) and profile.time_scale > 0):
        raise ProfileError(f"{who}: time_scale {profile.time_scale} must be finite and above zero.")
    if profile.transfers is not None and (reason := profile.transfers.fault()):
        raise ProfileError(f"{who}, copies to and from the accelerator: {reason}; measure again.")
    for passes in profile.passes:
        reason = _fault(passes, profile.cuts)
        if reason:
            raise ProfileError(
                f"{who}, batch size {passes.batch_size}: {reason}; measure it again."
            )


def _fault(passes: Passes, cuts: int) -> str:
    """What is wrong with the passes of one batch size; empty where nothing is."""
    if passes.oom:
        return "times beside an out-of-memory mark" if len(passes.plain_ns) else ""
    stamped = passes.stamped_ns
    if len(passes.plain_ns) == 0 and not passes.separate:
        return "no passes"
    if stamped.ndim != 2 or stamped.shape != (len(passes.plain_ns), cuts):
        return f"stamps of shape {stamped.shape} for {len(passes.plain_ns)} passes and {cuts} cuts"
    if np.any(passes.plain_ns <= 0) or np.any(stamped[:, -1] <= 0) or np.any(stamped[:, 0] != 0):
        return "a pass without a positive duration"
    if np.any(stamped < NOT_STAMPED):
        return "a negative time"
    if len(stamped) and np.any(np.all(stamped == NOT_STAMPED, axis=0)):
        return "a cut that no pass stamped"
    order = np.maximum.accumulate(stamped, axis=1)
    if np.any((stamped != NOT_STAMPED) & (stamped < order)):
        return "stamps that run backwards"
    for one in passes.separate:
        if not 0 <= one.cut < cuts:
            return f"a cut {one.cut} that the model does not have"
        if not len(one.head_ns) or not len(one.tail_ns):
            return f"no times at cut {one.cut}"
        if min(one.head_ns.min(), one.tail_ns.min(), one.whole_ns.min(initial=0)) < 0:
            return f"a negative time at cut {one.cut}"
        if (
            len(one.whole_ns)
            and len({t.size for t in (one.head_ns, one.tail_ns, one.whole_ns)}) > 1
        ):
            return f"heads, tails and whole passes of different number at cut {one.cut}"
    return ""
