"""Which split is best at which data rate, exactly, and where the best one changes.

For a fixed batch size the latency of split l is a line in x = 1/r, T_l = a_l + s_l·x, with r the
data rate. The best split at every rate is therefore the lower envelope of these lines, and the
rates at which it changes are known exactly; a grid of rates only samples them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import Floats, checked_rates

Integers = NDArray[np.intp]
ROUNDING = 1e-12
"""Costs or payloads that differ by a smaller share are alike: sums of the same times in another
order differ by a thousandth of it, and would else change places at a rate beyond all sense."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """The best splits of one batch size from the lowest data rate to the highest.

    Attributes:
        splits: Indices of the lines on the envelope, ``(piece,)``; bits to send strictly rise and
            intercepts strictly fall from one to the next.
        switching_rates_bps: ``(piece - 1,)``; above ``switching_rates_bps[i]`` bit/s split
            ``splits[i + 1]`` is best, at and below it ``splits[i]`` (ties: fewer bits).
    """

    splits: Integers
    switching_rates_bps: Floats

    def best_split(self, data_rates_bps: ArrayLike) -> Integers:
        """Index of the best line at each rate in bit/s, same shape as the rates."""
        piece = np.searchsorted(self.switching_rates_bps, np.asarray(data_rates_bps), side="left")
        return self.splits[piece]


def lower_envelope(intercepts_s: ArrayLike, slopes: ArrayLike) -> Envelope:
    """Lower envelope of T = a + s/r over all data rates r > 0.

    Lines i and j meet at r = (s_i - s_j) / (a_j - a_i). As r → 0 the smallest s wins, as r → ∞ the
    smallest a. Where lines tie, the one with fewer bits counts; of lines that are alike but for
    `ROUNDING`, the first.

    Args:
        intercepts_s: Seconds that do not depend on the rate, ``(split,)``; NaN leaves a split out.
        slopes: Bits to send, ``(split,)``, not negative.

    Raises:
        ValueError: Shapes differ, no split is left, or a value is negative or infinite.

    Example:
        They cost the same at 0.8 Mbit / 55 ms:

        >>> lower_envelope([0.060, 0.005], [0, 8e5]).switching_rates_bps.round()
        array([14545455.])
    """
    a, s = np.asarray(intercepts_s, dtype=np.float64), np.asarray(slopes, dtype=np.float64)
    if a.ndim != 1 or a.shape != s.shape:
        raise ValueError(f"intercepts {a.shape} and slopes {s.shape} must be two equal rows.")
    candidates = np.flatnonzero(~np.isnan(a))
    if not len(candidates):
        raise ValueError("No split has a time; measure or import at least one.")
    if not (np.all(np.isfinite(a[candidates])) and np.all(np.isfinite(s)) and np.all(s >= 0)):
        raise ValueError("Intercepts must be finite, slopes finite and not negative.")
    order = candidates[np.lexsort((candidates, a[candidates], s[candidates]))]
    # Only a line cheaper than all lines of fewer or equal bits can ever win.
    lowest = np.minimum.accumulate(a[order]) * (1 - ROUNDING)
    order = order[np.append(True, a[order][1:] < lowest[:-1])]
    cost, bits = a.tolist(), s.tolist()
    splits: list[int] = []
    rates: list[float] = []
    for line in order.tolist():
        while splits:  # drop those that lie above the meeting point of their neighbours
            rise = bits[line] - bits[splits[-1]]
            rate = rise / (cost[splits[-1]] - cost[line]) if rise > ROUNDING * bits[line] else 0.0
            if rate > (rates[-1] if rates else 0):
                rates.append(rate)
                break
            splits.pop()
            del rates[-1:]
        splits.append(line)
    return Envelope(np.array(splits, dtype=np.intp), np.array(rates, dtype=np.float64))


def envelopes(intercepts_s: ArrayLike, slopes: ArrayLike) -> tuple[Envelope, ...]:
    """The envelope of each batch size.

    Args:
        intercepts_s: ``(batch, split)``, seconds.
        slopes: ``(batch, split)`` or ``(split,)``, bits.
    """
    a = np.asarray(intercepts_s, dtype=np.float64)
    if a.ndim != 2:
        raise ValueError(f"intercepts_s has shape {a.shape}; give (batch, split).")
    s = np.broadcast_to(np.asarray(slopes, dtype=np.float64), a.shape)
    return tuple(lower_envelope(*row) for row in zip(a, s, strict=True))


def best_split(intercepts_s: ArrayLike, slopes: ArrayLike, data_rates_bps: ArrayLike) -> Integers:
    """Index of the best split in every state, by the lower envelope.

    Args:
        intercepts_s: ``(batch, split)``, seconds.
        slopes: ``(batch, split)`` or ``(split,)``, bits.
        data_rates_bps: ``(rate,)``, bit/s.

    Returns:
        Indices ``(batch, rate)``.

    Raises:
        ValueError: A rate is not finite or below zero, or see `lower_envelope`.

    Example:
        60 ms on the device, or 5 ms and 0.8 Mbit to send:

        >>> best_split([[0.060, 0.005]], [[0, 8e5]], [1e6, 1e8])
        array([[0, 1]])
    """
    rates = checked_rates(data_rates_bps)
    return np.stack([e.best_split(rates) for e in envelopes(intercepts_s, slopes)])


def best_at(
    rows: Sequence[Envelope], intercepts: Floats, bits: Floats, data_rates_bps: Floats
) -> Integers:
    """Index of the best split at every point, ``(batch, rate)``.

    At rate 0 the one with the fewest bits, which is no offloading wherever that is possible.
    """
    best = np.stack([envelope.best_split(data_rates_bps) for envelope in rows])
    fewest = np.where(np.isnan(intercepts), np.inf, bits)
    tied = np.where(fewest == fewest.min(axis=1, keepdims=True), intercepts, np.inf)
    best[:, data_rates_bps == 0] = np.argmin(tied, axis=1)[:, None]
    return best
