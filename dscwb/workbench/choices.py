"""What the workbench's controls hold: one frozen record, written down as JSON and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.scenario import CANDIDATES, Link, PowerModel, Scenario
from dscwb.study.states import BEST_STATIC, MINIMAX_STATIC, States
from dscwb.units import ENCODINGS, encoding

Value = str | int | float | bool

SCHEMA = "dscwb.state/1"
ASSUMED = "assumed speed-up"
"""A server: the device itself, a stated number of times as fast."""
BASELINES = (NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC)
INPUT_ENCODINGS = (*ENCODINGS, "jpeg 10:1")

LIMITS: dict[str, tuple[float, float]] = {
    "data_rate_bps": (1e4, 1e10),
    "batch_size": (1, 1e6),
    "server_speedup": (0.01, 1e5),
    "server_load": (1.0, 1000.0),
    "device_slowdown": (1.0, 1000.0),
    "round_trip_s": (0.0, 10.0),
    "overhead_bytes": (0.0, 1e9),
    "downlink_bps": (0.0, 1e11),
    "min_depth": (0, 10_000),
    "memory_cap_bytes": (0.0, 1e13),
    "arrival_rate_hz": (0.0, 1e9),
    "compute_w": (0.0, 1e4),
    "send_w": (0.0, 1e4),
    "wait_w": (0.0, 1e4),
}
"""Lowest and highest value of the fields that are numbers; controls clip what is typed."""


@dataclass(frozen=True)
class Preset:
    """A kind of link, by the data rate and the round trip that people meet on it: assumptions.

    Attributes:
        data_rate_bps: Typical uplink in bit/s.
        round_trip_s: Typical round trip to a server nearby, in seconds.
    """

    data_rate_bps: float
    round_trip_s: float


PRESETS = {
    "3G": Preset(1.1e6, 0.1),
    "4G": Preset(6e6, 0.05),
    "5G": Preset(50e6, 0.02),
    "Wi-Fi 5": Preset(200e6, 0.005),
    "Wi-Fi 6": Preset(600e6, 0.003),
    "wired 1 Gbit/s": Preset(940e6, 0.001),
}
"""The first two are the mean uplinks of US networks in the split-computing literature (1.1 and 5.85
Mbit/s; Y. Kang et al., Neurosurgeon, doi 10.1145/3037697.3037698); the rest are round numbers."""


@dataclass(frozen=True)
class State:
    """Everything that the controls hold.

    Attributes:
        model: Name of the model.
        edge: Name of the device, see `Shelf.machines`; empty for the first one.
        server: Name of the server, or `ASSUMED`.
        server_speedup: How many times as fast as the device an assumed server is.
        data_rate_bps: Data rate in bit/s.
        batch_size: Samples in one pass.
        round_trip_s: Round-trip time of the link in seconds.
        input_encoding: How the input is sent when everything is offloaded.
        feature_encoding: How intermediate tensors are sent.
        baseline: What the gain is measured against.
        server_load: Factor on the tail's time.
        device_slowdown: Factor on the head's time.
        private_input: True if inputs must not leave the device.
        granularity: ``block``, ``op`` or ``compressive``: where the model may be split.
        min_depth: Blocks that must run on the device.
        memory_cap_bytes: What the head may take on the device; 0 for no cap.
        overhead_bytes: Bytes sent with each message beside the payload.
        downlink_bps: Data rate at which the result comes back; 0 if that is not counted.
        arrival_rate_hz: Samples that arrive in a second; 0 if batches need not wait.
        objective: ``latency`` or the device's ``energy``.
        compute_w: Watt that the device draws while it computes.
        send_w: Watt while it sends.
        wait_w: Watt while it waits.
    """

    model: str
    edge: str = ""
    server: str = ASSUMED
    server_speedup: float = 20.0
    data_rate_bps: float = 50e6
    batch_size: int = 1
    round_trip_s: float = 0.0
    # The paper's formula, in which input and features have elements of one size.
    input_encoding: str = "float32"
    feature_encoding: str = "float32"
    baseline: str = NO_OFFLOADING
    server_load: float = 1.0
    device_slowdown: float = 1.0
    private_input: bool = False
    granularity: str = "block"
    min_depth: int = 0
    memory_cap_bytes: float = 0.0
    overhead_bytes: float = 0.0
    downlink_bps: float = 0.0
    arrival_rate_hz: float = 0.0
    objective: str = "latency"
    compute_w: float = 10.0
    send_w: float = 2.0
    wait_w: float = 1.0

    @property
    def position(self) -> tuple[int, float]:
        """The state of the network: batch size, data rate in bit/s."""
        return self.batch_size, self.data_rate_bps

    def scenario(self) -> Scenario:
        """The scenario that these values stand for.

        Raises:
            ValueError: A value that no scenario has.
        """
        link = Link(self.round_trip_s, self.overhead_bytes, self.downlink_bps or None)
        power = PowerModel(self.compute_w, self.send_w, self.wait_w, "set by hand")
        return Scenario(
            link,
            encoding(self.input_encoding),
            encoding(self.feature_encoding),
            self.granularity,  # type: ignore[arg-type]  # Scenario refuses what it does not know
            self.server_load,
            self.device_slowdown,
            self.private_input,
            self.min_depth,
            self.memory_cap_bytes or None,
            self.arrival_rate_hz or None,
            self.objective,  # type: ignore[arg-type]
            power if self.objective == "energy" else None,
        )

    def changed(self, changes: Mapping[str, Any]) -> State:
        """The state with these changes, checked as far as no profile is needed.

        Raises:
            ValueError: An unknown field, a value of another kind, or a number beyond its limits.
        """
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"Unknown field {name!r}; choose from {', '.join(known)}.")
            if not _of_kind(value, known[name]):
                kind = type(known[name]).__name__
                raise ValueError(f"{name} is {value!r}; give a value of type {kind}.")
        new: State = replace(self, **changes)
        for name, (low, high) in LIMITS.items():
            value = getattr(new, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value:g}; choose a number from {low:g} to {high:g}.")
        return new

    def to_json(self) -> str:
        """The state as one line of text that brings a colleague to the same picture."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> State:
        """Read what `to_json` wrote; fields left out have their defaults.

        Raises:
            ValueError: No such text, another schema, or fields that do not fit.
        """
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"This is no state of a workbench: {error}; copy all of it.") from None
        if not isinstance(given, dict) or given.pop("schema", None) != SCHEMA:
            raise ValueError(f"This is no state of this workbench; it must say {SCHEMA!r}.")
        if not isinstance(given.get("model"), str):
            raise ValueError("This state names no model; copy all of it.")
        return cls(given["model"]).changed(given)


STUDY_FIELDS = frozenset(field.name for field in fields(State)) - {
    "data_rate_bps",
    "batch_size",
    "baseline",
}
"""A change of these needs another study; of the baseline another picture; of the rest a mark."""

CHOICES = {
    "input_encoding": INPUT_ENCODINGS,
    "feature_encoding": tuple(ENCODINGS),
    "baseline": BASELINES,
    "granularity": tuple(CANDIDATES),
    "objective": ("latency", "energy"),
}
"""Values of the fields that are chosen from a list."""


def _of_kind(value: Any, like: Value) -> bool:
    """Whether a value can stand where `like` stands: whole numbers do for floats."""
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(like, bool) and isinstance(value, bool)
    if isinstance(like, int):
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(like, float):
        return isinstance(value, int | float) and not math.isnan(value)
    return isinstance(value, str)


def baselines(study: States) -> tuple[str, ...]:
    """The named baselines that are possible, then the splits that are best somewhere."""
    named = [
        name
        for name in CHOICES["baseline"]
        if name in study.splits or name not in (NO_OFFLOADING, FULL_OFFLOADING)
    ]
    return tuple(dict.fromkeys((*named, *study.chosen)))
