"""One fleet, event after event: devices that choose, links that change, servers that are shared.

A request waits for its device's processor (first come, first served), where its split is chosen
when its head begins; its payload waits for its device's own link; its tail waits for a worker of
the device's pool; half of the round trip passes before the tail and half after it. A controller is
told of an answer when the device has it.

A device that waits in vain, or is refused, finishes the request itself, before all that waits for
its processor, and tells its controller why. What it has sent still takes its time on the link, and
the server still does it, as `TailServer` does: it cannot know that nobody waits any more.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dscwb.controller import Controller
from dscwb.fleets.histogram import Histogram
from dscwb.fleets.pools import Bins, Servers, opened
from dscwb.study.sending import Carrier

LATE, REFUSED = "no answer within the deadline", "the server says: too many wait already"


@dataclass(slots=True)
class Split:
    """What one split takes on a kind of device; sends nothing where `bits` is 0.

    `link_s` is what the link takes beside payload and round trip, which its `Carrier` knows;
    `rest_s` is its tail on the device itself; infinite where that cannot run it.
    """

    name: str
    head_s: float
    bits: float
    link_s: float
    tail_s: float
    rest_s: float = math.inf


@dataclass(slots=True, eq=False)
class Device:
    """One device: what it does now, and what its requests took so far.

    `pool` counts the pools from 0. One that does one thing at a time begins nothing while it waits
    for an answer. `back` are requests that it must finish itself.
    """

    kind: int
    splits: dict[str, Split]
    carrier: Carrier
    offset_s: float
    coming: Iterator[float]
    choose: Callable[[], str]
    controller: Controller | None
    batch_size: int
    pool: int = 0
    timeout_s: float = math.inf
    one_at_a_time: bool = False
    waiting: deque[float] = field(default_factory=deque)
    back: deque[Request] = field(default_factory=deque)
    busy: bool = False
    awaits: bool = False
    link_free_s: float = 0.0
    count: int = 0
    total_s: float = 0.0


@dataclass(slots=True, eq=False)
class Request:
    """A request on its way; what a controller reads of its answer, too.

    `ways_s` is what the link takes there and back beside the payload.
    """

    device: Device
    begun_s: float
    taken: Split
    ways_s: float = 0.0
    link_s: float = 0.0
    reached_s: float = 0.0
    queue_s: float = 0.0
    why: str = ""
    answered: bool = False

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
    """What came of it, by kind of device: memory does not grow with the number of requests.

    Attributes:
        width_s: Seconds of a bin of time.
        latencies: Of all requests.
        late: How many took longer than the deadline.
        fell_back: How many the device finished, as no answer came in time or it was refused.
        taken: How many took each split, by the bin in which they came.
        total_s: Their latencies' sum, by the same.
        busy_s: Seconds of all workers, by pool and by the bin in which they worked; one bin more
            holds what came after the last request.
        end_s: When all was done.
    """

    width_s: float
    latencies: list[Histogram]
    late: list[int]
    fell_back: list[int]
    taken: list[dict[str, list[int]]]
    total_s: list[list[float]]
    busy_s: list[list[float]]
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
    pools: Sequence[Servers],
    *,
    kinds: int,
    duration_s: float,
    deadline_s: float,
    warm_up_s: float = 0.0,
    bins: int = 1,
) -> Run:
    """Run until all is done; events at the same time in the order they were made.

    Args:
        devices: As they begin; they are changed.
        clock: What their controllers read.
        pools: What they share.
        kinds: Kinds of devices, which they count from 0.
        duration_s: All requests come before.
        deadline_s: Requests that take longer are late.
        warm_up_s: Requests that come before are not counted.
        bins: Into how many the duration is divided.
    """
    made = count()
    width_s = duration_s / bins
    run = Run(
        width_s,
        [Histogram() for _ in range(kinds)],
        [0] * kinds,
        [0] * kinds,
        [{} for _ in range(kinds)],
        [[0.0] * bins for _ in range(kinds)],
        [],
    )
    events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []

    def later(time_s: float, what: Callable[[float, Any], None], whom: Any) -> None:
        heapq.heappush(events, (time_s, next(made), what, whom))

    def comes(now_s: float, device: Device) -> None:
        device.waiting.append(now_s)
        if (after := next(device.coming, None)) is not None:
            later(after, comes, device)
        if not device.busy:
            goes_on(now_s, device)

    def goes_on(now_s: float, device: Device) -> None:
        """Its processor is free."""
        device.busy = True
        if device.back:
            request = device.back.popleft()
            later(now_s + request.taken.rest_s, finished, request)
        elif device.waiting and not device.awaits:
            taken = device.splits[device.choose()]
            later(now_s + taken.head_s, leaves, Request(device, device.waiting.popleft(), taken))
        else:
            device.busy = False

    def leaves(now_s: float, request: Request) -> None:
        device, taken = request.device, request.taken
        if taken.bits:
            start_s = max(now_s, device.link_free_s)
            within_s = (start_s + device.offset_s) % device.carrier.period_s
            device.link_free_s = start_s + device.carrier.sent(within_s, taken.bits)
            request.ways_s = taken.link_s + device.carrier.trip_s(within_s)
            request.reached_s = device.link_free_s + request.ways_s / 2
            request.link_s = device.link_free_s - now_s + request.ways_s
            device.awaits = device.one_at_a_time
            later(request.reached_s, reaches, request)
            if device.timeout_s < math.inf:
                later(now_s + device.timeout_s, gives_up, request)
        else:
            answered(now_s, request)
        goes_on(now_s, device)

    def reaches(now_s: float, request: Request) -> None:
        if not working[request.device.pool].take(now_s, request):
            later(now_s + request.ways_s / 2, refused, request)

    def done(now_s: float, request: Request) -> None:
        run.end_s = now_s
        later(now_s + request.ways_s / 2, returns, request)

    def returns(now_s: float, request: Request) -> None:
        if not request.why:
            comes_back(now_s, request)

    def refused(now_s: float, request: Request) -> None:
        falls_back(now_s, request, REFUSED)

    def gives_up(now_s: float, request: Request) -> None:
        falls_back(now_s, request, LATE)

    def falls_back(now_s: float, request: Request, why: str) -> None:
        if not (request.answered or request.why):
            request.why = why
            request.device.back.append(request)
            if not request.device.busy:
                goes_on(now_s, request.device)

    def finished(now_s: float, request: Request) -> None:
        request.device.busy = False
        comes_back(now_s, request)

    def comes_back(now_s: float, request: Request) -> None:
        device = request.device
        device.awaits = False
        answered(now_s, request)
        if not device.busy:
            goes_on(now_s, device)

    def answered(now_s: float, request: Request) -> None:
        device, latency_s = request.device, now_s - request.begun_s
        request.answered, run.end_s = True, now_s
        if device.controller is not None:
            device.controller.observe(device.batch_size, request)
        if request.begun_s < warm_up_s:
            return
        kind, name = device.kind, request.taken.name
        run.latencies[kind].add(latency_s)
        run.late[kind] += latency_s > deadline_s
        run.fell_back[kind] += bool(request.why)
        at, taken = min(int(request.begun_s / width_s), bins - 1), run.taken[kind]
        if name not in taken:
            taken[name] = [0] * bins
        taken[name][at] += 1
        run.total_s[kind][at] += latency_s
        device.count += 1
        device.total_s += latency_s

    working = [opened(one, later, done, Bins(bins, width_s)) for one in pools]
    for device in devices:
        if (first := next(device.coming, None)) is not None:
            later(first, comes, device)
    while events:
        clock.now_s, _, what, whom = heapq.heappop(events)
        what(clock.now_s, whom)
    run.busy_s = [one.busy.seconds for one in working]
    return run
