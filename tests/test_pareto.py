"""Two objectives at once: the front in its colours, zeros, and names that do not overlap."""

from itertools import pairwise

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.figures import plot_pareto
from dscwb.figures.layout import LABEL_HEIGHT, caption_of
from dscwb.figures.pareto import FRONT, OTHERS, STAIRCASE
from tests.pictures import (
    MS,
    POINT,
    POWER,
    deep_graph,
    hovered,
    plot_px,
    study_of,
    tiny_study,
    trace,
)
from tests.tiny import profile_of


def test_the_front_is_drawn_in_the_colours_of_its_splits():
    study = tiny_study()
    figure = plot_pareto(study, **POINT)
    front, others = trace(figure, FRONT), trace(figure, OTHERS)
    colours = split_colours(study.edge.graph, study.lines.splits)
    assert list(front.marker.color) == [colours[3], colours[1]]
    assert list(front.text) == ["no offloading", "after a"]
    assert (list(others.x), list(others.y)) == ([320, 400], pytest.approx([0.0586, 0.038]))
    assert hovered(front, (1,)) == (
        "<b>%{hovertext}</b><br>latency 0.031s<br>payload 200B<br>server time 0.005s<br>"
        "not dominated<extra></extra>"
    )
    assert front.hovertext[1] == "after a"
    assert study.label() in caption_of(figure)


def test_zero_has_a_place_and_a_tick_on_a_logarithmic_axis():
    figure = plot_pareto(tiny_study(), **POINT)
    front, axis = trace(figure, FRONT), figure.layout.xaxis
    assert axis.type == "log"
    assert axis.ticktext[0] == "0"
    assert front.x[0] == axis.tickvals[0] < 200
    assert axis.range[0] < np.log10(axis.tickvals[0])
    assert axis.title.text == "Payload in B"
    assert "zero is drawn below" in caption_of(figure)
    private = plot_pareto(tiny_study(), **POINT, x="latency_s", y="device_energy_j", power=POWER)
    assert "0" not in private.layout.xaxis.ticktext
    assert "zero is drawn" not in caption_of(private)
    assert "the device draws 5 W computing" in caption_of(private)


def test_the_staircase_has_no_candidate_below_it():
    figure = plot_pareto(tiny_study(), **POINT)
    stairs = trace(figure, STAIRCASE)
    assert stairs.line.shape == "hv"
    assert list(stairs.y) == pytest.approx([0.060, 0.031])
    assert np.all(np.diff(stairs.x) > 0)


def test_one_candidate_alone_can_be_drawn():
    figure = plot_pareto(tiny_study(min_depth=3), **POINT)
    assert list(trace(figure, FRONT).text) == ["no offloading"]
    assert "Left out" not in caption_of(figure)
    assert "too large: 3 of the candidates." in caption_of(
        plot_pareto(tiny_study(memory_cap_bytes=500), **POINT)
    )


def test_names_stand_where_no_point_is_and_do_not_overlap():
    # The deeper the split, the longer on the slow device and the less to send: all on the front.
    edge, server = (profile_of(deep_graph(30), {1: [ns] * 31}) for ns in (MS, MS // 10))
    figure = plot_pareto(study_of(edge, server), **POINT, x="server_s", y="payload_bytes")
    front, (wide, high) = trace(figure, FRONT), plot_px(figure)
    assert front.textposition == "bottom left"  # a point there would dominate
    (low_x, high_x), (low_y, high_y) = figure.layout.xaxis.range, figure.layout.yaxis.range
    x = (np.log10(front.x) - low_x) / (high_x - low_x) * wide
    y = (np.log10(front.y) - low_y) / (high_y - low_y) * high
    named = [(x[k], y[k], 6 * len(text)) for k, text in enumerate(front.text) if text]
    assert named[0][0] >= named[0][2]  # the first name is not cut off
    for (before, above, _), (right, below, name) in pairwise(named):
        assert above - below >= LABEL_HEIGHT or right - name >= before
    unnamed = len(front.text) - len(named)
    assert (f"{unnamed} names on the front" in caption_of(figure)) == (unnamed > 0)


def test_misuse_is_named():
    with pytest.raises(ValueError, match=r"'device_energy_j' needs the device's power; give power"):
        plot_pareto(tiny_study(), **POINT, y="device_energy_j")
    with pytest.raises(ValueError, match="x and y are both 'latency_s'; give two of"):
        plot_pareto(tiny_study(), **POINT, x="latency_s")
