"""The paper's table of gains as a picture: what dynamic splitting is worth for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.figures.colours import BASELINE_COLOURS
from dscwb.figures.layout import AXIS, MARGIN_LEFT, NAME_CHARACTER, page
from dscwb.paper import CLAIMED_GAIN, DATA_RATES_BPS, claim
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, format_percent

ROW, HEADS = 26, 78  # pixels: a model, and what stands above each panel
CLEAR = 8  # pixels between the names and the first panel
LEFT_OF_ZERO = 0.04  # share of gain, so that a symbol at zero stays clear of the names
GAP = 0.06  # between two panels, in shares of the width
BAND = "rgba(230, 159, 0, 0.3)"  # Okabe and Ito's orange
CLAIMED = " to ".join(f"{100 * end:.0f}" for end in CLAIMED_GAIN) + " %"
NOT_OK = "*"
BASELINES = {
    "no_offloading": (NO_OFFLOADING, "circle-open", 12, 2, BASELINE_COLOURS[NO_OFFLOADING]),
    "full_offloading": (FULL_OFFLOADING, "square-open", 12, 2, BASELINE_COLOURS[FULL_OFFLOADING]),
    # Small and filled: where this is one of both, it lies inside their symbol.
    "best_static": ("the best static split", "diamond", 8, 0, "rgb(204, 121, 167)"),
    "mean_static": ("a static split, on average", "line-ns", 12, 3, "rgb(0, 158, 115)"),
}
"""Column of the table; name, symbol, its size and line in pixels, colour of each baseline."""


@dataclass(frozen=True, eq=False)
class _Pair:
    """The rows of one device and server; all tables have the same models in the same order.

    Attributes:
        name: Of both.
        origin: Where their times come from, ``measured → measured``.
        panels: Rows of each encoding of input and features, by ``input / features``.
        sizes: Batch sizes that count for each model; a star marks times that are not ``ok``.
    """

    name: str
    origin: str
    panels: dict[str, pd.DataFrame]
    sizes: list[str]

    @property
    def models(self) -> pd.Index[str]:
        """Names of the models, from top to bottom."""
        return next(iter(self.panels.values())).index

    @property
    def measured(self) -> bool:
        """Whether nothing here is modelled, assumed or imported."""
        return set(self.origin.split(" → ")) == {"measured"}


def plot_gains(
    gains: pd.DataFrame,
    *,
    pair: str | None = None,
    width: int | None = None,
) -> go.Figure:
    """Mean gain of choosing the split in every state, for every model and payload convention.

    One panel a convention; the band is the 20 to 30 % that the paper claims.

    Args:
        gains: What `paper.gain_table` gave.
        pair: Name of the device and server to draw; the table's first when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An unknown pair, or an empty table.
    """
    info = _pair(gains, pair)
    last = len(info.panels)
    figure = go.Figure([_claim(last)])
    for panel, (heading, rows) in enumerate(info.panels.items(), start=1):
        axis = _axis(panel)
        figure.add_traces(_markers(info, rows, heading, axis))
        figure.add_shape(
            type="rect",
            xref=f"x{axis}",
            yref=f"y{axis} domain",
            x0=CLAIMED_GAIN[0],
            x1=CLAIMED_GAIN[1],
            y0=0,
            y1=1,
            fillcolor=BAND,
            line={"width": 0},
            layer="below",
        )
        figure.update_layout(_axes(info, rows, heading, panel))
    rows = figure.layout.yaxis.to_plotly_json()
    right = {"overlaying": f"y{_axis(last)}", "anchor": f"x{_axis(last)}", "side": "right"}
    sizes = {"ticktext": info.sizes, "tickfont": {"size": 11}, "title": {"text": "batch sizes"}}
    figure.update_layout(
        {f"yaxis{last + 1}": rows | right | sizes},
        legend={"title": {"text": "mean gain over "}},
    )
    names = list(BASELINES.values())
    return page(
        figure,
        f"What dynamic splitting gains: {info.name}",
        f"{info.origin}; within the claim: {_within(info, 'no_offloading')} of "
        f"{len(info.models)} models over {names[0][0]}, {_within(info, 'mean_static')} over "
        f"{names[3][0]}",
        _caption(info),
        plot_px=ROW * len(info.models) + HEADS,
        axis_px=CLEAR,
        left_px=max(MARGIN_LEFT, NAME_CHARACTER * max(map(len, info.models)) + 2 * CLEAR),
        legend_above=True,
        width=width,
    )


def _pair(gains: pd.DataFrame, pair: str | None) -> _Pair:
    known = list(dict.fromkeys(gains["pair"])) if len(gains) else []
    if not known:
        raise ValueError("No gains to draw: no model is in a pair; profile some on both machines.")
    if pair is not None and pair not in known:
        raise ValueError(f"No pair {pair!r} in this table; choose one of {'; '.join(known)}.")
    rows = gains[gains["pair"] == (pair or known[0])]
    first = rows.drop_duplicates("model")
    panels = {
        f"{given} / {sent}": part.set_index("model").loc[list(first["model"])]
        for (given, sent), part in rows.groupby(["input", "features"], sort=False)
    }
    sizes = list(map(_starred, first["batch_sizes"], first["not_ok"]))
    return _Pair(pair or known[0], str(first["origin"].iloc[0]), panels, sizes)


def _starred(sizes: str, not_ok: str) -> str:
    """Each batch size, with a star where its times are not ok."""
    doubtful = not_ok.split(", ")
    return ", ".join(f"{size}{NOT_OK * (size in doubtful)}" for size in sizes.split(", "))


def _axis(panel: int) -> str:
    """Suffix of a panel's axes; the first one has none."""
    return str(panel) if panel > 1 else ""


def _claim(last: int) -> go.Scatter:
    """Only for the legend, in which a shape has no entry; and for the axis of batch sizes."""
    return go.Scatter(
        name=f"claimed: {CLAIMED}",
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 14, "color": BAND},
        xaxis=f"x{_axis(last)}",
        yaxis=f"y{last + 1}",
        hoverinfo="skip",
    )


def _markers(info: _Pair, rows: pd.DataFrame, heading: str, axis: str) -> list[go.Scatter]:
    words = [
        _words(model, sizes, heading, row)
        for (model, row), sizes in zip(rows.iterrows(), info.sizes, strict=True)
    ]
    return [
        go.Scatter(
            name=name,
            meta=column,
            legendgroup=column,
            showlegend=not axis,
            x=rows[column],
            y=np.arange(len(rows)),
            mode="markers",
            marker={
                "symbol": symbol,
                "size": size,
                "color": colour,
                "line": {"width": line, "color": colour},  # a stroke has no colour but its line's
            },
            cliponaxis=False,
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
            hovertext=words,
            hovertemplate="%{hovertext}<extra></extra>",
        )
        for column, (name, symbol, size, line, colour) in BASELINES.items()
    ]


def _words(model: Any, sizes: str, heading: str, row: Any) -> str:
    lines = [
        f"<b>{model}</b>, batch sizes {sizes}",
        f"input / features: {heading}",
        f"a split is best in {format_percent(row['usefulness'])} of the states",
    ]
    for column, (name, *_) in BASELINES.items():
        shown = "not possible" if np.isnan(row[column]) else format_percent(row[column])
        lines.append(f"mean gain over {name}: {shown}")
    return "<br>".join(lines)


def _axes(info: _Pair, rows: pd.DataFrame, heading: str, panel: int) -> dict[str, Any]:
    """Of one panel, named at its top."""
    axis, wide = _axis(panel), (1 + GAP) / len(info.panels) - GAP
    left = (panel - 1) * (wide + GAP)
    low, high = (format_percent(end(rows["usefulness"])) for end in (min, max))
    shares = f"split best in {low.removesuffix(' %')} to {high}"
    return {
        f"xaxis{axis}": {
            **AXIS,
            "domain": [left, left + wide],
            "anchor": f"y{axis}",
            "side": "top",
            "range": [-LEFT_OF_ZERO, 1],
            "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
            "tickformat": ".0%",
            "showgrid": True,
            "title": {"text": f"{heading}<br>{shares}<br>Mean gain in %"},
        },
        f"yaxis{axis}": {
            **AXIS,
            "anchor": f"x{axis}",
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": list(rows.index),
            "showticklabels": panel == 1,
            "ticks": "",
            "ticklabelstandoff": CLEAR,
            "showgrid": True,
            "griddash": "solid" if info.measured else "dot",
        },
    }


def _within(info: _Pair, baseline: str) -> str:
    """How many models lie within the claim, for each convention: ``2, 4 and 2``."""
    *before, last = [
        str(sum(claim(gain) == "within" for gain in rows[baseline].dropna()))
        for rows in info.panels.values()
    ]
    return f"{', '.join(before)} and {last}" if before else last


def _caption(info: _Pair) -> str:
    low, high = (rate / 8e6 for rate in (DATA_RATES_BPS[0], DATA_RATES_BPS[-1]))
    words = [
        f"Device → server: {info.name} ({info.origin}). Each panel is one way of writing input / "
        "features, with the share of states in which a split is best from model to model. Gains "
        "are means over all states, the best split in each against a fixed choice: "
        f"data rates from {low:g} to {high:g} MB/s and the batch sizes at the right, all alike; no "
        "round trip, no downlink.",
        f"Band: the {CLAIMED} that the paper claims on average, in most cases, over a static split "
        "or no offloading.",
    ]
    if any(NOT_OK in sizes for sizes in info.sizes):
        words.append(f"{NOT_OK} Times there are noisy, or worse, on one of the machines.")
    if not info.measured:
        words.append("Dotted rows: not measured on both machines.")
    return " ".join(words)
