"""What all figures share: colours, names, axes, the page with its caption, and the door."""

import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

import dscwb
from dscwb import figures
from dscwb.colours import FULL_OFFLOADING_COLOUR, NO_OFFLOADING_COLOUR, split_colours
from dscwb.cuts import all_cuts
from dscwb.figures import plot_best_split, plot_gain, plot_latency_breakdown, plot_maps
from dscwb.figures.layout import (
    CAPTION_LINE,
    CAPTION_LINES,
    LABEL_HEIGHT,
    LONGEST_NAME,
    MORE,
    TEXT,
    caption_of,
    depth_axis,
    label,
    linear_axis,
    log_axis,
    log_ticks,
    page,
    rate_axis,
    row_ticks,
    wrapped,
)
from dscwb.graph import Layer, ModelGraph
from tests.pictures import POINT, deep_graph, tiny_study
from tests.tiny import spec

# --- colours -----------------------------------------------------------------------------------


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


# --- names and axes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "shown"),
    [
        ("blocks.2.1", "after blocks.2.1"),
        ("full offloading", "full offloading"),
        ("features.denseblock2.denselayer10", "after …denseblock2.denselayer10"),
        ("x" * 40, "after …" + "x" * (LONGEST_NAME - 1)),
        ("a<b>", "after a‹b›"),
    ],
)
def test_a_cut_has_one_name_and_long_ones_lose_their_front(split, shown):
    assert label(split) == shown


def test_names_at_the_depth_axis_are_places_and_stand_there_in_short():
    long = f"after {'a' * 30}.b"
    axis = depth_axis([long, "full offloading"], "Split")
    assert (axis["type"], axis["categoryarray"]) == ("category", [long, "full offloading"])
    assert list(axis["labelalias"].values()) == ["after …b", "full offloading"]
    assert axis["tickangle"] == -90


def test_axes_say_their_unit_and_hold_si_numbers():
    axis = log_axis(0.01, 1, "s", "Latency")
    assert axis["title"]["text"] == "Latency in s"
    assert dict(zip(axis["tickvals"], axis["ticktext"], strict=True))[0.1] == "100ms"
    assert linear_axis("J", "Energy")["title"]["text"] == "Energy in J"


def test_rates_are_labelled_in_mbit():
    axis = rate_axis(1e4, 1e10)
    assert (axis["ticktext"][0], axis["ticktext"][3], axis["ticktext"][-1]) == (
        "0.01",
        "10",
        "10000",
    )
    assert axis["tickvals"] == pytest.approx([1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (8e6, 1016e6, [10e6, 30e6, 100e6, 300e6, 1000e6]),
        (1e6, 9e6, [1e6, 1.5e6, 2e6, 3e6, 4e6, 5e6, 7e6]),
        (55, 105, [60, 70, 80, 90, 100]),
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


# --- the page ----------------------------------------------------------------------------------


def test_caption_and_axis_fit_into_the_page():
    figure = plot_maps(tiny_study(batches=(1, 3)))
    note = next(note for note in figure.layout.annotations if note.name == "caption")
    lines = note.text.split("<br>")
    assert max(map(len, lines)) * 6 <= 800
    assert figure.layout.margin.b >= -note.yshift + CAPTION_LINE * len(lines)


def test_without_its_caption_a_figure_is_as_much_lower():
    figure = plot_latency_breakdown(tiny_study(), **POINT)
    bare = wrapped(go.Figure(figure), 0)
    note = figure.layout.annotations[-1]
    assert caption_of(figure)
    lower = figure.layout.height - bare.layout.height
    assert lower == CAPTION_LINE * (note.text.count("<br>") + 1)


def test_a_caption_has_three_lines_and_the_rest_in_its_hover():
    whole = " ".join(f"Sentence {k} of many." for k in range(60))
    figure = page([], ("Title", ""), [whole], plot_px=100)
    (note,) = figure.layout.annotations
    assert note.text.count("<br>") == CAPTION_LINES - 1
    assert note.text.endswith(MORE)
    assert note.hovertext.replace("<br>", " ") == caption_of(figure) == whole
    (short,) = page([], ("Title", ""), ["One line."], plot_px=100).layout.annotations
    assert (short.text, short.hovertext) == ("One line.", None)
    (wide,) = wrapped(go.Figure(figure), 1000, most=None).layout.annotations
    assert (wide.text.replace("<br>", " "), wide.hovertext) == (whole, None)


def letters(node):
    """Sizes in pixels of all letters that a figure sets itself."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("font", "tickfont", "insidetextfont", "textfont"):
                yield from [value["size"]] if "size" in value else []
            yield from letters(value)
    elif isinstance(node, list | tuple):
        for one in node:
            yield from letters(one)
    elif isinstance(node, str):
        yield from map(float, re.findall(r"font-size: *([\d.]+)px", node))


def test_no_letter_is_smaller_than_twelve_pixels():
    study = tiny_study()
    found = [
        plot_maps(study),
        plot_best_split(study, **POINT),
        plot_latency_breakdown(study, **POINT),
        figures.plot_latency_vs_rate(study, **POINT),
        figures.plot_pareto(study, **POINT),
        figures.plot_conventions(study),
        figures.plot_compression(study.edge.graph),
        figures.plot_profile(study.edge, batch_size=1),
    ]
    for figure in found:
        sizes = list(letters(figure.to_dict()))
        assert min(sizes) >= TEXT, figure.layout.title.text


def test_figures_are_white_leave_the_default_alone_and_take_another_template():
    before = pio.templates.default
    figure = plot_gain(tiny_study())
    assert pio.templates.default == before
    assert figure.layout.template == pio.templates["plotly_white"]
    dark = figure.update_layout(template="plotly_dark")
    assert dark.layout.template == pio.templates["plotly_dark"]
    assert dark.layout.title.x == 0


def test_names_of_models_are_no_markup():
    study = tiny_study()
    object.__setattr__(study.edge.graph, "model", "<b>bold</b>")
    figure = plot_best_split(study)
    assert figure.layout.title.text == "Best split of ‹b›bold‹/b›"
    assert "<b>" not in figure.layout.annotations[-1].text


def test_the_door_leads_to_every_picture_of_the_package():
    plots = {
        name
        for path in Path(figures.__file__).parent.glob("*.py")
        for name in re.findall(r"^def (plot_\w+)", path.read_text("utf-8"), re.M)
    }
    assert plots == {name for name in vars(figures) if name.startswith("plot_")}
    assert plots - {"plot_maps"} <= set(dscwb.__all__)  # which only the workbench needs
