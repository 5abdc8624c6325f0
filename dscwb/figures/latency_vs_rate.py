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
from dscwb.figures import layout
from dscwb.figures.colours import split_colours
from dscwb.study import Study
from dscwb.units import BITS_PER_BYTE, format_bytes, format_rate, format_seconds

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
        study: The study.
        batch_size: Samples in one pass.
        ends_bps: The lowest rate shown, the exact switching rates, and the highest rate shown.
        rates_bps: Points of the lines, all of these among them, ``(rate,)``.
        cost: Seconds, or joules for energy, ``(split, rate)``; NaN for a candidate without times.
    """

    study: Study
    batch_size: int
    ends_bps: list[float]
    rates_bps: Floats
    cost: Floats

    @classmethod
    def of(cls, study: Study, batch_size: int) -> _Curves:
        (low, high), envelope = study.rate_range, study.envelopes[study.row(batch_size)]
        switching = envelope.switching_rates_bps
        ends = [low, *switching[(switching > low) & (switching < high)].tolist(), high]
        rates = np.unique(np.concatenate([np.geomspace(low, high, POINTS)[1:-1], ends]))
        return cls(study, batch_size, ends, rates, study.cost_at(batch_size, rates))

    @property
    def best(self) -> Floats:
        """Cost of the best split, ``(rate,)``."""
        best: Floats = np.nanmin(self.cost, axis=0)
        return best

    @property
    def pieces(self) -> list[int]:
        """Which split is best up to each end but the first."""
        envelope = self.study.envelopes[self.study.row(self.batch_size)]
        pieces: list[int] = envelope.best_split(self.ends_bps[1:]).tolist()
        return pieces

    @property
    def timed(self) -> list[int]:
        """The candidates with times."""
        timed: list[int] = np.flatnonzero(~np.isnan(self.cost[:, 0])).tolist()
        return timed

    @property
    def never(self) -> list[int]:
        """Those that are never best, the nearest to it on the logarithmic axis first."""
        shares = np.divide(self.best, self.cost, out=np.ones_like(self.cost), where=self.cost > 0)
        return sorted(set(self.timed) - set(self.pieces), key=lambda i: -shares[i].max())

    def line(self, split: int) -> dict[str, Any]:
        """One candidate's line; what does not change along it stands in its hover as text."""
        lines, row, study = self.study.lines, self.study.row(self.batch_size), self.study
        bits, name = lines.bits[row, split], study.splits[split]
        transfer = cost_at(0.0, bits, self.rates_bps)
        latency = study.latency_at(self.batch_size, self.rates_bps)[split]
        wait = f"wait {format_seconds(lines.wait_s[row])} + " if lines.wait_s[row] else ""
        energy = "" if study.unit == "s" else "device energy %{y:.3~s}J, "
        return {
            "type": "scatter",
            "mode": "lines",
            "x": self.rates_bps,
            "y": self.cost[split],
            "customdata": np.column_stack([self.cost[split] - self.best, transfer, latency]),
            "hovertemplate": f"<b>{layout.full_name(name)}</b> at %{{x:.3~s}}bit/s<br>"
            f"{energy}latency %{{customdata[2]:.3~s}}s<br>"
            f"= {wait}device {format_seconds(lines.head_s[row, split])}"
            f" + transfer %{{customdata[1]:.3~s}}s ({format_bytes(bits / BITS_PER_BYTE)})"
            f" + link {format_seconds(lines.link_s[row, split])}"
            f" + server {format_seconds(lines.tail_s[row, split])}<br>"
            f"%{{customdata[0]:.3~s}}{study.unit} more than the best<extra></extra>",
        }


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
    curves = _Curves.of(study, size)
    low, high = curves.ends_bps[0], curves.ends_bps[-1]
    figure = go.Figure([*_never_best(curves), *_best(curves)])
    _add_switches(figure, curves)
    subheading = (
        f"{len(curves.pieces)} of {len(curves.timed)} candidates are best at some rate shown"
    )
    if data_rate_bps is not None and low <= data_rate_bps <= high:
        words = layout.best_in_words(study, size, data_rate_bps)
        subheading = f"at {format_rate(data_rate_bps, in_bytes=False)} {words}"
        figure.add_scatter(
            name="this state",
            meta=STATE,
            x=[data_rate_bps],
            y=study.at_rates(data_rate_bps).cost[study.row(size)],
            mode="markers",
            marker=layout.MARK,
            hovertemplate=f"{subheading}<extra></extra>",
            legendrank=2200,
        )
    figure.update_layout(
        xaxis=layout.rate_axis(low, high),
        yaxis=layout.log_axis(*_ends(curves), unit, WORDS[unit]),
        legend={"title": {"text": "best split"}},
        hovermode="closest",
    )
    heading = f"{WORDS[unit]} of {study.edge.graph.model} at batch size {size}"
    return layout.page(figure, heading, subheading, _caption(curves), plot_px=PLOT)


def _ends(curves: _Curves) -> tuple[float, float]:
    """Of the vertical axis: all that is best is shown."""
    dearest = float(curves.best.max()) or 1.0  # energy may be free
    low = max(float(curves.best.min()), dearest * 1e-9)
    high = min(float(np.nanmax(curves.cost)), dearest * ABOVE_BEST)
    return low / 1.3, max(high, low * 1.5) * 1.15


def _never_best(curves: _Curves) -> list[dict[str, Any]]:
    never = curves.never
    grey = {"line": {"color": layout.GREY, "width": 1}, "legendrank": 2000, "meta": NEVER}
    grey |= {"name": f"{NEVER} ({len(never)})", "legendgroup": NEVER}
    return [curves.line(i) | grey | {"showlegend": not k} for k, i in enumerate(never[:MOST_GREY])]


def _best(curves: _Curves) -> list[dict[str, Any]]:
    """The splits that are best somewhere: their whole lines thin, and bold where they are best.

    Each has a grey rim, without which light grey on white and dark grey on black would vanish. The
    bold ones tell the second best too.
    """
    study, rates = curves.study, curves.rates_bps
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in curves.pieces])
    names = np.array([layout.full_name(name) for name in study.splits])
    thin: list[dict[str, Any]] = []
    bold: list[dict[str, Any]] = []
    for i, colour, (low, high) in zip(
        curves.pieces, colours, pairwise(curves.ends_bps), strict=True
    ):
        group = {
            "legendgroup": str(i),
            "legendrank": 1000 + i,
            "name": layout.label(study.splits[i]),
        }
        line = curves.line(i) | group | {"meta": LINE, "showlegend": False}
        line["line"] = {"color": colour, "width": 1.6, "simplify": False}
        here = (rates >= low) & (rates <= high)
        part = line | {name: line[name][here] for name in ("x", "y", "customdata")}
        part |= {"line": line["line"] | {"width": 5}, "meta": BEST, "showlegend": True}
        part["name"] += f"<br>{_between(curves, low, high)}"
        if len(curves.timed) > 1:
            others = np.delete(curves.timed, curves.timed.index(i))
            second = others[np.argmin(curves.cost[others][:, here], axis=0)]
            part["customdata"][:, 0] = curves.cost[second, np.flatnonzero(here)] - part["y"]
            told = "the best here; next: %{hovertext}, %{customdata[0]:.3~s}" + study.unit + " more"
            part["hovertext"] = names[second]
            before = line["hovertemplate"].rpartition("<br>")[0]
            part["hovertemplate"] = f"{before}<br>{told}<extra></extra>"
        thin += [_rim(line, 2.8), line]
        bold += [_rim(part, 8), part]
    return [*thin, *bold]


def _rim(line: dict[str, Any], width: float) -> dict[str, Any]:
    shape = {"color": layout.RIM, "width": width, "simplify": False}
    quiet = {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False, "meta": "rim"}
    return line | {"line": shape, **quiet}


def _between(curves: _Curves, low_bps: float, high_bps: float) -> str:
    """Where a split is best, in words."""
    low, high = (format_rate(rate, in_bytes=False) for rate in (low_bps, high_bps))
    if low_bps == curves.ends_bps[0]:
        return "at every rate shown" if high_bps == curves.ends_bps[-1] else f"up to {high}"
    return f"above {low}" if high_bps == curves.ends_bps[-1] else f"{low} to {high}"


def _add_switches(figure: go.Figure, curves: _Curves) -> None:
    """Marks, and dotted lines down to the axis."""
    names = [layout.full_name(curves.study.splits[i]) for i in curves.pieces]
    rates = np.array(curves.ends_bps[1:-1])
    costs = np.interp(rates, curves.rates_bps, curves.best)  # at points of the lines
    figure.add_scatter(
        name=SWITCHING,
        meta=SWITCHING,
        x=rates,
        y=costs,
        mode="markers",
        marker={"size": 8, "color": "white", "line": {"color": "black", "width": 1.5}},
        hovertext=[f"below: {below}<br>above: {above}" for below, above in pairwise(names)],
        hovertemplate="<b>switching rate %{x:.3~s}bit/s</b><br>%{hovertext}<br>"
        f"both: %{{y:.3~s}}{curves.study.unit}<extra></extra>",
        legendrank=2100,
        showlegend=len(rates) > 0,
    )
    dotted = {"type": "line", "y0": 0, "line": {"color": layout.RIM, "width": 1, "dash": "dot"}}
    for rate, cost in zip(rates, costs, strict=True):
        figure.add_shape(x0=rate, x1=rate, y1=cost, **dotted)


def _caption(curves: _Curves) -> str:
    study, never = curves.study, len(curves.never)
    words = [study.label(), "Bold: the best split at each rate; dotted: the exact rates at which"]
    words.append("it changes.")
    if never > MOST_GREY:
        words.append(f"Of the {never:,} never best, the nearest {MOST_GREY} are drawn.")
    words.append(layout.left_out(len(study.splits) - len(curves.timed)))
    if study.lines.interpolated[study.row(curves.batch_size)]:
        words.append(layout.INTERPOLATED)
    return " ".join(words)
