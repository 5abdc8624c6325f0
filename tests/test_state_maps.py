"""Maps over data rate and batch size: the best split, gain, regret, and what they say beside it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.cuts import all_cuts
from dscwb.figures import plot_best_split, plot_gain, plot_maps, plot_regret
from dscwb.figures.best_split import FRAGILE, MAP, SWITCHING, UNDECIDED
from dscwb.figures.layout import STATE, caption_of
from dscwb.figures.state_map import COLUMNS, IMPOSSIBLE, StateMap
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import Passes, Profile, Provenance, Separate
from dscwb.scenario import Link
from tests.pictures import (
    A_TO_FULL,
    MS,
    NONE_TO_A,
    POINT,
    POWER,
    deep_graph,
    hovered,
    plot_px,
    study_of,
    tiny_study,
    trace,
)
from tests.tiny import profile_of, tiny_graph


def noisy_study():
    """No offloading takes 60 ms; a split after b 22 ms, 32 ms or 44 ms, and 2,560 bits.

    It is best from 2560 / 28 ms = 91 kbit/s, for certain only from 2560 / 16 ms = 160 kbit/s.
    """
    ends = np.array([[0, 6, 18, 60], [0, 6, 30, 60], [0, 6, 42, 60]]) * MS
    edge = Profile(
        tiny_graph(), Provenance("measured", "bench clock"), (Passes(1, ends[:, -1], ends),)
    )
    server = profile_of(tiny_graph(), {1: [MS, MS, 2 * MS]}, rounds=1)
    return study_of(edge, server, min_depth=2, data_rates_bps=[3e4, 1e5, 1e6])


def column_at(figure, rate_bps):
    """The cell of a map in which a data rate lies, and the rate at the cell's middle."""
    edges = figure.data[0].x
    column = int(np.searchsorted(edges, rate_bps)) - 1
    return column, math.sqrt(edges[column] * edges[column + 1])


# --- the best split ------------------------------------------------------------------------------


def test_cells_are_cut_at_the_exact_switching_rates():
    heatmap = trace(plot_best_split(tiny_study()), MAP)
    assert heatmap.colorbar.ticktext == ("full offloading", "after a", "no offloading")
    assert (heatmap.zmin, heatmap.zmax) == (-0.5, 2.5)
    edges = heatmap.x
    none, full = edges[1:] <= NONE_TO_A * (1 + 1e-12), edges[:-1] >= A_TO_FULL * (1 - 1e-12)
    np.testing.assert_array_equal(heatmap.z, [np.where(none, 2, np.where(full, 0, 1))])
    for rate in (NONE_TO_A, A_TO_FULL):
        assert np.isclose(edges, rate, rtol=1e-12).any()
    assert len(edges) == COLUMNS + 1 + 2
    assert (edges[0], edges[-1]) == pytest.approx((1e4, 1e6))


def test_hover_tells_state_latency_payload_and_depth():
    figure = plot_best_split(tiny_study())
    column, rate = column_at(figure, 1e5)
    # Split after a: 10 ms on the device, 1600 bits, 5 ms on the server.
    seconds = [0.010 + 1600 / rate + 0.005, 0.010, 1600 / rate, 0.005]
    told = trace(figure, MAP).customdata
    np.testing.assert_allclose(told[0, column], [1, rate, rate / 8, *seconds, 200, 1, 1])
    assert told.dtype == np.float64  # strings for each cell would cost 30 ms a redraw
    assert "device runs 1 of 3 blocks, 1 of 3 layers" in hovered(trace(figure, MAP), (0, column))


def test_switching_lines_go_through_every_row():
    # Twice the samples: twice the bits and twice the time, so the same rates.
    lines = trace(plot_best_split(tiny_study(batches=(1, 2))), SWITCHING)
    np.testing.assert_allclose(lines.x, [*[NONE_TO_A] * 3, *[A_TO_FULL] * 3] * 2, rtol=1e-9)
    one, other = [-0.5, 0.5, math.nan], [0.5, 1.5, math.nan]
    np.testing.assert_array_equal(lines.y, [*one, *one, *other, *other])


def test_rows_and_columns_ascend_whatever_the_order_of_the_study():
    study = tiny_study(batches=(1, 2), batch_sizes=(2, 1), data_rates_bps=[1e6, 1e4, 1e5])
    heatmap = trace(plot_best_split(study), MAP)
    assert np.all(np.diff(heatmap.x) > 0)
    np.testing.assert_array_equal(heatmap.customdata[:, 0, 0], [1, 2])


def test_a_single_rate_becomes_an_octave_each_way():
    edges = trace(plot_best_split(tiny_study(data_rates_bps=[1e5])), MAP).x
    assert (edges[0], edges[-1]) == pytest.approx((5e4, 2e5))


def test_a_split_has_one_colour_whatever_the_scenario():
    colours = split_colours(tiny_graph(), all_cuts(tiny_graph(), "block"))
    for changes in ({}, {"feature_encoding": "uint8"}, {"private_input": True}):
        heatmap = trace(plot_best_split(tiny_study(**changes)), MAP)
        drawn = dict(zip(heatmap.colorbar.ticktext, heatmap.colorscale[::2], strict=True))
        assert drawn["after a"][1] == colours[1]


def test_a_point_is_marked_where_both_are_given_and_shown():
    study = tiny_study(batches=(1, 2))
    figure = plot_best_split(study, batch_size=2, data_rate_bps=1e5)
    mark = trace(figure, STATE)
    assert (list(mark.x), list(mark.y)) == ([1e5], [1])
    assert figure.layout.title.text == "Best split of tiny"
    assert figure.layout.title.subtitle.text == "a split is best in 33 % of the states shown"
    for point in ({}, {"batch_size": 1}, {"data_rate_bps": 1e5}, {**POINT, "batch_size": 3}):
        assert trace(plot_best_split(study, **point), STATE) is None


def test_interpolated_rows_look_different_and_are_explained():
    figure = plot_best_split(tiny_study(batches=(1, 3)))
    assert figure.layout.yaxis.ticktext == ("<b>1</b>", "<i>≈ 2</i>", "<b>3</b>")
    caption = caption_of(figure)
    assert "Batch sizes with times of their own: 1, 3 (bold)" in caption
    assert "(≈) are interpolated linearly" in caption
    plain = plot_best_split(tiny_study(batches=(1, 2)))
    assert plain.layout.yaxis.ticktext == ("1", "2")
    assert "interpolated" not in caption_of(plain)


def test_many_splits_make_the_map_higher():
    profile, server = (profile_of(deep_graph(), {1: [ns] * 41}) for ns in (1000, 1))
    rates = np.geomspace(1e6, 1e12, 400)
    figure = plot_best_split(study_of(profile, server, data_rates_bps=rates, private_input=True))
    names = trace(figure, MAP).colorbar.ticktext
    assert plot_px(figure)[1] >= max(120, len(names) * 12)


def test_both_maps_in_one_figure_are_the_single_ones():
    study = tiny_study(batches=(1, 2))
    point = {"batch_size": 2, "data_rate_bps": 1e5}
    both, best, gain = (plot(study, **point) for plot in (plot_maps, plot_best_split, plot_gain))
    assert [one.name for one in both.data] == [one.name for one in (*best.data, *gain.data)]
    for one, other in zip(both.data, (*best.data, *gain.data), strict=True):
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_array_equal(one.x, other.x)
        assert one.type == "scatter" or np.array_equal(one.z, other.z)
    assert caption_of(both) == f"{caption_of(best)} Mean over {study.grid_label}."


def test_names_between_both_maps_are_short():
    blocks = [replace(one, name=f"features.denseblock2.{one.name}") for one in tiny_graph().blocks]
    profile = profile_of(replace(tiny_graph(), blocks=tuple(blocks)), {1: [10 * MS] * 3})
    figure = plot_maps(study_of(profile, scale_profile(profile, 10)))
    names = trace(figure, MAP).colorbar.ticktext
    assert names == ("full offloading", "…denseblock2.a", "no offloading")


def test_every_map_carries_the_scenario():
    study = tiny_study(link=Link(0.02), input_encoding="uint8")
    for plot in (plot_best_split, plot_gain, plot_regret, plot_maps):
        caption = caption_of(plot(study))
        assert study.label() in caption
        assert "input uint8, features float32" in caption
        assert "round trip 20 ms" in caption
        assert "(assumed: 10 × as fast as bench clock)" in caption


# --- gain ----------------------------------------------------------------------------------------


def test_gain_by_hand():
    figure = plot_gain(tiny_study())
    heatmap, (column, rate) = trace(figure, "gain"), column_at(figure, 1e5)
    latency = 0.015 + 1600 / rate
    assert heatmap.z[0, column] == pytest.approx((0.060 - latency) / 0.060)
    np.testing.assert_allclose(heatmap.customdata[0, column, 4:], [latency, 0.060])
    assert figure.layout.title.text == "Gain over no offloading"
    # In the study's three states: 0, 29/60 and 50.8/60.
    assert figure.layout.title.subtitle.text == "mean 44 %, at most 85 %"


def test_the_scale_of_gains_never_moves():
    for changes in ({}, {"input_encoding": "uint8"}):
        heatmap = trace(plot_gain(tiny_study(**changes)), "gain")
        assert (heatmap.zmin, heatmap.zmax) == (0, 1)


@pytest.mark.parametrize("baseline", ["best static", "best_static"])
def test_the_best_static_split_is_named_and_is_the_one_of_the_study(baseline):
    title = plot_gain(tiny_study(), baseline=baseline).layout.title
    assert title.text == "Gain over the best static split"
    assert title.subtitle.text == "no offloading: mean 44 %, at most 85 %"
    with pytest.raises(ValueError, match="'z' is not a candidate here; choose 'best static'"):
        plot_gain(tiny_study(), baseline="z")


# --- doubt -------------------------------------------------------------------------------------


def test_undecided_cells_are_those_between_the_certain_rates():
    study = noisy_study()
    doubt = trace(plot_best_split(study, confidence=study.confidence()), UNDECIDED)
    x, y = doubt.x, doubt.y
    # One run of cells in the only row, closed; 2560 / 40 ms below, 2560 / 16 ms above, to a cell.
    assert y.tolist() == [-0.5, -0.5, 0.5, 0.5, -0.5]
    assert x[0] == x[3] == x[4] == pytest.approx(2560 / 0.040, rel=0.02)
    assert x[1] == x[2] == pytest.approx(2560 / 0.016, rel=0.02)


def test_runs_of_marked_cells_become_one_rectangle_each():
    cells = StateMap.of(tiny_study(batches=(1, 2)))
    edges, where = cells.edges_bps, np.zeros(cells.shown.best.shape, dtype=bool)
    where[0, :3] = where[0, 5] = where[1, -1] = True
    drawn, none = (cells.hatch("here", cell, {}) for cell in (where, np.zeros_like(where)))
    first = [edges[0], edges[3], edges[3], edges[0], edges[0]]
    second = [edges[5], edges[6], edges[6], edges[5], edges[5]]
    third = [edges[-2], edges[-1], edges[-1], edges[-2], edges[-2]]
    np.testing.assert_array_equal(drawn.x, [*first, math.nan, *second, math.nan, *third])
    below, above = [-0.5, -0.5, 0.5, 0.5, -0.5], [0.5, 0.5, 1.5, 1.5, 0.5]
    np.testing.assert_array_equal(drawn.y, [*below, math.nan, *below, math.nan, *above])
    assert (len(none.x), len(none.y)) == (0, 0)


def test_doubt_is_hatched_said_and_in_the_hover():
    study = noisy_study()
    confidence = study.confidence()
    for plot in (plot_best_split, plot_maps):
        figure = plot(study, confidence=confidence)
        assert len(trace(figure, UNDECIDED).x) == 5
        assert (
            "Hatched: no split is best in 95 % of 1,000 bootstrap replicates of the raw passes; "
            "without repeats, taken as exact: server: 33 % of the states." in caption_of(figure)
        )
    column, rate = column_at(figure, 1e5)
    share = confidence.at(1, rate)
    assert 0.5 < share < 0.95
    assert f"best in {share:.6g} of the replicates" in hovered(trace(figure, MAP), (0, column))
    plain = plot_best_split(study)
    assert trace(plain, UNDECIDED) is None
    assert "Hatched" not in caption_of(plain)


def test_cells_that_hang_on_the_model_have_a_hatch_of_their_own():
    # Without noise: full offloading, 3200 / r + 6 f ms, and a, 10 + 1600 / r + 5 f, meet at
    # 1600 / (10 - f) ms: from 168 to 200 kbit/s for servers twice as fast to half as fast. No
    # offloading, 60 ms, meets a at 1600 / (50 - 5 f): from 33.7 to 40 kbit/s.
    study = tiny_study()
    figure = plot_best_split(study, confidence=study.confidence(40))
    x = trace(figure, FRAGILE).x
    ends = [1600 / 0.0475, 1600 / 0.040, 1600 / 0.0095, 1600 / 0.008]
    assert x[[0, 1, 6, 7]] == pytest.approx(ends, rel=0.03)
    assert len(trace(figure, UNDECIDED).x) == 0
    assert "Dotted: Server assumed, error unknown" in caption_of(figure)


def test_rows_of_doubt_ascend_like_those_of_the_map():
    profile = profile_of(tiny_graph(), {1: [10 * MS] * 3, 2: [20 * MS] * 3})
    one = noisy_study().edge.passes[0]
    edge = Profile(profile.graph, profile.provenance, (one, profile.passes[1]))
    study = study_of(edge, scale_profile(profile, 10), batch_sizes=(2, 1), min_depth=2)
    y = trace(plot_best_split(study, confidence=study.confidence()), UNDECIDED).y
    assert set(y[~np.isnan(y)]) == {-0.5, 0.5}  # only batch size 1 is noisy: the lowest row


def test_the_confidence_of_another_study_is_refused():
    with pytest.raises(ValueError, match=r"of another study; give study\.confidence\(\)"):
        plot_best_split(tiny_study(), confidence=noisy_study().confidence())


# --- what is impossible ------------------------------------------------------------------------


def capped_study():
    # The heads need 600 bytes a sample for x and a: too much for two samples, not for one.
    return tiny_study(batches=(1, 2), memory_cap_bytes=900)


def test_an_impossible_baseline_is_hatched_and_explained():
    study = capped_study()
    gained = trace(plot_gain(study), "gain")
    assert np.isnan(gained.z[1]).all()
    assert np.isfinite(gained.z[0]).all()
    for plot in (plot_gain, plot_maps, plot_regret):
        figure = plot(study, baseline="no offloading")
        assert trace(figure, IMPOSSIBLE).y.tolist() == [0.5, 0.5, 1.5, 1.5, 0.5]
        words = "no offloading is impossible"
        assert trace(figure, IMPOSSIBLE).text == f"{words}: its head is too large for the device"
        assert (
            f"Grey hatch: {words}, as its head is too large for the device: 50 % of the states."
            in caption_of(figure)
        )
    # Of the possible states: 0, 29/60 and 50.8/60, as in test_study.
    assert plot_gain(study).layout.title.subtitle.text == "mean 44 %, at most 85 % where possible"


def test_a_baseline_that_is_nowhere_possible_has_no_mean():
    study = tiny_study(memory_cap_bytes=590)
    for plot in (plot_gain, plot_regret):
        figure = plot(study, baseline="a")
        assert figure.layout.title.subtitle.text == "impossible in every state"
        assert "100 % of the states" in caption_of(figure)


def test_a_baseline_that_was_not_measured_says_so():
    times = np.array([10, 12]) * MS
    none = np.empty((0, 4), dtype=np.int64)
    halves = tuple(Separate(cut, cut * times, (3 - cut) * times) for cut in (0, 1, 3))
    edge = Profile(
        tiny_graph(), Provenance("imported", "table"), (Passes(1, none[:, 0], none, halves),)
    )
    study = study_of(edge, scale_profile(edge, 10))
    assert "after b is impossible, as it was not measured: 100 %" in caption_of(
        plot_gain(study, baseline="b")
    )
    assert plot_best_split(study, confidence=study.confidence()).data[0].z.shape[0] == 1


def test_where_all_is_possible_nothing_is_hatched_or_said():
    figure = plot_gain(tiny_study())
    assert len(trace(figure, IMPOSSIBLE).x) == 0
    assert "impossible" not in caption_of(figure)


# --- hover -------------------------------------------------------------------------------------


def test_the_wait_for_a_full_batch_stands_in_the_sum():
    study = tiny_study(batches=(1, 2), arrival_rate_hz=10)
    heatmap = trace(plot_best_split(study), MAP)
    # (2 - 1) / (2 · 10 Hz) = 50 ms, then 120 ms on the device; nothing is sent at 10 kbit/s.
    told = heatmap.customdata[1, 0, 3:8]
    np.testing.assert_allclose(told, [0.170, 0.120, 0, 0, 0.050], atol=1e-15)
    assert "latency 0.17s<br>= device 0.12s + transfer" in hovered(heatmap, (1, 0))
    assert "wait 0.05s" in hovered(heatmap, (1, 0))
    assert "wait" not in trace(plot_best_split(tiny_study()), MAP).hovertemplate


def test_energy_is_told_in_joules_beside_the_latency():
    study = tiny_study(objective="energy", power=POWER)
    text = hovered(trace(plot_best_split(study), MAP), (0, 0))
    # 60 ms at 5 W.
    assert "latency 0.06s" in text
    assert "the device spends 0.3J" in text
    assert "J instead of" in trace(plot_gain(study), "gain").hovertemplate
    assert "J instead of" in trace(plot_regret(study), "regret").hovertemplate


# --- regret ------------------------------------------------------------------------------------


def test_regret_by_hand():
    study = tiny_study()
    figure = plot_regret(study, baseline="no offloading")
    heatmap = trace(figure, "regret")
    column, rate = column_at(figure, 1e5)
    # No offloading takes 60 ms, a split after a 15 ms and 1,600 bits.
    regret = 0.045 - 1600 / rate
    assert heatmap.customdata[0, column, 3] == pytest.approx(regret)
    assert heatmap.z[0, column] == pytest.approx(math.log10(regret))
    assert heatmap.z[0, 0] == -4  # no regret at all has the colour of 0.1 ms
    # In the three states: 0, 29 and 50.8 ms.
    assert figure.layout.title.text == "Regret of no offloading"
    assert figure.layout.title.subtitle.text == "mean 26.6 ms, at most 50.8 ms"


@pytest.mark.parametrize(("changes", "unit"), [({}, "s"), ({"power": POWER}, "J")])
def test_the_scale_of_regrets_never_moves(changes, unit):
    changes = changes | ({"objective": "energy"} if changes else {})
    heatmap = trace(plot_regret(tiny_study(**changes)), "regret")
    assert (heatmap.zmin, heatmap.zmax) == (-4, 2)
    labels = heatmap.colorbar.ticktext
    assert (labels[0], labels[1], labels[-1]) == (f"≤ 100 µ{unit}", f"1 m{unit}", f"≥ 100 {unit}")
    assert heatmap.colorbar.tickvals == (-4, -3, -2, -1, 0, 1, 2)


def test_static_splits_are_named():
    study = tiny_study()
    best = plot_regret(study).layout.title
    assert best.text == "Regret of the best static split"
    assert best.subtitle.text.startswith("no offloading: mean")
    minimax = plot_gain(study, baseline="minimax-regret static").layout.title
    assert minimax.text == "Gain over the minimax-regret static split"
    with pytest.raises(ValueError, match="'z' is not a candidate here"):
        plot_regret(study, baseline="z")
