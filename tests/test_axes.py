"""Axes with units, names that fit, legends that leave the title alone."""

import numpy as np
import plotly.graph_objects as go
import pytest

from dscwb.figures.axes import (
    LONGEST_NAME,
    depth_axis,
    depth_axis_px,
    formatted,
    legend_above,
    legend_rows,
    linear_axis,
    linear_ticks,
    log_axis,
    prefixed,
    shortened,
    widen_left,
)
from dscwb.figures.page import LABEL_HEIGHT, MARGIN_LEFT, caption_of, set_page, title


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("blocks.2.1", "blocks.2.1"),
        ("features.denseblock2.denselayer10", "…denseblock2.denselayer10"),
        ("x" * 40, "…" + "x" * (LONGEST_NAME - 1)),
    ],
)
def test_long_names_lose_their_front(name, short):
    assert shortened(name) == short
    assert len(short) <= LONGEST_NAME


def test_names_at_the_depth_axis_do_not_touch_and_the_preferred_one_is_there():
    names = [f"blocks.{k}" for k in range(80)]
    axis = depth_axis(names, [k == 41 for k in range(80)], 640, "Split after")
    places = (640 - MARGIN_LEFT - 24) / 80
    assert np.all(np.diff(axis["tickvals"]) * places >= LABEL_HEIGHT)
    assert "blocks.41" in axis["ticktext"]


def test_tags_need_no_room():
    axis = depth_axis(["a.long.name", "b"], [True, True], 640, "")
    before = depth_axis_px(axis)
    axis["ticktext"][0] = f"<b>{axis['ticktext'][0]}</b>"
    assert depth_axis_px(axis) == before


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (2.0, "s", (1, "s")),
        (0.02, "s", (1e-3, "ms")),
        (3e-7, "J", (1e-9, "nJ")),
        (0, "B", (1, "B")),
    ],
)
def test_prefixes(value, unit, expected):
    assert prefixed(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (0.0123, "J", "12.3 mJ"), (2, "J", "2 J"), (2e6, "B", "2 MB")],
)
def test_costs_in_words(value, unit, text):
    assert formatted(value, unit) == text


@pytest.mark.parametrize(
    ("high", "ticks"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.7, [0, 0.2, 0.4, 0.6]),
        (60, range(0, 61, 10)),
        (0, [0]),
    ],
)
def test_linear_ticks(high, ticks):
    assert linear_ticks(high) == pytest.approx(list(ticks))


def test_axes_say_their_unit_and_hold_si_numbers():
    axis = log_axis(0.01, 1, "s", "Latency")
    assert axis["title"]["text"] == "Latency in ms"
    labels = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
    assert labels[0.1] == "100"
    axis = linear_axis(0.05, "J", "Energy")
    assert axis["title"]["text"] == "Energy in mJ"
    assert (axis["tickvals"][1], axis["ticktext"][1]) == (pytest.approx(0.01), "10")


def test_legend_rows():
    assert legend_rows(["head", "tail"], "", 500) == 1
    # 42 + 56 pixels each: five do not fit into 400, four do.
    assert legend_rows(["x" * 10] * 5, "", 400) == 2
    assert legend_rows(["x" * 10] * 4, "", 400) == 1
    assert legend_rows(["x" * 30] * 2, "y" * 10, 430) == 2  # twice 210, and 56 for the heading


def test_a_legend_in_rows_of_its_own_makes_the_page_higher():
    figure = go.Figure([go.Scatter(name="x" * 40, y=[1]) for _ in range(4)])  # 266 px
    figure.update_layout(title=title("Heading", "more"))
    set_page(figure, "Words", plot_px=300, template=None, width=640)
    height, top = figure.layout.height, figure.layout.margin.t
    legend_above(figure, 640)
    assert figure.layout.height - height == figure.layout.margin.t - top == 2 * 20
    assert figure.layout.legend.orientation == "h"


def test_a_wider_left_margin_leaves_the_caption_at_the_edge():
    figure = go.Figure()
    set_page(figure, "Words", plot_px=300, template=None, width=640)
    (before,) = (note.xshift for note in figure.layout.annotations)
    widen_left(figure, 30)
    assert figure.layout.margin.l == MARGIN_LEFT + 30
    assert figure.layout.annotations[0].xshift == before - 30
    assert caption_of(figure) == "Words"
