"""Best split and gain side by side in one figure, as the workbench shows them."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.figures.best_split import plot_best_split
from dscwb.figures.gain import plot_gain
from dscwb.figures.layout import caption_of, page, shortened
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.units import NO_OFFLOADING

NARROW_NAME = 20  # characters that have room between the two maps
PLOT = 340  # pixels at least: a page must not jump while a slider changes the model


def plot_maps(
    study: Study,
    *,
    confidence: Confidence | None = None,
    baseline: str = NO_OFFLOADING,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
) -> go.Figure:
    """`plot_best_split` and `plot_gain` side by side in one figure; arguments as there."""
    point: dict[str, Any] = {"batch_size": batch_size, "data_rate_bps": data_rate_bps}
    best = plot_best_split(study, confidence=confidence, **point)
    gain = plot_gain(study, baseline=baseline, **point)
    titles = [
        f"{one.text}<br><span style='font-size:12px'>{one.subtitle.text}</span>"
        for one in (best.layout.title, gain.layout.title)
    ]
    # Between the two stands the first map's colour bar.
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.2, subplot_titles=titles)
    for column, one in enumerate((best, gain), start=1):
        figure.add_traces(one.data, rows=1, cols=column)
        figure.update_xaxes(one.layout.xaxis.to_plotly_json(), col=column)
        figure.update_yaxes(one.layout.yaxis.to_plotly_json(), col=column)
        left = figure.layout["xaxis" if column == 1 else "xaxis2"].domain[0]
        figure.layout.annotations[column - 1].update(x=left, xanchor="left", align="left", yshift=6)
    bar = figure.data[0].colorbar
    names = [shortened(name, NARROW_NAME) for name in bar.ticktext]
    bar.update(x=figure.layout.xaxis.domain[1], ticktext=names)
    figure.update_yaxes(title_text="", col=2)
    more = caption_of(gain).removeprefix(caption_of(best).partition(" White lines:")[0])
    margin = best.layout.margin
    plot_px = max(PLOT, best.layout.height - margin.t - margin.b)
    return page(figure, ("", ""), [caption_of(best) + more], plot_px=plot_px)
