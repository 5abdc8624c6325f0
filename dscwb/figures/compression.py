"""Bottlenecks of a model: the compression ratio c over its depth, and the same in bytes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.cuts import Granularity, all_cuts, bottlenecks
from dscwb.figures import layout
from dscwb.figures.colours import split_colours
from dscwb.graph import ModelGraph
from dscwb.units import Encoding, encoding, format_bytes, written_as

PLOT = 340  # pixels
LABEL_PX = 24  # how far below its point a number reaches
MAX_LABELS = 12  # more numbers beside the points would touch
MARKS = {
    "none": ("circle-open", 8, 1.5, "c ≥ 1"),
    "natural": ("circle", 8, 1, "natural: c < 1"),
    "compressive": ("diamond", 13, 2, "compressive: c below all before"),
}
"""How the three kinds of cuts are drawn: symbol, size and rim in pixels, name in the legend."""
OTHER_DTYPES = "with other element types"
DIFFERS = 0.005  # a payload this far from c times the input is drawn as a point of its own


def plot_compression(
    graph: ModelGraph,
    *,
    granularity: Granularity = "auto",
    feature_encoding: str | Encoding = "float32",
    input_encoding: str | Encoding = "uint8",
) -> go.Figure:
    """Compression ratio c over depth, natural (c < 1) and compressive bottlenecks marked.

    The axis at the right says the same in bytes, for one sample. Below the dotted line a split
    sends fewer bytes than full offloading would.

    Args:
        graph: What to draw.
        granularity: ``block`` or ``op``: after what the model may be split; ``auto`` for blocks
            where there are some.
        feature_encoding: How intermediate tensors are sent; stated on the axis at the right.
        input_encoding: How the input is sent; stated in the legend.

    Raises:
        ValueError: Unknown granularity or encoding, or ``block`` for a model without blocks.
    """
    features, given = encoding(feature_encoding), encoding(input_encoding)
    cuts = _cuts(graph, granularity, features)
    names, shown = list(map(layout.full_name, cuts["name"])), list(map(layout.label, cuts["name"]))
    sent_as = written_as([spec.dtype for spec in graph.sent], given)
    input_bytes = all_cuts(graph)[0].payload_bytes(features, input_encoding=given)
    scale = graph.input_elements * features.bytes_per_element  # bytes of features at c = 1
    lines = 1.0, input_bytes / scale
    low, high = min(*lines, *cuts["ratio"]) / 1.6, max(*lines, *cuts["ratio"]) * 1.3
    figure = go.Figure([_points(cuts, kind, features, lines, high / low) for kind in MARKS])
    figure.add_trace(_other_dtypes(cuts, scale, features))
    rim = {"width": 1.5, "color": layout.RIM}
    figure.add_hline(y=1, line=rim | {"dash": "dash"})
    given_as = f"input as {sent_as}: {format_bytes(input_bytes)}"  # what full offloading sends
    figure.add_hline(y=lines[1], line=rim | {"dash": "dot"}, name=given_as, showlegend=True)
    payload = layout.log_axis(low * scale, high * scale, "B", f"Payload as {features.name}")
    figure.update_layout(
        xaxis=layout.depth_axis(names, shown, "Split"),
        yaxis=layout.log_axis(low, high, "", "Compression ratio c (elements)"),
        yaxis2=payload | {"overlaying": "y", "side": "right", "showgrid": False},
        legend=layout.LEGEND_ABOVE,
    )
    fewer = int(((cuts["bytes"] < input_bytes) & (cuts["bytes"] > 0)).sum())
    return layout.page(
        figure,
        f"Bottlenecks of {graph.model}",
        f"{cuts['natural'].sum()} of {len(cuts)} natural, {cuts['compressive'].sum()} compressive",
        f"{layout.model_and_size(graph)}. c: elements of all tensors alive at the cut, over those "
        f"of the input. Payload: bytes of one sample, features as {features.label()}; cuts that "
        f"send fewer than the input as {sent_as}: {fewer}. Colours as in the maps of splits.",
        plot_px=PLOT,
        axis_px=layout.depth_px(shown),
    )


def _cuts(graph: ModelGraph, granularity: Granularity, features: Encoding) -> pd.DataFrame:
    """`bottlenecks` with ``kind``, ``colour`` and ``bytes`` of one sample as it is sent."""
    table = bottlenecks(graph, granularity)
    by_index = {cut.index: cut for cut in all_cuts(graph)}
    cuts = [by_index[index] for index in table["cut"]]
    natural = np.where(table["natural"], "natural", "none")
    return table.assign(
        kind=np.where(table["compressive"], "compressive", natural),
        colour=split_colours(graph, cuts),
        bytes=[cut.payload_bytes(features) for cut in cuts],
    )


def _points(
    cuts: pd.DataFrame, kind: str, features: Encoding, lines: tuple[float, ...], span: float
) -> go.Scatter:
    symbol, size, rim, words = MARKS[kind]
    here = cuts[cuts["kind"] == kind]
    labelled = kind == "compressive" and len(here) <= MAX_LABELS
    return go.Scatter(
        name=words,
        x=list(map(layout.full_name, here["name"])),
        y=here["ratio"],
        mode="markers+text" if labelled else "markers",
        texttemplate="%{y:.3~g}",
        textposition=[_side(ratio, lines, span) for ratio in here["ratio"]],
        cliponaxis=False,
        marker={
            "symbol": symbol,
            "size": size,
            "color": layout.GREY if kind == "none" else here["colour"],
            "line": {"color": layout.RIM, "width": rim},
        },
        customdata=here["bytes"],
        hovertemplate="<b>%{x}</b><br>c = %{y:.3~g}<br>%{customdata:.3~s}B a sample as "
        f"{features.name}<extra></extra>",
    )


def _side(ratio: float, lines: tuple[float, ...], span: float) -> str:
    """Under its point, or over it where a line would strike the number out."""
    below_px = [math.log(ratio / line) / math.log(span) * PLOT for line in lines]
    return "top center" if any(0 < px < LABEL_PX for px in below_px) else "bottom center"


def _other_dtypes(cuts: pd.DataFrame, scale: float, features: Encoding) -> go.Scatter:
    """Payloads that are not c times the input's, since some tensors keep their own size."""
    there = (cuts["bytes"] - cuts["ratio"] * scale).abs()
    here = cuts[(there > DIFFERS * cuts["bytes"]) & (cuts["bytes"] > 0)]
    return go.Scatter(
        name=OTHER_DTYPES,
        meta=OTHER_DTYPES,
        x=list(map(layout.full_name, here["name"])),
        y=here["bytes"],
        yaxis="y2",
        mode="markers",
        marker={"symbol": "line-ew", "size": 12, "line": {"width": 2, "color": layout.RIM}},
        hovertemplate=f"<b>%{{x}}</b><br>%{{y:.3~s}}B a sample, floats as {features.name}"
        "<extra></extra>",
        showlegend=bool(len(here)),
    )
