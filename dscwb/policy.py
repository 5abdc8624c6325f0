"""Policies: exact thresholds go into a small JSON file, the best split at a data rate comes out.

An edge device asks it before each batch. So this file needs nothing beyond Python's standard
library, not even the rest of dscwb: it may be copied to a device alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = "dscwb policy"
SCHEMA_VERSION = 1
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
    """Where a threshold may lie, for the scatter of the measurements.

    Attributes:
        low_bps: Lower end of its 95 % interval, bit/s.
        high_bps: Upper end, bit/s; infinite where the split below it may be best for ever.
    """

    low_bps: float
    high_bps: float


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
    """

    batch_size: int
    splits: tuple[Choice, ...]
    switching_rates_bps: tuple[float, ...]
    intervals: tuple[Interval | None, ...]
    interpolated: bool = False
    down: Choice | None = None

    def __post_init__(self) -> None:
        """Refuse what no envelope gives."""
        rates, who = self.switching_rates_bps, f"Batch size {self.batch_size}"
        if self.batch_size < 1:
            raise PolicyError(f"{who}: below 1; {AGAIN}.")
        if len(self.splits) != len(rates) + 1 or len(self.intervals) != len(rates):
            raise PolicyError(
                f"{who}: {len(self.splits)} splits and {len(self.intervals)} intervals for "
                f"{len(rates)} switching rates; {AGAIN}."
            )
        if not all(0 < rate < math.inf for rate in rates) or list(rates) != sorted(set(rates)):
            raise PolicyError(
                f"{who}: switching rates must be finite, above zero and ascending; {AGAIN}."
            )
        every = (*self.splits, *([self.down] if self.down else []))
        if any(one.cut_index < 0 or not 0 <= one.payload_bytes < math.inf for one in every):
            raise PolicyError(f"{who}: a negative cut or payload; {AGAIN}.")
        if any(one and not 0 <= one.low_bps <= one.high_bps for one in self.intervals):
            raise PolicyError(f"{who}: an interval that ends before it begins; {AGAIN}.")

    def piece(self, data_rate_bps: float) -> int:
        """Which of `splits` is best at this rate in bit/s."""
        return bisect_left(self.switching_rates_bps, data_rate_bps)

    def stretches(self) -> Iterator[tuple[Choice, float, float]]:
        """Each of `splits` with the rates between which it is best, bit/s, from 0 to infinity."""
        ends = (0.0, *self.switching_rates_bps, math.inf)
        return zip(self.splits, ends[:-1], ends[1:], strict=True)


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from.

    Attributes:
        model: Model and input size.
        device: The device's profile in words: measured, modelled, assumed or imported.
        server: The server's profile in words.
        scenario: Link, encodings and the other choices, in words.
        objective: What the splits are best in, ``latency`` or ``energy``.
        device_profile: Hash of the numbers of the device's profile.
        server_profile: Hash of the numbers of the server's profile.
        date: UTC date and time, ISO 8601.
        dscwb_version: What made it.
        confidence: How the intervals were found, in words; empty where there are none.
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


@dataclass(frozen=True)
class Policy:
    """The best split of every state, as thresholds on the data rate.

    They are the exact switching rates, so a policy answers for every rate, not only for
    those of the study that it was made from. Batch sizes are those of the study, no others.

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

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes that it answers for, ascending."""
        return tuple(one.batch_size for one in self.batches)

    def at(self, batch_size: int) -> Thresholds:
        """The thresholds of one batch size.

        Raises:
            PolicyError: The policy does not hold it.
        """
        for one in self.batches:
            if one.batch_size == batch_size:
                return one
        held = ", ".join(map(str, self.batch_sizes))
        raise PolicyError(
            f"Batch size {batch_size} is not in this policy, which holds {held}: choose one of "
            "these, or make a policy with it."
        )

    def choose(self, batch_size: int, data_rate_bps: float) -> Choice:
        """What to do in one state, by bisection.

        At a switching rate itself the split with fewer bits is chosen, as everywhere in dscwb.

        Args:
            batch_size: Samples in one pass, one of `batch_sizes`.
            data_rate_bps: Data rate in bit/s; 0 while the link is down, which means no offloading
                wherever that is possible.

        Raises:
            PolicyError: The batch size is not held, or the rate is not finite or below zero.
        """
        thresholds, rate = self.at(batch_size), _checked(data_rate_bps)
        if rate == 0 and thresholds.down:
            return thresholds.down
        return thresholds.splits[thresholds.piece(rate)]

    def best_split(self, batch_size: int, data_rate_bps: float) -> str:
        """Name of the split to choose; arguments and errors as in `choose`."""
        return self.choose(batch_size, data_rate_bps).name

    def undecided(self, batch_size: int, data_rate_bps: float) -> bool:
        """True if the rate lies within a threshold's interval: the times do not tell which is best.

        Arguments and errors as in `choose`. False wherever no intervals are held.
        """
        rate, intervals = _checked(data_rate_bps), self.at(batch_size).intervals
        return any(one.low_bps <= rate <= one.high_bps for one in intervals if one and rate)

    def to_json(self) -> str:
        """The policy as text, the same for the same policy; `from_json` reads it back exactly."""
        content = json.loads(json.dumps(_without_infinity(asdict(self)), allow_nan=False))
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
        if version != SCHEMA_VERSION:
            raise PolicyError(
                f"a policy of schema {version!r}, and this dscwb reads {SCHEMA_VERSION}: update "
                "dscwb, or make the policy again with this one."
            )
        if found.pop("sha256", None) != _seal(found):
            raise PolicyError(f"its content does not match its checksum; {AGAIN}.")
        try:
            return _policy(found)
        except PolicyError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PolicyError(f"a part is missing or wrong ({reason}); {AGAIN}.") from None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the policy to a file, which is there whole, or as before.

        This alone needs the rest of dscwb: a device asks, and saves nothing.

        Returns:
            The path written.
        """
        from dscwb.writing import atomically

        path = Path(path)
        with atomically(path) as file:
            file.write_text(self.to_json(), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy's file.

        Raises:
            PolicyError: No such file, not a policy, damaged, or written by a newer dscwb.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PolicyError(f"{path}: no such file; `dscwb policy` makes one.") from None
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path} cannot be read ({error}); {AGAIN}.") from None


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """`Policy.load` as a function."""
    return Policy.load(path)


def _checked(data_rate_bps: float) -> float:
    if not (math.isfinite(data_rate_bps) and data_rate_bps >= 0):
        raise PolicyError(
            f"Data rate {data_rate_bps} bit/s; give a finite rate such as 4e6, or 0 for a link "
            "that is down."
        )
    return data_rate_bps


def _without_infinity(value: Any) -> Any:
    """The same with None for infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_infinity(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_infinity(one) for one in value]
    return None if value == math.inf else value


def _endless(found: float | None) -> float:
    return math.inf if found is None else float(found)


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of the content, whatever its layout in the file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _policy(found: dict[str, Any]) -> Policy:
    return Policy(
        tuple(_thresholds(one) for one in found["batches"]),
        Origin(**{name: str(word) for name, word in found["origin"].items()}),
    )


def _thresholds(found: dict[str, Any]) -> Thresholds:
    return Thresholds(
        int(found["batch_size"]),
        tuple(_choice(one) for one in found["splits"]),
        tuple(float(rate) for rate in found["switching_rates_bps"]),
        tuple(
            one and Interval(_endless(one["low_bps"]), _endless(one["high_bps"]))
            for one in found["intervals"]
        ),
        bool(found["interpolated"]),
        _choice(found["down"]) if found.get("down") else None,  # older files have none
    )


def _choice(found: dict[str, Any]) -> Choice:
    return Choice(str(found["name"]), int(found["cut_index"]), float(found["payload_bytes"]))
