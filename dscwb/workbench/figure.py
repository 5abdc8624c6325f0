"""The workbench's pictures as plain figures, to change and to save."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dscwb.figures import (
    plot_compression,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_maps,
)
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.workbench.state import State

FIGURES = ("maps", "latency", "breakdown", "compression")


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
