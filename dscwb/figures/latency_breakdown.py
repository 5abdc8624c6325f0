"""Where the time goes at one batch size and data rate: the parts of every candidate's latency."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.colours import split_colours
from dscwb.cost import Floats, cost_at
from dscwb.figures import layout
from dscwb.study import Study
from dscwb.units import BITS_PER_BYTE, format_cost, format_rate, format_seconds

PLOT = 360  # pixels
OUTLIER = 3.0  # bars longer than so many medians are cut off, or they would flatten the others
LITTLE_MORE = 1.5  # bars that exceed that by less are shown whole
BEST, TOTAL = "best", "latency"
PARTS = {
    "wait": ("rgb(153, 153, 153)", "waiting for the batch"),
    "head": ("rgb(0, 114, 178)", "device (head)"),
    "transfer": ("rgb(230, 159, 0)", "payload"),
    "link": ("rgb(204, 121, 167)", "round trip"),
    "tail": ("rgb(0, 158, 115)", "server (tail)"),
}
"""Colour (Okabe and Ito's, told apart without colour vision) and name of each part."""
MISSING = {
    "does not fit": ("/", "would not fit into the device's memory"),
    "not measured": (".", "a profile has no times for"),
    "link is down": ("x", "cannot be sent, since the link is down"),
}
"""Why a candidate has no bar: the pattern that stands for it, and what a caption says."""


def plot_latency_breakdown(study: Study, *, batch_size: int, data_rate_bps: float) -> go.Figure:
    """Latency of every candidate as head, payload, link and tail on top of each other.

    The best one by the study's objective is marked. Candidates without times are hatched.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.

    Raises:
        ValueError: The batch size is not on the grid, or the rate is below zero, or the link
            is down and no offloading is not possible.
    """
    state, row = study.at_rates(data_rate_bps), study.row(batch_size)
    rate, best = float(state.data_rates_bps[0]), int(state.best[row, 0])
    parts, missing = _parts(study, row, rate)
    if missing[best]:
        raise ValueError(
            f"At 0 bit/s nothing can be sent, and batch size {batch_size} has no time without "
            "sending: draw a rate above zero."
        )
    total, cost = parts.sum(axis=0), state.cost_at(batch_size)[:, 0]
    longest, usual = float(np.nanmax(total)), max(OUTLIER * np.nanmedian(total), total[best])
    top = float(longest if longest <= LITTLE_MORE * usual else usual) * 1.12
    names = list(map(layout.full_name, study.splits))
    more = [f"{format_cost(one, study.unit)} more than the best" for one in cost - cost[best]]
    more[best] = "the best"
    told = {"text": more, "hovertemplate": "%{y:.3~s}s, %{text}", "marker": {"opacity": 0}}
    (colour,) = split_colours(study.edge.graph, [study.lines.splits[best]])
    rim = {"line": {"color": layout.RIM, "width": 2}}
    mark: dict[str, Any] = {"x": [names[best]], "y": [total[best] + top * 0.02]}
    mark["marker"] = rim | {"symbol": "triangle-down", "size": 13, "color": colour}
    points = {"mode": "markers", "cliponaxis": False}
    counts = {why: int((missing == why).sum()) for why in MISSING if why in missing}
    figure = layout.page(
        [
            *_bars(study, row, parts, missing, top),
            points | {"name": TOTAL, "x": names, "y": total, "showlegend": False} | told,
            points | {"name": BEST, "hoverinfo": "skip"} | mark,
        ],
        (
            f"Latency of {study.edge.graph.model}, batch size {batch_size}, "
            f"{format_rate(rate, in_bytes=False)}",
            layout.best_in_words(study, batch_size, rate),
        ),
        [
            study.label(),
            *(
                f"Hatched: {n} candidate{'s' * (n > 1)} that {MISSING[k][1]}."
                for k, n in counts.items()
            ),
            "Bars that reach the top leave the plot; the longest takes "
            f"{format_seconds(longest)}." * (longest > top),
            layout.INTERPOLATED * bool(study.lines.interpolated[row]),
        ],
        plot_px=PLOT,
        barmode="stack",
        hovermode="x unified",
        bargap=0.15,
        xaxis=layout.depth_axis(names, "Split"),
        yaxis=layout.linear_axis("s", "Latency") | {"range": [0, top]},
        legend=layout.LEGEND_ABOVE,
    )
    figure.layout.xaxis.labelalias[names[best]] = f"<b>{layout.label(study.splits[best])}</b>"
    return figure


def _parts(study: Study, row: int, rate_bps: float) -> tuple[Floats, NDArray[np.str_]]:
    """Seconds of each of `PARTS`, ``(part, split)``, and why a candidate has none; else empty."""
    lines = study.lines
    transfer = cost_at(0.0, lines.bits[row], rate_bps)
    seconds = lines.wait_s[row], lines.head_s[row], transfer, lines.link_s[row], lines.tail_s[row]
    parts = np.stack(np.broadcast_arrays(*seconds))
    reasons = [lines.too_large[row], np.isnan(parts).any(axis=0), np.isinf(transfer)]
    missing = np.select(reasons, list(MISSING), "")
    return np.where(missing == "", parts, np.nan), missing


def _bars(
    study: Study, row: int, parts: Floats, missing: NDArray[np.str_], top: float
) -> list[dict[str, Any]]:
    """Parts on top of each other, and hatches; what is nowhere has no entry in the legend."""
    bars: list[dict[str, Any]] = []
    for (part, (colour, words)), seconds in zip(PARTS.items(), parts, strict=True):
        back = part == "link" and study.scenario.link.downlink_bps is not None
        size = " (%{customdata:.3~s}B)" if part == "transfer" else ""
        look = {"color": colour, "line": {"width": 0}}
        told = {"name": words + " and result" * back, "hovertemplate": f"%{{y:.3~s}}s{size}"}
        bars.append({"meta": part, "y": seconds, "marker": look} | told)
    empty = {"color": "rgba(0, 0, 0, 0)", "line": {"width": 0.5, "color": layout.GREY}}
    for why, (shape, _) in MISSING.items():
        look = empty | {"pattern": {"shape": shape, "fgcolor": layout.GREY, "size": 6}}
        told = {"name": why, "hovertemplate": " "}
        heights = np.where(missing == why, top, np.nan)
        bars.append({"meta": why, "y": heights, "marker": look} | told)
    every = {"type": "bar", "x": list(map(layout.full_name, study.splits))}
    every["customdata"] = study.lines.bits[row] / BITS_PER_BYTE
    return [bar | every for bar in bars if (bar["y"] > 0).any()]
