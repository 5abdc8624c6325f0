"""Payload conventions side by side: what the same study would say under each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.figures import layout
from dscwb.figures.gains import BASELINES, gain_over
from dscwb.study import Study
from dscwb.study.conventions import conventions
from dscwb.units import Encoding, format_percent

ROW = 34  # pixels of a convention
SHARE = "states in which a split is best"
GAINS = ("over_no_offloading", "over_full_offloading", "over_better_end")
BAR = "rgb(120, 120, 120)"
OWN = "rgba(230, 159, 0, 0.25)"  # behind the row of the study's own convention
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
) -> go.Figure:
    """What the same study would say under other payload conventions; its own one is marked.

    Args:
        study: Profiles, grid and scenario; all but the two encodings stay as they are.
        input_encodings: How the input is sent when all layers are offloaded, see `conventions`.
        feature_encodings: How intermediate tensors are sent; every pair is drawn.

    Raises:
        ValueError: An encoding is unknown, or cannot hold the model's input.
    """
    table = conventions(study, input_encodings=input_encodings, feature_encodings=feature_encodings)
    names, shares = table["input"] + " / " + table["features"], table["split_share"]
    own = int(np.argmax(table["own"]))
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.1)
    static = table["best_static"].map(lambda split: layout.full_name(split) if split else "none")
    told = f"%{{text}} of the {SHARE}<br>mean gain over the best static, %{{hovertext}}: "
    figure.add_bar(
        name=SHARE,
        x=shares,
        y=names,
        orientation="h",
        marker={"color": BAR, "line": {"width": 0}},
        text=list(map(format_percent, shares)),
        textposition=np.where(shares > 0.8, "inside", "outside"),
        insidetextfont={"color": "white"},
        cliponaxis=False,
        hovertext=static,
        **layout.hover({"{:.1%}": table["over_best_static"]}, told),
        showlegend=False,
    )
    for column in GAINS:
        name = column.removeprefix("over_")
        told = f"mean gain over {BASELINES[name][0]}: %{{x:.1%}}<extra></extra>"
        figure.add_trace(gain_over(name, table[column], names, hovertemplate=told), row=1, col=2)
    figure.add_hrect(own - 0.5, own + 0.5, fillcolor=OWN, line_width=0, layer="below")
    figure.update_xaxes(layout.AXIS, range=[0, 1], tickformat=".0%", dtick=0.25, showgrid=True)
    figure.update_xaxes(title_text="States with a best split in %", col=1)
    figure.update_xaxes(title_text="Mean gain in %", col=2)
    bold = {names[own]: f"<b>{names[own]}</b>"}
    figure.update_yaxes(layout.AXIS, autorange="reversed", labelalias=bold)
    figure.update_yaxes(title_text="Input / features as", col=1)
    figure.update_yaxes(showgrid=True, ticks="", col=2)
    here = f"here ({names[own]}) in {format_percent(shares.iloc[own])}"
    return layout.page(
        figure,
        (
            f"Payload conventions: {study.edge.graph.model}",
            f"a split is best in {layout.percents(shares)} of the states; {here}",
        ),
        [study.label(), ABOUT],
        plot_px=ROW * len(table),
        axis_px=layout.PLAIN_AXIS,
        left_px=max(layout.MARGIN_LEFT, layout.NAME_CHARACTER * names.str.len().max() + 36),
        bargap=0.45,
        hovermode="y unified",
        legend=layout.LEGEND_ABOVE | {"title": {"text": "gain over "}},
    )
