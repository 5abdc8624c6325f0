"""A link that a program makes: data rate, delay, a trace and loss of connection on one machine.

The bytes go through `dscwb.running.proxy`, a process of its own, which is started and steered here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from dscwb.running.proxy import HOST

if TYPE_CHECKING:
    from dscwb.traces import Trace

ENDS_WITHIN_S = 5.0


class LinkCounts(NamedTuple):
    """What the proxy itself has counted since it began.

    Attributes:
        up_bytes: Bytes that have passed towards the target, without those that still wait.
        down_bytes: The same in the other direction.
        waiting_bytes: Bytes that wait for the link, both directions.
        connections: Open ones.
        accepted: All connections so far.
    """

    up_bytes: int
    down_bytes: int
    waiting_bytes: int
    connections: int
    accepted: int


class EmulatedLink:
    """A link shaped in user space: a TCP proxy with a rate, a delay, a trace, loss of connection.

    A message of n bytes sent over an idle link is there as a whole n · 8 / r + round trip / 2 after
    it was sent, however long the delay: there is no slow start and no loss of packets. The rate
    counts the bytes of the stream; headers of TCP and IP are not in it. Connections share the rate
    piece by piece. Opening a connection takes no time, and a sender may run ahead of the link by
    what fits the proxy, 4 MiB, and the system's buffers.

    Args:
        target: Host and port that connections are handed on to.
        data_rate_bps: Towards the target, in bit/s; 0: the link is down, nothing passes either way.
        downlink_bps: From the target, in bit/s; the same as towards it if left out.
        round_trip_s: Round-trip time in seconds, half of it each way.
        trace: What to play from the beginning, in place of the rate.

    Attributes:
        address: Where to connect to instead of the target, on this machine only.

    Raises:
        ValueError: A rate or a time that is negative or not finite.
        RuntimeError: The proxy did not start, or has ended.

    Example:
        >>> with EmulatedLink(("127.0.0.1", 9), data_rate_bps=20e6, round_trip_s=0.02) as link:
        ...     link.set_rate(5e6)
        ...     link.counts().up_bytes
        0
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        data_rate_bps: float,
        downlink_bps: float | None = None,
        round_trip_s: float = 0.0,
        trace: Trace | None = None,
    ) -> None:
        """Start the proxy."""
        self._downlink_bps = (
            None if downlink_bps is None else _checked("downlink_bps", downlink_bps)
        )
        self._round_trip_s = _checked("round_trip_s", round_trip_s)
        plans = self._constant(data_rate_bps) if trace is None else self._playing(trace)
        package = Path(__file__).parents[2]  # the child shall find the same one
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dscwb.running.proxy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._lock, self._asked = threading.Lock(), 0
        self._end = weakref.finalize(self, _end, self._process)
        try:
            port = self._ask("open", target=list(target), **plans)
        except BaseException:
            self.close()
            raise
        self.target = target
        self.address: tuple[str, int] = (HOST, port)

    def set_rate(self, data_rate_bps: float) -> None:
        """Another rate from now on, for bytes that wait too; it ends a trace. 0: nothing passes."""
        self._ask("plan", **self._constant(data_rate_bps))

    def set_round_trip(self, round_trip_s: float) -> None:
        """Another round-trip time from now on, while a trace plays too; nothing is overtaken."""
        self._round_trip_s = _checked("round_trip_s", round_trip_s)
        self._ask("delay", delay_s=self._round_trip_s / 2)

    def play(self, trace: Trace) -> None:
        """Take the rate from a trace, from now on and again whenever it has ended.

        Its round trips are taken too, where it has them. `downlink_bps` stays where one was given,
        except that nothing passes while the trace says that the link is down.
        """
        self._ask("plan", **self._playing(trace))

    def cut(self) -> None:
        """Break all connections, in mid-message too, and refuse new ones until restored."""
        self._ask("cut")

    def restore(self) -> None:
        """Take new connections again, at the same address."""
        self._ask("restore")

    def counts(self) -> LinkCounts:
        """What has passed and what waits, counted by the proxy."""
        return LinkCounts(*self._ask("counts"))

    def close(self) -> None:
        """Break all connections and end the proxy; again does nothing."""
        self._end()

    def __enter__(self) -> EmulatedLink:
        """The link itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Both ends in a line."""
        ends = "{}:{} to {}:{}".format(*self.address, *self.target)
        return f"Emulated link: {ends}{'' if self._end.alive else ', closed'}"

    def _constant(self, data_rate_bps: float) -> dict[str, Any]:
        up = _checked("data_rate_bps", data_rate_bps)
        return self._plans([0.0], [up], [self._round_trip_s], None)

    def _playing(self, trace: Trace) -> dict[str, Any]:
        trips = trace.round_trips_s
        return self._plans(
            trace.times_s.tolist(),
            trace.data_rates_bps.tolist(),
            [self._round_trip_s] * len(trace.times_s) if trips is None else trips.tolist(),
            trace.duration_s,
        )

    def _plans(
        self, times: list[float], ups: list[float], trips: list[float], duration_s: float | None
    ) -> dict[str, Any]:
        """What the proxy is told about both directions."""
        fixed = self._downlink_bps
        downs = ups if fixed is None else [fixed if up > 0 else 0.0 for up in ups]
        delays = [trip / 2 for trip in trips]
        return {"times": times, "rates": [ups, downs], "delays": delays, "duration": duration_s}

    def _ask(self, command: str, **fields: Any) -> Any:
        """The proxy's answer, once it has done what was asked."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        with self._lock, suppress(OSError, ValueError):
            self._asked += 1
            line = json.dumps({"number": self._asked, "command": command, **fields})
            stdin.write(f"{line}\n".encode())
            stdin.flush()
            # An answer that nobody waited for, being interrupted, may come before.
            while (answer := json.loads(stdout.readline()))["number"] != self._asked:
                pass
            if "error" in answer:
                raise RuntimeError(f"The emulated link: {answer['error']}.")
            return answer["done"]
        raise RuntimeError("The emulated link has ended; make another EmulatedLink.")


def _checked(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; give a finite number, zero or more.")
    return float(value)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The proxy ends by itself when its input does; a proxy that hangs is killed."""
    for stream in (process.stdin, process.stdout):
        if stream:
            with suppress(OSError):
                stream.close()
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
