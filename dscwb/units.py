"""Units and wire encodings, and every number as text for people.

Everything inside dscwb is in seconds, bytes, elements and bit/s; the functions here are the only
place where a number gets a prefix for people.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

BITS_PER_BYTE = 8
# `float` also reads 1_000 and the digits of other scripts.
NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
NO_OFFLOADING = "no offloading"
FULL_OFFLOADING = "full offloading"
FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
COMPLEX_DTYPES = ("complex128", "complex64", "complex32")
AS_SENT = "bytes"
"""Element type of payloads that were measured on the wire: no encoding changes them any more."""
DTYPE_BYTES = {
    name: size
    for size, names in {
        16: "complex128",
        8: "float64 complex64 int64 uint64",
        4: "float32 complex32 int32 uint32",
        2: "float16 bfloat16 int16 uint16",
        1: f"int8 uint8 bool float8_e4m3fn float8_e5m2 {AS_SENT}",
    }.items()
    for name in names.split()
}


@dataclass(frozen=True)
class Encoding:
    """How elements are written on the wire.

    Attributes:
        name: What figures and tables call it.
        bytes_per_element: Bytes for one element, metadata such as scales not counted.
        integers: True if it also holds whole numbers wider than 8 bits, such as token ids; whoever
            chooses it says that their values fit.
        image: True if it is an image's codec, whose ratio is an assumption.
    """

    name: str
    bytes_per_element: float
    integers: bool = False
    image: bool = False

    def __post_init__(self) -> None:
        """Refuse a size that no wire has."""
        if not (math.isfinite(self.bytes_per_element) and self.bytes_per_element > 0):
            raise ValueError(
                f"Encoding {self.name!r}: bytes_per_element is {self.bytes_per_element}; "
                "give a finite number above zero."
            )

    def bytes_of(self, dtype: str) -> float | None:
        """Bytes of one element of this type as it is written; None where it cannot be.

        Floats can always be; a complex number is two of them. Of 8-bit integers an image's codec
        takes uint8 only. Wider integers and truth values would lose what they say, unless the
        encoding is one of integers.
        """
        size = self.bytes_per_element
        if dtype in FLOAT_DTYPES:
            return size
        if dtype in COMPLEX_DTYPES:
            return None if self.image else 2 * size
        if dtype in ("uint8", "int8"):
            return None if self.image and dtype == "int8" else size
        if dtype == "bool":
            return size if size == 1 else None
        return size if self.integers and dtype != AS_SENT else None

    def label(self) -> str:
        """Its name for captions, where an assumption is called one."""
        return f"{self.name} (assumed ratio)" if self.image else self.name


_SIZES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.0, "uint8": 1.0, "int4": 0.5}
_SIZES["float64"] = 8.0  # the last one offered: only doubles and complex numbers of two need it
_INTEGERS = {"int64": 8.0, "int32": 4.0, "int16": 2.0, "uint16": 2.0}
ENCODINGS = {name: Encoding(name, size) for name, size in _SIZES.items()} | {
    name: Encoding(name, size, integers=True) for name, size in _INTEGERS.items()
}


def written_as(dtypes: Iterable[str], encoding: Encoding) -> str:
    """How tensors of these types really go over the wire, in words.

    Those that the encoding cannot hold keep their own type; where it holds none of them it is not
    named at all.
    """
    found = sorted(set(dtypes))
    kept = [dtype for dtype in found if encoding.bytes_of(dtype) is None]
    if not kept:
        return encoding.label()
    words = f"{' and '.join(kept)} as they are"
    return words if kept == found else f"{encoding.label()} with {words}"


def jpeg(ratio: float) -> Encoding:
    """An image as JPEG, `ratio` times smaller than as uint8: ``jpeg(10)`` is 0.1 byte an element.

    Raises:
        ValueError: The ratio is not a finite number from 1 up.
    """
    if not (math.isfinite(ratio) and ratio >= 1):
        raise ValueError(f"JPEG ratio {ratio}; give a finite number from 1 up, such as 10.")
    return Encoding(f"JPEG {ratio:g}:1", 1 / ratio, image=True)


def encoding(name: str | Encoding) -> Encoding:
    """Look an encoding up by name; an `Encoding` of your own passes through.

    Args:
        name: One of `ENCODINGS`, of which int64, int32, int16 and uint16 are for token ids; or for
            an image ``jpeg 10:1`` with its compression ratio against uint8.

    Raises:
        ValueError: The name is unknown.

    Example:
        >>> encoding("jpeg 10:1").bytes_per_element
        0.1
    """
    if isinstance(name, Encoding):
        return name
    name = str(name)  # whatever it is, it is named
    if stated := re.fullmatch(r"jpeg[ :]([0-9.]+)(?::1)?", name.lower()):
        try:
            return jpeg(float(stated[1]))
        except ValueError as error:
            raise ValueError(f"Unknown encoding {name!r}: {error}") from None
    if name not in ENCODINGS:
        raise ValueError(
            f"Unknown encoding {name!r}; choose one of {', '.join(ENCODINGS)}, 'jpeg 10:1' for an "
            "image, or give units.Encoding(name, bytes_per_element)."
        )
    return ENCODINGS[name]


_PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9}


def _prefixed(value: float, unit: str, largest: str, smallest: str = "") -> str:
    """`value` in the largest prefix not above it, three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    names = list(_PREFIXES)
    offered = names[names.index(largest) : names.index(smallest) + 1]
    # 0.9995: a value that three digits would round up to the next prefix belongs there.
    fits = (name for name in offered if abs(value) >= _PREFIXES[name] * 0.9995)
    prefix = next(fits, smallest)
    scaled = value / _PREFIXES[prefix]
    digits = max(0, 2 - math.floor(math.log10(abs(scaled)) + 1e-9)) if scaled else 0
    text = f"{scaled:.{min(digits, 3)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {prefix}{unit}"


def shown_name(split: str) -> str:
    """What people read for a split's identifier: ``after blocks.3.0``, and the two ends as such."""
    return split if split in (NO_OFFLOADING, FULL_OFFLOADING) else f"after {split}"


def as_choice(split: str) -> str:
    """A split in the middle of a sentence: ``a split after blocks.3.0``, the two ends as such."""
    return split if split in (NO_OFFLOADING, FULL_OFFLOADING) else f"a split after {split}"


def plain_text(text: str) -> str:
    """A name fit for terminals, figures and pages: control characters escaped, no markup.

    Figures take ``<b>`` for an order, so that both brackets become angle quotation marks.
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown).translate({ord("<"): "‹", ord(">"): "›"})


def format_seconds(seconds: float) -> str:
    """Seconds for people: ``0.0123`` gives ``'12.3 ms'``."""
    return _prefixed(seconds, "s", "", "n")


def format_bytes(size_bytes: float) -> str:
    """Bytes for people, decimal prefixes: ``150528`` gives ``'151 kB'``."""
    return _prefixed(size_bytes, "B", "G")


def format_rate(rate_bps: float, *, in_bytes: bool = True) -> str:
    """A data rate for people: ``8e6`` gives ``'8 Mbit/s (1 MB/s)'``.

    Args:
        rate_bps: The rate in bit/s.
        in_bytes: Whether byte/s follow in brackets.
    """
    bits = _prefixed(rate_bps, "bit/s", "G")
    return f"{bits} ({_prefixed(rate_bps / BITS_PER_BYTE, 'B/s', 'G')})" if in_bytes else bits


def format_number(value: float) -> str:
    """Three significant digits, never an exponent: ``0.00125``, ``12.5``, ``10000``."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:.0f}" if abs(rounded) >= 100 else f"{rounded:.10f}".rstrip("0").rstrip(".")


def format_percent(share: float) -> str:
    """About two significant digits: ``2.3 %``, ``45 %``.

    ``0 %`` stands only for nothing at all, ``100 %`` only for everything.
    """
    size = abs(share)
    if 0 < size < 0.0005:
        return "<0.1 %" if share > 0 else ">-0.1 %"
    if 0.995 <= size < 1:
        return f"{math.copysign(min(size, 0.999), share):.1%}".replace("%", " %")
    return f"{share:.{1 if 0 < size < 0.0995 else 0}%}".replace("%", " %")


def format_cost(cost: float, unit: str) -> str:
    """Seconds or joules for people, by the unit ``s`` or ``J``: ``12.3 ms``, ``12.3 mJ``."""
    return f"{format_seconds(cost).removesuffix('s')}{unit}"


def format_flops(flops: int | None) -> str:
    """Floating-point operations for people: ``801e6`` gives ``'801 MFLOP'``; None is unknown."""
    return "unknown" if flops is None else _prefixed(flops, "FLOP", "T")


class Told:
    """An object that prints its `summary`, a few words for each name."""

    def summary(self) -> dict[str, str]:
        """What a notebook shows of it, a line each."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """The summary, the last lines in the sixth."""
        lines = [f"{name}: {words}" for name, words in self.summary().items()]
        return "\n".join([*lines[:5], *filter(None, ["; ".join(lines[5:])])])

    def _repr_html_(self) -> str:
        cell = "style='text-align: left'"
        rows = (
            f"<tr><th {cell}>{escape(name)}</th><td {cell}>{escape(words)}</td></tr>"
            for name, words in self.summary().items()
        )
        return f"<table>{''.join(rows)}</table>"
