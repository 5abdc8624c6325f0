"""Two objectives at once at one batch size and data rate: the front of what no other beats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.figures import layout
from dscwb.figures.colours import split_colours
from dscwb.scenario import PowerModel
from dscwb.study import Study
from dscwb.study.tradeoffs import COLUMNS, ENERGY, tradeoffs
from dscwb.units import format_rate

PLOT = 380  # pixels
FRONT, OTHERS, STAIRCASE = "not dominated", "dominated", "front"
ZERO_GAP = 0.5  # decades below the smallest number above zero at which zero is drawn
WORDS = {
    "latency_s": ("Latency", "s"),
    "payload_bytes": ("Payload", "B"),
    "server_s": ("Server time", "s"),
    ENERGY: ("Device energy", "J"),
}
"""Axis title and unit of each objective."""


def plot_pareto(
    study: Study,
    *,
    batch_size: int,
    data_rate_bps: float,
    x: str = "payload_bytes",
    y: str = "latency_s",
    power: PowerModel | None = None,
) -> go.Figure:
    """Every candidate in two objectives, the front of those that no other one beats in both.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.
        x: Objective on the horizontal axis, a column of `tradeoffs`: ``latency_s``,
            ``payload_bytes``, ``server_s`` or, with a power model, ``device_energy_j``.
        y: Objective on the vertical axis.
        power: What the device draws; the scenario's when left out.

    Raises:
        ValueError: An unknown column, twice the same one, a batch size off the grid, a rate not
            above zero.
    """
    if x == y:
        raise ValueError(f"x and y are both {x!r}; give two of {', '.join(COLUMNS)}.")
    table = tradeoffs(study, batch_size, data_rate_bps, power=power, objectives=(x, y))
    table = table[table["latency_s"].notna()]
    across, up = _axis(table[x], x), _axis(table[y], y)
    for name, place in ((x, "across"), (y, "up")):
        table[place] = table[name].where(table[name] > 0, _zero(table[name]))
    table = table.sort_values("across", kind="stable")
    front = table[table["pareto"]]
    _make_room(across, front)
    names = _names(front, across["range"], up["range"])
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in front.index])
    # What can be had: to the upper right of the stairs.
    stairs = {"mode": "lines", "line": {"shape": "hv", "color": layout.GREY, "width": 1.5}}
    named = {"mode": "markers+text", "text": names, "textposition": "bottom left"}
    disc = {"size": 12, "color": colours, "line": {"color": layout.RIM, "width": 2}}
    figure = go.Figure(
        [
            _points(STAIRCASE, front, hoverinfo="skip", hovertemplate=None, **stairs),
            _points(OTHERS, table[~table["pareto"]], marker={"size": 6, "color": layout.GREY}),
            _points(FRONT, front, cliponaxis=False, marker=disc, **named),
        ]
    )
    figure.update_layout(xaxis=across, yaxis=up, showlegend=False)
    words = [study.label()]
    if power is not None and power != study.scenario.power:
        words.append(f"Here the {power.label()}.")
    words.append("Grey: another candidate is at least as good in both and better in one.")
    if unnamed := names.count(""):
        words.append(f"{unnamed} names on the front that would overlap stand in the hover only.")
    if (table[[x, y]] == 0).any(axis=None):
        words.append("Logarithmic axes; zero is drawn below the smallest number.")
    words.append(layout.left_out(len(study.splits) - len(table)))
    rate = format_rate(data_rate_bps, in_bytes=False)
    return layout.page(
        figure,
        f"{WORDS[y][0]} against {WORDS[x][0].lower()}: {study.edge.graph.model}",
        f"batch size {batch_size}, {rate}: {len(front)} of {len(table)} candidates on the front",
        " ".join(words),
        plot_px=PLOT,
        axis_px=layout.PLAIN_AXIS,
    )


def _points(name: str, table: pd.DataFrame, **look: Any) -> go.Scatter:
    """Candidates, with all that they cost under the mouse."""
    used = [column for column in COLUMNS if column in table]
    costs = [
        f"{WORDS[column][0].lower()} %{{customdata[{i}]:.3~s}}{WORDS[column][1]}"
        for i, column in enumerate(used)
    ]
    told = "<br>".join(["<b>%{hovertext}</b>", *costs, name])
    points = {"x": table["across"], "y": table["up"], "mode": "markers"}
    points |= {"customdata": table[used], "hovertext": list(map(layout.full_name, table["split"]))}
    return go.Scatter(name=name, **(points | {"hovertemplate": f"{told}<extra></extra>"} | look))


def _zero(values: pd.Series[float]) -> float:
    """Where zero stands on a logarithmic axis: below all else."""
    above = values[values > 0]
    return float(above.min()) / 10**ZERO_GAP if len(above) else 1.0


def _axis(values: pd.Series[float], name: str) -> dict[str, Any]:
    """Logarithmic; a zero gets its own tick below all others."""
    words, unit = WORDS[name]
    low = _zero(values) if (values == 0).any() else float(values.min())
    high = max(float(values.max()), low)
    room = (high / low) ** 0.08 * 1.05
    axis = layout.log_axis(low / room, high * room, unit, words)
    if low < values[values > 0].min() or not values.any():
        least = low * 10**ZERO_GAP / 1.05
        ticks = [tick for tick in axis["tickvals"] if tick >= least and values.any()]
        axis["tickvals"] = [low, *ticks]
        axis["ticktext"] = ["0", *(layout.in_unit(tick, unit) for tick in ticks)]
    return axis


def _make_room(axis: dict[str, Any], front: pd.DataFrame) -> None:
    """Move the left end of the axis so far that the first point's name fits beside it."""
    low, high = axis["range"]
    share = (
        layout.NAME_CHARACTER * len(layout.label(front["split"].iloc[0])) + 12
    ) / layout.PLOT_WIDTH
    first = math.log10(front["across"].iloc[0])
    axis["range"] = [min(low, (first - high * share) / (1 - share)), high]


def _names(front: pd.DataFrame, x_range: list[float], y_range: list[float]) -> list[str]:
    """Names on the front, empty where one would overlap the one before.

    All stand at the lower left of their point. No other point is there, or it would dominate.
    """
    across = np.log10(front["across"]) / (x_range[1] - x_range[0]) * layout.PLOT_WIDTH
    up = np.log10(front["up"]) / (y_range[1] - y_range[0]) * PLOT
    names: list[str] = []
    last = -math.inf, math.inf
    for split, x, y in zip(front["split"], across, up, strict=True):
        name = layout.label(split)
        free = (
            last[1] - y > layout.LABEL_HEIGHT
            or x - layout.NAME_CHARACTER * len(name) - 12 > last[0]
        )
        names.append(name if free else "")
        last = (x, y) if free else last
    return names
