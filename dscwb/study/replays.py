"""A data rate over time: how the controller, every fixed split and an oracle fare on a trace.

A request's payload is sent at whatever rate the trace has while it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dscwb.controller import Controller
from dscwb.cost import Floats
from dscwb.study.playing import Clock, Codes, Requests, played
from dscwb.study.study import Study
from dscwb.traces import Trace
from dscwb.units import (
    Told,
    format_number,
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
CHUNK = 1 << 16
"""Requests that are computed at a time, so that memory is no matter of how many there are."""
Column = TypeVar("Column", covariant=True)


class Columns(Mapping[str, Column]):
    """Columns by name, each computed when it is asked for."""

    def __init__(self, names: tuple[str, ...], column: Callable[[str], Column]) -> None:
        """Name them, and give the function that computes one."""
        self._names, self._column = names, column

    def __getitem__(self, name: str) -> Column:
        """One column; KeyError for another name."""
        if name not in self._names:
            raise KeyError(name)
        return self._column(name)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)


@dataclass(frozen=True, eq=False, repr=False)
class Replay(Told):
    """Every request of a trace under every strategy: an oracle, controllers, each split for ever.

    Only what the controllers took is kept; all else is computed when it is asked for.

    Attributes:
        times_s: When each request begins, ``(request,)``.
        taken: The split that each controller took, by its name, as an index into the study's
            splits, ``(request,)``.
        deadline_s: Requests that take longer are late.
        unit: Of what the objective counts, ``s`` or ``J``.
        requests: What each of them would take with each split.
    """

    times_s: Floats
    taken: Mapping[str, Codes]
    deadline_s: float
    unit: str
    requests: Requests

    @property
    def strategies(self) -> tuple[str, ...]:
        """Their names: the oracle, the controllers, the splits that are kept for ever."""
        return (ORACLE, *self.taken, *self.requests.names)

    @property
    def latencies_s(self) -> Columns[Floats]:
        """The latency of every request by the name of the strategy, ``(request,)`` each."""
        return Columns(self.strategies, lambda name: self._values(name, joules=False))

    @property
    def costs(self) -> Columns[Floats]:
        """What the objective counts of it, seconds or joules, ``(request,)`` each."""
        return Columns(self.strategies, lambda name: self._values(name, joules=self.unit == "J"))

    @property
    def splits(self) -> Columns[pd.Series[Any]]:
        """The split that each strategy takes, by name; the oracle's too, ``(request,)`` each."""
        import pandas as pd

        def column(name: str) -> pd.Series[Any]:
            codes = self._codes(name)
            names = pd.Index(self.requests.names)
            named = pd.Categorical.from_codes(codes.astype(np.int64), categories=names)
            return pd.Series(named, name=name)

        return Columns(self.strategies, column)

    @cached_property
    def _fixed(self) -> tuple[dict[str, dict[str, float]], Codes]:
        """What is told of each split kept for ever, and which of them is best request by request.

        One split after the other, so that few arrays of all requests exist at the same time.
        """
        rows, best = {}, np.full(len(self.times_s), np.inf)
        oracle = np.zeros(len(self.times_s), dtype=np.int16)
        for i, name in enumerate(self.requests.names):
            costs = self._values(name, joules=self.unit == "J")
            better = costs < best
            np.copyto(oracle, np.int16(i), where=better)
            np.copyto(best, costs, where=better)
            rows[name] = self._row(name, costs)
        return rows, oracle

    def _codes(self, name: str) -> Codes:
        if name == ORACLE:
            return self._fixed[1]
        if name in self.taken:
            return self.taken[name]
        return np.full(len(self.times_s), self.requests.names.index(name), dtype=np.int16)

    def _values(self, name: str, joules: bool) -> Floats:
        """Seconds or joules of every request, ``(request,)``."""
        values = np.empty(len(self.times_s))
        codes = None if name in self.requests.names else self._codes(name)
        for start in range(0, len(values), CHUNK):
            part = slice(start, start + CHUNK)
            if codes is None:
                i = self.requests.names.index(name)
                values[part] = self.requests.values(i, part, joules)
                continue
            for i in np.unique(codes[part]).tolist():
                where = codes[part] == i
                np.copyto(values[part], self.requests.values(i, part, joules), where=where)
        return values

    def _row(self, name: str, costs: Floats) -> dict[str, float]:
        """What the table says of one strategy; its costs are not kept in order."""
        late = costs if self.unit == "s" else self._values(name, joules=False)
        codes, unit = self._codes(name), self.unit.lower()
        told = {
            f"mean_{unit}": float(costs.mean()),
            "late": float((late > self.deadline_s).mean()),
            "switches": float((codes[1:] != codes[:-1]).sum()),
        }
        with np.errstate(invalid="ignore"):  # between two that never end
            found = np.quantile(costs, (0.5, 0.9, 0.99), overwrite_input=True)
        names = (f"p{q}_{unit}" for q in (50, 90, 99))
        return told | dict(zip(names, np.nan_to_num(found, nan=np.inf).tolist(), strict=True))

    @cached_property
    def _table(self) -> pd.DataFrame:
        import pandas as pd

        rows = {
            name: self._row(name, self._values(name, joules=self.unit == "J"))
            for name in (ORACLE, *self.taken)
        }
        unit = self.unit.lower()
        mean, *quantiles = (f"{what}_{unit}" for what in ("mean", "p50", "p90", "p99"))
        table = pd.DataFrame.from_dict(rows | self._fixed[0], orient="index")
        table["switches"] = table["switches"].astype(int)
        table["regret"] = table[mean] / table[mean][ORACLE] - 1
        return table[[mean, *quantiles, "late", "switches", "regret"]].sort_values(
            mean, kind="stable"
        )

    def table(self) -> pd.DataFrame:
        """One row a strategy, the best mean first.

        Returns:
            ``mean_s``, ``p50_s``, ``p90_s``, ``p99_s`` (of joules ``mean_j`` and so on), ``late``
            (share of requests over the deadline), ``switches`` and ``regret`` (the mean over the
            oracle's, minus 1).
        """
        return self._table.copy()

    def summary(self) -> dict[str, str]:
        """The strategies in a few words each, the best of the fixed splits last."""
        table = self.table()
        fixed = [name for name in table.index if name in self.requests.names]
        shown = [name for name in table.index if name not in fixed]
        told = {}
        for name in [*shown, *fixed[:1]]:
            mean, _, _, p99, _, switches, regret = table.loc[name]
            in_mean, in_most = (
                format_seconds(one) if self.unit == "s" else f"{format_number(one)} J"
                for one in (mean, p99)
            )
            told[shown_name(name) if name in fixed else name] = (
                f"{in_mean} in the mean, 99 % within {in_most}, {format_percent(regret)} over the "
                f"oracle, {switches:.0f} switches"
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
        study: What heads, tails and payloads cost, in seconds or joules.
        trace: The data rate over time, and the round trip where it has one.
        controllers: Options of `Controller` by the name of each; `PARTS` if left out. What is not
            given is taken from the trace's mean rate and the study's round trip.
        batch_size: One of the study's; its smallest if left out.
        every_s: Seconds between two requests.
        deadline_s: Requests that take longer are late.
        timeout_s: After so long on link and server the device finishes a request itself.
        server_load: Factor on the server's times, or a function from times in seconds to factors.

    Raises:
        ValueError: A number is not above zero, or a controller has a strategy's name.
    """
    for name, value in {"every_s": every_s, "timeout_s": timeout_s}.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name} is {value}; give seconds above zero.")
    size = min(study.batch_sizes) if batch_size is None else batch_size
    requests = Requests.of(study, study.row(size), trace, every_s, timeout_s, server_load)
    policy, taken = study.policy(), {}
    start = {
        "data_rate_bps": trace.mean_bps,
        "round_trip_s": study.scenario.link.round_trip_s,
    }
    for name, options in (PARTS if controllers is None else controllers).items():
        if name in (ORACLE, *study.splits):
            raise ValueError(f"A controller is called {name!r}, as another strategy; rename it.")
        clock = Clock()
        own = Controller(policy, clock=clock, **{**start, **options})
        taken[name] = played(own, clock, requests, size)
    return Replay(requests.times_s, taken, deadline_s, study.unit, requests)
