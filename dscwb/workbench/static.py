"""The workbench's pictures as plain figures, for front ends that have trouble with live ones."""

from __future__ import annotations

import json
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from dscwb.figures import (
    plot_compression,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_maps,
)
from dscwb.figures.layout import CONFIG
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.workbench.state import State

FIGURES = ("maps", "latency", "breakdown", "compression")


class Static(widgets.Output):  # type: ignore[misc]  # it has no types of its own
    """All figures drawn anew at each change; clicks are not heard."""

    def picture(
        self,
        study: Study,
        state: State,
        confidence: Confidence | None,
        answer: str,
        *,
        moved: bool = False,
    ) -> dict[str, Any]:
        """What the traits must be to show a state, as in `Canvas.picture`."""
        figures = (figure(which, study, state, confidence) for which in FIGURES)
        return {"outputs": tuple(map(_output, figures))}


def figure(which: str, study: Study, state: State, confidence: Confidence | None) -> go.Figure:
    """One of `FIGURES`, with the state marked.

    Raises:
        ValueError: No such picture.
    """
    point: dict[str, Any] = {"batch_size": state.batch_size, "data_rate_bps": state.data_rate_bps}
    match which:
        case "maps":
            return plot_maps(study, confidence=confidence, baseline=state.baseline, **point)
        case "latency":
            return plot_latency_vs_rate(study, **point)
        case "breakdown":
            return plot_latency_breakdown(study, **point)
        case "compression":
            return plot_compression(study.edge.graph)
    raise ValueError(f"No figure {which!r}; choose one of {', '.join(FIGURES)}.")


def _output(figure: go.Figure) -> dict[str, Any]:
    data = {
        "application/vnd.plotly.v1+json": json.loads(str(figure.to_json())),
        # Colab knows only this one.
        "text/html": figure.to_html(full_html=False, include_plotlyjs="cdn", config=CONFIG),
    }
    return {"output_type": "display_data", "data": data, "metadata": {}}
