"""The scenario: everything beside batch size and data rate that moves the answer, as one record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dscwb.cuts import Granularity
from dscwb.units import Encoding, format_bytes, format_rate, format_seconds

Objective = Literal["latency", "energy"]

CANDIDATES = {
    "block": "block ends",
    "op": "all cuts",
    "compressive": "compressive bottlenecks only",
}


@dataclass(frozen=True)
class Link:
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
        if self.downlink_bps is not None and not self.downlink_bps > 0:
            raise ValueError(
                f"Link: downlink_bps is {self.downlink_bps}; give bit/s above zero, or None to "
                "leave the way back out."
            )


@dataclass(frozen=True)
class PowerModel:
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
            f"device draws {self.compute_w:g} W computing, {self.send_w:g} W sending, "
            f"{self.wait_w:g} W waiting ({self.source})"
        )


@dataclass(frozen=True)
class Scenario:
    """Everything beside the state (batch size, data rate) that moves the answer.

    Attributes:
        link: Round trip, overhead and downlink.
        input_encoding: How the model's input is written when all layers are offloaded.
        feature_encoding: How intermediate tensors are written.
        granularity: ``block``, ``op`` or ``compressive``, the candidates.
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

    link: Link
    input_encoding: Encoding
    feature_encoding: Encoding
    granularity: Granularity = "block"
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
            raise ValueError(f"link is {self.link!r}; give dscwb.Link(round_trip_s=...).")
        if self.granularity not in CANDIDATES:
            raise ValueError(
                f"Unknown granularity {self.granularity!r}; choose one of {', '.join(CANDIDATES)}."
            )
        for name in ("server_load", "device_slowdown"):
            _check(name, getattr(self, name), 1, "from 1 up")
        if self.min_depth != int(self.min_depth) or self.min_depth < 0:
            raise ValueError(f"min_depth is {self.min_depth}; give a number of blocks from 0 up.")
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
            payload: How the tensors of one model are really written, see `latency.written`; the
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
            parts.append(f"{link.overhead_bytes:g} B overhead a message")
        if link.downlink_bps is not None:
            parts.append(f"result back at {format_rate(link.downlink_bps)}")
        if self.server_load != 1:
            parts.append(f"server load {self.server_load:g}")
        if self.device_slowdown != 1:
            parts.append(f"device {self.device_slowdown:g} × slower than measured")
        if self.private_input:
            parts.append("inputs stay on the device")
        if self.min_depth:
            parts.append(f"at least {self.min_depth} blocks on the device")
        if self.memory_cap_bytes is not None:
            parts.append(f"head within {format_bytes(self.memory_cap_bytes)}")
        if self.arrival_rate_hz is not None:
            parts.append(f"{self.arrival_rate_hz:g} samples/s arrive, batches wait to fill")
        parts.append(f"candidates: {candidates or CANDIDATES[self.granularity]}")
        if self.objective == "energy":
            parts.append("best in the device's energy")
        if self.power is not None:
            parts.append(self.power.label())
        return ", ".join(parts)


def _check(name: str, value: float, low: float, words: str) -> None:
    if not (math.isfinite(value) and value >= low):
        raise ValueError(f"{name} is {value}; give a finite number, {words}.")
