"""A trace: the data rate of a link over time, in seconds and bit/s, constant within a step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.units import Told, format_percent, format_rate, format_seconds


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Told):
    """The data rate of a link over time, constant within each step.

    Attributes:
        times_s: When each step begins, in seconds, strictly ascending from 0, ``(step,)``.
        data_rates_bps: Its data rate in bit/s, 0 while the link is down, ``(step,)``.
        duration_s: When the last step ends, in seconds.
        round_trips_s: Its round-trip time in seconds, ``(step,)``; None where nobody measured it.
        source: Where the numbers come from, in words.

    Example:
        >>> trace = Trace([0, 1], [8e6, 0], duration_s=3)
        >>> trace.at(0.5), trace.at(3.5, repeat=True), trace.at(2.9)
        (8000000.0, 8000000.0, 0.0)
    """

    times_s: NDArray[np.float64]
    data_rates_bps: NDArray[np.float64]
    duration_s: float
    round_trips_s: NDArray[np.float64] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Keep the numbers as arrays that cannot be written to; refuse what is no trace."""
        times = self._kept("times_s", self.times_s)
        rates = self._kept("data_rates_bps", self.data_rates_bps)
        round_trips = self.round_trips_s
        round_trips = rates if round_trips is None else self._kept("round_trips_s", round_trips)
        if not 0 < len(times) == len(rates) == len(round_trips):
            raise ValueError(
                f"{len(times)} times, {len(rates)} data rates and {len(round_trips)} round trips; "
                "give one of each for every step, and one step at least."
            )
        if times[0] != 0 or (np.diff(times) <= 0).any():
            raise ValueError("The times of a trace must ascend from 0; subtract the first of them.")
        if not times[-1] < self.duration_s < math.inf:
            raise ValueError(
                f"duration_s is {self.duration_s}; give more than the last time, {times[-1]:g}."
            )

    def _kept(self, name: str, numbers: ArrayLike) -> NDArray[np.float64]:
        """The numbers of one field, all finite and none below zero, as an array of its own."""
        array = np.array(numbers, dtype=np.float64)
        if array.ndim != 1 or not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{name} must be a list of finite numbers, zero or more.")
        array.flags.writeable = False
        object.__setattr__(self, name, array)
        return array

    @property
    def lengths_s(self) -> NDArray[np.float64]:
        """How long each step lasts, in seconds, ``(step,)``."""
        return np.diff(self.times_s, append=self.duration_s)

    @property
    def mean_bps(self) -> float:
        """Its mean data rate over time, in bit/s."""
        return float(self.data_rates_bps @ self.lengths_s / self.duration_s)

    @overload
    def at(self, time_s: float, *, repeat: bool = False) -> float: ...
    @overload
    def at(self, time_s: NDArray[np.float64], *, repeat: bool = False) -> NDArray[np.float64]: ...
    def at(self, time_s: Any, *, repeat: bool = False) -> Any:
        """The data rate at a time or at an array of times, in bit/s; where a step begins, its own.

        Args:
            time_s: Seconds since the trace began.
            repeat: Whether the trace begins anew whenever it has ended.

        Raises:
            ValueError: A time before 0, or not before the end, unless the trace repeats.
        """
        rates = self.data_rates_bps[self.step(time_s, repeat=repeat)]
        return rates if isinstance(time_s, np.ndarray) else float(rates)

    def step(self, time_s: ArrayLike, *, repeat: bool = False) -> NDArray[np.intp]:
        """Which step holds at a time, counted from 0; arguments and errors as in `at`."""
        times = np.asarray(time_s, dtype=np.float64)
        if repeat:
            times = times % self.duration_s
        if not ((times >= 0) & (times < self.duration_s)).all():
            raise ValueError(
                f"The trace holds from 0 s to before {self.duration_s:g} s; give a time within, "
                "or say repeat=True."
            )
        return np.searchsorted(self.times_s, times, side="right") - 1

    def summary(self) -> dict[str, str]:
        """What a notebook shows of it, a line each; means are over time."""
        rates, lasts = self.data_rates_bps, self.lengths_s
        mean, low, high = (
            format_rate(float(rate), in_bytes=False)
            for rate in (np.average(rates, weights=lasts), rates.min(), rates.max())
        )
        down = float(lasts[rates == 0].sum() / self.duration_s)
        shown = {
            "Trace": f"{len(rates)} steps in {format_seconds(self.duration_s)}",
            "Data rate": f"{mean} in the mean, {low} to {high}",
            "Link down": f"{format_percent(down)} of the time" if down else "never",
        }
        if (trips := self.round_trips_s) is not None:
            ends = sorted({format_seconds(float(trips.min())), format_seconds(float(trips.max()))})
            shown["Round trip"] = " to ".join(ends)
        return {**shown, "Source": self.source or "not stated"}
