"""Cost over the data rate at one batch size: the line of every candidate, the best ones in bold.

Over a logarithmic rate all lines are seen at once: at its left end the bits to send decide, at its
right end the computing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.cost import cost_at
from dscwb.figures.colours import split_colours
from dscwb.figures.layout import (
    GREY,
    MARK,
    RIM,
    full_name,
    label,
    left_out,
    log_axis,
    page,
    rate_axis,
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

# What the traces are, in their `meta`.
NEVER, LINE, BEST, SWITCHING, STATE = "never best", "line", "best", "switching rate", "state"

PLOT = 400  # pixels
POINTS = 200  # of a line, beside the exact switching rates
MOST_GREY = 40  # lines of splits that are never best: more are a carpet, and megabytes
ABOVE_BEST = 12  # lines leave the plot where they cost so many times the dearest best split
WORDS = {"s": "Latency", "J": "Device energy"}


@dataclass(frozen=True, eq=False)
class _Curves:
    """Every candidate's line at one batch size.

    Attributes:
        row: Row of the batch size in the study.
        rates_bps: Ascending, the exact switching rates among them, ``(rate,)``.
        cost: Seconds, or joules for energy, ``(split, rate)``; NaN for a candidate without times.
        hover: ``(split, rate, 3)``: cost above the best one; seconds of the payload on the link;
            seconds in all.
        pieces: Each split on the envelope, from the lowest to the highest rate.
        ends_bps: Where one of them ends and the next begins, the range's own ends included.
        second: Index of the second best split, ``(rate,)``.
        ahead: What that one costs more, ``(rate,)``; infinite where there is none.
    """

    row: int
    rates_bps: Floats
    cost: Floats
    hover: Floats
    pieces: tuple[int, ...]
    ends_bps: tuple[float, ...]
    second: NDArray[np.intp]
    ahead: Floats

    @property
    def timed(self) -> list[int]:
        """The candidates that have times."""
        return np.flatnonzero(~np.isnan(self.cost[:, 0])).tolist()

    @property
    def never(self) -> list[int]:
        """The candidates that are never best, the nearest to it first."""
        others = [i for i in self.timed if i not in self.pieces]
        # As a share of the cost, since the axis is logarithmic.
        cost, more = self.cost[others], self.hover[others, :, 0]
        shares = np.divide(more, cost, out=np.zeros_like(cost), where=cost > 0)
        nearest = np.min(shares, axis=1, initial=np.inf)
        return [others[k] for k in np.argsort(nearest, kind="stable")]


def plot_latency_vs_rate(
    study: Study,
    *,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    width: int | None = None,
) -> go.Figure:
    """What every candidate costs over the data rate, the best one at each rate in bold.

    The cost is the scenario's objective, latency or the device's energy. Lines of splits that are
    never best are thin and grey; the legend gives the exact rates between which a split is best.

    Args:
        study: What to draw.
        batch_size: One of the study's; the smallest when left out.
        data_rate_bps: A rate in bit/s to mark, if it is shown.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The batch size is not on the study's grid.
    """
    size = min(study.batch_sizes) if batch_size is None else batch_size
    curves = _curves(study, size)
    low, high = curves.rates_bps[0], curves.rates_bps[-1]
    marked = data_rate_bps if low <= (data_rate_bps or 0) <= high else None
    figure = go.Figure(
        [
            *_never_best(study, curves),
            *_best(study, curves),
            _switches(study, curves),
            *([] if marked is None else [_mark(study, size, marked)]),
        ]
    )
    for rate, cost in _switching_points(study, curves):
        line = {"color": RIM, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=rate, x1=rate, y0=0, y1=cost, line=line)
    figure.update_layout(
        xaxis=rate_axis(low, high),
        yaxis=log_axis(*_range(curves), study.unit, WORDS[study.unit]),
        legend={"title": {"text": "best split"}},
        hovermode="closest",
    )
    return page(
        figure,
        f"{WORDS[study.unit]} of {study.edge.graph.model} at batch size {size}",
        _subheading(study, curves, size, marked),
        _caption(study, curves),
        plot_px=PLOT,
        width=width,
    )


def _curves(study: Study, batch_size: int) -> _Curves:
    row = study.row(batch_size)
    low, high = study.rate_range
    envelope, lines = study.envelopes[row], study.lines
    switching = envelope.switching_rates_bps
    inside = (switching > low) & (switching < high)
    ends = np.concatenate([[low], switching[inside], [high]])
    rates = np.unique(np.concatenate([np.geomspace(low, high, POINTS)[1:-1], ends]))
    cost = study.cost_at(batch_size, rates)
    best, at = envelope.best_split(rates), np.arange(len(rates))
    others = np.where(np.isnan(cost), np.inf, cost)
    others[best, at] = np.inf
    second = np.argmin(others, axis=0)
    return _Curves(
        row,
        rates,
        cost,
        np.stack(
            [
                cost - cost[best, at],
                cost_at(0.0, lines.bits[row][:, None], rates),
                study.latency_at(batch_size, rates),
            ],
            axis=-1,
        ),
        tuple(envelope.best_split(ends[1:]).tolist()),
        tuple(ends.tolist()),
        second,
        others[second, at] - cost[best, at],
    )


def _range(curves: _Curves) -> tuple[float, float]:
    """Ends of the vertical axis: all of the envelope."""
    at_best = np.nanmin(curves.cost, axis=0)
    dearest = float(at_best.max()) or 1.0  # energy may be free
    low = max(float(at_best.min()), dearest * 1e-9)
    high = min(float(np.nanmax(curves.cost)), dearest * ABOVE_BEST)
    return low / 1.3, max(high, low * 1.5) * 1.15


def _never_best(study: Study, curves: _Curves) -> list[dict[str, Any]]:
    never = curves.never
    return [
        _line(study, curves, i, {"color": GREY, "width": 1})
        | {"name": f"{NEVER} ({len(never)})", "legendgroup": NEVER, "showlegend": not k}
        | {"legendrank": 2000, "meta": NEVER}
        for k, i in enumerate(never[:MOST_GREY])
    ]


def _best(study: Study, curves: _Curves) -> list[dict[str, Any]]:
    """The splits that are best somewhere: their whole lines thin, and bold where they are best."""
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in curves.pieces])
    thin: list[dict[str, Any]] = []
    bold: list[dict[str, Any]] = []
    for i, colour, ends in zip(curves.pieces, colours, pairwise(curves.ends_bps), strict=True):
        line = _line(study, curves, i, {"color": colour, "width": 1.6})
        line |= {"meta": LINE, "legendgroup": str(i), "showlegend": False}
        thin += [_casing(line, 2.8), line]
        kept = (curves.rates_bps >= ends[0]) & (curves.rates_bps <= ends[1])
        line = _line(study, curves, i, {"color": colour, "width": 5}, kept) | {
            "name": f"{label(study.splits[i])}<br>{_between(*ends, curves)}",
            "meta": BEST,
            "legendgroup": str(i),
            "legendrank": 1000 + i,
        }
        bold += [_casing(line, 8), line]
    return [*thin, *bold]


def _between(low_bps: float, high_bps: float, curves: _Curves) -> str:
    """Where a split is best, in words."""
    low, high = (format_rate(rate, in_bytes=False) for rate in (low_bps, high_bps))
    first, last = low_bps == curves.rates_bps[0], high_bps == curves.rates_bps[-1]
    if first:
        return "at every rate shown" if last else f"up to {high}"
    return f"above {low}" if last else f"{low} to {high}"


def _line(
    study: Study,
    curves: _Curves,
    split: int,
    line: dict[str, Any],
    kept: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """One candidate's line; where it is best only, the hover tells the second best too."""
    here = np.ones(len(curves.rates_bps), dtype=np.bool_) if kept is None else kept
    hover, more = curves.hover[split, here], "%{customdata[0]:.3~s}" + study.unit
    ending, names = f"{more} more than the best", None
    if kept is not None and np.isfinite(curves.ahead).all():
        hover = np.column_stack([curves.ahead[here], hover[:, 1:]])
        ending = f"the best here; next: %{{hovertext}}, {more} more"
        names = np.array([full_name(name) for name in study.splits])[curves.second[here]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(study.splits[split]),
        "x": curves.rates_bps[here],
        "y": curves.cost[split, here],
        "line": line | {"simplify": False},
        "customdata": hover,
        "hovertext": names,
        "hovertemplate": f"{_hover(study, curves.row, split)}{ending}<extra></extra>",
    }


def _hover(study: Study, row: int, split: int) -> str:
    """What does not change along a line stands here as text."""
    lines = study.lines
    sent = format_bytes(lines.bits[row, split] / BITS_PER_BYTE)
    wait = f"wait {format_seconds(lines.wait_s[row])} + " if lines.wait_s[row] else ""
    energy = "" if study.unit == "s" else "device energy %{y:.3~s}J, "
    return (
        f"<b>{full_name(study.splits[split])}</b> at %{{x:.3~s}}bit/s<br>"
        f"{energy}latency %{{customdata[2]:.3~s}}s<br>"
        f"= {wait}device {format_seconds(lines.head_s[row, split])}"
        f" + transfer %{{customdata[1]:.3~s}}s ({sent})"
        f" + link {format_seconds(lines.link_s[row, split])}"
        f" + server {format_seconds(lines.tail_s[row, split])}<br>"
    )


def _casing(line: dict[str, Any], width: float) -> dict[str, Any]:
    """A grey rim, without which light grey on white and dark grey on black would vanish."""
    kept = {key: line[key] for key in ("type", "mode", "x", "y", "legendgroup")}
    shape = {"color": RIM, "width": width, "simplify": False}
    return kept | {"line": shape, "hoverinfo": "skip", "showlegend": False, "meta": "rim"}


def _switching_points(study: Study, curves: _Curves) -> list[tuple[float, float]]:
    """Each rate at which the best split changes, and what both splits cost there."""
    rates = list(curves.ends_bps[1:-1])
    return [(rate, study.at_rates(rate).cost[curves.row, 0]) for rate in rates]


def _switches(study: Study, curves: _Curves) -> go.Scatter:
    points = _switching_points(study, curves)
    names = [full_name(study.splits[i]) for i in curves.pieces]
    return go.Scatter(
        name=SWITCHING,
        meta=SWITCHING,
        x=[rate for rate, _ in points],
        y=[cost for _, cost in points],
        mode="markers",
        marker={"size": 8, "color": "white", "line": {"color": "black", "width": 1.5}},
        hovertext=[f"below: {below}<br>above: {above}" for below, above in pairwise(names)],
        hovertemplate="<b>switching rate %{x:.3~s}bit/s</b><br>%{hovertext}<br>"
        f"both: %{{y:.3~s}}{study.unit}<extra></extra>",
        legendrank=2100,
        showlegend=bool(points),
    )


def _mark(study: Study, batch_size: int, rate_bps: float) -> go.Scatter:
    return go.Scatter(
        name="this state",
        meta=STATE,
        x=[rate_bps],
        y=study.at_rates(rate_bps).cost[study.row(batch_size)],
        mode="markers",
        marker=MARK,
        hovertext=[full_name(study.at(batch_size, rate_bps).split)],
        hovertemplate=f"<b>%{{hovertext}}</b> at %{{x:.3~s}}bit/s: %{{y:.3~s}}{study.unit}"
        "<extra></extra>",
        legendrank=2200,
    )


def _subheading(study: Study, curves: _Curves, batch_size: int, rate_bps: float | None) -> str:
    if rate_bps is None:
        some = f"{len(set(curves.pieces))} of {len(curves.timed)}"
        return f"{some} candidates are best at some rate shown"
    best = study.at(batch_size, rate_bps)
    cost = float(study.at_rates(rate_bps).cost[curves.row, 0])
    words = f"at {format_rate(rate_bps, in_bytes=False)} {shown_name(best.split)} is best: "
    words += format_cost(cost, study.unit)
    if best.runner_up:
        ahead = format_cost(best.margin, study.unit)
        words += f", {ahead} ahead of {shown_name(best.runner_up)}"
    return words


def _caption(study: Study, curves: _Curves) -> str:
    never, missing = len(curves.never), len(study.splits) - len(curves.timed)
    words = [study.label(), "Bold: the best split at each rate; dotted: the exact rates at which"]
    words.append("it changes.")
    if never > MOST_GREY:
        words.append(f"Of the {never:,} never best, the nearest {MOST_GREY} are drawn.")
    if missing:
        words.append(left_out(missing))
    if study.lines.interpolated[curves.row]:
        words.append("Times at this batch size are interpolated linearly.")
    return " ".join(words)
