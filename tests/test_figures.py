"""The numbers of the figures, by hand; what a reader must find on them; files that open."""

import json
import math
import re
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import plotly.io as pio
import pytest

import dscwb
from dscwb import figures
from dscwb.cuts import all_cuts
from dscwb.figures import (
    FigureError,
    mark_state,
    plot_best_split,
    plot_gain,
    plot_maps,
    save_figure,
)
from dscwb.figures.cells import COLUMNS, gain_cells, map_cells, split_cells
from dscwb.figures.colours import FULL_OFFLOADING_COLOUR, NO_OFFLOADING_COLOUR, split_colours
from dscwb.figures.maps import FRAGILE, GAIN, IMPOSSIBLE, MAP, STATE, SWITCHING, UNDECIDED
from dscwb.figures.page import (
    CAPTION_LINE,
    LABEL_HEIGHT,
    caption_of,
    log_ticks,
    rate_axis,
    row_ticks,
)
from dscwb.graph import Block, Layer, ModelGraph
from dscwb.profiles.records import scale_profile
from dscwb.scenario import Link
from dscwb.study.sweeps import sweep
from dscwb.units import format_number, format_percent
from tests.tiny import profile_of, spec, tiny_graph

MS = 1_000_000
# tests.test_study derives them: bits over the difference of intercepts.
NONE_TO_A, A_TO_FULL = 1600 / 0.045, 1600 / 0.009


def tiny_study(batches=(1,), **changes):
    """Three blocks of 10, 20, 30 ms a sample on the device, a tenth of that on the server."""
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    profile = profile_of(tiny_graph(), times)
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e5, 1e6],
    } | changes
    return sweep(profile, scale_profile(profile, 10), **fields)


def deep_graph(blocks=40):
    """So many blocks, each leaving less than the one before."""
    names = ["x", *(f"t{k}" for k in range(blocks)), "out"]
    tensors = [spec(name, 10_000 - 100 * k) for k, name in enumerate(names)]
    layers = tuple(
        Layer("linear", new.name, (old.name,), (new,), flops=10) for old, new in pairwise(tensors)
    )
    ends = tuple(Block(f"stages.{k // 10}.{k % 10}", "Block", k + 1) for k in range(blocks))
    return ModelGraph("deep", (tensors[0],), layers, ("out",), ends)


def trace(figure, name):
    return next(figure.select_traces({"name": name}))


# --- cells -------------------------------------------------------------------------------------


def test_cells_are_cut_at_the_exact_switching_rates():
    cells = map_cells(tiny_study())
    best = split_cells(cells)
    assert best.names == ("full offloading", "a", "no offloading")
    below, above = cells.edges_bps[:-1], cells.edges_bps[1:]
    none, full = above <= NONE_TO_A * (1 + 1e-12), below >= A_TO_FULL * (1 - 1e-12)
    expected = np.where(none, 2, np.where(full, 0, 1))
    np.testing.assert_array_equal(best.index, [expected])
    for rate in (NONE_TO_A, A_TO_FULL):
        assert np.isclose(cells.edges_bps, rate, rtol=1e-12).any()
    assert len(cells.edges_bps) == COLUMNS + 1 + 2
    assert (cells.edges_bps[0], cells.edges_bps[-1]) == pytest.approx((1e4, 1e6))


def test_hover_tells_state_latency_payload_and_depth():
    cells = map_cells(tiny_study())
    best = split_cells(cells)
    column = int(np.searchsorted(cells.edges_bps, 1e5)) - 1
    rate = cells.shown.data_rates_bps[column]
    # Split after a: 10 ms on the device, 1600 bits, 5 ms on the server.
    seconds = [0.010 + 1600 / rate + 0.005, 0.010, 1600 / rate, 0.005]
    np.testing.assert_allclose(best.hover[0, column], [1, rate, rate / 8, *seconds, 200, 1, 1])
    assert best.hover.dtype == np.float64  # strings for each cell would cost 30 ms a redraw


def test_gain_is_that_of_the_study_and_its_states():
    study = tiny_study()
    cells = map_cells(study)
    gained = gain_cells(cells, "no offloading")
    # In the study's three states: 0, 29/60 and 50.8/60.
    assert gained.mean == pytest.approx((0 + 29 + 50.8) / 180)
    assert gained.highest == pytest.approx(50.8 / 60)
    column = int(np.searchsorted(cells.edges_bps, 1e5)) - 1
    latency = 0.015 + 1600 / cells.shown.data_rates_bps[column]
    assert gained.values[0, column] == pytest.approx((0.060 - latency) / 0.060)
    np.testing.assert_allclose(gained.hover[0, column, 3:], [latency, 0.060])


def test_best_static_is_named_and_is_the_one_of_the_study():
    gained = gain_cells(map_cells(tiny_study()), "best static")
    assert (gained.baseline, gained.split) == ("best static", "no offloading")
    title = plot_gain(tiny_study(), baseline="best static").layout.title
    assert title.text == "Gain over the best static split"
    assert title.subtitle.text == "no offloading: mean 44 %, at most 85 %"
    with pytest.raises(ValueError, match="'z' is not a candidate here; choose 'best static'"):
        gain_cells(map_cells(tiny_study()), "z")


def test_switching_lines_are_staircases_through_all_rows():
    # Twice the samples: twice the bits and twice the time, so the same rates.
    best = split_cells(map_cells(tiny_study(batches=(1, 2))))
    x, y = best.switching
    np.testing.assert_allclose(
        x, [*[NONE_TO_A] * 4, math.nan, *[A_TO_FULL] * 4], rtol=1e-9, equal_nan=True
    )
    np.testing.assert_array_equal(y, [-0.5, 0.5, 0.5, 1.5, math.nan, -0.5, 0.5, 0.5, 1.5])


def test_rows_and_columns_ascend_whatever_the_order_of_the_study():
    study = tiny_study(batches=(1, 2), batch_sizes=(2, 1), data_rates_bps=[1e6, 1e4, 1e5])
    cells = map_cells(study)
    assert cells.batch_sizes == (1, 2)
    assert np.all(np.diff(cells.edges_bps) > 0)
    np.testing.assert_array_equal(split_cells(cells).hover[:, 0, 0], [1, 2])


def test_a_single_rate_becomes_an_octave_each_way():
    cells = map_cells(tiny_study(data_rates_bps=[1e5]))
    assert (cells.edges_bps[0], cells.edges_bps[-1]) == pytest.approx((5e4, 2e5))


# --- colours -----------------------------------------------------------------------------------


def test_colours_depend_on_graph_and_cut_only():
    graph = tiny_graph()
    by_block = dict(zip(range(4), split_colours(graph, all_cuts(graph, "block")), strict=True))
    by_op = dict(zip(range(4), split_colours(graph, all_cuts(graph, "op")), strict=True))
    assert by_block == by_op
    for changes in ({}, {"feature_encoding": "uint8"}, {"private_input": True}):
        heatmap = trace(plot_best_split(tiny_study(**changes)), MAP)
        drawn = dict(zip(heatmap.colorbar.ticktext, heatmap.colorscale[::2], strict=True))
        assert drawn["a"][1] == by_block[1]


def test_both_ends_are_grey_and_all_others_are_not():
    graph = deep_graph()
    first, *inner, last = split_colours(graph, all_cuts(graph, "block"))
    assert (first, last) == (FULL_OFFLOADING_COLOUR, NO_OFFLOADING_COLOUR)
    assert len(set(inner)) == len(inner) == 40
    channels = np.array([[int(n) for n in re.findall(r"\d+", colour)] for colour in inner])
    assert np.all(np.ptp(channels, axis=1) > 100)


def test_colours_darken_with_depth():
    graph = deep_graph()
    colours = split_colours(graph, all_cuts(graph, "block"))
    channels = np.array([[int(n) for n in re.findall(r"\d+", colour)] for colour in colours])
    luminance = channels[1:-1] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) < 0)


def test_a_model_without_blocks_or_bottlenecks_has_colours_too():
    wide = [spec(name, size) for name, size in (("x", 10), ("a", 20), ("b", 30), ("c", 5))]
    layers = tuple(Layer("linear", new.name, (old.name,), (new,)) for old, new in pairwise(wide))
    graph = ModelGraph("wide", (wide[0],), layers, ("c",))
    assert len(set(split_colours(graph, all_cuts(graph)))) == 4


# --- maps --------------------------------------------------------------------------------------


def test_best_split_map_draws_the_cells_and_names_only_what_occurs():
    study = tiny_study()
    figure = plot_best_split(study, state=(1, 1e5))
    best = split_cells(map_cells(study))
    heatmap = trace(figure, MAP)
    np.testing.assert_array_equal(heatmap.z, best.index)
    np.testing.assert_array_equal(heatmap.customdata, best.hover)
    assert heatmap.colorbar.ticktext == ("full offloading", "a", "no offloading")
    assert (heatmap.zmin, heatmap.zmax) == (-0.5, 2.5)
    np.testing.assert_array_equal(trace(figure, SWITCHING).x, best.switching[0])
    mark = trace(figure, STATE)
    assert (list(mark.x), list(mark.y)) == ([1e5], [0])
    assert figure.layout.title.text == "Best split of tiny"
    assert figure.layout.title.subtitle.text == "a split is best in 33 % of the states shown"


def test_gain_map_has_a_scale_that_never_moves():
    for changes in ({}, {"input_encoding": "uint8"}):
        heatmap = trace(plot_gain(tiny_study(**changes)), GAIN)
        assert (heatmap.zmin, heatmap.zmax) == (0, 1)
        assert heatmap.colorbar.ticktext[0] == "0 %"
        assert heatmap.colorbar.ticktext[-1] == "100 %"
    figure = plot_gain(tiny_study())
    assert figure.layout.title.text == "Gain over no offloading"
    assert figure.layout.title.subtitle.text == "mean 44 %, at most 85 %"


def test_both_maps_in_one_figure_are_the_single_ones():
    study = tiny_study(batches=(1, 2))
    both = plot_maps(study, state=(2, 1e5))
    assert [one.name for one in both.data] == [
        MAP,
        UNDECIDED,
        FRAGILE,
        SWITCHING,
        STATE,
        GAIN,
        IMPOSSIBLE,
        STATE,
    ]
    np.testing.assert_array_equal(trace(both, MAP).z, trace(plot_best_split(study), MAP).z)
    np.testing.assert_array_equal(trace(both, GAIN).z, trace(plot_gain(study), GAIN).z)
    assert [list(one.y) for one in both.select_traces({"name": STATE})] == [[1], [1]]
    assert caption_of(both) == caption_of(plot_best_split(study))


def test_the_mark_moves_alone_and_disappears_outside():
    study = tiny_study(batches=(1, 2))
    figure = plot_maps(study, state=(1, 1e5))
    before = trace(figure, MAP).to_plotly_json()
    mark_state(figure, study, (2, 2e5))
    assert [list(one.x) for one in figure.select_traces({"name": STATE})] == [[2e5], [2e5]]
    np.testing.assert_equal(trace(figure, MAP).to_plotly_json(), before)
    mark_state(figure, study, (3, 2e5))
    assert all(len(one.x) == 0 for one in figure.select_traces({"name": STATE}))


def test_interpolated_rows_look_different_and_are_explained():
    figure = plot_best_split(tiny_study(batches=(1, 3)))
    assert figure.layout.yaxis.ticktext == ("<b>1</b>", "<i>≈ 2</i>", "<b>3</b>")
    caption = caption_of(figure)
    assert "Batch sizes with times of their own: 1, 3 (bold)" in caption
    assert "(≈) are interpolated linearly" in caption
    plain = plot_best_split(tiny_study(batches=(1, 2)))
    assert plain.layout.yaxis.ticktext == ("1", "2")
    assert "interpolated" not in caption_of(plain)


def test_every_figure_carries_the_scenario():
    study = tiny_study(link=Link(0.02), input_encoding="uint8")
    for figure in (plot_best_split(study), plot_gain(study), plot_maps(study)):
        assert study.label() in caption_of(figure)
        assert "input uint8, features float32" in caption_of(figure)
        assert "round trip 20 ms" in caption_of(figure)
        assert "(measured)" in caption_of(figure)
        assert "(assumed: 10 × as fast as bench clock)" in caption_of(figure)


def test_the_default_template_stays_and_another_can_be_given():
    before = pio.templates.default
    figure = plot_gain(tiny_study(), template="plotly_dark")
    assert pio.templates.default == before
    assert figure.layout.template == pio.templates["plotly_dark"]


@pytest.mark.parametrize("width", [None, 500, 1400])
def test_caption_and_axis_fit_into_the_page(width):
    figure = plot_maps(tiny_study(batches=(1, 3)), width=width)
    note = next(note for note in figure.layout.annotations if note.name == "caption")
    lines = note.text.split("<br>")
    assert max(map(len, lines)) * 6 <= (width or 800)
    assert figure.layout.margin.b >= -note.yshift + CAPTION_LINE * len(lines)
    assert figure.layout.margin.autoexpand is False


def test_many_splits_make_the_map_higher():
    graph = deep_graph()
    profile = profile_of(graph, {1: [1000] * 41})
    server = profile_of(graph, {1: [1] * 41})
    study = sweep(
        profile,
        server,
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=np.geomspace(1e6, 1e12, 400),
        private_input=True,
    )
    few, many = plot_best_split(tiny_study()), plot_best_split(study)
    names = trace(many, MAP).colorbar.ticktext
    plot_px = many.layout.height - many.layout.margin.t - many.layout.margin.b
    assert plot_px >= len(names) * 12
    assert few.layout.height < many.layout.height or len(names) <= 3


# --- axes --------------------------------------------------------------------------------------


def test_rates_are_labelled_in_mbit_and_megabytes():
    axis = rate_axis(1e4, 1e10)
    plain = [re.sub("<[^>]*>", " ", text).split() for text in axis["ticktext"]]
    assert plain[0] == ["0.01", "0.00125"]
    assert plain[3] == ["10", "1.25"]
    assert plain[-1] == ["10000", "1250"]
    assert axis["tickvals"] == pytest.approx([1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (8e6, 1016e6, [10e6, 30e6, 100e6, 300e6, 1000e6]),
        (1e6, 9e6, [1e6, 1.5e6, 2e6, 3e6, 4e6, 5e6, 7e6]),
        (1e-3, 1e12, [1e-3, 1, 1e3, 1e6, 1e9, 1e12]),
        (1.01, 1.02, [math.sqrt(1.01 * 1.02)]),
    ],
)
def test_ticks_are_round_and_few(low, high, expected):
    assert log_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("row_px", [5, 6.1, 10, 20, 95])
def test_labelled_rows_never_touch_and_measured_ones_come_first(row_px):
    sizes = range(1, 63)
    measured = [size in (1, 8, 32, 62) for size in sizes]
    rows = row_ticks(sizes, measured, row_px)
    assert np.all(np.diff(rows) * row_px >= LABEL_HEIGHT)
    assert {0, 7, 31, 61} <= set(rows)


def test_few_rows_are_all_labelled():
    assert row_ticks([1, 2, 4, 8], [True] * 4, 40) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00125, "0.00125"), (12.5, "12.5"), (10000, "10000"), (1234, "1230"), (0, "0")],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.0234, "2.3 %"), (0.0996, "10 %"), (1, "100 %")],
)
def test_percentages(share, text):
    assert format_percent(share) == text


# --- the door ----------------------------------------------------------------------------------


def test_the_door_leads_to_every_picture_of_the_package():
    plots = {
        name
        for path in Path(figures.__file__).parent.glob("*.py")
        for name in re.findall(r"^def (plot_\w+)", path.read_text("utf-8"), re.M)
    }
    assert plots == {name for name in figures.__all__ if name.startswith("plot_")}
    assert plots - {"plot_maps"} <= set(dscwb.__all__)  # which only the workbench needs


# --- files -------------------------------------------------------------------------------------


def test_html_stands_alone(tmp_path):
    path = save_figure(plot_maps(tiny_study()), tmp_path / "sub" / "maps.html")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", text)
    assert "Plotly.newPlot" in text
    assert "bench clock" in text


def test_unknown_ending_is_refused(tmp_path):
    for name in ("map.jpg", "map"):
        with pytest.raises(ValueError, match=r"choose one of \.png, \.svg, \.pdf, \.html"):
            save_figure(plot_gain(tiny_study()), tmp_path / name)


def test_without_a_browser_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-browser"))
    with pytest.raises(FigureError, match=r"install one.*camera.*\.html"):
        save_figure(plot_gain(tiny_study()), tmp_path / "gain.png")


@pytest.mark.browser
def test_png_and_svg_have_the_size_asked_for_and_the_whole_caption(tmp_path, chromium, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(chromium))
    figure = plot_best_split(tiny_study(batches=(1, 3)))
    before = json.loads(figure.to_json())
    png = save_figure(figure, tmp_path / "map.png", width=500, scale=1).read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert width == 500
    assert height > figure.layout.height  # the caption needs more lines than on the screen
    svg = save_figure(figure, tmp_path / "map.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "interpolated linearly." in svg
    assert json.loads(figure.to_json()) == before
