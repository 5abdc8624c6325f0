"""What travels between the two ends: a frame is a bounded JSON header and raw bytes.

Nothing executable crosses. Every number in a header is checked against its limits before memory is
taken for it. The format is told in the ``README.md`` beside this file.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import socket
import struct
import time
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dscwb.running.layouts import bytes_on_wire, extent, wires_of
from dscwb.units import AS_SENT, DTYPE_BYTES, FLOAT_DTYPES

PROTOCOL = 1
TENSOR: Literal["tensor"] = "tensor"
CONSTANT: Literal["constant"] = "constant"
"""What stands among the leaves of an output for a tensor, and for what both ends hold already."""
MAGIC = b"DSCW"
PREFIX = struct.Struct(">4sIQ")
"""Magic, length of the header, length of the payload; big-endian."""
HEADER_LIMIT = 64 * 1024
PAYLOAD_LIMIT = 256 * 1024**2
SILENCE_S = 60.0
"""A peer that sends nothing for so long in the middle of a frame is given up."""
KEEPALIVE_S = 15
"""An idle connection is tried so often by the kernel, which gives it up after some silence."""
AHEAD_BYTES = 64 * 1024
JOINED_BYTES = 256 * 1024
"""Smaller frames leave in one piece; larger payloads are not copied beside their header."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Whole = Annotated[int, Field(gt=-(2**53), lt=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Word = Annotated[str, Field(max_length=500)]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")]
Axes = Annotated[tuple[Count, ...], Field(max_length=16)]


class FrameError(ValueError):
    """What came is no frame of this protocol, or larger than its limits."""


class ClosedError(FrameError):
    """The other end closed the connection, in the middle of a frame or between two."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class WireTensor(_Message):
    """One tensor in the payload.

    Its bytes lie in the order of its memory where it is dense, else row by row (the last axis
    fastest), as images do.

    Attributes:
        dtype: Its element type in the model.
        shape: Its lengths.
        stride: Its strides in elements; 0 where an axis repeats one value.
        wire: How its elements are written: ``raw``, ``jpeg`` or the name of an encoding.
        nbytes: Bytes in the payload, before compression.
        scale: With affine integers, what a step is worth: x = minimum + (q - lowest q) · scale.
        minimum: With affine integers, the value of the lowest.
    """

    dtype: str
    shape: Axes
    stride: Axes
    wire: str
    nbytes: Count
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    minimum: Finite = 0.0

    @model_validator(mode="after")
    def _makes_sense(self) -> WireTensor:
        """Refuse element types, layouts and lengths that no model has."""
        if self.dtype not in DTYPE_BYTES or self.dtype == AS_SENT:
            raise ValueError("unknown element type")
        if self.wire == "jpeg":
            images = len(self.shape) == 4 and self.shape[1] in (1, 3) and self.elements
            held = images and self.dtype in ("uint8", *FLOAT_DTYPES)
            fits = self.nbytes <= 4 * self.elements + 4096 * (1 + self.shape[0] if held else 0)
        else:
            held = self.wire == "raw" or self.wire in wires_of(self.dtype)
            fits = held and self.nbytes == bytes_on_wire(self.elements, self.dtype, self.wire)
        if not held:
            raise ValueError(f"{self.dtype} is not written as {self.wire!r}")
        if math.prod(length or 1 for length in self.shape) > PAYLOAD_LIMIT:
            raise ValueError(f"larger than {PAYLOAD_LIMIT} bytes")
        if len(self.stride) != len(self.shape) or extent(self.shape, self.stride) is None:
            raise ValueError("strides that overlap")
        if not fits:
            raise ValueError("another number of bytes than the shape needs")
        return self

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def memory_bytes(self) -> int:
        """Bytes that it takes in its own element type and layout."""
        return max(self.elements, extent(self.shape, self.stride) or 0) * DTYPE_BYTES[self.dtype]


Tensors = Annotated[tuple[WireTensor, ...], Field(max_length=256)]
Compression = Literal["none", "zstd"]


class Greeting(_Message):
    """The server's first word: a number used once, which the client's proof is made of."""

    kind: Literal["greeting"] = "greeting"
    protocol: Count = PROTOCOL
    nonce: Hex


class Hello(_Message):
    """What the client holds; the server refuses it where it holds another thing.

    Attributes:
        graph: Fingerprint of the captured graph.
        weights: SHA-256 of all weights.
        proof: HMAC-SHA256 of the nonce by the shared token; empty where there is none.
        cuts: Cuts that it may ask for, so that their tails are made before the first request.
    """

    kind: Literal["hello"] = "hello"
    protocol: Count = PROTOCOL
    model: Word
    graph: Hex
    weights: Hex
    dtype: Word
    proof: Hex = ""
    cuts: Annotated[tuple[Word, ...], Field(max_length=256)] = ()


class Welcome(_Message):
    """The server holds the same; requests may follow."""

    kind: Literal["welcome"] = "welcome"
    device: Word


class Refused(_Message):
    """The connection ends here, for this reason."""

    kind: Literal["refused"] = "refused"
    reason: Word


class Run(_Message):
    """The frontier of a cut, to be finished; the payload holds its tensors one after the other."""

    kind: Literal["run"] = "run"
    request: Count
    cut: Word
    tensors: Tensors
    compression: Compression = "none"


class Result(_Message):
    """The model's output, and what the server spent.

    Attributes:
        tensors: The output's tensors in the order of torch's pytree.
        leaves: Its leaves in that order: ``tensor``, ``constant`` for what is part of the program,
            or a number that follows from the batch size.
        queue_s: Seconds that the request waited for others.
        decode_s: Seconds from bytes to tensors.
        tail_s: Seconds of the tail.
        encode_s: Seconds from tensors to bytes.
    """

    kind: Literal["result"] = "result"
    request: Count
    tensors: Tensors
    leaves: Annotated[
        tuple[Literal["tensor", "constant"] | bool | Whole | Finite, ...], Field(max_length=256)
    ]
    compression: Compression = "none"
    queue_s: Seconds
    decode_s: Seconds
    tail_s: Seconds
    encode_s: Seconds


class Failed(_Message):
    """This request has no result; the connection goes on. `busy`: too many wait already."""

    kind: Literal["failed"] = "failed"
    request: Count
    reason: Word
    busy: bool = False


Message = Greeting | Hello | Welcome | Refused | Run | Result | Failed
_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def longest(size: int, compression: Compression) -> int:
    """Most bytes that tensors of `size` bytes take: zstd adds a little to what it cannot shrink."""
    return size if compression == "none" else size + size // 256 + 1024


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


def proof(token: str, nonce: str) -> str:
    """HMAC-SHA256 of the nonce under the token, hexadecimal; the token itself never travels."""
    return hmac.new(token.encode(), nonce.encode(), hashlib.sha256).hexdigest()


def pack(message: Message, payload_bytes: int = 0) -> bytes:
    """Prefix and header of a frame, whose payload follows."""
    header = message.model_dump_json().encode()
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
    try:
        message = _ANY.validate_json(header)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"msg": f"{error}"}
        where = ".".join(map(str, first.get("loc", ())))
        raise FrameError(
            f"a header that is none of protocol {PROTOCOL}: {where} {first['msg']}"[:300]
        ) from None
    tensors: tuple[WireTensor, ...] = ()
    compression: Compression = "none"
    if isinstance(message, (Run, Result)):
        tensors, compression = message.tensors, message.compression
    size, memory = sum(x.nbytes for x in tensors), sum(x.memory_bytes for x in tensors)
    if max(size, memory) > PAYLOAD_LIMIT:
        raise FrameError(f"tensors of {max(size, memory)} bytes; the limit is {PAYLOAD_LIMIT}.")
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
