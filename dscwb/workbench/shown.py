"""All that a state puts on the screen, found before any of it is put there.

So a state is either shown in all its parts, or refused and nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dscwb.cost import fitting
from dscwb.devices.machines import Library
from dscwb.profiles.library import scale_profile
from dscwb.scenario import DATA_RATES_BPS
from dscwb.study import Study, sweep
from dscwb.study.confidence import Confidence
from dscwb.study.study import BASELINES, identified
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, shown_name
from dscwb.workbench.answer import in_words
from dscwb.workbench.canvas import Canvas
from dscwb.workbench.hatching import REPLICATES
from dscwb.workbench.state import ASSUMED, State
from dscwb.workbench.static import Static

View = Canvas | Static


@dataclass(frozen=True, eq=False)
class Shown:
    """What is on the screen.

    Attributes:
        state: What the controls hold.
        study: The study behind the picture.
        offered: What the lists of the controls hold.
        confidence: Of the whole grid, once that is known.
        rows: Of single batch sizes, which takes milliseconds; filled as they are asked for.
        answer: The sentence under the controls.
        picture: Traits of the view's widget.
    """

    state: State
    study: Study
    offered: Mapping[str, tuple[Any, ...]]
    confidence: Confidence | None = None
    rows: dict[int, Confidence] = field(default_factory=dict)
    answer: str = ""
    picture: Mapping[str, Any] = field(default_factory=dict)


def shown(
    library: Library,
    view: View,
    state: State,
    *,
    asked: Collection[str] = (),
    before: Shown | None = None,
) -> Shown:
    """Everything that shows a state; what is on the screen, `before`, is not changed.

    Fields that were not `asked` for move along where they must.

    Raises:
        ValueError: A state that cannot be shown; `ProfileError` is one too.
    """
    state = _fitted(library, state, asked)
    if before is not None and before.state.question == state.question:
        state = _on_grid(state, before.study, asked)
        moved = state.baseline == before.state.baseline
        return completed(replace(before, state=state), view, moved=moved)
    study = _sweep(library, state)
    state, machines = _on_grid(state, study, asked), library.machines(state.model)
    named = [name for name in BASELINES if name != FULL_OFFLOADING or name in study.splits]
    over = dict.fromkeys((*named, *study.chosen))  # splits that are best somewhere
    marks = zip(study.batch_sizes, study.lines.interpolated, strict=True)
    offered = {
        "batch_size": tuple((f"≈ {size}" if mark else f"{size}", size) for size, mark in marks),
        "edge": machines,
        "server": (ASSUMED, *machines),
        "baseline": tuple((shown_name(one) if one in study.splits else one, one) for one in over),
    }
    return completed(Shown(state, study, offered), view)


def completed(shown: Shown, view: View, *, moved: bool = False) -> Shown:
    """With answer and picture; `moved` if only the point has changed since the last picture."""
    state, study = shown.state, shown.study
    sure = shown.confidence or shown.rows.get(state.batch_size)
    if sure is None:
        machines, size = (study.edge, study.server), [state.batch_size]
        row = sweep(*machines, study.scenario, data_rates_bps=[1e6], batch_sizes=size)
        sure = shown.rows[state.batch_size] = row.confidence(REPLICATES)
    answer = in_words(study, state, sure)
    picture = view.picture(study, state, shown.confidence, answer, moved=moved)
    return replace(shown, answer=answer, picture=picture)


def _sweep(library: Library, state: State) -> Study:
    edge = library.profile(state.model, state.edge)
    if state.server == ASSUMED:
        server = scale_profile(edge, state.server_speedup)
    else:
        server = library.profile(state.model, state.server, like=edge)
    return sweep(edge, server, state.counted, data_rates_bps=DATA_RATES_BPS)


def _fitted(library: Library, state: State, asked: Collection[str]) -> State:
    """Machines and an encoding that there are, where no others were asked for."""
    machines = library.machines(state.model)
    if not state.edge or (state.edge not in machines and "edge" not in asked):
        state = replace(state, edge=machines[0])
    if state.server not in (ASSUMED, *machines) and "server" not in asked:
        state = replace(state, server=ASSUMED)
    graph = library.profile(state.model, state.edge).graph
    if "input_encoding" not in asked:
        fits = fitting(graph, state.scenario.input_encoding)
        state = state.changed({"input_encoding": fits.name})
    return state


def _on_grid(state: State, study: Study, asked: Collection[str]) -> State:
    """The state with a batch size and a baseline that the study has, unless they were asked for.

    Raises:
        ValueError: The batch size alone was asked for, and there are no times for it.
    """
    sizes, size = study.batch_sizes, state.batch_size
    if size not in sizes and set(asked) == {"batch_size"}:
        raise ValueError(
            f"No times for batch size {size}; choose one from {min(sizes)} to {max(sizes)}, or "
            "profile it."
        )
    nearest = min(sizes, key=lambda other: abs(other - size))
    baseline = identified(state.baseline)
    if "baseline" not in asked and baseline not in (*BASELINES[2:], *study.splits):
        baseline = NO_OFFLOADING
    return replace(state, batch_size=nearest, baseline=baseline)
