"""Cost over the data rate: exact switching rates, every candidate named, the envelope in bold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.figures.colours import split_colours
from dscwb.figures.curves import (
    BEST,
    LINE,
    NEVER,
    STATE,
    SWITCHING,
    label_sides,
    plot_latency_vs_rate,
)
from dscwb.figures.page import LABEL_HEIGHT, caption_of
from dscwb.profiles.records import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study.rates import curve_numbers
from dscwb.study.sweeps import sweep
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
# Intercepts 6, 15, 33, 60 ms; bits 3200, 1600, 2560, 0 (see tests.test_study).
NONE_TO_A, A_TO_FULL = 1600 / 0.045, 1600 / 0.009
POWER = PowerModel(compute_w=5, send_w=2, wait_w=1, source="a guess")


def tiny_study(batches=(1,), **changes):
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    profile = profile_of(tiny_graph(), times)
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e5, 1e6],
    } | changes
    return sweep(profile, scale_profile(profile, 10), **fields)


def traces(figure, kind):
    return [one for one in figure.data if one.meta == kind]


# --- numbers -----------------------------------------------------------------------------------


def test_switching_rates_are_exact_and_both_splits_cost_the_same_there():
    curves = curve_numbers(tiny_study(), 1)
    first, second = curves.switches
    assert (first.rate_bps, second.rate_bps) == pytest.approx((NONE_TO_A, A_TO_FULL))
    # 60 ms without offloading; 15 + 9 ms at the second.
    assert (first.cost, second.cost) == pytest.approx((0.060, 0.024))
    assert (first.below, first.above) == ("no offloading", "a")
    assert (second.below, second.above) == ("a", "full offloading")
    assert {first.rate_bps, second.rate_bps} <= set(curves.rates_bps.tolist())


def test_pieces_of_the_envelope():
    curves = curve_numbers(tiny_study(), 1)
    splits, lows, highs = zip(*curves.pieces, strict=True)
    assert splits == (3, 1, 0)
    assert lows == pytest.approx((1e4, NONE_TO_A, A_TO_FULL))
    assert highs == pytest.approx((NONE_TO_A, A_TO_FULL, 1e6))
    assert curves.chosen == (0, 1, 3)


def test_cost_margin_and_runner_up_at_the_lowest_rate():
    curves = curve_numbers(tiny_study(), 1)
    # 6 + 320, 15 + 160, 33 + 256 and 60 ms at 10 kbit/s.
    np.testing.assert_allclose(curves.cost[:, 0], [0.326, 0.175, 0.289, 0.060])
    np.testing.assert_allclose(curves.margin[:, 0], [0.266, 0.115, 0.229, 0], atol=1e-15)
    np.testing.assert_allclose(curves.transfer_s[:, 0], [0.320, 0.160, 0.256, 0])
    assert (curves.best[0], curves.second[0]) == (3, 1)
    assert curves.second_margin[0] == pytest.approx(0.115)


def test_numbers_agree_with_the_decision_everywhere():
    study = tiny_study(batches=(1, 2))
    curves = curve_numbers(study, 2)
    for column, rate in enumerate(curves.rates_bps[::20]):
        decision = study.at(2, rate)
        assert study.splits[curves.best[column * 20]] == decision.split
        assert study.splits[curves.second[column * 20]] == decision.runner_up
        assert curves.second_margin[column * 20] == pytest.approx(decision.margin)


def test_energy_is_in_joules_and_latency_stays_in_seconds():
    curves = curve_numbers(tiny_study(objective="energy", power=POWER), 1)
    # Full offloading at 10 kbit/s: 2 W · 320 ms + 1 W · 6 ms; no offloading: 5 W · 60 ms.
    assert curves.cost[0, 0] == pytest.approx(0.646)
    assert curves.cost[3, 0] == pytest.approx(0.300)
    assert curves.latency_s[0, 0] == pytest.approx(0.326)


def test_a_single_rate_becomes_an_octave_each_way():
    curves = curve_numbers(tiny_study(data_rates_bps=[1e5]), 1)
    assert (curves.rates_bps[0], curves.rates_bps[-1]) == (5e4, 2e5)


def test_one_candidate_has_no_runner_up():
    study = tiny_study(min_depth=3)
    curves = curve_numbers(study, 1)
    assert set(curves.second.tolist()) == {-1}
    assert not curves.switches
    plot_latency_vs_rate(study, 1, state=(1, 1e5))


# --- figure ------------------------------------------------------------------------------------


def test_the_envelope_has_the_colours_of_its_splits():
    study = tiny_study()
    figure = plot_latency_vs_rate(study, 1)
    drawn = {one.name: one.line.color for one in traces(figure, BEST)}
    colours = split_colours(study.edge.graph, study.lines.splits)
    assert drawn == {study.splits[i]: colours[i] for i in (0, 1, 3)}
    assert {one.line.color for one in traces(figure, LINE)} == set(drawn.values())


def test_lines_that_are_never_best_are_one_entry_and_named_on_hover():
    figure = plot_latency_vs_rate(tiny_study(), 1)
    (never,) = traces(figure, NEVER)
    assert never.name == "never best (1)"
    assert never.showlegend
    assert never.hovertemplate.startswith("<b>b</b>")


def test_hover_explains_the_point():
    figure = plot_latency_vs_rate(tiny_study(link=Link(0.004), arrival_rate_hz=10), 1)
    line = next(one for one in traces(figure, LINE) if one.legendgroup == "a")
    for part in ("device 10 ms", "(200 B)", "link 4 ms", "server 5 ms", "more than the best"):
        assert part in line.hovertemplate
    best = next(one for one in traces(figure, BEST) if one.name == "no offloading")
    assert best.hovertext[0] == "next: a, 119 ms more"  # 15 + 160 + 4 - 60 ms
    assert "the best here" in best.hovertemplate


def test_switching_rates_are_marked_and_labelled():
    figure = plot_latency_vs_rate(tiny_study(), 1, width=1000)
    (marks,) = traces(figure, SWITCHING)
    assert list(marks.x) == pytest.approx([NONE_TO_A, A_TO_FULL])
    labels = [note.text for note in figure.layout.annotations if note.textangle == -90]
    assert labels == ["35.6 kbit/s", "178 kbit/s"]
    assert [shape.x0 for shape in figure.layout.shapes] == list(marks.x)


def test_labels_lie_below_every_line():
    figure = plot_latency_vs_rate(tiny_study(), 1)
    low, high = figure.layout.yaxis.range
    lowest = np.log10(min(min(one.y) for one in traces(figure, BEST)))
    plot_px = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    assert (lowest - low) / (high - low) * plot_px >= 80


def test_the_state_is_marked_and_told():
    study = tiny_study(batches=(1, 2))
    figure = plot_latency_vs_rate(study, 1, state=(1, 1e5))
    (mark,) = traces(figure, STATE)
    assert (list(mark.x), list(mark.y)) == ([1e5], pytest.approx([0.031]))
    words = figure.layout.title.subtitle.text
    assert words == "at 100 kbit/s a is best: 31 ms, 7 ms ahead of full offloading"
    for other in ((2, 1e5), (1, 1e9), None):
        figure = plot_latency_vs_rate(study, 1, state=other)
        assert len(traces(figure, STATE)[0].x) == 0
        assert figure.layout.title.subtitle.text == "3 of 4 candidates are best at some rate shown"


def test_axes_have_units_and_the_caption_the_scenario():
    study = tiny_study()
    figure = plot_latency_vs_rate(study, 1)
    assert figure.layout.yaxis.title.text == "Latency in ms"
    assert "Mbit/s" in figure.layout.xaxis.title.text
    assert study.label() in caption_of(figure)
    energy = plot_latency_vs_rate(tiny_study(objective="energy", power=POWER), 1)
    assert energy.layout.yaxis.title.text == "Device energy in mJ"
    assert energy.layout.title.text == "Device energy of tiny at batch size 1"


def test_what_has_no_line_is_said():
    # Every head needs 600 bytes: input and first result.
    figure = plot_latency_vs_rate(tiny_study(memory_cap_bytes=500), 1)
    assert "3 candidates that have no times or do not fit are left out" in caption_of(figure)
    between = plot_latency_vs_rate(tiny_study(batches=(1, 3)), 2)
    assert "interpolated linearly" in caption_of(between)


def test_an_unknown_batch_size_is_named():
    with pytest.raises(ValueError, match=r"Batch size 7 is not on this grid: \[1\]"):
        plot_latency_vs_rate(tiny_study(), 7)


# --- labels ------------------------------------------------------------------------------------


def test_a_label_stands_left_of_its_line_or_right_or_nowhere():
    assert label_sides([50, 55, 200], 300) == ["right", "left", "right"]
    assert label_sides([50, 52, 54], 300) == ["right", "", "left"]
    assert label_sides([5], 300) == ["left"]
    assert label_sides([295], 300) == ["right"]


@given(st.lists(st.floats(0, 500), max_size=12).map(sorted))
def test_labels_never_overlap_and_never_cross_a_line(places):
    boxes = [
        (place - LABEL_HEIGHT, place) if side == "right" else (place, place + LABEL_HEIGHT)
        for place, side in zip(places, label_sides(places, 500), strict=True)
        if side
    ]
    for (_, end), (start, _) in pairwise(boxes):
        assert end <= start
    for start, end in boxes:
        assert start >= 0
        assert end <= 500
        assert not any(start < place < end for place in places)
