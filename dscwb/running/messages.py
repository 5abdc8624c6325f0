"""What the two ends say to each other: the headers of frames, and what is refused among them.

Every number is checked against its limits before memory is taken for it. The format is told in the
``README.md`` beside this file.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dscwb.running.layouts import bytes_on_wire, extent, wires_of
from dscwb.units import AS_SENT, DTYPE_BYTES, FLOAT_DTYPES

PROTOCOL = 1
TENSOR: Literal["tensor"] = "tensor"
CONSTANT: Literal["constant"] = "constant"
"""What stands among the leaves of an output for a tensor, and for what both ends hold already."""
TIMES = "queue_s", "decode_s", "tail_s", "encode_s"
"""What the server says that it spent."""
PAYLOAD_LIMIT = 256 * 1024**2
REMEMBERED_BYTES = 4096
"""Longer headers are checked each time: nobody shall fill our memory with them."""

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


STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Message(BaseModel):
    model_config = STRICT


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
Leaves = Annotated[
    tuple[Literal["tensor", "constant"] | bool | Whole | Finite, ...], Field(max_length=256)
]
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


@dataclass(frozen=True, kw_only=True)
class Run:
    """The frontier of a cut, to be finished; the payload holds its tensors one after the other."""

    __pydantic_config__ = STRICT

    kind: Literal["run"] = "run"
    request: Count
    cut: Word
    tensors: Tensors
    compression: Compression = "none"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The model's output, and what the server spent.

    Attributes:
        queue_s: Seconds that the request waited for others.
        decode_s: Seconds from bytes to tensors.
        tail_s: Seconds of the tail.
        encode_s: Seconds from tensors to bytes.
        tensors: The output's tensors in the order of torch's pytree.
        leaves: Its leaves in that order: ``tensor``, ``constant`` for what is part of the program,
            or a number that follows from the batch size.
    """

    __pydantic_config__ = STRICT

    kind: Literal["result"] = "result"
    request: Count
    queue_s: Seconds
    decode_s: Seconds
    tail_s: Seconds
    encode_s: Seconds
    tensors: Tensors
    leaves: Leaves
    compression: Compression = "none"


class Failed(_Message):
    """This request has no result; the connection goes on. `busy`: too many wait already."""

    kind: Literal["failed"] = "failed"
    request: Count
    reason: Word
    busy: bool = False


Message = Greeting | Hello | Welcome | Refused | Run | Result | Failed
_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])
_REQUESTS: TypeAdapter[Run | Result] = TypeAdapter(Run | Result)

# A request is like the last one but for the numbers that its header begins with. So the rest of it
# is written once and checked once: of a small request's time this saves a fifth.
_RUN = b'{"kind":"run","request":%d'
_RESULT = (
    b'{"kind":"result","request":%d,"queue_s":%.9f,"decode_s":%.9f,"tail_s":%.9f,"encode_s":%.9f'
)
_WHOLE, _TIME = rb"(0|[1-9]\d{0,14})", rb"((?:0|[1-9]\d{0,8})\.\d{9})"
_NUMBERS = re.compile(
    rb"(?:%b|%b)(?=,)"
    % tuple(
        re.escape(one).replace(b"%d", _WHOLE).replace(rb"%\.9f", _TIME) for one in (_RUN, _RESULT)
    )
)
_RUN_OF_0, _RESULT_OF_0 = _RUN % 0, _RESULT % (0, 0, 0, 0, 0)


def header_of(message: Message) -> bytes:
    """A message as it travels.

    Raises:
        ValueError: It is over the limits, or a leaf of an output is none that can travel.
    """
    match message:
        case Run():
            same = _rest_of_run(message.cut, message.tensors, message.compression)
            return _RUN % message.request + same
        case Result():
            words = message.leaves == (TENSOR,)  # 1, 1.0 and True are the same to a cache
            rest = _rest_of_result if words else _rest_of_result.__wrapped__
            same = rest(message.tensors, message.leaves, message.compression)
            times = message.queue_s, message.decode_s, message.tail_s, message.encode_s
            return _RESULT % (message.request, *times) + same
    return message.model_dump_json().encode()


@lru_cache
def _rest_of_run(cut: str, tensors: Tensors, compression: Compression) -> bytes:
    message = Run(request=0, cut=cut, tensors=tensors, compression=compression)
    return _written(message).removeprefix(_RUN_OF_0)


@lru_cache
def _rest_of_result(tensors: Tensors, leaves: Leaves, compression: Compression) -> bytes:
    zeros: dict[str, Any] = dict.fromkeys(TIMES, 0.0)
    message = Result(request=0, tensors=tensors, leaves=leaves, compression=compression, **zeros)
    told = _written(message)
    return told[told.index(b',"tensors"') :]


def _written(message: Run | Result) -> bytes:
    """What is no header for the other end is none here."""
    told = _REQUESTS.dump_json(message, warnings=False)
    try:
        _checked(told)
    except FrameError as error:
        raise ValueError(f"{error}") from None
    return told


def parsed(header: bytes) -> tuple[Message, int]:
    """The message of a header, and the bytes of its tensors.

    Raises:
        FrameError: It is no header of this protocol.
    """
    found = _NUMBERS.match(header) if len(header) <= REMEMBERED_BYTES else None
    if not found:
        return _checked(header)
    run, result, *times = found.groups()
    same = (_RUN_OF_0 if run else _RESULT_OF_0) + header[found.end() :]
    like, size = _checked_once(same)
    message: Message = object.__new__(type(like))  # `replace` of what was checked, but quicker
    message.__dict__.update(like.__dict__, request=int(run or result))
    if result:
        message.__dict__.update(zip(TIMES, map(float, times), strict=True))
    return message, size


def _checked(header: bytes) -> tuple[Message, int]:
    try:
        message = _ANY.validate_json(header)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"msg": f"{error}"}
        where = ".".join(map(str, first.get("loc", ())))
        raise FrameError(
            f"a header that is none of protocol {PROTOCOL}: {where} {first['msg']}"[:300]
        ) from None
    tensors = message.tensors if isinstance(message, (Run, Result)) else ()
    size, memory = sum(x.nbytes for x in tensors), sum(x.memory_bytes for x in tensors)
    if max(size, memory) > PAYLOAD_LIMIT:
        raise FrameError(f"tensors of {max(size, memory)} bytes; the limit is {PAYLOAD_LIMIT}.")
    return message, size


_checked_once = lru_cache(maxsize=64)(_checked)


def longest(size: int, compression: Compression) -> int:
    """Most bytes that tensors of `size` bytes take: zstd adds a little to what it cannot shrink."""
    return size if compression == "none" else size + size // 256 + 1024


def proof(token: str, nonce: str) -> str:
    """HMAC-SHA256 of the nonce under the token, hexadecimal; the token itself never travels."""
    return hmac.new(token.encode(), nonce.encode(), hashlib.sha256).hexdigest()
