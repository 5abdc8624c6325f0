"""Which cuts can ever be best, before any data rate is known.

If no layer is slower on the server than on the device, a cut that sends no fewer bits than an
earlier one can never be better than it: its head costs at least what its tail saves. Then only cuts
with strictly fewer bits than all before them, the record-low ones, need to be looked at. A loaded
server breaks the premise, and so does noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dscwb.cost import CostLines, Floats, gain
from dscwb.cuts import all_cuts
from dscwb.envelope import lower_envelope
from dscwb.units import format_percent, shown_name

if TYPE_CHECKING:
    from dscwb.study.study import Study


@dataclass(frozen=True)
class Slower:
    """A stretch of the model that runs slower on the server than on the device.

    Attributes:
        batch_size: Samples in one pass.
        after: Name of the candidate at which the stretch begins.
        until: Name of the candidate at which it ends.
        device_s: Seconds that the device takes for it.
        server_s: Seconds that the server takes for it, load included.
    """

    batch_size: int
    after: str
    until: str
    device_s: float
    server_s: float


@dataclass(frozen=True)
class Dominance:
    """Which cuts can ever be best for two profiles, and what fewer of them cost.

    Attributes:
        holds: True if no stretch between two candidates is slower on the server than on the device,
            at any batch size, and copies to and from accelerators upset nothing: then no cut but
            the record-low ones can be best.
        slower: The stretches for which it is not so, the largest difference first.
        record_low: Names of the candidates that send strictly fewer bits than all before them.
        needed: Names of candidates beyond these that are best at some data rate all the same; empty
            where it holds.
        beyond_compressive: Names of candidates that are best at some data rate, though they are no
            compressive bottleneck and neither of the two ends.
        mean_loss: Mean over the grid of (C_compressive - C_best) / C_best, what using compressive
            bottlenecks only would cost; measured, whatever the premise. Batch sizes at which none
            of them is possible are left out; NaN if that is all of them.
        worst_loss: The largest loss in a state of the grid.
        over: What the mean is over, in words.
    """

    holds: bool
    slower: tuple[Slower, ...]
    record_low: tuple[str, ...]
    needed: tuple[str, ...]
    beyond_compressive: tuple[str, ...]
    mean_loss: float
    worst_loss: float
    over: str

    def __str__(self) -> str:
        """All of it in two sentences."""
        needed = ", ".join(map(shown_name, self.needed))
        best = f": {needed}" if needed else "; here none of them is"
        none = "No stretch of the model is slower on the server than on the device"
        many = len(self.slower if self.slower else self.record_low) != 1
        if self.slower:
            premise = (
                f"{len(self.slower)} {'stretches are' if many else 'stretch is'} slower on the "
                f"server than on the device, so cuts that are not record-low may be best{best}."
            )
        elif self.needed:
            premise = (
                f"{none}, but what is copied to and from accelerators makes others best{best}."
            )
        else:
            cuts = f"{len(self.record_low)} record-low cut{'s' * many}"
            premise = f"{none}: only the {cuts} can ever be best."
        if math.isnan(self.mean_loss):
            return f"{premise} Compressive bottlenecks alone are not possible."
        return (
            f"{premise} Compressive bottlenecks alone would cost "
            f"{format_percent(self.mean_loss)} on average and "
            f"{format_percent(self.worst_loss)} at worst, over {self.over}."
        )


def dominance(study: Study) -> Dominance:
    """Look at every stretch between neighbouring candidates, at every batch size."""
    lines, weights = study.lines, study.scenario.second_costs
    slower = _slower(lines, *weights)
    timed = ~np.isnan(lines.intercept_s)
    low = record_low(np.where(timed, lines.bits, np.inf))
    beaten = _beaten(lines, low, *weights)
    used = [(row, int(i)) for row, one in enumerate(study.envelopes) for i in one.splits]
    needed = {i for row, i in used if not (low[row, i] or beaten[row, i])}
    compressive = {cut.index for cut in all_cuts(study.edge.graph, "compressive")}
    kept = [
        i
        for i, cut in enumerate(lines.splits)
        if cut.is_input or cut.is_output or cut.index in compressive
    ]
    losses = _losses(study, kept)

    def names(those: set[int]) -> tuple[str, ...]:
        return tuple(lines.names[i] for i in sorted(those))

    return Dominance(
        not (slower or needed),
        slower,
        record_low=names(set(np.flatnonzero(low.any(axis=0)).tolist())),
        needed=names(needed),
        beyond_compressive=names({i for _, i in used}.difference(kept)),
        mean_loss=float(losses.mean()) if losses.size else math.nan,
        worst_loss=float(losses.max()) if losses.size else math.nan,
        over=study.grid_label,
    )


def _losses(study: Study, kept: list[int]) -> Floats:
    """How much more the best of these cuts costs than the best of all, at every point.

    Batch sizes at which none of them is possible, or was measured, are left out.
    """
    rates, best_cost, losses = study.data_rates_bps, study.cost, [np.empty(0)]
    for row in np.flatnonzero(~np.isnan(study.intercepts[:, kept]).all(axis=1)):
        own = lower_envelope(study.intercepts[row, kept], study.slopes[row, kept])
        best = np.array(kept)[own.best_split(rates)]
        cost = study.cost_at(study.batch_sizes[row])[best, np.arange(len(rates))]
        # Adding zero turns -0.0 into 0.0. On a link that is down all send nothing.
        losses.append(np.where(rates == 0, 0.0, 0.0 - gain(cost, best_cost[row])))
    return np.concatenate(losses)


def record_low(bits: Floats) -> NDArray[np.bool_]:
    """Candidates that send strictly fewer bits than all before them, ``(batch, split)``."""
    before = np.minimum.accumulate(bits, axis=1)
    first = np.full((len(bits), 1), np.inf)
    return bits < np.concatenate((first, before[:, :-1]), axis=1)


def _beaten(
    lines: CostLines, low: NDArray[np.bool_], device_w: float, server_w: float
) -> NDArray[np.bool_]:
    """Candidates than which an earlier record-low one never costs more, ``(batch, split)``.

    But for roundings, by which one may be best at a rate beyond all sense.
    """
    fixed = device_w * lines.head_s + server_w * (lines.link_s + lines.tail_s)
    slack = len(lines.splits) * _rounding(lines, device_w, server_w)[:, None]
    beaten = np.zeros(fixed.shape, dtype=np.bool_)
    for i in range(1, len(lines.splits)):
        cheaper = low[:, :i] & (fixed[:, :i] <= fixed[:, i, None] + slack)
        beaten[:, i] = (cheaper & (lines.bits[:, :i] <= lines.bits[:, i, None])).any(axis=1)
    return beaten


def _rounding(lines: CostLines, device_w: float, server_w: float) -> Floats:
    """By how little costs may differ for no reason, ``(batch,)``.

    A profile's head and tail add up to its total to a few roundings.
    """
    largest: Floats = np.nanmax(lines.intercept_s, axis=1)
    return 1e-12 * max(device_w, server_w) * largest


def _slower(lines: CostLines, device_w: float, server_w: float) -> tuple[Slower, ...]:
    found: list[Slower] = []
    rounding = _rounding(lines, device_w, server_w)
    for row, size in enumerate(lines.batch_sizes):
        # Stretches reach from one candidate with times to the next one.
        timed = np.flatnonzero(~np.isnan(lines.intercept_s[row]))
        device, server = np.diff(lines.head_s[row, timed]), -np.diff(lines.tail_s[row, timed])
        for k in np.flatnonzero(server_w * server - device_w * device > rounding[row]):
            after, until = lines.names[timed[k]], lines.names[timed[k + 1]]
            found.append(Slower(size, after, until, float(device[k]), float(server[k])))
    return tuple(sorted(found, key=lambda one: one.device_s - one.server_s))
