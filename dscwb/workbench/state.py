"""What the workbench's controls hold: one frozen record, written as a line of text and read back.

The record, the text and `SplitWorkbench.update` take every field of `Scenario`, `Link` and
`PowerModel`; its control follows from `dscwb.scenario.KNOBS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dscwb import scenario
from dscwb.scenario import DATA_RATES_BPS, Knob, PowerModel, Scenario
from dscwb.units import ENCODINGS, NO_OFFLOADING, encoding

Value = str | int | float | bool

SCHEMA = "dscwb.state/1"
ASSUMED = "assumed speed-up"
"""A server: the device itself, a stated number of times as fast."""
LOW_BPS, HIGH_BPS = DATA_RATES_BPS[[0, -1]].tolist()
JPEG = encoding("jpeg 10:1").name

KNOBS = {
    "model": Knob("Models of one family", "Variant"),
    "edge": Knob("Where the head runs", "Device"),
    "server": Knob("Where the tail runs", "Server"),
    "server_speedup": Knob("Of an assumed server", "Speed-up", high=1e5, low=0.01),
    "data_rate_bps": Knob("Data rate in Mbit/s", "Data rate", "Mbit/s", HIGH_BPS, LOW_BPS),
    "batch_size": Knob("Samples in one pass", "Batch size", high=1e6, low=1),
    "baseline": Knob("What the gain is over", "Compare with"),
    **{name: knob for name, knob in scenario.KNOBS.items() if knob.label},
    "input_encoding": replace(scenario.KNOBS["input_encoding"], choices=(*ENCODINGS, JPEG)),
    "feature_encoding": replace(scenario.KNOBS["feature_encoding"], choices=tuple(ENCODINGS)),
}
"""Every field that has a control."""

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

START = Scenario(
    input_encoding="float32",
    feature_encoding="float32",
    power=PowerModel(10.0, 2.0, 1.0, "set by hand"),
)
"""The paper's formula, in which input and features have elements of one size.

Power is kept while the objective is latency."""

FIRST_MODEL = "efficientnet_b3"
FIRST: dict[str, Value] = {
    "edge": "AMD EPYC, 1 thread (measured)",
    "server": "NVIDIA H200, 40 of 132 multiprocessors (measured)",
    "data_rate_bps": 30e6,
    "round_trip_s": 0.02,
    "input_encoding": "uint8",
    "feature_encoding": "int8",
}
"""What a newcomer sees first, where the profiles have these machines.

Both ends are measured, and of the shipped pairs this is one of the few whose times are sound at all
batch sizes from 1 to 8. The input goes as a camera gives it, features as a quantised network has
them. One image is then split best from 12 to 49 Mbit/s; at 30 that saves 15 % over running it on
the device and 25 % over sending the image."""


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
        records = self, self.scenario, self.scenario.link, self.scenario.power
        found = {n: getattr(one, n) for one in records for n in KNOBS if hasattr(one, n)}
        return {n: 0.0 if v is None else getattr(v, "name", v) for n, v in found.items()}

    def changed(self, changes: Mapping[str, Any]) -> State:
        """The state with these changes, checked as far as no profile is needed.

        Raises:
            ValueError: An unknown field, a value of another kind, or a number beyond its limits.
        """
        known, given = self.values(), {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"Unknown field {name!r}; choose from {', '.join(known)}.")
            kind, knob = type(known[name]), KNOBS[name]
            like = int | float if kind in (int, float) else kind  # whole numbers do for floats
            fits = isinstance(value, like) and isinstance(value, bool) == (kind is bool)
            if not fits or (kind is int and value % 1):
                raise ValueError(f"{name} is {value!r}; give a value of type {kind.__name__}.")
            if knob.high is not None and not knob.low <= value <= knob.high:
                raise ValueError(
                    f"{name} is {value:g}; choose a number from {knob.low:g} to {knob.high:g}."
                )
            given[name] = kind(value)  # a float stays one that a whole number was given for
        state: State = _replaced(self, given)
        return state

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> State:
        """The state with these values, as `values` gives them; fields left out have defaults.

        Raises:
            ValueError: No model, or fields that do not fit.
        """
        if not isinstance(values.get("model"), str):
            raise ValueError("This state names no model; copy all of it.")
        return cls(values["model"]).changed(values)

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
        return cls.of(given)


def _replaced(record: Any, changes: Mapping[str, Any]) -> Any:
    """A record with those changes that are its own, or of a record within."""
    new = {name: value for name, value in changes.items() if hasattr(record, name)}
    uncounted = [name for name in new if new[name] == 0 and getattr(type(record), name, 0) is None]
    inner = (name for name in ("scenario", "link", "power") if hasattr(record, name))
    inside = {name: _replaced(getattr(record, name), changes) for name in inner}
    return replace(record, **new | dict.fromkeys(uncounted) | inside)
