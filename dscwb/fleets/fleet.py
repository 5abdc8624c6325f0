"""`fleet`: how several strategies fare where many devices share pools of servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dscwb.fleets.bound import least_mean_s
from dscwb.fleets.engine import Clock, Run, simulate
from dscwb.fleets.histogram import Histogram
from dscwb.fleets.kinds import BEST_STATIC, SELFISH, Devices, Kind, strategy_name
from dscwb.fleets.pools import Discipline, Servers, whole
from dscwb.units import Told, format_percent, format_seconds

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BEST_STATIC", "SELFISH", "Devices", "Fleet", "fleet"]

ALL = "all"
BOUND = "lower bound"
NO_REQUESTS = (
    "No request was counted; give a longer duration_s, a shorter warm_up_s, or more requests."
)


@dataclass(frozen=True, eq=False, repr=False)
class Fleet(Told):
    """What each strategy comes to; NaN where no request was counted.

    Attributes:
        kinds: Names of the kinds of devices.
        models: The model of each.
        runs: What came of each strategy.
        shares: Share of each split under each strategy, by kind, ``(kind, split)`` a table each.
        fairness: Jain's index of the devices' mean latencies under each strategy.
        switches: Of all controllers together.
        utilisation: Share of the workers' time that tails took.
        bound_s: What no strategy's mean latency is below in the long run. Where devices have
            requests at given times there is none, and nobody waits for the servers in the bound.
        servers: The pools.
        pools: Which of them each kind uses, counted from 0.
    """

    kinds: tuple[str, ...]
    models: tuple[str, ...]
    runs: Mapping[str, Run]
    shares: Mapping[str, pd.DataFrame]
    fairness: Mapping[str, float]
    switches: Mapping[str, int]
    utilisation: Mapping[str, float]
    bound_s: float
    servers: tuple[Servers, ...]
    pools: tuple[int, ...]

    def table(self) -> pd.DataFrame:
        """One row a strategy and kind of device, and one for all of them.

        Returns:
            ``requests``, ``mean_s``, ``p50_s``, ``p90_s``, ``p99_s`` (within 0.5 %), ``late``,
            ``fell_back`` (share that devices finished themselves, as no answer came in time or the
            servers refused), ``utilisation`` (of the servers that the kind uses, or of all) and,
            over all kinds alone, ``switches`` and ``fairness``.
        """
        import pandas as pd

        rows: dict[tuple[str, str], dict[str, float]] = {}
        for name, run in self.runs.items():
            for devices, kinds in self._groups().items():
                whole = Histogram()
                for k in kinds:
                    whole.join(run.latencies[k])
                many = whole.count or np.nan
                rows[name, devices] = {
                    "requests": whole.count,
                    "mean_s": whole.mean_s,
                    **{f"p{q}_s": whole.quantile(q / 100) for q in (50, 90, 99)},
                    "late": sum(run.late[k] for k in kinds) / many,
                    "fell_back": sum(run.fell_back[k] for k in kinds) / many,
                    "utilisation": float(self._busy_s(run, devices).sum()) / max(run.end_s, 1e-9),
                }
            rows[name, ALL] |= {"switches": self.switches[name], "fairness": self.fairness[name]}
        table = pd.DataFrame.from_dict(rows, orient="index")
        return table.rename_axis(index=["strategy", "devices"])

    def over_time(self, strategy: str) -> pd.DataFrame:
        """One row a kind of device, or all of them, and a bin of time.

        Args:
            strategy: One of those that were run.

        Returns:
            By ``devices`` and ``time_s``, when the bin begins: the ``requests`` that came in it and
            are counted, their ``mean_s``, the ``utilisation`` in it of the servers that the kind
            uses (or of all), and the share of each split. NaN where no request came.

        Raises:
            ValueError: It was not run.
        """
        import pandas as pd

        if strategy not in self.runs:
            raise ValueError(f"{strategy!r} was not run; choose one of {', '.join(self.runs)}.")
        run, splits = self.runs[strategy], self.shares[strategy].columns
        times_s = pd.Index(np.arange(len(run.total_s[0])) * run.width_s, name="time_s")
        none = np.zeros(len(times_s), dtype=int)
        tables = {}
        for devices, kinds in self._groups().items():
            taken = {x: sum((run.taken[k].get(x, none) for k in kinds), none) for x in splits}
            requests = sum(taken.values(), none)
            many = np.where(requests, requests, np.nan)
            tables[devices] = pd.DataFrame(
                {
                    "requests": requests,
                    "mean_s": np.sum([run.total_s[k] for k in kinds], axis=0) / many,
                    "utilisation": self._busy_s(run, devices)[:-1] / run.width_s,
                    **{name: one / many for name, one in taken.items()},
                },
                index=times_s,
            )
        return pd.concat(tables, names=["devices"])

    def summary(self) -> dict[str, str]:
        """A line a strategy, and the bound."""
        table: Any = self.table()
        told = {
            strategy_name(name): (
                f"{format_seconds(row.mean_s)} in the mean, 99 % within "
                f"{format_seconds(row.p99_s)}, {format_percent(row.late)} late, servers busy "
                f"{format_percent(row.utilisation)} of the time"
                if row.requests
                else "no request was counted"
            )
            for name in self.runs
            for row in [table.loc[(name, ALL)]]
        }
        return {BOUND: f"{format_seconds(self.bound_s)} in the mean, in the long run", **told}

    def _groups(self) -> dict[str, list[int]]:
        """Kinds that are told of together."""
        return {ALL: list(range(len(self.kinds)))} | {x: [k] for k, x in enumerate(self.kinds)}

    def _busy_s(self, run: Run, devices: str) -> Any:
        """Seconds that a worker of the servers they use was busy in the mean, ``(bin,)``."""
        every = range(len(self.servers))
        used = every if devices == ALL else [self.pools[self.kinds.index(devices)]]
        workers = sum(self.servers[pool].workers for pool in used)
        return np.sum([run.busy_s[pool] for pool in used], axis=0) / workers


def fleet(
    devices: Sequence[Devices],
    *,
    workers: int = 1,
    duration_s: float,
    strategies: Sequence[str] = (SELFISH, "no offloading", "full offloading", BEST_STATIC),
    discipline: Discipline = "first come",
    deadline_s: float = 0.1,
    warm_up_s: float = 0.0,
    seed: int = 0,
    servers: Sequence[Servers] = (),
    bins: int = 60,
) -> Fleet:
    """Run a fleet under each strategy, with the same requests and links.

    Args:
        devices: Kinds of devices.
        workers: Tails that the pool runs at the same time.
        duration_s: Seconds in which requests come; all are answered.
        strategies: ``selfish`` (each device has a `Controller` of its own), the name of a split
            that all take, or ``best static``: each kind keeps its split that is best alone in the
            mean over its traces.
        discipline: Of the pool, as in `Servers`.
        deadline_s: Requests that take longer are late.
        warm_up_s: Requests that come before are not counted.
        seed: Of arrivals, and of which trace each link has and where it begins in it; the same
            seed, the same fleet.
        servers: Several pools, or one that refuses, in place of `workers` and `discipline`.
        bins: Of `Fleet.over_time`: into how many equal parts the duration is divided.

    Raises:
        ValueError: A number, a trace, a pool or a strategy that makes no sense.
    """
    if isinstance(devices, Devices):
        raise ValueError(f"devices is one kind, {devices.name!r}; give a list of kinds.")
    if not devices:
        raise ValueError("devices is empty; give one kind at least.")
    names = tuple(one.name for one in devices)
    if len({ALL, *names}) <= len(names):
        raise ValueError(f"Devices are called {', '.join(names)}; give each kind another name.")
    before = f"0 or more seconds, but fewer than the {duration_s:g} in which requests come"
    for what, value, fits, least in (
        ("duration_s", duration_s, 0 < duration_s < np.inf, "seconds above zero"),
        ("deadline_s", deadline_s, deadline_s > 0, "seconds above zero"),
        ("warm_up_s", warm_up_s, 0 <= warm_up_s < duration_s, before),
        ("bins", bins, whole(bins) and bins >= 1, "a whole number, one at least"),
        ("seed", seed, whole(seed) and seed >= 0, "a whole number, zero at least"),
    ):
        if not fits:
            raise ValueError(f"{what} is {value}; give {least}.")
    if isinstance(strategies, str) or not strategies:
        raise ValueError(f"strategies is {strategies!r}; give a list, such as ['selfish'].")
    pools = tuple(servers) or (Servers(workers=workers, discipline=discipline),)
    if servers and (workers, discipline) != (1, "first come"):
        raise ValueError("servers are given; say workers and discipline of each of them.")
    if len({one.name for one in pools}) < len(pools):
        raise ValueError("Several servers have the same name; give each another.")
    parts = [Kind.of(k, one, pools, seed) for k, one in enumerate(devices)]
    splits = list(dict.fromkeys(name for part in parts for name in part.splits))
    runs, shares, fairness, switches, utilisation = {}, {}, {}, {}, {}
    for name in strategies:
        clock = Clock()
        begun = [one for part in parts for one in part.begun(name, clock, duration_s)]
        run = runs[name] = simulate(
            begun,
            clock,
            pools,
            kinds=len(devices),
            duration_s=duration_s,
            deadline_s=deadline_s,
            warm_up_s=warm_up_s,
            bins=bins,
        )
        shares[name] = _shares(names, splits, run)
        means = np.array([one.total_s / one.count for one in begun if one.count])
        squares = float(len(means) * (means**2).sum())
        fairness[name] = float(means.sum()) ** 2 / squares if squares else np.nan  # no request came
        switches[name] = sum(one.controller.switches for one in begun if one.controller)
        all_workers = sum(one.workers for one in pools)
        utilisation[name] = sum(map(sum, run.busy_s)) / (all_workers * max(run.end_s, 1e-9))
    return Fleet(
        names,
        tuple(one.study.edge.graph.model for one in devices),
        runs,
        shares,
        fairness,
        switches,
        utilisation,
        _bound_s(parts, pools, duration_s),
        pools,
        tuple(part.pool for part in parts),
    )


def _bound_s(parts: Sequence[Kind], pools: Sequence[Servers], duration_s: float) -> float:
    """That of each pool alone, as nothing else is shared, weighed by its requests."""
    total_s = total_hz = 0.0
    for pool, servers in enumerate(pools):
        users = [part for part in parts if part.pool == pool]
        own = [
            (many * rate_hz, part.splits, part.carriers[at])
            for part in users
            if (rate_hz := part.own.arrivals.mean_hz(duration_s))
            for at, many in Counter(part.takes()).items()
        ]
        if own:
            for_ever = all(part.own.arrivals.times_s is None for part in users)
            rate_hz = sum(rate_hz for rate_hz, *_ in own)
            total_s += rate_hz * least_mean_s(own, servers.workers if for_ever else np.inf)
            total_hz += rate_hz
    return total_s / total_hz if total_hz else np.nan


def _shares(kinds: Sequence[str], splits: Sequence[str], run: Run) -> pd.DataFrame:
    import pandas as pd

    columns = [name for name in splits if any(name in one for one in run.taken)]
    counts = [[sum(one.get(name, ())) for name in columns] for one in run.taken]
    table = pd.DataFrame(counts, index=list(kinds), columns=columns, dtype=float)
    return table.div(table.sum(axis=1), axis=0)
