"""Two objectives at once at one batch size and data rate: the front of what no other beats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.colours import split_colours
from dscwb.figures import layout
from dscwb.scenario import PowerModel
from dscwb.study import Study
from dscwb.study.tradeoffs import COLUMNS, ENERGY, tradeoffs
from dscwb.units import format_rate

PLOT = 380  # pixels
FRONT, OTHERS, STAIRCASE = "not dominated", "dominated", "front"
ZERO_GAP = 10**0.5  # zero is drawn so many times below the smallest number above zero
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
    table = table[table["latency_s"].notna()].copy()
    across, up = _axis(table, x, "across"), _axis(table, y, "up")
    table = table.sort_values("across", kind="stable")
    front, others = table[table["pareto"]], table[~table["pareto"]]
    names = _names(front, across, up)
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in front.index])
    # What can be had: to the upper right of the stairs.
    stairs = {"mode": "lines", "line": {"shape": "hv", "color": layout.GREY, "width": 1.5}}
    disc = {"size": 12, "color": colours, "line": {"color": layout.RIM, "width": 2}}
    named = {"mode": "markers+text", "text": names, "textposition": "bottom left"}
    unnamed = names.count("")
    other_power = power is not None and power != study.scenario.power
    point = f"batch size {batch_size}, {format_rate(data_rate_bps, in_bytes=False)}"
    return layout.page(
        [
            _points(STAIRCASE, front) | stairs | {"hoverinfo": "skip", "hovertemplate": None},
            _points(OTHERS, others) | {"marker": {"size": 6, "color": layout.GREY}},
            _points(FRONT, front) | named | {"cliponaxis": False, "marker": disc},
        ],
        (
            f"{WORDS[y][0]} against {WORDS[x][0].lower()}: {study.edge.graph.model}",
            f"{point}: {len(front)} of {len(table)} candidates on the front",
        ),
        [
            study.label(),
            f"Here the {power.label()}." if power and other_power else "",
            "Grey: another candidate is at least as good in both and better in one.",
            f"{unnamed} names on the front that would overlap stand in the hover only."
            * (unnamed > 0),
            "Logarithmic axes; zero is drawn below the smallest number."
            * bool((table[[x, y]] == 0).any(axis=None)),
            layout.left_out(len(study.splits) - len(table)),
        ],
        plot_px=PLOT,
        axis_px=layout.PLAIN_AXIS,
        xaxis=across,
        yaxis=up,
        showlegend=False,
    )


def _points(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """Candidates, with all that they cost under the mouse."""
    used = [column for column in COLUMNS if column in table]
    told = {f"<br>{WORDS[one][0].lower()} {{:.3~s}}{WORDS[one][1]}": table[one] for one in used}
    points = {"name": name, "mode": "markers", "x": table["across"], "y": table["up"]}
    points["hovertext"] = list(map(layout.full_name, table["split"]))
    return points | layout.hover(told, "<b>%{hovertext}</b>", f"<br>{name}")


def _axis(table: pd.DataFrame, objective: str, place: str) -> dict[str, Any]:
    """A logarithmic axis, and in the column `place` where on it candidates lie.

    A zero lies below all else, with a tick of its own.
    """
    values, (words, unit) = table[objective], WORDS[objective]
    least = float(values[values > 0].min()) if values.any() else ZERO_GAP
    table[place] = values.where(values > 0, least / ZERO_GAP)
    low, high = float(table[place].min()), float(table[place].max())
    room = (high / low) ** 0.08 * 1.05
    axis = layout.log_axis(low / room, high * room, unit, words)
    if low < least:
        ticks = [tick for tick in axis["tickvals"] if tick * 1.05 >= least]
        axis["tickvals"] = [low, *ticks]
        axis["ticktext"] = ["0", *(layout.in_unit(tick, unit) for tick in ticks)]
    return axis


def _names(front: pd.DataFrame, across: dict[str, Any], up: dict[str, Any]) -> list[str]:
    """Names at the lower left of their points, empty where one would overlap the one before.

    No other point is there, or it would dominate. The left end of the axis moves so far that the
    first name has room.
    """
    names = list(map(layout.label, front["split"]))
    width = [layout.NAME_CHARACTER * len(name) + 12 for name in names]
    x, y = np.log10(front["across"].to_numpy()), np.log10(front["up"].to_numpy())
    (low, high), share = across["range"], width[0] / layout.PLOT_WIDTH
    across["range"] = [min(low, (x[0] - high * share) / (1 - share)), high]
    x *= layout.PLOT_WIDTH / np.ptp(across["range"])
    y *= PLOT / np.ptp(up["range"])
    last = 0
    for k in range(1, len(names)):
        if y[last] - y[k] > layout.LABEL_HEIGHT or x[k] - width[k] > x[last]:
            last = k
        else:
            names[k] = ""
    return names
