"""A study: the best split at every batch size and data rate of a grid, and what it is worth.

What counts is the scenario's objective, seconds or joules. Both are lines in 1/r, so all that is
said here of a cost holds for either.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import CostLines, Floats, checked_rates, cost_at, gain
from dscwb.cuts import Granularity, resolved
from dscwb.envelope import Envelope, best_at, envelopes
from dscwb.policy import Policy
from dscwb.profiles.records import Profile
from dscwb.scenario import Scenario
from dscwb.study import captions, tables
from dscwb.study.confidence import Confidence, bootstrap
from dscwb.study.decision import Decision, decision
from dscwb.study.dominance import Dominance, dominance
from dscwb.study.sureness import HowSure, how_sure
from dscwb.study.thresholds import policy_of
from dscwb.study.worth import weighted_mean
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, as_lines, as_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

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
class Study:
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

    def cost_at(self, batch_size: int, data_rates_bps: ArrayLike | None = None) -> Floats:
        """Cost of every split, seconds or joules, ``(split, rate)``; NaN where it has no time.

        Args:
            batch_size: One of the grid's; ValueError for another.
            data_rates_bps: In bit/s, ``(rate,)``; those of the grid when left out.
        """
        return self._cost((self.row(batch_size), slice(None), None), data_rates_bps)

    def latency_at(self, batch_size: int, data_rates_bps: ArrayLike | None = None) -> Floats:
        """Seconds of every split, as `cost_at`."""
        return self._latency((self.row(batch_size), slice(None), None), data_rates_bps)

    @property
    def cost(self) -> Floats:
        """What the best split costs at every point, seconds or joules, ``(batch, rate)``."""
        return self._cost(self._at_best)

    @property
    def latency_s(self) -> Floats:
        """Seconds of the best split at every point, ``(batch, rate)``."""
        return self._latency(self._at_best)

    def static_cost(self, baseline: str) -> Floats:
        """Cost at every point if this one split is always used, ``(batch, rate)``.

        NaN where it has no time, or where its head does not fit into the device's memory.
        """
        split = self.splits.index(self.baseline_split(baseline))
        return self._cost((slice(None), [split]))

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

    def static_splits(self) -> pd.DataFrame:
        """Every split if it were always used, over the grid.

        Returns:
            One row a candidate, from input to output: ``split``, ``mean_gain`` of choosing
            dynamically instead, ``mean_regret`` and ``max_regret`` in seconds (or joules), and the
            ``share`` of points at which it is the best one. NaN where it is not possible at every
            batch size.
        """
        return tables.static_splits(self)

    def switching_rates(self) -> pd.DataFrame:
        """Exact data rates at which the best split changes.

        Returns:
            One row a change: ``batch_size``, ``data_rate_bps``, the split that is best at and
            ``below`` that rate and the one ``above`` it.
        """
        return tables.switching_rates(self)

    def dominance(self) -> Dominance:
        """Which cuts can ever be best, see `Dominance`."""
        return dominance(self)

    def at(self, batch_size: int, data_rate_bps: float) -> Decision:
        """What to do at one point; the rate need not lie on the grid.

        Raises:
            ValueError: The batch size is not on the grid, or the rate is below zero.
        """
        return decision(self, batch_size, data_rate_bps)

    def gain_at(
        self, batch_size: int, data_rate_bps: float, baseline: str = NO_OFFLOADING
    ) -> float:
        """The gain at one point; the rate need not lie on the grid."""
        split = self.splits.index(self.baseline_split(baseline))
        best = self.at_rates(data_rate_bps).best[self.row(batch_size), 0]
        costs = self.cost_at(batch_size, data_rate_bps)[:, 0]
        return float(gain(costs[best], costs[split]))

    def how_sure(
        self, batch_size: int, data_rate_bps: float, confidence: Confidence | None = None
    ) -> HowSure:
        """How sure the best split of one point is: by the measurements, and if a model is off.

        Without what `confidence` gave, only models and assumptions are asked; see `HowSure`.

        Example:
            Of the study in the example of `sweep`:

            >>> study.how_sure(1, 2e7).flips[0].split
            'no offloading'
        """
        return how_sure(self, batch_size, data_rate_bps, confidence)

    def confidence(
        self,
        replicates: int = 1000,
        seed: int = 0,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Confidence:
        """How sure the decisions are: draw the raw passes anew so many times, see `bootstrap`."""
        return bootstrap(self, replicates, seed, progress)

    def policy(self, confidence: Confidence | None = None) -> Policy:
        """The best splits as exact thresholds, in a small file for the device itself.

        They hold for every rate, not only for those of this grid; batch sizes are this grid's.
        With what `confidence` gave, each threshold carries its 95 % interval.

        Example:
            Of the study in the example of `sweep`:

            >>> study.policy().best_split(batch_size=1, data_rate_bps=1e9)
            'full offloading'
        """
        return policy_of(self, confidence)

    def to_pandas(self) -> pd.DataFrame:
        """The grid as a long table, one row a point, with latency and gains."""
        return tables.to_pandas(self)

    def to_xarray(self) -> xr.Dataset:
        """The grid as a labelled dataset, see `tables.to_xarray`; needs xarray."""
        return tables.to_xarray(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the grid to a file: ``.csv``, ``.parquet`` or ``.nc``, see `tables.save`."""
        return tables.save(self, path)

    @property
    def written(self) -> tuple[str, str]:
        """How input and features really go over the wire, in words; empty where not sent."""
        return captions.written(self)

    @property
    def grid_label(self) -> str:
        """What a mean is over, in words: the range of batch sizes and that of data rates."""
        return captions.grid(self)

    def stamp(self) -> dict[str, str]:
        """Where the numbers come from, in words: what every file and figure must say."""
        return captions.stamp(self)

    def label(self) -> str:
        """Model, machines and scenario in words: what every figure's caption must say."""
        return captions.label(self)

    def cautions(self, batch_size: int | None = None) -> tuple[str, ...]:
        """What should be known before these numbers are believed, a sentence each; often none.

        Of what stands behind one batch size, or behind all of the study; see `captions.cautions`.
        """
        return captions.cautions(self, batch_size)

    def __repr__(self) -> str:
        """The study in six lines."""
        return as_lines(captions.summary(self))

    def _repr_html_(self) -> str:
        return as_table(captions.summary(self))

    @property
    def _at_best(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.arange(len(self.batch_sizes))[:, None], self.best

    def _cost(self, at: Any, data_rates_bps: ArrayLike | None = None) -> Floats:
        """Costs of the lines at these places of the arrays."""
        rates = self._rates(data_rates_bps)
        # Sending may cost no energy and yet never end.
        slopes = np.where(rates == 0, self.lines.bits[at], self.slopes[at])
        return cost_at(self.intercepts[at], slopes, rates)

    def _latency(self, at: Any, data_rates_bps: ArrayLike | None = None) -> Floats:
        lines, rates = self.lines, self._rates(data_rates_bps)
        return cost_at(lines.intercept_s[at], lines.bits[at], rates)

    def _rates(self, data_rates_bps: ArrayLike | None) -> Floats:
        return self.data_rates_bps if data_rates_bps is None else checked_rates(data_rates_bps)

    def _regret(self, static: Floats) -> Floats:
        cost = self.cost
        # Where nothing is possible nothing is regretted. At a switching rate both cost the same,
        # and roundings may differ in the last bit.
        ends = ~np.isposinf(cost)
        rise = np.subtract(static, cost, out=np.zeros_like(cost), where=ends)
        regret: Floats = np.maximum(rise, 0)
        return regret
