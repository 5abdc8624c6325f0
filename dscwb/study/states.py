"""Every state of a grid: cost lines go in, best split, cost, gain and regret of each come out.

A state is a batch size and a data rate. What counts is the scenario's objective, seconds or joules;
both are lines in 1/r, so all that is said here of a cost holds for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.certificate import Certificate, certify
from dscwb.cuts import all_cuts
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING, CostLines, written
from dscwb.optimise import Envelope, checked_rates, cost_at, envelopes, gain, lower_envelope
from dscwb.profiles.records import Profile
from dscwb.scenario import Scenario
from dscwb.units import BITS_PER_BYTE

Floats = NDArray[np.float64]

BEST_STATIC = "best static"
"""A baseline: the one split with the least mean cost over the grid."""
MINIMAX_STATIC = "minimax-regret static"
"""A baseline: the one split whose largest regret over the grid is least."""
BASELINES = (NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC)
SPELLINGS = {name.replace(" ", "_").replace("-", "_"): name for name in BASELINES}
"""The baselines as arguments and columns spell them."""


@dataclass(frozen=True)
class Decision:
    """What to do in one state, and what it costs.

    Attributes:
        batch_size: Samples in one pass.
        data_rate_bps: Data rate in bit/s.
        split: Name of the best split, ``no offloading`` and ``full offloading`` included.
        wait_s: Mean seconds until the batch is full; 0 unless an arrival rate is given.
        head_s: Seconds on the device.
        transfer_s: Seconds on the link, round trip and the result's way back included.
        tail_s: Seconds on the server.
        payload_bytes: Bytes sent, overhead included.
        best_from_bps: Lowest rate at which this split stays best, not included; 0 if there is none.
        best_to_bps: Highest rate at which it stays best, included; infinity if there is none.
        runner_up: Name of the second best split; empty where there is only one candidate.
        margin: What the runner-up costs more: seconds, or joules where energy is the objective.
        interpolated: True where the batch size was not measured itself.
    """

    batch_size: int
    data_rate_bps: float
    split: str
    wait_s: float
    head_s: float
    transfer_s: float
    tail_s: float
    payload_bytes: float
    best_from_bps: float
    best_to_bps: float
    runner_up: str
    margin: float
    interpolated: bool

    @property
    def latency_s(self) -> float:
        """Seconds from input to result."""
        return self.wait_s + self.head_s + self.transfer_s + self.tail_s


@dataclass(frozen=True, eq=False)
class States:
    """Best splits over a grid of states, as arrays.

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
        best: Index into ``lines.splits`` of the best split, ``(batch, rate)``.
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
    ) -> Self:
        """Decide every state.

        Raises:
            ValueError: A rate is not finite, or below zero.
        """
        rates = checked_rates(data_rates_bps)
        intercepts, slopes = lines.costs(scenario)
        rows = envelopes(intercepts, slopes)
        best = _best(rows, intercepts, lines.bits, rates)
        return cls(edge, server, scenario, rates, lines, intercepts, slopes, rows, best)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes of the grid, ``(batch,)``."""
        return self.lines.batch_sizes

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the candidates, from full offloading to no offloading, ``(split,)``."""
        return self.lines.names

    @property
    def written(self) -> tuple[str, str]:
        """How input and features really go over the wire, in words; empty where not sent."""
        given, features = written(self.lines.splits, self.scenario)
        device, server = self.edge.provenance.dtype, self.server.provenance.dtype
        if features and device != server:
            features += f" (converted from the device's {device}, into the server's {server})"
        return given, features

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the splits that are best somewhere on the grid, from input to output."""
        return tuple(self.splits[i] for i in np.unique(self.best))

    @property
    def latency_s(self) -> Floats:
        """Seconds of the best split in every state, ``(batch, rate)``."""
        return self._at_best(self.lines.intercept_s, self.lines.bits)

    @property
    def cost(self) -> Floats:
        """What the best split costs in every state, seconds or joules, ``(batch, rate)``."""
        return self._at_best(self.intercepts, self.slopes)

    @property
    def unit(self) -> str:
        """Unit of `cost`: ``s`` or ``J``."""
        return "J" if self.scenario.objective == "energy" else "s"

    def at_rates(self, data_rates_bps: ArrayLike) -> Self:
        """The same on other data rates in bit/s, ``(rate,)``.

        Raises:
            ValueError: A rate is not finite, or below zero.
        """
        rates = checked_rates(data_rates_bps)
        best = _best(self.envelopes, self.intercepts, self.lines.bits, rates)
        return replace(self, data_rates_bps=rates, best=best)

    def costs(self, row: int) -> Floats:
        """Cost of every split at one batch size, by its row, ``(split, rate)``."""
        slopes = self._sent(self.slopes[row][:, None], (row, slice(None), None))
        return cost_at(self.intercepts[row][:, None], slopes, self.data_rates_bps)

    @property
    def rate_range(self) -> tuple[float, float]:
        """Lowest and highest data rate to draw, bit/s: a logarithmic axis has no zero.

        An octave each way around a single rate, and around 1 Mbit/s if the link is always down.
        """
        up = self.data_rates_bps[self.data_rates_bps > 0]
        low, high = (float(up.min()), float(up.max())) if up.size else (1e6, 1e6)
        return (low, high) if low < high else (low / 2, high * 2)

    def static_cost(self, split: str) -> Floats:
        """Cost in every state if this one split is always used, ``(batch, rate)``.

        NaN where it has no time, or where its head does not fit into the device's memory.

        Args:
            split: A split's name or a baseline, see `baseline_split`.

        Raises:
            ValueError: The split is not a candidate.
        """
        return self._static(self.splits.index(self.baseline_split(split)))

    def gains(self, baseline: str = NO_OFFLOADING) -> Floats:
        """(C_baseline - C_best) / C_baseline in every state, ``(batch, rate)``; never clipped."""
        return gain(self.cost, self.static_cost(baseline))

    def regrets(self, static: str) -> Floats:
        """C_static - C_best in every state, in seconds or joules, ``(batch, rate)``; never < 0."""
        return self._regrets(self.static_cost(static))

    def mean_gain(self, baseline: str = NO_OFFLOADING, weights: ArrayLike | None = None) -> float:
        """Mean over the grid of the relative gain of each state.

        Args:
            baseline: As in `baseline_split`; the best static split is that under these weights.
            weights: How often each state occurs, ``(batch, rate)`` or what broadcasts to it; they
                need not add up to one. All alike when left out.

        Raises:
            ValueError: The baseline is not a candidate, or the weights are no distribution.
        """
        best = SPELLINGS.get(baseline, baseline) == BEST_STATIC
        split = self.best_static(weights=weights) if best else baseline
        return self._mean(self.gains(split), weights)

    def usefulness(self, weights: ArrayLike | None = None) -> float:
        """Share of states whose best choice is a split, neither no nor full offloading."""
        ends = [i for i, cut in enumerate(self.lines.splits) if cut.is_input or cut.is_output]
        return self._mean((~np.isin(self.best, ends)).astype(np.float64), weights)

    def baseline_split(self, baseline: str) -> str:
        """Name of the split that a baseline stands for.

        Args:
            baseline: ``no offloading``, ``full offloading``, ``best static``,
                ``minimax-regret static``, each also with underscores (``best_static``), or a
                split's name, with or without ``after`` in front.

        Raises:
            ValueError: The baseline is not a candidate.
        """
        baseline = SPELLINGS.get(baseline, baseline).removeprefix("after ")
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
            ValueError: Another criterion, or no split has a time in every state.
        """
        if by not in ("mean", "minimax"):
            raise ValueError(f"by is {by!r}; choose 'mean' or 'minimax'.")
        cost = self.cost
        # Where nothing at all is possible, all splits are alike.
        ends = ~np.isposinf(cost)
        scores = [
            self._mean(np.where(ends, static, 0.0), weights)
            if by == "mean"
            else float(self._regrets(static).max())
            for static in map(self._static, range(len(self.splits)))
        ]
        if np.isnan(scores).all():
            raise ValueError("No split has a time in every state; choose fewer batch sizes.")
        return self.splits[int(np.nanargmin(scores))]  # NaN: not possible at every batch size

    def certificate(self) -> Certificate:
        """Whether "no layer is slower on the server" holds, and what follows; see `Certificate`."""
        compressive = {cut.index for cut in all_cuts(self.edge.graph, "compressive")}
        return certify(
            self.lines,
            self.envelopes,
            compressive,
            self._compressive_loss(compressive),
            self.scenario.second_costs,
        )

    def at(self, batch_size: int, data_rate_bps: float) -> Decision:
        """The decision in one state; the rate need not lie on the grid.

        Raises:
            ValueError: The batch size is not on the grid, or the rate is below zero.
        """
        row = self.row(batch_size)
        state = self.at_rates(data_rate_bps)
        rate = float(state.data_rates_bps[0])
        envelope, lines = self.envelopes[row], self.lines
        piece = int(np.searchsorted(envelope.switching_rates_bps, rate, side="left"))
        best = int(state.best[row, 0])
        costs = state.costs(row)[:, 0]
        others = np.where(np.arange(len(costs)) == best, np.inf, np.nan_to_num(costs, nan=np.inf))
        second = int(np.argmin(others))
        edges = np.concatenate(([0.0], envelope.switching_rates_bps, [np.inf]))
        return Decision(
            self.batch_sizes[row],
            rate,
            self.splits[best],
            wait_s=float(lines.wait_s[row]),
            head_s=float(lines.head_s[row, best]),
            transfer_s=float(cost_at(lines.link_s[row, best], lines.bits[row, best], rate)),
            tail_s=float(lines.tail_s[row, best]),
            payload_bytes=float(lines.bits[row, best] / BITS_PER_BYTE),
            best_from_bps=float(edges[piece]),
            best_to_bps=float(edges[piece + 1]) if best == envelope.splits[piece] else rate,
            runner_up=self.splits[second] if np.isfinite(others[second]) else "",
            margin=float(others[second] - costs[best]) if np.isfinite(costs[best]) else 0.0,
            interpolated=bool(lines.interpolated[row]),
        )

    def gain_at(
        self, batch_size: int, data_rate_bps: float, baseline: str = NO_OFFLOADING
    ) -> float:
        """The gain of `gains` in one state; the rate need not lie on the grid.

        Raises:
            ValueError: The baseline is not a candidate, or see `at`.
        """
        row, split = self.row(batch_size), self.splits.index(self.baseline_split(baseline))
        state = self.at_rates(data_rate_bps)
        costs = state.costs(row)[:, 0]
        return float(gain(costs[state.best[row, 0]], costs[split]))

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

    def _compressive_loss(self, compressive: set[int]) -> Floats:
        """How much slower the best of these cuts is than the best of all, ``(batch, rate)``.

        NaN at batch sizes where none of them is possible.
        """
        kept = [
            i
            for i, cut in enumerate(self.lines.splits)
            if cut.index in compressive or cut.is_output
        ]
        loss = np.full(self.best.shape, np.nan)
        # Where none of them fits into the memory, or none was measured, there is nothing to lose.
        for row in np.flatnonzero(~np.isnan(self.intercepts[:, kept]).all(axis=1)):
            intercepts, slopes = self.intercepts[row, kept], self.slopes[row, kept]
            best = lower_envelope(intercepts, slopes).best_split(self.data_rates_bps)
            cost = cost_at(intercepts[best], slopes[best], self.data_rates_bps)
            # Adding zero turns -0.0 into 0.0. On a link that is down all send nothing.
            loss[row] = np.where(self.data_rates_bps == 0, 0.0, 0.0 - gain(cost, self.cost[row]))
        return loss

    def _at_best(self, intercepts: Floats, slopes: Floats) -> Floats:
        at = np.arange(len(self.batch_sizes))[:, None], self.best
        return cost_at(intercepts[at], self._sent(slopes[at], at), self.data_rates_bps)

    def _static(self, split: int) -> Floats:
        at = slice(None), [split]
        slopes = self._sent(self.slopes[at], at)
        return cost_at(self.intercepts[at], slopes, self.data_rates_bps)

    def _sent(self, slopes: Floats, at: Any) -> Floats:
        """Slopes; at rate 0 the bits themselves, as sending may cost no energy and yet not end."""
        return np.where(self.data_rates_bps == 0, self.lines.bits[at], slopes)

    def _regrets(self, static: Floats) -> Floats:
        cost = self.cost
        # Where nothing is possible nothing is regretted. At a switching rate both cost the same,
        # and roundings may differ in the last bit.
        ends = ~np.isposinf(cost)
        regrets: Floats = np.maximum(
            np.subtract(static, cost, out=np.zeros_like(cost), where=ends), 0
        )
        return regrets

    def _mean(self, values: Floats, weights: ArrayLike | None) -> float:
        if weights is None:
            return float(values.mean())
        try:
            shares = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
        except ValueError:
            raise ValueError(
                f"weights have shape {np.shape(weights)}; the grid is {values.shape} (batch, rate)."
            ) from None
        if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
            raise ValueError("weights must be finite, not negative, and not all zero.")
        some = shares > 0  # a cost may be infinite where the link is down
        return float(np.average(values[some], weights=shares[some]))


def _best(
    rows: Sequence[Envelope], intercepts: Floats, bits: Floats, rates: Floats
) -> NDArray[np.intp]:
    """Index of the best split in every state, ``(batch, rate)``.

    At rate 0 the one with the fewest bits, which is no offloading wherever that is possible.
    """
    best = np.stack([envelope.best_split(rates) for envelope in rows])
    fewest = np.where(np.isnan(intercepts), np.inf, bits)
    tied = np.where(fewest == fewest.min(axis=1, keepdims=True), intercepts, np.inf)
    best[:, rates == 0] = np.argmin(tied, axis=1)[:, None]
    return best
