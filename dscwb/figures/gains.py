"""The paper's table of gains as a picture: what dynamic splitting is worth for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.axes import NAME_CHARACTER, legend_above, widen_left
from dscwb.figures.colours import BASELINE_COLOURS
from dscwb.figures.page import (
    AXIS,
    MARGIN_LEFT,
    Template,
    panel_title,
    set_page,
    title,
)
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.paper import CLAIMED_GAIN, DATA_RATES_BPS, claim
from dscwb.units import format_percent

ROW, AXIS_PX, PANEL_TITLE = 26, 58, 44  # pixels: a model, ticks with their title, a panel's title
SIZE_CHARACTER, CLEAR = 5.8, 12  # pixels of the batch sizes, and at their left
STANDOFF = 8  # pixels between the names and the first panel
LEFT_OF_ZERO = 0.04  # share of gain, so that a symbol at zero stays clear of the names
GAP = 0.06  # between two panels, in shares of the width
BAND = "rgba(230, 159, 0, 0.3)"  # Okabe and Ito's orange
CLAIMED = " to ".join(f"{100 * end:.0f}" for end in CLAIMED_GAIN) + " %"
SIZES_HEAD, NOT_OK = "batch sizes", "*"
BASELINES = {
    "no_offloading": (NO_OFFLOADING, "circle-open", 12, 2, BASELINE_COLOURS[NO_OFFLOADING]),
    "full_offloading": (FULL_OFFLOADING, "square-open", 12, 2, BASELINE_COLOURS[FULL_OFFLOADING]),
    # Small and filled: where this is one of both, it lies inside their symbol.
    "best_static": ("the best static split", "diamond", 8, 0, "rgb(204, 121, 167)"),
    "mean_static": ("a static split, on average", "line-ns", 12, 3, "rgb(0, 158, 115)"),
}
"""Column of the table; name, symbol, its size and line in pixels, colour of each baseline."""


@dataclass(frozen=True, eq=False)
class GainsNumbers:
    """Numbers of `plot_gains`: one pair, rows are models in the table's order.

    Attributes:
        pair: Device and server.
        origin: Where their times come from, ``measured → measured``.
        models: Their names.
        batch_sizes: Those that count for each model; a star marks times that are not ``ok``.
        conventions: Encodings of image and features, one panel each.
        gains: Mean gains as shares, ``(convention, baseline, model)``, as in `BASELINES`;
            NaN where one is not possible.
        usefulness: Share of states whose best choice is a split, ``(convention, model)``.
    """

    pair: str
    origin: str
    models: tuple[str, ...]
    batch_sizes: tuple[str, ...]
    conventions: tuple[tuple[str, str], ...]
    gains: NDArray[np.float64]
    usefulness: NDArray[np.float64]

    @property
    def measured(self) -> bool:
        """Whether nothing here is modelled, assumed or imported."""
        return set(self.origin.split(" → ")) == {"measured"}

    def within(self, baseline: str) -> tuple[int, ...]:
        """How many models lie within the claim, for each convention."""
        column = list(BASELINES).index(baseline)
        return tuple(
            sum(claim(gain) == "within" for gain in row if not np.isnan(gain))
            for row in self.gains[:, column]
        )


def plot_gains(
    gains: pd.DataFrame,
    *,
    pair: str | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """Mean gain of choosing the split in every state, for every model and payload convention.

    One panel a convention; the band is the 20 to 30 % that the paper claims.

    Args:
        gains: What `paper.gain_table` gave.
        pair: Name of the device and server to draw; the table's first when left out.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An unknown pair, or an empty table.
    """
    info = gains_numbers(gains, pair)
    panels = range(len(info.conventions))
    figure = go.Figure([_claim(), *(one for panel in panels for one in _markers(info, panel))])
    for panel in panels:
        figure.add_shape(_band(panel))
    for note in (*_panel_titles(info), *_batch_sizes(info)):
        figure.add_annotation(note)
    figure.update_layout(_axes(info), title=title(*_heading(info)))
    figure.update_layout(legend={"title": {"text": "mean gain over ", "font": {"size": 11}}})
    set_page(
        figure,
        _caption(info),
        plot_px=ROW * len(info.models),
        right_px=CLEAR + SIZE_CHARACTER * max(map(len, (SIZES_HEAD, *info.batch_sizes))),
        axis_px=AXIS_PX,
        template=template,
        width=width,
    )
    widen_left(
        figure, max(0.0, NAME_CHARACTER * max(map(len, info.models)) + 2 * STANDOFF - MARGIN_LEFT)
    )
    legend_above(figure, width, PANEL_TITLE)
    return figure


def gains_numbers(gains: pd.DataFrame, pair: str | None = None) -> GainsNumbers:
    """The rows of one pair as arrays; raises as the figure."""
    known = list(dict.fromkeys(gains["pair"])) if len(gains) else []
    if not known:
        raise ValueError("No gains to draw: no model is in a pair; profile some on both machines.")
    if pair is not None and pair not in known:
        raise ValueError(f"No pair {pair!r} in this table; choose one of {'; '.join(known)}.")
    rows = gains[gains["pair"] == (pair or known[0])]
    first = rows.drop_duplicates("model")
    conventions = tuple(dict.fromkeys(zip(rows["input"], rows["features"], strict=True)))
    panels = [
        rows[(rows["input"] == given) & (rows["features"] == sent)]
        .set_index("model")
        .loc[list(first["model"])]
        for given, sent in conventions
    ]
    return GainsNumbers(
        pair or known[0],
        str(first["origin"].iloc[0]),
        tuple(first["model"]),
        tuple(map(_starred, first["batch_sizes"], first["not_ok"])),
        conventions,
        np.array([[panel[column] for column in BASELINES] for panel in panels], dtype=np.float64),
        np.array([panel["usefulness"] for panel in panels], dtype=np.float64),
    )


def _starred(sizes: str, not_ok: str) -> str:
    """Each batch size, with a star where its times are not ok."""
    doubtful = not_ok.split(", ")
    return ", ".join(f"{size}{NOT_OK * (size in doubtful)}" for size in sizes.split(", "))


def _claim() -> go.Scatter:
    """Only for the legend: a shape has no entry in it."""
    return go.Scatter(
        name=f"claimed: {CLAIMED}",
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 14, "color": BAND},
        hoverinfo="skip",
    )


def _band(panel: int) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": f"x{_axis(panel)}",
        "yref": f"y{_axis(panel)} domain",
        "x0": CLAIMED_GAIN[0],
        "x1": CLAIMED_GAIN[1],
        "y0": 0,
        "y1": 1,
        "fillcolor": BAND,
        "line": {"width": 0},
        "layer": "below",
    }


def _markers(info: GainsNumbers, panel: int) -> list[go.Scatter]:
    return [
        go.Scatter(
            name=name,
            meta=column,
            legendgroup=column,
            showlegend=panel == 0,
            x=info.gains[panel, i],
            y=list(range(len(info.models))),
            mode="markers",
            marker={
                "symbol": symbol,
                "size": size,
                "color": colour,
                "line": {"width": line, "color": colour},  # a stroke has no colour but its line's
            },
            cliponaxis=False,
            xaxis=f"x{_axis(panel)}",
            yaxis=f"y{_axis(panel)}",
            hovertext=[_hover(info, panel, row) for row in range(len(info.models))],
            hovertemplate="%{hovertext}<extra></extra>",
        )
        for i, (column, (name, symbol, size, line, colour)) in enumerate(BASELINES.items())
    ]


def _hover(info: GainsNumbers, panel: int, row: int) -> str:
    given, sent = info.conventions[panel]
    lines = [
        f"<b>{info.models[row]}</b>, batch sizes {info.batch_sizes[row]}",
        f"input / features: {given} / {sent}",
        f"a split is best in {format_percent(info.usefulness[panel, row])} of the states",
    ]
    for (name, *_), gain in zip(BASELINES.values(), info.gains[panel, :, row], strict=True):
        shown = "not possible" if np.isnan(gain) else format_percent(gain)
        lines.append(f"mean gain over {name}: {shown}")
    return "<br>".join(lines)


def _axis(panel: int) -> str:
    return str(panel + 1) if panel else ""


def _domain(panel: int, panels: int) -> tuple[float, float]:
    wide = (1 - GAP * (panels - 1)) / panels
    return panel * (wide + GAP), panel * (wide + GAP) + wide


def _panel_titles(info: GainsNumbers) -> list[dict[str, Any]]:
    """Two lines above each panel, and what they are at their left."""
    panels = len(info.conventions)
    small = {"font": {"size": 14}}
    heads = panel_title("input / features", "a split is best in", 0)
    notes = [heads | small | {"xanchor": "right", "xshift": -STANDOFF, "align": "right"}]
    for panel, (given, sent) in enumerate(info.conventions):
        low, high = (format_percent(end(info.usefulness[panel])) for end in (np.min, np.max))
        told = f"{low.removesuffix(' %')} to {high} of states"
        notes.append(panel_title(f"{given} / {sent}", told, _domain(panel, panels)[0]) | small)
    return notes


def _axes(info: GainsNumbers) -> dict[str, Any]:
    panels, rows = len(info.conventions), list(range(len(info.models)))
    axes: dict[str, Any] = {}
    for panel in range(panels):
        axes[f"xaxis{_axis(panel)}"] = {
            **AXIS,
            "domain": _domain(panel, panels),
            "anchor": f"y{_axis(panel)}",
            "range": [-LEFT_OF_ZERO, 1],
            "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
            "ticktext": ["0", "20", "40", "60", "80", "100"],
            "showgrid": True,
            "title": {"text": "Mean gain in %"},
        }
        axes[f"yaxis{_axis(panel)}"] = {
            **AXIS,
            "anchor": f"x{_axis(panel)}",
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": rows,
            "ticktext": list(info.models),
            "showticklabels": panel == 0,
            "ticks": "",
            "ticklabelstandoff": STANDOFF,
            "showgrid": True,
            "griddash": "solid" if info.measured else "dot",
        }
    return axes


def _batch_sizes(info: GainsNumbers) -> list[dict[str, Any]]:
    """Beside each row, at the right of the last panel; their heading above them."""
    note = {
        "xref": "paper",
        "x": 1,
        "xanchor": "left",
        "xshift": CLEAR,
        "yref": f"y{_axis(len(info.conventions) - 1)}",
        "showarrow": False,
        "font": {"size": 11},
    }
    rows = [note | {"text": text, "y": row} for row, text in enumerate(info.batch_sizes)]
    above = {"yref": "paper", "y": 1, "yanchor": "bottom", "yshift": 6}
    return [*rows, note | {"text": SIZES_HEAD} | above]


def _heading(info: GainsNumbers) -> tuple[str, str]:
    (first, *_), (second, *_) = BASELINES["no_offloading"], BASELINES["mean_static"]
    return (
        f"What dynamic splitting gains: {info.pair}",
        f"{info.origin}; within the claim: {_counted(info, 'no_offloading')} of "
        f"{len(info.models)} models over {first}, {_counted(info, 'mean_static')} over {second}",
    )


def _counted(info: GainsNumbers, baseline: str) -> str:
    *before, last = map(str, info.within(baseline))
    return f"{', '.join(before)} and {last}" if before else last


def _caption(info: GainsNumbers) -> str:
    low, high = (rate / 8e6 for rate in (DATA_RATES_BPS[0], DATA_RATES_BPS[-1]))
    parts = [
        f"Device → server: {info.pair} ({info.origin}). Each panel is one way of writing input / "
        "features. Gains are means over all states, the best split in each against a fixed choice: "
        f"data rates from {low:g} to {high:g} MB/s and the batch sizes at the right, all alike; no "
        "round trip, no downlink.",
        f"Band: the {CLAIMED} that the paper claims on average, in most cases, over a static split "
        "or no offloading.",
    ]
    if any(NOT_OK in sizes for sizes in info.batch_sizes):
        parts.append(f"{NOT_OK} Times there are noisy, or worse, on one of the machines.")
    if not info.measured:
        parts.append("Dotted rows: not measured on both machines.")
    return " ".join(parts)
