"""What a request costs beside the model: the two ends against bare sockets, pyzmq and pickle.

Every server is a process of its own, the bytes are the same for all, and they take turns.
`python -m benchmarks.overhead WAY` is such a server: it prints its port and ends with its input.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import zmq
from torch import nn

import dscwb
from dscwb.capturing.captured import CapturedModel

WIDTH = 512  # of the layers: 0.1 ms on one thread of the cloud CPU that this was written on
SAMPLES = 16  # 33 kB there and back
ROUNDS, WARM, IN_A_ROW = 2000, 100, 20
SIZE = struct.Struct(">Q")


def model() -> CapturedModel:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(WIDTH, 128), nn.ReLU(), nn.Linear(128, WIDTH)).eval()
    return dscwb.capture(module, (WIDTH,), check=False)


def measured() -> dict[str, float]:
    """Median seconds of a request by each way, and of the model alone."""
    torch.set_num_threads(1)
    captured = model()
    [x] = captured.inputs(SAMPLES)
    data = x.numpy().tobytes()
    with contextlib.ExitStack() as stack:
        addresses = {way: stack.enter_context(_serving(way)) for way in SERVERS}
        client = dscwb.SplitClient(captured, addresses["dscwb"], deadline_s=60)
        stack.callback(client.close)
        bare = stack.enter_context(_connected(addresses["bare socket"]))
        pickled = stack.enter_context(_connected(addresses["pickle over a socket"]))
        simple = stack.enter_context(_connected(addresses["bare socket and model"]))
        context = stack.enter_context(zmq.Context())
        asking = stack.enter_context(context.socket(zmq.REQ))
        asking.connect("tcp://{}:{}".format(*addresses["pyzmq"]))

        def by_zmq() -> None:
            asking.send(data)
            asking.recv()

        def by_pickle() -> None:
            _send(pickled, pickle.dumps({"cut": "full offloading", "x": x.numpy()}))
            pickle.loads(_receive(pickled))

        def by_bare() -> None:
            _send(bare, data)
            _receive(bare)

        def by_simple() -> None:
            _send(simple, data)
            torch.frombuffer(_receive(simple), dtype=torch.float32)

        tails: list[float] = []

        def by_dscwb() -> None:
            answer = client.run(x, split="full offloading")
            assert answer.where == "server", answer.why
            tails.append(answer.tail_s + answer.head_s)

        ways: dict[str, Callable[[], None]] = {
            "dscwb": by_dscwb,
            "bare socket": by_bare,
            "bare socket and model": by_simple,
            "pyzmq": by_zmq,
            "pickle over a socket": by_pickle,
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        order = list(ways.items())
        for turn in range((WARM + ROUNDS) // IN_A_ROW):
            for way, once in order[turn % 5 :] + order[: turn % 5]:
                for _ in range(IN_A_ROW):
                    before = time.perf_counter()
                    once()
                    taken[way].append(time.perf_counter() - before)
        pairs = zip(taken["dscwb"][WARM:], tails[WARM:], strict=True)
        halves = statistics.median(tails[WARM:])
        return {
            **{way: statistics.median(times[WARM:]) for way, times in taken.items()},
            "machinery": statistics.median(total - tail for total, tail in pairs),
            "halves": halves,
            "bytes": float(len(data)),
        }


def _connected(address: tuple[str, int]) -> socket.socket:
    link = socket.create_connection(address)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _send(link: socket.socket, data: bytes) -> None:
    link.sendall(SIZE.pack(len(data)) + data)


def _receive(link: socket.socket) -> bytearray:
    size = bytearray(SIZE.size)
    link.recv_into(size, len(size), socket.MSG_WAITALL)
    if size == bytes(SIZE.size):
        raise EOFError
    data = bytearray(SIZE.unpack(size)[0])
    link.recv_into(data, len(data), socket.MSG_WAITALL)
    return data


def _echo(change: Callable[[Any], Any]) -> int:
    """Send back what comes, changed, on a thread; the port."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = door.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(EOFError, OSError):
            while True:
                _send(link, change(_receive(link)))

    threading.Thread(target=serve, daemon=True).start()
    return int(door.getsockname()[1])


def _computing() -> int:
    """The least that gives the model's output: no checks, no names, no strides, one client."""
    module = model().module

    def compute(data: bytearray) -> bytes:
        with torch.inference_mode():
            x = torch.frombuffer(data, dtype=torch.float32).reshape(SAMPLES, WIDTH)
            return module(x).numpy().tobytes()

    return _echo(compute)


def _zmq() -> int:
    answering = zmq.Context().socket(zmq.REP)
    port = answering.bind_to_random_port("tcp://127.0.0.1")

    def serve() -> None:
        while True:
            answering.send(answering.recv())

    threading.Thread(target=serve, daemon=True).start()
    return int(port)


SERVERS: dict[str, Callable[[], int]] = {
    "dscwb": lambda: dscwb.TailServer(model()).address[1],
    "bare socket": lambda: _echo(bytes),
    "bare socket and model": _computing,
    "pyzmq": _zmq,
    "pickle over a socket": lambda: _echo(lambda data: pickle.dumps(pickle.loads(data))),
}


@contextlib.contextmanager
def _serving(way: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "benchmarks.overhead", way]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield "127.0.0.1", int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(SERVERS[sys.argv[1]](), flush=True)
    sys.stdin.read()
