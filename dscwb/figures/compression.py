"""Bottlenecks of a model: the compression ratio c over its depth, and the same in bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dscwb.colours import split_colours
from dscwb.cuts import Granularity, all_cuts, bottlenecks
from dscwb.figures import layout
from dscwb.graph import ModelGraph
from dscwb.units import Encoding, encoding, format_bytes, written_as

PLOT = 340  # pixels
LABEL_PX = 24  # how far below its point a number reaches
MAX_LABELS = 12  # more numbers beside the points would touch
MARKS = {
    "none": ("circle-open", 8, 1.5, "c ≥ 1"),
    "natural": ("circle", 8, 1, "natural: c < 1"),
    "compressive": ("diamond", 13, 2, "compressive: c below all before"),
    "other": ("line-ew", 12, 2, "with other element types"),
}
"""How cuts are drawn: symbol, size and rim in pixels, name in the legend. The last are payloads
that are not c times the input's, since some tensors keep their own size."""
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
    whole, *cuts = all_cuts(graph)
    table = bottlenecks(graph, granularity)
    cuts = [cuts[index - 1] for index in table["cut"]]
    table["name"] = list(map(layout.full_name, table["name"]))
    table["bytes"] = [cut.payload_bytes(features) for cut in cuts]
    natural = np.where(table["natural"], "natural", "none")
    table["kind"] = np.where(table["compressive"], "compressive", natural)
    table["colour"] = split_colours(graph, cuts)
    sent_as = written_as([spec.dtype for spec in graph.sent], given)
    input_bytes = whole.payload_bytes(features, input_encoding=given)
    scale = graph.input_elements * features.bytes_per_element  # bytes of features at c = 1
    lines = np.array([1.0, input_bytes / scale])
    low, high = min(*lines, *table["ratio"]) / 1.6, max(*lines, *table["ratio"]) * 1.3
    # A number stands under its point, or over it where a line would strike it out.
    below = np.log(table["ratio"].to_numpy()[:, None] / lines) / np.log(high / low) * PLOT
    struck = ((below > 0) & (below < LABEL_PX)).any(axis=1)
    table["side"] = np.where(struck, "top center", "bottom center")
    kinds = ("none", "natural", "compressive")
    traces = [_points(table[table["kind"] == kind], kind, features.name) for kind in kinds]
    keys = [_key(kind) for kind, points in zip(kinds, traces, strict=True) if len(points["x"])]
    apart = (table["bytes"] - table["ratio"] * scale).abs() > DIFFERS * table["bytes"]
    others = table[apart & (table["bytes"] > 0)]
    right = {"y": others["bytes"], "yaxis": "y2"}
    traces.append(_points(others, "other", features.name) | right)
    keys += [_key("other")] * bool(len(others))
    rim = {"width": 1.5, "color": layout.RIM}
    given_as = f"input as {sent_as}: {format_bytes(input_bytes)}"  # what full offloading sends
    fewer = int(((table["bytes"] < input_bytes) & (table["bytes"] > 0)).sum())
    figure = go.Figure(traces + keys)
    figure.add_hline(y=1, line=rim | {"dash": "dash"})
    figure.add_hline(y=lines[1], line=rim | {"dash": "dot"}, name=given_as, showlegend=True)
    payload = layout.log_axis(low * scale, high * scale, "B", f"Payload as {features.name}")
    ends = table["natural"].sum(), len(table), table["compressive"].sum()
    return layout.page(
        figure,
        (f"Bottlenecks of {graph.model}", "{} of {} natural, {} compressive".format(*ends)),
        [
            f"{graph.label()}. c: elements of all tensors alive at the cut, over those of the "
            f"input. Payload: bytes of one sample, features as {features.label()}; cuts that send "
            f"fewer than the input as {sent_as}: {fewer}. Colours as in the maps of splits."
        ],
        plot_px=PLOT,
        xaxis=layout.depth_axis(table["name"], "Split"),
        yaxis=layout.log_axis(low, high, "", "Compression ratio c (elements)"),
        yaxis2=payload | {"overlaying": "y", "side": "right", "showgrid": False},
        legend=layout.LEGEND_ABOVE,
    )


def _key(kind: str) -> dict[str, Any]:
    """What the legend shows of a kind: its symbol in no split's colour."""
    symbol, size, rim, words = MARKS[kind]
    line = {"color": layout.RIM, "width": rim}
    marker = {"symbol": symbol, "size": size, "color": layout.GREY, "line": line}
    told = {"name": words, "legendgroup": kind, "mode": "markers", "marker": marker}
    return told | {"x": [None], "y": [None]}


def _points(here: pd.DataFrame, kind: str, encoded: str) -> dict[str, Any]:
    symbol, size, rim, words = MARKS[kind]
    colour = layout.GREY if kind == "none" else here["colour"]
    marker = {"symbol": symbol, "size": size, "color": colour}
    labelled = kind == "compressive" and len(here) <= MAX_LABELS
    told = {"c = {:.3~g}": here["ratio"], "<br>{:.3~s}B a sample, floats as ": here["bytes"]}
    return {
        "name": words,
        "legendgroup": kind,
        "showlegend": False,
        "x": here["name"],
        "y": here["ratio"],
        "mode": "markers+text" if labelled else "markers",
        "texttemplate": "%{y:.3~g}",
        "textposition": here["side"],
        "cliponaxis": False,
        "marker": marker | {"line": {"color": layout.RIM, "width": rim}},
        **layout.hover(told, "<b>%{x}</b><br>", encoded),
    }
