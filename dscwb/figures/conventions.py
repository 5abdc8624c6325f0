"""Payload conventions side by side: what the same study would say under each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.figures.colours import BASELINE_COLOURS
from dscwb.figures.layout import (
    AXIS,
    MARGIN_LEFT,
    NAME_CHARACTER,
    PLAIN_AXIS,
    full_name,
    page,
)
from dscwb.study import Study
from dscwb.study.conventions import conventions
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, Encoding, format_percent

ROW = 34  # pixels of a convention
SHARE = "states in which a split is best"
GAINS = {
    "over_no_offloading": (NO_OFFLOADING, "circle-open", BASELINE_COLOURS[NO_OFFLOADING]),
    "over_full_offloading": (FULL_OFFLOADING, "square-open", BASELINE_COLOURS[FULL_OFFLOADING]),
    "over_better_end": ("the better of both", "diamond", "rgb(0, 158, 115)"),
}
"""Column, name, symbol and colour (Okabe and Ito's) of each mean gain; shapes differ as well."""
BAR = "rgb(120, 120, 120)"
OWN = "rgba(230, 159, 0, 0.25)"  # behind the row of the study's own convention
PANELS = (0.0, 0.44), (0.54, 1.0)  # shares of the width
ABOUT = (
    "Every row is the same study with another encoding of input / features, its own one shaded. "
    "Gains are means over all states of the grid, the best split in each against a fixed choice; "
    "“the better of both” is the better of no and full offloading in each state."
)


def plot_conventions(
    study: Study,
    *,
    input_encodings: Sequence[str | Encoding] | None = None,
    feature_encodings: Sequence[str | Encoding] | None = None,
    width: int | None = None,
) -> go.Figure:
    """What the same study would say under other payload conventions; its own one is marked.

    Args:
        study: Profiles, grid and scenario; all but the two encodings stay as they are.
        input_encodings: How the input is sent when all layers are offloaded, see `conventions`.
        feature_encodings: How intermediate tensors are sent; every pair is drawn.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An encoding is unknown, or cannot hold the model's input.
    """
    table = conventions(study, input_encodings=input_encodings, feature_encodings=feature_encodings)
    table["name"] = table["input"] + " / " + table["features"]
    words = [_words(row) for _, row in table.iterrows()]
    own = int(np.argmax(table["own"]))
    figure = go.Figure([_shares(table, words), *_gains(table, words)])
    for panel in ("", "2"):
        place = {"xref": f"x{panel} domain", "yref": f"y{panel}", "x0": 0, "x1": 1}
        figure.add_shape(y0=own - 0.5, y1=own + 0.5, **place, **_SHADE)
    figure.update_layout(_axes(table), bargap=0.45, legend={"title": {"text": "gain over "}})
    shares, mine = table["split_share"], table.loc[own]
    return page(
        figure,
        f"Payload conventions: {study.edge.graph.model}",
        f"a split is best in {format_percent(shares.min())} to {format_percent(shares.max())} of "
        f"the states; here ({mine['name']}) in {format_percent(shares.iloc[own])}",
        f"{study.label()} {ABOUT}",
        plot_px=ROW * len(table),
        axis_px=PLAIN_AXIS,
        left_px=max(MARGIN_LEFT, NAME_CHARACTER * table["name"].str.len().max() + 36),
        legend_above=True,
        width=width,
    )


_SHADE = {"type": "rect", "fillcolor": OWN, "line": {"width": 0}, "layer": "below"}


def _shares(table: pd.DataFrame, words: list[str]) -> go.Bar:
    shares = table["split_share"]
    return go.Bar(
        name=SHARE,
        x=shares,
        y=table.index,
        orientation="h",
        marker={"color": BAR, "line": {"width": 0}},
        text=[format_percent(share) for share in shares],
        textposition=["inside" if share > 0.8 else "outside" for share in shares],
        insidetextfont={"color": "white"},
        cliponaxis=False,
        hovertext=words,
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def _gains(table: pd.DataFrame, words: list[str]) -> list[go.Scatter]:
    return [
        go.Scatter(
            name=label,
            meta=column,
            x=table[column],
            y=table.index,
            mode="markers",
            marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2}},
            cliponaxis=False,
            xaxis="x2",
            yaxis="y2",
            hovertext=words,
            hovertemplate="%{hovertext}<extra></extra>",
        )
        for column, (label, symbol, colour) in GAINS.items()
    ]


def _words(row: Any) -> str:
    lines = [f"<b>input / features: {row['name']}</b>"]
    lines.append(f"a split is best in {format_percent(row['split_share'])} of the states")
    for column, (label, _, _) in GAINS.items():
        gained = "not possible" if np.isnan(row[column]) else format_percent(row[column])
        lines.append(f"mean gain over {label}: {gained}")
    if static := row["best_static"]:
        gained = format_percent(row["over_best_static"])
        lines.append(f"over always {full_name(static)}, the best static: {gained}")
    return "<br>".join(lines)


def _axes(table: pd.DataFrame) -> dict[str, Any]:
    share = {**AXIS, "range": [0, 1], "tickformat": ".0%", "dtick": 0.25, "showgrid": True}
    named = np.where(table["own"], "<b>" + table["name"] + "</b>", table["name"])
    rows = {**AXIS, "range": [len(table) - 0.5, -0.5], "tickvals": table.index, "ticktext": named}
    second = {"anchor": "x2", "showticklabels": False, "ticks": "", "showgrid": True}
    states, gain = {"text": "States with a best split in %"}, {"text": "Mean gain in %"}
    return {
        "xaxis": share | {"domain": PANELS[0], "title": states},
        "xaxis2": share | {"domain": PANELS[1], "anchor": "y2", "title": gain},
        "yaxis": rows | {"title": {"text": "Input / features as"}},
        "yaxis2": rows | second,
    }
