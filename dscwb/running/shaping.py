"""When bytes are through a link whose data rate changes: arithmetic with neither clock nor socket.

Whoever uses it says what time it is, in seconds of any one clock.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

BITS_PER_BYTE = 8  # as in units, which this process need not load
PIECE_S = 1e-3
"""How long one piece takes: short, so that others get their turn; long, so that it costs little."""
SMALLEST_PIECE_BYTES = 1448  # what a packet of Ethernet carries
FINISHED = b""
"""A piece without bytes, by which a flow says that nothing more comes."""


@dataclass(frozen=True)
class Plan:
    """What one direction of a link offers over time, from a moment on; a finite one repeats.

    Attributes:
        begin_s: When its first step begins.
        times_s: When each step begins, counted from there, ascending from 0, ``(step,)``.
        data_rates_bps: Bits a second that pass, ``(step,)``; 0: nothing does.
        delays_s: How long what has passed still travels, ``(step,)``.
        duration_s: When the last step ends and the first begins again; infinite: never.
    """

    begin_s: float
    times_s: Sequence[float]
    data_rates_bps: Sequence[float]
    delays_s: Sequence[float]
    duration_s: float = math.inf

    def at(self, time_s: float) -> tuple[float, float, float]:
        """Data rate and delay at a time, and when they may change, always later than that time."""
        lap_s, since_s = self.begin_s, time_s - self.begin_s
        if math.isfinite(self.duration_s):
            laps, since_s = divmod(since_s, self.duration_s)
            lap_s += laps * self.duration_s
        step = max(0, bisect_right(self.times_s, since_s) - 1)
        ends_s = self.times_s[step + 1] if step + 1 < len(self.times_s) else self.duration_s
        until_s = max(lap_s + ends_s, math.nextafter(time_s, math.inf))  # roundings never stop time
        return self.data_rates_bps[step], self.delays_s[step], until_s


@dataclass(eq=False)
class Flow:
    """The bytes of one connection in one direction that have not passed yet."""

    waiting: deque[memoryview] = field(default_factory=deque)
    waiting_bytes: int = 0

    def take(self, at_most: int) -> memoryview:
        """The next piece, as long as there is one; `FINISHED` is a piece of its own."""
        data = self.waiting.popleft()
        if len(data) > at_most:
            self.waiting.appendleft(data[at_most:])
            data = data[:at_most]
        return data


class Lane:
    """One direction of a link, which the flows of all connections share piece by piece.

    A piece of n bytes takes n · 8 / r seconds and begins when the one before it is through. While
    nothing waits nothing is saved up: the link has no bucket that could start full. What has passed
    arrives, in order, after the delay.
    """

    def __init__(self, plan: Plan) -> None:
        """An idle lane."""
        self.plan = plan
        self.passed_bytes = 0
        self._turns: deque[Flow] = deque()
        self._flow: Flow | None = None  # whose piece is under way
        self._piece = memoryview(FINISHED)
        self._left = 0.0  # bytes of it
        self._clock_s = -math.inf  # until when all is accounted for
        self._arriving: deque[tuple[float, Flow, memoryview]] = deque()

    def add(self, now_s: float, flow: Flow, data: bytes) -> None:
        """Bytes that have come in for a flow, or `FINISHED`."""
        self.advance(now_s)
        if not flow.waiting:
            self._turns.append(flow)
        flow.waiting.append(memoryview(data))
        flow.waiting_bytes += len(data)
        self.advance(now_s)

    def change(self, now_s: float, plan: Plan) -> None:
        """Another plan from now on, for bytes that wait and for the rest of a piece too."""
        self.advance(now_s)
        self.plan = plan

    def drop(self, now_s: float, flow: Flow) -> None:
        """Forget what a flow still has on the link."""
        self.advance(now_s)
        self._turns = deque(one for one in self._turns if one is not flow)
        self._arriving = deque(one for one in self._arriving if one[1] is not flow)
        flow.waiting.clear()
        flow.waiting_bytes = 0
        if self._flow is flow:
            self._flow = None
        self.advance(now_s)

    def advance(self, now_s: float) -> None:
        """Let pass what passes until now; a time before the last one changes nothing."""
        now_s = max(now_s, self._clock_s)
        while self._flow or self._turns:
            rate, delay_s, until_s = self.plan.at(self._clock_s)
            if self._flow is None:
                self._begin(rate)
            needs_s = self._needs_s(rate)
            if self._clock_s + needs_s <= min(until_s, now_s):
                self._clock_s += needs_s
                self._end(self._clock_s + delay_s)
            elif until_s < now_s:
                self._left -= rate * (until_s - self._clock_s) / BITS_PER_BYTE
                self._clock_s = until_s
            else:
                self._left -= rate * (now_s - self._clock_s) / BITS_PER_BYTE
                break
        self._clock_s = now_s

    def _needs_s(self, rate_bps: float) -> float:
        return max(0.0, self._left) * BITS_PER_BYTE / rate_bps if rate_bps > 0 else math.inf

    def _begin(self, rate_bps: float) -> None:
        """Put the next flow's next piece on the link; the flow goes to the end of the turns."""
        self._flow = self._turns.popleft()
        size = max(SMALLEST_PIECE_BYTES, int(rate_bps * PIECE_S / BITS_PER_BYTE))
        self._piece = self._flow.take(size)
        self._left = len(self._piece)
        if self._flow.waiting:
            self._turns.append(self._flow)

    def _end(self, arrives_s: float) -> None:
        """The piece has passed; it overtakes none that passed before."""
        assert self._flow
        self._flow.waiting_bytes -= len(self._piece)
        self.passed_bytes += len(self._piece)
        if self._arriving:
            arrives_s = max(arrives_s, self._arriving[-1][0])
        self._arriving.append((arrives_s, self._flow, self._piece))
        self._flow = None

    def arrived(self, now_s: float) -> Iterator[tuple[Flow, memoryview]]:
        """What has arrived until now, each piece once; call `advance` before."""
        while self._arriving and self._arriving[0][0] <= now_s:
            yield self._arriving.popleft()[1:]

    def next_s(self) -> float:
        """When something happens next: a piece passes or arrives, or the rate may change."""
        next_s = self._arriving[0][0] if self._arriving else math.inf
        if self._flow:
            rate, _, until_s = self.plan.at(self._clock_s)
            next_s = min(next_s, until_s, self._clock_s + self._needs_s(rate))
        return next_s
