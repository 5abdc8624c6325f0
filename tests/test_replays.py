"""Traces replayed, against arithmetic by hand and a walk through every step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dscwb
from dscwb.scenario import Link, PowerModel
from dscwb.study.replays import arrived_s
from tests.test_policy import study


def walked_s(trace, start_s, bits):
    """When the bits have arrived, step by step."""
    times, rates = trace.times_s.tolist(), trace.data_rates_bps.tolist()
    ends = [*times[1:], trace.duration_s]
    lap = 0
    while True:
        for begin, end, rate in zip(times, ends, rates, strict=True):
            begin, end = begin + lap * trace.duration_s, end + lap * trace.duration_s
            begin = max(begin, start_s)
            if end <= begin:
                continue
            if rate * (end - begin) >= bits:
                return begin + bits / rate
            bits -= rate * (end - begin)
        lap += 1


# 1 s at 8 bit/s, 1 s down, 1 s at 4 bit/s
TRACE = dscwb.Trace([0, 1, 2], [8, 0, 4], duration_s=3)


@pytest.mark.parametrize(
    ("start_s", "bits", "arrived"),
    [(0, 8, 1), (0, 4, 0.5), (0.5, 8, 3), (1.5, 2, 2.5), (2.5, 4, 3.25), (1.2, 0, 1.2), (3, 8, 4)],
)
def test_payloads_arrive_when_the_rate_has_carried_them(start_s, bits, arrived):
    assert arrived_s(TRACE, np.array(start_s), np.array(bits)) == pytest.approx(arrived)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 2), st.sampled_from([0, 1, 3, 7])), min_size=1, max_size=6),
    st.floats(0, 20),
    st.floats(0.01, 50),
)
def test_arrivals_equal_a_walk_through_the_steps(steps, start_s, bits):
    lengths, rates = zip(*steps, strict=True)
    if not any(rates):
        return
    ends = np.cumsum(lengths)
    trace = dscwb.Trace([0, *ends[:-1]], rates, duration_s=ends[-1])
    found = arrived_s(trace, np.array(start_s), np.array(bits))
    assert found == pytest.approx(walked_s(trace, start_s, bits), abs=1e-9)


def test_nothing_arrives_on_a_link_that_is_always_down():
    trace = dscwb.Trace([0], [0], duration_s=1)
    assert arrived_s(trace, np.zeros(2), np.array([1.0, 0])).tolist() == [np.inf, 0]


def test_a_constant_rate_gives_what_the_study_says():
    found = dscwb.replay(study(), dscwb.Trace([0], [1e5], duration_s=2), deadline_s=0.035)
    costs = dict(zip(study().splits, study().cost_at(1, 1e5)[:, 0], strict=True))
    for name, cost in costs.items():
        np.testing.assert_allclose(found.latencies_s[name], cost)
    # By hand: 0.038 full offloading, 0.031 after a, 0.060 on the device.
    assert set(found.splits["oracle"]) == set(found.splits["controller"]) == {"a"}
    table = found.table()
    assert table["late"]["a"] == 0
    assert table["late"]["full offloading"] == 1
    assert table["regret"]["no offloading"] == pytest.approx(0.060 / 0.031 - 1)


def test_the_controller_follows_a_rate_that_drops_and_no_fixed_split_does():
    """10 s at 1 Mbit/s, full offloading in 0.0092 s, and 10 s at 10 kbit/s, in 0.326 s."""
    trace = dscwb.Trace([0, 10], [1e6, 1e4], duration_s=20)
    found = dscwb.replay(study(), trace, every_s=0.2, timeout_s=5)
    table = found.table()
    assert table.index[0] == "oracle"
    means = table["mean_s"]
    fixed = min(means[name] for name in study().splits)
    assert means["oracle"] <= means["controller"] < fixed
    early, late = found.splits["controller"][:40], found.splits["controller"][60:]
    assert set(early) == {"full offloading"}
    assert (late == "no offloading").mean() > 0.7
    assert (found.latencies_s["oracle"] <= found.latencies_s.min(axis=1) + 1e-12).all()


def test_where_no_answer_comes_the_device_ends_after_the_timeout():
    """After a: 0.010 s of head, 2 s of waiting, 0.050 s for the rest."""
    found = dscwb.replay(study(), dscwb.Trace([0], [0], duration_s=1), timeout_s=2)
    np.testing.assert_allclose(found.latencies_s["a"], 2.06)
    np.testing.assert_allclose(found.latencies_s["no offloading"], 0.06)


def test_load_and_round_trip_over_time_count():
    """After a at 0.1 Mbit/s: 0.010 + 0.016 + 0.005 L, and the trace's own round trip."""
    trace = dscwb.Trace([0, 1], [1e5, 1e5], duration_s=2, round_trips_s=[0.001, 0.003])
    found = dscwb.replay(
        study(link=Link(round_trip_s=0.5)),
        trace,
        every_s=1.0,
        server_load=lambda times: 1 + times,
    )
    np.testing.assert_allclose(found.latencies_s["a"], [0.032, 0.039])


def test_the_record_says_how_the_strategies_fared():
    lines = repr(dscwb.replay(study(), TRACE)).splitlines()
    assert len(lines) <= 6
    assert lines[0].startswith("oracle: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"every_s": 0}, "every_s is 0"),
        ({"timeout_s": -1}, "timeout_s is -1"),
        ({"batch_size": 3}, "3"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dscwb.replay(study(), TRACE, **changes)


def test_energy_has_no_replay():
    power = PowerModel(5, 2, 1, "made up")
    with pytest.raises(ValueError, match="objective is energy"):
        dscwb.replay(study(objective="energy", power=power), TRACE)
