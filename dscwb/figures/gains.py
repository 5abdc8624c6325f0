"""The paper's table of gains as a picture: what dynamic splitting is worth for every model."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.figures import layout
from dscwb.paper import CLAIMED_GAIN, DATA_RATES_BPS, claim
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

ROW, HEADS = 36, 100  # pixels: a model, and what stands above each panel
CLEAR = 8  # pixels between the names and the first panel
LEFT_OF_ZERO = 0.04  # share of gain, so that a symbol at zero stays clear of the names
BAND = "rgba(230, 159, 0, 0.3)"  # Okabe and Ito's orange
CLAIMED = " to ".join(f"{100 * end:.0f}" for end in CLAIMED_GAIN) + " %"
RATES = "data rates from {:g} to {:g} MB/s".format(*(DATA_RATES_BPS[i] / 8e6 for i in (0, -1)))
NOT_OK = "*"
BASELINES = {
    "no_offloading": (NO_OFFLOADING, "circle-open", 12, 2, "rgb(0, 114, 178)"),
    "full_offloading": (FULL_OFFLOADING, "square-open", 12, 2, "rgb(213, 94, 0)"),
    "better_end": ("the better of both", "diamond", 11, 2, "rgb(0, 158, 115)"),
    # Small and filled: where this is one of both, it lies inside their symbol.
    "best_static": ("the best static split", "diamond", 8, 0, "rgb(204, 121, 167)"),
    "mean_static": ("a static split, on average", "line-ns", 12, 3, "rgb(0, 158, 115)"),
}
"""Name, symbol, its size and line in pixels, and colour (Okabe and Ito's) of each baseline."""


def plot_gains(gains: pd.DataFrame, *, pair: str | None = None) -> go.Figure:
    """Mean gain of choosing the split in every state, for every model and payload convention.

    One panel a convention; the band is the 20 to 30 % that the paper claims.

    Args:
        gains: What `paper.gain_table` gave.
        pair: Name of the device and server to draw; the table's first when left out.

    Raises:
        ValueError: An unknown pair, or an empty table.
    """
    known = list(dict.fromkeys(gains["pair"])) if len(gains) else []
    if not known:
        raise ValueError("No gains to draw: no model is in a pair; profile some on both machines.")
    if pair is not None and pair not in known:
        raise ValueError(f"No pair {pair!r} in this table; choose one of {'; '.join(known)}.")
    name = pair or known[0]
    rows = gains[gains["pair"] == name]
    first = rows.drop_duplicates("model").set_index("model")
    panels = {
        f"{given} / {sent}": part.set_index("model").loc[first.index]
        for (given, sent), part in rows.groupby(["input", "features"], sort=False)
    }
    origin = str(first["origin"].iloc[0])
    measured = set(origin.split(" → ")) == {"measured"}
    within = []  # a count for each convention: 2, 4 and 2
    for column in ("no_offloading", "mean_static"):
        counts = [part[column].dropna().map(claim).eq("within").sum() for part in panels.values()]
        some = " and ".join(", ".join(map(str, counts)).rsplit(", ", 1))
        within.append(f"{some} over {BASELINES[column][0]}")
    widest = layout.NAME_CHARACTER * first.index.str.len().max()
    # Under each model its batch sizes, with a star where its times are not ok.
    beside = {}
    for model, sizes, not_ok in first[["batch_sizes", "not_ok"]].itertuples():
        stars = [f"{one}{NOT_OK * (one in not_ok.split(', '))}" for one in sizes.split(", ")]
        beside[model] = (
            f"{model}<br><span style='font-size:{layout.TEXT}px'>{', '.join(stars)}</span>"
        )
    figure = _panels(panels).update_yaxes(
        layout.AXIS,
        domain=[0, ROW * len(first) / (ROW * len(first) + HEADS)],
        labelalias=beside,
        autorange="reversed",
        ticks="",
        ticklabelstandoff=CLEAR,
        showgrid=True,
        griddash="solid" if measured else "dot",
    )
    return layout.page(
        figure,
        ("What dynamic splitting gains", f"{name} ({origin})"),
        [
            f"Device → server: {name} ({origin}). Each panel is one way of writing input / "
            "features, with the share of states in which a split is best from model to model. "
            "Gains are means over all states, the best split in each against a fixed choice: "
            f"{RATES} and the batch sizes under each model, all alike; no round trip, no downlink.",
            f"Band: the {CLAIMED} that the paper claims on average, in most cases, over a static "
            f"split or no offloading; within it are, of {len(first)} models, {', '.join(within)}.",
            f"{NOT_OK} Times there are noisy, or worse, on one of the machines."
            * any(first["not_ok"]),
            "Dotted rows: not measured on both machines." * (not measured),
        ],
        plot_px=ROW * len(first) + HEADS,
        axis_px=CLEAR,
        left_px=max(layout.MARGIN_LEFT, widest + 2 * CLEAR),
        legend=layout.LEGEND_ABOVE | {"title": {"text": "mean gain over "}},
    )


def _panels(panels: dict[str, pd.DataFrame]) -> go.Figure:
    """A panel for each convention; its head and scale stand above it, like those of a table."""
    figure = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.06)
    for column, (heading, part) in enumerate(panels.items(), start=1):
        for name in [name for name in BASELINES if name in part]:
            told = layout.hover(
                {"<br>a split is best in {:.1%} of the states": part["usefulness"]},
                f"<b>%{{y}}</b>, {heading}<br>mean gain over {BASELINES[name][0]}: %{{x:.1%}}",
            )
            marks = gain_over(name, part[name], part.index, showlegend=column == 1, **told)
            figure.add_trace(marks, row=1, col=column)
        shares = f"split best in {layout.percents(part['usefulness'])}"
        figure.update_xaxes(title_text=f"{heading}<br>{shares}<br>Mean gain in %", col=column)
    claimed = {"name": f"claimed: {CLAIMED}", "legendgroup": "claim"}
    figure.add_vrect(*CLAIMED_GAIN, fillcolor=BAND, line_width=0, layer="below", **claimed)
    figure.layout.shapes[0].showlegend = True
    scale = {"range": [-LEFT_OF_ZERO, 1], "dtick": 0.2, "tickformat": ".0%", "showgrid": True}
    return figure.update_xaxes(layout.AXIS, side="top", **scale)


def gain_over(name: str, gains: pd.Series[float], rows: Any, **more: Any) -> go.Scatter:
    """Gains over one of `BASELINES`, a row each."""
    words, symbol, size, width, colour = BASELINES[name]
    # A stroke has no colour but its line's.
    marker = {"symbol": symbol, "size": size, "color": colour}
    marker["line"] = {"width": width, "color": colour}
    more |= {"mode": "markers", "marker": marker, "cliponaxis": False, "legendgroup": name}
    return go.Scatter(name=words, meta=name, x=gains, y=rows, **more)
