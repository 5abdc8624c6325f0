"""The scenario: everything beside batch size and data rate that moves the answer, as one record.

What a field means, its limits and its words stand in `KNOBS`, from which the records here, the
command line and the workbench read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from inspect import cleandoc
from typing import Any, Literal, Self

import numpy as np

from dscwb.cuts import Granularity
from dscwb.units import (
    ENCODINGS,
    Encoding,
    encoding,
    format_bytes,
    format_number,
    format_rate,
    format_seconds,
)

Objective = Literal["latency", "energy"]

CANDIDATES = {
    "auto": "block ends, or all cuts of a model without blocks",
    "block": "block ends",
    "op": "all cuts",
    "compressive": "compressive bottlenecks only",
}
DATA_RATES_BPS = np.geomspace(1e4, 1e10, 241)
"""Data rates in bit/s that are looked at where nobody names others: from a slow radio link to a
fast cable, equally spaced on a logarithmic axis. A mean over states hangs on this range."""
DATA_RATES_BPS.flags.writeable = False
LONGEST_ROUND_TRIP_S = 10.0
"""No link to a server is slower: a larger number is a data rate, or in milliseconds."""
UNITS = {"ms": 1e-3, "MB": 1e6, "Mbit/s": 1e6}
"""What 1 in a unit that people use is in ours."""


@dataclass(frozen=True)
class Knob:
    """What a field means, what it may hold, and how people meet it.

    Attributes:
        help: What it means.
        label: What controls and captions call it; empty where it has no control of its own.
        unit: The unit that people give it in, see `UNITS`.
        high: Highest value that a control offers, in the field's own unit; None for no number.
        low: Lowest value of the field.
        choices: The words of which it is one.
    """

    help: str
    label: str = ""
    unit: str = ""
    high: float | None = None
    low: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def scale(self) -> float:
        """What 1 in its unit is in the field's own."""
        return UNITS.get(self.unit, 1.0)


KNOBS = {
    "link": Knob("Round trip, overhead and downlink"),
    "round_trip_s": Knob(
        "Round-trip time, paid once if anything is sent", "Round trip", "ms", LONGEST_ROUND_TRIP_S
    ),
    "overhead_bytes": Knob("Sent with each message beside the payload", "Overhead", "bytes", 1e9),
    "downlink_bps": Knob("Rate of the result's way back; else free", "Downlink", "Mbit/s", 1e11),
    "input_encoding": Knob("How the input is sent: uint8, 'jpeg 10:1', ...", "Input sent as"),
    "feature_encoding": Knob("How features are sent: float32, int8, ...", "Features sent as"),
    "granularity": Knob(
        "Where to split; auto: blocks where there are some, else all operations",
        "Split after",
        choices=tuple(CANDIDATES),
    ),
    "server_load": Knob("Factor on the server's times, 1 for idle", "Server load", "×", 1000, 1),
    "device_slowdown": Knob("Factor on the device's times", "Device slowdown", "×", 1000, 1),
    "private_input": Knob("Inputs must not leave the device", "Input stays private"),
    "min_depth": Knob("Blocks that must run on the device", "Blocks on device ≥", high=10_000),
    "memory_cap_bytes": Knob(
        "Memory on the device for the head; no cap if left out", "Device memory", "MB", 1e13
    ),
    "arrival_rate_hz": Knob(
        "Samples that arrive in a second; batches wait to fill", "Samples/s arriving", high=1e9
    ),
    "objective": Knob(
        "Best in latency or in the device's energy", "Best in", choices=("latency", "energy")
    ),
    "power": Knob("What the device draws; needed for energy"),
    "compute_w": Knob("Watt while the head runs", "Computing", "W", 1e4),
    "send_w": Knob("Watt while the payload is sent", "Sending", "W", 1e4),
    "wait_w": Knob("Watt while the server or the link works", "Waiting", "W", 1e4),
    "source": Knob("Where the three numbers come from, for captions"),
}
"""Every field of `Scenario`, and of the `Link` and the `PowerModel` in it, by its name.

Two need more words. The head's memory is its weights and its largest set of live tensors. Where λ
samples arrive in a second, a batch of B waits (B - 1) / (2λ) on average before its head starts.
"""


class _Record:
    """A record of fields that stand in `KNOBS`."""

    def __init_subclass__(cls) -> None:
        """Say in the docstring what each field means."""
        told = (f"    {name}: {KNOBS[name].help.rstrip('.')}." for name in cls.__annotations__)
        cls.__doc__ = "\n".join([cleandoc(f"{cls.__doc__}"), "", "Attributes:", *told])

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Refuse an unknown field by its name."""
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # all are records
        link = " A round trip is link=dscwb.Link(round_trip_s=0.01)." if "link" in known else ""
        for name in given:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no {name!r}; it has {', '.join(known)}.{link}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Refuse what a field cannot be."""
        for field in fields(self):  # type: ignore[arg-type]
            knob, value, default = KNOBS[field.name], getattr(self, field.name), field.default
            if knob.choices and value not in knob.choices:
                raise ValueError(
                    f"Unknown {field.name} {value!r}; choose one of {', '.join(knob.choices)}."
                )
            if knob.high is None or value is default is None:
                continue
            fits, words = math.isfinite(value) and value >= knob.low, f"from {knob.low:g} up"
            if default is None:
                fits, words = fits and value > 0, "above zero, or None"
            elif isinstance(default, int):
                fits, words = fits and value == int(value), f"without a fraction, {words}"
            if not fits:
                raise ValueError(f"{field.name} is {value}; give a finite number {words}.")

    def words(self) -> list[str]:
        """What captions say: the round trip, and numbers and switches that are not as always."""
        found = []
        for field in fields(self):  # type: ignore[arg-type]
            knob, value = KNOBS[field.name], getattr(self, field.name)
            told = value != field.default or field.name == "round_trip_s"
            if not told or not (knob.high or value is True):
                continue
            shown = {"s": format_seconds, "bytes": format_bytes, "bps": format_rate}.get(
                field.name.rpartition("_")[2], lambda x, of=knob: f"{format_number(x)} {of.unit}"
            )
            words = "" if value is True else f" {shown(value)}".rstrip()
            found.append(f"{knob.label[0].lower()}{knob.label[1:]}{words}")
        return found


@dataclass(frozen=True)
class Link(_Record):
    """What lies between device and server, the data rate apart."""

    round_trip_s: float = 0.0
    overhead_bytes: float = 0.0
    downlink_bps: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no link has."""
        super().__post_init__()
        if self.round_trip_s > LONGEST_ROUND_TRIP_S:
            raise ValueError(
                f"round_trip_s is {self.round_trip_s:g}; give seconds, "
                f"{LONGEST_ROUND_TRIP_S:g} at most (20 ms are 0.02). Data rates in bit/s go to "
                "sweep(data_rates_bps=[...])."
            )


@dataclass(frozen=True)
class PowerModel(_Record):
    """What the device draws while it computes, sends and waits; its energy follows from it.

    E = compute_w · head + send_w · (payload bits / r) + wait_w · (round trip + tail + downlink).
    """

    compute_w: float
    send_w: float
    wait_w: float
    source: str

    def __post_init__(self) -> None:
        """Refuse negative powers and numbers without a source."""
        super().__post_init__()
        if not self.source.strip():
            raise ValueError("source is empty; say where the numbers come from.")

    def label(self) -> str:
        """The model in words, for captions."""
        watts = (format_number(one) for one in (self.compute_w, self.send_w, self.wait_w))
        words = "device draws {} W computing, {} W sending, {} W waiting".format(*watts)
        return f"{words} ({self.source})"


class _Encoded:
    """A field that takes an encoding or the name of one, and holds the encoding."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: Any, owner: type | None = None) -> Encoding:
        default: Any = ""  # what a dataclass finds on the class: no encoding was given
        found: Encoding = default if record is None else record.__dict__[self._name]
        return found

    def __set__(self, record: Any, value: str | Encoding) -> None:
        if not value:
            raise ValueError(
                f"{self._name} is missing; there is no default, as it decides whether splitting "
                f"pays. Choose one of {', '.join(ENCODINGS)}, or 'jpeg 10:1' for an image."
            )
        record.__dict__[self._name] = encoding(value)


@dataclass(frozen=True, kw_only=True)
class Scenario(_Record):
    """Everything beside batch size and data rate that moves the answer.

    The encodings have no default on purpose: a float32 feature against a uint8 image decides
    whether splitting pays at all.
    """

    link: Link = Link()
    input_encoding: _Encoded = _Encoded()
    feature_encoding: _Encoded = _Encoded()
    granularity: Granularity = "auto"
    server_load: float = 1.0
    device_slowdown: float = 1.0
    private_input: bool = False
    min_depth: int = 0
    memory_cap_bytes: float | None = None
    arrival_rate_hz: float | None = None
    objective: Objective = "latency"
    power: PowerModel | None = None

    def __post_init__(self) -> None:
        """Refuse what no scenario has."""
        if not isinstance(self.link, Link):
            raise ValueError(f"link is {self.link!r}; give dscwb.Link(round_trip_s=0.01).")
        super().__post_init__()
        object.__setattr__(self, "min_depth", int(self.min_depth))  # 1.0 is a whole number too
        if self.objective == "energy" and self.power is None:
            raise ValueError(
                "The objective is energy, but no power is given; give "
                "power=dscwb.PowerModel(compute_w, send_w, wait_w, source)."
            )

    @property
    def second_costs(self) -> tuple[float, float]:
        """What a second on the device and one on the server count: 1 and 1, or watt for energy."""
        if self.objective == "latency" or self.power is None:
            return 1.0, 1.0
        return self.power.compute_w, self.power.wait_w

    def label(self, payload: str = "", candidates: str = "") -> str:
        """The scenario in words, for captions.

        Args:
            payload: How the tensors of one model are really written, see `captions.written`; the
                encodings as they were asked for if left out.
            candidates: What the model's candidates are, where the model is known.
        """
        asked = f"input {self.input_encoding.label()}, features {self.feature_encoding.label()}"
        parts = [
            f"Payload: {payload or asked}",
            *self.link.words(),
            *self.words(),
            f"candidates: {candidates or CANDIDATES[self.granularity]}",
        ]
        if self.objective == "energy":
            parts.append("best in the device's energy")
        return ", ".join(parts if self.power is None else [*parts, self.power.label()])
