"""How sure the decisions are: what noise in the measurements could have changed.

A bootstrap over the raw passes of both machines: whole rounds are drawn with replacement, all
medians are taken anew (see `resampling`), and every state is decided again. It knows the scatter
between the passes of one session and nothing else: not another day, another copy of the device, or
an error of interpolation. Of fewer than about ten passes its intervals are too narrow. What a model
that is off would change, `sureness` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import Floats, cost_at, gain, neighbour_shares
from dscwb.cuts import all_cuts
from dscwb.envelope import ROUNDING
from dscwb.profiles.records import NS
from dscwb.profiles.resampling import fewest_repeats, resampled, same_passes
from dscwb.units import NO_OFFLOADING, Told, format_percent, shown_name

if TYPE_CHECKING:
    import pandas as pd

    from dscwb.study.study import Study


DECIDED_FROM = 0.95  # a state is decided where one split wins in so many of the replicates
OUTSIDE = 0.025  # of the replicates, on either side of a 95 % interval
FEWEST_REPLICATES = 40  # of fewer, nothing lies outside of a 95 % interval
OTHER_STUDY = "This confidence is of another study; take it from study.confidence()."


@dataclass(frozen=True, eq=False, repr=False)
class Confidence(Told):
    """What a bootstrap says of a study's decisions.

    Attributes:
        study: The study that was asked about.
        replicates: How often all passes were drawn anew.
        seed: The same seed gives the same numbers.
        exact: Machines, or batch sizes of a machine, whose times enter as exact because there are
            no repeats of them: ``edge``, ``server``, ``edge at batch size 4``.
        noise: What each split costs more than in the study because of the device's times, and
            because of the server's, by measured batch size, ``(replicate, split)``.
        known: At which rates splits win, by row of the grid, once somebody asked.
    """

    study: Study
    replicates: int
    seed: int
    exact: tuple[str, ...]
    noise: tuple[dict[int, Floats], dict[int, Floats]]
    known: dict[int, dict[int, tuple[Floats, Floats]]] = field(default_factory=dict)

    def summary(self) -> dict[str, str]:
        """What a notebook shows of it, a line each."""
        over = self.study.splits[-1]
        low, high = map(format_percent, self.mean_gain(over))
        return {
            "Confidence": f"{self.study.edge.graph.model}, {self.label()}",
            "Undecided": f"{format_percent(float(self.undecided.mean()))} of points",
            "Mean gain": f"{low} to {high} over {shown_name(over)} (95 % interval), mean over "
            f"{self.study.grid_label}",
        }

    def label(self) -> str:
        """How it was found, for captions."""
        exact = f"; without repeats, taken as exact: {', '.join(self.exact)}" if self.exact else ""
        return f"{self.replicates:,} bootstrap replicates of the raw passes{exact}"

    def intercepts(self, row: int) -> Floats:
        """As ``study.intercepts[row]`` in each replicate, ``(replicate, split)``."""
        # Without noise the sum is zero, and the study's own numbers remain to the last bit.
        total = np.zeros((self.replicates, len(self.study.splits)))
        for profile, noise in zip((self.study.edge, self.study.server), self.noise, strict=True):
            for size, share in neighbour_shares(profile, self.study.batch_sizes[row]):
                total += share * noise[size]
        costs: Floats = self.study.intercepts[row] + total
        return costs

    @cached_property
    def shares(self) -> Floats:
        """Share of the replicates in which each split wins, ``(batch, rate, split)``."""
        return np.stack([self._shares(row, self.study) for row in range(len(self.study.best))])

    def _won(self, row: int) -> dict[int, tuple[Floats, Floats]]:
        """Lowest and highest rates at which a split wins, each in order, for all that ever do."""
        if row not in self.known:
            starts, ends = _ranges(self.intercepts(row), self.study.slopes[row])
            wins = starts < ends
            self.known[row] = {
                k: (np.sort(starts[wins[:, k], k]), np.sort(ends[wins[:, k], k]))
                for k in np.flatnonzero(wins.any(axis=0)).tolist()
            }
        return self.known[row]

    def _shares(self, row: int, study: Study) -> Floats:
        rates = study.data_rates_bps
        shares = np.zeros((len(rates), len(study.splits)))
        for split, (starts, ends) in self._won(row).items():
            won = np.searchsorted(starts, rates) - np.searchsorted(ends, rates)
            shares[:, split] = won / self.replicates
        down = np.flatnonzero(rates == 0)  # then no time plays a part
        shares[down] = 0
        shares[down, study.best[row, down]] = 1
        return shares

    @cached_property
    def probability(self) -> Floats:
        """Share of the replicates in which the study's own best split wins, ``(batch, rate)``."""
        return np.take_along_axis(self.shares, self.study.best[..., None], axis=-1)[..., 0]

    @cached_property
    def undecided(self) -> NDArray[np.bool_]:
        """True where no split wins in 95 % of the replicates, ``(batch, rate)``."""
        highest: Floats = self.shares.max(axis=-1)
        return highest < DECIDED_FROM

    def at_rates(self, data_rates_bps: ArrayLike) -> Confidence:
        """The same replicates on other data rates in bit/s, ``(rate,)``.

        Raises:
            ValueError: A rate is not finite, or below zero.
        """
        return replace(self, study=self.study.at_rates(data_rates_bps))

    def at(self, batch_size: int, data_rate_bps: float) -> float:
        """Share of the replicates in which the best split of one state wins.

        Raises:
            ValueError: The batch size is not on the grid, or the rate is below zero.
        """
        row, study = self.study.row(batch_size), self.study.at_rates(data_rate_bps)
        return float(self._shares(row, study)[0, study.best[row, 0]])

    def switching_rates(self) -> pd.DataFrame:
        """95 % intervals of the rates at which the best split changes.

        Low and high lie among the replicates' rates at which the two lines meet, (s_j - s_i) /
        (a_i - a_j); other splits may win there. Where they do not meet, since the split with more
        bits is never cheaper, that rate is infinite: so is ``high_bps`` if that happens in more
        than 2.5 % of the replicates.

        Returns:
            One row a change, as `Study.switching_rates`: ``batch_size``, ``below``, ``above``,
            ``data_rate_bps``, ``low_bps``, ``high_bps``.
        """
        ends = []
        for row, one in enumerate(self.study.envelopes):
            costs = self.intercepts(row)[:, one.splits]
            rises = np.diff(self.study.slopes[row, one.splits])
            ends += [*map(_interval, _meeting(costs[:, :-1], costs[:, 1:], rises).T)]
        low, high = np.array(ends).reshape(-1, 2).T
        columns = ["batch_size", "below", "above", "data_rate_bps"]
        return self.study.switching_rates()[columns].assign(low_bps=low, high_bps=high)

    def mean_gain(self, baseline: str = NO_OFFLOADING) -> tuple[float, float]:
        """95 % interval of `Study.mean_gain`: low and high; NaN where the baseline is not possible.

        In every replicate the gain of its own best splits is averaged over the grid, all points
        alike; the interval holds the middle 95 % of these means. The baseline is the split that it
        stands for in the study: ``best static`` is not chosen anew.
        """
        study, rates = self.study, self.study.data_rates_bps
        fixed, means = study.splits.index(study.baseline_split(baseline)), np.zeros(self.replicates)
        for row, slopes in enumerate(study.slopes):
            costs, least = self.intercepts(row), np.full((self.replicates, len(rates)), np.inf)
            for split in {*self._won(row), *study.best[row].tolist()}:
                np.fmin(least, cost_at(costs[:, [split]], slopes[split], rates), out=least)
            always = cost_at(costs[:, [fixed]], slopes[fixed], rates)
            means += gain(least, always).mean(axis=1)
        return _interval(means / len(study.batch_sizes))


def bootstrap(
    study: Study,
    replicates: int = 1000,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Confidence:
    """How sure the decisions are: draw all passes anew, so many times, and decide again.

    Rounds are drawn as a whole, a plain pass with the stamped pass that ran next to it, a head with
    its tail; batch sizes and cuts that were run apart are drawn apart. A server that is a scaled
    copy of the device's passes is drawn together with it.

    Args:
        study: What to ask about.
        replicates: How often, from 40 up.
        seed: A whole number from zero up.
        progress: Called with steps done and steps in all; what it raises ends the work.

    Raises:
        ValueError: Too few replicates, or a negative seed.
    """
    for name, value, least in (("replicates", replicates, FEWEST_REPLICATES), ("seed", seed, 0)):
        if value != int(value) or value < least:
            raise ValueError(f"{name} is {value}; give a whole number from {least} up.")
    scenario, profiles = study.scenario, (study.edge, study.server)
    # Another version of torch may have numbered the server's layers otherwise.
    there = {cut.name: cut.index for cut in all_cuts(study.server.graph, scenario.granularity)}
    cuts = np.array([[cut.index, there[cut.name]] for cut in study.lines.splits]).T
    factors = np.multiply(
        (scenario.device_slowdown, scenario.server_load), scenario.second_costs
    ).tolist()
    passes = [{one.batch_size: one for one in profile.passes} for profile in profiles]
    near = [
        sorted({n for size in study.batch_sizes for n, _ in neighbour_shares(profile, size)})
        for profile in profiles
    ]
    noise: tuple[dict[int, Floats], dict[int, Floats]] = ({}, {})
    exact: list[str] = []
    steps = sum(map(len, near)) + len(study.best)
    told = progress or (lambda done, steps: None)
    for k, (profile, name) in enumerate(zip(profiles, ("edge", "server"), strict=True)):
        single = []
        for size in near[k]:
            told(sum(map(len, noise)), steps)
            one, other = passes[k][size], passes[0].get(size)
            copied = k == 1 and other is not None and same_passes(other, one)
            key = seed, 0 if copied else k, size
            times = resampled(one, cuts[k], key, replicates)[k] * (NS * profile.time_scale)
            median = (profile.head_s, profile.tail_s)[k](size)[cuts[k]]
            noise[k][size] = factors[k] * (times - median)
            if fewest_repeats(one, cuts[k]) < 2:
                single.append(f"{name} at batch size {size}")
        exact += [name] if len(single) == len(near[k]) else single
    found = Confidence(study, replicates, seed, tuple(exact), noise)
    for row in range(len(study.best)):  # now, while somebody waits, not when it is drawn
        told(steps - len(study.best) + row, steps)
        found._won(row)
    return found


def _ranges(costs: Floats, slopes: Floats) -> tuple[Floats, Floats]:
    """Rates above which, and up to which, each line wins, ``(replicate, split)`` each.

    A line wins nowhere if its range is empty. Ties go to fewer bits, as in `envelope`.

    Args:
        costs: At an endless rate, ``(replicate, split)``; NaN where a split is not possible.
        slopes: ``(split,)``.
    """
    order = np.argsort(slopes, kind="stable")
    order = order[~np.isnan(costs[0, order])]
    # Only a split cheaper than all of fewer bits can win: most never are.
    lowest = np.minimum.accumulate(costs[:, order], axis=1)
    falls = (lowest[:, 1:] < lowest[:, :-1]).any(axis=0)
    order = order[np.concatenate(([True], falls))]
    starts, ends = np.full((2, *costs.shape), np.inf)
    starts[:, order[0]] = 0
    for k, line in enumerate(order[1:], start=1):
        before = order[:k]
        rates = _meeting(costs[:, before], costs[:, [line]], slopes[line] - slopes[before])
        starts[:, line] = rates.max(axis=1)
    # A line is beaten as soon as one of more bits beats all before it.
    ends[:, order[:-1]] = np.minimum.accumulate(starts[:, order[:0:-1]], axis=1)[:, ::-1]
    return starts, ends


def _meeting(costs: Floats, others: Floats, rises: Floats) -> Floats:
    """Rate from which the other lines, of so much more slope, are cheaper; infinite for never."""
    falls = costs - others
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rates: Floats = np.where(falls > ROUNDING * costs, rises / falls, np.inf)
    return rates


def _interval(values: Floats) -> tuple[float, float]:
    """The middle 95 %, from one of the values to another: they may be infinite."""
    outside = int(OUTSIDE * len(values))
    ordered = np.sort(values)
    return float(ordered[outside]), float(ordered[-1 - outside])
