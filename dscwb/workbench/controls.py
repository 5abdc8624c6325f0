"""The workbench's controls: values go to widgets, what a person changes comes back as values."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import ipywidgets as widgets

from dscwb.scenario import CANDIDATES
from dscwb.units import shown_name
from dscwb.workbench.state import COMMON, FOLDED, KNOBS, PRESETS, Knob, Value

DESCRIPTION = {"description_width": "140px"}  # the longest description, so that controls line up
FULL = {"width": "auto", "min_width": "0"}
LOOK = {"style": DESCRIPTION, "layout": FULL}
# As many columns as fit: three on a wide screen, one in a narrow window.
GRID = {"grid_template_columns": "repeat(auto-fit, minmax(400px, 1fr))", "grid_gap": "4px 24px"}

RATE_STEP = 0.02  # of the exponent: a key press changes the rate by 5 %
NO_PRESET = "choose …"
LABELS = {**CANDIDATES, "energy": "device energy"}
"""What a list shows for values that are words of the code."""


@dataclass(frozen=True, eq=False)
class _Control:
    """A widget for one field of the state.

    Attributes:
        field: Name of the field.
        widget: The widget.
        unit: What 1 in the widget is in the field's unit; None for no number.
        slides: Whether it is the slider of rates: three digits, at steps of its exponent.
    """

    field: str
    widget: Any
    unit: float | None = None
    slides: bool = False

    def read(self) -> Value:
        """The widget's value in the field's unit."""
        value: Value = self.widget.value
        if self.unit is None:
            return value
        number = float(f"{float(value) * self.unit:.{3 if self.slides else 15}g}")
        return round(number) if isinstance(value, int) else number

    def shows(self, value: Value) -> bool:
        """Whether the widget stands at this value, a slider at the step nearest to it.

        The browser moves a slider that was set between two steps to one of them, and reports that
        as if a hand had done it.
        """
        if not self.slides:
            return self.read() == value
        steps = (round(math.log10(float(one)) / RATE_STEP) for one in (self.read(), value))
        return len(set(steps)) == 1

    def write(self, value: Value) -> None:
        """Show a value; nothing moves where it is shown already."""
        if self.shows(value):
            return
        if isinstance(self.widget, widgets.Dropdown):
            options = self.widget.options
            if value not in [known for _, known in options]:  # a split, chosen from Python
                self.widget.options = (*options, (shown_name(str(value)), value))
        self.widget.value = (
            value if self.unit is None else float(f"{float(value) / self.unit:.12g}")
        )


class Controls:
    """All controls, one for each field of `dscwb.workbench.state.State`."""

    def __init__(
        self,
        families: Mapping[str, Sequence[tuple[str, str]]],
        values: Mapping[str, Value],
        changed: Callable[[Mapping[str, Value]], None],
    ) -> None:
        """Make them.

        Args:
            families: Models of each family: short name and name, in the slider's order.
            values: Of every field, at the start.
            changed: Called with the new value of each field that a person moved.
        """
        self._families = families
        self._changed = changed
        self._writing = False
        self._values = dict(values)
        self._rate_words = widgets.Label()
        rate, number = _rate_widgets(KNOBS["data_rate_bps"])
        mbit = KNOBS["data_rate_bps"].unit
        self._controls = (
            _Control("data_rate_bps", rate, mbit, slides=True),
            _Control("data_rate_bps", number, mbit),
            _Control("batch_size", _slider(KNOBS["batch_size"], [1])),
            _Control("model", _slider(KNOBS["model"], next(iter(families.values())))),
            *(_control(name, KNOBS[name], values[name]) for name in (*COMMON, *FOLDED)),
        )
        for control in self._controls:
            control.widget.observe(lambda _, moved=control: self._moved(moved), "value")
        self._family = _dropdown("Model", list(families))
        self._family.observe(lambda _: self._chose_family(), "value")
        self._preset = _dropdown("Kind of link", [NO_PRESET, *PRESETS])
        self._preset.observe(lambda _: self._chose_preset(), "value")
        first = [self._family, self["model"], self._preset, self["batch_size"]]
        common, rest = ([self[name] for name in names] for names in (COMMON, FOLDED))
        parts = [
            widgets.HBox([rate, number, self._rate_words], layout=FULL),
            widgets.GridBox([*first, *common], layout=GRID),
            folded("More of the scenario", [widgets.GridBox(rest, layout=GRID)]),
        ]
        self.widget = widgets.VBox(parts, layout=FULL)

    def __getitem__(self, field: str) -> Any:
        """The widget of a field; of the data rate the slider."""
        return next(one.widget for one in self._controls if one.field == field)

    def write(
        self,
        values: Mapping[str, Value],
        offered: Mapping[str, Sequence[Any]],
        rate_words: str,
    ) -> None:
        """Show the values of all fields, without calling back.

        Args:
            values: Of every field.
            offered: What some fields are chosen from: values, or pairs of label and value.
            rate_words: What stands behind the data rate.
        """
        self._values = dict(values)
        self._rate_words.value = rate_words
        family, models = next(
            (family, models)
            for family, models in self._families.items()
            if values["model"] in [name for _, name in models]
        )
        self._writing = True
        try:
            for field, options in {**offered, "model": models}.items():
                wanted = tuple(map(_labelled, options))
                if tuple(self[field].options) != wanted:
                    self[field].options = wanted
            self._family.value = family
            self._preset.value = NO_PRESET
            for control in self._controls:
                control.write(values[control.field])
        finally:
            self._writing = False

    def _moved(self, control: _Control) -> None:
        if not self._writing and not control.shows(self._values[control.field]):
            self._changed({control.field: control.read()})

    def _chose_family(self) -> None:
        if not self._writing:
            self._changed({"model": self._families[self._family.value][0][1]})

    def _chose_preset(self) -> None:
        if not self._writing and self._preset.value in PRESETS:
            rate_bps, round_trip_s = PRESETS[self._preset.value]
            self._changed({"data_rate_bps": rate_bps, "round_trip_s": round_trip_s})


def _control(field: str, knob: Knob, value: Value) -> _Control:
    """The widget that suits a field: a check box, a list, or a number with its unit."""
    if isinstance(value, bool):
        return _Control(field, widgets.Checkbox(description=knob.label, **LOOK))
    if knob.high is None:
        return _Control(field, _dropdown(knob.label, knob.choices))
    # Without a step the arrow keys go up and down by 1; with one they would start from the minimum.
    number = widgets.BoundedIntText if isinstance(value, int) else widgets.BoundedFloatText
    return _Control(field, number(description=knob.label, **LOOK, **_limits(knob)), knob.unit)


def _rate_widgets(knob: Knob) -> tuple[widgets.FloatLogSlider, widgets.BoundedFloatText]:
    """The data rate as a slider and as a number."""
    limits = _limits(knob)
    slider = widgets.FloatLogSlider(
        description=knob.label,
        **{end: math.log10(limit) for end, limit in limits.items()},
        step=RATE_STEP,
        readout=False,
        style=DESCRIPTION,
        layout={**FULL, "flex": "1 1 auto", "min_width": "190px"},
    )
    tooltip = "Data rate in Mbit/s"
    return slider, widgets.BoundedFloatText(tooltip=tooltip, layout={"width": "84px"}, **limits)


def _limits(knob: Knob) -> dict[str, float]:
    return {"min": knob.low / knob.unit, "max": (knob.high or knob.low) / knob.unit}


def _slider(knob: Knob, options: Sequence[Any]) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(description=knob.label, options=options, **LOOK)


def _dropdown(description: str, options: Sequence[str]) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=description, options=[_labelled(option) for option in options], **LOOK
    )


def _labelled(option: Any) -> tuple[str, Any]:
    return option if isinstance(option, tuple) else (LABELS.get(option, f"{option}"), option)


class KeepKeys(anywidget.AnyWidget):
    """An empty element that keeps arrow keys for the controls and the maps.

    JupyterLab takes those of a focused list or map for itself and moves to another cell; Notebook 7
    takes those of a slider as well.
    """

    _esm = """
    export default {
      render({ el }) {
        el.style.display = "none";
        // Decided key by key, before JupyterLab looks: Ctrl+S is JupyterLab's own.
        const keep = ({ target, altKey, ctrlKey, metaKey }) => {
          if (!target.matches?.(".dscwb select, .dscwb .noUi-handle, .dscwb-canvas canvas")) return;
          if (altKey || ctrlKey || metaKey) delete target.dataset.lmSuppressShortcuts;
          else target.dataset.lmSuppressShortcuts = "";
        };
        window.addEventListener("keydown", keep, true);
        return () => window.removeEventListener("keydown", keep, true);
      },
    };
    """


class Line:
    """One line of words under the controls."""

    def __init__(self) -> None:
        """Start empty."""
        self.widget = widgets.HTML()
        self.text = ""

    def say(self, text: str, *, error: bool = False) -> None:
        """Replace the words; an error is announced to screen readers and stands out."""
        self.text = text
        role, colour = ("role='alert'", "var(--jp-error-color1, #b00020)") if error else ("", "")
        look = f"style='line-height: 1.4; padding: 2px; color: {colour}'"
        self.widget.value = f"<div {role} {look}>{html.escape(text)}</div>" if text else ""


def folded(title: str, parts: Sequence[widgets.Widget]) -> widgets.Accordion:
    """Widgets under a title that opens them."""
    return widgets.Accordion([widgets.VBox(parts)], titles=(title,), selected_index=None)


def button(label: str, tooltip: str, action: Callable[[], object]) -> widgets.Button:
    """A button, and what a click does."""
    made = widgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
    made.on_click(lambda _: action())
    return made
