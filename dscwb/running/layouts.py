"""How a tensor lies in memory, and how many bytes it takes on the wire."""

from __future__ import annotations

import math
from functools import cache, lru_cache

from dscwb.units import COMPLEX_DTYPES, DTYPE_BYTES, ENCODINGS, FLOAT_DTYPES


@lru_cache
def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int | None:
    """Elements of memory from the first to the last; None if some but repeated ones share a place.

    An axis of stride 0 repeats.
    """
    filled = 1
    for step, length in sorted(zip(stride, shape, strict=True)):
        if step and length > 1:
            if step < filled:
                return None
            filled += step * (length - 1)
    return filled if all(shape) else 0


@lru_cache
def dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements fill memory without gaps, in some order of the axes."""
    repeats = any(length > 1 and not step for step, length in zip(stride, shape, strict=True))
    return not repeats and extent(shape, stride) == math.prod(shape)


@cache
def wires_of(dtype: str) -> list[str]:
    """Encodings in which elements of this type may be written, other than ``raw`` and ``jpeg``.

    Floats are never written as whole numbers of more than 8 bits, nothing but floats as int4.
    """
    floats = dtype in (*FLOAT_DTYPES, *COMPLEX_DTYPES)
    return [
        name
        for name, one in ENCODINGS.items()
        if one.bytes_of(dtype) is not None and (not one.integers if floats else name != "int4")
    ]


def bytes_on_wire(elements: int, dtype: str, wire: str) -> int:
    """Bytes of so many elements, as they are or in an encoding of fixed size."""
    size = DTYPE_BYTES[dtype] if wire == "raw" else ENCODINGS[wire].bytes_of(dtype)
    return math.ceil(elements * (size or 0))
