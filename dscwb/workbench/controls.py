"""The workbench's controls: values go to widgets, what a person changes comes back as values."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ipywidgets as widgets

from dscwb.workbench.choices import CHOICES, LIMITS, PRESETS, Value

DESCRIPTION = {"description_width": "140px"}  # the longest description, so that controls line up
FULL = {"width": "auto", "min_width": "0"}
# As many columns as fit: three on a wide screen, one in a narrow window.
GRID = {"grid_template_columns": "repeat(auto-fit, minmax(400px, 1fr))", "grid_gap": "4px 24px"}

MBIT = 1e6  # bit/s
MB = 1e6  # bytes
MS = 1e-3  # seconds
RATE_STEP = 0.02  # of the exponent: a key press changes the rate by 5 %
NO_PRESET = "choose …"
COMMON = (
    ("edge", "Device"),
    ("server", "Server"),
    ("server_speedup", "Assumed speed-up", 1.0),
    ("round_trip_s", "Round trip (ms)", MS),
    ("input_encoding", "Input sent as"),
    ("feature_encoding", "Features sent as"),
    ("baseline", "Compare with"),
)
"""Fields always in sight beside model, rate and batch size: name, description, unit of a number."""
FOLDED = (
    ("granularity", "Split after"),
    ("private_input", "Input stays private"),
    ("min_depth", "Blocks on device ≥", 1.0),
    ("memory_cap_bytes", "Device memory (MB)", MB),
    ("server_load", "Server load (×)", 1.0),
    ("device_slowdown", "Device slower (×)", 1.0),
    ("overhead_bytes", "Overhead (bytes)", 1.0),
    ("downlink_bps", "Downlink (Mbit/s)", MBIT),
    ("arrival_rate_hz", "Samples/s arriving", 1.0),
    ("objective", "Best in"),
    ("compute_w", "Computing (W)", 1.0),
    ("send_w", "Sending (W)", 1.0),
    ("wait_w", "Waiting (W)", 1.0),
)
"""Fields folded away."""
WORDS = {
    "block": "block ends",
    "op": "all layers",
    "compressive": "compressive bottlenecks",
    "energy": "device energy",
}
"""What a list shows for values that are words of the code."""


@dataclass(frozen=True, eq=False)
class _Control:
    """A widget for one field of the state.

    Attributes:
        field: Name of the field.
        widget: The widget.
        unit: What one step of the widget's number is in the field's unit; None for no number.
        digits: Significant digits that its number is rounded to; None for all.
        step: Step of a logarithmic slider, of the exponent of ten; None for other widgets.
    """

    field: str
    widget: Any
    unit: float | None = None
    digits: int | None = None
    step: float | None = None

    def read(self) -> Value:
        """The widget's value in the field's unit."""
        value: Value = self.widget.value
        if self.unit is None:
            return value
        number = float(f"{float(value) * self.unit:.{self.digits or 15}g}")
        return round(number) if isinstance(value, int) else number

    def shows(self, value: Value) -> bool:
        """Whether the widget stands at this value, a slider at the step nearest to it.

        The browser moves a slider that was set between two steps to one of them, and reports that
        as if a hand had done it.
        """
        if self.step is None:
            return self.read() == value
        steps = (math.log10(float(number)) / self.step for number in (self.read(), value))
        return len({round(count) for count in steps}) == 1

    def write(self, value: Value) -> None:
        """Show a value; nothing moves where it is shown already."""
        if self.shows(value):
            return
        if isinstance(self.widget, widgets.Dropdown) and value not in _values(self.widget):
            self.widget.options = (*self.widget.options, _labelled(value))  # chosen from Python
        self.widget.value = (
            value if self.unit is None else float(f"{float(value) / self.unit:.12g}")
        )


class Controls:
    """All controls; their fields are those of `dscwb.workbench.choices.State`."""

    def __init__(
        self,
        families: Mapping[str, Sequence[tuple[str, str]]],
        changed: Callable[[Mapping[str, Value]], None],
    ) -> None:
        """Make them.

        Args:
            families: Models of each family: short name and name, in the slider's order.
            changed: Called with the new value of each field that a person moved.
        """
        self._families = families
        self._changed = changed
        self._writing = False
        self._values: dict[str, Value] = {}
        self._rate_words = widgets.HTML()
        low, high = (math.log10(limit / MBIT) for limit in LIMITS["data_rate_bps"])
        rate = widgets.FloatLogSlider(
            description="Data rate",
            min=low,
            max=high,
            step=RATE_STEP,
            readout=False,
            style=DESCRIPTION,
            layout={**FULL, "flex": "1 1 auto", "min_width": "190px"},
        )
        rate_number = widgets.BoundedFloatText(
            **_limits("data_rate_bps", MBIT),
            tooltip="Data rate in Mbit/s",
            layout={"width": "84px"},
        )
        self._controls = (
            _Control("data_rate_bps", rate, MBIT, digits=3, step=RATE_STEP),
            _Control("data_rate_bps", rate_number, MBIT),
            _Control("batch_size", _slider("Batch size", [1])),
            _Control("model", _slider("Variant", next(iter(families.values())))),
            *(_control(*field) for field in (*COMMON, *FOLDED)),
        )
        for control in self._controls:
            control.widget.observe(lambda _, moved=control: self._moved(moved), "value")
        self._family = _dropdown("Model", list(families))
        self._family.observe(self._chose_family, "value")
        self._preset = _dropdown("Kind of link", [NO_PRESET, *PRESETS])
        self._preset.observe(self._chose_preset, "value")
        rate_row = widgets.HBox([rate, rate_number, self._rate_words], layout=FULL)
        first = [self._family, self["model"], self._preset, self["batch_size"]]
        common = [*first, *(self[field[0]] for field in COMMON)]
        self._folded = widgets.Accordion(
            [_grid([self[field[0]] for field in FOLDED])],
            titles=("More of the scenario",),
            selected_index=None,
        )
        self.widget = widgets.VBox([rate_row, _grid(common), self._folded], layout=FULL)

    def __getitem__(self, field: str) -> Any:
        """The widget of a field; of the data rate the slider."""
        return next(one.widget for one in self._controls if one.field == field)

    def offer(self, field: str, options: Sequence[Any]) -> None:
        """Let a field be chosen from these, values or pairs of label and value."""
        widget = self[field]
        wanted = tuple(_labelled(option) for option in options)
        if tuple(widget.options) != wanted:
            self._quietly(lambda: setattr(widget, "options", wanted))

    def write(self, values: Mapping[str, Value], rate_words: str) -> None:
        """Show the values of all fields, without calling back."""
        self._values = dict(values)
        self._rate_words.value = html.escape(rate_words)
        family = self._family_of(str(values["model"]))

        def write_all() -> None:
            self._family.value = family
            self._preset.value = NO_PRESET
            for control in self._controls:
                control.write(values[control.field])

        self.offer("model", self._families[family])
        self._quietly(write_all)

    def _family_of(self, model: str) -> str:
        return next(
            family for family, models in self._families.items() if model in dict(_turned(models))
        )

    def _quietly(self, action: Callable[[], None]) -> None:
        before, self._writing = self._writing, True
        try:
            action()
        finally:
            self._writing = before

    def _moved(self, control: _Control) -> None:
        if not self._writing and not control.shows(self._values[control.field]):
            self._changed({control.field: control.read()})

    def _chose_family(self, _: Any) -> None:
        if not self._writing:
            self._changed({"model": self._families[self._family.value][0][1]})

    def _chose_preset(self, _: Any) -> None:
        if not self._writing and self._preset.value in PRESETS:
            self._changed(asdict(PRESETS[self._preset.value]))


def _control(field: str, description: str, unit: float | None = None) -> _Control:
    """The widget that suits a field: a check box, a list, or a number with its unit."""
    if field == "private_input":
        box = widgets.Checkbox(description=description, style=DESCRIPTION, layout=FULL)
        return _Control(field, box)
    if unit is None:
        return _Control(field, _dropdown(description, CHOICES.get(field, ())))
    # Without a step the arrow keys go up and down by 1; with one they would start from the minimum.
    number = widgets.BoundedIntText if field == "min_depth" else widgets.BoundedFloatText
    widget = number(description=description, style=DESCRIPTION, layout=FULL, **_limits(field, unit))
    return _Control(field, widget, unit)


def _grid(children: Sequence[Any]) -> widgets.GridBox:
    return widgets.GridBox(children, layout=GRID)


def _slider(description: str, options: Sequence[Any]) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        description=description, options=options, style=DESCRIPTION, layout=FULL
    )


def _dropdown(description: str, options: Sequence[str]) -> widgets.Dropdown:
    return widgets.Dropdown(
        description=description,
        options=[_labelled(option) for option in options],
        style=DESCRIPTION,
        layout=FULL,
    )


def _labelled(option: Any) -> tuple[str, Any]:
    return option if isinstance(option, tuple) else (WORDS.get(option, f"{option}"), option)


def _values(widget: widgets.Dropdown) -> list[Value]:
    return [value for _, value in widget.options]


def _turned(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Pairs of label and value the other way round."""
    return ((value, label) for label, value in pairs)


def _limits(field: str, unit: float) -> dict[str, float]:
    low, high = LIMITS[field]
    return {"min": low / unit, "max": high / unit}


class Line:
    """One line of words under the controls."""

    def __init__(self) -> None:
        """Start empty."""
        self.widget = widgets.HTML()
        self._text = ""

    @property
    def text(self) -> str:
        """The words."""
        return self._text

    def say(self, text: str, *, error: bool = False) -> None:
        """Replace the words; an error is announced to screen readers and stands out."""
        self._text = text
        role, colour = ("role='alert'", "var(--jp-error-color1, #b00020)") if error else ("", "")
        look = f"style='line-height: 1.4; padding: 2px; color: {colour}'"
        self.widget.value = f"<div {role} {look}>{html.escape(text)}</div>" if text else ""


class Progress:
    """How far some longer work is, and a button that ends it; out of sight between times."""

    def __init__(self, words: str, stop: Callable[[], None]) -> None:
        """Start hidden.

        Args:
            words: What is being done.
            stop: Called when a person has had enough of it.
        """
        self._bar = widgets.IntProgress(layout={"width": "120px"})
        label = widgets.Label(words)
        stops = buttons({"Stop": ("Leave it", stop)})
        # Hidden, it keeps its place, so that nothing below jumps when it comes.
        self.widget = widgets.HBox([label, self._bar, stops], layout={"visibility": "hidden"})

    def say(self, done: int, steps: int) -> None:
        """Show how many steps are done."""
        self._bar.max, self._bar.value = steps, done

    def show(self, visible: bool = True) -> None:
        """Come into sight, or leave it."""
        self.widget.layout.visibility = "visible" if visible else "hidden"


def buttons(actions: Mapping[str, tuple[str, Callable[[], None]]]) -> widgets.HBox:
    """A row of buttons: label to tooltip and what a click does."""

    def one(label: str, tooltip: str, action: Callable[[], None]) -> widgets.Button:
        button = widgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"})
        button.on_click(lambda _: action())
        return button

    return widgets.HBox([one(label, *rest) for label, rest in actions.items()])
