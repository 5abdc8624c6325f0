"""Studies and graphs that the tests of figures share, and how they find what is drawn."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from dscwb.graph import Block, Layer, ModelGraph
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study import Study, sweep
from tests.tiny import profile_of, spec, tiny_graph

MS = 1_000_000
# Intercepts 6, 15, 33, 60 ms; bits 3200, 1600, 2560, 0 (see tests.test_study).
NONE_TO_A, A_TO_FULL = 1600 / 0.045, 1600 / 0.009
POWER = PowerModel(compute_w=5, send_w=2, wait_w=1, source="a guess")
POINT = {"batch_size": 1, "data_rate_bps": 1e5}


def study_of(edge: Any, server: Any, **changes: Any) -> Study:
    """All in float32, no round trip, at 10, 100 and 1,000 kbit/s."""
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e5, 1e6],
    } | changes
    return sweep(edge, server, **fields)


def tiny_study(batches: tuple[int, ...] = (1,), **changes: Any) -> Study:
    """Three blocks of 10, 20, 30 ms a sample on the device, a tenth of that on the server.

    Intercepts: full 6, a 10 + 5 = 15, b 30 + 3 = 33, no offloading 60 ms;
    bits: 3200, 1600, 2560, 0. Full meets a at 1600 bits/9 ms = 177,778 bit/s, a meets no offloading
    at 1600 bits/45 ms = 35,556 bit/s; b has more bits and a higher intercept than a.
    """
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    profile = profile_of(tiny_graph(), times)
    return study_of(profile, scale_profile(profile, 10), **changes)


def deep_graph(blocks: int = 40) -> ModelGraph:
    """So many blocks, each leaving less than the one before."""
    names = ["x", *(f"t{k}" for k in range(blocks)), "out"]
    tensors = [spec(name, 10_000 - 100 * k) for k, name in enumerate(names)]
    layers = tuple(
        Layer("linear", new.name, (old.name,), (new,), flops=10) for old, new in pairwise(tensors)
    )
    ends = tuple(Block(f"stages.{k // 10}.{k % 10}", "Block", k + 1) for k in range(blocks))
    return ModelGraph("deep", (tensors[0],), layers, ("out",), ends)


def trace(figure: go.Figure, name: str) -> Any:
    """The first trace of this name, or of this kind where a figure says it in `meta`."""
    found = (one for one in figure.data if name in (one.name, one.meta))
    return next(found, None)


def hovered(drawn: Any, at: tuple[int, ...]) -> str:
    """What a trace says under the mouse, as plotly would fill it in, but with numbers in full."""
    text = str(drawn.hovertemplate)
    for i, value in enumerate(drawn.customdata[at]):
        text = re.sub(rf"%{{customdata\[{i}\]:[^}}]*}}", f"{value:.6g}", text)
    return text


def plot_px(figure: go.Figure) -> tuple[float, float]:
    """Width and height that are left to the plot of a page of 800 pixels or its own width."""
    margin = figure.layout.margin
    wide = (figure.layout.width or 800) - margin.l - margin.r
    return wide, figure.layout.height - margin.t - margin.b
