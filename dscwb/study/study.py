"""A study: the best split at every batch size and data rate of a grid, and what it is worth.

What counts is the scenario's objective, seconds or joules. Both are lines in 1/r, so all that is
said here of a cost holds for either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import CostLines, Floats, checked_rates, cost_at, gain
from dscwb.cuts import Granularity, resolved
from dscwb.envelope import Envelope, best_at, envelopes
from dscwb.profiles.records import Profile
from dscwb.scenario import Scenario
from dscwb.study import captions, decision, dominance, sureness, tables, thresholds
from dscwb.study.confidence import bootstrap
from dscwb.study.worth import weighted_mean
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, Told

if TYPE_CHECKING:
    import pandas as pd

BEST_STATIC = "best static"
"""A baseline: the one split with the least mean cost over the grid."""
MINIMAX_STATIC = "minimax-regret static"
"""A baseline: the one split whose largest regret over the grid is least."""
BASELINES = (NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC)
_SPELLINGS = {name.replace(" ", "_").replace("-", "_"): name for name in BASELINES}


def identified(baseline: str) -> str:
    """One of `BASELINES` or a split's identifier, however it is spelt.

    Example:
        >>> identified("best_static"), identified("after blocks.3.0")
        ('best static', 'blocks.3.0')
    """
    return _SPELLINGS.get(baseline, baseline).removeprefix("after ")


@dataclass(frozen=True, eq=False, repr=False)
class Study(Told):
    """Best splits over a grid of batch sizes and data rates, made by `sweep`.

    A `baseline` is ``no offloading``, ``full offloading``, ``best static`` (the one split with the
    least mean cost), ``minimax-regret static`` (that with the least largest regret), each also
    with underscores (``best_static``), or the name of any split, with or without ``after``. A
    method that takes one raises ValueError where it is not a candidate.

    Attributes:
        edge: Profile of the device.
        server: Profile of the server.
        scenario: Link, encodings and the other choices.
        data_rates_bps: ``(rate,)``, bit/s; at 0 the link is down, and only what sends nothing ends.
        lines: Latency lines of the candidates, ``(batch, split)``.
        intercepts: What the objective counts at an endless data rate, ``(batch, split)``: seconds,
            or joules where the scenario says energy.
        slopes: Bits to send, or the joules that they cost at 1 bit/s, ``(batch, split)``.
        envelopes: Best splits and exact switching rates, ``(batch,)``.
        best: Index into `splits` of the best split, ``(batch, rate)``; `best_split` has the names.
    """

    edge: Profile
    server: Profile
    scenario: Scenario
    data_rates_bps: Floats
    lines: CostLines
    intercepts: Floats
    slopes: Floats
    envelopes: tuple[Envelope, ...]
    best: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        edge: Profile,
        server: Profile,
        scenario: Scenario,
        lines: CostLines,
        data_rates_bps: ArrayLike,
    ) -> Study:
        """Find the best of these lines at every data rate; ValueError for one below zero."""
        rates = checked_rates(data_rates_bps)
        intercepts, slopes = lines.costs(scenario)
        rows = envelopes(intercepts, slopes)
        best = best_at(rows, intercepts, lines.bits, rates)
        return cls(edge, server, scenario, rates, lines, intercepts, slopes, rows, best)

    def at_rates(self, data_rates_bps: ArrayLike) -> Study:
        """The same study on other data rates in bit/s, ``(rate,)``."""
        rates = checked_rates(data_rates_bps)
        best = best_at(self.envelopes, self.intercepts, self.lines.bits, rates)
        return replace(self, data_rates_bps=rates, best=best)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes of the grid, ``(batch,)``."""
        return self.lines.batch_sizes

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the candidates, from full offloading to no offloading, ``(split,)``."""
        return self.lines.names

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the splits that are best somewhere on the grid, from input to output."""
        return tuple(self.splits[i] for i in np.unique(self.best))

    @property
    def granularity(self) -> Granularity:
        """Where the model may be split, ``auto`` resolved: ``block``, ``op`` or ``compressive``."""
        return resolved(self.edge.graph, self.scenario.granularity)

    @property
    def unit(self) -> str:
        """Unit of a cost: ``s`` or ``J``."""
        return "J" if self.scenario.objective == "energy" else "s"

    @property
    def rate_range(self) -> tuple[float, float]:
        """Lowest and highest data rate to draw, bit/s: a logarithmic axis has no zero.

        An octave each way around a single rate, and around 1 Mbit/s if the link is always down.
        """
        up = self.data_rates_bps[self.data_rates_bps > 0]
        low, high = (float(up.min()), float(up.max())) if up.size else (1e6, 1e6)
        return (low, high) if low < high else (low / 2, high * 2)

    def row(self, batch_size: int) -> int:
        """Row of a batch size in the arrays.

        Raises:
            ValueError: It is not on the grid.
        """
        if batch_size not in self.batch_sizes:
            raise ValueError(
                f"Batch size {batch_size} is not on this grid: {list(self.batch_sizes)}."
            )
        return self.batch_sizes.index(batch_size)

    def _cost(
        self, at: Any, data_rates_bps: ArrayLike | None = None, *, in_seconds: bool = False
    ) -> Floats:
        """Costs of the lines at these places of the arrays: the objective's, or seconds."""
        lines, rates = self.lines, self.data_rates_bps
        if data_rates_bps is not None:
            rates = checked_rates(data_rates_bps)
        if in_seconds:
            return cost_at(lines.intercept_s[at], lines.bits[at], rates)
        # Sending may cost no energy and yet never end.
        slopes = np.where(rates == 0, lines.bits[at], self.slopes[at])
        return cost_at(self.intercepts[at], slopes, rates)

    @property
    def _at_best(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.arange(len(self.batch_sizes))[:, None], self.best

    def cost_at(self, batch_size: int, data_rates_bps: ArrayLike | None = None) -> Floats:
        """Cost of every split, seconds or joules, ``(split, rate)``; NaN where it has no time.

        Args:
            batch_size: One of the grid's; ValueError for another.
            data_rates_bps: In bit/s, ``(rate,)``; those of the grid when left out.
        """
        return self._cost((self.row(batch_size), slice(None), None), data_rates_bps)

    def latency_at(self, batch_size: int, data_rates_bps: ArrayLike | None = None) -> Floats:
        """Seconds of every split, as `cost_at`."""
        at = self.row(batch_size), slice(None), None
        return self._cost(at, data_rates_bps, in_seconds=True)

    @property
    def cost(self) -> Floats:
        """What the best split costs at every point, seconds or joules, ``(batch, rate)``."""
        return self._cost(self._at_best)

    @property
    def latency_s(self) -> Floats:
        """Seconds of the best split at every point, ``(batch, rate)``."""
        return self._cost(self._at_best, in_seconds=True)

    def static_cost(self, baseline: str) -> Floats:
        """Cost at every point if this one split is always used, ``(batch, rate)``.

        NaN where it has no time, or where its head does not fit into the device's memory.
        """
        return self._cost((slice(None), [self.splits.index(self.baseline_split(baseline))]))

    def best_split(self) -> pd.DataFrame:
        """Name of the best split: rows are batch sizes, columns data rates in bit/s."""
        return tables.frame(self, np.array(self.splits, dtype=object)[self.best])

    def gain(self, baseline: str = NO_OFFLOADING) -> pd.DataFrame:
        """Relative gain (C_baseline - C_best) / C_baseline of choosing the split at every point.

        Rows are batch sizes, columns data rates in bit/s; never negative, never clipped; NaN where
        the baseline is not possible.
        """
        return tables.frame(self, gain(self.cost, self.static_cost(baseline)))

    def regret(self, baseline: str) -> pd.DataFrame:
        """What always using one split costs more than the best one, seconds or joules.

        Rows are batch sizes, columns data rates in bit/s; never negative.
        """
        return tables.frame(self, self._regret(self.static_cost(baseline)))

    def _regret(self, static: Floats) -> Floats:
        cost = self.cost
        # Where nothing is possible nothing is regretted. At a switching rate both cost the same,
        # and roundings may differ in the last bit.
        rise = np.subtract(static, cost, out=np.zeros_like(cost), where=~np.isposinf(cost))
        regret: Floats = np.maximum(rise, 0)
        return regret

    def mean_gain(self, baseline: str = NO_OFFLOADING, weights: ArrayLike | None = None) -> float:
        """Mean of `gain` over the grid.

        Args:
            baseline: See `Study`; the best static split is that under these weights.
            weights: How often each point occurs, ``(batch, rate)`` or what broadcasts to it; they
                need not add up to one. All alike when left out.
        """
        if identified(baseline) == BEST_STATIC:
            baseline = self.best_static(weights=weights)
        return weighted_mean(gain(self.cost, self.static_cost(baseline)), weights)

    def usefulness(self, weights: ArrayLike | None = None) -> float:
        """Share of points whose best choice is a split, neither no nor full offloading."""
        ends = [i for i, cut in enumerate(self.lines.splits) if cut.is_input or cut.is_output]
        return weighted_mean((~np.isin(self.best, ends)).astype(np.float64), weights)

    def baseline_split(self, baseline: str) -> str:
        """Name of the split that a baseline stands for."""
        baseline = identified(baseline)
        if baseline == BEST_STATIC:
            return self.best_static()
        if baseline == MINIMAX_STATIC:
            return self.best_static("minimax")
        if baseline not in self.splits:
            raise ValueError(
                f"{baseline!r} is not a candidate here; choose {BEST_STATIC!r}, "
                f"{MINIMAX_STATIC!r} or one of {', '.join(self.splits)}."
            )
        return baseline

    def best_static(self, by: str = "mean", weights: ArrayLike | None = None) -> str:
        """The one split to choose if it may never change; ties: nearest to the input.

        Args:
            by: ``mean``: the least mean cost over the grid; ``minimax``: the least largest regret.
            weights: For the mean, as in `mean_gain`.

        Raises:
            ValueError: Another criterion, or no split has a time at every batch size.
        """
        if by not in ("mean", "minimax"):
            raise ValueError(f"by is {by!r}; choose 'mean' or 'minimax'.")
        ends = ~np.isposinf(self.cost)  # where nothing at all is possible, all splits are alike
        scores = [
            weighted_mean(np.where(ends, static, 0.0), weights)
            if by == "mean"
            else float(self._regret(static).max())
            for static in map(self.static_cost, self.splits)
        ]
        if np.isnan(scores).all():
            raise ValueError("No split has a time in every state; choose fewer batch sizes.")
        return self.splits[int(np.nanargmin(scores))]  # NaN: not possible at every batch size

    def gain_at(
        self, batch_size: int, data_rate_bps: float, baseline: str = NO_OFFLOADING
    ) -> float:
        """The gain at one point; the rate need not lie on the grid."""
        split = self.splits.index(self.baseline_split(baseline))
        best = self.at_rates(data_rate_bps).best[self.row(batch_size), 0]
        costs = self.cost_at(batch_size, data_rate_bps)[:, 0]
        return float(gain(costs[best], costs[split]))

    # What else a study says, a file for each.
    at = decision.decision
    how_sure = sureness.how_sure
    confidence = bootstrap
    policy = thresholds.policy_of
    dominance = dominance.dominance
    switching_rates = tables.switching_rates
    static_splits = tables.static_splits
    to_pandas = tables.to_pandas
    to_xarray = tables.to_xarray
    save = tables.save
    stamp = captions.stamp
    label = captions.label
    cautions = captions.cautions
    summary = captions.summary

    @property
    def written(self) -> tuple[str, str]:
        """How input and features really go over the wire, in words; empty where not sent."""
        return captions.written(self)

    @property
    def grid_label(self) -> str:
        """What a mean is over, in words: the range of batch sizes and that of data rates."""
        return captions.grid(self)
