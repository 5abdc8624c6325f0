"""Cost over the data rate: a study and a batch size go in, every candidate's line comes out.

Over a logarithmic rate all lines are seen at once: at its left end the bits to send decide, at its
right end the computing.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.axes import formatted, left_out, log_axis, name_px, short_rate, shortened
from dscwb.figures.colours import split_colours
from dscwb.figures.page import (
    ASSUMED_WIDTH,
    LABEL_HEIGHT,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    Template,
    rate_axis,
    set_page,
    title,
)
from dscwb.study.rates import CurveNumbers, curve_numbers
from dscwb.study.sweeps import Study
from dscwb.units import BITS_PER_BYTE, format_bytes, format_seconds

State = tuple[int, float]

# Names of the traces, by which tests and the workbench find them.
NEVER, LINE, BEST, SWITCHING, STATE = "never best", "line", "best", "switching rate", "state"

PLOT, LABEL_ZONE = 400, 92  # pixels: the plot, and under all lines in it the labels of the rates
MOST_GREY = 40  # lines of splits that are never best: more are a carpet, and megabytes
ABOVE_BEST = 12  # lines leave the plot where they cost so many times the dearest best split
LEGEND = 52  # pixels of a legend beside its names
GREY, RIM = "rgba(130, 130, 130, 0.45)", "rgb(110, 110, 110)"
WORDS = {"s": "Latency", "J": "Device energy"}


def plot_latency_vs_rate(
    study: Study,
    batch_size: int,
    *,
    state: State | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """What every candidate costs over the data rate, the best one at each rate in bold.

    The cost is the scenario's objective, latency or the device's energy. Lines of splits that are
    never best are thin and grey; labels give the exact rates at which the best split changes.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        state: Batch size and data rate in bit/s to mark; left out where another batch size or a
            rate that is not shown.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The batch size is not on the study's grid.
    """
    curves = curve_numbers(study, batch_size)
    names = [study.splits[i] for i in curves.chosen]
    right_px = LEGEND + name_px([*names, NEVER])
    here = _state_here(curves, batch_size, state)
    figure = go.Figure(
        [
            *_never_best(study, curves),
            *_chosen(study, curves),
            *_envelope(study, curves),
            _switch_trace(study, curves),
            _state_trace(study, curves, here),
        ]
    )
    low, high = _range(curves)
    figure.update_layout(
        xaxis=rate_axis(curves.rates_bps[0], curves.rates_bps[-1]),
        yaxis=log_axis(low, high, study.unit, WORDS[study.unit]),
        title=title(*_heading(study, curves, here)),
        legend={"x": 1, "xanchor": "left", "y": 1, **_LEGEND},
        hovermode="closest",
    )
    plot_width = (width or ASSUMED_WIDTH) - MARGIN_LEFT - MARGIN_RIGHT - right_px
    _label_switches(figure, curves, plot_width, low)
    set_page(
        figure,
        _caption(study, curves),
        plot_px=PLOT,
        right_px=right_px,
        template=template,
        width=width,
    )
    return figure


def _range(curves: CurveNumbers) -> tuple[float, float]:
    """Ends of the vertical axis: all of the envelope, with room for labels below it."""
    at_best = curves.cost[curves.best, np.arange(len(curves.rates_bps))]
    most = float(np.nanmax(curves.cost))
    top = float(at_best.max()) or most or 1.0  # energy may be free, the best split's or any
    low = max(float(at_best.min()), top * 1e-9)
    high = min(most, top * ABOVE_BEST)
    high = max(high, low * 1.5) * 1.15
    zone = LABEL_ZONE if curves.switches else LABEL_HEIGHT
    return low * (low / high) ** (zone / (PLOT - zone)), high


_LEGEND = {"title": {"text": "best split"}, "tracegroupgap": 0, "font": {"size": 11}}


def _never_best(study: Study, curves: CurveNumbers) -> list[Any]:
    never, drawn = _drawn(curves)
    return [
        _line(study, curves, i, {"color": GREY, "width": 1})
        | {"name": f"{NEVER} ({len(never)})", "legendgroup": NEVER, "showlegend": i == drawn[0]}
        | {"legendrank": 2000, "meta": NEVER}
        for i in drawn
    ]


def _drawn(curves: CurveNumbers) -> tuple[list[int], list[int]]:
    """The splits that are never best, and those of them that come nearest to it."""
    timed = np.flatnonzero(~np.isnan(curves.cost[:, 0])).tolist()
    never = [i for i in timed if i not in curves.chosen]
    if len(never) <= MOST_GREY:
        return never, never
    # As a share of the cost, since the axis is logarithmic.
    nearest = np.min(curves.margin[never] / curves.cost[never], axis=1)
    return never, sorted(never[i] for i in np.argsort(nearest, kind="stable")[:MOST_GREY])


def _chosen(study: Study, curves: CurveNumbers) -> list[Any]:
    """The whole lines of the splits that are best somewhere, thin."""
    traces: list[Any] = []
    for i, colour in zip(curves.chosen, _colours(study, curves), strict=True):
        line = _line(study, curves, i, {"color": colour, "width": 1.6})
        line |= {"meta": LINE, "legendgroup": study.splits[i], "showlegend": False}
        traces += [_casing(line, 2.8), line]
    return traces


def _envelope(study: Study, curves: CurveNumbers) -> list[Any]:
    colours = dict(zip(curves.chosen, _colours(study, curves), strict=True))
    traces: list[Any] = []
    for i, low, high in curves.pieces:
        kept = (curves.rates_bps >= low) & (curves.rates_bps <= high)
        line = _line(study, curves, i, {"color": colours[i], "width": 5}, kept)
        line |= {
            "name": shortened(study.splits[i]),
            "meta": BEST,
            "legendgroup": study.splits[i],
            "legendrank": 1000 + i,
            "hovertext": _runners_up(study, curves, kept),
        }
        line["hovertemplate"] = line["hovertemplate"].replace(_MORE.format(study.unit), _NEXT)
        traces += [_casing(line, 8), line]
    return traces


_MORE = "%{{customdata[0]:.3~s}}{} more than the best"
_NEXT = "the best here; %{hovertext}"


def _runners_up(study: Study, curves: CurveNumbers, kept: NDArray[np.bool_]) -> list[str]:
    return [
        f"next: {study.splits[i]}, {formatted(more, study.unit)} more" if i >= 0 else "no other"
        for i, more in zip(
            curves.second[kept].tolist(), curves.second_margin[kept].tolist(), strict=True
        )
    ]


def _line(
    study: Study,
    curves: CurveNumbers,
    split: int,
    line: dict[str, Any],
    kept: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """One candidate's line; what does not change along it stands in the hover as text."""
    kept = np.ones(len(curves.rates_bps), dtype=np.bool_) if kept is None else kept
    columns = (curves.margin, curves.transfer_s, curves.latency_s)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": study.splits[split],
        "x": curves.rates_bps[kept],
        "y": curves.cost[split, kept],
        "line": line | {"simplify": False},
        "customdata": np.stack([column[split, kept] for column in columns], axis=-1),
        "hovertemplate": _hover(study, curves.row, split),
    }


def _hover(study: Study, row: int, split: int) -> str:
    lines = study.lines
    wait, sent = lines.wait_s[row], format_bytes(lines.bits[row, split] / BITS_PER_BYTE)
    energy = "" if study.unit == "s" else "device energy %{y:.3~s}J, "
    parts = [
        f"device {format_seconds(lines.head_s[row, split])}",
        f"transfer %{{customdata[1]:.3~s}}s ({sent})",
        f"link {format_seconds(lines.link_s[row, split])}",
        f"server {format_seconds(lines.tail_s[row, split])}",
    ]
    if wait:
        parts.insert(0, f"wait {format_seconds(wait)}")
    return (
        f"<b>{study.splits[split]}</b> at %{{x:.3~s}}bit/s<br>"
        f"{energy}latency %{{customdata[2]:.3~s}}s<br>= {' + '.join(parts)}<br>"
        f"{_MORE.format(study.unit)}<extra></extra>"
    )


def _casing(line: dict[str, Any], width: float) -> dict[str, Any]:
    """A grey rim, without which light grey on white and dark grey on black would vanish."""
    kept = {key: line[key] for key in ("type", "mode", "x", "y", "legendgroup")}
    shape = {"color": RIM, "width": width, "simplify": False}
    return kept | {"line": shape, "hoverinfo": "skip", "showlegend": False, "meta": "rim"}


def _colours(study: Study, curves: CurveNumbers) -> tuple[str, ...]:
    cuts = [study.lines.splits[i] for i in curves.chosen]
    return split_colours(study.edge.graph, cuts)


def _switch_trace(study: Study, curves: CurveNumbers) -> go.Scatter:
    return go.Scatter(
        name=SWITCHING,
        meta=SWITCHING,
        x=[switch.rate_bps for switch in curves.switches],
        y=[switch.cost for switch in curves.switches],
        mode="markers",
        marker={"size": 8, "color": "white", "line": {"color": "black", "width": 1.5}},
        hovertext=[
            f"<b>switching rate {short_rate(one.rate_bps)}</b><br>below: {one.below}<br>above: "
            f"{one.above}<br>both take {formatted(one.cost, study.unit)}"
            for one in curves.switches
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        legendrank=2100,
        showlegend=bool(curves.switches),
    )


def _label_switches(figure: go.Figure, curves: CurveNumbers, plot_px: float, low: float) -> None:
    """Rates upright under the envelope, where no line ever runs."""
    low_bps = curves.rates_bps[0]
    span = math.log(curves.rates_bps[-1] / low_bps)
    places = [math.log(one.rate_bps / low_bps) / span * plot_px for one in curves.switches]
    for switch, side in zip(curves.switches, label_sides(places, plot_px), strict=True):
        figure.add_shape(
            type="line",
            x0=switch.rate_bps,
            x1=switch.rate_bps,
            y0=low,
            y1=switch.cost,
            line={"color": RIM, "width": 1, "dash": "dot"},
        )
        if not side:
            continue
        figure.add_annotation(
            text=short_rate(switch.rate_bps),
            x=math.log10(switch.rate_bps),
            xanchor=side,
            yref="paper",
            y=0,
            yanchor="bottom",
            yshift=3,
            textangle=-90,
            font={"size": 11},
            showarrow=False,
        )


def label_sides(places: list[float], plot_px: float) -> list[str]:
    """Which end of each upright label stands at its line; empty where it would cover something.

    Args:
        places: Lines from left to right, in pixels.
        plot_px: Width of the plot.
    """
    sides, free_from = [], 0.0
    for place, following in pairwise([*places, plot_px]):
        if place - LABEL_HEIGHT >= free_from:
            sides.append("right")
            free_from = place
        elif place >= free_from and place + LABEL_HEIGHT <= following:
            sides.append("left")
            free_from = place + LABEL_HEIGHT
        else:
            sides.append("")
            free_from = max(free_from, place)
    return sides


def _state_here(
    curves: CurveNumbers, batch_size: int, state: State | None
) -> tuple[int, float] | None:
    """The state if it can be marked here."""
    if state is None or state[0] != batch_size:
        return None
    return state if curves.rates_bps[0] <= state[1] <= curves.rates_bps[-1] else None


def _state_trace(study: Study, curves: CurveNumbers, state: State | None) -> go.Scatter:
    x, y, words = [], [], []
    if state is not None:
        x, y = [state[1]], [_cost_here(study, curves, state)]
        cost = f"{WORDS[study.unit].lower()} {formatted(y[0], study.unit)}"
        words = [f"<b>{study.at(*state).split}</b> at {short_rate(state[1])}: {cost}"]
    return go.Scatter(
        name="this state",
        meta=STATE,
        x=x,
        y=y,
        mode="markers",
        marker={"size": 13, "color": "white", "line": {"color": "black", "width": 3}},
        hovertext=words,
        hovertemplate="%{hovertext}<extra></extra>",
        legendrank=2200,
        showlegend=bool(x),
    )


def _cost_here(study: Study, curves: CurveNumbers, state: State) -> float:
    """What the best split costs in a state, in seconds or joules."""
    row, best = curves.row, int(study.envelopes[curves.row].best_split(state[1]))
    return float(study.intercepts[row, best] + study.slopes[row, best] / state[1])


def _heading(study: Study, curves: CurveNumbers, state: State | None) -> tuple[str, str]:
    size = study.batch_sizes[curves.row]
    heading = f"{WORDS[study.unit]} of {study.edge.graph.model} at batch size {size}"
    if state is None:
        timed = int((~np.isnan(curves.cost[:, 0])).sum())
        return heading, f"{len(curves.chosen)} of {timed} candidates are best at some rate shown"
    decision = study.at(*state)
    words = f"at {short_rate(state[1])} {shortened(decision.split)} is best: "
    words += formatted(_cost_here(study, curves, state), study.unit)
    if decision.runner_up:
        ahead = formatted(decision.margin, study.unit)
        words += f", {ahead} ahead of {shortened(decision.runner_up)}"
    return heading, words


def _caption(study: Study, curves: CurveNumbers) -> str:
    parts = [study.label(), "Bold: the best split at each rate; dotted: the exact rates at which"]
    parts.append("it changes.")
    never, drawn = _drawn(curves)
    if len(drawn) < len(never):
        parts.append(f"Of the {len(never):,} never best, the nearest {len(drawn)} are drawn.")
    missing = int(np.isnan(curves.cost[:, 0]).sum())
    if missing:
        parts.append(left_out(missing))
    if study.lines.interpolated[curves.row]:
        parts.append("Times at this batch size are interpolated linearly.")
    return " ".join(parts)
