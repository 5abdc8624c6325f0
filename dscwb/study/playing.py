"""A controller played over a trace: what each request would take, and what the controller takes.

The controller is the very one that runs on a device; it knows only what has been answered by then.
Requests begin at fixed times and do not wait for each other.

Most requests are not asked one by one, which is exact: once a window is full of answers to one
split, all that the controller can learn, as long as it keeps this split, is known in advance. Its
own arithmetic is then done for many windows at once; it is asked again from the first on that
might change its mind. Only what it remembers beyond its window matters for that: the fitted round
trip, which answers with one payload leave as it is; when it last heard, or switched; and its
patience, which two choices with news of their own set, whatever it was before. So the last two of
them are asked one by one, after the answers that fill the window.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from dscwb.controller import Controller
from dscwb.cost import Floats
from dscwb.study.sending import Carrier
from dscwb.study.study import Study
from dscwb.traces import Trace
from dscwb.units import BITS_PER_BYTE

Codes = NDArray[np.int16]
"""Splits, as indices into a study's."""
STRETCH = 1 << 15
"""Requests whose answers are computed at once."""
MOST = 1 << 16
"""Answers that are looked at in one go, each once for every window that it lies in."""
REST = 24
"""Requests that are asked one by one where the split may change, before others are tried."""


class Clock:
    """A clock that is set."""

    now_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


@dataclass(slots=True)
class _Answer:
    """What a controller is told of a request."""

    split: str
    why: str
    sent_bytes: int
    link_s: float
    tail_s: float
    queue_s: float = 0.0


_Coming = tuple[float, int, _Answer]
"""When an answer comes, to which request, and what it says."""
_BY = SimpleNamespace(
    min=lambda *values: reduce(np.minimum, values),
    max=np.maximum,
    sorted=partial(np.sort, axis=0),
)
"""For `Controller.keeps`."""


@dataclass(frozen=True, eq=False)
class Requests:
    """What each request would take with each split, computed when it is asked for.

    A run is a stretch of requests within which neither data rate, round trip nor load changes.
    """

    names: tuple[str, ...]
    every_s: float
    times_s: Floats  # (request,)
    heads_s: Floats  # (split,), as the next four
    links_s: Floats  # beside the round trip and the payload
    tails_s: Floats  # of an idle server
    bits: Floats
    payload_j: float  # a second of sending
    watts: tuple[float, float]  # of computing and of waiting
    firsts: NDArray[np.intp]  # the first request of each, (run,)
    trips_s: Floats  # (run,)
    loads: Floats  # (run,)
    carrier: Carrier
    timeout_s: float

    @classmethod
    def of(
        cls,
        study: Study,
        row: int,
        trace: Trace,
        every_s: float,
        timeout_s: float,
        server_load: float | Callable[[Floats], Floats],
    ) -> Requests:
        """Those of a trace at a row of the study; arguments as in `replay`."""
        lines, scenario = study.lines, study.scenario
        times: Floats = np.arange(math.ceil(trace.duration_s / every_s), dtype=np.float64) * every_s
        times = times[times < trace.duration_s]
        firsts = np.searchsorted(times, trace.times_s)
        if callable(server_load):
            each = np.broadcast_to(server_load(times), times.shape)
            firsts = np.concatenate((firsts, 1 + np.flatnonzero(each[1:] != each[:-1])))
        firsts = np.unique(firsts[firsts < len(times)])
        loads = each[firsts] if callable(server_load) else np.full(len(firsts), server_load)
        own = scenario.link.round_trip_s
        trips = np.full(len(firsts), own)
        if trace.round_trips_s is not None:
            trips = trace.round_trips_s[trace.step(times[firsts])]
        power = scenario.power if study.unit == "J" else None
        return cls(
            study.splits,
            every_s,
            times,
            lines.head_s[row],
            lines.link_s[row] - own * (lines.bits[row] > 0),
            lines.tail_s[row] / scenario.server_load,
            lines.bits[row],
            power.send_w if power else 1.0,
            scenario.second_costs,
            firsts,
            trips,
            np.asarray(loads, dtype=np.float64),
            Carrier(trace),
            timeout_s,
        )

    @cached_property
    def alone_s(self) -> float:
        """Seconds of the whole model on the device; infinite where it may not run there."""
        return float(np.fmin.reduce(self.heads_s[self.bits == 0], initial=np.inf))

    def parts_s(self, i: int, part: slice) -> tuple[Floats, Floats, Floats]:
        """Seconds of a stretch of requests with one split that sends something.

        Returns:
            Of the link beside the payload, of sending the payload, and of the tail, ``(request,)``.
        """
        times, bits = self.times_s[part], float(self.bits[i])
        stop = part.start + len(times)
        first, last = np.searchsorted(self.firsts, [part.start, stop - 1], side="right")
        ends = np.append(self.firsts[first:last], stop)
        counts = np.diff(ends, prepend=part.start)
        runs = slice(first - 1, last)
        sending_s = self.carrier.sending_s(times + float(self.heads_s[i]), bits)
        fixed_s = np.repeat(self.trips_s[runs] + self.links_s[i], counts)
        return fixed_s, sending_s, np.repeat(self.loads[runs] * self.tails_s[i], counts)

    def values(self, i: int, part: slice, joules: bool) -> Floats:
        """Seconds or joules that a stretch of requests takes with one split, ``(request,)``."""
        head_s = float(self.heads_s[i])
        if not self.bits[i]:
            alone = head_s * (self.watts[0] if joules else 1.0)
            return np.full(len(self.times_s[part]), np.inf if np.isnan(alone) else alone)
        fixed_s, sending_s, tail_s = self.parts_s(i, part)
        link_s = fixed_s + sending_s
        gave_up = link_s + tail_s > self.timeout_s
        if joules:
            work, wait = self.watts
            waits_s = np.minimum(sending_s, self.timeout_s)
            found = work * head_s + wait * (fixed_s + tail_s) + self.payload_j * sending_s
            waits = wait * (self.timeout_s - waits_s) + self.payload_j * waits_s
            found = np.where(gave_up, work * self.alone_s + waits, found)
        else:
            found = head_s + link_s + tail_s
            found = np.where(gave_up, self.timeout_s + self.alone_s, found)
        return np.where(np.isnan(found), np.inf, found)


def played(
    controller: Controller,
    clock: Clock,
    requests: Requests,
    batch_size: int,
    *,
    jump: bool = True,
) -> Codes:
    """What a controller takes, request after request, as an index into the splits.

    Args:
        controller: Reads this clock.
        clock: Set to the time of each request and answer.
        requests: What they take.
        batch_size: One that the controller's policy holds.
        jump: False asks it every time, which gives the same.
    """
    index = {name: i for i, name in enumerate(requests.names)}
    times, every_s, sends = requests.times_s.data, requests.every_s, (requests.bits > 0).tolist()
    taken = np.empty(len(times), dtype=np.int16)
    under_way: list[_Coming] = []  # a heap
    heard: deque[int] = deque(maxlen=controller.window)  # what the controller's window answers
    ahead: dict[int, _Ahead] = {}
    last, since, k, rest = -1, 0, 0, 0
    while k < len(times):
        now_s = times[k]
        while under_way and under_way[0][0] <= now_s:
            clock.now_s, request, answer = heapq.heappop(under_way)
            controller.observe(batch_size, answer)
            if answer.why or not answer.sent_bytes:
                heard.clear()
            else:
                heard.append(request)
        clock.now_s = now_s
        i = taken[k] = index[controller.choose(batch_size)]
        if i != last:
            last, since = i, k
        if sends[i]:
            if i not in ahead or k >= ahead[i].stop:
                first = max(since, min([k, *heard, *(one[1] for one in under_way)]))
                ahead[i] = _Ahead(requests, i, first if k - first < STRETCH // 2 else k, controller)
            heapq.heappush(under_way, ahead[i].answer(k))
        k += 1
        if not jump or k < rest:
            continue
        if not sends[i]:  # nothing changes before an answer comes, or is missed for too long
            stop = bisect_left(times, under_way[0][0], k) if under_way else len(times)
            until_s = controller.quiet_until(batch_size) if stop > k else math.inf
            if until_s < math.inf:  # a microsecond early, so that roundings do not matter
                stop = min(stop, math.ceil((until_s - 1e-6) / every_s))
            taken[k:stop] = i
            k = max(k, stop)
        elif len(heard) == controller.window and controller.steady(batch_size):
            if min([*heard, *(one[1] for one in under_way)]) < max(since, ahead[i].first):
                continue  # there are other answers in the window, or to come
            stop, more = ahead[i].kept(batch_size, since, k)
            if stop > k:
                taken[k:stop] = i
                k, under_way = stop, ahead[i].coming(stop)
            rest = k if more else k + REST
    return taken


class _Ahead:
    """The answers to a stretch of requests if all of them take one split, computed at once."""

    def __init__(self, requests: Requests, i: int, first: int, controller: Controller) -> None:
        """Of at most `STRETCH` requests, from the first one on."""
        part = slice(first, first + STRETCH)
        self._times_s = requests.times_s[part]
        self.first, self.stop = first, first + len(self._times_s)
        self._controller, self._window = controller, controller.window
        self._name, self._sent = requests.names[i], int(requests.bits[i] / BITS_PER_BYTE)
        fixed_s, sending_s, tail_s = requests.parts_s(i, part)
        link_s = fixed_s + sending_s
        late = link_s + tail_s > requests.timeout_s
        latency_s = requests.heads_s[i] + link_s + tail_s
        latency_s[late] = requests.timeout_s + requests.alone_s
        self._told, self._late = (self._times_s + latency_s, link_s, tail_s), late
        self._latest_s = np.maximum.accumulate(self._told[0])
        # From here on in the order in which they come.
        self._order = np.argsort(self._told[0], kind="stable")
        self._come_s, self._link_s, self._tail_s = (one[self._order] for one in self._told)
        with np.errstate(invalid="ignore"):  # between two that never come
            pauses_s = np.diff(self._come_s, append=np.inf)
        self._ends = np.flatnonzero(late[self._order] | ~(pauses_s <= controller.retry_s))
        unlike = self._link_s[1:] != self._link_s[:-1]
        self._load_varies = bool((tail_s[1:] != tail_s[:-1]).any())
        if self._load_varies:
            unlike |= self._tail_s[1:] != self._tail_s[:-1]
        changes, window = np.cumsum(np.append(True, unlike)), self._window
        before = np.append(0, changes[:-window])
        self._begins = np.flatnonzero(changes[window - 1 :] != before)  # of windows with news

    def answer(self, request: int) -> _Coming:
        """When it comes, to which request, and what the controller is told."""
        come_s, link_s, tail_s = (one.item(request - self.first) for one in self._told)
        why = "no answer" if self._late.item(request - self.first) else ""
        return come_s, request, _Answer(self._name, why, self._sent, link_s, tail_s)

    def coming(self, k: int) -> list[_Coming]:
        """What is under way at a request, and a window of what has come before; a heap."""
        j = k - self.first
        at_once = bool(self._told[0][j] <= self._times_s[j])  # has come, but is not yet known
        order = self._order[self._heard(j) + 1 - self._window - at_once :]
        return [self.answer(request) for request in (self.first + order[order < j]).tolist()]

    def kept(self, batch_size: int, since: int, k: int) -> tuple[int, bool]:
        """Up to which request the split is surely kept, if the controller is `steady`.

        Args:
            batch_size: That of all requests.
            since: The one from which on all have taken the split.
            k: The one after that for which the controller has just chosen.

        Returns:
            The request at which to go on asking, and whether that is for want of answers alone.
        """
        last, now = self._window - 1, self._heard(k - 1 - self.first)
        others = since - self.first  # these took none, and must lie before the window
        if others > 0 and self._latest_s[others - 1] >= self._come_s[now - last]:
            return k, False
        span = [now - last, now - last + MOST // self._window]
        low, high = self._begins.searchsorted(span, side="right").tolist()
        begins = self._begins[low - 1 : high]
        windows = begins + np.arange(self._window)[:, np.newaxis]
        server_s = self._tail_s[windows if self._load_varies else windows[:, :1]]
        keeps = self._controller.keeps(batch_size, self._link_s[windows], server_s, _BY)
        ends = [*(begins[~keeps][:1] + last), self._ends[self._ends.searchsorted(now)]]
        looked_at = [*(self._begins[high : high + 1] + last), len(self._order) - 1]
        end = int(min(ends + looked_at))
        stop = int(self._times_s.searchsorted(self._come_s[end]))
        for _ in range(2):  # back to the choice that was the first to know what is known by then
            if stop > k - self.first:
                stop = int(self._times_s.searchsorted(self._come_s[self._heard(stop - 1)]))
        return self.first + stop, end == min(looked_at)

    def _heard(self, request: int) -> int:
        """The last answer that has come by then, counted from 0."""
        return int(self._come_s.searchsorted(self._times_s[request], side="right")) - 1
