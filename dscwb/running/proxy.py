"""The process that an emulated link is: a TCP proxy whose bytes pass as a plan says.

It is steered by lines of JSON at its input, each answered by one at its output, and ends when its
input does. It needs Python's standard library alone, so that it starts fast.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dscwb.running.shaping import Flow, Lane, Plan

HOST = "127.0.0.1"
MOST_CONNECTIONS = 256  # `select` takes 1,024 sockets
MOST_WAITING_BYTES = 4 * 2**20
"""Of one connection in one direction; then the sender waits. The link never runs empty for it."""
READ_BYTES = 2**16
LOOK_AT_PARENT_S = 1.0
NICE = -10  # where we may: to send late would be a slower link
LONG_WAIT_S = 5e-3
SET_TIMER_SLACK = 29  # of Linux's prctl; its waits end up to 50 µs late otherwise


@dataclass(eq=False)
class Way:
    """One direction of a connection: what comes in by one socket and goes out by the other."""

    comes: socket.socket
    goes: socket.socket
    lane: Lane
    flow: Flow = field(default_factory=Flow)
    unsent: deque[memoryview] = field(default_factory=deque)
    unsent_bytes: int = 0
    all_read: bool = False
    all_sent: bool = False
    back: Way | None = None  # the other direction

    def reads(self) -> bool:
        """Whether more may come in now."""
        waiting_bytes = self.flow.waiting_bytes + self.unsent_bytes
        return not self.all_read and waiting_bytes < MOST_WAITING_BYTES

    def read(self) -> None:
        """Take in what has come; OSError if the connection broke."""
        with suppress(BlockingIOError, InterruptedError):
            now_s = time.monotonic()  # what is read now has come before
            data = self.comes.recv(READ_BYTES)
            self.all_read = not data
            self.lane.add(now_s, self.flow, data)

    def send(self) -> None:
        """Hand on what has arrived, as far as the receiver takes it; OSError if it broke."""
        with suppress(BlockingIOError, InterruptedError):
            while self.unsent:
                if data := self.unsent[0]:
                    sent = self.goes.send(data)
                    self.unsent_bytes -= sent
                    self.unsent[0] = data[sent:]
                    if sent < len(data):
                        return
                else:
                    self.goes.shutdown(socket.SHUT_WR)
                    self.all_sent = True
                self.unsent.popleft()


class Proxy:
    """One loop over all sockets; each command is a method whose name begins with ``do_``."""

    def __init__(self) -> None:
        """A link that is down, to nowhere, until it is told more."""
        down = Plan(0.0, [0.0], [0.0], [0.0])
        self.up, self.down = self.lanes = (Lane(down), Lane(down))
        self.target: tuple[Any, ...] = (socket.AF_INET, (HOST, 0))
        self.port = 0
        self.listener: socket.socket | None = None
        self.ways: dict[Flow, Way] = {}
        self.accepted = 0
        self.told = b""

    def run(self) -> None:
        """Until the parent closes our input, or is no more."""
        stdin, parent = sys.stdin.fileno(), os.getppid()
        while os.getppid() == parent:
            next_s = self.deliver()
            reads = {way.comes: way for way in self.ways.values() if way.reads()}
            writes = {way.goes: way for way in self.ways.values() if way.unsent}
            others = [stdin, self.listener] if self.listener else [stdin]
            wait_s = min(max(0.0, next_s - time.monotonic()), LOOK_AT_PARENT_S)
            if wait_s > LONG_WAIT_S:  # Linux ends it up to a thousandth late; once more is exact
                wait_s *= 0.99
            readable, writable, _ = select.select([*others, *reads], [*writes], [], wait_s)
            for one in readable:
                if one in reads:
                    self.tried(reads[one], reads[one].read)
            for one in writable:
                self.tried(writes[one], writes[one].send)
            if self.listener in readable:
                self.accept()
            if stdin in readable and not self.obeyed(os.read(stdin, 2**16)):
                return

    def deliver(self) -> float:
        """Send what has arrived by now; the answer is when something happens next."""
        now_s = time.monotonic()
        for lane in self.lanes:
            lane.advance(now_s)
            for flow, data in lane.arrived(now_s):
                way = self.ways[flow]
                way.unsent.append(data)
                way.unsent_bytes += len(data)
                self.tried(way, way.send)
        return min(lane.next_s() for lane in self.lanes)

    def tried(self, way: Way, action: Callable[[], None]) -> None:
        """Do it; a connection that broke, or where all is said, ends on both sides."""
        if way.flow not in self.ways:
            return
        try:
            action()
        except OSError:
            self.drop(way)
        else:
            if way.back and way.all_sent and way.back.all_sent:
                self.drop(way, reset=False)

    def accept(self) -> None:
        """A new connection, handed on to the target; it is reset where that refuses."""
        if self.listener is None:
            return
        try:
            ours, _ = self.listener.accept()
        except OSError:  # it has gone again
            return
        family, address = self.target
        theirs = socket.socket(family)
        for one in (ours, theirs):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up, down = Way(ours, theirs, self.up), Way(theirs, ours, self.down)
        up.back, down.back = down, up
        full = len(self.ways) >= 2 * MOST_CONNECTIONS
        self.ways |= {up.flow: up, down.flow: down}
        self.accepted += 1
        if full or theirs.connect_ex(address) not in (0, errno.EINPROGRESS):
            self.drop(up)

    def drop(self, way: Way, *, reset: bool = True) -> None:
        """End a connection and forget what it has on the link."""
        for one in (way, way.back):
            if one:
                del self.ways[one.flow]
                one.lane.drop(time.monotonic(), one.flow)
                if reset:  # the other side reads an error, not an end
                    linger = struct.pack("ii", 1, 0)
                    with suppress(OSError):
                        one.comes.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                one.comes.close()

    def obeyed(self, data: bytes) -> bool:
        """Answer each command that is complete; false at the end of our input."""
        *lines, self.told = (self.told + data).split(b"\n")
        for line in lines:
            fields = json.loads(line)
            answer = {"number": fields.pop("number")}
            try:
                answer["done"] = getattr(self, "do_" + fields.pop("command"))(**fields)
            except (OSError, TypeError, ValueError) as error:
                answer["error"] = str(error)
            os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")
        return bool(data)

    def do_open(self, target: Sequence[Any], **plan: Any) -> int:
        """Listen; the answer is the port."""
        host, port = target
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.target = (family, address)
        self.do_plan(**plan)
        self.do_restore()
        return self.port

    def do_plan(
        self,
        times: Sequence[float],
        rates: Sequence[Sequence[float]],
        delays: Sequence[float],
        duration: float | None,
    ) -> None:
        """What both directions offer from now on."""
        now_s = time.monotonic()
        for lane, offered in zip(self.lanes, rates, strict=True):
            lane.change(now_s, Plan(now_s, times, offered, delays, duration or math.inf))

    def do_delay(self, delay_s: float) -> None:
        """Another delay, the same from now on."""
        for lane in self.lanes:
            delays = [delay_s] * len(lane.plan.times_s)
            lane.change(time.monotonic(), replace(lane.plan, delays_s=delays))

    def do_cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self.listener:
            self.listener.close()
            self.listener = None
        for way in list(self.ways.values()):
            if way.flow in self.ways:
                self.drop(way)

    def do_restore(self) -> None:
        """Take new connections, always at the same port."""
        if self.listener is None:
            self.listener = socket.create_server((HOST, self.port))
            self.listener.setblocking(False)
            self.port = self.listener.getsockname()[1]

    def do_counts(self) -> list[int]:
        """The fields of `LinkCounts`."""
        for lane in self.lanes:
            lane.advance(time.monotonic())
        waiting = sum(way.flow.waiting_bytes for way in self.ways.values())
        passed = [lane.passed_bytes for lane in self.lanes]
        return [*passed, waiting, len(self.ways) // 2, self.accepted]


def main() -> None:
    """Run until our input ends; an interrupt at the terminal is for others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(SET_TIMER_SLACK, 1, 0, 0, 0)
    gc.disable()  # nothing here refers to itself for long
    Proxy().run()


if __name__ == "__main__":
    main()
