"""Medians and quantiles of samples, and how far they lie from those of all samples there are."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAIL = 0.025  # on either side of a 95 % interval
NORMAL_95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
# Of normal samples: standard error of a median over that of a mean (asymptotically √(π/2)), and
# interquartile range over standard deviation.
MEDIAN_OVER_MEAN, IQR_OVER_SIGMA = math.sqrt(math.pi / 2), 1.348980


def quantile(samples: Floats, share: float) -> Floats:
    """Quantile of each column, ``(column,)``, linear between samples; NaN is left out.

    `np.nanquantile` does the same and takes fifty times as long.
    """
    ordered = np.sort(samples, axis=0)  # NaN comes last
    last = np.maximum(len(samples) - np.isnan(ordered).sum(axis=0) - 1, 0)
    place = share * last
    low, columns = np.floor(place).astype(int), np.arange(samples.shape[1])
    below, above = ordered[low, columns], ordered[np.minimum(low + 1, last), columns]
    values: Floats = below + (place - low) * (above - below)
    return values


def error_of_median(samples: Floats, sigma: float | None = None) -> float:
    """Of normal samples, ``(sample,)``, with their own standard deviation or this one."""
    sigma = sigma_of(samples) if sigma is None else sigma
    return MEDIAN_OVER_MEAN * sigma / math.sqrt(len(samples))


def sigma_of(samples: Floats) -> float:
    """Standard deviation of normal samples with this interquartile range, ``(sample,)``."""
    low, high = np.quantile(samples, [0.25, 0.75])
    return float(high - low) / IQR_OVER_SIGMA


def median_interval(samples: Floats, tail: float = TAIL) -> tuple[float, float, float]:
    """The median, and two of the samples between which that of all lies in 95 % of cases.

    `tail` is the probability of lying outside on either side. Order statistics (David and Nagaraja,
    Order Statistics, 3rd ed., 7.1) hold whatever the distribution. Below six samples no 95 % can be
    had, and the interval spans all of them.
    """
    ordered = np.sort(samples)
    outside = _left_out(len(ordered), tail)
    return float(np.median(ordered)), float(ordered[outside]), float(ordered[-1 - outside])


@lru_cache(maxsize=4096)
def _left_out(samples: int, tail: float) -> int:
    """How many of the smallest leave at most `tail` for a median below the rest."""
    from scipy.special import bdtr

    chances = bdtr(np.arange(samples // 2 + 1), samples, 0.5)  # that so many lie below the median
    return max(0, int(np.searchsorted(chances, tail, side="right")) - 1)
