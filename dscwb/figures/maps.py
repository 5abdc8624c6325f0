"""Best split and gain side by side in one figure, as the workbench shows them."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

from dscwb.figures.best_split import (
    NAME_HEIGHT,
    about_lines,
    best_split_heading,
    best_split_traces,
)
from dscwb.figures.gain import gain_heading, gain_over, gain_traces
from dscwb.figures.layout import page
from dscwb.figures.state_map import LEFT, RIGHT, Cells, Panel, marked
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.units import NO_OFFLOADING

PLOT = 340  # pixels, always: a page must not jump while a slider changes the model


def plot_maps(
    study: Study,
    *,
    confidence: Confidence | None = None,
    baseline: str = NO_OFFLOADING,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    width: int | None = None,
) -> go.Figure:
    """`plot_best_split` and `plot_gain` side by side in one figure; arguments as there."""
    cells = Cells.of(study)
    gained = gain_over(cells, baseline, RIGHT)
    plot_px = max(PLOT, len(study.chosen) * NAME_HEIGHT)
    figure = go.Figure(
        [
            *best_split_traces(cells, confidence, LEFT),
            *marked(study, batch_size, data_rate_bps, LEFT),
            *gain_traces(cells, gained, RIGHT),
            *marked(study, batch_size, data_rate_bps, RIGHT),
        ]
    )
    figure.update_layout(cells.axes(LEFT, plot_px) | cells.axes(RIGHT, plot_px))
    figure.add_annotation(_title(*best_split_heading(study), LEFT))
    figure.add_annotation(_title(*gain_heading(gained), RIGHT))
    return page(
        figure,
        "",
        "",
        f"{cells.caption()} {about_lines(confidence)}{gained.why}",
        plot_px=plot_px,
        width=width,
    )


def _title(heading: str, subheading: str, panel: Panel) -> dict[str, Any]:
    """The title of one of both, for `add_annotation`."""
    words = [html.escape(text, quote=False) for text in (heading, subheading)]
    return {
        "text": f"{words[0]}<br><span style='font-size:12px'>{words[1]}</span>",
        "xref": "paper",
        "x": panel.domain[0],
        "xanchor": "left",
        "yref": "paper",
        "y": 1,
        "yanchor": "bottom",
        "yshift": 6,
        "align": "left",
        "font": {"size": 16},
        "showarrow": False,
    }
