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

from dscwb.cost import Floats, gain
from dscwb.cuts import all_cuts
from dscwb.envelope import ROUNDING
from dscwb.units import format_percent, shown_name

if TYPE_CHECKING:
    import pandas as pd

    from dscwb.study.study import Study


@dataclass(frozen=True, eq=False)
class Dominance:
    """Which cuts can ever be best for two profiles, and what fewer of them cost.

    Attributes:
        holds: True if no stretch between two candidates is slower on the server than on the device,
            at any batch size, and copies to and from accelerators upset nothing: then no cut but
            the record-low ones can be best.
        slower: The stretches for which it is not so, the largest difference first: ``batch_size``,
            the candidates ``after`` which and ``until`` which, ``device_s``, and ``server_s`` with
            the load.
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
    slower: pd.DataFrame
    record_low: tuple[str, ...]
    needed: tuple[str, ...]
    beyond_compressive: tuple[str, ...]
    mean_loss: float
    worst_loss: float
    over: str

    def __str__(self) -> str:
        """All of it in two sentences."""
        needed = ", ".join(map(shown_name, self.needed))
        none = "No stretch of the model is slower on the server than on the device"
        if number := len(self.slower):
            premise = (
                f"{number} {'stretches are' if number > 1 else 'stretch is'} slower on the "
                "server than on the device, so cuts that are not record-low may be best"
                f"{f': {needed}' if needed else '; here none of them is'}."
            )
        elif needed:
            premise = (
                f"{none}, but what is copied to and from accelerators makes others best: {needed}."
            )
        else:
            number = len(self.record_low)
            premise = (
                f"{none}: only the {number} record-low cut{'s' * (number > 1)} can ever be best."
            )
        if math.isnan(self.mean_loss):
            return f"{premise} Compressive bottlenecks alone are not possible."
        return (
            f"{premise} Compressive bottlenecks alone would cost "
            f"{format_percent(self.mean_loss)} on average and "
            f"{format_percent(self.worst_loss)} at worst, over {self.over}."
        )


def dominance(study: Study) -> Dominance:
    """Which cuts can ever be best, see `Dominance`."""
    lines = study.lines
    slower = _slower(study)
    low = record_low(np.where(np.isnan(lines.intercept_s), np.inf, lines.bits))
    best = [(row, i) for row, one in enumerate(study.envelopes) for i in one.splits.tolist()]
    needed = {i for row, i in best if not low[row, i]}
    compressive = {cut.index for cut in all_cuts(study.edge.graph, "compressive")}
    kept = [
        i
        for i, cut in enumerate(lines.splits)
        if cut.is_input or cut.is_output or cut.index in compressive
    ]
    losses = _losses(study, kept)

    def names(those: set[int]) -> tuple[str, ...]:
        return tuple(study.splits[i] for i in sorted(those))

    return Dominance(
        not (len(slower) or needed),
        slower,
        record_low=names(set(np.flatnonzero(low.any(axis=0)).tolist())),
        needed=names(needed),
        beyond_compressive=names({i for _, i in best}.difference(kept)),
        mean_loss=float(losses.mean()) if losses.size else math.nan,
        worst_loss=float(losses.max()) if losses.size else math.nan,
        over=study.grid_label,
    )


def record_low(bits: Floats) -> NDArray[np.bool_]:
    """Candidates that send strictly fewer bits than all before them, ``(batch, split)``."""
    before = np.minimum.accumulate(bits, axis=1)
    first = np.full((len(bits), 1), np.inf)
    return bits < np.concatenate((first, before[:, :-1]), axis=1)


def _losses(study: Study, kept: list[int]) -> Floats:
    """How much more the best of these cuts costs than the best of all, a point each.

    Batch sizes at which none of them is possible, or was measured, are left out.
    """
    losses = [np.empty(0)]
    for row in np.flatnonzero(~np.isnan(study.intercepts[:, kept]).all(axis=1)):
        least = np.nanmin(study.cost_at(study.batch_sizes[row])[kept], axis=0)
        lost = np.maximum(-gain(least, study.cost[row]), 0.0)
        losses.append(np.where(study.data_rates_bps == 0, 0.0, lost))  # all send nothing there
    return np.concatenate(losses)


def _slower(study: Study) -> pd.DataFrame:
    """Stretches from one candidate with times to the next one, see `Dominance`."""
    import pandas as pd

    lines, (device_w, server_w) = study.lines, study.scenario.second_costs
    found = []
    for row, size in enumerate(lines.batch_sizes):
        timed = np.flatnonzero(~np.isnan(lines.intercept_s[row]))
        device, server = np.diff(lines.head_s[row, timed]), -np.diff(lines.tail_s[row, timed])
        rounding = ROUNDING * max(device_w, server_w) * lines.intercept_s[row, timed].max()
        for k in np.flatnonzero(server_w * server - device_w * device > rounding):
            names = study.splits[timed[k]], study.splits[timed[k + 1]]
            found.append((size, *names, float(device[k]), float(server[k])))
    columns = ["batch_size", "after", "until", "device_s", "server_s"]
    found.sort(key=lambda one: one[3] - one[4])
    return pd.DataFrame(found, columns=columns)
