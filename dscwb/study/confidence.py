"""How sure the decisions are: what noise in the measurements could have changed.

A bootstrap over the raw passes of both machines: whole rounds are drawn with replacement, all
medians are taken anew (see `resampling`), and every state is decided again. It knows the scatter
between the passes of one session and nothing else: not another day, another copy of the device, or
an error of interpolation. Of fewer than about ten passes its intervals are too narrow. What a model
that is off would change, `sureness` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import Floats, checked_rates, cost_at, gain, neighbour_shares
from dscwb.cuts import all_cuts
from dscwb.profiles.records import NS, Passes, Profile
from dscwb.profiles.resampling import fewest_repeats, resampled, same_passes
from dscwb.units import NO_OFFLOADING, as_lines, as_table, format_percent, shown_name

if TYPE_CHECKING:
    import pandas as pd

    from dscwb.study.study import Study


DECIDED_FROM = 0.95  # a state is decided where one split wins in so many of the replicates
OUTSIDE = 0.025  # of the replicates, on either side of a 95 % interval
FEWEST_REPLICATES = 40  # of fewer, nothing lies outside of a 95 % interval
EDGE, SERVER = 0, 1


@dataclass(frozen=True, eq=False, repr=False)
class Confidence:
    """What a bootstrap says of a study's decisions.

    Attributes:
        study: The study that was asked about.
        replicates: How often all passes were drawn anew.
        seed: The same seed gives the same numbers.
        exact: Machines, or batch sizes of a machine, whose times enter as exact because there are
            no repeats of them: ``edge``, ``server``, ``edge at batch size 4``.
        winners: Indices into ``study.lines.splits`` of the splits that win at some data rate in
            some replicate, ascending, ``(winner,)``.
        shares: Share of the replicates in which each of them wins, ``(batch, rate, winner)``.
        intercepts: What each of them costs at an endless data rate in each replicate, as
            ``study.intercepts``, ``(batch, replicate, winner)``.
    """

    study: Study
    replicates: int
    seed: int
    exact: tuple[str, ...]
    winners: NDArray[np.intp]
    shares: Floats
    intercepts: Floats

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

    def __repr__(self) -> str:
        """The summary in three lines."""
        return as_lines(self.summary())

    def _repr_html_(self) -> str:
        return as_table(self.summary())

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the winners, ``(winner,)``."""
        return tuple(self.study.splits[i] for i in self.winners)

    @cached_property
    def probability(self) -> Floats:
        """Share of the replicates in which the study's own best split wins, ``(batch, rate)``."""
        own = self.study.best[..., None] == self.winners
        shares: Floats = (self.shares * own).sum(axis=-1)
        return shares

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
        study = self.study.at_rates(data_rates_bps)
        rates = study.data_rates_bps
        shares = np.stack([self._shares(row, rates) for row in range(len(self.intercepts))])
        down = rates == 0  # then no time plays a part
        shares[:, down] = study.best[:, down, None] == self.winners
        return replace(self, study=study, shares=shares)

    def at(self, batch_size: int, data_rate_bps: float) -> float:
        """Share of the replicates in which the best split of one state wins.

        Raises:
            ValueError: The batch size is not on the grid, or the rate is below zero.
        """
        row, rate = self.study.row(batch_size), checked_rates(data_rate_bps)
        if rate[0] == 0:
            return 1.0
        best = self.study.envelopes[row].best_split(rate)[0]
        return float(self._shares(row, rate)[0] @ (self.winners == best))

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
        table = self.study.switching_rates()
        ends = [
            _interval(self._meet(row, below, above))
            for row, one in enumerate(self.study.envelopes)
            for below, above in zip(one.splits[:-1], one.splits[1:], strict=True)
        ]
        low, high = np.array(ends).reshape(-1, 2).T
        columns = ["batch_size", "below", "above", "data_rate_bps"]
        return table[columns].assign(low_bps=low, high_bps=high)

    def mean_gain(self, baseline: str = NO_OFFLOADING) -> tuple[float, float]:
        """95 % interval of `Study.mean_gain`: low and high; NaN where the baseline is not possible.

        In every replicate the gain of its own best splits is averaged over the grid, all points
        alike; the interval holds the middle 95 % of these means. The baseline is the split that it
        stands for in the study: ``best static`` is not chosen anew.
        """
        study = self.study
        split = study.splits.index(study.baseline_split(baseline))
        fixed = self._intercepts_of(split)
        means = np.zeros(self.replicates)
        for row, (costs, slopes) in enumerate(zip(self.intercepts, study.slopes, strict=True)):
            least = _least(costs, slopes[self.winners], study.data_rates_bps)
            always = cost_at(fixed[row][:, None], slopes[split], study.data_rates_bps)
            means += gain(least, always).mean(axis=1)
        return _interval(means / len(study.batch_sizes))

    def label(self) -> str:
        """How it was found, for captions."""
        exact = f"; without repeats, taken as exact: {', '.join(self.exact)}" if self.exact else ""
        return f"{self.replicates:,} bootstrap replicates of the raw passes{exact}"

    def _shares(self, row: int, rates: Floats) -> Floats:
        """Share of the replicates that each winner wins at each rate, ``(rate, winner)``."""
        order = np.argsort(self.study.slopes[row, self.winners], kind="stable")
        order = order[~np.isnan(self.intercepts[row, 0, order])]
        slopes = self.study.slopes[row, self.winners[order]]
        shares = np.zeros((len(rates), len(self.winners)))
        starts, ends = _ranges(self.intercepts[row][:, order], slopes)
        for winner, start, end in zip(order, starts.T, ends.T, strict=True):
            wins = start < end
            begun = np.searchsorted(np.sort(start[wins]), rates, side="left")
            over = np.searchsorted(np.sort(end[wins]), rates, side="left")
            shares[:, winner] = (begun - over) / self.replicates
        return shares

    def _meet(self, row: int, below: int, above: int) -> Floats:
        """Rate in bit/s from which the one beats the other, ``(replicate,)``."""
        first, second = (self._intercepts_of(split)[row] for split in (below, above))
        slopes = self.study.slopes[row]
        return _rates(first - second, slopes[above] - slopes[below])

    def _intercepts_of(self, split: int) -> Floats:
        """As `intercepts` for one split, a winner or not, ``(batch, replicate)``."""
        known = np.flatnonzero(self.winners == split)
        if len(known):
            own: Floats = self.intercepts[:, :, known[0]]
            return own
        noise = _Noise.of(self.study, self.replicates, self.seed, [split])
        return np.stack([noise.intercepts(row)[:, 0] for row in range(len(self.intercepts))])


def bootstrap(
    study: Study,
    replicates: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Confidence:
    """Draw all passes anew, so many times, and decide every state again.

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
    noise = _Noise.of(study, replicates, seed, range(len(study.splits)))
    count = len(study.batch_sizes)

    def rows(before: int) -> Iterator[int]:
        for row in range(count):
            if progress is not None:
                progress(before + row, 2 * count)
            yield row

    down = study.best[:, study.data_rates_bps == 0].ravel()
    winners = np.unique(np.concatenate([*(noise.winners(row) for row in rows(0)), down]))
    intercepts = np.stack([noise.intercepts(row)[:, winners] for row in rows(count)])
    nothing = np.empty((count, 0, len(winners)))
    found = Confidence(study, replicates, seed, noise.exact, winners, nothing, intercepts)
    return found.at_rates(study.data_rates_bps)


@dataclass(frozen=True, eq=False)
class _Noise:
    """How far the replicates lie from the medians.

    Attributes:
        study: The study.
        splits: Indices of the candidates looked at, ``(split,)``.
        replicates: How many there are.
        head_s: Head of each replicate less the study's, by measured batch size, slowdown left out,
            ``(replicate, split)``.
        tail_s: The same of the tail, load left out.
        exact: As in `Confidence`.
    """

    study: Study
    splits: NDArray[np.intp]
    replicates: int
    head_s: dict[int, Floats]
    tail_s: dict[int, Floats]
    exact: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, replicates: int, seed: int, splits: Sequence[int]) -> _Noise:
        """Draw those passes of both machines that the study rests on."""
        wanted = [study.lines.splits[i] for i in splits]
        # Another version of torch may have numbered the server's layers otherwise.
        those = all_cuts(study.server.graph, study.scenario.granularity)
        number = {cut.name: cut.index for cut in those}
        here = np.array([cut.index for cut in wanted])
        there = np.array([number[cut.name] for cut in wanted])
        own, other = _used(study.edge, study), _used(study.server, study)
        head_s, tail_s = {}, {}
        for size, passes in own.items():
            times, _ = resampled(passes, here, (seed, EDGE, size), replicates)
            median = study.edge.head_s(size)[here]
            head_s[size] = times * (NS * study.edge.time_scale) - median
        for size, passes in other.items():
            copied = size in own and same_passes(own[size], passes)
            key = seed, EDGE if copied else SERVER, size
            _, times = resampled(passes, there, key, replicates)
            median = study.server.tail_s(size)[there]
            tail_s[size] = times * (NS * study.server.time_scale) - median
        exact = (*_exact("edge", own, here), *_exact("server", other, there))
        return cls(study, np.array(splits), replicates, head_s, tail_s, exact)

    def intercepts(self, row: int) -> Floats:
        """What the splits cost at an endless rate, ``(replicate, split)``; NaN as in the study."""
        study, scenario = self.study, self.study.scenario
        size = study.batch_sizes[row]
        device, server = scenario.second_costs
        head, tail = scenario.device_slowdown * device, scenario.server_load * server
        # Without noise both sums are zero, and the study's own numbers remain to the last bit.
        noise = np.zeros((self.replicates, len(self.splits)))
        for near, share in neighbour_shares(study.edge, size):
            noise += head * share * self.head_s[near]
        for near, share in neighbour_shares(study.server, size):
            noise += tail * share * self.tail_s[near]
        costs: Floats = study.intercepts[row, self.splits] + noise
        return costs

    def winners(self, row: int) -> NDArray[np.intp]:
        """Indices into `splits` of those that win at some rate in some replicate."""
        costs, slopes = self.intercepts(row), self.study.slopes[row, self.splits]
        order = np.argsort(slopes, kind="stable")
        order = order[~np.isnan(costs[0, order])]
        # Only a split cheaper than all of fewer bits can win: most never are.
        lowest = np.minimum.accumulate(costs[:, order], axis=1)
        falls = (lowest[:, 1:] < lowest[:, :-1]).any(axis=0)
        order = order[np.concatenate(([True], falls))]
        starts, ends = _ranges(costs[:, order], slopes[order])
        won: NDArray[np.intp] = order[(starts < ends).any(axis=0)]
        return won


def _ranges(costs: Floats, slopes: Floats) -> tuple[Floats, Floats]:
    """Rates above which, and up to which, each line wins, ``(replicate, split)`` each.

    A line wins nowhere if its range is empty. Ties go to fewer bits, as in `envelope`.

    Args:
        costs: At an endless rate, ``(replicate, split)``.
        slopes: Not falling, ``(split,)``.
    """
    starts = np.zeros_like(costs)
    for k in range(1, len(slopes)):
        starts[:, k] = _rates(costs[:, :k] - costs[:, [k]], slopes[k] - slopes[:k]).max(axis=1)
    # A line is beaten as soon as one of more bits beats all before it.
    ends = np.full_like(costs, np.inf)
    ends[:, :-1] = np.minimum.accumulate(starts[:, :0:-1], axis=1)[:, ::-1]
    return starts, ends


def _rates(falls: Floats, rises: Floats) -> Floats:
    """Rate from which a line with so much more slope and so much less intercept is cheaper."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rates: Floats = np.where(falls > 0, rises / falls, np.inf)
    return rates


def _least(costs: Floats, slopes: Floats, rates: Floats) -> Floats:
    """Cost of the cheapest line, ``(replicate, rate)``."""
    least = np.full((len(costs), len(rates)), np.inf)
    for cost, slope in zip(costs.T, slopes, strict=True):
        np.fmin(least, cost_at(cost[:, None], slope, rates), out=least)  # NaN: not possible here
    return least


def _interval(values: Floats) -> tuple[float, float]:
    """The middle 95 %, from one of the values to another: they may be infinite."""
    outside = int(OUTSIDE * len(values))
    ordered = np.sort(values)
    return float(ordered[outside]), float(ordered[-1 - outside])


def _used(profile: Profile, study: Study) -> dict[int, Passes]:
    """The passes on which a study rests, by batch size."""
    sizes = {size for wanted in study.batch_sizes for size, _ in neighbour_shares(profile, wanted)}
    return {passes.batch_size: passes for passes in profile.passes if passes.batch_size in sizes}


def _exact(machine: str, used: dict[int, Passes], cuts: NDArray[np.intp]) -> tuple[str, ...]:
    """What has no repeats, in words."""
    single = [size for size, passes in used.items() if fewest_repeats(passes, cuts) < 2]
    if len(single) == len(used):
        return (machine,)
    return tuple(f"{machine} at batch size {size}" for size in single)
