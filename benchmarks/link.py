"""How exact the emulated link is, beside `tc tbf`: ``python -m benchmarks.link``.

A message of n bytes goes over a link that is idle; what is told is the time from just before it is
sent until all of it has arrived, by the one clock of this machine. Where the user is root on Linux
with iproute2, the same messages go between two network namespaces whose ends are shaped by the
kernel's token bucket. Headers and the bucket, which starts full, are counted out of its times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dscwb.running.emulated import EmulatedLink
from dscwb.units import format_bytes, format_rate, format_seconds

RATES_BPS = (1e6, 20e6, 200e6)
SIZES = (10_000, 200_000, 5_000_000)  # bytes
ROUND_TRIPS_S = (0.0, 0.02, 0.2)
LONGEST_S = 6.0  # a message that takes longer is left out
REPEATS = 9
SHORT_S = 0.2  # messages that take longer are sent thrice only
SEGMENT_BYTES, HEADERS_BYTES = 1448, 66  # of TCP with timestamps; Ethernet 14, IP 20, TCP 32
BURST_BYTES = 2_000
UP, DOWN = "up", "down"
HEAD = struct.Struct("!?QQ")  # whether it is sent back, bytes, nanoseconds
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print the table, or be one of the two ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer messages")
    parser.add_argument("--peer", metavar="HOST", help=argparse.SUPPRESS)
    parser.add_argument("--probe", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        peer(arguments.peer)
    elif arguments.probe:
        host, port, size, repeats = arguments.probe
        print(json.dumps(probe((host, int(port)), int(size), int(repeats))))
    else:
        table(arguments.quick)


def table(quick: bool) -> None:
    """One row a rate, size and delay: what is due, and how much later it is there."""
    missing = why_no_namespaces()
    print(missing or "tc tbf: two network namespaces, without delay")
    print(
        f"{'rate':>12} {'message':>8} {'delay':>7} {'due':>9}   later by (median, least), up; down"
    )
    for rate in RATES_BPS:
        for size in SIZES:
            due_s = size * 8 / rate
            if due_s > (1 if quick else LONGEST_S):
                continue
            repeats = REPEATS if due_s < SHORT_S and not quick else 3
            for round_trip_s in ROUND_TRIPS_S:
                found = proxied(rate, round_trip_s, size, repeats)
                row(rate, size, round_trip_s, due_s + round_trip_s / 2, found)
            if not missing:
                with Namespaces(rate) as pair:
                    row(rate, size, None, due_s, pair.times_s(size, repeats))


def row(
    rate: float, size: int, round_trip_s: float | None, due_s: float, found: dict[str, list[float]]
) -> None:
    """One line of the table."""
    delay = "tbf" if round_trip_s is None else format_seconds(round_trip_s / 2)
    later = "; ".join(
        f"{1e3 * (one - due_s):+7.2f} ms {one / due_s - 1:+7.2%}"
        for times in (found[UP], found[DOWN])
        for one in (statistics.median(times), min(times))
    )
    told = f"{format_rate(rate, in_bytes=False):>12} {format_bytes(size):>8} {delay:>7}"
    print(f"{told} {format_seconds(due_s):>9}   {later}", flush=True)


def proxied(
    rate_bps: float, round_trip_s: float, size: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of messages over an emulated link, each way."""
    with (
        far_end([], "127.0.0.1") as address,
        EmulatedLink(address, data_rate_bps=rate_bps, round_trip_s=round_trip_s) as link,
    ):
        return sent([], link.address, size, repeats)


class Namespaces:
    """Two network namespaces with a pair of devices between them, both shaped to a rate."""

    def __init__(self, rate_bps: float) -> None:
        """Make them when entered."""
        self.rate_bps = rate_bps
        name = f"dscwb-{secrets.token_hex(4)}"
        self.names = (f"{name}-a", f"{name}-b")
        self.hosts = ("10.213.7.1", "10.213.7.2")

    def __enter__(self) -> Namespaces:
        """The pair, shaped; RuntimeError with the tool's words where that is not possible."""
        a, b = self.names
        try:
            for name in self.names:
                tool("ip", "netns", "add", name)
            pair = ("link", "add", "veth0", "netns", a, "type", "veth", "peer")
            tool("ip", *pair, "name", "veth0", "netns", b)
            shape = f"rate {self.rate_bps:.0f}bit burst {BURST_BYTES} limit 50mb".split()
            for name, host in zip(self.names, self.hosts, strict=True):
                tool("ip", "-n", name, "addr", "add", f"{host}/24", "dev", "veth0")
                tool("ip", "-n", name, "link", "set", "veth0", "up")
                tool("tc", "-n", name, *["qdisc", "add", "dev", "veth0", "root", "tbf"], *shape)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Remove them, and the devices with them."""
        for name in self.names:
            with contextlib.suppress(RuntimeError):
                tool("ip", "netns", "del", name)

    def times_s(self, size: int, repeats: int) -> dict[str, list[float]]:
        """Seconds of messages, each way, as if neither headers nor a full bucket had been."""
        a, b = (["ip", "netns", "exec", name] for name in self.names)
        with far_end(b, self.hosts[1]) as address:
            found = sent(a, address, size, repeats)
        passed = size + HEADERS_BYTES * math.ceil(size / SEGMENT_BYTES) - BURST_BYTES
        return {way: [one * size / passed for one in times] for way, times in found.items()}


def why_no_namespaces() -> str:
    """Why `Namespaces` cannot be used here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "tc tbf needs root on Linux"
    if not (shutil.which("ip") and shutil.which("tc")):
        return "tc tbf needs the commands ip and tc: apt-get install iproute2"
    try:
        with Namespaces(1e6):
            return ""
    except RuntimeError as error:
        return f"tc tbf cannot be used here: {error}"


def tool(*command: str) -> None:
    """Run one of iproute2's commands; RuntimeError with its words."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def far_end(within: Sequence[str], host: str) -> Iterator[tuple[str, int]]:
    """A process that takes and sends messages, within a namespace: its address."""
    command = [*within, sys.executable, "-m", "benchmarks.link", "--peer", host]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout
        try:
            yield host, int(process.stdout.readline())
        finally:
            process.kill()


def sent(
    within: Sequence[str], address: tuple[str, int], size: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds of messages both ways, sent by a process within a namespace."""
    probing = ["--probe", *map(str, (*address, size, repeats))]
    command = [*within, sys.executable, "-m", "benchmarks.link", *probing]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def probe(address: tuple[str, int], size: int, repeats: int) -> dict[str, list[float]]:
    """The near end: send messages, have messages sent."""
    found: dict[str, list[float]] = {UP: [], DOWN: []}
    room = memoryview(bytearray(size))
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for repeat in range(repeats + 1):
            HEAD.pack_into(room, 0, False, size, 0)
            begun = time.monotonic_ns()
            connection.sendall(room)
            _, _, ended = HEAD.unpack(filled(connection, room[: HEAD.size]))
            up = ended - begun
            connection.sendall(HEAD.pack(True, size, 0))
            _, _, begun = HEAD.unpack_from(filled(connection, room))
            down = time.monotonic_ns() - begun
            if repeat:  # the first opens windows and warms caches
                found[UP].append(up * 1e-9)
                found[DOWN].append(down * 1e-9)
    return found


def peer(host: str) -> None:
    """The far end: say when a message was there, or send one that says when it was sent."""
    with socket.create_server((host, 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """Serve one connection until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = memoryview(bytearray(HEAD.size))
    room = memoryview(b"")
    with connection, contextlib.suppress(EOFError, OSError):
        while True:
            back, size, _ = HEAD.unpack(filled(connection, head))
            if len(room) != size:
                room = memoryview(bytearray(size))
            if back:
                HEAD.pack_into(room, 0, True, size, time.monotonic_ns())
                connection.sendall(room)
            else:
                filled(connection, room[HEAD.size :])
                connection.sendall(HEAD.pack(False, size, time.monotonic_ns()))


def filled(connection: socket.socket, room: memoryview) -> memoryview:
    """The room, once it is full; EOFError where the connection ends before."""
    left = room
    while left:
        count = connection.recv_into(left)
        if not count:
            raise EOFError
        left = left[count:]
    return room


if __name__ == "__main__":
    main()
