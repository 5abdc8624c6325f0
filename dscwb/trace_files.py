"""Files of traces that people already have: what kind one is, and its numbers as a `Trace`."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from dscwb.traces import Trace
from dscwb.units import BITS_PER_BYTE, NUMBER, plain_text

PACKET_BYTES = 1504
"""What mahimahi lets pass at each of its packet times: 1,500 bytes and the header of its tunnel."""
LARGEST_TRACE_BYTES = 5 * 10**7
MOST_STEPS = 10**7  # more than a day of 10 ms
FEW_FALLS = 0.1  # of a list: fewer are no rates that go up and down
FASTEST_MBPS = 10_000  # the highest rate that is taken for Mbit/s in a list without units
LARGEST_NUMBER = 1e15

KINDS = {
    "mahimahi": "packet times of mahimahi",
    "mbps": "Mbit/s, one number a second",
    "5gophers": "5Gophers",
    "sabre": "sabre",
    "csv": "CSV",
}


def load_trace(
    path: str | os.PathLike[str], *, kind: str | None = None, window_s: float = 1.0
) -> Trace:
    """Read a trace; its kind is recognised by the content.

    * ``mahimahi``: packet times, a whole number of milliseconds a line, never descending; each lets
      1,504 bytes pass. They are averaged over windows of `window_s`, and the trace ends with the
      last of them, as where mahimahi repeats it.
    * ``mbps``: one number a line, Mbit/s, one a second.
    * ``5gophers``: a CSV file with ``throughput_mbps``, one row a second, numbered by ``seq_num``.
    * ``sabre``: a JSON list of ``duration_ms``, ``bandwidth_kbps`` and ``latency_ms``, which sabre
      waits once a request: a round trip.
    * ``csv``: the columns ``time_s`` (ascending from 0), ``data_rate_bps`` and, if there is one,
      ``round_trip_s``. The last step lasts as long as the one before it, alone 1 s, unless a last
      row with a time alone says when it ends.

    Empty lines and lines that begin with # are left out; further columns are left alone.

    Args:
        path: The file, UTF-8, at most 50 MB.
        kind: One of the five, for a list of whole numbers that could be two of them.
        window_s: Length of a step made of packet times, in seconds.

    Raises:
        ValueError: Names the file, the line and the value, and what to do.
        OSError: The file cannot be read.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"Unknown kind of trace {kind!r}; choose one of {', '.join(KINDS)}.")
    if not 0.001 <= window_s < math.inf:
        raise ValueError(f"window_s is {window_s}; give a millisecond or more, such as 1.0.")
    try:
        text = _text(path)
        lines = list(_lines(text))
        if not lines:
            raise ValueError("it is empty; a trace has one step at least")
        kind = kind or _kind(text, lines)
        trace = _READERS[kind](text, lines, window_s)
        return replace(trace, source=f"{plain_text(path.name)}, {KINDS[kind]}")
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"{path}: {str(error).rstrip('.')}.") from None


Lines = Sequence[tuple[int, str]]


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ValueError("it is no ordinary file; give a file of text")
    with path.open("rb") as file:
        data = file.read(LARGEST_TRACE_BYTES + 1)
    if len(data) > LARGEST_TRACE_BYTES:
        raise ValueError("it has more than 50 MB, the most that is read; give a part of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8; save it as such") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    for number, line in enumerate(text.splitlines(), start=1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _kind(text: str, lines: Lines) -> str:
    """What kind of trace it is, by its first line or, of a plain list, by all its numbers."""
    number, first = lines[0]
    if text.lstrip()[:1] in ("[", "{"):
        return "sabre"
    if NUMBER.fullmatch(first):
        return _kind_of_list(lines)
    names = set(_cells(first))
    if {"time_s", "data_rate_bps"} <= names:
        return "csv"
    if "throughput_mbps" in names:
        return "5gophers"
    raise ValueError(
        f"line {number} is {_short(first)}, which begins no trace known here; give packet times of "
        "mahimahi or Mbit/s (a number a line), sabre's JSON, 5Gophers' CSV (throughput_mbps) or "
        "CSV with the columns time_s,data_rate_bps: commas between columns, a point in numbers"
    )


def _kind_of_list(lines: Lines) -> str:
    """Packet times are whole and never descend; a rate above 10 Gbit/s is none."""
    if not all(_whole(line) for _, line in lines):
        return "mbps"
    values = [int(line) for _, line in lines]
    falls = [i for i, (before, value) in enumerate(pairwise(values), start=1) if value < before]
    if falls and len(falls) < FEW_FALLS * len(lines):
        number, line = lines[falls[0]]
        raise ValueError(
            f"line {number} is {line}, below the one before, as are few others: packet times never "
            "descend, Mbit/s do so often; correct it, or say kind='mbps'"
        )
    if falls:
        return "mbps"
    if values[-1] > FASTEST_MBPS:
        return "mahimahi"
    number, line = lines[-1]
    raise ValueError(
        f"whole numbers that never descend up to line {number}, {line}, may be packet times or "
        "Mbit/s; say kind='mahimahi' or kind='mbps', or write the first rate as "
        f"{lines[0][1]}.0"
    )


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _number(place: str, count: int, name: str, value: object) -> float:
    """A number from a file, zero or more, by its name on such a line or in such a step."""
    whole = type(value) is int and abs(value) <= 2 * LARGEST_NUMBER  # a longer one fits no float
    known = whole or type(value) is float or (isinstance(value, str) and NUMBER.fullmatch(value))
    number = float(value) if known else math.nan  # type: ignore[arg-type]
    if not 0 <= number <= LARGEST_NUMBER:
        comma = isinstance(value, str) and NUMBER.fullmatch(value.replace(",", "."))
        remedy = "write it with a point" if comma else "give a finite number, zero or more"
        raise ValueError(f"{place} {count}: {name} is {_short(value)}; {remedy}")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _mahimahi(_: str, lines: Lines, window_s: float) -> Trace:
    times: list[int] = []
    for number, line in lines:
        if not _whole(line):
            raise ValueError(f"line {number} is {_short(line)}; give whole milliseconds")
        if times and int(line) < times[-1]:
            raise ValueError(f"line {number} is {line}, before {times[-1]}, the last; sort them")
        times.append(int(line))
    if times[-1] == 0:
        raise ValueError("all packets come at 0 ms; a trace must last for some time")
    duration_s = times[-1] / 1000
    count = math.ceil(duration_s / window_s - 1e-9)
    if count > MOST_STEPS:
        raise ValueError(f"it has {count:,} steps, more than {MOST_STEPS:,}; take longer windows")
    starts = np.arange(count, dtype=np.float64) * window_s
    # A window ends with the packet on its edge, so that the last packet lies in the last window.
    windows = np.searchsorted(starts, np.array(times) / 1000 - 1e-9, side="right") - 1
    packets = np.bincount(np.maximum(windows, 0), minlength=count)
    rates = packets * PACKET_BYTES * BITS_PER_BYTE / np.diff(starts, append=duration_s)
    return Trace(starts, rates, duration_s)


def _mbps(_: str, lines: Lines, __: float) -> Trace:
    for number, line in lines:
        if not (NUMBER.fullmatch(line) and 0 <= float(line) <= FASTEST_MBPS):
            raise ValueError(
                f"line {number} is {_short(line)}, neither Mbit/s (a number from 0 to "
                f"{FASTEST_MBPS}) nor one of packet times (whole milliseconds that never descend); "
                "correct it"
            )
    rates = 1e6 * np.array([float(line) for _, line in lines])
    return Trace(np.arange(len(rates), dtype=np.float64), rates, len(rates))


def _sabre(text: str, _: Lines, __: float) -> Trace:
    try:
        steps = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} is no JSON ({error.msg}); export it anew") from None
    if not isinstance(steps, list) or not steps or not all(isinstance(one, dict) for one in steps):
        raise ValueError("its JSON is no list of steps; give [{duration_ms, bandwidth_kbps}, ...]")
    times, rates, trips, end_s = [], [], [], 0.0
    told = any("latency_ms" in one for one in steps)
    names = ["duration_ms", "bandwidth_kbps", *(["latency_ms"] * told)]
    for index, one in enumerate(steps, start=1):
        ms, kbps, *latency_ms = (_number("step", index, name, one.get(name)) for name in names)
        if ms > 0:
            times.append(end_s)
            rates.append(kbps * 1e3)
            trips += [one / 1e3 for one in latency_ms]
            end_s += ms / 1e3
    return _trace(times, rates, end_s, trips)


def _trace(
    times: list[float], rates: list[float], end_s: float, trips: Sequence[float] = ()
) -> Trace:
    if not times:
        raise ValueError("it has no steps; a trace has one at least")
    round_trips = np.array(trips) if trips else None
    return Trace(np.array(times), np.array(rates), end_s, round_trips)


def _cells(line: str) -> list[str]:
    (cells,) = csv.reader([line], skipinitialspace=True)
    return [cell.strip() for cell in cells]


def _table(
    lines: Lines, needed: Sequence[str], optional: str
) -> Iterator[tuple[int, list[str | None]]]:
    """Rows of a CSV file: the number of the line, the columns needed, one that may be missing."""
    numbers = [number for number, _ in lines]
    _, *rows = csv.reader((line for _, line in lines), skipinitialspace=True, strict=True)
    names = _cells(lines[0][1])
    for name in (*needed, *[optional] * (optional in names)):
        if names.count(name) != 1:
            raise ValueError(f"line {numbers[0]} names the column {name} not once; name it once")
    if len(rows) != len(lines) - 1:
        raise ValueError("a quotation mark opens a cell of several lines; close it")
    places = [names.index(name) if name in names else None for name in (*needed, optional)]
    for number, row in zip(numbers[1:], rows, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"line {number} has {len(row)} values for {len(names)} columns; give one for each"
            )
        yield number, [None if i is None else row[i].strip() for i in places]


def _later(
    number: int, name: str, value: str | None, times: list[float], first: float = 0.0
) -> float:
    """The time on a line, counted from the first."""
    time_s = _number("line", number, name, value) - first
    if times and time_s <= times[-1]:
        raise ValueError(
            f"line {number}: {name} is {value}, not above the one before; keep one recording"
        )
    return time_s


def _gophers(_: str, lines: Lines, __: float) -> Trace:
    times: list[float] = []
    rates: list[float] = []
    first = None
    for number, (rate, second) in _table(lines, ["throughput_mbps"], "seq_num"):
        second = f"{len(times)}" if second is None else second
        first = _number("line", number, "seq_num", second) if first is None else first
        times.append(_later(number, "seq_num", second, times, first))
        rates.append(1e6 * _number("line", number, "throughput_mbps", rate))
    return _trace(times, rates, times[-1] + 1 if times else 1.0)


def _csv(_: str, lines: Lines, __: float) -> Trace:
    times: list[float] = []
    rates: list[float] = []
    trips: list[float] = []
    end_s = None
    for number, (time, rate, trip) in _table(lines, ["time_s", "data_rate_bps"], "round_trip_s"):
        if end_s is not None:
            raise ValueError(f"line {number} follows one without data_rate_bps, which must be last")
        time_s = _later(number, "time_s", time, times)
        if not times and time_s != 0:
            raise ValueError(f"line {number}: time_s is {time}; begin at 0")
        if not rate and times:
            end_s = time_s
            continue
        times.append(time_s)
        rates.append(_number("line", number, "data_rate_bps", rate))
        if trip is not None:
            trips.append(_number("line", number, "round_trip_s", trip))
    if end_s is None:
        end_s = 2 * times[-1] - times[-2] if len(times) > 1 else 1.0
    return _trace(times, rates, end_s, trips)


_READERS = dict(zip(KINDS, (_mahimahi, _mbps, _gophers, _sabre, _csv), strict=True))
