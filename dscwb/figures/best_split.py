"""The best split in every state, as a map over data rate and batch size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dscwb.figures.colours import split_colours
from dscwb.figures.layout import LONGEST_NAME, label, page
from dscwb.figures.state_map import (
    CELL_HOVER,
    LEFT,
    WHOLE,
    Cells,
    Outlines,
    Panel,
    bar,
    hatch,
    lines,
    marked,
)
from dscwb.study import Study
from dscwb.study.confidence import DECIDED_FROM, Confidence
from dscwb.study.sureness import about_models, about_times, robust, undecided
from dscwb.units import BITS_PER_BYTE, format_percent

MAP, SWITCHING = "best split", "switching rate"  # names of the traces
UNDECIDED, FRAGILE = "undecided", "only if the model is right"
NAME_HEIGHT = 15  # pixels: names at a colour bar nearer than this would touch
NARROW_NAME = 14  # characters of a name between two maps
FEW_SPLITS = 12  # the lines around more splits are thin, or they would cover narrow ones
# The veil keeps the hatch readable on the lightest and the darkest colour; the lines are near to
# each other since most undecided regions are a few pixels wide.
UNDECIDED_HATCH = {
    "shape": "/",
    "fgcolor": "black",
    "bgcolor": "rgba(255, 255, 255, 0.5)",
    "size": 4,
    "solidity": 0.3,
}
# A lesser doubt: a thinner veil, and dots that a few pixels show too.
FRAGILE_HATCH = UNDECIDED_HATCH | {"shape": ".", "bgcolor": "rgba(255, 255, 255, 0.25)"}


def plot_best_split(
    study: Study,
    *,
    confidence: Confidence | None = None,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    width: int | None = None,
) -> go.Figure:
    """The best split in every state, as a map over data rate and batch size.

    A split has the same colour in every figure of its model, light near the input and dark near
    the output. Lines mark the exact switching rates, which the grid only samples.

    Args:
        study: What to draw.
        confidence: ``study.confidence()``, to hatch the states in which no split is sure, and to
            dot those in which one is sure only if a model is right.
        batch_size: A point to mark, together with its data rate.
        data_rate_bps: In bit/s.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The confidence is that of another study.
    """
    cells = Cells.of(study)
    plot_px = cells.height(NAME_HEIGHT * len(study.chosen))
    figure = go.Figure(best_split_traces(cells, confidence, WHOLE))
    figure.add_traces(marked(study, batch_size, data_rate_bps, WHOLE))
    figure.update_layout(cells.axes(WHOLE, plot_px))
    return page(
        figure,
        *best_split_heading(study),
        f"{cells.caption()} {about_lines(confidence)}",
        plot_px=plot_px,
        width=width,
    )


def best_split_heading(study: Study) -> tuple[str, str]:
    """Title and subtitle of the map."""
    share = format_percent(study.usefulness())
    return (
        f"Best split of {study.edge.graph.model}",
        f"a split is best in {share} of the states shown",
    )


def about_lines(confidence: Confidence | None) -> str:
    """What a caption says of lines, hatches and dots."""
    words = "White lines: the exact rates at which the best split changes."
    if confidence is None:
        return words
    states = confidence.study
    doubted, models = about_times(states), about_models(states)
    hatched = format_percent(float(undecided(states, confidence.undecided).mean()))
    return (
        f"{words} Hatched: no split is best in {format_percent(DECIDED_FROM)} of "
        f"{confidence.label()}{doubted and f', or {doubted}'}: {hatched} of the states."
        + (f" Dotted: {models}" if models else "")
    )


def best_split_traces(cells: Cells, confidence: Confidence | None, panel: Panel) -> list[Any]:
    """The best splits, the switching rates, and the hatches of those that are not sure.

    Raises:
        ValueError: The confidence is that of another study.
    """
    study, best = cells.study, cells.shown.best[cells.rows]
    chosen, index = np.unique(best, return_inverse=True)
    steps, longest = len(chosen), NARROW_NAME if panel is LEFT else LONGEST_NAME
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in chosen])
    names = [label(study.splits[i], longest) for i in chosen]
    hover, columns = _hover(cells, confidence)
    return [
        go.Heatmap(
            **cells.place(panel, MAP),
            z=index.reshape(best.shape),
            zmin=-0.5,
            zmax=steps - 0.5,
            colorscale=[
                [(k + side) / steps, colour] for k, colour in enumerate(colours) for side in (0, 1)
            ],
            colorbar=bar(panel, tickvals=list(range(steps)), ticktext=names),
            customdata=columns,
            hovertemplate=hover,
        ),
        *_doubts(cells, confidence, panel),
        lines(
            SWITCHING,
            _switching_lines(cells),
            panel,
            line={"color": "white", "width": 1 if steps <= FEW_SPLITS else 0.5},
        ),
    ]


def _hover(cells: Cells, confidence: Confidence | None) -> tuple[str, Any]:
    """What a cell says under the mouse, and its numbers."""
    study, shown, lines = cells.study, cells.shown, cells.shown.lines
    graph, row, best = study.edge.graph, np.arange(len(study.batch_sizes))[:, None], shown.best
    head, tail, wait = lines.head_s[row, best], lines.tail_s[row, best], lines.wait_s[row]
    layers = np.array([cut.index for cut in lines.splits])[best]
    latency = shown.latency_s
    told = [
        ("latency {:.3~s}s", latency),
        ("<br>= device {:.3~s}s", head),
        (" + transfer {:.3~s}s", latency - wait - head - tail),
        (" + server {:.3~s}s", tail),
        (" + wait {:.3~s}s", wait),
        ("<br>payload {:.3~s}B", lines.bits[row, best] / BITS_PER_BYTE),
        (
            f"<br>device runs {{:d}} of {len(graph.blocks)} blocks",
            np.searchsorted([block.end for block in graph.blocks], layers, "right"),
        ),
        (f", {{:d}} of {len(graph.layers)} layers", layers),
    ]
    if study.scenario.arrival_rate_hz is None:
        del told[4]
    if study.unit == "J":
        told.append(("<br>the device spends {:.3~s}J", shown.cost))
    if confidence is not None:
        told.append(("<br>best in {:.1%} of the replicates", _at(cells, confidence).probability))
    words = [
        text.replace("{:", f"%{{customdata[{k}]:") for k, (text, _) in enumerate(told, start=3)
    ]
    return (
        f"{CELL_HOVER}{''.join(words)}<extra></extra>",
        cells.hover(*(column for _, column in told)),
    )


def _at(cells: Cells, confidence: Confidence) -> Confidence:
    return confidence.at_rates(cells.shown.data_rates_bps)


def _doubts(cells: Cells, confidence: Confidence | None, panel: Panel) -> list[go.Scatter]:
    """Undecided cells hatched, and others dotted in which only a model makes the split sure."""
    if confidence is None:
        return []
    if confidence.study.lines is not cells.study.lines:
        raise ValueError("The confidence is that of another study; give study.confidence().")
    hatched = undecided(cells.shown, _at(cells, confidence).undecided)
    fragile = ~robust(cells.shown) & ~hatched
    return [
        hatch(UNDECIDED, cells.outlines(hatched), UNDECIDED_HATCH, panel),
        hatch(FRAGILE, cells.outlines(fragile), FRAGILE_HATCH, panel),
    ]


def _switching_lines(cells: Cells) -> Outlines:
    """Each change of split as a staircase through all rows in which it occurs."""
    x: list[float] = []
    y: list[float] = []
    table = cells.study.switching_rates()
    row_of = {size: row for row, size in enumerate(cells.batch_sizes)}
    for _, change in table.groupby(["below", "above"], sort=False):
        last = -math.inf
        points = zip(change["batch_size"].map(row_of), change["data_rate_bps"], strict=True)
        for row, rate in sorted(points):
            if row != last + 1:
                x.append(math.nan)
                y.append(math.nan)
            x += [rate, rate]
            y += [row - 0.5, row + 0.5]
            last = row
    return np.array(x[1:]), np.array(y[1:])
