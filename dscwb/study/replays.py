"""A data rate over time: how the controller, every fixed split and an oracle fare on a trace.

A request's payload is sent at whatever rate the trace has while it is sent: it arrives when the
rate, summed up over time, has carried all of its bits. The controller that decides is the very one
that runs on a device; it knows only what the requests before have told it. Requests begin at fixed
times and do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dscwb.controller import Controller
from dscwb.cost import Floats
from dscwb.study.study import Study
from dscwb.traces import Trace
from dscwb.units import (
    BITS_PER_BYTE,
    NO_OFFLOADING,
    Told,
    format_percent,
    format_seconds,
    shown_name,
)

if TYPE_CHECKING:
    import pandas as pd

ORACLE = "oracle"
PARTS = {
    "controller": {},
    "without hysteresis": {"hysteresis": 0.0},
    "without memory": {"window": 1, "weight": 1.0},
}
"""The controllers that are replayed where nobody names others: it, and its parts switched off."""


@dataclass(frozen=True, eq=False, repr=False)
class Replay(Told):
    """Every request of a trace under every strategy.

    Attributes:
        times_s: When each request begins, ``(request,)``.
        latencies_s: Its latency, ``(request, strategy)``, one column a strategy.
        splits: The split that each strategy took, by name; the oracle's too.
        trace: The trace.
        deadline_s: What counts as too late.
    """

    times_s: Floats
    latencies_s: pd.DataFrame
    splits: pd.DataFrame
    trace: Trace
    deadline_s: float

    def table(self) -> pd.DataFrame:
        """One row a strategy, the best mean first.

        Returns:
            ``mean_s``, ``p50_s``, ``p90_s``, ``p99_s``, ``late`` (share of requests over the
            deadline), ``switches`` and ``regret`` (mean latency over the oracle's, minus 1).
        """
        import pandas as pd

        found = self.latencies_s
        means = found.mean()
        return pd.DataFrame(
            {
                "mean_s": means,
                **{f"p{q}_s": found.quantile(q / 100) for q in (50, 90, 99)},
                "late": (found > self.deadline_s).mean(),
                "switches": (self.splits != self.splits.shift()).sum() - 1,
                "regret": means / means[ORACLE] - 1,
            }
        ).sort_values("mean_s")

    def summary(self) -> dict[str, str]:
        """The strategies in a few words each, the best of the fixed splits last."""
        table = self.table()
        fixed = [name for name in table.index if name in set(self.splits[ORACLE])]
        shown = [name for name in table.index if name == ORACLE or name in PARTS]
        told = {}
        for name in [*shown, *fixed[:1]]:
            row = table.loc[name]
            told[shown_name(name) if name in fixed else name] = (
                f"{format_seconds(row.mean_s)} in the mean, 99 % within "
                f"{format_seconds(row.p99_s)}, {format_percent(row.regret)} over the oracle, "
                f"{row.switches:.0f} switches"
            )
        return told


def replay(
    study: Study,
    trace: Trace,
    controllers: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    batch_size: int | None = None,
    every_s: float = 0.1,
    deadline_s: float = 0.1,
    timeout_s: float = 5.0,
    server_load: float | Callable[[Floats], Floats] = 1.0,
) -> Replay:
    """Play a trace against an oracle, controllers, and every split kept for ever.

    Args:
        study: What heads, tails and payloads cost; of latency.
        trace: The data rate over time, and the round trip where it has one.
        controllers: Options of `Controller` by the name of each; `PARTS` if left out. What is not
            given is taken from the trace's mean rate and the study's round trip.
        batch_size: One of the study's; its smallest if left out.
        every_s: Seconds between two requests.
        deadline_s: Requests that take longer are late.
        timeout_s: After so long on link and server the device finishes a request itself.
        server_load: Factor on the server's times, or a function from times in seconds to factors.

    Raises:
        ValueError: The study is of energy, or a number is not above zero.
    """
    import pandas as pd

    if study.scenario.objective != "latency":
        raise ValueError("A trace is replayed in latency, but the study's objective is energy.")
    for name, value in {"every_s": every_s, "timeout_s": timeout_s}.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name} is {value}; give seconds above zero.")
    size = min(study.batch_sizes) if batch_size is None else batch_size
    times = np.arange(0, trace.duration_s, every_s)
    loads = np.broadcast_to(
        server_load(times) if callable(server_load) else server_load, times.shape
    ).astype(np.float64)
    parts = _Parts.of(study, study.row(size), trace, times, loads, timeout_s)
    latencies, names = parts.latency_s, np.array(study.splits, dtype=object)
    columns = {ORACLE: latencies.argmin(axis=1)}
    policy = study.policy()
    start = {
        "data_rate_bps": float(np.average(trace.data_rates_bps, weights=trace.lengths_s)),
        "round_trip_s": study.scenario.link.round_trip_s,
    }
    for name, options in (PARTS if controllers is None else controllers).items():
        clock = _Clock()
        own = Controller(policy, clock=clock, **{**start, **options})
        columns[name] = _played(own, clock, parts, size)
    for i, name in enumerate(study.splits):
        columns[name] = np.full(len(times), i)
    rows = np.arange(len(times))
    return Replay(
        times,
        pd.DataFrame({name: latencies[rows, taken] for name, taken in columns.items()}),
        pd.DataFrame({name: names[taken] for name, taken in columns.items()}),
        trace,
        deadline_s,
    )


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, eq=False)
class _Parts:
    """What each request would take with each split, ``(request, split)`` where not said."""

    names: tuple[str, ...]
    times_s: Floats
    sent_bytes: Floats  # (split,)
    link_s: Floats
    tail_s: Floats
    latency_s: Floats
    gave_up: NDArray[np.bool_]

    @classmethod
    def of(
        cls, study: Study, row: int, trace: Trace, times: Floats, loads: Floats, timeout_s: float
    ) -> _Parts:
        lines, scenario = study.lines, study.scenario
        heads, bits = lines.head_s[row], lines.bits[row]
        tails = loads[:, None] * lines.tail_s[row] / scenario.server_load
        sends = bits > 0
        extra = np.broadcast_to(lines.link_s[row], tails.shape)
        if trace.round_trips_s is not None:
            own = trace.round_trips_s[trace.step(times)][:, None]
            extra = extra + sends * (own - scenario.link.round_trip_s)
        starts = times[:, None] + heads
        link = np.where(sends, extra + arrived_s(trace, starts, bits) - starts, 0.0)
        gave_up = sends & (link + tails > timeout_s)
        alone = (
            heads[study.splits.index(NO_OFFLOADING)] if NO_OFFLOADING in study.splits else np.inf
        )
        latency = heads + np.where(gave_up, timeout_s + alone - heads, link + tails)
        latency = np.where(np.isnan(latency), np.inf, latency)
        return cls(study.splits, times, bits / BITS_PER_BYTE, link, tails, latency, gave_up)


def arrived_s(trace: Trace, starts_s: Floats, bits: Floats) -> Floats:
    """When payloads have arrived that are sent from these times on; the trace repeats.

    Args:
        trace: The data rate over time.
        starts_s: Seconds, any shape.
        bits: Bits to send, of a shape that broadcasts with it.

    Returns:
        Seconds; infinite on a link that is down for ever.
    """
    carried = np.concatenate(([0.0], np.cumsum(trace.data_rates_bps * trace.lengths_s)))
    period, whole = trace.duration_s, carried[-1]
    if not whole:
        return np.where(bits > 0, np.inf, starts_s)
    laps, within = np.divmod(starts_s, period)
    step = trace.step(within)
    before = carried[step] + trace.data_rates_bps[step] * (within - trace.times_s[step])
    more, rest = np.divmod(before + bits, whole)
    # The first step at whose end so much has been carried.
    at = np.minimum(np.searchsorted(carried[1:], rest, side="left"), len(trace.times_s) - 1)
    rate = trace.data_rates_bps[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        into = np.where(rest > carried[at], (rest - carried[at]) / rate, 0.0)
    done: Floats = (laps + more) * period + trace.times_s[at] + into
    return np.where(bits > 0, np.maximum(done, starts_s), starts_s)


def _played(
    controller: Controller, clock: _Clock, parts: _Parts, batch_size: int
) -> NDArray[np.intp]:
    """What a controller takes, request after request."""
    index = {name: i for i, name in enumerate(parts.names)}
    taken = np.empty(len(parts.times_s), dtype=np.intp)
    for k, now_s in enumerate(parts.times_s.tolist()):
        clock.now_s = now_s
        name = controller.choose(batch_size)
        i = taken[k] = index[name]
        clock.now_s = now_s + parts.latency_s[k, i]
        seen = SimpleNamespace(
            split=name,
            why="no answer" if parts.gave_up[k, i] else "",
            sent_bytes=int(parts.sent_bytes[i]),
            link_s=float(parts.link_s[k, i]),
            queue_s=0.0,
            tail_s=float(parts.tail_s[k, i]),
        )
        controller.observe(batch_size, seen)
    return taken
