"""When requests come: evenly, by chance, or at times that somebody wrote down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DRAWN = 1024  # intervals that are drawn at a time


@dataclass(frozen=True)
class Arrivals:
    """When the requests of one device come.

    Attributes:
        rate_hz: Requests a second in the mean.
        poisson: Whether they come by chance (intervals are exponential), or evenly.
        times_s: Their times, ascending; else None.

    Example:
        >>> list(Arrivals(2.0).until(1.5, seed=[0]))
        [0.0, 0.5, 1.0]
    """

    rate_hz: float
    poisson: bool = False
    times_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what no stream of requests has."""
        if not 0 < self.rate_hz < np.inf:
            raise ValueError(f"rate_hz is {self.rate_hz}; give requests a second, above zero.")
        times = list(self.times_s or ())
        if times != sorted(times) or (times and not 0 <= times[0] <= times[-1] < np.inf):
            raise ValueError("times_s must be finite, not below zero, and ascend; sort them.")

    def until(self, duration_s: float, seed: list[int]) -> Iterator[float]:
        """Their times before the end, one after the other; the same for the same seed."""
        if self.times_s is not None:
            yield from (time for time in self.times_s if time < duration_s)
            return
        if not self.poisson:
            k = 0
            while (time := k / self.rate_hz) < duration_s:
                yield time
                k += 1
            return
        rng, time = np.random.default_rng(seed), 0.0
        while True:
            for gap in rng.exponential(1 / self.rate_hz, DRAWN).tolist():
                if (time := time + gap) >= duration_s:
                    return
                yield time


def evenly(every_s: float) -> Arrivals:
    """One every so many seconds, from 0 on."""
    return Arrivals(1 / every_s if every_s > 0 else 0.0)


def poisson(rate_hz: float) -> Arrivals:
    """So many a second in the mean, each independent of all others."""
    return Arrivals(rate_hz, poisson=True)


def at_times(times_s: list[float]) -> Arrivals:
    """At these times; ValueError where there are none."""
    if not times_s:
        raise ValueError("times_s is empty; give one time at least.")
    times = tuple(map(float, times_s))
    return Arrivals(len(times) / max(times[-1], 1e-9), times_s=times)
