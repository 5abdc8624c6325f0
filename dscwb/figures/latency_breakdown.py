"""Where the time goes at one batch size and data rate: the parts of every candidate's latency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.cost import cost_at
from dscwb.figures.colours import split_colours
from dscwb.figures.layout import (
    GREY,
    RIM,
    depth_axis,
    depth_px,
    full_name,
    label,
    linear_axis,
    page,
)
from dscwb.study import Study
from dscwb.units import (
    BITS_PER_BYTE,
    format_bytes,
    format_cost,
    format_rate,
    format_seconds,
    shown_name,
)

Floats = NDArray[np.float64]

PLOT = 360  # pixels
OUTLIER = 3.0  # bars longer than so many medians are cut off, or they would flatten the others
LITTLE_MORE = 1.5  # bars that exceed that by less are shown whole
BEST, CUT_OFF = "best", "longer than shown"
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
MANY = 500  # candidates; of more, words for each bar and part would be megabytes


@dataclass(frozen=True, eq=False)
class _Breakdown:
    """One entry a candidate, from input to output.

    Attributes:
        row: Row of the batch size in the study.
        parts: Seconds of each of `PARTS`, ``(part, split)``; NaN without times.
        total_s: Their sum, ``(split,)``.
        missing: Why there are no times, empty where there are.
        best: Index of the best split by the study's objective.
        margin: Cost above the best one, seconds or joules, ``(split,)``.
        top_s: Upper end of the axis in seconds.
        words: What each bar says under the mouse.
    """

    row: int
    parts: Floats
    total_s: Floats
    missing: tuple[str, ...]
    best: int
    margin: Floats
    top_s: float
    words: list[str]


def plot_latency_breakdown(
    study: Study,
    *,
    batch_size: int,
    data_rate_bps: float,
    width: int | None = None,
) -> go.Figure:
    """Latency of every candidate as head, payload, link and tail on top of each other.

    The best one by the study's objective is marked. Candidates without times are hatched.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The batch size is not on the grid, or the rate is below zero, or the link
            is down and no offloading is not possible.
    """
    info = _breakdown(study, batch_size, data_rate_bps)
    names = [label(name) for name in study.splits]
    preferred = [i == info.best for i in range(len(names))]
    names[info.best] = f"<b>{names[info.best]}</b>"
    figure = go.Figure(
        [*_bars(study, info), *_missing(info), _cut_off(info), _best(study, info)],
    )
    figure.update_layout(
        barmode="stack",
        hovermode="closest" if len(names) <= MANY else "x",
        bargap=0.15,
        xaxis=depth_axis(names, preferred, width, "Split"),
        yaxis=linear_axis("s", "Latency") | {"range": [0, info.top_s]},
    )
    rate = format_rate(data_rate_bps, in_bytes=False)
    return page(
        figure,
        f"Latency of {study.edge.graph.model}, batch size {batch_size}, {rate}",
        _subheading(study, info),
        _caption(study, info),
        plot_px=PLOT,
        axis_px=depth_px([label(name) for name in study.splits]),
        legend_above=True,
        width=width,
    )


def _breakdown(study: Study, batch_size: int, data_rate_bps: float) -> _Breakdown:
    row = study.row(batch_size)
    state = study.at_rates(data_rate_bps)
    rate, lines = float(state.data_rates_bps[0]), study.lines
    wait = np.full(len(lines.splits), lines.wait_s[row])
    transfer = cost_at(0.0, lines.bits[row], rate)
    parts = np.stack([wait, lines.head_s[row], transfer, lines.link_s[row], lines.tail_s[row]])
    unknown = np.isnan(parts).any(axis=0)
    parts[:, unknown | np.isinf(transfer)] = np.nan
    missing = tuple(
        "does not fit" if large else "not measured" if none else "link is down" if down else ""
        for large, none, down in zip(lines.too_large[row], unknown, np.isinf(transfer), strict=True)
    )
    cost = state.cost_at(batch_size)[:, 0]
    best = int(state.best[row, 0])
    if missing[best]:
        raise ValueError(
            f"At 0 bit/s nothing can be sent, and batch size {batch_size} has no time without "
            "sending: draw a rate above zero."
        )
    total, margin = parts.sum(axis=0), cost - cost[best]
    words = [
        _words(study, why, parts[:, i], lines.bits[row, i] / BITS_PER_BYTE, i, best, margin[i])
        for i, why in enumerate(missing)
    ]
    return _Breakdown(row, parts, total, missing, best, margin, _top(total, best), words)


def _top(total_s: Floats, best: int) -> float:
    """End of the axis: all bars, or where one is far longer than the others, most of them."""
    usual = max(OUTLIER * float(np.nanmedian(total_s)), float(total_s[best]))
    longest = float(np.nanmax(total_s))
    return (longest if longest <= LITTLE_MORE * usual else usual) * 1.12


def _words(
    study: Study, why: str, parts: Floats, payload_bytes: float, i: int, best: int, margin: float
) -> str:
    name = f"<b>{full_name(study.splits[i])}</b>"
    if why:
        return f"{name}<br>{why}"
    told = [
        f"{_part(study, part)} {format_seconds(seconds)}"
        + (f" ({format_bytes(payload_bytes)})" if part == "transfer" else "")
        for part, seconds in zip(PARTS, parts.tolist(), strict=True)
        if seconds or part in ("head", "transfer", "tail")
    ]
    of = f"= {'<br>+ '.join(told)}<br>" if len(study.splits) <= MANY else ""
    more = "the best" if i == best else f"{format_cost(margin, study.unit)} more than the best"
    return f"{name}: {format_seconds(float(parts.sum()))}<br>{of}{more}"


def _part(study: Study, name: str) -> str:
    back = name == "link" and study.scenario.link.downlink_bps is not None
    return PARTS[name][1] + (" and result" if back else "")


def _told(words: list[str]) -> dict[str, object]:
    return {"hovertext": words, "hovertemplate": "%{hovertext}<extra></extra>"}


def _bars(study: Study, info: _Breakdown) -> list[go.Bar]:
    """Parts that take no time at all have no entry in the legend."""
    shown = [k for k, seconds in enumerate(info.parts) if np.nanmax(seconds) > 0]
    # Under a pixel wide, a bar is found by its place; then its words stand on the page once.
    told = shown if len(info.words) <= MANY else shown[-1:]
    names = list(PARTS)
    return [
        go.Bar(
            name=_part(study, names[k]),
            meta=names[k],
            x=np.arange(len(info.words)),
            y=info.parts[k],
            marker={"color": PARTS[names[k]][0], "line": {"width": 0}},
            textposition="none",
            **(_told(info.words) if k in told else {"hoverinfo": "skip"}),
        )
        for k in shown
    ]


def _missing(info: _Breakdown) -> list[go.Bar]:
    places = {why: [i for i, one in enumerate(info.missing) if one == why] for why in MISSING}
    return [
        go.Bar(
            name=why,
            meta=why,
            x=here,
            y=[info.top_s] * len(here),
            marker={
                "color": "rgba(0, 0, 0, 0)",
                "line": {"width": 0.5, "color": GREY},
                "pattern": {"shape": MISSING[why][0], "fgcolor": GREY, "size": 6},
            },
            textposition="none",
            **_told([info.words[i] for i in here]),
        )
        for why, here in places.items()
        if here
    ]


def _cut_off(info: _Breakdown) -> go.Scatter:
    here = np.flatnonzero(info.total_s > info.top_s).tolist()
    rim = {"color": "black", "width": 1}
    return go.Scatter(
        name=CUT_OFF,
        meta=CUT_OFF,
        x=here,
        y=[info.top_s * 0.985] * len(here),
        mode="markers",
        marker={"symbol": "triangle-up", "size": 8, "color": "white", "line": rim},
        showlegend=bool(here),
        **_told([info.words[i] for i in here]),
    )


def _best(study: Study, info: _Breakdown) -> go.Scatter:
    """Over the best bar, in the colour that its split has in all figures."""
    (colour,) = split_colours(study.edge.graph, [study.lines.splits[info.best]])
    rim = {"color": RIM, "width": 2}
    return go.Scatter(
        name=BEST,
        meta=BEST,
        x=[info.best],
        y=[info.total_s[info.best] + info.top_s * 0.02],
        mode="markers",
        cliponaxis=False,
        marker={"symbol": "triangle-down", "size": 13, "color": colour, "line": rim},
        **_told([info.words[info.best]]),
    )


def _subheading(study: Study, info: _Breakdown) -> str:
    measure = " in the device's energy" if study.unit == "J" else ""
    words = f"{shown_name(study.splits[info.best])} is best{measure}: "
    words += format_seconds(float(info.total_s[info.best]))
    others = np.where(np.arange(len(info.margin)) == info.best, np.nan, info.margin)
    if np.isnan(others).all():
        return words
    second = int(np.nanargmin(others))
    ahead = format_cost(float(others[second]), study.unit)
    return f"{words}, {ahead} ahead of {shown_name(study.splits[second])}"


def _caption(study: Study, info: _Breakdown) -> str:
    words = [study.label()]
    for why, (_, reason) in MISSING.items():
        if count := info.missing.count(why):
            words.append(f"Hatched: {count} candidate{'s' * (count > 1)} that {reason}.")
    if (info.total_s > info.top_s).any():
        longest = format_seconds(float(np.nanmax(info.total_s)))
        words.append(f"Bars with a triangle leave the plot; the longest takes {longest}.")
    if study.lines.interpolated[info.row]:
        words.append("Times at this batch size are interpolated linearly.")
    return " ".join(words)
