"""Trade-offs by hand, the front by its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.scenario import Link, PowerModel
from dscwb.study.tradeoffs import not_dominated, tradeoffs
from tests.pictures import POWER, tiny_study

POINTS = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=25)


# --- numbers -----------------------------------------------------------------------------------


def test_numbers_by_hand():
    table = tradeoffs(tiny_study(), 1, 1e5)
    assert table["split"].tolist() == ["full offloading", "a", "b", "no offloading"]
    np.testing.assert_allclose(table["latency_s"], [0.038, 0.031, 0.0586, 0.060])
    assert table["payload_bytes"].tolist() == [400, 200, 320, 0]
    np.testing.assert_allclose(table["server_s"], [0.006, 0.005, 0.003, 0], atol=1e-15)
    assert "device_energy_j" not in table
    # a is better than full offloading in all three; b has less work for the server than a.
    assert table["pareto"].tolist() == [False, True, True, True]


def test_energy_by_hand():
    table = tradeoffs(tiny_study(link=Link(0.004)), 1, 1e5, power=POWER)
    # 5 W · head + 2 W · payload + 1 W · (4 ms + tail): 64 + 10, 50 + 32 + 9, 150 + 51.2 + 7 mJ.
    np.testing.assert_allclose(table["device_energy_j"], [0.074, 0.091, 0.2082, 0.300])
    # Full offloading is on the front now: nobody takes less energy.
    assert table["pareto"].tolist() == [True, True, True, True]


def test_the_scenarios_power_is_used_where_none_is_given():
    study = tiny_study(power=POWER)
    own = tradeoffs(study, 1, 1e5)
    other = tradeoffs(study, 1, 1e5, power=PowerModel(10, 2, 1, "another guess"))
    np.testing.assert_allclose(own["device_energy_j"].iloc[-1], 0.300)
    np.testing.assert_allclose(other["device_energy_j"].iloc[-1], 0.600)


def test_the_front_is_that_of_the_objectives_asked_for():
    table = tradeoffs(tiny_study(), 1, 1e5, objectives=["latency_s", "payload_bytes"])
    assert table["pareto"].tolist() == [False, True, False, True]  # a beats b in both
    one = tradeoffs(tiny_study(), 1, 1e5, objectives=["latency_s"])
    assert one["pareto"].tolist() == [False, True, False, False]


def test_what_does_not_fit_is_on_no_front():
    table = tradeoffs(tiny_study(memory_cap_bytes=500), 1, 1e5)
    assert table["pareto"].tolist() == [True, False, False, False]
    assert table["latency_s"].isna().tolist() == [False, True, True, True]
    assert table["server_s"].isna().tolist() == [False, True, True, True]


@given(POINTS)
def test_no_front_point_is_dominated_and_every_other_one_is_by_a_front_point(points):
    values = np.array(points)
    front = not_dominated(values)

    def dominates(one, other):
        return bool((one <= other).all() and (one < other).any())

    assert front.any()
    best = values[front]
    assert not any(dominates(one, other) for one in values for other in best)
    assert all(any(dominates(one, other) for one in best) for other in values[~front])


@given(POINTS)
def test_equal_points_share_their_fate(points):
    values = np.array(points + points)
    front = not_dominated(values)
    np.testing.assert_array_equal(front[: len(points)], front[len(points) :])
    np.testing.assert_array_equal(front[: len(points)], not_dominated(np.array(points)))


@given(POINTS, st.permutations([0, 1, 2]))
def test_the_order_of_objectives_does_not_matter(points, order):
    values = np.array(points)
    np.testing.assert_array_equal(not_dominated(values), not_dominated(values[:, order]))


@given(st.floats(1e3, 1e9))
def test_the_best_split_is_on_the_front(rate):
    study = tiny_study(power=POWER)
    table = tradeoffs(study, 1, rate).set_index("split")
    best = table["latency_s"].idxmin()
    assert table["latency_s"][study.at(1, rate).split] == pytest.approx(table["latency_s"][best])
    fastest = table[table["latency_s"] == table["latency_s"].min()]
    assert fastest["pareto"].any()


def test_misuse_is_named():
    study = tiny_study()
    with pytest.raises(ValueError, match="Batch size 7 is not on this grid"):
        tradeoffs(study, 7, 1e5)
    with pytest.raises(ValueError, match="Data rate -1 bit/s; give finite rates, 0 for a link"):
        tradeoffs(study, 1, -1)
    with pytest.raises(ValueError, match="Unknown column 'latency'; choose from latency_s"):
        tradeoffs(study, 1, 1e5, objectives=["latency"])
    with pytest.raises(ValueError, match=r"'device_energy_j' needs the device's power; give power"):
        tradeoffs(study, 1, 1e5, objectives=["device_energy_j"])
    with pytest.raises(ValueError, match="objectives is empty"):
        tradeoffs(study, 1, 1e5, objectives=[])
