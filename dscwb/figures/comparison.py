"""Conventions side by side: a study goes in, a figure of what each would have said comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dscwb.figures.axes import NAME_CHARACTER, legend_above, widen_left
from dscwb.figures.colours import BASELINE_COLOURS
from dscwb.figures.page import AXIS, MARGIN_LEFT, Template, set_page, title
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.study.conventions import conventions
from dscwb.study.sweeps import Study
from dscwb.units import Encoding, format_percent

ROW, AXIS_PX = 34, 58  # pixels: a convention, and tick labels with the title below all of them
SHARE = "states in which a split is best"
GAINS = {
    "over_no_offloading": (NO_OFFLOADING, "circle-open", BASELINE_COLOURS[NO_OFFLOADING]),
    "over_full_offloading": (FULL_OFFLOADING, "square-open", BASELINE_COLOURS[FULL_OFFLOADING]),
    "over_better_end": ("the better of both", "diamond", "rgb(0, 158, 115)"),
}
"""Column, name, symbol and colour (Okabe and Ito's) of each mean gain; shapes differ as well."""
BAR = "rgb(120, 120, 120)"
OWN = "rgba(230, 159, 0, 0.25)"  # behind the row of the study's own convention
LEFT, RIGHT = (0.0, 0.44), (0.54, 1.0)  # shares of the width


def plot_conventions(
    study: Study,
    *,
    input_encodings: Sequence[str | Encoding] | None = None,
    feature_encodings: Sequence[str | Encoding] | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """What the same study would say under other payload conventions; its own one is marked.

    Args:
        study: Profiles, grid and scenario; all but the two encodings stay as they are.
        input_encodings: How the input is sent when all layers are offloaded, see `conventions`.
        feature_encodings: How intermediate tensors are sent; every pair is drawn.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An encoding is unknown, or cannot hold the model's input.
    """
    table = conventions(study, input_encodings=input_encodings, feature_encodings=feature_encodings)
    names = [
        f"{given} / {sent}" for given, sent in zip(table["input"], table["features"], strict=True)
    ]
    figure = go.Figure([_shares(table, names), *_gains(table, names)])
    own = int(table["own"].to_numpy().argmax())
    for panel in ("", "2"):
        figure.add_shape(_band(own, panel))
    figure.update_layout(_axes(table, names), title=title(*_heading(study, table)))
    figure.update_layout(
        bargap=0.45,
        legend={"title": {"text": "gain over ", "font": {"size": 11}}},
    )
    set_page(
        figure,
        f"{study.label()} {_ABOUT}",
        plot_px=ROW * len(table),
        axis_px=AXIS_PX,
        template=template,
        width=width,
    )
    widen_left(figure, max(0.0, NAME_CHARACTER * max(map(len, names)) + 36 - MARGIN_LEFT))
    legend_above(figure, width)
    return figure


_ABOUT = (
    "Every row is the same study with another encoding of input / features, its own one shaded. "
    "Gains are means over all states of the grid, the best split in each against a fixed choice; "
    "“the better of both” is the better of no and full offloading in each state."
)


def _shares(table: pd.DataFrame, names: list[str]) -> go.Bar:
    shares = table["split_share"]
    return go.Bar(
        name=SHARE,
        x=shares,
        y=list(range(len(table))),
        orientation="h",
        marker={"color": BAR, "line": {"width": 0}},
        text=[format_percent(share) for share in shares],
        textposition=["inside" if share > 0.8 else "outside" for share in shares],
        insidetextfont={"color": "white"},
        cliponaxis=False,
        hovertext=_words(table, names),
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )


def _gains(table: pd.DataFrame, names: list[str]) -> list[go.Scatter]:
    return [
        go.Scatter(
            name=label,
            meta=column,
            x=table[column],
            y=list(range(len(table))),
            mode="markers",
            marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2}},
            cliponaxis=False,
            xaxis="x2",
            yaxis="y2",
            hovertext=_words(table, names),
            hovertemplate="%{hovertext}<extra></extra>",
        )
        for column, (label, symbol, colour) in GAINS.items()
    ]


def _words(table: pd.DataFrame, names: list[str]) -> list[str]:
    return [_hover(row, name) for (_, row), name in zip(table.iterrows(), names, strict=True)]


def _hover(row: Any, name: str) -> str:
    lines = [f"<b>input / features: {name}</b>"]
    lines.append(f"a split is best in {format_percent(row['split_share'])} of the states")
    for column, (label, _, _) in GAINS.items():
        gained = row[column]
        words = "not possible" if gained != gained else format_percent(gained)
        lines.append(f"mean gain over {label}: {words}")
    if row["best_static"]:
        lines.append(
            f"over always {row['best_static']}, the best static: "
            f"{format_percent(row['over_best_static'])}"
        )
    return "<br>".join(lines)


def _axes(table: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    rows = list(range(len(table)))
    share = {
        **AXIS,
        "range": [0, 1],
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "ticktext": ["0", "25", "50", "75", "100"],
        "showgrid": True,
    }
    own = [f"<b>{names[row]}</b>" if table["own"][row] else names[row] for row in rows]
    column = {**AXIS, "range": [len(rows) - 0.5, -0.5], "tickvals": rows, "ticktext": own}
    return {
        "xaxis": {**share, "domain": LEFT, "title": {"text": "States with a best split in %"}},
        "xaxis2": {
            **share,
            "domain": RIGHT,
            "anchor": "y2",
            "title": {"text": "Mean gain in %"},
        },
        "yaxis": {**column, "title": {"text": "Input / features as"}},
        "yaxis2": {
            **column,
            "anchor": "x2",
            "showticklabels": False,
            "ticks": "",
            "showgrid": True,
        },
    }


def _band(row: int, panel: str) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": f"x{panel} domain",
        "yref": f"y{panel}",
        "x0": 0,
        "x1": 1,
        "y0": row - 0.5,
        "y1": row + 0.5,
        "fillcolor": OWN,
        "line": {"width": 0},
        "layer": "below",
    }


def _heading(study: Study, table: pd.DataFrame) -> tuple[str, str]:
    own = table[table["own"]].iloc[0]
    low, high = table["split_share"].min(), table["split_share"].max()
    return (
        f"Payload conventions: {study.edge.graph.model}",
        f"a split is best in {format_percent(low)} to {format_percent(high)} of the states; here "
        f"({own['input']} / {own['features']}) in {format_percent(own['split_share'])}",
    )
