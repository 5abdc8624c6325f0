"""What the canvas is sent, against arithmetic by hand."""

import json

import numpy as np
import pytest

import dscwb
from dscwb.profiles.records import scale_profile
from dscwb.workbench.look import Look
from dscwb.workbench.scene import FRAGILE, LINES, MAX_LINES, UNDECIDED, scene_of
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
LAYERS_NS = [10 * MS, 20 * MS, 30 * MS]
RATES = [1e4, 1e5, 1e6]


def study(batches=(1, 4), sizes=None, **more):
    """10, 20, 30 ms a sample and layer, a server ten times as fast, float32 all the way."""
    times = {size: [size * ns for ns in LAYERS_NS] for size in batches}
    edge = profile_of(tiny_graph(), times)
    options = {"link": dscwb.Link(), "input_encoding": "float32", "feature_encoding": "float32"}
    options |= {"data_rates_bps": RATES, "batch_sizes": sizes} | more
    return dscwb.sweep(edge, scale_profile(edge, 10), **options)


def scene(study, baseline="no offloading", confidence=None):
    look = Look.of(study.edge.graph, study.scenario.granularity)
    return scene_of(study, look, baseline, confidence)


def line(shown, name):
    return shown.lines[LINES.index(name)]


def test_lines_are_those_of_the_hand():
    shown = scene(study())
    assert [one.name for one in shown.candidates] == ["full offloading", "a", "b", "no offloading"]
    assert [one.depth for one in shown.candidates] == [0, 1, 2, 3]
    np.testing.assert_allclose(line(shown, "head")[0], [0, 0.01, 0.03, 0.06])
    np.testing.assert_allclose(line(shown, "tail")[0], [0.006, 0.005, 0.003, 0], atol=1e-9)
    np.testing.assert_allclose(line(shown, "bits")[0], [3200, 1600, 2560, 0])
    np.testing.assert_allclose(line(shown, "intercept")[0], [0.006, 0.015, 0.033, 0.06])
    np.testing.assert_array_equal(line(shown, "slope"), line(shown, "bits"))
    # Four samples take four times as long and as many bits.
    np.testing.assert_allclose(line(shown, "bits")[3], [12800, 6400, 10240, 0])


def test_the_envelope_switches_where_two_lines_meet():
    row = scene(study()).rows[0]
    # Without offloading and after a meet at 1600 bits / 45 ms, after a and full at 1600 / 9 ms.
    assert row.rates_bps == pytest.approx((1600 / 0.045, 1600 / 0.009))
    assert row.splits == (3, 1, 0)
    assert row.top_s == pytest.approx(0.06 * 1.25)


def test_rows_ascend_whatever_the_order_of_the_study():
    shown = scene(study(sizes=[4, 1, 2]))
    assert [row.batch_size for row in shown.rows] == [1, 2, 4]
    assert [row.measured for row in shown.rows] == [True, False, True]
    np.testing.assert_allclose(line(shown, "head")[:, 3], [0.06, 0.12, 0.24])


def test_gain_is_nothing_where_the_baseline_is_best_and_exact_elsewhere():
    shown = scene(study())
    middle = 1e4 * 100 ** ((np.arange(200) + 0.5) / 200)
    best = np.minimum(np.minimum(0.06, 0.015 + 1600 / middle), 0.006 + 3200 / middle)
    np.testing.assert_allclose(shown.gain[0], 1 - best / 0.06, atol=1e-6)
    assert shown.gain[0, 0] == 0
    assert shown.words.gain_heading[1].startswith("mean ")


def test_a_baseline_that_does_not_fit_has_no_gain_and_says_so():
    # The last layer needs 80 + 10 floats at a time, the first 100 + 50: a sample is 600 bytes.
    shown = scene(study(memory_cap_bytes=700.0), "no offloading")
    assert np.isnan(shown.gain).tolist() == [[False] * 200] + [[True] * 200] * 3
    assert "not possible at 3 of 4 batch sizes" in shown.words.gain_heading[1]
    everywhere = scene(study(memory_cap_bytes=500.0), "no offloading")
    assert everywhere.words.gain_heading[1] == "not possible at any batch size"


def test_best_static_stands_for_the_split_that_the_grid_says():
    grid = study()
    shown = scene(grid, "best static")
    assert shown.words.gain_over == grid.best_static()
    assert shown.candidates[shown.baseline].name == grid.best_static()
    assert shown.words.gain_heading[0] == f"Gain over best static ({grid.best_static()})"


def test_places_are_the_bottlenecks():
    places = scene(study()).places
    assert [(one.name, one.ratio, one.kind) for one in places] == [
        ("a", 0.5, "compressive"),
        ("b", 0.8, "natural"),
        ("c", 0.1, "compressive"),
    ]
    assert [one.cut for one in places] == [1, 2, 3]


def test_a_split_has_its_colour_in_all_views():
    shown = scene(study())
    assert shown.candidates[1].colour == shown.places[0].colour


def test_the_axis_of_costs_holds_every_best_split():
    grid = study()
    axis = scene(grid).costs
    assert axis.low < grid.cost.min() < grid.cost.max() < axis.high
    assert axis.title == "Latency in ms"


def test_joules_are_drawn_as_joules():
    power = dscwb.PowerModel(10, 2, 1, "by hand")
    shown = scene(study(objective="energy", power=power))
    assert (shown.words.cost, shown.words.unit) == ("Device energy", "J")
    # 10 W over 10 ms, 1 W over 5 ms.
    np.testing.assert_allclose(line(shown, "intercept")[0, 1], 0.105)
    np.testing.assert_allclose(line(shown, "slope")[0, 1], 3200)
    np.testing.assert_allclose(line(shown, "bits")[0, 1], 1600)


def test_waiting_and_link_are_kept_apart():
    shown = scene(study(link=dscwb.Link(0.005), arrival_rate_hz=50.0))
    assert [row.wait_s for row in shown.rows] == pytest.approx([0, 0.01, 0.02, 0.03])
    np.testing.assert_allclose(line(shown, "link")[0], [0.005, 0.005, 0.005, 0])


class Confidence:
    """Stands in for that of a bootstrap."""

    def __init__(self, shape):
        self.probability = np.linspace(0, 1, np.prod(shape)).reshape(shape)
        self.undecided = self.probability < 0.5

    def label(self):
        return "7 replicates"


def test_confidence_follows_rows_and_rates():
    grid = study(sizes=[4, 1], data_rates_bps=[1e6, 1e4])
    given = Confidence((2, 2))
    shown = scene(grid, confidence=given)
    np.testing.assert_allclose(shown.probability, given.probability[::-1, ::-1], rtol=1e-6)
    np.testing.assert_array_equal(shown.doubt == UNDECIDED, given.undecided[::-1, ::-1])
    assert shown.doubt_edges_bps == pytest.approx((1e4, 1e5, 1e6))
    assert "7 replicates" in shown.words.caption
    assert "replicates" not in scene(grid).words.caption


def test_states_that_hang_on_the_model_are_marked_unless_undecided():
    # From 168 to 200 kbit/s another split is best with a server twice as fast or half as fast.
    grid = study(batches=(1,), data_rates_bps=[1e5, 1.9e5, 1.7e5])
    given = Confidence((1, 3))
    given.undecided = np.array([[False, True, False]])
    assert scene(grid, confidence=given).doubt.tolist() == [[0, FRAGILE, UNDECIDED]]
    assert "Server assumed, error unknown" in scene(grid, confidence=given).words.caption


def test_confidence_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"of a grid of \(1, 1\) states, the study of \(4, 3\)"):
        scene(study(), confidence=Confidence((1, 1)))


def test_of_many_candidates_those_remain_that_can_be_best_or_second_best():
    edge = dscwb.load_profile("data/profiles/resnet50-224-epyc-1t-float32.parquet")
    options = {"link": dscwb.Link(), "input_encoding": "uint8", "feature_encoding": "float32"}
    rates = np.geomspace(1e4, 1e10, 25)
    many = dscwb.sweep(
        edge, scale_profile(edge, 20), data_rates_bps=rates, granularity="op", **options
    )
    assert len(many.splits) > MAX_LINES
    shown = scene(many)
    names = [one.name for one in shown.candidates]
    assert len(names) < MAX_LINES
    decisions = [many.at(size, rate) for size in many.batch_sizes for rate in rates]
    assert {one.split for one in decisions} | {one.runner_up for one in decisions} <= set(names)
    assert f"{len(names)} of {len(many.splits)} candidates" in shown.words.caption
    assert shown.words.depth == "layers"


def test_the_summary_is_json_without_arrays():
    shown = scene(study())
    told = json.loads(json.dumps(shown.summary(), allow_nan=False))
    assert {"words", "candidates", "rows", "rates", "parts", "columns"} <= set(told)
    assert not {"lines", "gain", "probability", "doubt"} & set(told)
    assert told["rates"]["labels"][0] == ["0.01", "0.00125"]
    assert "candidates: block ends" in told["words"]["caption"]
    assert "interpolated linearly" in told["words"]["caption"]
    assert told["words"]["origins"] == "device measured, server assumed"
