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

    def label(self) -> str:
        """How it was found, for captions."""
        exact = f"; without repeats, taken as exact: {', '.join(self.exact)}" if self.exact else ""
        return f"{self.replicates:,} bootstrap replicates of the raw passes{exact}"

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

    def _shares(self, row: int, rates: Floats) -> Floats:
        """Share of the replicates that each winner wins at each rate, ``(rate, winner)``."""
        starts, ends = _ranges(self.intercepts[row], self.study.slopes[row, self.winners])
        shares = np.zeros((len(rates), len(self.winners)))
        for winner, (start, end) in enumerate(zip(starts.T, ends.T, strict=True)):
            wins = start < end
            begun = np.searchsorted(np.sort(start[wins]), rates, side="left")
            over = np.searchsorted(np.sort(end[wins]), rates, side="left")
            shares[:, winner] = (begun - over) / self.replicates
        return shares

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
            slopes = self.study.slopes[row]
            costs = [self._intercepts_of(split)[row] for split in one.splits.tolist()]
            for k, rise in enumerate(np.diff(slopes[one.splits])):
                ends.append(_interval(_meeting(costs[k], costs[k + 1], rise)))
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
        split = study.splits.index(study.baseline_split(baseline))
        fixed, means = self._intercepts_of(split), np.zeros(self.replicates)
        for row, slopes in enumerate(study.slopes):
            least = np.full((self.replicates, len(rates)), np.inf)
            for costs, slope in zip(self.intercepts[row].T, slopes[self.winners], strict=True):
                np.fmin(least, cost_at(costs[:, None], slope, rates), out=least)  # NaN: not here
            always = cost_at(fixed[row][:, None], slopes[split], rates)
            means += gain(least, always).mean(axis=1)
        return _interval(means / len(study.batch_sizes))

    def _intercepts_of(self, split: int) -> Floats:
        """As `intercepts` for one split, a winner or not, ``(batch, replicate)``."""
        known = np.flatnonzero(self.winners == split)
        if len(known):
            own: Floats = self.intercepts[:, :, known[0]]
            return own
        of_row, _ = _drawn(self.study, self.replicates, self.seed, [split])
        return np.stack([of_row(row)[:, 0] for row in range(len(self.intercepts))])


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
    of_row, exact = _drawn(study, replicates, seed, range(len(study.splits)))
    count = len(study.batch_sizes)

    def rows(before: int) -> Iterator[int]:
        for row in range(count):
            if progress is not None:
                progress(before + row, 2 * count)
            yield row

    won = [study.best[:, study.data_rates_bps == 0].ravel()]
    for row in rows(0):
        starts, ends = _ranges(of_row(row), study.slopes[row])
        won.append(np.flatnonzero((starts < ends).any(axis=0)))
    winners = np.unique(np.concatenate(won))
    intercepts = np.stack([of_row(row)[:, winners] for row in rows(count)])
    nothing = np.empty((count, 0, len(winners)))
    found = Confidence(study, replicates, seed, exact, winners, nothing, intercepts)
    return found.at_rates(study.data_rates_bps)


def _drawn(
    study: Study, replicates: int, seed: int, splits: Sequence[int]
) -> tuple[Callable[[int], Floats], tuple[str, ...]]:
    """Draw those passes of both machines that the study rests on.

    Returns:
        What these splits cost at an endless rate in a row of the grid, ``(replicate, split)``, NaN
        as in the study; and what has no repeats, as in `Confidence`.
    """
    # Another version of torch may have numbered the server's layers otherwise.
    there = {
        cut.name: cut.index for cut in all_cuts(study.server.graph, study.scenario.granularity)
    }
    wanted, places = [study.lines.splits[i] for i in splits], np.array(splits)
    cuts = np.array([[cut.index, there[cut.name]] for cut in wanted]).T
    device, server = study.scenario.second_costs
    factors = study.scenario.device_slowdown * device, study.scenario.server_load * server
    profiles = study.edge, study.server
    passes = [{one.batch_size: one for one in profile.passes} for profile in profiles]
    noise: list[dict[int, Floats]] = [{}, {}]  # how far the replicates lie from the medians
    exact: list[str] = []
    for k, (profile, name) in enumerate(zip(profiles, ("edge", "server"), strict=True)):
        near = {n for size in study.batch_sizes for n, _ in neighbour_shares(profile, size)}
        single = []
        for size in sorted(near):
            one, other = passes[k][size], passes[0].get(size)
            copied = k == 1 and other is not None and same_passes(other, one)
            key = seed, 0 if copied else k, size
            times = resampled(one, cuts[k], key, replicates)[k] * (NS * profile.time_scale)
            median = (profile.head_s, profile.tail_s)[k](size)[cuts[k]]
            noise[k][size] = factors[k] * (times - median)
            if fewest_repeats(one, cuts[k]) < 2:
                single.append(f"{name} at batch size {size}")
        exact += [name] if len(single) == len(near) else single

    def of_row(row: int) -> Floats:
        # Without noise the sum is zero, and the study's own numbers remain to the last bit.
        total = np.zeros((replicates, len(places)))
        for profile, of_size in zip(profiles, noise, strict=True):
            for size, share in neighbour_shares(profile, study.batch_sizes[row]):
                total += share * of_size[size]
        costs: Floats = study.intercepts[row, places] + total
        return costs

    return of_row, tuple(exact)


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
