"""The workbench: sliders over the best split of a model, its gain, and everything behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dscwb.devices.machines import Library
from dscwb.profiles.library import PathLike, ProfileLike
from dscwb.study import Study, sweep
from dscwb.study.confidence import Confidence
from dscwb.study.sureness import undecided
from dscwb.study.tables import FORMATS
from dscwb.workbench.answer import answer, sure_of
from dscwb.workbench.fitted import fitted, started, study_of
from dscwb.workbench.hatching import REPLICATES, Hatching
from dscwb.workbench.page import ARRAYS, checked, framed, page
from dscwb.workbench.pair import pair
from dscwb.workbench.screen import Screen, pair_key, tables
from dscwb.workbench.state import ASSUMED, KNOBS, State, Value
from dscwb.writing import atomically

if TYPE_CHECKING:  # pictures of plotly's, which a second of imports precedes
    import plotly.graph_objects as go

EXPORT_WIDTH = 1280  # pixels: two maps side by side
LINKED = ("data_rate_bps", "batch_size", "model")
"""Fields that are traits of their own, to which other widgets can be linked."""
LONGEST_PAST = 100  # states that undoing leads to
UNCHECKED = "Not checked how sure every state is; another scenario is checked again."


class SplitWorkbench(Screen):
    """Sliders over the best split of a model between a device and a server.

    Display it as the last line of a cell. From Python it is driven with `update`; its traits
    ``data_rate_bps``, ``batch_size`` and ``model`` can be linked to other widgets.
    """

    def __init__(
        self,
        profiles: ProfileLike | Iterable[ProfileLike] = "data/profiles",
        *,
        model: str | None = None,
        server_speedup: float = 20.0,
    ) -> None:
        """Open a workbench.

        Args:
            profiles: A folder of profiles, a shipped model's name, or one or several profiles or
                their files. A relative path is looked for here and in the folders above, so that
                notebooks find the shipped data. Files of a folder that are no profiles are left
                out, and the message line says which.
            model: The one to start with; left out, one that a split suits if it is there, else the
                first.
            server_speedup: How many times as fast as the device an assumed server is.

        Raises:
            ProfileError: No profiles there, or one that cannot be read.
            ValueError: An unknown model, or a speed-up beyond its limits.
        """
        self._library = Library(profiles)
        start = started(self._library, model, server_speedup)
        self._state, study = fitted(self._library, start)
        self._study: Study | None = study
        self._sure: Confidence | None = None
        self._rows: dict[int, Confidence] = {}  # of single batch sizes, which takes milliseconds
        self._moving: set[str] = set()  # a slider on its way
        self._hatching = Hatching(self._hatch, lambda share: setattr(self, "checking", share))
        super().__init__(
            tables=tables(self._library, self._state),
            message=" ".join(self._library.left_out),
            **self._on_screen(),
        )
        self.observe(lambda _: self._heard(), ["shown", *LINKED])
        self.on_msg(lambda _, content, buffers: self._told(content))
        self._hatching.begin(lambda: self.study)

    @property
    def state(self) -> State:
        """What the controls hold now."""
        return self._state

    @property
    def study(self) -> Study:
        """The study behind the picture."""
        if self._study is None:
            self._study = study_of(self._library, self._state)
        return self._study

    @property
    def answer(self) -> str:
        """What to do in this state, what it is worth, and how sure that is."""
        state, study = self._state, self.study
        known = self._sure or self._rows.get(state.batch_size)
        if known is None:
            machines, size = (study.edge, study.server), [state.batch_size]
            row = sweep(*machines, study.scenario, data_rates_bps=[1e6], batch_sizes=size)
            known = self._rows[state.batch_size] = row.confidence(REPLICATES)
        sure = sure_of(known, state.batch_size, state.data_rate_bps)
        return str(answer(study, state, sure))

    def figure(self, which: str = "maps") -> go.Figure:
        """One of the pictures as a plain figure: maps, latency, breakdown or compression.

        Raises:
            ValueError: Another name.
        """
        from dscwb.workbench.figure import figure

        return figure(which, self.study, self._state, self._sure)

    def update(self, **changes: Value) -> None:
        """Change fields of the state, and with them controls, pictures and words.

        What was not asked for moves along where the new model has no such batch size, device or
        server, or the new scenario no such baseline.

        Raises:
            ValueError: A field or value that does not exist; then nothing changes.
            ProfileError: Profiles that do not fit each other; then nothing changes.
        """
        old = self.shown
        known = self._state, self.study
        state, study = fitted(self._library, self._state.changed(changes), changes, known)
        new = state.values()
        changed = {name for name in new if new[name] != old[name]}
        if not changed:
            return
        # A number on its way, or the mark in a map, is one step to undo; choices are one each.
        numbers = [name for name in changed if KNOBS[name].high is not None]
        on_its_way = changed <= {"data_rate_bps", "batch_size"} or len(changed) == len(numbers) == 1
        past = self.past
        if not (on_its_way and changed == self._moving):
            past = [*past, old][-LONGEST_PAST:]
        self._show(state, study, past=past, future=[])
        self._moving = changed

    def undo(self) -> None:
        """Back to the state before the last change; moves of one slider count as one change."""
        if self.past:
            *past, state = self.past
            self._go_to(state, past=past, future=[*self.future, self.shown])

    def redo(self) -> None:
        """Forth again."""
        if self.future:
            *future, state = self.future
            self._go_to(state, past=[*self.past, self.shown], future=future)

    def reset(self) -> None:
        """Back to the state at the start."""
        self.update(**self.tables["start"])

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
        from dscwb.figures import save_figure

        return save_figure(self.figure(which), path, width=EXPORT_WIDTH)

    def save_page(self, path: PathLike, *, all_models: bool = False) -> Path:
        """Write one HTML file with this very screen: it needs no kernel and no network.

        It begins with this state and holds every machine that this model was measured on. How sure
        the states are is found first, for this scenario alone.

        Args:
            path: The file, ``.html``.
            all_models: Hold every model of this workbench, not only the one shown.

        Returns:
            The path written.

        Raises:
            ValueError: Another ending.
        """
        path = checked(path)
        if not self.confidence:
            self.check_confidence()
        with atomically(path) as file:
            file.write_text(self._page(all_models=all_models), encoding="utf-8")
        return path

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """What the browser is told: for a page that opens, also the pair that is shown."""
        told: dict[str, Any] = super().get_state(key, drop_defaults)
        if key is None:
            told["pairs"] = {pair_key(self._state): self._pair(self._state)}
        return told

    def _ipython_display_(self) -> None:
        """The widget, and what stands in its place on a page that is made of the notebook."""
        from IPython.display import publish_display_data

        live = self._repr_mimebundle_() or ({}, {})
        for data, metadata in (live, ({"text/html": framed(self._page(), self.model_id)}, {})):
            publish_display_data(data, metadata)  # type: ignore[no-untyped-call]

    def _on_screen(self) -> dict[str, Any]:
        """What the browser must be told to show the state."""
        values = self._state.values()
        return {"shown": values} | {name: values[name] for name in LINKED}

    def _pair(self, state: State, held: Collection[str] = ()) -> dict[str, Any]:
        """What the browser is told of a state's profiles, without those that it holds."""
        edge = self._library.profile(state.model, state.edge)
        if state.server == ASSUMED:
            return pair((state.edge, edge), None, held)
        server = self._library.profile(state.model, state.server, like=edge)
        return pair((state.edge, edge), (state.server, server), held)

    def _go_to(self, values: Mapping[str, Any], **history: Any) -> None:
        state, study = fitted(self._library, State.of(values), values, (self._state, self.study))
        self._show(state, study, **history)
        self._moving = set()

    def _show(self, state: State, study: Study, **history: Any) -> None:
        """Put it on the screen."""
        self._take(state, study)
        self._tell(**self._on_screen(), **history)

    def _tell(self, **traits: Any) -> None:
        """Set all of these at once, for the browser and for whoever observes one of them."""
        with self.hold_sync(), self.hold_trait_notifications():
            for name, value in traits.items():
                setattr(self, name, value)

    def _take(self, state: State, study: Study | None) -> None:
        """Hold a state; its study is found when it is needed."""
        same, self._state = state.question == self._state.question, state
        if not same:
            self._study, self._sure, self._rows = study, None, {}
            self.confidence = {}
            self._hatching.begin(lambda: self.study)

    def _heard(self) -> None:
        """The hand moved the state in the browser, or a linked widget one of its fields."""
        values = self._state.values()
        moved = {
            name: getattr(self, name) for name in LINKED if getattr(self, name) != values[name]
        }
        try:
            if self.shown != values:
                self._take(State.of(self.shown), None)
                self._moving = set()
            elif moved:
                self.update(**moved)
        except ValueError as error:
            self.message = f"{error}"
            raise
        finally:  # also where it was refused: back to what holds
            self._tell(**{name: self._state.values()[name] for name in LINKED})
            self.shown = self._state.values()

    def _send_pair(self, wanted: str, held: list[str]) -> None:
        """Answer the browser, which asks for a pair of profiles that it has not got."""
        model, edge, server = wanted.split("\n")
        buffers: list[bytes] = []
        try:
            told = self._pair(State(model, edge, server), held)
        except ValueError as error:
            told = {"refused": f"{error}"}
        machines = [one for one in told.values() if isinstance(one, dict) and "id" in one]
        for machine in machines:
            for name in ARRAYS:
                if machine[name] is not None:
                    buffers.append(machine[name])
                    machine[name] = len(buffers) - 1
        self.send({"pair": wanted} | told, buffers)

    def _told(self, content: Any) -> None:
        """What the browser asks for."""
        if content == "stop":
            self._hatching.stop()
            self.message = UNCHECKED
        elif content == "page":
            self.send("page", [self._page().encode()])
        elif isinstance(content, dict) and "wanted" in content:
            self._send_pair(**content)

    def _page(self, *, all_models: bool = False) -> str:
        models = self._library.models if all_models else [self._state.model]
        return page(self._library, self._state, models=models, confidence=self.confidence)

    def _hatch(self, study: Study, confidence: Confidence) -> None:
        if study is not self._study:
            return
        self._sure = confidence
        (low, high), rates = study.rate_range, study.data_rates_bps
        self.confidence = {
            "state": self._state.values(),
            "batch_sizes": study.batch_sizes,
            # A cell reaches half way to the next rate.
            "edges_bps": [low, *np.sqrt(rates[:-1] * rates[1:]).tolist(), high],
            "probability": confidence.probability.round(3).ravel().tolist(),
            "whose": sure_of(confidence, study.batch_sizes[0], low).whose,
            "undecided": undecided(study, confidence.undecided).tolist(),
        }
