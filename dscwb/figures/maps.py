"""Maps over data rate and batch size: a study goes in, figures of splits and costs come out."""

from __future__ import annotations

import plotly.graph_objects as go

from dscwb.figures.axes import formatted
from dscwb.figures.cells import (
    MapCells,
    SplitCells,
    StaticCells,
    gain_cells,
    map_cells,
    regret_cells,
    split_cells,
)
from dscwb.figures.page import Template, panel_title, set_page, title
from dscwb.figures.traces import (
    FRAGILE,
    GAIN,
    GAIN_COLOURS,
    IMPOSSIBLE,
    LEFT,
    MAP,
    REGRET,
    RIGHT,
    STATE,
    SWITCHING,
    UNDECIDED,
    WHOLE,
    State,
    best_split_traces,
    gain_traces,
    map_axes,
    marker,
    position,
    regret_traces,
)
from dscwb.latency import NO_OFFLOADING
from dscwb.study.confidence import DECIDED_FROM, Confidence
from dscwb.study.states import BEST_STATIC, MINIMAX_STATIC
from dscwb.study.sureness import about_models, about_times, undecided
from dscwb.study.sweeps import Study
from dscwb.units import format_percent

__all__ = [
    "FRAGILE",
    "GAIN",
    "GAIN_COLOURS",
    "IMPOSSIBLE",
    "MAP",
    "REGRET",
    "STATE",
    "SWITCHING",
    "UNDECIDED",
    "State",
    "mark_state",
    "plot_best_split",
    "plot_gain",
    "plot_maps",
    "plot_regret",
]

SPLIT_BAR, PERCENT_BAR, COST_BAR = 128, 68, 84  # pixels: a colour bar and its longest label
MIN_PLOT, MAX_PLOT, ROW = 120, 380, 50  # pixels: a map is ROW high a batch size, within bounds
BOTH_MAPS = 340  # pixels, always: a page must not jump while a slider changes the model
# Lines of a caption at the width assumed, always: plotly fixes the width of a live figure whose
# height is changed.
BOTH_CAPTION = 7
NAME_HEIGHT = 15  # pixels: names at a colour bar nearer than this would touch


def plot_best_split(
    study: Study,
    confidence: Confidence | None = None,
    *,
    state: State | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """The best split in every state, as a map over data rate and batch size.

    A split has the same colour in every figure of its model, light near the input and dark near
    the output. Lines mark the exact switching rates, which the grid only samples.

    Args:
        study: What to draw.
        confidence: ``study.confidence()``, to hatch the states in which no split is sure, and to
            dot those in which one is sure only if a model is right.
        state: Batch size and data rate in bit/s to mark.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The confidence is that of another study.
    """
    cells = map_cells(study, confidence)
    best = split_cells(cells)
    figure = go.Figure([*best_split_traces(cells, best, WHOLE), marker(study, state, WHOLE)])
    figure.update_layout(map_axes(cells, _height(cells, best), WHOLE))
    figure.update_layout(title=title(*_best_split_heading(cells, best)))
    set_page(
        figure,
        f"{_map_caption(cells)} {_about_lines(confidence)}",
        plot_px=_height(cells, best),
        right_px=SPLIT_BAR,
        template=template,
        width=width,
    )
    return figure


def plot_gain(
    study: Study,
    *,
    baseline: str = NO_OFFLOADING,
    state: State | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """What choosing the split in every state gains over a fixed choice, from 0 to 100 %.

    Args:
        study: What to draw.
        baseline: As in `Study.gain`; states in which it is impossible are hatched in grey.
        state: Batch size and data rate in bit/s to mark.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    cells = map_cells(study)
    gained = gain_cells(cells, baseline)
    figure = go.Figure([*gain_traces(cells, gained, WHOLE), marker(study, state, WHOLE)])
    figure.update_layout(
        map_axes(cells, _height(cells), WHOLE), title=title(*_gain_heading(gained))
    )
    set_page(
        figure,
        f"{_map_caption(cells)}{_about_impossible(gained)}",
        plot_px=_height(cells),
        right_px=PERCENT_BAR,
        template=template,
        width=width,
    )
    return figure


def plot_regret(
    study: Study,
    static: str = BEST_STATIC,
    *,
    state: State | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """What always using one split costs more than the best one, in seconds (or joules).

    Colours are logarithmic and the same in every figure, from 0.1 ms to 100 s (or mJ and J): what
    lies beyond has the colour of the end.

    Args:
        study: What to draw.
        static: A split's name or a baseline, as in `Study.gain`; states in which it is impossible
            are hatched in grey.
        state: Batch size and data rate in bit/s to mark.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: It is not a candidate of this study.
    """
    cells = map_cells(study)
    lost = regret_cells(cells, static)
    figure = go.Figure([*regret_traces(cells, lost, WHOLE), marker(study, state, WHOLE)])
    heading = title(*_regret_heading(lost, study.unit))
    figure.update_layout(map_axes(cells, _height(cells), WHOLE), title=heading)
    set_page(
        figure,
        f"{_map_caption(cells)}{_about_impossible(lost)}",
        plot_px=_height(cells),
        right_px=COST_BAR,
        template=template,
        width=width,
    )
    return figure


def plot_maps(
    study: Study,
    confidence: Confidence | None = None,
    *,
    baseline: str = NO_OFFLOADING,
    state: State | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """`plot_best_split` and `plot_gain` side by side in one figure; arguments as there.

    Number and order of traces and annotations are always the same, so that a widget on the screen
    can be updated in place.
    """
    cells = map_cells(study, confidence)
    best, gained = split_cells(cells), gain_cells(cells, baseline)
    plot_px = max(BOTH_MAPS, len(best.names) * NAME_HEIGHT)
    figure = go.Figure(
        [
            *best_split_traces(cells, best, LEFT),
            marker(study, state, LEFT),
            *gain_traces(cells, gained, RIGHT),
            marker(study, state, RIGHT),
        ]
    )
    figure.update_layout(map_axes(cells, plot_px, LEFT) | map_axes(cells, plot_px, RIGHT))
    figure.add_annotation(panel_title(*_best_split_heading(cells, best), LEFT.domain[0]))
    figure.add_annotation(panel_title(*_gain_heading(gained), RIGHT.domain[0]))
    set_page(
        figure,
        f"{_map_caption(cells)} {_about_lines(confidence)}{_about_impossible(gained)}",
        plot_px=plot_px,
        lines=BOTH_CAPTION,
        right_px=PERCENT_BAR,
        template=template,
        width=width,
    )
    return figure


def mark_state(figure: go.Figure, study: Study, state: State) -> None:
    """Move the mark in a figure of this study, and nothing else."""
    x, y = position(study, state)
    figure.update_traces({"x": x, "y": y}, selector={"name": STATE})


def _height(cells: MapCells, best: SplitCells | None = None) -> float:
    """Pixels of the plot: rows that can be told apart, room for all names at the colour bar."""
    names = len(best.names) * NAME_HEIGHT if best else 0
    return max(min(MAX_PLOT, max(MIN_PLOT, ROW * len(cells.batch_sizes))), names)


def _best_split_heading(cells: MapCells, best: SplitCells) -> tuple[str, str]:
    return (
        f"Best split of {cells.study.edge.graph.model}",
        f"a split is best in {format_percent(best.usefulness)} of the states shown",
    )


def _gain_heading(gained: StaticCells) -> tuple[str, str]:
    mean = f"mean {format_percent(gained.mean)}, at most {format_percent(gained.highest)}"
    return f"Gain over {_named(gained)}", _where_possible(gained, mean)


def _regret_heading(lost: StaticCells, unit: str) -> tuple[str, str]:
    mean = f"mean {formatted(lost.mean, unit)}, at most {formatted(lost.highest, unit)}"
    return f"Regret of {_named(lost)}", _where_possible(lost, mean)


def _named(cells: StaticCells) -> str:
    chosen = cells.baseline in (BEST_STATIC, MINIMAX_STATIC)
    return f"the {cells.baseline} split" if chosen else cells.baseline


def _where_possible(cells: StaticCells, mean: str) -> str:
    if cells.impossible == 1:
        return "impossible in every state"
    name = "" if cells.split == cells.baseline else f"{cells.split}: "
    return f"{name}{mean}{' where possible' if cells.impossible else ''}"


def _about_impossible(cells: StaticCells) -> str:
    if not cells.impossible:
        return ""
    return (
        f" Grey hatch: {cells.split} is impossible, as {cells.why}: "
        f"{format_percent(cells.impossible)} of the states."
    )


def _about_lines(confidence: Confidence | None) -> str:
    lines = "White lines: the exact rates at which the best split changes."
    if confidence is None:
        return lines
    states = confidence.states
    models, doubted = about_models(states), about_times(states)
    hatched = format_percent(float(undecided(states, confidence.undecided).mean()))
    return (
        f"{lines} Hatched: no split is best in {format_percent(DECIDED_FROM)} of "
        f"{confidence.label()}{doubted and f', or {doubted}'}: {hatched} of the states."
        + (f" Dotted: {models}" if models else "")
    )


def _map_caption(cells: MapCells) -> str:
    if not any(cells.interpolated):
        return cells.study.label()
    both = zip(cells.batch_sizes, cells.interpolated, strict=True)
    own = ", ".join(f"{size}" for size, between in both if not between)
    return (
        f"{cells.study.label()} Batch sizes with times of their own: {own or 'none'} (bold); those "
        "between (≈) are interpolated linearly."
    )
