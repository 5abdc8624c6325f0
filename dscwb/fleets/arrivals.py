"""When requests come: evenly, by chance, or at times that somebody wrote down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

DRAWN = 64  # intervals that are drawn at a time; each device holds as many


@dataclass(frozen=True)
class Arrivals:
    """When the requests of one device come.

    Attributes:
        rate_hz: Requests a second in the mean; not needed where times are given, and not counted.
        poisson: Whether they come by chance (intervals are exponential), or evenly. Devices do not
            beat time together: the first request of each comes within its first interval.
        times_s: Their times, ascending; else None. All devices of a kind have the same.

    Example:
        >>> import numpy as np
        >>> np.diff(list(Arrivals(2.0).until(1.5, seed=[0])))
        array([0.5, 0.5])
        >>> list(Arrivals(times_s=[0.0, 0.2, 3.0]).until(1.5, seed=[0]))
        [0.0, 0.2]
    """

    rate_hz: float = 0.0
    poisson: bool = False
    times_s: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Refuse what no stream of requests has."""
        if self.times_s is None:
            if not 0 < self.rate_hz < np.inf:
                raise ValueError(f"rate_hz is {self.rate_hz}; give requests a second, above zero.")
            return
        times = tuple(map(float, self.times_s))
        if not times:
            raise ValueError("times_s is empty; give one time at least.")
        for before, time in zip((0.0, *times), times):  # noqa: B905
            if not before <= time < np.inf:
                raise ValueError(
                    f"times_s holds {time:g} after {before:g}; give finite seconds from 0 on, "
                    "sorted."
                )
        object.__setattr__(self, "times_s", times)

    def mean_hz(self, duration_s: float) -> float:
        """Requests a second in the mean of this time."""
        if self.times_s is None:
            return self.rate_hz
        return sum(time < duration_s for time in self.times_s) / duration_s

    def until(self, duration_s: float, seed: list[int]) -> Iterator[float]:
        """Their times before the end, one after the other; the same for the same seed."""
        if self.times_s is not None:
            yield from (time for time in self.times_s if time < duration_s)
            return
        rng, time = np.random.default_rng(seed), 0.0
        if not self.poisson:
            first = rng.uniform()
            for k in count():
                if (time := (first + k) / self.rate_hz) >= duration_s:
                    return
                yield time
        while True:
            for gap in rng.exponential(1 / self.rate_hz, DRAWN).tolist():
                if (time := time + gap) >= duration_s:
                    return
                yield time
