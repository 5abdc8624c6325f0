"""The devices of a fleet: what they are, and how they begin under a strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dscwb.controller import Controller
from dscwb.fleets.arrivals import Arrivals
from dscwb.fleets.bound import alone_s
from dscwb.fleets.engine import Clock, Device, Split
from dscwb.fleets.pools import Servers, whole
from dscwb.policy import Policy
from dscwb.study.sending import Carrier
from dscwb.study.study import Study
from dscwb.traces import Trace
from dscwb.units import shown_name

SELFISH = "selfish"
BEST_STATIC = "best static"


def strategy_name(strategy: str) -> str:
    """What people read for a strategy: its name, or that of the split which all take."""
    return strategy if strategy in (SELFISH, BEST_STATIC) else shown_name(strategy)


@dataclass(frozen=True, eq=False)
class Devices:
    """Devices of one kind.

    Attributes:
        name: What tables call them.
        study: What their heads, payloads and tails cost on the pool's servers; of latency. Its
            server load and its waiting for samples do not count: the fleet's own load is what comes
            of it, and a request comes with all of its samples.
        number: How many there are.
        traces: The data rate of their links: one trace, or several, which the devices take in turn
            in an order drawn by the seed. Each device begins at another place of its trace. Where a
            trace has round trips, they count, else the study's does.
        arrivals: The requests of each.
        options: Of its `Controller`; what is not given is its trace's mean rate and the study's
            round trip.
        batch_size: One of the study's; its smallest if left out.
        servers: Name of the pool that they share; the first if left out.
        timeout_s: Seconds after its head that a request waits for an answer, then its device
            finishes it itself, as `SplitClient` does.
        one_at_a_time: A device does nothing else while it waits for an answer, as `SplitClient`.
            Else it goes on with the next request's head.
    """

    name: str
    study: Study
    number: int
    traces: Trace | Sequence[Trace]
    arrivals: Arrivals
    options: Mapping[str, Any] | None = None
    batch_size: int | None = None
    servers: str = ""
    timeout_s: float = math.inf
    one_at_a_time: bool = False

    def __post_init__(self) -> None:
        """Refuse what are no traces."""
        links = (self.traces,) if isinstance(self.traces, Trace) else tuple(self.traces)
        if wrong := [one for one in links if not isinstance(one, Trace)]:
            raise ValueError(
                f"traces of {self.name!r} holds {wrong[0]!r}, which is no trace; give "
                "dscwb.load_trace(FILE) for each."
            )
        object.__setattr__(self, "traces", links)

    @property
    def size(self) -> int:
        """Samples in a request."""
        return min(self.study.batch_sizes) if self.batch_size is None else self.batch_size

    @property
    def links(self) -> tuple[Trace, ...]:
        """Their traces, one or several."""
        return (self.traces,) if isinstance(self.traces, Trace) else tuple(self.traces)

    @property
    def round_trip_s(self) -> float:
        """The study's, which a trace may know better."""
        return self.study.scenario.link.round_trip_s

    def splits(self) -> dict[str, Split]:
        """What each split takes on an idle server, by name; without those it cannot take."""
        lines, row = self.study.lines, self.study.row(self.size)
        tails = lines.tail_s[row] / self.study.scenario.server_load
        ways = np.maximum(0, lines.link_s[row] - self.round_trip_s * (lines.bits[row] > 0))
        terms = zip(lines.head_s[row], lines.bits[row], ways, tails, strict=True)
        named = zip(self.study.splits, terms, strict=True)
        whole_s = float(np.fmin.reduce(lines.head_s[row][lines.bits[row] == 0], initial=np.inf))
        found = {}
        for name, one in named:
            head_s, bits, link_s, tail_s = map(float, one)
            found[name] = Split(name, head_s, bits, link_s, tail_s, max(0.0, whole_s - head_s))
        return {name: one for name, one in found.items() if np.isfinite(one.head_s + one.tail_s)}


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of devices, ready to begin anew under each strategy."""

    place: int
    own: Devices
    pool: int
    seed: int
    splits: dict[str, Split]
    carriers: tuple[Carrier, ...]
    policy: Policy

    @classmethod
    def of(cls, place: int, own: Devices, pools: Sequence[Servers], seed: int) -> Kind:
        """Ready to begin; ValueError says what makes no sense."""
        if not (whole(own.number) and own.number >= 1):
            raise ValueError(
                f"number of {own.name!r} is {own.number}; give a whole number, one at least."
            )
        if own.study.scenario.objective != "latency":
            raise ValueError(f"{own.name!r} has a study of energy; give one of latency.")
        if not own.links:
            raise ValueError(f"traces of {own.name!r} is empty; give one trace at least.")
        for at, trace in enumerate(own.links):
            if not trace.data_rates_bps.any():
                raise ValueError(
                    f"The link of {own.name!r} is always down in traces[{at}] "
                    f"({trace.source or 'of no source'}); give another trace."
                )
        if not own.timeout_s > 0:
            raise ValueError(f"timeout_s is {own.timeout_s:g}; give seconds above zero.")
        names = [one.name for one in pools]
        if own.servers and own.servers not in names:
            raise ValueError(
                f"{own.name!r} are to use {own.servers!r}; choose one of {', '.join(names)}."
            )
        pool = names.index(own.servers) if own.servers else 0
        splits = own.splits()
        gives_up = min(own.timeout_s, pools[pool].waiting) < math.inf
        if gives_up and any(one.rest_s == math.inf for one in splits.values()):
            raise ValueError(
                f"{own.name!r} cannot run the whole model, which they must where no answer comes; "
                "leave out timeout_s and waiting."
            )
        carriers = tuple(Carrier(trace, own.round_trip_s) for trace in own.links)
        return cls(place, own, pool, seed, splits, carriers, own.study.policy())

    def takes(self) -> list[int]:
        """Which of the traces each device takes."""
        many = len(self.carriers)
        order = np.random.default_rng([self.seed, self.place, 2]).permutation(many)
        return [int(order[number % many]) for number in range(self.own.number)]

    def begun(self, strategy: str, clock: Clock, duration_s: float) -> list[Device]:
        """Its devices, as they begin."""
        own = self.own
        fixed = self._best_static() if strategy == BEST_STATIC else strategy
        if strategy != SELFISH and fixed not in self.splits:
            raise ValueError(
                f"{strategy!r} is no strategy of {own.name!r}; choose {SELFISH!r}, "
                f"{BEST_STATIC!r} or one of {', '.join(self.splits)}."
            )
        found = []
        for number, at in enumerate(self.takes()):
            seeds, trace = [self.seed, self.place, number], own.links[at]
            offset_s = np.random.default_rng([*seeds, 1]).uniform(0, trace.duration_s)
            start = {
                "data_rate_bps": trace.mean_bps,
                "round_trip_s": own.round_trip_s,
                **(own.options or {}),
            }
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
                    self.carriers[at],
                    float(offset_s),
                    coming,
                    choose,
                    controller,
                    own.size,
                    self.pool,
                    own.timeout_s,
                    own.one_at_a_time,
                )
            )
        return found

    def _best_static(self) -> str:
        """The split with the least mean latency over the traces, alone."""
        means = sum(alone_s(self.splits, carrier).mean(axis=1) for carrier in self.carriers)
        return list(self.splits)[int(np.argmin(means))]


def _asking(controller: Controller, batch_size: int) -> Callable[[], str]:
    return lambda: controller.choose(batch_size)
