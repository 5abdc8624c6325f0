"""Cost over the data rate at one batch size: the line of every candidate, the best ones in bold.

Over a logarithmic rate all lines are seen at once: at its left end the bits to send decide, at its
right end the computing.
"""

from __future__ import annotations

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

# What the traces are, in their `meta`.
NEVER, LINE, BEST, SWITCHING, STATE = "never best", "line", "best", "switching rate", "state"

PLOT = 400  # pixels
POINTS = 200  # of a line, beside the exact switching rates
MOST_GREY = 40  # lines of splits that are never best: more are a carpet, and megabytes
ABOVE_BEST = 12  # lines leave the plot where they cost so many times the dearest best split
WORDS = {"s": "Latency", "J": "Device energy"}


def plot_latency_vs_rate(
    study: Study, *, batch_size: int | None = None, data_rate_bps: float | None = None
) -> go.Figure:
    """What every candidate costs over the data rate, the best one at each rate in bold.

    The cost is the scenario's objective, latency or the device's energy. Lines of splits that are
    never best are thin and grey; the legend gives the exact rates between which a split is best.

    Args:
        study: What to draw.
        batch_size: One of the study's; the smallest when left out.
        data_rate_bps: A rate in bit/s to mark, if it is shown.

    Raises:
        ValueError: The batch size is not on the study's grid.
    """
    size = min(study.batch_sizes) if batch_size is None else batch_size
    row, (low, high), unit = study.row(size), study.rate_range, study.unit
    switching = study.envelopes[row].switching_rates_bps
    switching = switching[(switching > low) & (switching < high)]
    ends = [low, *switching.tolist(), high]
    rates = np.unique(np.concatenate([np.geomspace(low, high, POINTS)[1:-1], ends]))
    cost = study.cost_at(size, rates)
    timed = np.flatnonzero(~np.isnan(cost[:, 0]))
    pieces = study.envelopes[row].best_split(ends[1:]).tolist()
    at_best = np.nanmin(cost, axis=0)
    # As a share of the cost, since the axis is logarithmic.
    shares = np.divide(at_best, cost, out=np.ones_like(cost), where=cost > 0)
    never = sorted(set(timed.tolist()) - set(pieces), key=lambda i: -shares[i].max())
    figure = go.Figure()
    for k, i in enumerate(never[:MOST_GREY]):
        named = {"name": f"{NEVER} ({len(never)})", "legendgroup": NEVER, "showlegend": not k}
        grey = {"line": {"color": GREY, "width": 1}, "legendrank": 2000, "meta": NEVER}
        figure.add_trace(_line(study, row, i, rates, cost) | named | grey)
    figure.add_traces(_best(study, row, rates, cost, pieces, ends))
    at_switch = study.at_rates(switching).cost[row] if len(switching) else []
    names = [full_name(study.splits[i]) for i in pieces]
    figure.add_scatter(
        name=SWITCHING,
        meta=SWITCHING,
        x=switching,
        y=at_switch,
        mode="markers",
        marker={"size": 8, "color": "white", "line": {"color": "black", "width": 1.5}},
        hovertext=[f"below: {below}<br>above: {above}" for below, above in pairwise(names)],
        hovertemplate="<b>switching rate %{x:.3~s}bit/s</b><br>%{hovertext}<br>"
        f"both: %{{y:.3~s}}{unit}<extra></extra>",
        legendrank=2100,
        showlegend=len(switching) > 0,
    )
    for rate, switch in zip(switching, at_switch, strict=True):
        line = {"color": RIM, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=rate, x1=rate, y0=0, y1=switch, line=line)
    subheading = f"{len(set(pieces))} of {len(timed)} candidates are best at some rate shown"
    if data_rate_bps is not None and low <= data_rate_bps <= high:
        decided = study.at(size, data_rate_bps)
        marked = study.at_rates(data_rate_bps).cost[row]
        figure.add_scatter(
            name="this state",
            meta=STATE,
            x=[data_rate_bps],
            y=marked,
            mode="markers",
            marker=MARK,
            hovertemplate=f"<b>{full_name(decided.split)}</b> at %{{x:.3~s}}bit/s: "
            f"%{{y:.3~s}}{unit}<extra></extra>",
            legendrank=2200,
        )
        subheading = f"at {format_rate(data_rate_bps, in_bytes=False)} "
        subheading += f"{shown_name(decided.split)} is best: {format_cost(float(marked[0]), unit)}"
        if decided.runner_up:
            ahead = format_cost(decided.margin, unit)
            subheading += f", {ahead} ahead of {shown_name(decided.runner_up)}"
    dearest = float(at_best.max()) or 1.0  # energy may be free
    least = max(float(at_best.min()), dearest * 1e-9)
    most = max(min(float(np.nanmax(cost)), dearest * ABOVE_BEST), least * 1.5)
    figure.update_layout(
        xaxis=rate_axis(low, high),
        yaxis=log_axis(least / 1.3, most * 1.15, unit, WORDS[unit]),
        legend={"title": {"text": "best split"}},
        hovermode="closest",
    )
    words = [study.label(), "Bold: the best split at each rate; dotted: the exact rates at which"]
    words.append("it changes.")
    if len(never) > MOST_GREY:
        words.append(f"Of the {len(never):,} never best, the nearest {MOST_GREY} are drawn.")
    words.append(left_out(len(study.splits) - len(timed)))
    if study.lines.interpolated[row]:
        words.append("Times at this batch size are interpolated linearly.")
    heading = f"{WORDS[unit]} of {study.edge.graph.model} at batch size {size}"
    return page(figure, heading, subheading, " ".join(words), plot_px=PLOT)


def _best(
    study: Study,
    row: int,
    rates: NDArray[np.float64],
    cost: NDArray[np.float64],
    pieces: list[int],
    ends: list[float],
) -> list[dict[str, Any]]:
    """The splits that are best somewhere: their whole lines thin, and bold where they are best.

    Each has a grey rim, without which light grey on white and dark grey on black would vanish. The
    bold ones tell the second best too.
    """
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in pieces])
    at, best = np.arange(len(rates)), study.envelopes[row].best_split(rates)
    others = np.where(np.isnan(cost), np.inf, cost)
    others[best, at] = np.inf
    second = np.argmin(others, axis=0)
    ahead = others[second, at] - cost[best, at]
    names = np.array([full_name(name) for name in study.splits])
    more = f"%{{customdata[0]:.3~s}}{study.unit} more"
    thin: list[dict[str, Any]] = []
    bold: list[dict[str, Any]] = []
    for i, colour, (low, high) in zip(pieces, colours, pairwise(ends), strict=True):
        whole = _line(study, row, i, rates, cost) | {"legendgroup": str(i), "showlegend": False}
        whole |= {"meta": LINE, "line": {"color": colour, "width": 1.6, "simplify": False}}
        here = (rates >= low) & (rates <= high)
        part = whole | {name: whole[name][here] for name in ("x", "y", "customdata")}
        words = _between(low, high, (ends[0], ends[-1]))
        part |= {"name": f"{label(study.splits[i])}<br>{words}", "showlegend": True, "meta": BEST}
        part |= {"legendrank": 1000 + i}
        part["line"] = whole["line"] | {"width": 5}
        if np.isfinite(ahead).all():
            told = whole["hovertemplate"].replace(
                f"{more} than the best", f"the best here; next: %{{hovertext}}, {more}"
            )
            part |= {"hovertext": names[second[here]], "hovertemplate": told}
            part["customdata"] = np.column_stack([ahead[here], part["customdata"][:, 1:]])
        thin += [_rim(whole, 2.8), whole]
        bold += [_rim(part, 8), part]
    return [*thin, *bold]


def _rim(line: dict[str, Any], width: float) -> dict[str, Any]:
    shape = {"color": RIM, "width": width, "simplify": False}
    quiet = {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False, "meta": "rim"}
    return line | {"line": shape, **quiet}


def _between(low_bps: float, high_bps: float, shown_bps: tuple[float, float]) -> str:
    """Where a split is best, in words."""
    low, high = (format_rate(rate, in_bytes=False) for rate in (low_bps, high_bps))
    if low_bps == shown_bps[0]:
        return "at every rate shown" if high_bps == shown_bps[1] else f"up to {high}"
    return f"above {low}" if high_bps == shown_bps[1] else f"{low} to {high}"


def _line(
    study: Study, row: int, split: int, rates: NDArray[np.float64], cost: NDArray[np.float64]
) -> dict[str, Any]:
    """One candidate's line; what does not change along it stands in its hover as text."""
    lines, name = study.lines, study.splits[split]
    bits = lines.bits[row, split]
    transfer, latency = (cost_at(a, bits, rates) for a in (0.0, lines.intercept_s[row, split]))
    wait = f"wait {format_seconds(lines.wait_s[row])} + " if lines.wait_s[row] else ""
    energy = "" if study.unit == "s" else "device energy %{y:.3~s}J, "
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name),
        "x": rates,
        "y": cost[split],
        "customdata": np.column_stack([cost[split] - np.nanmin(cost, axis=0), transfer, latency]),
        "hovertemplate": f"<b>{full_name(name)}</b> at %{{x:.3~s}}bit/s<br>"
        f"{energy}latency %{{customdata[2]:.3~s}}s<br>"
        f"= {wait}device {format_seconds(lines.head_s[row, split])}"
        f" + transfer %{{customdata[1]:.3~s}}s ({format_bytes(bits / BITS_PER_BYTE)})"
        f" + link {format_seconds(lines.link_s[row, split])}"
        f" + server {format_seconds(lines.tail_s[row, split])}<br>"
        f"%{{customdata[0]:.3~s}}{study.unit} more than the best<extra></extra>",
    }
