"""What the canvas is sent, against arithmetic by hand."""

import json

import numpy as np
import pytest

import dscwb
from dscwb.profiles.library import scale_profile
from dscwb.workbench.picture import (
    FRAGILE,
    LINES,
    MAX_LINES,
    UNDECIDED,
    mark,
    model_picture,
    picture,
)
from dscwb.workbench.state import State
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


def sent(study, baseline="no offloading", confidence=None):
    model = model_picture(study.edge.graph, study.scenario.granularity)
    return picture(study, model, baseline, confidence)


def scene(study, *more, **options):
    return sent(study, *more, **options)["scene"]


def lines(study):
    """Each of `LINES` by its name, ``(batch, split)``."""
    shape = (len(LINES), len(study.batch_sizes), -1)
    numbers = np.frombuffer(sent(study)["lines"], "<f4").reshape(shape)
    return dict(zip(LINES, numbers, strict=True))


def doubt(study, confidence):
    return np.frombuffer(sent(study, confidence=confidence)["doubt"], np.uint8).tolist()


def test_lines_are_those_of_the_hand():
    candidates = scene(study())["candidates"]
    assert [one["name"] for one in candidates] == ["full offloading", "a", "b", "no offloading"]
    assert [one["depth_label"] for one in candidates] == ["0", "1", "2", "all"]
    assert candidates[1]["runs"] == "1 of 3 blocks, 1 of 3 layers"
    found = lines(study())
    np.testing.assert_allclose(found["head"][0], [0, 0.01, 0.03, 0.06])
    np.testing.assert_allclose(found["tail"][0], [0.006, 0.005, 0.003, 0], atol=1e-9)
    np.testing.assert_allclose(found["bits"][0], [3200, 1600, 2560, 0])
    np.testing.assert_allclose(found["intercept"][0], [0.006, 0.015, 0.033, 0.06])
    np.testing.assert_array_equal(found["slope"], found["bits"])
    # Four samples take four times as long and as many bits.
    np.testing.assert_allclose(found["bits"][3], [12800, 6400, 10240, 0])


def test_the_envelope_switches_where_two_lines_meet():
    row = scene(study())["rows"][0]
    # Without offloading and after a meet at 1600 bits / 45 ms, after a and full at 1600 / 9 ms.
    assert row["rates_bps"] == pytest.approx([1600 / 0.045, 1600 / 0.009])
    assert row["splits"] == [3, 1, 0]


def test_rows_are_batch_sizes_and_say_where_they_lie_between_measured_ones():
    rows = scene(study(sizes=[1, 2, 4]))["rows"]
    assert [row["label"] for row in rows] == ["1", "≈ 2", "4"]
    assert [row["measured"] for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("more", "rate", "high"),
    [
        ({}, 1e5, 0.075),  # a quarter more than 60 ms on the device alone
        ({}, 1e3, 0.075),
        # Inputs must leave: 6 ms and 3200 bits at 1 kbit/s are 3.206 s, and with a tenth more 5 s.
        ({"memory_cap_bytes": 500.0}, 1e3, 5.0),
    ],
)
def test_the_axis_of_the_breakdown_holds_the_best_bar_and_moves_in_steps(more, rate, high):
    point = State("tiny", batch_size=1, data_rate_bps=rate)
    told = mark(study(batches=(1,), **more), point, "words")
    assert told["bars"]["high"] == pytest.approx(high)
    assert told["bars"]["ticks"][0] == 0
    assert (told["batch_size"], told["data_rate_bps"], told["answer"]) == (1, rate, "words")


def test_the_mean_gain_states_its_range():
    # One batch size at three rates: 0, 1 - 31 / 60, 1 - 9.2 / 60.
    words = scene(study(batches=(1,)))["gain_heading"]
    assert words == (
        "Gain over no offloading",
        "mean 44 %, at most 85 %, from 10 kbit/s to 1 Mbit/s",
    )


def test_a_baseline_that_does_not_fit_has_no_gain_and_says_so():
    # The last layer needs 80 + 10 floats at a time, the first 100 + 50: a sample is 600 bytes.
    some, none = study(memory_cap_bytes=700.0), study(memory_cap_bytes=500.0)
    assert "at most 85 % where possible" in scene(some)["gain_heading"][1]
    assert [row["missing"] for row in scene(some)["rows"]] == [False, True, True, True]
    assert scene(none)["gain_heading"][1].startswith("impossible in every state")


def test_best_static_stands_for_the_split_that_the_grid_says():
    grid = study()
    shown = scene(grid, "best static")
    assert shown["gain_over"] == grid.best_static() == "no offloading"
    assert shown["candidates"][shown["baseline"]]["name"] == grid.best_static()
    assert shown["gain_heading"][0] == "Gain over the best static split"
    assert shown["gain_heading"][1].startswith("no offloading: mean ")


def test_places_are_the_input_the_bottlenecks_and_the_output():
    shown = scene(study())
    first, *inner, last = shown["places"]
    assert [(one["cut"], one["ratio"], one["kind"], one["label"]) for one in inner] == [
        (1, 0.5, "compressive", "0.5"),
        (2, 0.8, "natural", "0.8"),
        (3, 0.1, "compressive", "0.1"),
    ]
    assert inner[1]["words"] == "after b\nc = 0.8\nnatural: c < 1"
    assert (first["ratio"], last["words"]) == (1, "output\nno offloading: nothing is sent")
    assert [one["place"] for one in shown["candidates"]] == [0, 1, 2, 4]
    # A split has its colour in all views.
    assert shown["candidates"][1]["colour"] == inner[0]["colour"]


def test_the_axis_of_costs_holds_every_best_split():
    grid = study()
    axis = scene(grid)["costs"]
    assert axis["low"] < grid.cost.min() < grid.cost.max() < axis["high"]
    assert (axis["title"], axis["labels"][-1]) == ("Latency", "300ms")


def test_joules_are_drawn_as_joules():
    grid = study(objective="energy", power=dscwb.PowerModel(10, 2, 1, "by hand"))
    assert (scene(grid)["cost"], scene(grid)["unit"]) == ("Device energy", "J")
    # 10 W over 10 ms, 1 W over 5 ms.
    np.testing.assert_allclose(lines(grid)["intercept"][0, 1], 0.105)
    np.testing.assert_allclose(lines(grid)["slope"][0, 1], 3200)
    np.testing.assert_allclose(lines(grid)["bits"][0, 1], 1600)


def test_waiting_and_link_are_kept_apart():
    grid = study(link=dscwb.Link(0.005), arrival_rate_hz=50.0)
    assert [row["wait_s"] for row in scene(grid)["rows"]] == pytest.approx([0, 0.01, 0.02, 0.03])
    np.testing.assert_allclose(lines(grid)["link"][0], [0.005, 0.005, 0.005, 0])
    assert list(scene(grid)["parts"]) == ["wait", "head", "transfer", "link", "tail"]
    assert list(scene(study())["parts"]) == ["head", "transfer", "tail"]


class Confidence:
    """Stands in for that of a bootstrap."""

    def __init__(self, study):
        shape = study.best.shape
        self.study = study
        self.probability = np.linspace(0, 1, np.prod(shape)).reshape(shape)
        self.undecided = self.probability < 0.5

    def label(self):
        return "7 replicates"


def test_confidence_has_a_cell_around_each_rate():
    grid = study(sizes=[1, 4], data_rates_bps=[1e4, 1e6])
    given = Confidence(grid)
    told = sent(grid, confidence=given)
    np.testing.assert_allclose(
        np.frombuffer(told["probability"], "<f4"), given.probability.ravel(), rtol=1e-6
    )
    assert [one == UNDECIDED for one in doubt(grid, given)] == given.undecided.ravel().tolist()
    assert told["scene"]["doubt_edges_bps"] == pytest.approx([1e4, 1e5, 1e6])
    assert "7 replicates" in told["scene"]["caption"]
    assert "replicates" not in scene(grid)["caption"]


def test_states_that_hang_on_the_model_are_marked_unless_undecided():
    # From 168 to 200 kbit/s another split is best with a server twice as fast or half as fast.
    grid = study(batches=(1,), data_rates_bps=[1e5, 1.7e5, 1.9e5])
    given = Confidence(grid)
    given.undecided = np.array([[False, False, True]])
    assert doubt(grid, given) == [0, FRAGILE, UNDECIDED]
    assert "Server assumed, error unknown" in scene(grid, confidence=given)["caption"]


def test_of_many_candidates_those_remain_that_can_be_best_or_second_best():
    edge = dscwb.load_profile("data/profiles/resnet50-224-epyc-1t-float32.parquet")
    options = {"link": dscwb.Link(), "input_encoding": "uint8", "feature_encoding": "float32"}
    rates = np.geomspace(1e4, 1e10, 25)
    many = dscwb.sweep(
        edge, scale_profile(edge, 20), data_rates_bps=rates, granularity="op", **options
    )
    assert len(many.splits) > MAX_LINES
    shown = scene(many)
    names = [one["name"] for one in shown["candidates"]]
    assert len(names) < MAX_LINES
    decisions = [many.at(size, rate) for size in many.batch_sizes for rate in rates]
    assert {one.split for one in decisions} | {one.runner_up for one in decisions} <= set(names)
    assert f"{len(names)} of {len(many.splits)} candidates" in shown["caption"]
    assert shown["depth_title"] == "Layers on the device"


def test_the_scene_is_json():
    told = json.loads(json.dumps(scene(study()), allow_nan=False))
    assert told["rates"]["labels"][0] == "0.01"
    assert told["rates"]["below"][0] == "0.00125"
    assert len(told["gain_colours"]) == 256
    assert "candidates: block ends" in told["caption"]
    assert "interpolated linearly" in told["caption"]
    assert told["origins"] == "device measured, server assumed"
