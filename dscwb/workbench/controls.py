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
COMMON = ("edge", "server", "server_speedup", "round_trip_s", "input_encoding", "feature_encoding")
"""Fields that are always in sight beside model, data rate, batch size and baseline."""


def _widget(kind: Any, field: str, **more: Any) -> Any:
    """A widget of this kind for a field, with its words and limits."""
    knob = KNOBS[field]
    unit = f" ({knob.unit})" if knob.unit and kind is not widgets.FloatLogSlider else ""
    if knob.high is not None and "options" not in more:
        more = {"min": knob.low / knob.scale, "max": knob.high / knob.scale} | more
    words = {"description": f"{knob.label}{unit}", "tooltip": knob.help, "style": DESCRIPTION}
    return kind(**words | {"layout": FULL} | more)


def _suitable(field: str, value: Value) -> Any:
    """A check box, a list or a number. Without a step the arrow keys change a number by 1."""
    if isinstance(value, bool):
        return _widget(widgets.Checkbox, field)
    if KNOBS[field].high is None:
        return _widget(widgets.Dropdown, field, options=_labelled(KNOBS[field].choices))
    whole = isinstance(value, int)
    return _widget(widgets.BoundedIntText if whole else widgets.BoundedFloatText, field)


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
        knob = KNOBS["data_rate_bps"]
        ends = {
            "min": math.log10(knob.low / knob.scale),
            "max": math.log10((knob.high or 1) / knob.scale),
        }
        wide = {**FULL, "flex": "1 1 auto", "min_width": "190px"}
        slider, narrow = widgets.FloatLogSlider, {"width": "84px"}
        rate = _widget(slider, "data_rate_bps", step=RATE_STEP, readout=False, layout=wide, **ends)
        self.number = _widget(
            widgets.BoundedFloatText, "data_rate_bps", description="", layout=narrow
        )
        self.rate_words = widgets.Label()
        lists = {"batch_size": [1], "model": next(iter(families.values()))}
        self._widgets = {
            "data_rate_bps": rate,
            **{name: _widget(widgets.SelectionSlider, name, options=lists[name]) for name in lists},
        }
        rest = [name for name in KNOBS if name not in self._widgets]
        self._widgets |= {name: _suitable(name, values[name]) for name in rest}
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
        folded_away = [self[name] for name in rest if name not in (*COMMON, "baseline")]
        first = [self.family, self["model"], self.preset, self["batch_size"]]
        first += [self[name] for name in (*COMMON, "baseline")]
        parts = [
            widgets.HBox([rate, self.number, self.rate_words], layout=FULL),
            widgets.GridBox(first, layout=GRID),
            folded("More of the scenario", [widgets.GridBox(folded_away, layout=GRID)]),
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
