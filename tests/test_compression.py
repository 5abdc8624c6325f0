"""Bottlenecks by hand: ratios in elements, payloads in bytes of a stated encoding."""

from dataclasses import replace

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.cuts import all_cuts
from dscwb.figures import plot_compression
from dscwb.figures.compression import MARKS
from dscwb.figures.layout import GREY, caption_of
from dscwb.graph import TensorSpec
from tests.pictures import trace
from tests.tiny import tiny_graph


def kinds(figure):
    """The first three: c ≥ 1, natural, compressive."""
    return figure.data[:3]


def test_natural_and_compressive_are_marked():
    figure = plot_compression(tiny_graph())
    none, natural, compressive = kinds(figure)
    # 50, 80 and 10 of 100 elements: all below 1, a and c lower than all before.
    assert list(none.x) == []
    assert (list(natural.x), list(natural.y)) == (["after b"], [0.8])
    assert (list(compressive.x), list(compressive.y)) == (["after a", "after c"], [0.5, 0.1])
    assert list(compressive.customdata[:, 1]) == [200, 0]  # after c nothing is left to send
    assert list(natural.customdata[:, 1]) == [320]
    assert figure.layout.title.subtitle.text == "3 of 3 natural, 2 compressive"
    assert figure.layout.shapes[0].y0 == figure.layout.shapes[0].y1 == 1


def test_colours_are_those_of_the_maps():
    graph = tiny_graph()
    compressive = kinds(plot_compression(graph))[2]
    assert compressive.marker.color[0] == split_colours(graph, all_cuts(graph, "block"))[1]


def test_the_legend_names_shapes_and_no_split_by_its_colour():
    figure = plot_compression(tiny_graph())
    shown = [one for one in figure.data if one.showlegend is not False]
    assert [one.name for one in shown] == [MARKS["natural"][-1], MARKS["compressive"][-1]]
    assert {one.marker.color for one in shown} == {GREY}


@pytest.mark.parametrize(("encoding", "size"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_the_second_axis_is_the_first_in_bytes(encoding, size):
    figure = plot_compression(tiny_graph(), feature_encoding=encoding)
    ratio, payload = figure.layout.yaxis, figure.layout.yaxis2
    # 100 elements at c = 1.
    assert np.subtract(payload.range, ratio.range) == pytest.approx(np.log10(100 * size))
    assert payload.title.text == f"Payload as {encoding} in B"
    assert payload.side == "right"
    assert list(kinds(figure)[1].customdata[:, 1]) == [80 * size]


def test_the_input_is_a_line_and_its_encoding_is_named():
    figure = plot_compression(tiny_graph())
    line = figure.layout.shapes[1]
    assert (line.name, line.showlegend) == ("input as uint8: 100 B", True)
    assert line.y0 == line.y1 == 100 / 400  # 100 elements of 4 bytes at c = 1
    # 200 and 320 bytes as float32 are more than 100; after c nothing is sent.
    assert "send fewer than the input as uint8: 0." in caption_of(figure)
    whole = plot_compression(tiny_graph(), input_encoding="float32")
    assert whole.layout.shapes[1].name == "input as float32: 400 B"
    assert "send fewer than the input as float32: 2." in caption_of(whole)


def test_tensors_that_keep_their_own_size_are_points_of_their_own():
    graph = tiny_graph()
    first, *others = graph.layers
    whole = TensorSpec("a", (1, 50), (0,), "int64")
    mixed = replace(graph, layers=(replace(first, outputs=(whole,)), *others))
    figure = plot_compression(mixed)
    apart = trace(figure, MARKS["other"][-1])
    assert (list(apart.x), list(apart.y)) == (["after a"], [400])
    assert figure.data[-1].name == MARKS["other"][-1]  # in the legend, which has none without
    assert plot_compression(graph).data[-1].name != MARKS["other"][-1]


def test_a_number_that_a_line_would_strike_out_stands_above_its_point():
    # c = 0.5 as float16 is 100 bytes: on the line of the uint8 input, not above it.
    on_it = kinds(plot_compression(tiny_graph(), feature_encoding="float16"))[2]
    assert list(on_it.textposition) == ["bottom center"] * 2
    # As an input of 95 bytes the line lies just below it.
    above = plot_compression(tiny_graph(), feature_encoding="float16", input_encoding="jpeg 1.05:1")
    assert kinds(above)[2].textposition[0] == "top center"


def test_every_operation():
    figure = plot_compression(tiny_graph(), granularity="op")
    assert sum(len(one.x) for one in kinds(figure)) == 2
    assert list(figure.layout.xaxis.categoryarray) == ["after a", "after b"]


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Unknown encoding 'jpg'; choose one of float32"):
        plot_compression(tiny_graph(), input_encoding="jpg")
    with pytest.raises(ValueError, match="Unknown granularity 'layer'"):
        plot_compression(tiny_graph(), granularity="layer")
