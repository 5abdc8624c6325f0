"""What maps are drawn of: cells go in, plotly's traces and axes come out.

Number and order of a map's traces never depend on its numbers, so that a widget on the screen can
be updated in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dscwb.figures.axes import formatted
from dscwb.figures.cells import (
    COMMON,
    ENERGY,
    PROBABILITY,
    WAIT,
    MapCells,
    Outlines,
    SplitCells,
    StaticCells,
)
from dscwb.figures.colours import split_colours
from dscwb.figures.page import AXIS, rate_axis, row_ticks
from dscwb.study.sweeps import Study

State = tuple[int, float]
"""A state to mark in a map: batch size, data rate in bit/s."""

# Names of the traces, by which `mark_state`, the workbench and the tests find them.
MAP, SWITCHING, GAIN, STATE = "best split", "switching rate", "gain", "state"
UNDECIDED, FRAGILE = "undecided", "only if the model is right"
IMPOSSIBLE, REGRET = "impossible", "regret"

FEW_SPLITS = 12
GAIN_COLOURS = "YlGnBu"  # ColorBrewer, light for no gain; readable by the colour-blind
REGRET_COLOURS = "YlOrRd"  # the same for what is lost
LEAST_REGRET, DECADES = -4, 6  # the scale of regrets, from 0.1 ms (or mJ) to 100 s (or J)
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
IMPOSSIBLE_HATCH = {
    "shape": "x",
    "fgcolor": "rgb(105, 105, 105)",
    "bgcolor": "rgb(240, 240, 240)",
    "size": 10,
    "solidity": 0.2,
}


@dataclass(frozen=True)
class Panel:
    """Where a map stands in its figure: the suffix of its axes, its share of the width."""

    axis: str
    domain: tuple[float, float]


WHOLE = Panel("", (0.0, 1.0))
# Between the two stands the first map's colour bar.
LEFT, RIGHT = Panel("", (0.0, 0.405)), Panel("2", (0.595, 1.0))


def best_split_traces(cells: MapCells, best: SplitCells, panel: Panel) -> list[Any]:
    """The best splits, the hatch of those that are not sure, and the switching rates."""
    graph = cells.study.edge.graph
    steps = len(best.names)
    colours = split_colours(graph, best.cuts)
    return [
        go.Heatmap(
            **_grid(cells, panel, MAP),
            z=best.index,
            zmin=-0.5,
            zmax=steps - 0.5,
            colorscale=[
                [(k + side) / steps, colour] for k, colour in enumerate(colours) for side in (0, 1)
            ],
            colorbar=_bar(panel, tickvals=list(range(steps)), ticktext=best.names),
            customdata=best.hover,
            hovertemplate=_split_hover(best, len(graph.blocks), len(graph.layers)),
        ),
        _hatch(UNDECIDED, best.undecided, UNDECIDED_HATCH, panel),
        _hatch(FRAGILE, best.fragile, FRAGILE_HATCH, panel),
        go.Scatter(
            name=SWITCHING,
            x=best.switching[0],
            y=best.switching[1],
            mode="lines",
            # Many narrow regions would drown in broad lines.
            line={"color": "white", "width": 1 if steps <= FEW_SPLITS else 0.5},
            hoverinfo="skip",
            showlegend=False,
            xaxis=f"x{panel.axis}",
            yaxis=f"y{panel.axis}",
        ),
    ]


_STATE_HOVER = (
    "<b>batch size %{customdata[0]:d}, "
    "%{customdata[1]:.3~s}bit/s</b> (%{customdata[2]:.3~s}B/s)<br>"
)


def _split_hover(best: SplitCells, blocks: int, layers: int) -> str:
    """Names and units of what `SplitCells.hover` holds."""
    at = {name: f"customdata[{COMMON + i}]" for i, name in enumerate(best.extra)}
    wait = f"wait %{{{at[WAIT]}:.3~s}}s + " if WAIT in at else ""
    lines = [
        "latency %{customdata[3]:.3~s}s",
        f"= {wait}device %{{customdata[4]:.3~s}}s + transfer %{{customdata[5]:.3~s}}s"
        " + server %{customdata[6]:.3~s}s",
        "payload %{customdata[7]:.3~s}B",
        f"device runs %{{customdata[9]:d}} of {blocks} blocks, "
        f"%{{customdata[8]:d}} of {layers} layers",
    ]
    if ENERGY in at:
        lines.insert(0, f"the device spends %{{{at[ENERGY]}:.3~s}}J")
    if PROBABILITY in at:
        lines.append(f"best in %{{{at[PROBABILITY]}:.1%}} of the replicates")
    return f"{_STATE_HOVER}{'<br>'.join(lines)}<extra></extra>"


def gain_traces(cells: MapCells, gained: StaticCells, panel: Panel) -> list[Any]:
    """The gains, and the hatch where the baseline is impossible."""
    percents, unit = [0, 20, 40, 60, 80, 100], cells.study.unit
    return [
        go.Heatmap(
            **_grid(cells, panel, GAIN),
            z=gained.values,
            # Fixed: a scale that jumped while a slider moves would lie.
            zmin=0,
            zmax=1,
            colorscale=GAIN_COLOURS,
            colorbar=_bar(
                panel,
                tickvals=[percent / 100 for percent in percents],
                ticktext=[f"{percent} %" for percent in percents],
            ),
            customdata=gained.hover,
            hoverongaps=False,  # it would tell of NaN; the hatch tells why
            hovertemplate=f"{_STATE_HOVER}gain %{{z:.1%}}: {_instead(unit)}",
        ),
        _impossible(gained, panel),
    ]


def regret_traces(cells: MapCells, lost: StaticCells, panel: Panel) -> list[Any]:
    """The regrets on a logarithmic scale, and the hatch where the split is impossible."""
    unit, exponents = cells.study.unit, range(LEAST_REGRET, LEAST_REGRET + DECADES + 1)
    ends = {exponents[0]: "≤ ", exponents[-1]: "≥ "}
    return [
        go.Heatmap(
            **_grid(cells, panel, REGRET),
            # Nothing is lost where the split is the best one, and zero has no logarithm.
            z=np.log10(np.maximum(lost.values, 10.0 ** exponents[0])),
            zmin=exponents[0],
            zmax=exponents[-1],
            colorscale=REGRET_COLOURS,
            colorbar=_bar(
                panel,
                tickvals=list(exponents),
                ticktext=[f"{ends.get(k, '')}{formatted(10.0**k, unit)}" for k in exponents],
            ),
            customdata=np.dstack([lost.hover, lost.values]),
            hoverongaps=False,
            hovertemplate=f"{_STATE_HOVER}regret %{{customdata[5]:.3~s}}{unit}: {_instead(unit)}",
        ),
        _impossible(lost, panel),
    ]


def _impossible(cells: StaticCells, panel: Panel) -> go.Scatter:
    trace = _hatch(IMPOSSIBLE, cells.outlines, IMPOSSIBLE_HATCH, panel)
    words = f"{cells.split} is impossible: {cells.why}"
    return trace.update(hoverinfo="text", hoveron="fills", text=words)


def _instead(unit: str) -> str:
    return f"%{{customdata[3]:.3~s}}{unit} instead of %{{customdata[4]:.3~s}}{unit}<extra></extra>"


def _hatch(name: str, around: Outlines, pattern: dict[str, Any], panel: Panel) -> go.Scatter:
    """Hatched cells; always there, if empty, so that a widget can be updated in place."""
    return go.Scatter(
        name=name,
        x=around[0],
        y=around[1],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillpattern=pattern,
        hoverinfo="skip",
        showlegend=False,
        xaxis=f"x{panel.axis}",
        yaxis=f"y{panel.axis}",
    )


def _grid(cells: MapCells, panel: Panel, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "x": cells.edges_bps,
        "y": np.arange(len(cells.batch_sizes)),
        "xaxis": f"x{panel.axis}",
        "yaxis": f"y{panel.axis}",
    }


def _bar(panel: Panel, **ticks: Any) -> dict[str, Any]:
    """A colour bar at the right of its map."""
    place = {"x": panel.domain[1], "xanchor": "left", "y": 0.5, "len": 1, "thickness": 14}
    return {**place, "xpad": 8, "ypad": 0, "tickfont": {"size": 11}, "outlinewidth": 0, **ticks}


def marker(study: Study, state: State | None, panel: Panel) -> go.Scatter:
    """The mark of a state, which need not lie on the grid."""
    x, y = position(study, state)
    return go.Scatter(
        name=STATE,
        x=x,
        y=y,
        mode="markers",
        # A white disc with a black rim stands out on every colour of both maps.
        marker={"size": 13, "color": "white", "line": {"color": "black", "width": 3}},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
        xaxis=f"x{panel.axis}",
        yaxis=f"y{panel.axis}",
    )


def position(study: Study, state: State | None) -> tuple[list[float], list[float]]:
    """Coordinates of a state in a map; empty where it lies outside of the study."""
    if state is None or state[0] not in study.batch_sizes:
        return [], []
    return [state[1]], [float(sorted(study.batch_sizes).index(state[0]))]


def map_axes(cells: MapCells, plot_px: float, panel: Panel) -> dict[str, Any]:
    """Both axes of a map, for `update_layout`."""
    sizes, right = cells.batch_sizes, panel is RIGHT
    rows = row_ticks(sizes, [not between for between in cells.interpolated], plot_px / len(sizes))
    return {
        f"xaxis{panel.axis}": {
            **rate_axis(cells.edges_bps[0], cells.edges_bps[-1]),
            "domain": panel.domain,
            "anchor": f"y{panel.axis}",
        },
        f"yaxis{panel.axis}": {
            **AXIS,
            "range": [-0.5, len(sizes) - 0.5],
            "anchor": f"x{panel.axis}",
            "tickvals": rows,
            "ticktext": [_row_label(cells, row) for row in rows],
            # Side by side, the second map has the rows of the first.
            "showticklabels": not right,
            "title": {"text": "" if right else "Batch size"},
        },
    }


def _row_label(cells: MapCells, row: int) -> str:
    size = cells.batch_sizes[row]
    if not any(cells.interpolated):
        return f"{size}"
    return f"<i>≈ {size}</i>" if cells.interpolated[row] else f"<b>{size}</b>"
