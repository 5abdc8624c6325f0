"""The measured truth: raw passes with provenance go in, times of every head and tail come out.

The torch arm ends here and the analysis arm begins here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import all_cuts
from dscwb.graph import ModelGraph
from dscwb.profiles.checks import fault_of_passes
from dscwb.profiles.passes import (
    APART_ABOVE,
    NOT_STAMPED,
    NS,
    ModelError,
    Nanoseconds,
    Passes,
    Separate,
    error_of_passes,
    medians,
    overhead,
    precision,
    whole_passes,
)
from dscwb.profiles.transfers import Transfers, payload_bytes, payload_terms
from dscwb.units import format_seconds

__all__ = [
    "NOT_STAMPED",
    "NS",
    "Nanoseconds",
    "Passes",
    "Profile",
    "ProfileError",
    "Provenance",
    "Separate",
    "scale_profile",
]

Seconds = NDArray[np.float64]
Origin = Literal["measured", "modelled", "assumed", "imported"]
Status = Literal["ok", "noisy", "unreliable", "biased", "oom"]

# Interquartile range over median of the plain passes (MEASURING protocol, step 4).
NOISY_ABOVE = 0.10
UNRELIABLE_ABOVE = 0.25
STAMPS_COST_ABOVE = 0.10  # share of a pass; no further pass of the same kind mends that


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
        whole = whole_passes(self._at(batch_size))
        if len(whole) < 2:
            return float("nan")
        low, middle, high = np.quantile(whole, [0.25, 0.5, 0.75])
        return float((high - low) / middle)

    def status(self, batch_size: int) -> Status:
        """How far the times at this batch size can be trusted; `caution` says why and what to do.

        Returns:
            ``oom`` where memory ran out. ``biased`` where stamps cost more than 10 % of a pass, or
            heads or tails read off stamped passes lie more than 3 % of T from executed ones: at
            all cuts in the median, or at one cut by more than noise explains. ``unreliable`` where
            the whole passes' interquartile range is above 25 % of their median, ``noisy`` where it
            is above 10 %.
        """
        if batch_size not in self._statuses:
            self._statuses[batch_size] = self._status(batch_size)
        return self._statuses[batch_size]

    @cached_property
    def _statuses(self) -> dict[int, Status]:
        return {}

    def _status(self, batch_size: int) -> Status:
        if any(p.oom and p.batch_size == batch_size for p in self.passes):
            return "oom"
        if self._bias(batch_size):  # which no quieter machine mends
            return "biased"
        spread = self.spread(batch_size)
        if spread > UNRELIABLE_ABOVE:
            return "unreliable"
        return "noisy" if spread > NOISY_ABOVE else "ok"

    def caution(self, batch_size: int) -> str:
        """Why the times at this batch size are not ``ok``, and what to do; empty where they are.

        Also where only some cuts have times: no pass was stamped, or not long enough.
        """
        status = self.status(batch_size)
        if status == "oom":
            return "oom: the device ran out of memory; take a smaller batch size"
        if status == "ok":
            return self._partly(batch_size)
        why, remedies = [], []
        if (spread := self.spread(batch_size)) > NOISY_ABOVE:
            why.append(f"the middle half of the passes spans {spread:.0%} of their median")
            remedies.append("measure again while nothing else runs there")
        if bias := self._bias(batch_size):
            why += bias
            remedies.append(
                "measure more passes (passes=, --passes), or executed halves only (stamps=False, "
                "--no-stamps)"
            )
        return f"{status}: {' and '.join(why)}; {', then '.join(remedies)}"

    def _partly(self, batch_size: int) -> str:
        """At how many cuts inside the model there are times, where not at all of them."""
        if self.provenance.origin != "measured":
            return ""
        inner = self.head_s(batch_size)[1:-1]
        known = int(np.isfinite(inner).sum())
        if not len(self._at(batch_size).stamped_ns):
            return f"of really executed halves at {known} of {len(inner)} cuts"
        if known == len(inner):
            return ""
        return f"known at {known} of {len(inner)} cuts, the others had no stamp yet; measure longer"

    def _bias(self, batch_size: int) -> list[str]:
        """What is wrong with the times in one direction, in words; found once a batch size."""
        if batch_size not in self._biases:
            self._biases[batch_size] = _bias(self._at(batch_size))
        return self._biases[batch_size]

    @cached_property
    def _biases(self) -> dict[int, list[str]]:
        return {}

    def precision(self, batch_size: int) -> Seconds:
        """95 % half-width of each head, as a share of T, ``(cut,)``; NaN where unknown.

        From the scatter of this session's passes only (`passes.precision` has the formula). Where
        stamps cost much, cuts after blocks and record-low ones have the most stamps and the
        smallest half-widths.
        """
        return precision(self._at(batch_size))

    @cached_property
    def _medians(self) -> dict[int, tuple[Seconds, Seconds]]:
        scale = NS * self.time_scale
        return {
            p.batch_size: (head * scale, tail * scale)
            for p in self.passes
            if not p.oom
            for head, tail in (medians(p),)
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


def model_error(profile: Profile, batch_size: int) -> ModelError:
    """How far head and tail as read off one pass lie from head and tail run on their own.

    See `passes.error_of_passes`.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    return error_of_passes(profile._at(batch_size))


def calibration(profile: Profile, batch_size: int) -> tuple[float, float, float]:
    """What stamping costs: the median of stamped over plain passes, and its 95 % interval.

    NaN without stamped passes; see `passes.overhead`.

    Raises:
        ProfileError: The profile has no times at this batch size.
    """
    passes = profile._at(batch_size)
    return overhead(passes.plain_ns, passes.stamped_ns)


def _bias(passes: Passes) -> list[str]:
    ratio = overhead(passes.plain_ns, passes.stamped_ns)[0]
    words = []
    if ratio > 1 + STAMPS_COST_ABOVE:
        words.append(f"stamps cost {ratio - 1:.0%} of a pass")
    error = error_of_passes(passes)
    halves = (
        ("heads", error.head, error.head_worst, error.head_surely),
        ("tails", error.tail, error.tail_worst, error.tail_surely),
    )
    for name, middle, worst, surely in halves:
        if abs(middle) > APART_ABOVE or surely > APART_ABOVE:
            words.append(
                f"{name} lie {middle:+.1%} of T from executed ones in the median, {worst:.1%} at "
                "the worst cut"
            )
    return words


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
        reason = fault_of_passes(passes, profile.cuts)
        if reason:
            raise ProfileError(
                f"{who}, batch size {passes.batch_size}: {reason}; measure it again."
            )
