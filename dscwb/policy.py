"""Policies: which split an edge device should take, asked before each batch.

A policy holds the exact switching rates of a study in a small JSON file. Asking it needs nothing
beyond Python's standard library, so this file may be copied to a device alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

FORMAT = "dscwb policy"
SCHEMA_VERSION = 2
"""Version 2 holds planes too; files of version 1 still load."""
AGAIN = "make it again with `dscwb policy`, or copy it anew"


class PolicyError(ValueError):
    """A policy, or a question to it, that cannot be used: says why, and what to do."""


@dataclass(frozen=True)
class Choice:
    """A split, and what it takes to carry it out.

    Attributes:
        name: ``full offloading``, ``no offloading``, or the block or layer after which to split.
        cut_index: Layers in the head, counted in the capture that the device's profile was made
            of; another version of torch may count otherwise, a block's name stays.
        payload_bytes: Bytes to send for the whole batch, overhead included.
    """

    name: str
    cut_index: int
    payload_bytes: float


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a switching rate, for the scatter of the measurements, in bit/s.

    Its upper end is infinite where the split below it may be best for ever.
    """

    low_bps: float
    high_bps: float


@dataclass(frozen=True)
class Plane:
    """What one split costs at any data rate r and server's load: base + load · tail + bits / r.

    Attributes:
        choice: The split.
        base: Seconds on the device and on the link beside the payload's, or the joules they cost.
        tail: The same of an idle server, whose load is 1.
        bits: Bits to send, or the joules that they cost at 1 bit/s.
        tail_s: Seconds of an idle server's tail, where `tail` is in joules; else None.
    """

    choice: Choice
    base: float
    tail: float
    bits: float
    tail_s: float | None = None

    @property
    def server_s(self) -> float:
        """Seconds of an idle server's tail."""
        return self.tail if self.tail_s is None else self.tail_s

    def cost(self, data_rate_bps: float, server_load: float) -> float:
        """Seconds or joules; infinite where something is to be sent over a link that is down."""
        if not self.choice.payload_bytes:
            return self.base + server_load * self.tail
        if not data_rate_bps:
            return math.inf
        return self.base + server_load * self.tail + self.bits / data_rate_bps


@dataclass(frozen=True)
class Thresholds:
    """What to do at one batch size, whatever the data rate.

    Attributes:
        batch_size: Samples in one pass.
        splits: From the lowest data rates to the highest, ``(piece,)``; the payload rises.
        switching_rates_bps: Where one gives way to the next, bit/s, strictly ascending,
            ``(piece - 1,)``; at the rate itself the split with fewer bits is chosen.
        intervals: How sure each of these rates is, ``(piece - 1,)``; None where that is not known.
        interpolated: True where the batch size was not measured itself.
        down: What to do while the link is down, where that is not the first of `splits`.
        planes: Every split that can be best at some data rate and load; none in older files.
    """

    batch_size: int
    splits: tuple[Choice, ...]
    switching_rates_bps: tuple[float, ...]
    intervals: tuple[Interval | None, ...]
    interpolated: bool = False
    down: Choice | None = None
    planes: tuple[Plane, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no study gives."""
        rates, choices = self.switching_rates_bps, [*self.splits, *filter(None, [self.down])]
        terms = [x for one in self.planes for x in (one.base, one.tail, one.bits, one.server_s)]
        known = [(one.low_bps, one.high_bps) for one in self.intervals if one]
        for fits, what in (
            (self.batch_size >= 1, "below 1"),
            (len(self.splits) == len(rates) + 1, "as many switching rates as splits, or more"),
            (len(self.intervals) == len(rates), "other intervals than switching rates"),
            (list(rates) == sorted(set(rates)), "switching rates that do not ascend"),
            (all(0 < rate < math.inf for rate in rates), "a switching rate that is no data rate"),
            (all(one.cut_index >= 0 for one in choices), "a negative cut"),
            (all(0 <= one.payload_bytes < math.inf for one in choices), "a payload that is none"),
            (all(0 <= x < math.inf for x in terms), "a cost that is none"),
            (
                all(0 <= low <= high for low, high in known),
                "an interval that ends before it begins",
            ),
        ):
            if not fits:
                raise PolicyError(f"Batch size {self.batch_size}: {what}; {AGAIN}.")

    def stretches(self) -> Iterator[tuple[Choice, float, float]]:
        """Each of `splits` with the rates between which it is best, bit/s, from 0 to infinity."""
        ends = (0.0, *self.switching_rates_bps, math.inf)
        return zip(self.splits, ends[:-1], ends[1:], strict=True)


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from, in words, as the study's captions say it.

    The objective is ``latency`` or ``energy``, the two profiles are hashes of their numbers, the
    date is UTC in ISO 8601; the confidence says how the intervals were found, or nothing.
    """

    model: str
    device: str
    server: str
    scenario: str
    objective: str
    device_profile: str
    server_profile: str
    date: str
    dscwb_version: str
    confidence: str = ""


@dataclass(frozen=True, repr=False)
class Policy:
    """The best split at every data rate, as thresholds, for the batch sizes of a study.

    Attributes:
        batches: One record a batch size, ascending.
        origin: Where it comes from.
    """

    batches: tuple[Thresholds, ...]
    origin: Origin

    def __post_init__(self) -> None:
        """Refuse what no study gives."""
        sizes = list(self.batch_sizes)
        if not sizes or sizes != sorted(set(sizes)):
            raise PolicyError(f"Batch sizes {sizes} must ascend, each once, one at least; {AGAIN}.")

    def __repr__(self) -> str:
        """The policy in four lines."""
        number = sum(len(one.switching_rates_bps) for one in self.batches)
        return (
            f"Policy: {self.origin.model}, best in {self.origin.objective}\n"
            f"Device: {self.origin.device}\nServer: {self.origin.server}\n"
            f"Switching rates: {number} at batch sizes {', '.join(map(str, self.batch_sizes))}"
        )

    def _repr_html_(self) -> str:
        cells = (escape(line).split(": ", maxsplit=1) for line in repr(self).splitlines())
        rows = (f"<tr><th>{name}</th><td>{words}</td></tr>" for name, words in cells)
        return f"<table>{''.join(rows)}</table>"

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes that it answers for, ascending."""
        return tuple(one.batch_size for one in self.batches)

    def at(self, batch_size: int) -> Thresholds:
        """The thresholds of one batch size; PolicyError for one that the policy does not hold."""
        for one in self.batches:
            if one.batch_size == batch_size:
                return one
        held = ", ".join(map(str, self.batch_sizes))
        raise PolicyError(
            f"Batch size {batch_size} is not in this policy, which holds {held}: choose one of "
            "these, or make a policy with it."
        )

    def choose(
        self, batch_size: int, data_rate_bps: float, server_load: float | None = None
    ) -> Choice:
        """What to do; at a switching rate itself the split with fewer bits.

        Args:
            batch_size: Samples in one pass, one of `batch_sizes`.
            data_rate_bps: Data rate in bit/s; 0 while the link is down, which means no offloading
                wherever that is possible.
            server_load: Factor on the server's times, 1 for idle; the study's own if left out.

        Raises:
            PolicyError: The batch size is not held, the rate is not finite or below zero, or the
                policy is of an older dscwb and knows of no load.
        """
        if not (math.isfinite(data_rate_bps) and data_rate_bps >= 0):
            raise PolicyError(
                f"Data rate {data_rate_bps} bit/s; give a finite rate such as 4e6, or 0 for a link "
                "that is down."
            )
        one = self.at(batch_size)
        if server_load is not None:
            planes = self.planes(batch_size)
            costs = [plane.cost(data_rate_bps, server_load) for plane in planes]
            return planes[costs.index(min(costs))].choice
        if data_rate_bps == 0 and one.down:
            return one.down
        return one.splits[bisect_left(one.switching_rates_bps, data_rate_bps)]

    def planes(self, batch_size: int) -> tuple[Plane, ...]:
        """What each split costs, the payload rising; PolicyError where an older file lacks them."""
        if planes := self.at(batch_size).planes:
            return planes
        raise PolicyError(f"this policy is of an older dscwb and knows of no server load; {AGAIN}.")

    def best_split(self, batch_size: int, data_rate_bps: float) -> str:
        """Name of the split to choose; arguments and errors as in `choose`."""
        return self.choose(batch_size, data_rate_bps).name

    def undecided(self, batch_size: int, data_rate_bps: float) -> bool:
        """True if the rate lies within a threshold's interval: the times do not tell which is best.

        Arguments and errors as in `choose`. False wherever no intervals are held.
        """
        self.choose(batch_size, data_rate_bps)  # refuses what is no rate
        known = [one for one in self.at(batch_size).intervals if one and data_rate_bps]
        return any(one.low_bps <= data_rate_bps <= one.high_bps for one in known)

    def to_json(self) -> str:
        """The policy as text, the same for the same policy; `from_json` reads it back exactly."""
        found = asdict(self)
        for interval in [one for batch in found["batches"] for one in batch["intervals"] if one]:
            for end, rate in interval.items():
                interval[end] = None if rate == math.inf else rate  # JSON knows no infinity
        content = json.loads(json.dumps(found, allow_nan=False))
        head = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "sha256": _seal(content)}
        return json.dumps({**head, **content}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """Read what `to_json` wrote.

        Raises:
            PolicyError: Not a policy, damaged, or written by a newer dscwb.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PolicyError(f"no JSON, or only a part of it ({error}); {AGAIN}.") from None
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise PolicyError("not a dscwb policy; `dscwb policy EDGE SERVER -o FILE` makes one.")
        version = found.pop("schema_version", None)
        if version not in (1, SCHEMA_VERSION):
            raise PolicyError(
                f"a policy of schema {version!r}, and this dscwb reads {SCHEMA_VERSION}: update "
                "dscwb, or make the policy again with this one."
            )
        if found.pop("sha256", None) != _seal(found):
            raise PolicyError(f"its content does not match its checksum; {AGAIN}.")
        try:
            batches = tuple(
                Thresholds(
                    int(one["batch_size"]),
                    tuple(Choice(**choice) for choice in one["splits"]),
                    tuple(map(float, one["switching_rates_bps"])),
                    tuple(ends and Interval(**_endless(ends)) for ends in one["intervals"]),
                    bool(one["interpolated"]),
                    Choice(**one["down"]) if one.get("down") else None,  # older files have none
                    tuple(
                        Plane(Choice(**plane.pop("choice")), **plane)
                        for plane in one.get("planes", ())
                    ),
                )
                for one in found["batches"]
            )
            return cls(batches, Origin(**found["origin"]))
        except PolicyError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PolicyError(f"a part is missing or wrong ({reason}); {AGAIN}.") from None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the policy to a file, which is there whole, or as before; returns its path.

        This alone needs the rest of dscwb: a device asks, and saves nothing.
        """
        from dscwb.writing import atomically

        with atomically(path) as file:
            file.write_text(self.to_json(), encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy's file.

        Raises:
            PolicyError: No such file, not a policy, damaged, or written by a newer dscwb.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except PolicyError as error:
            reason = f"{error}"
        except FileNotFoundError:
            reason = "no such file; `dscwb policy` makes one."
        except (OSError, UnicodeDecodeError) as error:
            reason = f"cannot be read ({error}); {AGAIN}."
        raise PolicyError(f"{path}: {reason}")


load_policy = Policy.load


def _endless(ends: dict[str, Any]) -> dict[str, float]:
    return {end: math.inf if rate is None else float(rate) for end, rate in ends.items()}


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of the content, whatever its layout in the file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
