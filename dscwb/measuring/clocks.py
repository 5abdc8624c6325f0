"""The only clocks of dscwb: nanoseconds from the start of a pass to each cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from dscwb.profiles.passes import NOT_STAMPED, Nanoseconds
from dscwb.profiles.records import ProfileError

NS_PER_MS = 1e6


class Clock(Protocol):
    """Times one pass after another; the stamped module calls `stamp` after each layer."""

    def begin(self, wanted: Sequence[bool]) -> None:
        """Start a pass that stamps the cuts marked in `wanted`, ``(cut,)``; the ends always are."""

    def stamp(self, cut: int) -> None:
        """Take the time at a cut if it is wanted."""

    def end(self) -> Nanoseconds:
        """End the pass: nanoseconds since its start, ``(cut,)``, or `NOT_STAMPED`."""


class CpuClock:
    """A `Clock` that writes the processor's time into a list made before the pass starts."""

    def __init__(self, cuts: int, now: Callable[[], int] = time.perf_counter_ns) -> None:
        """For a model with this many cuts; `now` gives nanoseconds."""
        self._cuts, self._now = cuts, now

    def begin(self, wanted: Sequence[bool]) -> None:
        """See `Clock`."""
        self._wanted, self._times = wanted, [NOT_STAMPED] * self._cuts
        self._times[0] = self._now()

    def stamp(self, cut: int) -> None:
        """See `Clock`."""
        if self._wanted[cut]:
            self._times[cut] = self._now()

    def end(self) -> Nanoseconds:
        """See `Clock`."""
        self._times[-1] = self._now()
        times = np.array(self._times, dtype=np.int64)
        return np.where(times == NOT_STAMPED, NOT_STAMPED, times - times[0])


class CudaClock:
    """A `Clock` of events on the current stream; it waits once, at the end of a pass."""

    def __init__(self, cuts: int, event: Callable[[], Any] | None = None) -> None:
        """Make all events beforehand; `event` makes one, torch's timing event if left out."""
        make = event or (lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        self._events = [make() for _ in range(cuts)]

    def begin(self, wanted: Sequence[bool]) -> None:
        """See `Clock`."""
        self._wanted = wanted
        self._events[0].record()

    def stamp(self, cut: int) -> None:
        """See `Clock`."""
        if self._wanted[cut]:
            self._events[cut].record()

    def end(self) -> Nanoseconds:
        """See `Clock`."""
        first, last = self._events[0], self._events[-1]
        last.record()
        last.synchronize()
        taken = list(zip(self._events, self._wanted, strict=True))[1:]
        times = [round(first.elapsed_time(e) * NS_PER_MS) if w else NOT_STAMPED for e, w in taken]
        return np.array([0, *times], dtype=np.int64)


def clock_for(device: torch.device, cuts: int) -> Clock:
    """The clock of a device, for a model with this many cuts.

    Raises:
        ProfileError: There is none.
    """
    if device.type == "cpu":
        return CpuClock(cuts)
    if device.type == "cuda":
        return CudaClock(cuts)
    raise ProfileError(f"There is no clock for {device.type!r}; capture the model on cpu or cuda.")
