"""Cost over the data rate at one batch size: the line of every candidate, the best ones in bold.

Over a logarithmic rate all lines are seen at once: at its left end the bits to send decide, at its
right end the computing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dscwb.colours import split_colours
from dscwb.cost import Floats, cost_at
from dscwb.figures import layout
from dscwb.study import Study
from dscwb.units import BITS_PER_BYTE, format_bytes, format_rate, format_seconds

# What the traces are, in their `meta`.
NEVER, LINE, BEST, SWITCHING = "never best", "line", "best", "switching rate"

PLOT = 400  # pixels
POINTS = 200  # of a line, beside the exact switching rates
MOST_GREY = 40  # lines of splits that are never best: more are a carpet, and megabytes
ABOVE_BEST = 12  # lines leave the plot where they cost so many times the dearest best split
THIN, THICK, WITH_RIM = 1.6, 5.0, 1.7  # pixels of a line; how much wider its grey rim is
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
    size, unit = min(study.batch_sizes) if batch_size is None else batch_size, study.unit
    (low, high), envelope = study.rate_range, study.envelopes[study.row(size)]
    switching = envelope.switching_rates_bps
    switching = switching[(low < switching) & (switching < high)]
    rates = np.unique(np.concatenate([np.geomspace(low, high, POINTS), switching]))
    cost, ends = study.cost_at(size, rates), [low, *switching.tolist(), high]
    best, timed = np.nanmin(cost, axis=0), np.flatnonzero(~np.isnan(cost[:, 0])).tolist()
    pieces = envelope.best_split(ends[1:]).tolist()
    # The nearest to the best on the logarithmic axis first.
    shares = np.divide(best, cost, out=np.ones_like(cost), where=cost > 0).max(axis=1)
    never = sorted(set(timed) - set(pieces), key=lambda i: -shares[i])
    grey = {"line": {"color": layout.GREY, "width": 1}, "legendrank": 2000, "meta": NEVER}
    grey |= {"name": f"{NEVER} ({len(never)})", "legendgroup": NEVER}
    traces = [
        _line(study, size, rates, i) | grey | {"showlegend": not k}
        for k, i in enumerate(never[:MOST_GREY])
    ]
    traces += _winners(study, size, rates, pieces, ends)
    dear = best[np.searchsorted(rates, switching)]
    # All that is best is shown; energy may be free.
    dearest, highest = best.max() or 1.0, np.nanmax(cost) or 1.0
    y_range = max(best.min(), dearest * 1e-9) / 1.3, min(highest, dearest * ABOVE_BEST) * 1.15
    traces.append(_switches(study, switching, dear, pieces))
    subheading = f"{len(pieces)} of {len(timed)} candidates are best at some rate shown"
    if data_rate_bps is not None and low <= data_rate_bps <= high:
        words = layout.best_in_words(study, size, data_rate_bps)
        subheading = f"at {format_rate(data_rate_bps, in_bytes=False)} {words}"
        here = study.at_rates(data_rate_bps).cost[study.row(size)]
        mark = layout.MARK | {"hovertemplate": f"{subheading}<extra></extra>"}
        traces.append(mark | {"x": [data_rate_bps], "y": here, "legendrank": 2200})
    dotted = {"type": "line", "y0": 0, "line": {"color": layout.RIM, "width": 1, "dash": "dot"}}
    few = len(never) > MOST_GREY
    return layout.page(
        traces,
        (f"{WORDS[unit]} of {study.edge.graph.model} at batch size {size}", subheading),
        [
            study.label(),
            "Bold: the best split at each rate; dotted: the exact rates at which it changes.",
            f"Of the {len(never):,} never best, the nearest {MOST_GREY} are drawn." * few,
            layout.left_out(len(study.splits) - len(timed)),
            layout.INTERPOLATED * bool(study.lines.interpolated[study.row(size)]),
        ],
        plot_px=PLOT,
        xaxis=layout.rate_axis(low, high),
        yaxis=layout.log_axis(*y_range, unit, WORDS[unit]),
        legend={"title": {"text": "best split"}},
        hovermode="closest",
        shapes=[dotted | {"x0": x, "x1": x, "y1": y} for x, y in zip(switching, dear, strict=True)],
    )


def _line(study: Study, size: int, rates: Floats, i: int, *, bold: bool = False) -> dict[str, Any]:
    """A candidate's line; what does not change along it stands in its hover as text.

    A bold one is the best at all of these rates: it tells the second best, if there is one.
    """
    lines, row, look = study.lines, study.row(size), {}
    cost = np.nan_to_num(study.cost_at(size, rates), nan=np.inf)
    own, bits, wait = cost[i].copy(), lines.bits[row, i], lines.wait_s[row]
    last = f"{{:.3~s}}{study.unit} more than the best"
    if bold and np.isfinite(np.delete(cost, i, axis=0)).any():
        cost[i] = np.inf
        look = {"hovertext": [layout.full_name(study.splits[k]) for k in cost.argmin(axis=0)]}
        last = f"the best here; next: %{{hovertext}}, {{:.3~s}}{study.unit} more"
    waits = f"wait {format_seconds(wait)} + " if wait else ""
    energy = "device energy %{y:.3~s}J, " if study.unit == "J" else ""
    told = {
        f"{energy}latency {{:.3~s}}s<br>": study.latency_at(size, rates)[i],
        f"= {waits}device {format_seconds(lines.head_s[row, i])} + transfer {{:.3~s}}s "
        f"({format_bytes(bits / BITS_PER_BYTE)}) + link {format_seconds(lines.link_s[row, i])}"
        f" + server {format_seconds(lines.tail_s[row, i])}<br>": cost_at(0.0, bits, rates),
        last: np.abs(cost.min(axis=0) - own),
    }
    look |= layout.hover(
        told, f"<b>{layout.full_name(study.splits[i])}</b> at %{{x:.3~s}}bit/s<br>"
    )
    return {"mode": "lines", "x": rates, "y": own, **look}


def _winners(
    study: Study, size: int, rates: Floats, pieces: list[int], ends: list[float]
) -> list[dict[str, Any]]:
    """The splits that are best somewhere: their whole lines thin, and bold where they are best."""
    thin, bold = [], []
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in pieces])
    for i, colour, (low, high) in zip(pieces, colours, pairwise(ends), strict=True):
        group: dict[str, Any] = {"legendgroup": f"{i}", "legendrank": 1000 + i}
        group["name"] = layout.label(study.splits[i])
        line = _line(study, size, rates, i) | group
        thin += _rimmed(line | {"meta": LINE, "showlegend": False}, colour, THIN)
        here = rates[(rates >= low) & (rates <= high)]
        group["name"] += f"<br>{_between(low, high, ends)}"
        part = _line(study, size, here, i, bold=True) | group
        bold += _rimmed(part | {"meta": BEST}, colour, THICK)
    return [*thin, *bold]


def _rimmed(line: dict[str, Any], colour: str, width: float) -> list[dict[str, Any]]:
    """A line on a grey one, without which light grey on white and dark on black would vanish."""
    quiet = {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False, "meta": "rim"}
    shape = {"color": colour, "width": width, "simplify": False}
    rim = shape | {"color": layout.RIM, "width": width * WITH_RIM}
    return [line | quiet | {"line": rim}, line | {"line": shape}]


def _between(low_bps: float, high_bps: float, ends: list[float]) -> str:
    """Where a split is best, in words."""
    low, high = (format_rate(rate, in_bytes=False) for rate in (low_bps, high_bps))
    if low_bps == ends[0]:
        return "at every rate shown" if high_bps == ends[-1] else f"up to {high}"
    return f"above {low}" if high_bps == ends[-1] else f"{low} to {high}"


def _switches(study: Study, rates: Floats, costs: Floats, pieces: list[int]) -> dict[str, Any]:
    both = pairwise(layout.full_name(study.splits[i]) for i in pieces)
    told = "<b>switching rate %{x:.3~s}bit/s</b><br>%{hovertext}<br>both: %{y:.3~s}"
    return {
        "name": SWITCHING,
        "meta": SWITCHING,
        "x": rates,
        "y": costs,
        "mode": "markers",
        "marker": {"size": 8, "color": "white", "line": {"color": "black", "width": 1.5}},
        "hovertext": [f"below: {below}<br>above: {above}" for below, above in both],
        "hovertemplate": f"{told}{study.unit}<extra></extra>",
        "legendrank": 2100,
        "showlegend": len(rates) > 0,
    }
