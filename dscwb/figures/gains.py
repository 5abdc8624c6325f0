"""The paper's table of gains as a picture: what dynamic splitting is worth for every model."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.figures import layout
from dscwb.figures.colours import BASELINE_COLOURS
from dscwb.paper import CLAIMED_GAIN, DATA_RATES_BPS, claim
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

ROW, HEADS = 30, 130  # pixels: a model, and what stands above each panel
CLEAR = 8  # pixels between the names and the first panel
LEFT_OF_ZERO = 0.04  # share of gain, so that a symbol at zero stays clear of the names
BAND = "rgba(230, 159, 0, 0.3)"  # Okabe and Ito's orange
CLAIMED = " to ".join(f"{100 * end:.0f}" for end in CLAIMED_GAIN) + " %"
RATES = "data rates from {:g} to {:g} MB/s".format(*(DATA_RATES_BPS[i] / 8e6 for i in (0, -1)))
NOT_OK = "*"
BASELINES = {
    "no_offloading": (NO_OFFLOADING, "circle-open", 12, 2, BASELINE_COLOURS[NO_OFFLOADING]),
    "full_offloading": (FULL_OFFLOADING, "square-open", 12, 2, BASELINE_COLOURS[FULL_OFFLOADING]),
    # Small and filled: where this is one of both, it lies inside their symbol.
    "best_static": ("the best static split", "diamond", 8, 0, "rgb(204, 121, 167)"),
    "mean_static": ("a static split, on average", "line-ns", 12, 3, "rgb(0, 158, 115)"),
}
"""Column of the table; name, symbol, its size and line in pixels, colour of each baseline."""


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
    figure = _panels(panels, first, dashed=not measured)
    within = [
        f"{_within(panels.values(), column)} over {BASELINES[column][0]}"
        for column in ("no_offloading", "mean_static")
    ]
    words = [
        f"Device → server: {name} ({origin}). Each panel is one way of writing input / features, "
        "with the share of states in which a split is best from model to model. Gains are means "
        f"over all states, the best split in each against a fixed choice: {RATES} and the batch "
        "sizes under each model, all alike; no round trip, no downlink.",
        f"Band: the {CLAIMED} that the paper claims on average, in most cases, over a static split "
        f"or no offloading; within it are, of {len(first)} models, {', '.join(within)}.",
    ]
    if any(first["not_ok"]):
        words.append(f"{NOT_OK} Times there are noisy, or worse, on one of the machines.")
    if not measured:
        words.append("Dotted rows: not measured on both machines.")
    return layout.page(
        figure,
        "What dynamic splitting gains",
        f"{name} ({origin})",
        " ".join(words),
        plot_px=ROW * len(first) + HEADS,
        axis_px=CLEAR,
        left_px=max(
            layout.MARGIN_LEFT, layout.NAME_CHARACTER * first.index.str.len().max() + 2 * CLEAR
        ),
    )


def _panels(panels: dict[str, pd.DataFrame], first: pd.DataFrame, *, dashed: bool) -> go.Figure:
    """A panel for each convention; its head and scale stand above it, like those of a table."""
    figure = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.06)
    for column, (heading, part) in enumerate(panels.items(), start=1):
        for name, (words, symbol, size, line, colour) in BASELINES.items():
            figure.add_scatter(
                name=words,
                meta=name,
                legendgroup=name,
                showlegend=column == 1,
                x=part[name],
                y=part.index,
                mode="markers",
                # A stroke has no colour but its line's.
                marker={"symbol": symbol, "size": size, "color": colour}
                | {"line": {"width": line, "color": colour}},
                cliponaxis=False,
                customdata=part[["usefulness"]],
                hovertemplate="<b>%{y}</b>, " + heading + f"<br>mean gain over {words}: %{{x:.1%}}"
                "<br>a split is best in %{customdata[0]:.1%} of the states<extra></extra>",
                row=1,
                col=column,
            )
        shares = f"split best in {layout.percents(part['usefulness'])}"
        figure.update_xaxes(title_text=f"{heading}<br>{shares}<br>Mean gain in %", col=column)
    claimed = {"name": f"claimed: {CLAIMED}", "showlegend": True, "legendgroup": "claim"}
    figure.add_vrect(*CLAIMED_GAIN, fillcolor=BAND, line_width=0, layer="below", **claimed)
    for shape in figure.layout.shapes[1:]:
        shape.showlegend = False
    scale = {"range": [-LEFT_OF_ZERO, 1], "dtick": 0.2, "tickformat": ".0%", "showgrid": True}
    figure.update_xaxes(layout.AXIS, side="top", **scale)
    sizes = map(_starred, first["batch_sizes"], first["not_ok"])
    beside = {
        model: f"{model}<br><span style='font-size:10px'>{text}</span>"
        for model, text in zip(first.index, sizes, strict=True)
    }
    dash = "dot" if dashed else "solid"
    rows = {"ticks": "", "ticklabelstandoff": CLEAR, "showgrid": True, "griddash": dash}
    figure.update_yaxes({**layout.AXIS, **rows}, autorange="reversed", labelalias=beside)
    return figure.update_layout(
        legend={**layout.LEGEND_ABOVE, "title": {"text": "mean gain over "}}
    )


def _starred(sizes: str, not_ok: str) -> str:
    """Each batch size, with a star where its times are not ok."""
    doubtful = not_ok.split(", ")
    return ", ".join(f"{size}{NOT_OK * (size in doubtful)}" for size in sizes.split(", "))


def _within(panels: Iterable[pd.DataFrame], baseline: str) -> str:
    """How many models lie within the claim, a count for each convention: ``2, 4 and 2``."""
    *before, last = [
        str(sum(claim(gain) == "within" for gain in part[baseline].dropna())) for part in panels
    ]
    return f"{', '.join(before)} and {last}" if before else last
