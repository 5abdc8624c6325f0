"""Servers that many devices share: which tail they work at next, and whom they send away."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, Protocol, get_args

import numpy as np

Discipline = Literal["first come", "shortest first", "shared"]


def whole(number: float) -> bool:
    """Whether it counts something."""
    return isinstance(number, (int, np.integer))


@dataclass(frozen=True)
class Servers:
    """A pool of equal servers. What a tail takes on them is told by each `Devices`' study.

    Attributes:
        name: What `Devices.servers` and tables call it.
        workers: Tails that run at the same time.
        discipline: ``first come`` (first served), ``shortest first``, or ``shared``: all at once,
            each with an equal share of the workers, and of one worker at most.
        waiting: Most requests that wait for a worker; others are refused at once, as `TailServer`
            does. Where all are shared: as many more than workers.
    """

    name: str = "servers"
    workers: int = 1
    discipline: Discipline = "first come"
    waiting: float = math.inf

    def __post_init__(self) -> None:
        """Refuse what no pool is."""
        if not (whole(self.workers) and self.workers >= 1 and self.waiting >= 0):
            raise ValueError(
                f"workers is {self.workers} and waiting {self.waiting}; give a whole number of "
                "workers, one at least, and zero or more that wait."
            )
        if self.discipline not in get_args(Discipline):
            raise ValueError(
                f"discipline is {self.discipline!r}; choose 'first come', 'shortest first' or "
                "'shared'."
            )

    def words(self) -> str:
        """The pool in words, for captions."""
        wait = f", {self.waiting:g} wait at most" if self.waiting < math.inf else ""
        return f"{self.workers} worker{'s' * (self.workers != 1)}, {self.discipline}{wait}"


class Tail(Protocol):
    """What a pool works at.

    Attributes:
        reached_s: When it came.
        queue_s: By how much it took longer than alone; told by the pool.
        tail_s: Seconds that it takes alone.
    """

    reached_s: float
    queue_s: float

    @property
    def tail_s(self) -> float: ...  # noqa: D102


Event = Callable[[float, Any], None]


class Pool(Protocol):
    """Servers at work."""

    busy: Bins

    def take(self, now_s: float, tail: Any) -> bool:
        """Whether it will be done; refused for ever where it is not."""


class Bins:
    """Seconds of work by equal stretches of time; the last holds all that comes later."""

    def __init__(self, bins: int, width_s: float) -> None:
        """Begin with none."""
        self.seconds = [0.0] * (bins + 1)
        self._width_s, self._last = width_s, bins

    def add(self, start_s: float, end_s: float, workers: float) -> None:
        """So many have worked from then until then."""
        at = int(start_s / self._width_s)
        while at < self._last and start_s < end_s:
            until_s = min(end_s, (at + 1) * self._width_s)
            self.seconds[at] += workers * (until_s - start_s)
            start_s, at = until_s, at + 1
        self.seconds[self._last] += workers * (end_s - start_s)


class Queue:
    """Each worker does one tail after the other."""

    def __init__(self, servers: Servers, later: Callable[..., None], done: Event, busy: Bins):
        """`later` plans an event, `done` is told of every tail."""
        self.busy, self._later, self._done = busy, later, done
        self._idle, self._most = servers.workers, servers.waiting
        self._shortest, self._came = servers.discipline == "shortest first", count()
        self._queue: list[tuple[float, int, Tail]] = []

    def take(self, now_s: float, tail: Tail) -> bool:
        """Work at it now, or let it wait."""
        if self._idle:
            self._idle -= 1
            self._begins(now_s, tail)
        elif len(self._queue) < self._most:
            place = tail.tail_s if self._shortest else 0.0
            heapq.heappush(self._queue, (place, next(self._came), tail))
        else:
            return False
        return True

    def _begins(self, now_s: float, tail: Tail) -> None:
        tail.queue_s = now_s - tail.reached_s
        end_s = now_s + tail.tail_s
        self.busy.add(now_s, end_s, 1)
        self._later(end_s, self._ends, tail)

    def _ends(self, now_s: float, tail: Tail) -> None:
        self._done(now_s, tail)
        if self._queue:
            self._begins(now_s, heapq.heappop(self._queue)[2])
        else:
            self._idle += 1


class Shared:
    """The workers do all tails at the same time.

    All have the same share, so that the one that ends next is known by how much each that was there
    from the beginning would have had: `_each_s`, seconds of work.
    """

    def __init__(self, servers: Servers, later: Callable[..., None], done: Event, busy: Bins):
        """As a `Queue`."""
        self.busy, self._later, self._done = busy, later, done
        self._workers, self._most = servers.workers, servers.workers + servers.waiting
        self._came, self._plan = count(), 0
        self._at_work: list[tuple[float, int, Tail]] = []
        self._each_s = self._since_s = 0.0

    def take(self, now_s: float, tail: Tail) -> bool:
        """Work at it from now on."""
        if len(self._at_work) >= self._most:
            return False
        self._worked_until(now_s)
        heapq.heappush(self._at_work, (self._each_s + tail.tail_s, next(self._came), tail))
        self._plan_next(now_s)
        return True

    def _at_once(self) -> int:
        return min(self._workers, len(self._at_work))

    def _worked_until(self, now_s: float) -> None:
        if working := self._at_once():
            self.busy.add(self._since_s, now_s, working)
            self._each_s += (now_s - self._since_s) * working / len(self._at_work)
        self._since_s = now_s

    def _plan_next(self, now_s: float) -> None:
        self._plan += 1  # whatever was planned before is not true any more
        if self._at_work:
            left_s = max(0.0, self._at_work[0][0] - self._each_s)
            end_s = now_s + left_s * len(self._at_work) / self._at_once()
            self._later(end_s, self._ends, self._plan)

    def _ends(self, now_s: float, plan: int) -> None:
        if plan != self._plan:
            return
        self._worked_until(now_s)
        *_, tail = heapq.heappop(self._at_work)
        tail.queue_s = max(0.0, now_s - tail.reached_s - tail.tail_s)
        self._done(now_s, tail)
        self._plan_next(now_s)


def opened(servers: Servers, later: Callable[..., None], done: Event, busy: Bins) -> Pool:
    """The pool, nothing to do yet."""
    kind = Shared if servers.discipline == "shared" else Queue
    return kind(servers, later, done, busy)
