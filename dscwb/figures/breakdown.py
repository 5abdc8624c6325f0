"""Where the time goes in one state: a study and a state go in, every candidate's parts come out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.axes import (
    depth_axis,
    depth_axis_px,
    formatted,
    legend_above,
    linear_axis,
    short_rate,
    shortened,
)
from dscwb.figures.colours import split_colours
from dscwb.figures.page import ASSUMED_WIDTH, Template, set_page, title
from dscwb.optimise import cost_at
from dscwb.study.sweeps import Study
from dscwb.units import BITS_PER_BYTE, format_bytes, format_seconds

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
MISSING = {"does not fit": "/", "not measured": ".", "link is down": "x"}
"""Why a candidate has no bar, and the pattern that stands for it."""
MANY = 500  # candidates; of more, words for each bar and part would be megabytes
EMPTY = "rgba(150, 150, 150, 0.6)"
RIM = "rgb(110, 110, 110)"  # seen on light and on dark pages


@dataclass(frozen=True, eq=False)
class BreakdownNumbers:
    """Numbers of `plot_latency_breakdown`, one entry a candidate from input to output.

    Attributes:
        row: Row of the batch size in the study.
        parts: Seconds of each of `PARTS`, ``(part, split)``; NaN without times.
        payload_bytes: Bytes sent, overhead included, ``(split,)``.
        missing: Why there are no times, empty where there are, ``(split,)``.
        best: Index of the best split by the study's objective.
        margin: Cost above the best one, seconds or joules, ``(split,)``.
        top_s: Upper end of the axis in seconds.
    """

    row: int
    parts: Floats
    payload_bytes: Floats
    missing: tuple[str, ...]
    best: int
    margin: Floats
    top_s: float

    @property
    def total_s(self) -> Floats:
        """Latency of each candidate, ``(split,)``; NaN without times."""
        total: Floats = self.parts.sum(axis=0)
        return total


def plot_latency_breakdown(
    study: Study,
    batch_size: int,
    data_rate_bps: float,
    *,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """Latency of every candidate in one state as head, payload, link and tail on top of each other.

    The best one by the study's objective is marked. Candidates without times are hatched.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The batch size is not on the grid, or the rate is below zero, or the link
            is down and no offloading is not possible.
    """
    info = breakdown_numbers(study, batch_size, data_rate_bps)
    figure = go.Figure(
        [
            *_bars(study, info),
            *_missing(study, info),
            _cut_off(study, info),
            _best(study, info),
        ]
    )
    preferred = [i == info.best for i in range(len(study.splits))]
    depth = depth_axis(study.splits, preferred, width or ASSUMED_WIDTH, "Split after")
    at = depth["tickvals"].index(info.best) if info.best in depth["tickvals"] else None
    if at is not None:
        depth["ticktext"][at] = f"<b>{depth['ticktext'][at]}</b>"
    figure.update_layout(
        barmode="stack",
        hovermode="closest" if len(study.splits) <= MANY else "x",
        bargap=0.15,
        xaxis=depth,
        yaxis=linear_axis(info.top_s, "s", "Latency"),
        title=title(*_heading(study, info, data_rate_bps)),
        legend={"traceorder": "normal"},
    )
    set_page(
        figure,
        _caption(study, info),
        plot_px=PLOT,
        axis_px=depth_axis_px(depth),
        template=template,
        width=width,
    )
    legend_above(figure, width)
    return figure


def breakdown_numbers(study: Study, batch_size: int, data_rate_bps: float) -> BreakdownNumbers:
    """The parts of every candidate's latency in one state.

    Raises:
        ValueError: The batch size is not on the grid, or the rate is below zero, or the link
            is down and no offloading is not possible.
    """
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
    cost = state.costs(row)[:, 0]
    best = int(state.best[row, 0])
    if missing[best]:
        raise ValueError(
            f"At 0 bit/s nothing can be sent, and batch size {batch_size} has no time without "
            "sending: draw a rate above zero."
        )
    return BreakdownNumbers(
        row,
        parts,
        lines.bits[row] / BITS_PER_BYTE,
        missing,
        best,
        cost - cost[best],
        _top(parts.sum(axis=0), best),
    )


def _top(total_s: Floats, best: int) -> float:
    """End of the axis: all bars, or where one is far longer than the others, most of them."""
    usual = max(OUTLIER * float(np.nanmedian(total_s)), float(total_s[best]))
    longest = float(np.nanmax(total_s))
    return (longest if longest <= LITTLE_MORE * usual else usual) * 1.12


def _bars(study: Study, info: BreakdownNumbers) -> list[go.Bar]:
    words = [_hover(study, info, i) for i in range(len(study.splits))]
    shown = [
        name for name, seconds in zip(PARTS, info.parts, strict=True) if np.nanmax(seconds) > 0
    ]
    # Under a pixel wide, a bar is found by its place; then its words stand on the page once.
    told = shown if len(words) <= MANY else shown[-1:]
    return [
        go.Bar(
            name=_part(study, name),
            meta=name,
            x=list(range(len(words))),
            y=seconds,
            marker={"color": colour, "line": {"width": 0}},
            hovertext=words if name in told else None,
            hovertemplate="%{hovertext}<extra></extra>" if name in told else None,
            hoverinfo=None if name in told else "skip",
            textposition="none",
        )
        for (name, (colour, _)), seconds in zip(PARTS.items(), info.parts, strict=True)
        if name in shown  # nothing waits, no round trip: no entry in the legend
    ]


def _part(study: Study, name: str) -> str:
    back = name == "link" and study.scenario.link.downlink_bps is not None
    return PARTS[name][1] + (" and result" if back else "")


def _hover(study: Study, info: BreakdownNumbers, i: int) -> str:
    if info.missing[i]:
        return f"<b>{study.splits[i]}</b><br>{info.missing[i]}"
    parts = [
        f"{_part(study, name)} {format_seconds(seconds)}"
        + (f" ({format_bytes(info.payload_bytes[i])})" if name == "transfer" else "")
        for name, seconds in zip(PARTS, info.parts[:, i].tolist(), strict=True)
        if seconds or name in ("head", "transfer", "tail")
    ]
    more = f"{formatted(info.margin[i], study.unit)} more than the best"
    of = f"= {'<br>+ '.join(parts)}<br>" if len(study.splits) <= MANY else ""
    return (
        f"<b>{study.splits[i]}</b>: {format_seconds(info.total_s[i])}<br>"
        f"{of}{'the best' if i == info.best else more}"
    )


def _missing(study: Study, info: BreakdownNumbers) -> list[go.Bar]:
    traces = []
    for why, pattern in MISSING.items():
        here = [i for i, reason in enumerate(info.missing) if reason == why]
        if here:
            traces.append(
                go.Bar(
                    name=why,
                    meta=why,
                    x=here,
                    y=[info.top_s] * len(here),
                    marker={
                        "color": "rgba(0, 0, 0, 0)",
                        "line": {"width": 0.5, "color": EMPTY},
                        "pattern": {"shape": pattern, "fgcolor": EMPTY, "size": 6},
                    },
                    hovertext=[_hover(study, info, i) for i in here],
                    hovertemplate="%{hovertext}<extra></extra>",
                    textposition="none",
                )
            )
    return traces


def _cut_off(study: Study, info: BreakdownNumbers) -> go.Scatter:
    here = np.flatnonzero(info.total_s > info.top_s).tolist()
    return go.Scatter(
        name=CUT_OFF,
        meta=CUT_OFF,
        x=here,
        y=[info.top_s * 0.985] * len(here),
        mode="markers",
        marker={
            "symbol": "triangle-up",
            "size": 8,
            "color": "white",
            "line": {"color": "black", "width": 1},
        },
        hovertext=[_hover(study, info, i) for i in here],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=bool(here),
    )


def _best(study: Study, info: BreakdownNumbers) -> go.Scatter:
    """Over the best bar, in the colour that its split has in all figures."""
    (colour,) = split_colours(study.edge.graph, [study.lines.splits[info.best]])
    return go.Scatter(
        name=BEST,
        meta=BEST,
        x=[info.best],
        y=[info.total_s[info.best] + info.top_s * 0.02],
        mode="markers",
        cliponaxis=False,
        marker={
            "symbol": "triangle-down",
            "size": 13,
            "color": colour,
            "line": {"color": RIM, "width": 2},
        },
        hovertext=[_hover(study, info, info.best)],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _heading(study: Study, info: BreakdownNumbers, rate_bps: float) -> tuple[str, str]:
    size, graph = study.batch_sizes[info.row], study.edge.graph
    others = np.where(np.arange(len(info.margin)) == info.best, np.nan, info.margin)
    words = f"{shortened(study.splits[info.best])} is best"
    words += " in the device's energy" if study.unit == "J" else ""
    words += f": {formatted(float(info.total_s[info.best]), 's')}"
    if not np.isnan(others).all():
        second = int(np.nanargmin(others))
        words += f", {formatted(others[second], study.unit)} ahead of "
        words += shortened(study.splits[second])
    return f"Latency of {graph.model}, batch size {size}, {short_rate(rate_bps)}", words


def _caption(study: Study, info: BreakdownNumbers) -> str:
    parts = [study.label()]
    for why in MISSING:
        if why in info.missing:
            count = info.missing.count(why)
            parts.append(f"Hatched: {count} candidate{'s' * (count > 1)} that {_REASON[why]}.")
    if (info.total_s > info.top_s).any():
        parts.append(
            f"Bars with a triangle leave the plot; the longest takes "
            f"{format_seconds(float(np.nanmax(info.total_s)))}."
        )
    if study.lines.interpolated[info.row]:
        parts.append("Times at this batch size are interpolated linearly.")
    return " ".join(parts)


_REASON = {
    "does not fit": "would not fit into the device's memory",
    "not measured": "a profile has no times for",
    "link is down": "cannot be sent, since the link is down",
}
