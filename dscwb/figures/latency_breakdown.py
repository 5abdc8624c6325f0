"""Where the time goes at one batch size and data rate: the parts of every candidate's latency."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.cost import cost_at
from dscwb.figures import layout
from dscwb.figures.colours import split_colours
from dscwb.study import Study
from dscwb.units import BITS_PER_BYTE, format_cost, format_rate, format_seconds

Floats = NDArray[np.float64]

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
    state = study.at_rates(data_rate_bps)
    row, rate = study.row(batch_size), float(state.data_rates_bps[0])
    parts, missing = _parts(study, row, rate)
    best, cost = int(state.best[row, 0]), state.cost_at(batch_size)[:, 0]
    if missing[best]:
        raise ValueError(
            f"At 0 bit/s nothing can be sent, and batch size {batch_size} has no time without "
            "sending: draw a rate above zero."
        )
    total = parts.sum(axis=0)
    top = _top(total, best)
    names, shown = list(map(layout.full_name, study.splits)), list(map(layout.label, study.splits))
    (colour,) = split_colours(study.edge.graph, [study.lines.splits[best]])
    more = [f"{format_cost(one, study.unit)} more than the best" for one in cost - cost[best]]
    more[best] = "the best"
    figure = go.Figure(
        [*_bars(study, row, names, parts), *_hatched(names, missing, top)],
    )
    hidden = {"mode": "markers", "marker": {"opacity": 0}, "showlegend": False}
    told = {"text": more, "hovertemplate": "%{y:.3~s}s, %{text}"}
    figure.add_scatter(name=TOTAL, x=names, y=total, **hidden, **told)
    figure.add_scatter(
        name=BEST,
        x=[names[best]],
        y=[total[best] + top * 0.02],
        mode="markers",
        cliponaxis=False,
        marker={"symbol": "triangle-down", "size": 13, "color": colour}
        | {"line": {"color": layout.RIM, "width": 2}},
        hoverinfo="skip",
    )
    bold = [f"<b>{name}</b>" if i == best else name for i, name in enumerate(shown)]
    figure.update_layout(
        barmode="stack",
        hovermode="x unified",
        bargap=0.15,
        xaxis=layout.depth_axis(names, bold, "Split"),
        yaxis=layout.linear_axis("s", "Latency") | {"range": [0, top]},
        legend=layout.LEGEND_ABOVE,
    )
    shown_rate = format_rate(rate, in_bytes=False)
    return layout.page(
        figure,
        f"Latency of {study.edge.graph.model}, batch size {batch_size}, {shown_rate}",
        layout.best_in_words(study, batch_size, rate),
        _caption(study, row, missing, float(np.nanmax(total)), top),
        plot_px=PLOT,
        axis_px=layout.depth_px(shown),
    )


def _parts(study: Study, row: int, rate_bps: float) -> tuple[Floats, NDArray[np.str_]]:
    """Seconds of each of `PARTS`, ``(part, split)``, and why a candidate has none; else empty."""
    lines = study.lines
    transfer = cost_at(0.0, lines.bits[row], rate_bps)
    wait = np.full(len(lines.splits), lines.wait_s[row])
    parts = np.stack([wait, lines.head_s[row], transfer, lines.link_s[row], lines.tail_s[row]])
    reasons = np.stack([lines.too_large[row], np.isnan(parts).any(axis=0), np.isinf(transfer)])
    missing = np.where(reasons.any(axis=0), np.array(list(MISSING))[reasons.argmax(axis=0)], "")
    parts[:, missing != ""] = np.nan
    return parts, missing


def _bars(study: Study, row: int, names: list[str], parts: Floats) -> list[go.Bar]:
    """Parts that take no time at all have no entry in the legend."""
    back = " and result" * (study.scenario.link.downlink_bps is not None)
    return [
        go.Bar(
            name=words + back * (part == "link"),
            meta=part,
            x=names,
            y=seconds,
            marker={"color": colour, "line": {"width": 0}},
            customdata=study.lines.bits[row] / BITS_PER_BYTE,
            hovertemplate="%{y:.3~s}s" + " (%{customdata:.3~s}B)" * (part == "transfer"),
        )
        for (part, (colour, words)), seconds in zip(PARTS.items(), parts, strict=True)
        if np.nanmax(seconds) > 0
    ]


def _hatched(names: list[str], missing: NDArray[np.str_], top: float) -> list[go.Bar]:
    empty = {"color": "rgba(0, 0, 0, 0)", "line": {"width": 0.5, "color": layout.GREY}}
    return [
        go.Bar(
            name=why,
            meta=why,
            x=[name for name, one in zip(names, missing, strict=True) if one == why],
            y=[top] * int((missing == why).sum()),
            marker=empty | {"pattern": {"shape": pattern, "fgcolor": layout.GREY, "size": 6}},
            hovertemplate=" ",
        )
        for why, (pattern, _) in MISSING.items()
        if why in missing
    ]


def _top(total_s: Floats, best: int) -> float:
    """End of the axis: all bars, or where one is far longer than the others, most of them."""
    usual = max(OUTLIER * float(np.nanmedian(total_s)), float(total_s[best]))
    longest = float(np.nanmax(total_s))
    return (longest if longest <= LITTLE_MORE * usual else usual) * 1.12


def _caption(
    study: Study, row: int, missing: NDArray[np.str_], longest_s: float, top: float
) -> str:
    words = [study.label()]
    for why, (_, reason) in MISSING.items():
        if count := int((missing == why).sum()):
            words.append(f"Hatched: {count} candidate{'s' * (count > 1)} that {reason}.")
    if longest_s > top:
        longest = format_seconds(longest_s)
        words.append(f"Bars that reach the top leave the plot; the longest takes {longest}.")
    if study.lines.interpolated[row]:
        words.append(layout.INTERPOLATED)
    return " ".join(words)
