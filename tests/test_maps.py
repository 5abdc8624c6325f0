"""What maps say beside their answer: doubt, what is impossible, waiting, joules, regret."""

import math

import numpy as np
import pytest

from dscwb.figures.cells import (
    ENERGY,
    PROBABILITY,
    WAIT,
    gain_cells,
    map_cells,
    outlines,
    split_cells,
)
from dscwb.figures.maps import (
    FRAGILE,
    GAIN,
    IMPOSSIBLE,
    MAP,
    REGRET,
    STATE,
    SWITCHING,
    UNDECIDED,
    plot_best_split,
    plot_gain,
    plot_maps,
    plot_regret,
)
from dscwb.figures.page import caption_of
from dscwb.profiles.records import Passes, Profile, Provenance, Separate, scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study.sweeps import sweep
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
POWER = PowerModel(compute_w=5, send_w=2, wait_w=1, source="by hand")


def study_of(edge, server, **changes):
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e5, 1e6],
    } | changes
    return sweep(edge, server, **fields)


def tiny_study(batches=(1,), **changes):
    """Three blocks of 10, 20, 30 ms a sample on the device, a tenth of that on the server."""
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    profile = profile_of(tiny_graph(), times)
    return study_of(profile, scale_profile(profile, 10), **changes)


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


def trace(figure, name):
    return next(figure.select_traces({"name": name}))


def hovered(figure, name, row, column):
    """A hover's text as plotly would fill it in, numbers in full."""
    text = trace(figure, name).hovertemplate
    for i, value in enumerate(trace(figure, name).customdata[row, column]):
        for form in (":d", ":.3~s", ":.1%"):
            text = text.replace(f"%{{customdata[{i}]{form}}}", f"{value:.6g}")
    return text


# --- doubt -------------------------------------------------------------------------------------


def test_undecided_cells_are_those_between_the_certain_rates():
    study = noisy_study()
    best = split_cells(map_cells(study, study.confidence()))
    x, y = best.undecided
    # One run of cells in the only row, closed; 2560 / 40 ms below, 2560 / 16 ms above, to a cell.
    assert y.tolist() == [-0.5, -0.5, 0.5, 0.5, -0.5]
    assert x[0] == x[3] == x[4] == pytest.approx(2560 / 0.040, rel=0.02)
    assert x[1] == x[2] == pytest.approx(2560 / 0.016, rel=0.02)


def test_runs_of_marked_cells_become_one_rectangle_each():
    cells = map_cells(tiny_study(batches=(1, 2)))
    edges, where = cells.edges_bps, np.zeros(cells.shown.best.shape, dtype=bool)
    where[0, :3] = where[0, 5] = where[1, -1] = True
    x, y = outlines(cells, where)
    first = [edges[0], edges[3], edges[3], edges[0], edges[0]]
    second = [edges[5], edges[6], edges[6], edges[5], edges[5]]
    third = [edges[-2], edges[-1], edges[-1], edges[-2], edges[-2]]
    np.testing.assert_array_equal(x, [*first, math.nan, *second, math.nan, *third])
    below, above = [-0.5, -0.5, 0.5, 0.5, -0.5], [0.5, 0.5, 1.5, 1.5, 0.5]
    np.testing.assert_array_equal(y, [*below, math.nan, *below, math.nan, *above])
    assert [len(line) for line in outlines(cells, np.zeros_like(where))] == [0, 0]


def test_doubt_is_hatched_said_and_in_the_hover():
    study = noisy_study()
    confidence = study.confidence()
    for figure in (plot_best_split(study, confidence), plot_maps(study, confidence)):
        assert len(trace(figure, UNDECIDED).x) == 5
        assert (
            "Hatched: no split is best in 95 % of 1,000 bootstrap replicates of the raw passes; "
            "without repeats, taken as exact: server: 33 % of the states." in caption_of(figure)
        )
    cells = map_cells(study, confidence)
    best = split_cells(cells)
    assert best.extra == (PROBABILITY,)
    column = int(np.searchsorted(cells.edges_bps, 1e5)) - 1
    share = confidence.at(1, cells.shown.data_rates_bps[column])
    assert best.hover[0, column, -1] == pytest.approx(share)
    assert 0.5 < share < 0.95
    text = hovered(plot_best_split(study, confidence), MAP, 0, column)
    assert f"best in {share:.6g} of the replicates" in text


@pytest.mark.parametrize("asked", [False, True])
def test_traces_are_the_same_with_and_without_doubt(asked):
    study = noisy_study()
    confidence = study.confidence() if asked else None
    both = plot_maps(study, confidence)
    left, right = [MAP, UNDECIDED, FRAGILE, SWITCHING, STATE], [GAIN, IMPOSSIBLE, STATE]
    assert [one.name for one in both.data] == left + right
    assert [one.name for one in plot_best_split(study, confidence).data] == left
    assert [one.name for one in plot_gain(study).data] == right
    assert ("Hatched" in caption_of(both)) == asked
    assert (len(trace(both, UNDECIDED).x) > 0) == asked


def test_cells_that_hang_on_the_model_have_a_hatch_of_their_own():
    # Without noise: full offloading, 3200 / r + 6 f ms, and a, 10 + 1600 / r + 5 f, meet at
    # 1600 / (10 - f) ms: from 168 to 200 kbit/s for servers twice as fast to half as fast. No
    # offloading, 60 ms, meets a at 1600 / (50 - 5 f): from 33.7 to 40 kbit/s.
    study = tiny_study()
    figure = plot_best_split(study, study.confidence(40))
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
    _, y = split_cells(map_cells(study, study.confidence())).undecided
    assert set(y[~np.isnan(y)]) == {-0.5, 0.5}  # only batch size 1 is noisy: the lowest row


def test_the_confidence_of_another_study_is_refused():
    with pytest.raises(ValueError, match=r"of another study; give study\.confidence\(\)"):
        plot_best_split(tiny_study(), noisy_study().confidence())


# --- what is impossible ------------------------------------------------------------------------


def capped_study():
    # The heads need 600 bytes a sample for x and a: too much for two samples, not for one.
    return tiny_study(batches=(1, 2), memory_cap_bytes=900)


def test_an_impossible_baseline_is_hatched_and_explained():
    study = capped_study()
    gained = gain_cells(map_cells(study), "no offloading")
    assert np.isnan(gained.values[1]).all()
    assert np.isfinite(gained.values[0]).all()
    assert gained.impossible == 0.5
    # Of the possible states: 0, 29/60 and 50.8/60, as in test_study.
    assert gained.mean == pytest.approx((0 + 29 + 50.8) / 180)
    assert gained.highest == pytest.approx(50.8 / 60)
    for figure in (plot_gain(study), plot_maps(study), plot_regret(study, "no offloading")):
        assert trace(figure, IMPOSSIBLE).y.tolist() == [0.5, 0.5, 1.5, 1.5, 0.5]
        words = "no offloading is impossible"
        assert trace(figure, IMPOSSIBLE).text == f"{words}: its head is too large for the device"
        assert (
            f"Grey hatch: {words}, as its head is too large for the device: 50 % of the states."
            in caption_of(figure)
        )
    assert plot_gain(study).layout.title.subtitle.text == "mean 44 %, at most 85 % where possible"


def test_a_baseline_that_is_nowhere_possible_has_no_mean():
    study = tiny_study(memory_cap_bytes=590)
    for figure in (plot_gain(study, baseline="a"), plot_regret(study, "a")):
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
    assert "b is impossible, as it was not measured: 100 %" in caption_of(
        plot_gain(study, baseline="b")
    )
    assert plot_best_split(study, study.confidence()).data[0].z.shape[0] == 1


def test_where_all_is_possible_nothing_is_hatched_or_said():
    figure = plot_gain(tiny_study())
    assert len(trace(figure, IMPOSSIBLE).x) == 0
    assert "impossible" not in caption_of(figure)


# --- hover -------------------------------------------------------------------------------------


def test_the_wait_for_a_full_batch_stands_in_the_sum():
    study = tiny_study(batches=(1, 2), arrival_rate_hz=10)
    best = split_cells(map_cells(study))
    assert best.extra == (WAIT,)
    # (2 - 1) / (2 · 10 Hz) = 50 ms, then 120 ms on the device; nothing is sent at 10 kbit/s.
    np.testing.assert_allclose(best.hover[1, 0, 3:7], [0.170, 0.120, 0, 0], atol=1e-15)
    assert best.hover[1, 0, 10] == pytest.approx(0.050)
    text = hovered(plot_best_split(study), MAP, 1, 0)
    assert "latency 0.17s<br>= wait 0.05s + device 0.12s + transfer" in text
    assert "wait" not in trace(plot_best_split(tiny_study()), MAP).hovertemplate


def test_energy_is_told_in_joules_beside_the_latency():
    study = tiny_study(objective="energy", power=POWER)
    assert split_cells(map_cells(study)).extra == (ENERGY,)
    text = hovered(plot_best_split(study), MAP, 0, 0)
    # 60 ms at 5 W.
    assert "the device spends 0.3J<br>latency 0.06s" in text
    assert "J instead of" in trace(plot_gain(study), GAIN).hovertemplate
    assert "J instead of" in trace(plot_regret(study), REGRET).hovertemplate


# --- regret ------------------------------------------------------------------------------------


def test_regret_by_hand():
    study = tiny_study()
    figure = plot_regret(study, "no offloading")
    heatmap = trace(figure, REGRET)
    cells = map_cells(study)
    column = int(np.searchsorted(cells.edges_bps, 1e5)) - 1
    # No offloading takes 60 ms, a split after a 15 ms and 1,600 bits.
    regret = 0.045 - 1600 / cells.shown.data_rates_bps[column]
    assert heatmap.customdata[0, column, 5] == pytest.approx(regret)
    assert heatmap.z[0, column] == pytest.approx(math.log10(regret))
    assert heatmap.z[0, 0] == -4  # no regret at all has the colour of 0.1 ms
    # In the three states: 0, 29 and 50.8 ms.
    assert figure.layout.title.text == "Regret of no offloading"
    assert figure.layout.title.subtitle.text == "mean 26.6 ms, at most 50.8 ms"


@pytest.mark.parametrize(("changes", "unit"), [({}, "s"), ({"power": POWER}, "J")])
def test_the_scale_of_regrets_never_moves(changes, unit):
    changes = changes | ({"objective": "energy"} if changes else {})
    heatmap = trace(plot_regret(tiny_study(**changes)), REGRET)
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
        plot_regret(study, "z")
