"""What the workbench's controls hold: one frozen record, written as a line of text and read back.

A knob of the scenario needs one line here, in `COMMON` or `FOLDED`: its control. The record, the
text and `SplitWorkbench.update` take every field of `Scenario`, `Link` and `PowerModel` anyway.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dscwb.scenario import (
    CANDIDATES,
    DATA_RATES_BPS,
    LONGEST_ROUND_TRIP_S,
    PowerModel,
    Scenario,
)
from dscwb.study import Study
from dscwb.study.study import BASELINES
from dscwb.units import ENCODINGS, FULL_OFFLOADING, NO_OFFLOADING, Encoding, encoding, shown_name

Value = str | int | float | bool

SCHEMA = "dscwb.state/1"
ASSUMED = "assumed speed-up"
"""A server: the device itself, a stated number of times as fast."""
MBIT, MB, MS = 1e6, 1e6, 1e-3


@dataclass(frozen=True)
class Knob:
    """The control of a field.

    Attributes:
        label: What stands beside it.
        low: Lowest value of a number.
        high: Highest value of a number; None for a list or a check box.
        unit: What 1 in the control is in the field's own unit.
        choices: Values of a list that are always the same.
    """

    label: str
    low: float = 0.0
    high: float | None = None
    unit: float = 1.0
    choices: tuple[str, ...] = ()


POINT = {
    "data_rate_bps": Knob("Data rate", DATA_RATES_BPS[0].item(), DATA_RATES_BPS[-1].item(), MBIT),
    "batch_size": Knob("Batch size", 1, 1e6),
    "model": Knob("Variant"),
}
COMMON = {
    "edge": Knob("Device"),
    "server": Knob("Server"),
    "server_speedup": Knob("Assumed speed-up", 0.01, 1e5),
    "round_trip_s": Knob("Round trip (ms)", 0, LONGEST_ROUND_TRIP_S, MS),
    "input_encoding": Knob("Input sent as", choices=(*ENCODINGS, encoding("jpeg 10:1").name)),
    "feature_encoding": Knob("Features sent as", choices=tuple(ENCODINGS)),
    "baseline": Knob("Compare with"),
}
"""Always in sight beside model, data rate and batch size."""
FOLDED = {
    "granularity": Knob("Split after", choices=tuple(CANDIDATES)),
    "private_input": Knob("Input stays private"),
    "min_depth": Knob("Blocks on device ≥", 0, 10_000),
    "memory_cap_bytes": Knob("Device memory (MB)", 0, 1e13, MB),
    "server_load": Knob("Server load (×)", 1, 1000),
    "device_slowdown": Knob("Device slower (×)", 1, 1000),
    "overhead_bytes": Knob("Overhead (bytes)", 0, 1e9),
    "downlink_bps": Knob("Downlink (Mbit/s)", 0, 1e11, MBIT),
    "arrival_rate_hz": Knob("Samples/s arriving", 0, 1e9),
    "objective": Knob("Best in", choices=("latency", "energy")),
    "compute_w": Knob("Computing (W)", 0, 1e4),
    "send_w": Knob("Sending (W)", 0, 1e4),
    "wait_w": Knob("Waiting (W)", 0, 1e4),
}
"""Folded away."""
KNOBS = POINT | COMMON | FOLDED

PRESETS = {
    "3G": (1.1e6, 0.1),
    "4G": (6e6, 0.05),
    "5G": (50e6, 0.02),
    "Wi-Fi 5": (200e6, 0.005),
    "Wi-Fi 6": (600e6, 0.003),
    "wired 1 Gbit/s": (940e6, 0.001),
}
"""Kinds of links, by an uplink in bit/s and a round trip in seconds that people meet on them.

Assumptions: the first two are the mean uplinks of US networks in the split-computing literature
(1.1 and 5.85 Mbit/s; Y. Kang et al., Neurosurgeon, doi 10.1145/3037697.3037698); the rest are round
numbers."""

NESTED = ("scenario", "link", "power")
"""Fields that are records: their own fields stand in their place."""


START = Scenario(
    input_encoding="float32",
    feature_encoding="float32",
    power=PowerModel(10.0, 2.0, 1.0, "set by hand"),
)
"""The paper's formula, in which input and features have elements of one size.

Power is kept while the objective is latency."""


@dataclass(frozen=True)
class State:
    """Everything that the controls hold.

    Attributes:
        model: Name of the model.
        edge: Name of the device, see `Library.machines`; empty for the first one.
        server: Name of the server, or `ASSUMED`.
        server_speedup: How many times as fast as the device an assumed server is.
        data_rate_bps: Data rate in bit/s.
        batch_size: Samples in one pass.
        baseline: What the gain is measured against.
        scenario: All else.
    """

    model: str
    edge: str = ""
    server: str = ASSUMED
    server_speedup: float = 20.0
    data_rate_bps: float = 50e6
    batch_size: int = 1
    baseline: str = NO_OFFLOADING
    scenario: Scenario = START

    @property
    def counted(self) -> Scenario:
        """The scenario as a study needs it: power that does not count would stand in captions."""
        energy = self.scenario.objective == "energy"
        return self.scenario if energy else replace(self.scenario, power=None)

    @property
    def question(self) -> tuple[Any, ...]:
        """What the study depends on; the rest only moves the mark or compares anew."""
        return self.model, self.edge, self.server, self.server_speedup, self.counted

    def values(self) -> dict[str, Value]:
        """Every field by its name, those of scenario, link and power in their place.

        0 stands for what is not counted, an encoding's name for the encoding.
        """
        scenario = self.scenario
        found = {
            field.name: getattr(record, field.name)
            for record in (self, scenario, scenario.link, scenario.power)
            for field in fields(record)  # type: ignore[arg-type]  # a state has a power
            if field.name not in (*NESTED, "source")
        }
        plain = {name: 0.0 if value is None else value for name, value in found.items()}
        return {k: v.name if isinstance(v, Encoding) else v for k, v in plain.items()}

    def changed(self, changes: Mapping[str, Any]) -> State:
        """The state with these changes, checked as far as no profile is needed.

        Raises:
            ValueError: An unknown field, a value of another kind, or a number beyond its limits.
        """
        known = self.values()
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"Unknown field {name!r}; choose from {', '.join(known)}.")
            if not _of_kind(value, known[name]):
                kind = type(known[name]).__name__
                raise ValueError(f"{name} is {value!r}; give a value of type {kind}.")
            knob = KNOBS.get(name)
            if knob and knob.high is not None and not knob.low <= value <= knob.high:
                raise ValueError(
                    f"{name} is {value:g}; choose a number from {knob.low:g} to {knob.high:g}."
                )
        # As a float stays one that a whole number was given for.
        given = {name: type(known[name])(value) for name, value in changes.items()}
        state: State = _replaced(self, given)
        return state

    def to_json(self) -> str:
        """The state as one line of text that brings a colleague to the same picture."""
        return json.dumps({"schema": SCHEMA, **self.values()})

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


def _replaced(record: Any, changes: Mapping[str, Any]) -> Any:
    """A record with those changes that are its own, or of a record within."""
    new: dict[str, Any] = {}
    for field in fields(record):
        name, value = field.name, getattr(record, field.name)
        if name in NESTED:
            new[name] = _replaced(value, changes)
        elif name in changes:
            uncounted = field.default is None and changes[name] == 0
            new[name] = None if uncounted else changes[name]
    return replace(record, **new)


def _of_kind(value: Any, like: Value) -> bool:
    """Whether a value can stand where `like` stands: whole numbers do for floats."""
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(like, bool) and isinstance(value, bool)
    if isinstance(like, int):
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(like, float):
        return isinstance(value, int | float) and not math.isnan(value)
    return isinstance(value, str)


def baselines(study: Study) -> tuple[tuple[str, str], ...]:
    """What a gain can be over, as shown and as such: those possible of `BASELINES`, then splits.

    The splits are those that are best somewhere.
    """
    named = [name for name in BASELINES if name != FULL_OFFLOADING or name in study.splits]
    splits = [(shown_name(name), name) for name in study.chosen if name not in named]
    return (*((name, name) for name in named), *splits)
