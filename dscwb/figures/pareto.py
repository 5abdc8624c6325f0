"""Two objectives at once at one batch size and data rate: the front of what no other beats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.figures.colours import split_colours
from dscwb.figures.layout import (
    GREY,
    LABEL_HEIGHT,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    NAME_CHARACTER,
    PLAIN_AXIS,
    RIM,
    WIDTH,
    full_name,
    in_unit,
    label,
    left_out,
    log_axis,
    log_ticks,
    page,
)
from dscwb.scenario import PowerModel
from dscwb.study import Study
from dscwb.study.tradeoffs import COLUMNS, ENERGY, tradeoffs
from dscwb.units import format_bytes, format_cost, format_rate

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
    width: int | None = None,
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
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An unknown column, twice the same one, a batch size off the grid, a rate not
            above zero.
    """
    if x == y:
        raise ValueError(f"x and y are both {x!r}; give two of {', '.join(COLUMNS)}.")
    table = _tradeoffs(study, batch_size, data_rate_bps, power, (x, y))
    front, others = table[table["pareto"]], table[~table["pareto"]]
    plot_width = (width or WIDTH) - MARGIN_LEFT - MARGIN_RIGHT
    across, up = _axis(table[x], x), _axis(table[y], y)
    _make_room(across, front, plot_width)
    named = _named(front, across["range"], up["range"], plot_width)
    figure = go.Figure([_staircase(front), _others(others), _front(study, front, named)])
    figure.update_layout(xaxis=across, yaxis=up, showlegend=False)
    rate = format_rate(data_rate_bps, in_bytes=False)
    return page(
        figure,
        f"{WORDS[y][0]} against {WORDS[x][0].lower()}: {study.edge.graph.model}",
        f"batch size {batch_size}, {rate}: {len(front)} of {len(table)} candidates on the front",
        _caption(study, table, (x, y), power, unnamed=named.count("")),
        plot_px=PLOT,
        axis_px=PLAIN_AXIS,
        width=width,
    )


def _tradeoffs(
    study: Study,
    batch_size: int,
    data_rate_bps: float,
    power: PowerModel | None,
    objectives: tuple[str, str],
) -> pd.DataFrame:
    """The candidates with times, where they are drawn, and what they say under the mouse."""
    table = tradeoffs(study, batch_size, data_rate_bps, power, objectives=objectives)
    table = table[table["latency_s"].notna()]
    told = [
        [f"<b>{full_name(name)}</b>" for name in table["split"]],
        *(
            [f"{WORDS[name][0].lower()} {_shown(cost, name)}" for cost in table[name]]
            for name in COLUMNS
            if name in table
        ),
    ]
    across, up = (table[name].where(table[name] > 0, _zero(table[name])) for name in objectives)
    return table.assign(
        across=across, up=up, words=["<br>".join(lines) for lines in zip(*told, strict=True)]
    ).sort_values("across", kind="stable")


def _shown(value: float, name: str) -> str:
    unit = WORDS[name][1]
    return format_bytes(value) if unit == "B" else format_cost(value, unit)


def _zero(values: pd.Series[float]) -> float:
    """Where zero stands on a logarithmic axis: below all else."""
    above = values[values > 0]
    return float(above.min()) / 10**ZERO_GAP if len(above) else 1.0


def _axis(values: pd.Series[float], name: str) -> dict[str, Any]:
    """Logarithmic; a zero gets its own tick below all others."""
    words, unit = WORDS[name]
    above = values[values > 0]
    least = float(above.min()) if len(above) else 1.0
    low = _zero(values) if (values == 0).any() else least
    high = max(float(values.max()), low)
    room = (high / low) ** 0.08 * 1.05
    axis = log_axis(low / room, high * room, unit, words)
    if low < least or not len(above):
        ticks = [tick for tick in log_ticks(least / 1.05, high * room) if tick > low and len(above)]
        axis["tickvals"] = [low, *ticks]
        axis["ticktext"] = ["0", *(in_unit(tick, unit) for tick in ticks)]
    return axis


def _make_room(axis: dict[str, Any], front: pd.DataFrame, plot_px: float) -> None:
    """Move the left end of the axis so far that the first point's name fits beside it."""
    low, high = axis["range"]
    name_px = NAME_CHARACTER * len(label(front["split"].iloc[0])) + 12
    first = math.log10(front["across"].iloc[0])
    wanted = (first - high * name_px / plot_px) / (1 - name_px / plot_px)
    axis["range"] = [min(low, wanted), high]


def _named(
    front: pd.DataFrame, x_range: list[float], y_range: list[float], plot_px: float
) -> list[str]:
    """Names on the front, empty where one would overlap the one before.

    All stand at the lower left of their point. No other point is there, or it would dominate.
    """
    across = np.log10(front["across"]) / (x_range[1] - x_range[0]) * plot_px
    up = np.log10(front["up"]) / (y_range[1] - y_range[0]) * PLOT
    names: list[str] = []
    last = -math.inf, math.inf
    for split, x, y in zip(front["split"], across, up, strict=True):
        name = label(split)
        free = last[1] - y > LABEL_HEIGHT or x - NAME_CHARACTER * len(name) - 12 > last[0]
        names.append(name if free else "")
        last = (x, y) if free else last
    return names


def _staircase(front: pd.DataFrame) -> go.Scatter:
    """What can be had: to its upper right lies a front point that is at least as good in both."""
    return go.Scatter(
        name=STAIRCASE,
        x=front["across"],
        y=front["up"],
        mode="lines",
        line={"shape": "hv", "color": GREY, "width": 1.5},
        hoverinfo="skip",
    )


def _others(others: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        name=OTHERS,
        x=others["across"],
        y=others["up"],
        mode="markers",
        marker={"size": 6, "color": GREY},
        hovertext=others["words"],
        hovertemplate="%{hovertext}<br>dominated<extra></extra>",
    )


def _front(study: Study, front: pd.DataFrame, names: list[str]) -> go.Scatter:
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in front.index])
    return go.Scatter(
        name=FRONT,
        x=front["across"],
        y=front["up"],
        mode="markers+text",
        text=names,
        textposition="bottom left",
        cliponaxis=False,
        marker={"size": 12, "color": colours, "line": {"color": RIM, "width": 2}},
        hovertext=front["words"],
        hovertemplate="%{hovertext}<br>not dominated<extra></extra>",
    )


def _caption(
    study: Study,
    table: pd.DataFrame,
    objectives: tuple[str, str],
    power: PowerModel | None,
    unnamed: int,
) -> str:
    words = [study.label()]
    if power is not None and power != study.scenario.power:
        words.append(f"Here the {power.label()}.")
    words.append("Grey: another candidate is at least as good in both and better in one.")
    if unnamed:
        words.append(f"{unnamed} names on the front that would overlap stand in the hover only.")
    if (table[list(objectives)] == 0).any(axis=None):
        words.append("Logarithmic axes; zero is drawn below the smallest number.")
    if missing := len(study.splits) - len(table):
        words.append(left_out(missing))
    return " ".join(words)
