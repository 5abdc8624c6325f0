"""Servers that die, hang and come back, links that break: every batch has its right answer, once.

DSCWB_REQUESTS sets how many the server shall answer; `make soak` has 10,000.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator

import torch

import dscwb
from tests.running import seeing, served

REQUESTS = int(os.environ.get("DSCWB_REQUESTS", "600"))
DEADLINE_S = 0.5
EVENTS = (*["cut"] * 10, "stop", "kill")
SPLITS = ("full offloading", "conv2d", "relu", "no offloading")


class Link:
    """Hands bytes on between clients and a server's port; breaks when told to."""

    def __init__(self) -> None:
        self.port = 0  # of the server
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._door.getsockname()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._left: list[float] = [float("inf")]
        threading.Thread(target=self._welcome, daemon=True).start()

    def cut_after(self, size: int) -> None:
        """Break all connections once so many more bytes have passed, in mid-frame or not."""
        self._left[0] = size

    def _welcome(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for link in (near, far):  # without it TCP keeps the end of a frame back for 40 ms
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._hand_on, args=(one, other), daemon=True).start()

    def _hand_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1000):
                other.sendall(data[: int(min(len(data), max(0, self._left[0])))])
                self._left[0] -= len(data)
                if self._left[0] <= 0:
                    self._left[0] = float("inf")
                    break
        self._end(one, other)

    def _end(self, *links: socket.socket) -> None:
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end(self._door)
        self._door.close()
        for pair in self._pairs:
            self._end(*pair)
            for link in pair:
                link.close()


@contextlib.contextmanager
def linked() -> Iterator[Link]:
    link = Link()
    try:
        yield link
    finally:
        link.close()


class Asking:
    """Runs batches that all differ, and holds every answer against the whole model."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.captured, self.where, self.told = seeing(), [], 0
        self.client = dscwb.SplitClient(
            self.captured, address, seen=self._seen, cuts=SPLITS, deadline_s=DEADLINE_S
        )

    def _seen(self, batch_size: int, answer: dscwb.Answer) -> None:
        self.told += 1

    def once(self, k: int) -> str:
        size = 1 + k % 3
        x = torch.randn(size, 3, 8, 8) + k
        answer = self.client.run(x, split=SPLITS[k % 3])
        assert torch.equal(answer.output, self.captured.module(x)), (k, answer)
        assert (answer.where == "server") == (answer.why == "")
        self.where.append(answer.where)
        return answer.where

    def until(self, where: str) -> None:
        """Ask until an answer comes from there."""
        while self.once(self.told) != where:
            pass


def test_killed_restarted_stopped_and_cut_in_mid_frame():
    draw = random.Random(7)
    with contextlib.ExitStack() as stack, linked() as link:
        process, link.port = stack.enter_context(served())
        asking = Asking(link.address)
        stack.callback(asking.client.close)
        with torch.inference_mode():
            events = iter(())
            while asking.where.count("server") < REQUESTS:
                asking.until("server")
                for k in range(draw.randrange(40)):
                    asking.once(k)
                asking.until("server")
                event = next(events, "")
                if not event:
                    events = iter(draw.sample(EVENTS, len(EVENTS)))
                elif event == "cut":
                    link.cut_after(draw.randrange(4000))
                    asking.until("device")
                elif event == "kill":
                    process.send_signal(signal.SIGKILL)
                    asking.until("device")
                    process.wait()
                    process, _ = stack.enter_context(served(f"{link.port}"))
                else:
                    process.send_signal(signal.SIGSTOP)
                    asking.until("device")
                    for k in range(5):
                        assert asking.once(k) == "device"  # at once, no deadline more
                    process.send_signal(signal.SIGCONT)
            asking.until("server")
        assert asking.told == len(asking.where)  # each once
        assert asking.where.count("device") >= 10
