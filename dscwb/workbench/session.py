"""The workbench: profiles go in, sliders over best splits and gains come out.

Here is only the state and what follows from a change of it. All numbers come from `study`, all
drawing from `figures` and the views, everything else on the screen from `controls`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from dscwb.figures import (
    plot_compression,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_maps,
    save_figure,
)
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING, holds_input, own_encoding
from dscwb.profiles.records import Profile, scale_profile
from dscwb.shelf import Shelf
from dscwb.study.confidence import Confidence
from dscwb.study.sweeps import FORMATS, Study, study_of
from dscwb.units import BITS_PER_BYTE, encoding, format_number
from dscwb.workbench.canvas import CanvasView
from dscwb.workbench.checks import REPLICATES, Check
from dscwb.workbench.choices import ASSUMED, LIMITS, STUDY_FIELDS, State, Value, baselines
from dscwb.workbench.controls import Controls, Line, buttons
from dscwb.workbench.views import FrontEnd, PlotlyView, StaticView, View
from dscwb.workbench.words import in_words, one_line

PathLike = str | os.PathLike[str]
Backend = Literal["canvas", "widget", "static"]

BACKENDS: dict[str, Callable[[], View]] = {
    "canvas": CanvasView,
    "widget": PlotlyView,
    "static": StaticView,
}
# The range of the slider, forty rates a decade.
DATA_RATES_BPS = np.geomspace(*LIMITS["data_rate_bps"], num=241)
EXPORT_WIDTH = 1280  # pixels: two maps side by side
IMAGES, TABLES, POLICY = ("PNG", "SVG", "PDF", "HTML"), ("CSV", "Parquet"), "Policy"
UNCHECKED = "Not checked how sure every state is; another scenario is checked again."
FIGURES = ("maps", "latency", "breakdown", "compression")


class SplitWorkbench:
    """Sliders over the best split of a model between a device and a server.

    Display it as the last line of a cell. From Python it is driven with `update`.
    """

    def __init__(
        self,
        profiles: PathLike | Profile | Iterable[Profile] = "data/profiles",
        *,
        model: str | None = None,
        server_speedup: float = 20.0,
        backend: Backend = "canvas",
    ) -> None:
        """Open a workbench.

        Args:
            profiles: A folder of profiles, one file, a `Profile` or several. A relative path is
                looked for here and in the folders above, so that notebooks find the shipped data.
            model: The one to start with; the first when left out.
            server_speedup: How many times as fast as the device the server is assumed to be.
            backend: ``canvas`` is the fastest and shows all linked views; ``widget`` shows the maps
                by plotly's FigureWidget; ``static`` draws plain figures anew at each change, for
                front ends in which widgets' figures stay blank (some versions of VS Code, Colab).

        Raises:
            ProfileError: No profiles there, or one that cannot be read.
            ValueError: An unknown model or backend.
        """
        if backend not in BACKENDS:
            raise ValueError(f"Unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
        self._shelf = Shelf(profiles)
        self._past: list[State] = []
        self._future: list[State] = []
        self._last_changed: frozenset[str] = frozenset()
        self._confidence: Confidence | None = None
        self._sure: dict[int, Confidence] = {}
        state = State(model or self._shelf.models[0], server_speedup=server_speedup)
        state = self._fitted(state, {})
        self._study = self._sweep(state)
        self._start = self._state = self._with_data(self._study, state, {})
        self._controls = Controls(
            self._shelf.families(), lambda changes: self._guarded(lambda: self.update(**changes))
        )
        self._answer, self._message = Line(), Line()
        self._check = Check(self._hatch, lambda: self._message.say(UNCHECKED))
        self._text = widgets.Textarea(
            self._state.to_json(), layout={"width": "100%", "height": "80px"}
        )
        self._view = BACKENDS[backend]()
        self._view.on_click(self._clicked)
        self._show()
        self._box = self._layout()

    @property
    def state(self) -> State:
        """What the controls hold now."""
        return self._state

    @property
    def study(self) -> Study:
        """The study behind the picture."""
        return self._study

    @property
    def answer(self) -> str:
        """The sentence under the controls."""
        return self._answer.text

    @property
    def message(self) -> str:
        """The last error, or where the last export went."""
        return self._message.text

    def figure(self, which: str = "maps") -> go.Figure:
        """One of the pictures as a plain figure, to change or save.

        Args:
            which: ``maps``, ``latency``, ``breakdown`` or ``compression``.

        Raises:
            ValueError: Another name.
        """
        study, state = self._study, self._state
        if which == "maps":
            return plot_maps(
                study, baseline=state.baseline, state=state.position, confidence=self._confidence
            )
        if which == "latency":
            return plot_latency_vs_rate(study, state.batch_size, state=state.position)
        if which == "breakdown":
            return plot_latency_breakdown(study, *state.position)
        if which == "compression":
            return plot_compression(study.edge.graph)
        raise ValueError(f"No figure {which!r}; choose one of {', '.join(FIGURES)}.")

    def update(self, **changes: Value) -> None:
        """Change fields of the state, and with them controls, pictures and words.

        What was not asked for moves along where the new model has no such batch size, device or
        server, or the new scenario no such baseline.

        Raises:
            ValueError: A field or value that does not exist; then nothing changes.
            ProfileError: Profiles that do not fit each other; then nothing changes.
        """
        before = self._state
        self._go_to(before.changed(changes), changes)
        changed = frozenset(
            name for name in asdict(before) if getattr(before, name) != getattr(self._state, name)
        )
        if not changed:
            return
        # A slider on its way is one step to undo.
        if changed != self._last_changed or not self._past:
            self._past.append(before)
        self._last_changed = changed
        self._future.clear()

    def undo(self) -> None:
        """Back to the state before the last change; moves of one slider count as one change."""
        self._step(self._past, self._future)

    def redo(self) -> None:
        """Forth again."""
        self._step(self._future, self._past)

    def reset(self) -> None:
        """Back to the state at the start."""
        self.update(**asdict(self._start))

    def load_state(self, state: State | str) -> None:
        """Go to a state, or to one written by `State.to_json`.

        Raises:
            ValueError: No such text, or a state that these profiles do not have; nothing changes.
        """
        self.update(**asdict(State.from_json(state) if isinstance(state, str) else state))

    def check_confidence(self) -> Confidence:
        """Bootstrap the whole grid now, hatch undecided states, and give what was found.

        In a notebook this happens by itself, a moment after the hand rests.
        """
        self._hatch(self._study, self._study.confidence(REPLICATES))
        assert self._confidence is not None
        return self._confidence

    def save(self, path: PathLike, which: str = "maps") -> Path:
        """Write a picture or the numbers; the name's ending decides.

        ``.png``, ``.svg``, ``.pdf`` and standalone ``.html`` are pictures; ``.csv``, ``.parquet``
        and ``.nc`` hold the grid, ``.json`` the policy.

        Args:
            path: File to write.
            which: The picture, as in `figure`.

        Returns:
            The path written.

        Raises:
            ValueError: Another ending, or no such picture.
            FigureError: No browser to draw an image with.
        """
        kind = Path(path).suffix.lower()
        if kind == ".json":
            return self._study.policy().save(path)
        if kind in FORMATS:
            return self._study.save(path)
        return save_figure(self.figure(which), path, width=EXPORT_WIDTH)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._box._repr_mimebundle_(**kwargs)

    def _go_to(self, state: State, changes: Mapping[str, Value]) -> None:
        """Show a state; nothing changes where that is not possible."""
        state = self._fitted(state, changes)
        same = all(getattr(state, name) == getattr(self._state, name) for name in STUDY_FIELDS)
        study = self._study if same else self._sweep(state)
        state = self._with_data(study, state, changes)
        study.baseline_split(state.baseline)
        moved = same and state.baseline == self._state.baseline
        if not same:
            self._confidence, self._sure = None, {}
        self._state, self._study = state, study
        self._text.value = state.to_json()  # not in _show, which comes by itself: a text half typed
        self._show(moved)

    def _step(self, back: list[State], forth: list[State]) -> None:
        if back:
            here, there = self._state, back[-1]
            self._go_to(there, {})
            back.pop()
            forth.append(here)
            self._last_changed = frozenset()

    def _sweep(self, state: State) -> Study:
        edge = self._shelf.profile(state.model, state.edge)
        if state.server == ASSUMED:
            server = scale_profile(edge, state.server_speedup)
        else:
            server = self._shelf.profile(state.model, state.server, like=edge)
        return study_of(edge, server, state.scenario(), DATA_RATES_BPS)

    def _fitted(self, state: State, changes: Mapping[str, Value]) -> State:
        """Machines, encoding and baseline that there are, where no others were asked for."""
        machines = self._shelf.machines(state.model)
        if not state.edge or (state.edge not in machines and "edge" not in changes):
            state = replace(state, edge=machines[0])
        if state.server not in (ASSUMED, *machines) and "server" not in changes:
            state = replace(state, server=ASSUMED)
        graph = self._shelf.profile(state.model, state.edge).graph
        if "input_encoding" not in changes and not holds_input(
            graph, encoding(state.input_encoding)
        ):
            own = own_encoding([spec.dtype for spec in graph.sent])
            state = replace(state, input_encoding=own)
        inputs_stay = state.private_input or state.min_depth > 0
        if inputs_stay and state.baseline == FULL_OFFLOADING and "baseline" not in changes:
            state = replace(state, baseline=NO_OFFLOADING)
        return state

    def _with_data(self, study: Study, state: State, changes: Mapping[str, Value]) -> State:
        """The state's batch size, or the nearest one with times if it was not asked for.

        Raises:
            ValueError: It was asked for, and there are no times for it.
        """
        sizes, size = study.batch_sizes, int(state.batch_size)
        if size in sizes:
            return replace(state, batch_size=size)
        if set(changes) == {"batch_size"}:
            raise ValueError(
                f"No times for batch size {size}; choose one from {min(sizes)} to {max(sizes)}, or "
                "profile it."
            )
        return replace(state, batch_size=min(sizes, key=lambda other: abs(other - size)))

    def _layout(self) -> widgets.VBox:
        actions = {
            "Undo": ("Back to the state before", lambda: self._guarded(self.undo)),
            "Redo": ("Forth again", lambda: self._guarded(self.redo)),
            "Reset": ("Back to the start", lambda: self._guarded(self.reset)),
        }
        exports = {
            kind: (f"Save as {kind} in the notebook's folder", lambda kind=kind: self._export(kind))
            for kind in (*IMAGES, *TABLES, POLICY)
        }
        load = {"Load": ("Go to the state in the text", lambda: self._guarded(self._load_text))}
        share = widgets.Accordion(
            [widgets.VBox([self._text, buttons(load)])],
            titles=("Share: this text brings a colleague to the same picture",),
            selected_index=None,
        )
        box = widgets.VBox(
            [
                FrontEnd(),
                self._controls.widget,
                self._answer.widget,
                self._view.widget,
                widgets.HBox(
                    [buttons(actions), buttons(exports), self._check.progress.widget],
                    layout={"flex_flow": "wrap"},
                ),
                self._message.widget,
                share,
            ]
        )
        return box.add_class("dscwb")

    def _show(self, moved: bool = False) -> None:
        """Bring pictures, controls and sentence up to the state."""
        study, state = self._study, self._state
        words = in_words(study, state, self._confidence_here())
        if moved:
            self._view.move(state.position, words)
        else:
            self._view.show(
                study,
                state=state.position,
                baseline=state.baseline,
                confidence=self._confidence,
                answer=words,
            )
        self._show_words(words)
        if self._confidence is None:
            self._check.begin(study)

    def _show_words(self, words: str) -> None:
        study, state = self._study, self._state
        machines = self._shelf.machines(state.model)
        marks = zip(study.batch_sizes, study.lines.interpolated, strict=True)
        sizes = [(f"≈ {size}" if between else f"{size}", size) for size, between in marks]
        self._controls.offer("batch_size", sizes)
        self._controls.offer("edge", machines)
        self._controls.offer("server", (ASSUMED, *machines))
        self._controls.offer("baseline", baselines(study))
        megabytes = format_number(state.data_rate_bps / BITS_PER_BYTE / 1e6)
        self._controls.write(asdict(state), f"Mbit/s = {megabytes} MB/s")
        self._answer.say(words)

    def _confidence_here(self) -> Confidence:
        """The bootstrap of the current batch size alone, which takes milliseconds."""
        if self._confidence is not None:
            return self._confidence
        size, study = self._state.batch_size, self._study
        if size not in self._sure:
            row = study_of(study.edge, study.server, study.scenario, [1e6], [size])
            self._sure[size] = row.confidence(REPLICATES)
        return self._sure[size]

    def _hatch(self, study: Study, confidence: Confidence) -> None:
        if study is self._study:
            self._confidence = confidence
            self._show()

    def _clicked(self, data_rate_bps: float, batch_size: int) -> None:
        rate = float(f"{data_rate_bps:.3g}")
        self._guarded(lambda: self.update(data_rate_bps=rate, batch_size=batch_size))

    def _load_text(self) -> None:
        self.load_state(self._text.value)

    def _export(self, kind: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = re.sub(r"[^\w.-]+", "-", self._state.model)
        ending = "json" if kind == POLICY else kind.lower()
        path = Path.cwd() / f"dscwb-{name}-{stamp}.{ending}"
        self._message.say(f"Writing {path.name} …")
        self._guarded(lambda: f"Saved {self.save(path)}")

    def _guarded(self, action: Callable[[], str | None]) -> None:
        """Do what a person asked for; say beside the controls what came of it.

        An error is raised again: the browser shows its log to nobody, a test sees it.
        """
        try:
            self._message.say(action() or "")
        except Exception as error:
            # Controls back to what the picture shows.
            self._show_words(self._answer.text)
            self._message.say(one_line(error), error=True)
            raise
