"""Predicted against executed: one point a split and state, and the parts of the time beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.figures.layout import AXIS, LEGEND_ABOVE, PLAIN_AXIS, hover, page
from dscwb.units import format_percent, shown_name

if TYPE_CHECKING:
    from dscwb.running.validation import Validation

PARTS = {"head": "head", "codec": "encoding", "link": "link", "tail": "tail"}
PREDICTED, EXECUTED = "rgb(230, 130, 0)", "rgb(20, 100, 200)"
BAND = 0.1
"""Between the dotted lines prediction and execution are at most so much apart."""
PLOT_PX = 380


def plot_validation(validation: Validation) -> go.Figure:
    """Executed times over predicted ones, and how far each part of them is off.

    Left: one point for each split, batch size, data rate and idle gap, the median of its requests.
    Up and down reach the middle half of them, to left and right the interval that was stated for
    the median; what lies above the diagonal took longer than predicted, and a point is hollow
    where it lies outside its interval.
    Right: the parts of the time, medians over all states of executed and predicted.

    Args:
        validation: Of `validate` or `load_validation`.
    """
    states, split = validation.states(), "split"
    executed, predicted = 1e3 * states["total_s"], 1e3 * states["predicted_total_s"]
    figure = make_subplots(cols=2, column_widths=[0.64, 0.36], horizontal_spacing=0.12)
    told = hover(
        {
            "<b>{}</b>": [shown_name(name) for name in states[split]],
            "<br>batch size {:d}": states["batch_size"],
            ", {:.3~s}bit/s": states["data_rate_bps"],
            ", after {:.3~s}s of idling": states["gap_s"],
            "<br>executed {:.1f} ms": executed,
            ", predicted {:.1f} ms": predicted,
            " ({:.1f}": 1e3 * states["predicted_low_s"],
            " to {:.1f})": 1e3 * states["predicted_high_s"],
        }
    )
    ends = np.array([min(executed.min(), predicted.min()), max(executed.max(), predicted.max())])
    ends = ends * [0.8, 1.25]
    for factor, dash in ((1, "solid"), (1 + BAND, "dot"), (1 / (1 + BAND), "dot")):
        line = {"color": "rgba(110, 110, 110, 0.8)", "width": 1, "dash": dash}
        figure.add_scatter(
            x=ends, y=factor * ends, mode="lines", line=line, hoverinfo="skip", showlegend=False
        )
    figure.add_scatter(
        x=predicted,
        y=executed,
        mode="markers",
        marker={
            "color": EXECUTED,
            "size": 7,
            "opacity": 0.8,
            "symbol": np.where(states["inside"], "circle", "circle-open"),
        },
        error_x={
            "array": 1e3 * states["predicted_high_s"] - predicted,
            "arrayminus": predicted - 1e3 * states["predicted_low_s"],
            "thickness": 1,
            "width": 0,
            "color": PREDICTED,
        },
        error_y={
            "array": 1e3 * states["high_s"] - executed,
            "arrayminus": executed - 1e3 * states["low_s"],
            "thickness": 1,
            "width": 0,
        },
        showlegend=False,
        **told,
    )
    for name, colour, way in (
        ("predicted", PREDICTED, "predicted_"),
        ("executed", EXECUTED, ""),
    ):
        figure.add_bar(
            x=list(PARTS.values()),
            y=[1e3 * states[f"{way}{part}_s"].median() for part in PARTS],
            name=name,
            marker={"color": colour},
            hovertemplate="%{x} %{y:.2f} ms<extra>%{fullData.name}</extra>",
            row=1,
            col=2,
        )
    origin = validation.origin
    ticks = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]
    log = {**AXIS, "type": "log", "range": np.log10(ends), "tickvals": ticks}
    return page(
        figure,
        (
            f"Prediction and execution of {origin['model']}",
            f"median error {format_percent(validation.median_error)}, nine in ten states within "
            f"{format_percent(validation.p90_error)}",
        ),
        [
            f"{len(states)} states, {len(validation.requests)} requests, executed "
            f"({origin['link']}). Dotted lines: {format_percent(BAND)} apart. Orange: the "
            f"intervals stated for the medians; {format_percent(validation.coverage)} lie inside, "
            "the others are hollow. Regret of the predicted best: "
            f"{format_percent(validation.mean_regret)} in the mean.",
            f"Device: {origin['device']}. Server: {origin['server']}.",
        ],
        plot_px=PLOT_PX,
        axis_px=PLAIN_AXIS,
        xaxis={**log, "title": {"text": "Predicted in ms"}},
        yaxis={**log, "title": {"text": "Executed in ms"}},
        yaxis2={"title": {"text": "Median in ms"}},
        legend=LEGEND_ABOVE,
    )
