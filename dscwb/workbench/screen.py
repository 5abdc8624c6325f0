"""The widget: what the kernel and the browser tell each other, and the browser's scripts.

The browser computes and draws, the kernel measures, checks and stores. A hand moves the state in
the browser, which paints at once and tells the kernel afterwards; the kernel is only asked for
profiles that the browser has not got, and while the hand rests for those that it may choose next.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from dscwb import __version__
from dscwb.devices.machines import Library
from dscwb.scenario import CANDIDATES, PowerModel, Scenario
from dscwb.study.study import BASELINES
from dscwb.workbench.state import ASSUMED, KNOBS, PRESETS, SCHEMA, State

HERE = Path(__file__).parent
SCRIPTS = (
    *("pair.js", "pairs.js", "engine.js", "numbers.js", "words.js", "pen.js", "svg.js", "plots.js"),
    *("maps.js", "gains.js", "curves.js", "bars.js", "model.js", "timeline.js", "desk.js"),
    *("controls.js", "sheet.js", "export.js", "compare.js", "screen.js"),
)
"""The browser's side, in the order in which it reads it: one module."""
MAIN = (
    *("model", "edge", "server", "server_speedup", "data_rate_bps", "round_trip_s", "batch_size"),
    *("input_encoding", "feature_encoding", "baseline"),
)
"""Fields that are always in sight, in their order; the others fold out."""
WORDS = {**CANDIDATES, "energy": "device energy"}
"""What a list shows for values that are words of the code."""


def joined(names: Iterable[str]) -> str:
    """Scripts of the browser's side as the text of one module."""
    return "\n".join((HERE / name).read_text("utf-8") for name in names)


def fields() -> list[dict[str, Any]]:
    """All that a control has to know of its field, those in `MAIN` first."""
    values = State("").values()
    records = Scenario, type(State("").scenario.link), PowerModel
    blank = {name for one in records for name in KNOBS if getattr(one, name, "") is None}
    rest = (name for name in values if name not in MAIN)
    found = []
    for name in (*MAIN, *rest):
        knob, value = KNOBS[name], values[name]
        choices = [[WORDS.get(one, one), one] for one in knob.choices]
        number = "whole" if isinstance(value, int) else "number"
        kind = "check" if isinstance(value, bool) else number if knob.high else "choice"
        found.append(
            {
                "name": name,
                "label": knob.label,
                "help": knob.help,
                "unit": knob.unit,
                "scale": knob.scale,
                "low": knob.low,
                "high": knob.high,
                "kind": kind,
                "choices": choices,
                "main": name in MAIN,
                "blank": name in blank,  # 0 stands for what is not counted
            }
        )
    return found


def tables(library: Library, start: State) -> dict[str, Any]:
    """What never changes while a library is open: fields, and what can be chosen."""
    return {
        "fields": fields(),
        "families": [[name, list(models)] for name, models in library.families().items()],
        "machines": {model: library.machines(model) for model in library.models},
        "assumed": ASSUMED,
        "presets": [[name, *values] for name, values in PRESETS.items()],
        "baselines": BASELINES,
        "start": start.values(),
        "plain": {name: value for name, value in State("").values().items() if name != "model"},
        "schema": SCHEMA,
        "version": __version__,
    }


def pair_key(state: State) -> str:
    """The name under which the browser keeps a state's pair of profiles."""
    return "\n".join((state.model, state.edge, state.server))


class Screen(anywidget.AnyWidget):
    """What the kernel and the browser tell each other.

    Attributes:
        data_rate_bps: Data rate in bit/s; this and the next two can be linked to other widgets.
        batch_size: Samples in one pass.
        model: Name of the model.
        shown: The state, as `State.values`. The hand moves it in the browser, `update` here.
        past: States before it, the last one last: what undoing leads to.
        future: States that were undone, the next one last.
        pinned: Name of a split that is held for comparison; empty for none.
        compared: A state that is held for comparison; empty for none.
        tables: See `tables`.
        confidence: How sure every state is, with the state whose study that is of; empty while
            that is not known.
        checking: Share of that work which is done; below zero while nobody works.
        message: What the kernel has to say.
    """

    _esm = joined(SCRIPTS)
    _css = HERE / "screen.css"

    data_rate_bps = traitlets.CFloat().tag(sync=True)
    batch_size = traitlets.CInt().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    past: traitlets.List[Any] = traitlets.List().tag(sync=True)
    future: traitlets.List[Any] = traitlets.List().tag(sync=True)
    pinned = traitlets.Unicode().tag(sync=True)
    compared = traitlets.Dict().tag(sync=True)
    tables = traitlets.Dict().tag(sync=True)
    confidence = traitlets.Dict().tag(sync=True)
    checking = traitlets.Float(-1.0).tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
