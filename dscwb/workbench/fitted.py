"""From a state that was asked for to one that the profiles can show, with its study.

So a state is either shown in all its parts, or refused and nothing changes. `desk.js` does the same
in the browser, for what a hand asks for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from dscwb.cost import fitting
from dscwb.devices.machines import Library
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import Profile
from dscwb.scenario import DATA_RATES_BPS
from dscwb.study import Study, sweep
from dscwb.study.study import BASELINES, identified
from dscwb.units import NO_OFFLOADING
from dscwb.workbench.state import ASSUMED, FIRST, FIRST_MODEL, State


def started(library: Library, model: str | None, server_speedup: float) -> State:
    """The state to begin with: the first screen's, as far as this library has its machines.

    Raises:
        ValueError: No such model, or a speed-up beyond its limits.
    """
    state = State(model or library.models[0])
    if model is None and FIRST_MODEL in library.models:
        state = State(FIRST_MODEL)
    if {FIRST["edge"], FIRST["server"]} <= {*library.machines(state.model)}:
        state = state.changed(FIRST)
    return state.changed({"server_speedup": server_speedup})


def fitted(
    library: Library,
    state: State,
    asked: Collection[str] = (),
    known: tuple[State, Study] | None = None,
) -> tuple[State, Study]:
    """A state that can be shown, and its study.

    Fields that were not `asked` for move along where they must.

    Args:
        library: The profiles.
        state: What is wanted.
        asked: Names of the fields that must stay as they are wanted.
        known: A state and its study, which serves again where the question is the same.

    Raises:
        ValueError: A state that cannot be shown; `ProfileError` is one too.
    """
    state = _with_machines(library, state, asked)
    if known is not None and known[0].question == state.question:
        study = known[1]
    else:
        study = study_of(library, state)
    return _on_grid(state, study, asked), study


def machines_of(library: Library, state: State) -> tuple[Profile, Profile]:
    """The profiles of a state's device and server.

    Raises:
        ValueError: The model has no such machine.
    """
    edge = library.profile(state.model, state.edge)
    if state.server == ASSUMED:
        return edge, scale_profile(edge, state.server_speedup)
    return edge, library.profile(state.model, state.server, like=edge)


def study_of(library: Library, state: State) -> Study:
    """The study of a state; errors as in `machines_of` and `sweep`."""
    return sweep(*machines_of(library, state), state.counted, data_rates_bps=DATA_RATES_BPS)


def _with_machines(library: Library, state: State, asked: Collection[str]) -> State:
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
        ValueError: The batch size alone was asked for, and there are no times for it; or the
            baseline is no candidate.
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
    study.baseline_split(baseline)
    return replace(state, batch_size=nearest, baseline=baseline)
