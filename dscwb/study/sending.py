"""How long a payload takes over a link whose data rate changes while it is sent.

It has arrived when the rate, summed up over time, has carried all of its bits. The trace repeats.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any

import numpy as np

from dscwb.cost import Floats
from dscwb.traces import Trace


class Carrier:
    """A trace, ready to be asked: many payloads at once, or quickly for one after the other."""

    def __init__(self, trace: Trace, round_trip_s: float = 0.0) -> None:
        """Join the steps of a trace where the rate stays the same.

        Args:
            trace: The data rate over time, and the round trip where it has one.
            round_trip_s: What it is where the trace has none.
        """
        trips = trace.round_trips_s
        if trips is None:
            trips = np.full(len(trace.times_s), round_trip_s)
        other = np.concatenate(([True], trips[1:] != trips[:-1]))
        self.trips_s, self._trips_from = trips[other], trace.times_s[other]
        self._trip = self.trips_s.data, self._trips_from.data
        rates, times = trace.data_rates_bps, trace.times_s
        keep = np.concatenate(([True], rates[1:] != rates[:-1]))
        self.rates_bps, self.starts_s = rates[keep], times[keep]
        self.period_s = trace.duration_s
        self.ends_s = np.append(self.starts_s[1:], self.period_s)
        total = np.cumsum(self.rates_bps * (self.ends_s - self.starts_s))
        before, self._whole = np.concatenate(([0.0], total[:-1])), float(total[-1])
        # Whatever is left of a lap finds a step that carries it, roundings or not.
        until = np.where(total > 0, total, -np.inf)
        until[np.flatnonzero(self.rates_bps)[-1:]] = np.inf
        self._many = self.starts_s, self.rates_bps, before, until
        self._one = tuple(array.data for array in self._many)
        self._ends = self.ends_s.data

    def sending_s(self, starts_s: Floats, bits: float) -> Floats:
        """Seconds that payloads of so many bits take which are sent from these times on.

        Args:
            starts_s: Seconds, ascending, ``(payload,)``.
            bits: Above zero.

        Returns:
            ``(payload,)``; infinite on a link that is down for ever.
        """
        ends = np.searchsorted(self.starts_s, starts_s[[0, -1]], side="right")
        steps = slice(ends[0] - 1, ends[1])
        edges = np.searchsorted(starts_s, self.starts_s[ends[0] : ends[1]])
        counts = np.diff(edges, prepend=0, append=len(starts_s))
        with np.errstate(divide="ignore"):
            took = np.repeat(bits / self.rates_bps[steps], counts)
        later = np.flatnonzero(starts_s + took > np.repeat(self.ends_s[steps], counts))
        took[later] = self._crossing_s(self._many, np.searchsorted, starts_s[later], bits)
        return took

    def sent(self, start_s: float, bits: float) -> float:
        """Seconds that one payload takes, exactly as `sending_s` says."""
        starts, rates, *_ = self._one
        step = bisect_right(starts, start_s) - 1
        if rate := rates[step]:
            took: float = bits / rate
            if start_s + took <= self._ends[step]:
                return took
        return float(self._crossing_s(self._one, _found, start_s, bits))

    def trip_s(self, within_s: float) -> float:
        """The round trip of what is sent at this time of the trace, in seconds."""
        trips, starts = self._trip
        found: float = trips[bisect_right(starts, within_s) - 1]
        return found

    def trips_at(self, starts_s: Floats) -> Floats:
        """The same at many times, which may be laps later, ``(payload,)``."""
        steps = np.searchsorted(self._trips_from, starts_s % self.period_s, side="right")
        found: Floats = self.trips_s[steps - 1]
        return found

    def _crossing_s(
        self, parts: tuple[Any, ...], find: Callable[..., Any], start: Any, bits: float
    ) -> Any:
        """Seconds where the rate changes meanwhile: of arrays, or of floats and memory views."""
        if not self._whole:
            return np.inf
        starts, rates, before, until = parts
        laps, within = divmod(start, self.period_s)
        step = find(starts, within, side="right") - 1
        goal = before[step] + rates[step] * (within - starts[step]) + bits
        more = -(-goal // self._whole) - 1
        rest = goal - more * self._whole
        step = find(until, rest, side="left")
        done = starts[step] + (rest - before[step]) / rates[step]
        return (laps + more) * self.period_s + done - start


def _found(values: Any, value: float, side: str) -> int:
    """`np.searchsorted` for one number in a memory view."""
    return (bisect_right if side == "right" else bisect_left)(values, value)
