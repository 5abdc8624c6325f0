"""The scenario: everything beside batch size and data rate that moves the answer, as one record."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
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
ENCODINGS_NAMED = f"{', '.join(ENCODINGS)}, or 'jpeg 10:1' for an image"


def _check(name: str, value: float, low: float, words: str) -> None:
    if not (math.isfinite(value) and value >= low):
        raise ValueError(f"{name} is {value}; give a finite number, {words}.")


class _Record:
    """A record that says which fields it has when it is given another one."""

    def __new__(cls, *_: Any, **given: Any) -> Self:
        """Refuse an unknown field by its name."""
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # all are records
        link = " A round trip is link=dscwb.Link(round_trip_s=0.01)." if "link" in known else ""
        for name in given:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no {name!r}; it has {', '.join(known)}.{link}")
        return super().__new__(cls)


@dataclass(frozen=True)
class Link(_Record):
    """What lies between device and server, the data rate apart.

    Attributes:
        round_trip_s: Round-trip time in seconds, paid once whenever anything is sent.
        overhead_bytes: Bytes sent with each message beside the payload (headers, framing).
        downlink_bps: Data rate in bit/s at which the result comes back, in the element type the
            model gives it; None if that is not counted.
    """

    round_trip_s: float = 0.0
    overhead_bytes: float = 0.0
    downlink_bps: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no link has."""
        for name in ("round_trip_s", "overhead_bytes"):
            _check(f"Link: {name}", getattr(self, name), 0, "zero or more")
        if self.round_trip_s > LONGEST_ROUND_TRIP_S:
            raise ValueError(
                f"Link: round_trip_s is {self.round_trip_s:g}; give seconds, "
                f"{LONGEST_ROUND_TRIP_S:g} at most (20 ms are 0.02). Data rates in bit/s go to "
                "sweep(data_rates_bps=[...])."
            )
        if self.downlink_bps is not None and not self.downlink_bps > 0:
            raise ValueError(
                f"Link: downlink_bps is {self.downlink_bps}; give bit/s above zero, or None to "
                "leave the way back out."
            )


@dataclass(frozen=True)
class PowerModel(_Record):
    """What the device draws while it computes, sends and waits; its energy follows from it.

    E = compute_w · head + send_w · (payload bits / r) + wait_w · (round trip + tail + downlink).

    Attributes:
        compute_w: Watt while the head runs.
        send_w: Watt while the payload is sent.
        wait_w: Watt while the server or the link works.
        source: Where the three numbers come from, for captions.
    """

    compute_w: float
    send_w: float
    wait_w: float
    source: str

    def __post_init__(self) -> None:
        """Refuse negative powers and numbers without a source."""
        for name in ("compute_w", "send_w", "wait_w"):
            _check(f"PowerModel: {name}", getattr(self, name), 0, "zero or more")
        if not self.source.strip():
            raise ValueError("PowerModel: source is empty; say where the numbers come from.")

    def label(self) -> str:
        """The model in words, for captions."""
        return (
            f"device draws {format_number(self.compute_w)} W computing, "
            f"{format_number(self.send_w)} W sending, {format_number(self.wait_w)} W waiting "
            f"({self.source})"
        )


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
                f"pays. Choose one of {ENCODINGS_NAMED}."
            )
        record.__dict__[self._name] = encoding(value)


@dataclass(frozen=True, kw_only=True)
class Scenario(_Record):
    """Everything beside batch size and data rate that moves the answer.

    The encodings have no default on purpose: a float32 feature against a uint8 image decides
    whether splitting pays at all.

    Attributes:
        link: Round trip, overhead and downlink.
        input_encoding: How the model's input is written when all layers are offloaded, ``uint8`` or
            ``jpeg 10:1``.
        feature_encoding: How intermediate tensors are written, ``float32``.
        granularity: Where the model may be split: ``block``, ``op``, ``compressive``, or ``auto``
            for blocks where there are some and all cuts elsewhere.
        server_load: Factor on every tail's time, 1 for an idle server.
        device_slowdown: Factor on every head's time, 1 for the device as it was measured.
        private_input: True if inputs must not leave the device: no full offloading.
        min_depth: Blocks that must run on the device, 0 for none; from 1 on, no full offloading.
        memory_cap_bytes: What the head may take on the device (its weights and its largest set of
            live tensors); None for no cap.
        arrival_rate_hz: Samples that arrive in a second: a batch of B then waits (B - 1) / (2λ) on
            average for its samples before the head starts; None if that is not counted.
        objective: What the best split is best in: ``latency`` or the device's ``energy``.
        power: The device's power, needed for ``energy``.
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
        """Refuse numbers that no scenario has."""
        if not isinstance(self.link, Link):
            raise ValueError(f"link is {self.link!r}; give dscwb.Link(round_trip_s=0.01).")
        if self.granularity not in CANDIDATES:
            raise ValueError(
                f"Unknown granularity {self.granularity!r}; choose one of {', '.join(CANDIDATES)}."
            )
        for name in ("server_load", "device_slowdown"):
            _check(name, getattr(self, name), 1, "from 1 up")
        if self.min_depth != int(self.min_depth) or self.min_depth < 0:
            raise ValueError(f"min_depth is {self.min_depth!r}; give a number of blocks from 0 up.")
        object.__setattr__(self, "min_depth", int(self.min_depth))  # 1.0 is a whole number too
        for name in ("memory_cap_bytes", "arrival_rate_hz"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; give a finite number above zero, or None.")
        if self.objective not in ("latency", "energy"):
            raise ValueError(f"Unknown objective {self.objective!r}; choose 'latency' or 'energy'.")
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

    @property
    def needs_a_head(self) -> bool:
        """True if full offloading is no candidate."""
        return self.private_input or self.min_depth > 0

    def label(self, payload: str = "", candidates: str = "") -> str:
        """The scenario in words, for captions.

        Args:
            payload: How the tensors of one model are really written, see `cost.written`; the
                encodings as they were asked for if left out.
            candidates: What the model's candidates are, where the model is known.
        """
        link = self.link
        asked = f"input {self.input_encoding.label()}, features {self.feature_encoding.label()}"
        parts = [
            f"Payload: {payload or asked}",
            f"round trip {format_seconds(link.round_trip_s)}",
        ]
        if link.overhead_bytes:
            parts.append(f"{format_bytes(link.overhead_bytes)} overhead a message")
        if link.downlink_bps is not None:
            parts.append(f"result back at {format_rate(link.downlink_bps)}")
        if self.server_load != 1:
            parts.append(f"server load {format_number(self.server_load)}")
        if self.device_slowdown != 1:
            parts.append(f"device {format_number(self.device_slowdown)} × slower than measured")
        if self.private_input:
            parts.append("inputs stay on the device")
        if self.min_depth:
            parts.append(f"at least {self.min_depth} blocks on the device")
        if self.memory_cap_bytes is not None:
            parts.append(f"head within {format_bytes(self.memory_cap_bytes)}")
        if self.arrival_rate_hz is not None:
            parts.append(
                f"{format_number(self.arrival_rate_hz)} samples/s arrive, batches wait to fill"
            )
        parts.append(f"candidates: {candidates or CANDIDATES[self.granularity]}")
        if self.objective == "energy":
            parts.append("best in the device's energy")
        if self.power is not None:
            parts.append(self.power.label())
        return ", ".join(parts)
