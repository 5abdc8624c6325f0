"""Frames: a bounded JSON header and raw bytes, sent and received over one connection.

Nothing executable crosses. The format is told in the ``README.md`` beside this file.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from dscwb.running.messages import (
    PAYLOAD_LIMIT,
    ClosedError,
    FrameError,
    Message,
    Result,
    Run,
    header_of,
    longest,
    parsed,
)

MAGIC = b"DSCW"
PREFIX = struct.Struct(">4sIQ")
"""Magic, length of the header, length of the payload; big-endian."""
HEADER_LIMIT = 64 * 1024
SILENCE_S = 60.0
"""A peer that sends nothing for so long in the middle of a frame is given up."""
KEEPALIVE_S = 15
"""An idle connection is tried so often by the kernel, which gives it up after some silence."""
AHEAD_BYTES = 64 * 1024
JOINED_BYTES = 256 * 1024
"""Smaller frames leave in one piece; larger payloads are not copied beside their header."""


class Link:
    """A connection to the other end, which reads ahead: a small frame costs one look.

    Attributes:
        socket: A connected socket, with TLS or without; nobody else may read from it.
    """

    def __init__(self, connected: socket.socket) -> None:
        """Make it send small frames at once, and notice when the other end has vanished."""
        self.socket = connected
        self._buffer = memoryview(bytearray(AHEAD_BYTES))
        self._ahead = self._buffer[:0]
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):  # not everywhere
            if hasattr(socket, option):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), KEEPALIVE_S)

    def read(
        self, view: memoryview, deadline_s: float | None, first_s: float | None = SILENCE_S
    ) -> None:
        """Fill the memory; the first byte may take `first_s`, for ever if that is None."""
        while True:
            here = self._ahead[: len(view)]
            view[: len(here)] = here
            self._ahead, view = self._ahead[len(here) :], view[len(here) :]
            if not view:
                return
            self.socket.settimeout(_left(deadline_s, SILENCE_S if here else first_s))
            first_s = SILENCE_S
            large = len(view) >= AHEAD_BYTES
            count = self.socket.recv_into(view if large else self._buffer)
            if not count:
                raise ClosedError("the other end closed the connection.")
            if large:
                view = view[count:]
            else:
                self._ahead = self._buffer[:count]


def pack(message: Message, payload_bytes: int = 0) -> bytes:
    """Prefix and header of a frame, whose payload follows."""
    header = header_of(message)
    if len(header) > HEADER_LIMIT or payload_bytes > PAYLOAD_LIMIT:
        raise ValueError(
            f"A frame of {len(header)} + {payload_bytes} bytes is over the limits of "
            f"{HEADER_LIMIT} + {PAYLOAD_LIMIT}; send fewer samples at once."
        )
    return PREFIX.pack(MAGIC, len(header), payload_bytes) + header


def send(
    link: Link,
    message: Message,
    payload: Sequence[memoryview] = (),
    deadline_s: float | None = None,
) -> int:
    """Send one frame.

    Args:
        link: A connection.
        message: The header.
        payload: The raw bytes, in parts.
        deadline_s: On the clock of `time.monotonic`; for ever if left out.

    Returns:
        Bytes sent.

    Raises:
        OSError: The connection broke; TimeoutError: the deadline passed.
        ValueError: The frame is over the limits; nothing was sent.
    """
    size = sum(part.nbytes for part in payload)
    head = pack(message, size)
    total = len(head) + size
    parts: Sequence[bytes | memoryview] = [head, *payload]
    if total <= JOINED_BYTES:
        parts = [b"".join(parts)]
    for part in parts:
        link.socket.settimeout(_left(deadline_s, SILENCE_S))
        link.socket.sendall(part)
    return total


def receive(
    link: Link, deadline_s: float | None = None, first_s: float | None = None
) -> tuple[Message, int]:
    """Read one frame's header.

    Args:
        link: A connection.
        deadline_s: On the clock of `time.monotonic`.
        first_s: Longest wait for the first byte, without limit if left out.

    Returns:
        The header, and how many bytes of payload follow; read these with `payload` or `discard`.

    Raises:
        FrameError: Not a frame of this protocol. ClosedError: the end of the connection.
        OSError: The connection broke; TimeoutError: the deadline passed.
    """
    prefix = bytearray(PREFIX.size)
    link.read(memoryview(prefix), deadline_s, first_s)
    magic, header_bytes, payload_bytes = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise FrameError(f"no dscwb frame: it begins with {bytes(magic)!r}.")
    if not 0 < header_bytes <= HEADER_LIMIT or payload_bytes > PAYLOAD_LIMIT:
        raise FrameError(
            f"a frame of {header_bytes} + {payload_bytes} bytes is over the limits of "
            f"{HEADER_LIMIT} + {PAYLOAD_LIMIT}."
        )
    header = bytearray(header_bytes)
    link.read(memoryview(header), deadline_s)
    message, size = parsed(bytes(header))
    compression = message.compression if isinstance(message, (Run, Result)) else "none"
    most = longest(size, compression)
    if payload_bytes > most or (compression == "none" and payload_bytes != size):
        raise FrameError(f"a payload of {payload_bytes} bytes for tensors of {size}.")
    return message, payload_bytes


def payload(link: Link, size: int, deadline_s: float | None = None) -> memoryview:
    """Read a payload of so many bytes; errors as in `receive`."""
    data = memoryview(bytearray(size))
    link.read(data, deadline_s)
    return data


def discard(link: Link, size: int, deadline_s: float | None = None) -> None:
    """Read so many bytes and forget them."""
    scratch = memoryview(bytearray(min(size, JOINED_BYTES)))
    while size:
        part = scratch[: min(size, len(scratch))]
        link.read(part, deadline_s)
        size -= len(part)


def _left(deadline_s: float | None, longest_s: float | None) -> float | None:
    """Seconds that a call may block."""
    if deadline_s is None:
        return longest_s
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left if longest_s is None else min(left, longest_s)
