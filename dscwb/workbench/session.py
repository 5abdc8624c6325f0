"""The workbench: sliders over the best split of a model, its gain, and everything behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
import plotly.graph_objects as go

from dscwb.devices.machines import Library
from dscwb.figures import save_figure
from dscwb.figures.save import FigureError
from dscwb.profiles.library import PathLike, ProfileLike
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.study.tables import FORMATS
from dscwb.workbench.canvas import Canvas
from dscwb.workbench.controls import Controls, KeepKeys, Line, button, folded
from dscwb.workbench.hatching import REPLICATES, Hatching
from dscwb.workbench.shown import Shown, View, completed, shown
from dscwb.workbench.state import KNOBS, State, Value
from dscwb.workbench.static import Static, figure

Backend = Literal["canvas", "static"]

BACKENDS: dict[str, type[View]] = {"canvas": Canvas, "static": Static}
EXPORT_WIDTH = 1280  # pixels: two maps side by side
EXPORTS = {
    **{kind: kind.lower() for kind in ("PNG", "SVG", "PDF", "HTML", "CSV", "Parquet")},
    "Policy": "json",
}
"""Buttons and the endings of the files that they write."""
UNCHECKED = "Not checked how sure every state is; another scenario is checked again."


class SplitWorkbench:
    """Sliders over the best split of a model between a device and a server.

    Display it as the last line of a cell. From Python it is driven with `update`.
    """

    def __init__(
        self,
        profiles: ProfileLike | Iterable[ProfileLike] = "data/profiles",
        *,
        model: str | None = None,
        server_speedup: float = 20.0,
        backend: Backend = "canvas",
    ) -> None:
        """Open a workbench.

        Args:
            profiles: A folder of profiles, a shipped model's name, or one or several profiles or
                their files. A relative path is looked for here and in the folders above, so that
                notebooks find the shipped data. Files of a folder that are no profiles are left
                out, and the message line says which.
            model: The one to start with; the first when left out.
            server_speedup: How many times as fast as the device the server is assumed to be.
            backend: ``canvas`` shows all linked views and hears clicks; ``static`` draws plain
                figures anew at each change, for front ends in which the canvas stays blank (some
                versions of VS Code, Colab).

        Raises:
            ProfileError: No profiles there, or one that cannot be read.
            ValueError: An unknown model or backend.
        """
        if backend not in BACKENDS:
            raise ValueError(f"Unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
        self._library, self._view = Library(profiles), BACKENDS[backend]()
        self._moving: set[str] = set()
        state = State(model or self._library.models[0], server_speedup=server_speedup)
        self._shown = shown(self._library, self._view, state)
        self._history, self._at = [self.state], 0  # from the start on, and which is shown
        self._controls = Controls(
            self._library.families(),
            self.state.values(),
            lambda changes: self._guarded(lambda: self.update(**changes)),
        )
        self._answer, self._message = Line(), Line()
        self._text = widgets.Textarea(layout={"width": "100%", "height": "80px"})
        self._hatching = Hatching(self._hatch, lambda: self._message.say(UNCHECKED))
        self._undo = self._button("Undo", "Back to the state before", self.undo)
        self._redo = self._button("Redo", "Forth again", self.redo)
        self._box = self._layout()
        self._show(self._shown)
        self._message.say(" ".join(self._library.left_out))
        if backend == "canvas":
            self._view.observe(lambda change: self._pointed(change["new"]), "clicked")

    @property
    def state(self) -> State:
        """What the controls hold now."""
        return self._shown.state

    @property
    def study(self) -> Study:
        """The study behind the picture."""
        return self._shown.study

    @property
    def answer(self) -> str:
        """The sentence under the controls."""
        return self._shown.answer

    @property
    def message(self) -> str:
        """The last error, or where the last export went."""
        return self._message.text

    def figure(self, which: str = "maps") -> go.Figure:
        """One of the pictures as a plain figure: maps, latency, breakdown or compression.

        Raises:
            ValueError: Another name.
        """
        return figure(which, self.study, self.state, self._shown.confidence)

    def update(self, **changes: Value) -> None:
        """Change fields of the state, and with them controls, pictures and words.

        What was not asked for moves along where the new model has no such batch size, device or
        server, or the new scenario no such baseline.

        Raises:
            ValueError: A field or value that does not exist; then nothing changes.
            ProfileError: Profiles that do not fit each other; then nothing changes.
        """
        before = self.state
        self._go_to(before.changed(changes), changes)
        old, new = before.values(), self.state.values()
        changed = {name for name in new if new[name] != old[name]}
        if not changed:
            return
        # A number on its way, or the mark in a map, is one step to undo; choices are one each.
        numbers = [name for name in changed if KNOBS[name].high is not None]
        on_its_way = changed <= {"data_rate_bps", "batch_size"} or len(changed) == len(numbers) == 1
        self._at += not (on_its_way and changed == self._moving)
        self._history[self._at :] = [self.state]
        self._moving = changed
        self._allow_steps()

    def undo(self) -> None:
        """Back to the state before the last change; moves of one slider count as one change."""
        self._step(-1)

    def redo(self) -> None:
        """Forth again."""
        self._step(1)

    def reset(self) -> None:
        """Back to the state at the start."""
        self.update(**self._history[0].values())

    def load_state(self, state: State | str) -> None:
        """Go to a state, or to one written by `State.to_json`.

        Raises:
            ValueError: No such text, or a state that these profiles do not have; nothing changes.
        """
        self.update(**(State.from_json(state) if isinstance(state, str) else state).values())

    def check_confidence(self) -> Confidence:
        """Bootstrap the whole grid now, hatch undecided states, and give what was found.

        In a notebook this happens by itself, a moment after the hand rests.
        """
        confidence = self.study.confidence(REPLICATES)
        self._hatch(self.study, confidence)
        return confidence

    def save(self, path: PathLike, which: str = "maps") -> Path:
        """Write a picture or the numbers, and give the path; the name's ending decides.

        ``.png``, ``.svg``, ``.pdf`` and standalone ``.html`` are pictures, `which` as in `figure`;
        ``.csv``, ``.parquet`` and ``.nc`` hold the grid, ``.json`` the policy.

        Raises:
            ValueError: Another ending, or no such picture.
            FigureError: No browser to draw an image with.
        """
        kind = Path(path).suffix.lower()
        if kind == ".json":
            return self.study.policy().save(path)
        if kind in FORMATS:
            return self.study.save(path)
        return save_figure(self.figure(which), path, width=EXPORT_WIDTH)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._box._repr_mimebundle_(**kwargs)

    def _go_to(self, state: State, asked: Collection[str] = ()) -> None:
        """Show a state; nothing at all changes where that is not possible."""
        self._show(shown(self._library, self._view, state, asked=asked, before=self._shown))
        self._text.value = self.state.to_json()

    def _step(self, by: int) -> None:
        at = self._at + by
        if 0 <= at < len(self._history):
            self._go_to(self._history[at])
            self._at, self._moving = at, set()
            self._allow_steps()

    def _allow_steps(self) -> None:
        self._undo.disabled, self._redo.disabled = not self._at, self._at + 1 == len(self._history)

    def _layout(self) -> widgets.VBox:
        reset = self._button("Reset", "Back to the start", self.reset)
        words, text = "Go to the state in the text", self._text
        load = self._button("Load", words, lambda: self.load_state(text.value))
        actions = [self._undo, self._redo, reset]
        for kind in EXPORTS:
            words = f"Save as {kind} in the notebook's folder"
            actions.append(button(kind, words, partial(self._export, kind)))
        parts = [
            KeepKeys(),
            self._controls.widget,
            self._answer,
            self._view,
            widgets.HBox([*actions, self._hatching.widget], layout={"flex_flow": "wrap"}),
            self._message,
            folded("Share: this text brings a colleague to the same picture", [text, load]),
        ]
        text.value = self.state.to_json()
        self._allow_steps()
        return widgets.VBox(parts).add_class("dscwb")

    def _button(self, label: str, tooltip: str, action: Callable[[], None]) -> widgets.Button:
        return button(label, tooltip, lambda: self._guarded(action))

    def _show(self, new: Shown) -> None:
        """Put it on the screen."""
        self._shown = new
        with self._view.hold_sync():
            for name, value in new.picture.items():
                setattr(self._view, name, value)
        self._show_controls()
        if new.confidence is None:
            self._hatching.begin(new.study)

    def _show_controls(self) -> None:
        self._controls.write(self.state.values(), self._shown.offered)
        self._answer.say(self.answer)

    def _hatch(self, study: Study, confidence: Confidence) -> None:
        if study is self.study:  # a text half typed stays: nobody asked for this
            self._show(completed(replace(self._shown, confidence=confidence), self._view))

    def _pointed(self, at: Mapping[str, Any]) -> None:
        """A person pointed at a place in a map, of this study or of one that is gone."""
        size, rate = int(at["batch_size"]), float(f"{at['data_rate_bps']:.3g}")
        if size in self.study.batch_sizes:
            self._guarded(lambda: self.update(batch_size=size, data_rate_bps=rate))

    def _export(self, kind: str) -> None:
        model = re.sub(r"[^\w.-]+", "-", self.state.model)
        stem = f"dscwb-{model}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        # Several within a second are numbered.
        names = (f"{stem}{end}.{EXPORTS[kind]}" for end in ("", *(f"-{k}" for k in range(2, 1000))))
        path = next(Path.cwd() / name for name in names if not Path(name).exists())
        self._message.say(f"Writing {path.name} …")
        self._guarded(lambda: f"Saved {self.save(path)}")

    def _guarded(self, action: Callable[[], str | None]) -> None:
        """Do what a person asked for; say beside the controls what came of it.

        An error is raised again: the browser shows its log to nobody, a test sees it.
        """
        try:
            self._message.say(action() or "")
        except Exception as error:
            self._show_controls()  # back to what the picture shows
            text = " ".join(str(error).split())
            own = isinstance(error, ValueError | FigureError)  # brings the remedy with it
            self._message.say(text if own else f"{type(error).__name__}: {text}", error=True)
            raise
