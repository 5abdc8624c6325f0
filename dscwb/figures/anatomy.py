"""What a model is like inside: a graph or profile goes in, a figure over its depth comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.cuts import Granularity, all_cuts, bottlenecks
from dscwb.figures.axes import depth_axis, depth_axis_px, legend_above, log_axis
from dscwb.figures.colours import split_colours
from dscwb.figures.page import (
    ASSUMED_WIDTH,
    AXIS,
    Template,
    log_ticks,
    set_page,
    title,
)
from dscwb.graph import ModelGraph
from dscwb.units import Encoding, encoding, format_bytes, format_number, written_as

Floats = NDArray[np.float64]

PLOT = 340  # pixels
PAYLOAD_AXIS = 52  # pixels at the right
LABEL_PX = 24  # how far below its point a number reaches
MAX_LABELS = 12  # more numbers beside the points would touch
GREY, RIM = "rgb(130, 130, 130)", "rgb(110, 110, 110)"
MARKS = {
    "none": ("circle-open", 8, "c ≥ 1"),
    "natural": ("circle", 8, "natural: c < 1"),
    "compressive": ("diamond", 13, "compressive: c below all before"),
}
"""How the three kinds of places are drawn: symbol, size in pixels, name in the legend."""
INPUT, OTHER_DTYPES = "input", "with other element types"
DIFFERS = 0.005  # a payload this far from c times the input is drawn as a point of its own
PARTS = {"block": "block", "op": "operation"}


@dataclass(frozen=True, eq=False)
class CompressionNumbers:
    """Numbers of the compression plot, one entry a place to split, in execution order.

    Attributes:
        names: Blocks or operations.
        ratios: c = |h|/|x| in elements.
        kinds: ``compressive``, ``natural`` or ``none``.
        payload_bytes: Bytes of one sample, features in their encoding; 0 where none are left.
        input_bytes: Bytes of one sample's input in its encoding.
        bytes_per_ratio: Bytes of features at c = 1.
        colours: The colours of the splits.
    """

    names: tuple[str, ...]
    ratios: Floats
    kinds: tuple[str, ...]
    payload_bytes: Floats
    input_bytes: float
    bytes_per_ratio: float
    colours: tuple[str, ...]


def plot_compression(
    graph: ModelGraph,
    *,
    granularity: Granularity = "block",
    feature_encoding: str | Encoding = "float32",
    input_encoding: str | Encoding = "uint8",
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """Compression ratio c over depth, natural (c < 1) and compressive bottlenecks marked.

    The axis at the right says the same in bytes, for one sample. Below the dotted line a split
    sends fewer bytes than full offloading would.

    Args:
        graph: What to draw.
        granularity: ``block`` or ``op``: after what the model may be split.
        feature_encoding: How intermediate tensors are sent; stated on the axis at the right.
        input_encoding: How the input is sent; stated in the legend.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: Unknown granularity or encoding, or ``block`` for a model without blocks.
    """
    features, given = encoding(feature_encoding), encoding(input_encoding)
    info = compression_numbers(graph, granularity, features, given)
    sent_as = written_as([spec.dtype for spec in graph.sent], given)
    low, high = _ratio_range(info)
    figure = go.Figure([_kind_trace(info, kind, features) for kind in MARKS])
    figure.add_traces([_input_trace(info, sent_as), _other_dtypes(info, features)])
    figure.add_hline(y=1, line={"width": 1.5, "dash": "dash", "color": RIM})
    preferred = [kind == "compressive" for kind in info.kinds]
    page_px = (width or ASSUMED_WIDTH) - PAYLOAD_AXIS
    depth = depth_axis(info.names, preferred, page_px, f"Split after this {PARTS[granularity]}")
    figure.update_layout(
        xaxis=depth,
        yaxis=_ratio_axis(low, high),
        yaxis2=_payload_axis(info, low, high, features),
        title=title(*_heading(graph, info)),
        showlegend=True,
    )
    set_page(
        figure,
        _caption(graph, info, features, sent_as),
        plot_px=PLOT,
        right_px=PAYLOAD_AXIS,
        axis_px=depth_axis_px(depth),
        template=template,
        width=width,
    )
    legend_above(figure, width)
    return figure


def compression_numbers(
    graph: ModelGraph, granularity: Granularity, features: Encoding, given: Encoding
) -> CompressionNumbers:
    """Ratios and payloads of every place between input and output."""
    table = bottlenecks(graph, granularity)
    by_index = {cut.index: cut for cut in all_cuts(graph)}
    cuts = [by_index[index] for index in table["cut"]]
    kinds = np.where(
        table["compressive"], "compressive", np.where(table["natural"], "natural", "none")
    )
    return CompressionNumbers(
        tuple(table["name"]),
        table["ratio"].to_numpy(np.float64),
        tuple(kinds.tolist()),
        np.array([cut.payload_bytes(features) for cut in cuts]),
        by_index[0].payload_bytes(features, input_encoding=given),
        graph.input_elements * features.bytes_per_element,
        split_colours(graph, cuts),
    )


def _kind_trace(info: CompressionNumbers, kind: str, features: Encoding) -> go.Scatter:
    symbol, size, label = MARKS[kind]
    here = [i for i, other in enumerate(info.kinds) if other == kind]
    labelled = kind == "compressive" and len(here) <= MAX_LABELS
    return go.Scatter(
        name=label,
        x=here,
        y=info.ratios[here],
        mode="markers+text" if labelled else "markers",
        text=[f"{info.ratios[i]:.3g}" for i in here],
        textposition=[_label_side(info, info.ratios[i]) for i in here],
        cliponaxis=False,
        marker={
            "symbol": symbol,
            "size": size,
            "color": GREY if kind == "none" else [info.colours[i] for i in here],
            "line": {"color": RIM, "width": {"compressive": 2, "natural": 1}.get(kind, 1.5)},
        },
        customdata=info.payload_bytes[here],
        hovertext=[info.names[i] for i in here],
        hovertemplate="<b>%{hovertext}</b><br>c = %{y:.3g}<br>%{customdata:.3~s}B a sample as "
        f"{features.name}<extra></extra>",
    )


def _label_side(info: CompressionNumbers, ratio: float) -> str:
    """Under its point, or over it where a line would strike it out."""
    low, high = _ratio_range(info)
    lines = (1.0, info.input_bytes / info.bytes_per_ratio)
    below_px = [math.log(ratio / line) / math.log(high / low) * PLOT for line in lines]
    return "top center" if any(0 < px < LABEL_PX for px in below_px) else "bottom center"


def _input_trace(info: CompressionNumbers, given: str) -> go.Scatter:
    """What full offloading sends."""
    return go.Scatter(
        name=f"{INPUT} as {given}: {format_bytes(info.input_bytes)}",
        meta=INPUT,
        x=[-0.6, len(info.names) - 0.4],
        y=[info.input_bytes] * 2,
        yaxis="y2",
        mode="lines",
        line={"color": RIM, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )


def _other_dtypes(info: CompressionNumbers, features: Encoding) -> go.Scatter:
    """Payloads that are not c times the input's, since some tensors keep their own size."""
    there = np.abs(info.payload_bytes - info.ratios * info.bytes_per_ratio)
    apart = (there > DIFFERS * info.payload_bytes) & (info.payload_bytes > 0)
    here = np.flatnonzero(apart)
    return go.Scatter(
        name=OTHER_DTYPES,
        meta=OTHER_DTYPES,
        x=here,
        y=info.payload_bytes[here],
        yaxis="y2",
        mode="markers",
        marker={"symbol": "line-ew", "size": 12, "line": {"width": 2, "color": RIM}},
        hovertext=[info.names[i] for i in here],
        hovertemplate=f"<b>%{{hovertext}}</b><br>%{{y:.3~s}}B a sample, floats as {features.name}"
        "<extra></extra>",
        showlegend=bool(len(here)),
    )


def _ratio_range(info: CompressionNumbers) -> tuple[float, float]:
    """Ends of the vertical axis: all ratios, c = 1 and the input."""
    given = info.input_bytes / info.bytes_per_ratio
    return (
        min(1.0, given, float(info.ratios.min())) / 1.6,
        max(1.0, given, float(info.ratios.max())) * 1.3,
    )


def _ratio_axis(low: float, high: float) -> dict[str, Any]:
    ticks = log_ticks(low, high)
    return {
        **AXIS,
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [format_number(tick) for tick in ticks],
        "showgrid": True,
        "title": {"text": "Compression ratio c (elements)"},
    }


def _payload_axis(
    info: CompressionNumbers, low: float, high: float, features: Encoding
) -> dict[str, Any]:
    """The ratio's axis in bytes."""
    scale = info.bytes_per_ratio
    axis = log_axis(low * scale, high * scale, "B", f"Payload as {features.name}")
    return axis | {"overlaying": "y", "side": "right", "showgrid": False}


def _heading(graph: ModelGraph, info: CompressionNumbers) -> tuple[str, str]:
    natural = len(info.kinds) - info.kinds.count("none")
    return (
        f"Bottlenecks of {graph.model}",
        f"{natural} of {len(info.kinds)} natural, {info.kinds.count('compressive')} compressive",
    )


def _caption(graph: ModelGraph, info: CompressionNumbers, features: Encoding, given: str) -> str:
    shape = "×".join(str(n) for n in graph.inputs[0].shape[1:])
    below = int(((info.payload_bytes < info.input_bytes) & (info.payload_bytes > 0)).sum())
    return (
        f"{graph.model} at {shape}. c: elements of all tensors alive after the place, over those "
        f"of the input. Payload: bytes of one sample, features as {features.label()}; places that "
        f"send fewer than the input as {given}: {below}. Colours as in the maps of splits."
    )
