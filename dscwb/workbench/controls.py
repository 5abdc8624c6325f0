"""The workbench's controls: values go to widgets, what a person changes comes back as values."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import anywidget
import ipywidgets as widgets

from dscwb.scenario import CANDIDATES
from dscwb.units import BITS_PER_BYTE, format_number, shown_name
from dscwb.workbench.state import KNOBS, PRESETS, Value

DESCRIPTION = {"description_width": "140px"}  # the longest description, so that controls line up
FULL = {"width": "auto", "min_width": "0"}
# As many columns as fit: three on a wide screen, one in a narrow window.
GRID = {"grid_template_columns": "repeat(auto-fit, minmax(400px, 1fr))", "grid_gap": "4px 24px"}
RATE_STEP = 0.02  # of the exponent: a key press changes the rate by 5 %
NO_PRESET = "choose …"
LABELS = {**CANDIDATES, "energy": "device energy"}
"""What a list shows for values that are words of the code."""
SENT = ("input_encoding", "feature_encoding")
COMMON = ("edge", "server", "server_speedup", "round_trip_s", *SENT, "baseline")
"""Fields that are always in sight beside model, data rate and batch size."""


def _widget(field: str, value: Value) -> Any:
    """The widget that suits a field: a check box, a list, a slider, or a number with its unit."""
    knob, kind = KNOBS[field], widgets.Dropdown
    more: dict[str, Any] = {}
    unit, limits = f" ({knob.unit})" if knob.unit else "", _limits(field)
    if field == "data_rate_bps":
        kind, unit, more = widgets.FloatLogSlider, "", {"step": RATE_STEP, "readout": False}
        more |= {end: math.log10(limit) for end, limit in limits.items()}
    elif field in ("batch_size", "model"):
        kind, more = widgets.SelectionSlider, {"options": [value]}
    elif isinstance(value, bool):
        kind = widgets.Checkbox
    elif knob.high is None:
        more = {"options": _labelled(knob.choices)}
    else:  # without a step the arrow keys change it by 1
        whole = isinstance(value, int)
        kind, more = widgets.BoundedIntText if whole else widgets.BoundedFloatText, limits
    words = {"description": f"{knob.label}{unit}", "tooltip": knob.help}
    return kind(**words, style=DESCRIPTION, layout=FULL, **more)


def _limits(field: str) -> dict[str, float]:
    knob = KNOBS[field]
    return {"min": knob.low / knob.scale, "max": (knob.high or knob.low) / knob.scale}


def _labelled(options: Iterable[Any]) -> tuple[tuple[str, Any], ...]:
    pairs = (one if isinstance(one, tuple) else (LABELS.get(one, one), one) for one in options)
    return tuple(pairs)


def _read(field: str, widget: Any) -> Value:
    """A widget's value in the field's unit; three digits are enough for the slider of rates."""
    value: Value = widget.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    digits = 3 if isinstance(widget, widgets.FloatLogSlider) else 15
    number = float(f"{value * KNOBS[field].scale:.{digits}g}")
    return round(number) if isinstance(value, int) else number


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
        self._families, self._changed, self._values = families, changed, dict(values)
        self._writing = False
        self._widgets = {name: _widget(name, value) for name, value in values.items()}
        narrow = {"tooltip": "Data rate in Mbit/s", "layout": {"width": "84px"}}
        self.number = widgets.BoundedFloatText(**narrow, **_limits("data_rate_bps"))
        self.rate_words = widgets.Label()
        self.family, self.preset = (
            widgets.Dropdown(description=words, options=options, style=DESCRIPTION, layout=FULL)
            for words, options in (
                ("Model", list(families)),
                ("Kind of link", [NO_PRESET, *PRESETS]),
            )
        )
        for field, widget in self.of_fields():
            widget.observe(lambda _, at=(field, widget): self._moved(*at), "value")
        self.family.observe(lambda _: self._chose_family(), "value")
        self.preset.observe(lambda _: self._chose_preset(), "value")
        rate, *shown = (self[name] for name in ("data_rate_bps", "model", "batch_size", *COMMON))
        rate.layout = {**FULL, "flex": "1 1 auto", "min_width": "190px"}
        shown = [self.family, shown[0], self.preset, *shown[1:]]
        rest = [one for one in self._widgets.values() if one not in (rate, *shown)]
        parts = [
            widgets.HBox([rate, self.number, self.rate_words], layout=FULL),
            widgets.GridBox(shown, layout=GRID),
            folded("More of the scenario", [widgets.GridBox(rest, layout=GRID)]),
        ]
        self.widget = widgets.VBox(parts, layout=FULL)

    def __getitem__(self, field: str) -> Any:
        """The widget of a field; of the data rate the slider."""
        return self._widgets[field]

    def of_fields(self) -> Iterable[tuple[str, Any]]:
        """Fields and their widgets; the data rate has two."""
        return *self._widgets.items(), ("data_rate_bps", self.number)

    def shows(self, field: str, widget: Any, values: Mapping[str, Value]) -> bool:
        """Whether a widget stands at the field's value, the slider of rates at the nearest step.

        The browser moves a slider that was set between two steps to one of them, and reports that
        as if a hand had done it.
        """
        value, scale = values[field], KNOBS[field].scale
        if isinstance(widget, widgets.FloatLogSlider):
            steps = (math.log10(rate) / RATE_STEP for rate in (widget.value * scale, float(value)))
            return len({round(step) for step in steps}) == 1
        return _read(field, widget) == value

    def write(self, values: Mapping[str, Value], offered: Mapping[str, Sequence[Any]]) -> None:
        """Show the values of all fields, without calling back.

        Args:
            values: Of every field.
            offered: What some fields are chosen from: values, or pairs of label and value.
        """
        self._values = dict(values)
        megabytes = format_number(float(values["data_rate_bps"]) / BITS_PER_BYTE / 1e6)
        self.rate_words.value = f"Mbit/s = {megabytes} MB/s"
        family, models = next(
            (family, models)
            for family, models in self._families.items()
            if values["model"] in dict(models).values()
        )
        self._writing = True
        try:
            for field, options in {**offered, "model": models}.items():
                wanted, value = _labelled(options), values[field]
                if value not in [known for _, known in wanted]:  # a split, chosen from Python
                    wanted = (*wanted, (shown_name(f"{value}"), value))
                if tuple(self[field].options) != wanted:
                    self[field].options = wanted
            self.family.value, self.preset.value = family, NO_PRESET
            for field, widget in self.of_fields():
                if not self.shows(field, widget, values):  # else nothing moves
                    value, scale = values[field], KNOBS[field].scale
                    plain = isinstance(value, bool | str)
                    widget.value = value if plain else float(f"{float(value) / scale:.12g}")
        finally:
            self._writing = False

    def _moved(self, field: str, widget: Any) -> None:
        if not self._writing and not self.shows(field, widget, self._values):
            self._changed({field: _read(field, widget)})

    def _chose_family(self) -> None:
        if not self._writing:
            self._changed({"model": self._families[self.family.value][0][1]})

    def _chose_preset(self) -> None:
        if not self._writing and self.preset.value in PRESETS:
            rate_bps, round_trip_s = PRESETS[self.preset.value]
            self._changed({"data_rate_bps": rate_bps, "round_trip_s": round_trip_s})


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


class Line(widgets.HTML):  # type: ignore[misc]  # it has no types of its own
    """One line of words under the controls."""

    text = ""

    def say(self, text: str, *, error: bool = False) -> None:
        """Replace the words; an error is announced to screen readers and stands out."""
        self.text = text
        role, colour = ("role='alert'", "var(--jp-error-color1, #b00020)") if error else ("", "")
        look = f"style='line-height: 1.4; padding: 2px; color: {colour}'"
        self.value = f"<div {role} {look}>{html.escape(text)}</div>" if text else ""


def folded(title: str, parts: Sequence[widgets.Widget]) -> widgets.Accordion:
    """Widgets under a title that opens them."""
    return widgets.Accordion([widgets.VBox(parts)], titles=(title,), selected_index=None)


def button(label: str, tooltip: str, action: Callable[[], object]) -> widgets.Button:
    """A button, and what a click does."""
    made = widgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
    made.on_click(lambda _: action())
    return made
