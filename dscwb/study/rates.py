"""Every candidate's cost over the data rate: a study and a batch size go in, its lines come out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dscwb.study.sweeps import Study

Floats = NDArray[np.float64]

POINTS = 200  # from the lowest rate to the highest, beside the exact switching rates


@dataclass(frozen=True)
class Switch:
    """A data rate at which the best split changes.

    Attributes:
        rate_bps: The rate in bit/s.
        cost: What both splits cost there, seconds or joules.
        below: Name of the split that is best at and below it.
        above: Name of the split that is best above it.
    """

    rate_bps: float
    cost: float
    below: str
    above: str


@dataclass(frozen=True, eq=False)
class CurveNumbers:
    """Numbers of `plot_latency_vs_rate`.

    Attributes:
        row: Row of the batch size in the study.
        rates_bps: Ascending, the exact switching rates among them, ``(rate,)``.
        cost: Seconds, or joules for energy, ``(split, rate)``; NaN for a candidate without times.
        latency_s: Seconds, ``(split, rate)``.
        transfer_s: Seconds of the payload on the link, ``(split, rate)``.
        best: Index of the best split, ``(rate,)``; at a switching rate the one below it.
        margin: Cost above the best one, ``(split, rate)``.
        second: Index of the second best split, ``(rate,)``; -1 where there is none.
        second_margin: What that one costs more, ``(rate,)``; infinite where there is none.
        pieces: Index, lowest and highest rate of each stretch of the envelope, ascending in rate.
        switches: Between the pieces.
    """

    row: int
    rates_bps: Floats
    cost: Floats
    latency_s: Floats
    transfer_s: Floats
    best: NDArray[np.intp]
    margin: Floats
    second: NDArray[np.intp]
    second_margin: Floats
    pieces: tuple[tuple[int, float, float], ...]
    switches: tuple[Switch, ...]

    @property
    def chosen(self) -> tuple[int, ...]:
        """The splits that are best at some rate shown, from input to output."""
        return tuple(sorted({piece[0] for piece in self.pieces}))


def curve_numbers(study: Study, batch_size: int) -> CurveNumbers:
    """The lines from the study's lowest to its highest data rate.

    Raises:
        ValueError: The batch size is not on the study's grid.
    """
    row = study.row(batch_size)
    low, high = study.rate_range
    envelope = study.envelopes[row]
    inside = envelope.switching_rates_bps
    inside = inside[(inside > low) & (inside < high)]
    rates = np.unique(np.concatenate([np.geomspace(low, high, POINTS)[1:-1], inside, [low, high]]))
    cost = study.intercepts[row, :, None] + study.slopes[row, :, None] / rates
    best = envelope.best_split(rates)
    at = np.arange(len(rates))
    others = np.where(np.isnan(cost), np.inf, cost)
    others[best, at] = np.inf
    second = np.argmin(others, axis=0)
    lines = study.lines
    transfer = lines.bits[row, :, None] / rates
    return CurveNumbers(
        row,
        rates,
        cost,
        lines.intercept_s[row, :, None] + transfer,
        transfer,
        best,
        cost - cost[best, at],
        np.where(np.isfinite(others[second, at]), second, -1),
        others[second, at] - cost[best, at],
        _pieces(rates, best, inside),
        _switches(study, row, inside),
    )


def _pieces(
    rates: Floats, best: NDArray[np.intp], inside: Floats
) -> tuple[tuple[int, float, float], ...]:
    """Each stretch of the envelope that is shown."""
    ends = [float(rates[0]), *inside.tolist(), float(rates[-1])]
    # The split of a stretch is the one at its upper end.
    splits = best[np.searchsorted(rates, ends[1:])].tolist()
    return tuple(zip(splits, ends[:-1], ends[1:], strict=True))


def _switches(study: Study, row: int, inside: Floats) -> tuple[Switch, ...]:
    envelope = study.envelopes[row]
    below = envelope.splits[np.searchsorted(envelope.switching_rates_bps, inside)]
    above = envelope.splits[np.searchsorted(envelope.switching_rates_bps, inside) + 1]
    cost = study.intercepts[row, below] + study.slopes[row, below] / inside
    names = study.splits
    return tuple(
        Switch(rate, value, names[i], names[j])
        for rate, value, i, j in zip(
            inside.tolist(), cost.tolist(), below.tolist(), above.tolist(), strict=True
        )
    )
