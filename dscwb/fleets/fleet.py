"""`fleet`: how several strategies fare where many devices share a pool of servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dscwb.controller import Controller
from dscwb.fleets.arrivals import Arrivals
from dscwb.fleets.bound import least_mean_s
from dscwb.fleets.engine import Clock, Device, Discipline, Run, Split, simulate
from dscwb.fleets.histogram import Histogram
from dscwb.policy import Policy
from dscwb.study.sending import Carrier
from dscwb.study.study import Study
from dscwb.traces import Trace
from dscwb.units import Told, format_percent, format_seconds, shown_name

if TYPE_CHECKING:
    import pandas as pd

SELFISH = "selfish"
BEST_STATIC = "best static"
BOUND = "lower bound"


@dataclass(frozen=True, eq=False)
class Devices:
    """Devices of one kind.

    Attributes:
        name: What tables call them.
        study: What their heads, payloads and tails cost on the pool's servers; of latency.
        number: How many there are.
        trace: The data rate of their links; each device begins at another place of it.
        arrivals: The requests of each.
        options: Of its `Controller`; what is not given is the trace's mean rate and the study's
            round trip.
        batch_size: One of the study's; its smallest if left out.
    """

    name: str
    study: Study
    number: int
    trace: Trace
    arrivals: Arrivals
    options: Mapping[str, Any] | None = None
    batch_size: int | None = None

    @property
    def size(self) -> int:
        """Samples in a request."""
        return min(self.study.batch_sizes) if self.batch_size is None else self.batch_size

    def splits(self) -> dict[str, Split]:
        """What each split takes on an idle server, by name; without those it cannot take."""
        lines, row = self.study.lines, self.study.row(self.size)
        tails = lines.tail_s[row] / self.study.scenario.server_load
        terms = zip(lines.head_s[row], lines.bits[row], lines.link_s[row], tails, strict=True)
        named = zip(self.study.splits, terms, strict=True)
        found = {name: Split(name, *map(float, one)) for name, one in named}
        return {name: one for name, one in found.items() if np.isfinite(one.head_s + one.tail_s)}


@dataclass(frozen=True, eq=False, repr=False)
class Fleet(Told):
    """What each strategy comes to.

    Attributes:
        kinds: Names of the kinds of devices.
        runs: What came of each strategy.
        shares: Share of each split under each strategy, by kind, ``(kind, split)`` a table each.
        fairness: Jain's index of the devices' mean latencies under each strategy.
        switches: Of all controllers together.
        utilisation: Share of the workers' time that tails took.
        bound_s: What no strategy's mean latency is below in the long run.
    """

    kinds: tuple[str, ...]
    runs: Mapping[str, Run]
    shares: Mapping[str, pd.DataFrame]
    fairness: Mapping[str, float]
    switches: Mapping[str, int]
    utilisation: Mapping[str, float]
    bound_s: float

    def table(self) -> pd.DataFrame:
        """One row a strategy and kind of device, and one for all of them.

        Returns:
            ``requests``, ``mean_s``, ``p50_s``, ``p90_s``, ``p99_s`` (within 0.5 %), ``late``,
            and, over all kinds alone, ``utilisation``, ``switches`` and ``fairness``.
        """
        import pandas as pd

        rows: dict[tuple[str, str], dict[str, float]] = {}
        for name, run in self.runs.items():
            rows[name, "all"] = _row(run.latencies, sum(run.late)) | {
                "utilisation": self.utilisation[name],
                "switches": self.switches[name],
                "fairness": self.fairness[name],
            }
            for kind, latencies, late in zip(self.kinds, run.latencies, run.late, strict=True):
                rows[name, kind] = _row([latencies], late)
        table = pd.DataFrame.from_dict(rows, orient="index")
        return table.rename_axis(index=["strategy", "devices"])

    def summary(self) -> dict[str, str]:
        """A line a strategy, and the bound."""
        table: Any = self.table()
        told = {
            shown_name(name): (
                f"{format_seconds(row.mean_s)} in the mean, 99 % within "
                f"{format_seconds(row.p99_s)}, {format_percent(row.late)} late, servers busy "
                f"{format_percent(row.utilisation)} of the time"
            )
            for name in self.runs
            for row in [table.loc[(name, "all")]]
        }
        return {BOUND: f"{format_seconds(self.bound_s)} in the mean, in the long run", **told}


def _row(latencies: Sequence[Histogram], late: int) -> dict[str, float]:
    whole = Histogram()
    for one in latencies:
        whole.join(one)
    quantiles = {f"p{q}_s": whole.quantile(q / 100) for q in (50, 90, 99)}
    share = late / whole.count if whole.count else np.nan
    return {"requests": whole.count, "mean_s": whole.mean_s, **quantiles, "late": share}


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
) -> Fleet:
    """Run a fleet under each strategy, with the same requests and links.

    Args:
        devices: Kinds of devices.
        workers: Tails that the pool runs at the same time.
        duration_s: Seconds in which requests come; all are answered.
        strategies: ``selfish`` (each device has a `Controller` of its own), the name of a split
            that all take, or ``best static``: each kind keeps its split that is best alone in the
            mean over its trace.
        discipline: ``first come`` (first served) or ``shortest first``.
        deadline_s: Requests that take longer are late.
        warm_up_s: Requests that come before are not counted.
        seed: Of arrivals and of where in the trace each link begins; the same seed, the same fleet.

    Raises:
        ValueError: A number, a trace or a strategy that makes no sense.
    """
    if not devices or any(one.number < 1 for one in devices):
        raise ValueError("give one kind of devices at least, and one device of each at least.")
    if workers < 1 or not 0 < duration_s < np.inf:
        raise ValueError(
            f"workers is {workers} and duration_s {duration_s:g}; give one worker at least and "
            "seconds above zero."
        )
    if discipline not in ("first come", "shortest first"):
        raise ValueError(f"discipline is {discipline!r}; choose 'first come' or 'shortest first'.")
    for one in devices:
        if one.study.scenario.objective != "latency":
            raise ValueError(f"{one.name!r} has a study of energy; give one of latency.")
        if not one.trace.data_rates_bps.any():
            raise ValueError(f"The link of {one.name!r} is always down; give another trace.")
    parts = [_Kind.of(k, one, seed) for k, one in enumerate(devices)]
    runs, shares, fairness, switches, utilisation = {}, {}, {}, {}, {}
    for name in strategies:
        clock = Clock()
        begun = [one for part in parts for one in part.begun(name, clock, duration_s)]
        run = runs[name] = simulate(
            begun,
            clock,
            kinds=len(devices),
            workers=workers,
            discipline=discipline,
            deadline_s=deadline_s,
            warm_up_s=warm_up_s,
        )
        shares[name] = _shares([one.name for one in devices], run)
        means = np.array([one.total_s / one.count for one in begun if one.count])
        fairness[name] = float(means.sum() ** 2 / (len(means) * (means**2).sum()))
        switches[name] = sum(one.controller.switches for one in begun if one.controller)
        utilisation[name] = run.busy_s / (workers * max(run.end_s, 1e-9))
    bound_s = least_mean_s(
        [
            (one.number * one.arrivals.rate_hz, part.splits, part.carrier)
            for one, part in zip(devices, parts, strict=True)
        ],
        workers,
    )
    kinds = tuple(one.name for one in devices)
    return Fleet(kinds, runs, shares, fairness, switches, utilisation, bound_s)


def _shares(kinds: list[str], run: Run) -> pd.DataFrame:
    import pandas as pd

    totals = [Counter(taken) for taken in run.taken]
    table = pd.DataFrame([{k: v / one.total() for k, v in one.items()} for one in totals])
    return table.set_axis(kinds).fillna(0.0)


@dataclass(frozen=True, eq=False)
class _Kind:
    """One kind of devices, ready to begin anew under each strategy."""

    place: int
    own: Devices
    seed: int
    splits: dict[str, Split]
    carrier: Carrier
    policy: Policy

    @classmethod
    def of(cls, place: int, own: Devices, seed: int) -> _Kind:
        return cls(place, own, seed, own.splits(), Carrier(own.trace), own.study.policy())

    def begun(self, strategy: str, clock: Clock, duration_s: float) -> list[Device]:
        """Its devices, as they begin."""
        own, trace = self.own, self.own.trace
        start = {
            "data_rate_bps": float(np.average(trace.data_rates_bps, weights=trace.lengths_s)),
            "round_trip_s": own.study.scenario.link.round_trip_s,
            **(own.options or {}),
        }
        fixed = self._best_static() if strategy == BEST_STATIC else strategy
        if strategy != SELFISH and fixed not in self.splits:
            raise ValueError(
                f"{strategy!r} is no strategy of {own.name!r}; choose {SELFISH!r}, "
                f"{BEST_STATIC!r} or one of {', '.join(self.splits)}."
            )
        found = []
        for number in range(own.number):
            seeds = [self.seed, self.place, number]
            offset_s = np.random.default_rng([*seeds, 1]).uniform(0, trace.duration_s)
            controller = None
            choose: Callable[[], str] = lambda: fixed  # noqa: E731
            if strategy == SELFISH:
                controller = Controller(self.policy, clock=clock, **start)
                choose = _asking(controller, own.size)
            coming = own.arrivals.until(duration_s, [*seeds, 0])
            found.append(
                Device(
                    self.place,
                    self.splits,
                    self.carrier,
                    float(offset_s),
                    coming,
                    choose,
                    controller,
                    own.size,
                )
            )
        return found

    def _best_static(self) -> str:
        """The split with the least mean latency over the trace's data rates, alone."""
        trace = self.own.trace
        costs = self.own.study.latency_at(self.own.size, trace.data_rates_bps)
        means = np.where(np.isnan(costs), np.inf, costs) @ trace.lengths_s
        return self.own.study.splits[int(np.argmin(means))]


def _asking(controller: Controller, batch_size: int) -> Callable[[], str]:
    return lambda: controller.choose(batch_size)
