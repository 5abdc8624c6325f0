"""Quantiles of a stream of latencies in little memory, with a known relative error."""

from __future__ import annotations

import math
from collections.abc import Mapping

RELATIVE_ERROR = 0.005
"""Of a quantile: each bin is so narrow that its middle is this near to all that lies in it."""
GROWTH = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
"""Of the bins: number k holds what is above exp((k - 1) GROWTH) seconds, up to exp(k GROWTH)."""
SHORTEST_S = 1e-9


class Histogram:
    """How many latencies lie in each bin of a logarithmic scale; the mean is exact."""

    def __init__(self) -> None:
        """Begin with none."""
        self.bins: dict[int, int] = {}
        self.count, self.total_s = 0, 0.0

    @classmethod
    def of(cls, bins: Mapping[int, int], mean_s: float) -> Histogram:
        """What was counted elsewhere: how many in each bin, and the mean of them all."""
        found = cls()
        found.bins, found.count = dict(bins), sum(bins.values())
        found.total_s = mean_s * found.count if found.count else 0.0
        return found

    def add(self, seconds: float) -> None:
        """Count one latency."""
        at = math.ceil(math.log(max(seconds, SHORTEST_S)) / GROWTH)
        self.bins[at] = self.bins.get(at, 0) + 1
        self.count += 1
        self.total_s += seconds

    def join(self, other: Histogram) -> None:
        """Count all that another has counted."""
        for at, count in other.bins.items():
            self.bins[at] = self.bins.get(at, 0) + count
        self.count += other.count
        self.total_s += other.total_s

    @property
    def mean_s(self) -> float:
        """Their mean; NaN of none."""
        return self.total_s / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """The latency that this share does not exceed, within `RELATIVE_ERROR`; NaN of none."""
        left = share * self.count
        for at in sorted(self.bins):
            left -= self.bins[at]
            if left <= 0:
                return math.exp(at * GROWTH) * (1 - RELATIVE_ERROR)
        return math.nan
