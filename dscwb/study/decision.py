"""What to do at one batch size and data rate, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dscwb.cost import cost_at
from dscwb.units import BITS_PER_BYTE, Told, format_bytes, format_rate, format_seconds, shown_name

if TYPE_CHECKING:
    from dscwb.study.study import Study


@dataclass(frozen=True, repr=False)
class Decision(Told):
    """What to do at one point, and what it costs.

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

    def summary(self) -> dict[str, str]:
        """What to do and what it costs, in a few words each."""
        rates = self.data_rate_bps, self.best_from_bps, self.best_to_bps
        at, low, high = (format_rate(rate, in_bytes=False) for rate in rates)
        return {
            "Decision": f"{shown_name(self.split)} at batch size {self.batch_size} and {at}",
            "Latency": f"{format_seconds(self.latency_s)}, of which device "
            f"{format_seconds(self.head_s)}, link {format_seconds(self.transfer_s)}, server "
            f"{format_seconds(self.tail_s)}",
            "Payload": format_bytes(self.payload_bytes),
            "Best": f"from {low} to {high}",
            "Second best": shown_name(self.runner_up) if self.runner_up else "none",
        }


def decision(study: Study, batch_size: int, data_rate_bps: float) -> Decision:
    """What to do at one point; the rate need not lie on the grid.

    Raises:
        ValueError: The batch size is not on the grid, or the rate is below zero.
    """
    row, lines = study.row(batch_size), study.lines
    here, envelope = study.at_rates(data_rate_bps), study.envelopes[row]
    rate, best = float(here.data_rates_bps[0]), int(here.best[row, 0])
    costs = here.cost_at(batch_size)[:, 0]
    others = np.where((np.arange(len(costs)) == best) | np.isnan(costs), np.inf, costs)
    second = int(np.argmin(others))
    piece = int(np.searchsorted(envelope.switching_rates_bps, rate, side="left"))
    edges = np.concatenate(([0.0], envelope.switching_rates_bps, [np.inf]))
    return Decision(
        study.batch_sizes[row],
        rate,
        study.splits[best],
        wait_s=float(lines.wait_s[row]),
        head_s=float(lines.head_s[row, best]),
        transfer_s=float(cost_at(lines.link_s[row, best], lines.bits[row, best], rate)),
        tail_s=float(lines.tail_s[row, best]),
        payload_bytes=float(lines.bits[row, best] / BITS_PER_BYTE),
        best_from_bps=float(edges[piece]),
        best_to_bps=float(edges[piece + 1]) if best == envelope.splits[piece] else rate,
        runner_up=study.splits[second] if np.isfinite(others[second]) else "",
        margin=float(others[second] - costs[best]) if np.isfinite(costs[best]) else 0.0,
        interpolated=bool(lines.interpolated[row]),
    )
