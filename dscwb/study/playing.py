"""A controller played over a trace: what each request would take, and what the controller takes.

The controller is the very one that runs on a device; it knows only what has been answered by then.
Requests begin at fixed times and do not wait for each other.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
    def _firsts(self) -> memoryview:
        return self.firsts.data

    @cached_property
    def _alone_s(self) -> float:
        """Seconds of the whole model on the device; infinite where it may not run there."""
        return float(np.fmin.reduce(self.heads_s[self.bits == 0], initial=np.inf))

    def values(self, i: int, part: slice, joules: bool) -> Floats:
        """Seconds or joules that a stretch of requests takes with one split, ``(request,)``."""
        times, bits = self.times_s[part], float(self.bits[i])
        head_s = float(self.heads_s[i])
        if not bits:
            alone = head_s * (self.watts[0] if joules else 1.0)
            return np.full(len(times), np.inf if np.isnan(alone) else alone)
        stop = part.start + len(times)
        first, last = np.searchsorted(self.firsts, [part.start, stop - 1], side="right")
        ends = np.append(self.firsts[first:last], stop)
        counts = np.diff(ends, prepend=part.start)
        runs = slice(first - 1, last)
        sending_s = self.carrier.sending_s(times + head_s, bits)
        fixed_s = np.repeat(self.trips_s[runs] + self.links_s[i], counts)
        tail_s = np.repeat(self.loads[runs] * self.tails_s[i], counts)
        gave_up = fixed_s + sending_s + tail_s > self.timeout_s
        if joules:
            work, wait = self.watts
            waits_s = np.minimum(sending_s, self.timeout_s)
            found = work * head_s + wait * (fixed_s + tail_s) + self.payload_j * sending_s
            waits = wait * (self.timeout_s - waits_s) + self.payload_j * waits_s
            found = np.where(gave_up, work * self._alone_s + waits, found)
        else:
            found = head_s + fixed_s + sending_s + tail_s
            found = np.where(gave_up, self.timeout_s + self._alone_s, found)
        return np.where(np.isnan(found), np.inf, found)

    def answer(self, request: int, i: int) -> tuple[int, float, _Answer]:
        """What one request is told, with its latency, and the first one that may be told else."""
        head_s, bits = self.heads_s.item(i), self.bits.item(i)
        if not bits:
            return len(self.times_s), head_s, _Answer(self.names[i], "", 0, 0.0, 0.0)
        firsts = self._firsts
        run = bisect_right(firsts, request) - 1
        end = firsts[run + 1] if run + 1 < len(firsts) else len(self.times_s)
        begin_s = self.times_s.item(request) + head_s
        sending_s, until_s = self.carrier.sent(begin_s, bits)
        link_s = self.trips_s.item(run) + self.links_s.item(i) + sending_s
        tail_s = self.loads.item(run) * self.tails_s.item(i)
        why = "no answer" if link_s + tail_s > self.timeout_s else ""
        latency_s = self.timeout_s + self._alone_s if why else head_s + link_s + tail_s
        same = min(end, int((until_s - head_s) / self.every_s))
        sent = int(bits / BITS_PER_BYTE)
        return same, latency_s, _Answer(self.names[i], why, sent, link_s, tail_s)


def played(
    controller: Controller,
    clock: Clock,
    requests: Requests,
    batch_size: int,
    *,
    jump: bool = True,
) -> Codes:
    """What a controller takes, request after request, as an index into the splits.

    Where it has settled and the requests to come are told what the last one was told, it is asked
    again only when one of these ends: its answers in between are known.

    Args:
        controller: Reads this clock.
        clock: Set to the time of each request and answer.
        requests: What they take.
        batch_size: One that the controller's policy holds.
        jump: False asks it every time, which gives the same.
    """
    index = {name: i for i, name in enumerate(requests.names)}
    times, every_s = requests.times_s.data, requests.every_s
    taken = np.empty(len(times), dtype=np.int16)
    under_way: list[tuple[float, int, _Answer]] = []  # a heap: when it comes, the request, what
    known: dict[str, tuple[int, float, _Answer]] = {}
    heard: _Answer | None = None
    k = 0
    while k < len(times):
        now_s = times[k]
        while under_way and under_way[0][0] <= now_s:
            clock.now_s, _, heard = heapq.heappop(under_way)
            controller.observe(batch_size, heard)
        clock.now_s = now_s
        name = controller.choose(batch_size)
        i = taken[k] = index[name]
        if name not in known or known[name][0] <= k:
            known[name] = requests.answer(k, i)
        same, latency_s, answer = known[name]
        heapq.heappush(under_way, (now_s + latency_s, k, answer))
        k += 1
        if not jump or heard is not answer or k >= same:
            continue
        until_s = controller.settled_until(batch_size, every_s)
        if until_s <= now_s or not all(one[2] is answer for one in under_way):
            continue
        if until_s < math.inf:  # a microsecond early, so that roundings do not matter
            same = min(same, math.ceil((until_s - 1e-6) / every_s))
        if same > k:
            taken[k:same] = i
            k, now_s = same, times[same - 1]
            # Of what has come meanwhile only the last counts, as it says when there was news.
            first = max(under_way[0][1], int((now_s - latency_s) / every_s) - 1)
            under_way = [(times[j] + latency_s, j, answer) for j in range(first, k)]
            while under_way and under_way[0][0] <= now_s:
                clock.now_s, *_ = heapq.heappop(under_way)
                controller.observe(batch_size, answer)
    return taken
