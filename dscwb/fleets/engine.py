"""One fleet, event after event: devices that choose, links that change, servers that are shared.

A request waits for its device's processor (first come, first served), where its split is chosen
when its head begins; its payload waits for its device's own link; its tail waits for a worker of
the pool; half of the round trip passes before the tail and half after it. A controller is told of
an answer when the device has it. Nothing is given up: a request waits as long as it must.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from dscwb.controller import Controller
from dscwb.fleets.histogram import Histogram
from dscwb.study.sending import Carrier

Discipline = Literal["first come", "shortest first"]


@dataclass(slots=True)
class Split:
    """What one split takes on a kind of device; sends nothing where `bits` is 0."""

    name: str
    head_s: float
    bits: float
    link_s: float
    tail_s: float


@dataclass(slots=True, eq=False)
class Device:
    """One device: what it does now, and what its requests took so far."""

    kind: int
    splits: dict[str, Split]
    carrier: Carrier
    offset_s: float
    coming: Iterator[float]
    choose: Callable[[], str]
    controller: Controller | None
    batch_size: int
    waiting: deque[float] = field(default_factory=deque)
    busy: bool = False
    link_free_s: float = 0.0
    count: int = 0
    total_s: float = 0.0


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way; what a controller reads of its answer, too."""

    device: Device
    begun_s: float
    taken: Split
    link_s: float = 0.0
    reached_s: float = 0.0
    queue_s: float = 0.0
    why: str = ""

    @property
    def split(self) -> str:
        """Its split's name."""
        return self.taken.name

    @property
    def sent_bytes(self) -> int:
        """Bytes that it sends."""
        return int(self.taken.bits / 8)

    @property
    def tail_s(self) -> float:
        """Seconds of its tail, its waiting for a worker not among them."""
        return self.taken.tail_s


@dataclass(eq=False)
class Run:
    """What came of it, by kind of device: memory does not grow with the number of requests."""

    latencies: list[Histogram]
    late: list[int]
    taken: list[dict[str, int]]
    busy_s: float = 0.0
    end_s: float = 0.0


class Clock:
    """A clock that is set."""

    now_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def simulate(
    devices: list[Device],
    clock: Clock,
    *,
    kinds: int,
    workers: int,
    discipline: Discipline,
    deadline_s: float,
    warm_up_s: float,
) -> Run:
    """Run until the last request is answered; events at the same time in the order they were made.

    Args:
        devices: As they begin; they are changed.
        clock: What their controllers read.
        kinds: Kinds of devices, which they count from 0.
        workers: Tails that run at the same time.
        discipline: Which tail is next.
        deadline_s: Requests that take longer are late.
        warm_up_s: Requests that come before are not counted.
    """
    made = count()
    run = Run([Histogram() for _ in range(kinds)], [0] * kinds, [{} for _ in range(kinds)])
    events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
    queue: list[tuple[float, int, Request]] = []
    shortest, idle = discipline == "shortest first", workers

    def later(time_s: float, what: Callable[[float, Any], None], whom: Any) -> None:
        heapq.heappush(events, (time_s, next(made), what, whom))

    def comes(now_s: float, device: Device) -> None:
        device.waiting.append(now_s)
        if (after := next(device.coming, None)) is not None:
            later(after, comes, device)
        if not device.busy:
            begins(now_s, device)

    def begins(now_s: float, device: Device) -> None:
        device.busy = True
        taken = device.splits[device.choose()]
        later(now_s + taken.head_s, leaves, Request(device, device.waiting.popleft(), taken))

    def leaves(now_s: float, request: Request) -> None:
        device, taken = request.device, request.taken
        device.busy = False
        if taken.bits:
            start_s = max(now_s, device.link_free_s)
            within_s = (start_s + device.offset_s) % device.carrier.period_s
            device.link_free_s = start_s + device.carrier.sent(within_s, taken.bits)[0]
            request.reached_s = device.link_free_s + taken.link_s / 2
            request.link_s = device.link_free_s - now_s + taken.link_s
            later(request.reached_s, reaches, request)
        else:
            answered(now_s, request)
        if device.waiting:
            begins(now_s, device)

    def reaches(now_s: float, request: Request) -> None:
        nonlocal idle
        if idle:
            idle -= 1
            works(now_s, request)
        else:
            heapq.heappush(queue, (request.tail_s if shortest else 0.0, next(made), request))

    def works(now_s: float, request: Request) -> None:
        request.queue_s = now_s - request.reached_s
        run.busy_s += request.tail_s
        later(now_s + request.tail_s, ends, request)

    def ends(now_s: float, request: Request) -> None:
        nonlocal idle
        later(now_s + request.taken.link_s / 2, answered, request)
        if queue:
            works(now_s, heapq.heappop(queue)[2])
        else:
            idle += 1

    def answered(now_s: float, request: Request) -> None:
        device, latency_s = request.device, now_s - request.begun_s
        if device.controller is not None:
            device.controller.observe(device.batch_size, request)
        if request.begun_s < warm_up_s:
            return
        kind = device.kind
        run.latencies[kind].add(latency_s)
        run.late[kind] += latency_s > deadline_s
        taken = run.taken[kind]
        taken[request.split] = taken.get(request.split, 0) + 1
        device.count += 1
        device.total_s += latency_s

    for device in devices:
        if (first := next(device.coming, None)) is not None:
            later(first, comes, device)
    while events:
        clock.now_s, _, what, whom = heapq.heappop(events)
        what(clock.now_s, whom)
    run.end_s = clock.now_s
    return run
