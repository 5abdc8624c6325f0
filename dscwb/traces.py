"""Traces: the data rate of a link over time, from files that people already have.

`load_trace` recognises the kind of a file by its content. All of them become one record, in
seconds and bit/s, where the rate is constant within a step.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.units import (
    BITS_PER_BYTE,
    NUMBER,
    Told,
    format_percent,
    format_rate,
    format_seconds,
    plain_text,
)

PACKET_BYTES = 1504
"""What mahimahi lets pass at each of its packet times: 1,500 bytes and the header of its tunnel."""
LARGEST_TRACE_BYTES = 5 * 10**7
MOST_STEPS = 10**7  # more than a day of 10 ms
FASTEST_MBPS = 10_000  # the highest rate that is taken for Mbit/s in a list without units
LARGEST_NUMBER = 1e15

KINDS = {
    "mahimahi": "packet times of mahimahi",
    "mbps": "Mbit/s, one number a second",
    "5gophers": "5Gophers",
    "sabre": "sabre",
    "csv": "CSV",
}


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Told):
    """The data rate of a link over time, constant within each step.

    Attributes:
        times_s: When each step begins, in seconds, strictly ascending from 0, ``(step,)``.
        data_rates_bps: Its data rate in bit/s, 0 while the link is down, ``(step,)``.
        duration_s: When the last step ends, in seconds.
        round_trips_s: Its round-trip time in seconds, ``(step,)``; None where nobody measured it.
        source: Where the numbers come from, in words.

    Example:
        >>> trace = Trace([0, 1], [8e6, 0], duration_s=3)
        >>> trace.at(0.5), trace.at(3.5, repeat=True), trace.at(2.9)
        (8000000.0, 8000000.0, 0.0)
    """

    times_s: NDArray[np.float64]
    data_rates_bps: NDArray[np.float64]
    duration_s: float
    round_trips_s: NDArray[np.float64] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Keep the numbers as arrays that cannot be written to; refuse what is no trace."""
        times = self._kept("times_s", self.times_s)
        rates = self._kept("data_rates_bps", self.data_rates_bps)
        round_trips = self.round_trips_s
        round_trips = rates if round_trips is None else self._kept("round_trips_s", round_trips)
        if not 0 < len(times) == len(rates) == len(round_trips):
            raise ValueError(
                f"{len(times)} times, {len(rates)} data rates and {len(round_trips)} round trips; "
                "give one of each for every step, and one step at least."
            )
        if times[0] != 0 or (np.diff(times) <= 0).any():
            raise ValueError("The times of a trace must ascend from 0; subtract the first of them.")
        if not times[-1] < self.duration_s < math.inf:
            raise ValueError(
                f"duration_s is {self.duration_s}; give more than the last time, {times[-1]:g}."
            )

    def _kept(self, name: str, numbers: ArrayLike) -> NDArray[np.float64]:
        """The numbers of one field, all finite and none below zero, as an array of its own."""
        array = np.array(numbers, dtype=np.float64)
        if array.ndim != 1 or not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{name} must be a list of finite numbers, zero or more.")
        array.flags.writeable = False
        object.__setattr__(self, name, array)
        return array

    @property
    def lengths_s(self) -> NDArray[np.float64]:
        """How long each step lasts, in seconds, ``(step,)``."""
        return np.diff(self.times_s, append=self.duration_s)

    @overload
    def at(self, time_s: float, *, repeat: bool = False) -> float: ...
    @overload
    def at(self, time_s: NDArray[np.float64], *, repeat: bool = False) -> NDArray[np.float64]: ...
    def at(self, time_s: Any, *, repeat: bool = False) -> Any:
        """The data rate at a time or at an array of times, in bit/s; where a step begins, its own.

        Args:
            time_s: Seconds since the trace began.
            repeat: Whether the trace begins anew whenever it has ended.

        Raises:
            ValueError: A time before 0, or not before the end, unless the trace repeats.
        """
        rates = self.data_rates_bps[self.step(time_s, repeat=repeat)]
        return rates if isinstance(time_s, np.ndarray) else float(rates)

    def step(self, time_s: ArrayLike, *, repeat: bool = False) -> NDArray[np.intp]:
        """Which step holds at a time, counted from 0; arguments and errors as in `at`."""
        times = np.asarray(time_s, dtype=np.float64)
        if repeat:
            times = times % self.duration_s
        if not ((times >= 0) & (times < self.duration_s)).all():
            raise ValueError(
                f"The trace holds from 0 s to before {self.duration_s:g} s; give a time within, "
                "or say repeat=True."
            )
        return np.searchsorted(self.times_s, times, side="right") - 1

    def summary(self) -> dict[str, str]:
        """What a notebook shows of it, a line each; means are over time."""
        rates, lasts = self.data_rates_bps, self.lengths_s
        mean, low, high = (
            format_rate(float(rate), in_bytes=False)
            for rate in (np.average(rates, weights=lasts), rates.min(), rates.max())
        )
        down = float(lasts[rates == 0].sum() / self.duration_s)
        shown = {
            "Trace": f"{len(rates)} steps in {format_seconds(self.duration_s)}",
            "Data rate": f"{mean} in the mean, {low} to {high}",
            "Link down": f"{format_percent(down)} of the time" if down else "never",
        }
        if (trips := self.round_trips_s) is not None:
            ends = sorted({format_seconds(float(trips.min())), format_seconds(float(trips.max()))})
            shown["Round trip"] = " to ".join(ends)
        return {**shown, "Source": self.source or "not stated"}


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
    names = {name.strip() for name in first.split(",")}
    if {"time_s", "data_rate_bps"} <= names:
        return "csv"
    if "throughput_mbps" in names:
        return "5gophers"
    raise ValueError(
        f"line {number} is {_short(first)}, which begins no trace known here; give packet times of "
        "mahimahi or Mbit/s (a number a line), sabre's JSON, 5Gophers' CSV (throughput_mbps) or "
        "CSV with the columns time_s,data_rate_bps"
    )


def _kind_of_list(lines: Lines) -> str:
    """Packet times are whole and never descend; a rate above 10 Gbit/s is none."""
    before = 0
    for _, line in lines:
        if not _whole(line) or int(line) < before:
            return "mbps"
        before = int(line)
    if before > FASTEST_MBPS:
        return "mahimahi"
    number, line = lines[-1]
    raise ValueError(
        f"whole numbers that never descend up to line {number}, {line}, may be packet times or "
        "Mbit/s; say kind='mahimahi' or kind='mbps', or write the first rate as "
        f"{lines[0][1]}.0"
    )


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _number(place: str, value: object) -> float:
    """A number from a file, zero or more; `place` begins the sentence of the error."""
    whole = type(value) is int and abs(value) <= 2 * LARGEST_NUMBER  # a longer one fits no float
    known = whole or type(value) is float or (isinstance(value, str) and NUMBER.fullmatch(value))
    number = float(value) if known else math.nan  # type: ignore[arg-type]
    if not 0 <= number <= LARGEST_NUMBER:
        raise ValueError(f"{place} is {_short(value)}; give a finite number, zero or more")
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
    names = ["duration_ms", "bandwidth_kbps", *(["latency_ms"] * ("latency_ms" in steps[0]))]
    for index, one in enumerate(steps, start=1):
        ms, kbps, *latency_ms = (_number(f"step {index}: {name}", one.get(name)) for name in names)
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


def _table(lines: Lines, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with the numbers of their lines, each with a value for every column."""
    numbers = [number for number, _ in lines]
    header, *rows = csv.reader((line for _, line in lines), skipinitialspace=True, strict=True)
    names = [name.strip() for name in header]
    for name in needed:
        if names.count(name) != 1:
            raise ValueError(f"line {numbers[0]} names the column {name} not once; name it once")
    if len(rows) != len(lines) - 1:
        raise ValueError("a quotation mark opens a cell of several lines; close it")
    for number, row in zip(numbers[1:], rows, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"line {number} has {len(row)} values for {len(names)} columns; give one for each"
            )
        yield number, dict(zip(names, map(str.strip, row), strict=True))


def _later(place: str, value: str, times: list[float], first: float = 0.0) -> float:
    """The time on a line, counted from the first."""
    time_s = _number(place, value) - first
    if times and time_s <= times[-1]:
        raise ValueError(f"{place} is {value}, not above the one before; keep one recording")
    return time_s


def _gophers(_: str, lines: Lines, __: float) -> Trace:
    times: list[float] = []
    rates: list[float] = []
    first = None
    for number, row in _table(lines, "throughput_mbps"):
        second = row.get("seq_num", str(len(times)))
        first = _number(f"line {number}: seq_num", second) if first is None else first
        times.append(_later(f"line {number}: seq_num", second, times, first))
        rates.append(1e6 * _number(f"line {number}: throughput_mbps", row["throughput_mbps"]))
    return _trace(times, rates, times[-1] + 1 if times else 1.0)


def _csv(_: str, lines: Lines, __: float) -> Trace:
    times: list[float] = []
    rates: list[float] = []
    trips: list[float] = []
    end_s = None
    for number, row in _table(lines, "time_s", "data_rate_bps"):
        if end_s is not None:
            raise ValueError(f"line {number} follows one without data_rate_bps, which must be last")
        time_s = _later(f"line {number}: time_s", row["time_s"], times)
        if not times and time_s != 0:
            raise ValueError(f"line {number}: time_s is {row['time_s']}; begin at 0")
        if not row["data_rate_bps"] and times:
            end_s = time_s
            continue
        times.append(time_s)
        rates.append(_number(f"line {number}: data_rate_bps", row["data_rate_bps"]))
        if "round_trip_s" in row:
            trips.append(_number(f"line {number}: round_trip_s", row["round_trip_s"]))
    if end_s is None:
        end_s = 2 * times[-1] - times[-2] if len(times) > 1 else 1.0
    return _trace(times, rates, end_s, trips)


_READERS = dict(zip(KINDS, (_mahimahi, _mbps, _gophers, _sabre, _csv), strict=True))
