"""Traces replayed, against arithmetic by hand and a walk through every step."""

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dscwb
from dscwb.scenario import Link, PowerModel
from dscwb.study import playing, replays
from dscwb.study.sending import Carrier
from tests.test_controller import Seen
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
    [(0, 8, 1), (0, 4, 0.5), (0.5, 8, 3), (1.5, 2, 2.5), (2.5, 4, 3.25), (3, 8, 4)],
)
def test_payloads_arrive_when_the_rate_has_carried_them(start_s, bits, arrived):
    carrier = Carrier(TRACE)
    assert start_s + carrier.sending_s(np.array([start_s, start_s]), bits) == pytest.approx(arrived)
    assert start_s + carrier.sent(start_s, bits) == pytest.approx(arrived)


STEPS = st.lists(
    st.tuples(st.floats(0.1, 2), st.sampled_from([0, 1, 3, 7])), min_size=1, max_size=6
).filter(lambda steps: any(rate for _, rate in steps))


def trace_of(steps, scale=1.0, **fields):
    lengths, rates = zip(*steps, strict=True)
    ends = np.cumsum(lengths)
    return dscwb.Trace([0, *ends[:-1]], np.array(rates) * scale, duration_s=ends[-1], **fields)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(st.floats(0, 20), min_size=1).map(sorted), st.floats(0.01, 50))
def test_arrivals_equal_a_walk_through_the_steps(steps, starts_s, bits):
    trace = trace_of(steps)
    carrier = Carrier(trace)
    found = carrier.sending_s(np.array(starts_s), bits)
    walked = [walked_s(trace, start_s, bits) - start_s for start_s in starts_s]
    assert found == pytest.approx(walked, abs=1e-9)
    assert found.tolist() == [carrier.sent(start_s, bits) for start_s in starts_s]


def test_nothing_arrives_on_a_link_that_is_always_down():
    carrier = Carrier(dscwb.Trace([0], [0], duration_s=1))
    assert carrier.sending_s(np.zeros(2), 1.0).tolist() == [np.inf, np.inf]
    assert carrier.sent(0.0, 1.0) == np.inf


# The controller, asked at each request or only where something changes


POWER = PowerModel(5, 2, 1, "made up")  # W: computing, sending, waiting
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "window": st.integers(1, 8),
        "weight": st.sampled_from([0.3, 0.5, 1.0]),
        "estimate": st.sampled_from(["mean", "quantile"]),
        "hysteresis": st.sampled_from([0.0, 0.05, 0.3]),
        "dwell_s": st.sampled_from([0.0, 0.5, 3.0]),
        "retry_s": st.sampled_from([0.05, 0.3, 1.0]),
        "round_trip_s": st.sampled_from([0.0, 0.01]),
    },
)


def asked_always(controller, clock, requests, bits):
    """What it takes, asked for each request, and told of each answer when it comes."""
    every = slice(0, len(requests.times_s))
    took = {
        name: [
            one.tolist() for one in (requests.values(i, every, False), *requests.parts_s(i, every))
        ]
        for i, name in enumerate(requests.names)
        if bits[i]
    }
    taken, under_way = [], []
    for k, now_s in enumerate(requests.times_s.tolist()):
        for one in sorted(one for one in under_way if one[0] <= now_s):
            under_way.remove(one)
            clock.now_s = one[0]
            controller.observe(1, one[2])
        clock.now_s = now_s
        name = controller.choose(1)
        taken.append(requests.names.index(name))
        if name in took:
            latency_s, fixed_s, sending_s, tail_s = (one[k] for one in took[name])
            link_s = fixed_s + sending_s
            why = "too late" if link_s + tail_s > requests.timeout_s else ""
            sent = int(bits[taken[-1]] / 8)
            under_way.append((now_s + latency_s, k, Seen(name, why, sent, link_s, 0.0, tail_s)))
    return taken


RATES = st.sampled_from([0, 2e3, 3e4, 3.6e4, 1e5, 1.7e5, 3e5, 1e6, 1e7])


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.lists(st.tuples(st.floats(0.1, 2), RATES), min_size=1, max_size=8),
        st.lists(st.tuples(st.floats(0.01, 0.1), st.floats(1e4, 1e6)), min_size=9, max_size=50),
    ),
    st.lists(st.integers(1, 90), min_size=3, max_size=3),
    st.booleans(),
    OPTIONS,
    st.sampled_from([0.003, 0.01, 0.1, 0.37]),
    st.sampled_from([0.05, 0.5, 5.0]),
    st.sampled_from([1.0, 5.0, lambda times: 1 + np.floor(times) % 3, lambda times: 1 + times % 1]),
    st.booleans(),
    st.sampled_from([(1 << 15, 1 << 16, 24), (300, 100, 2), (100, 10, 0)]),
)
def test_asking_only_where_something_may_change_gives_what_asking_always_gives(
    steps, layers_ms, joules, options, every_s, timeout_s, server_load, own_trips, sizes
):
    trips = {"round_trips_s": np.arange(len(steps)) % 2 * 0.004} if own_trips else {}
    trace = trace_of(steps, **trips)
    objective = {"objective": "energy", "power": POWER} if joules else {}
    of = study({1: [one * 1_000_000 for one in layers_ms]}, **objective)
    requests = playing.Requests.of(of, 0, trace, every_s, timeout_s, server_load)
    found = []
    stretch, most, rest = sizes
    for jump in (None, False, True):
        clock = playing.Clock()
        own = dscwb.Controller(of.policy(), data_rate_bps=1e5, clock=clock, **options)
        with mock.patch.multiple(playing, STRETCH=stretch, MOST=most, REST=rest):
            if jump is None:
                taken = asked_always(own, clock, requests, of.lines.bits[0])
            else:
                taken = playing.played(own, clock, requests, 1, jump=jump).tolist()
        estimates = own.data_rate_bps, own.round_trip_s, own.server_load
        found.append((taken, own.switches, estimates))
    assert found[0] == found[1] == found[2]


def test_few_questions_decide_for_many_requests():
    """100 s at two rates, a request every 10 ms: each change is learnt in a window or so."""
    trace = dscwb.Trace([0, 50], [1e5, 1e6], duration_s=100)
    of, clock = study(), playing.Clock()
    requests = playing.Requests.of(of, 0, trace, 0.01, 5.0, 1.0)
    own = dscwb.Controller(of.policy(), data_rate_bps=1e5, clock=clock)
    asked, choose = [], own.choose
    own.choose = lambda size: asked.append(clock.now_s) or choose(size)
    taken = playing.played(own, clock, requests, 1)
    assert (len(taken), own.switches) == (10_000, 1)
    assert len(asked) < 150


def test_a_controller_knows_only_what_has_been_answered():
    """From 1 s on full offloading, 0.0092 s, takes 0.326 s: before 1.326 s nobody can tell."""
    trace = dscwb.Trace([0, 1], [1e6, 1e4], duration_s=3)
    found = dscwb.replay(study(), trace, {"own": {}}, every_s=0.02)
    (changed,) = np.flatnonzero(np.diff(found.taken["own"][:80]))
    assert found.times_s[changed] < 1.326 < found.times_s[changed + 1]


@settings(max_examples=50, deadline=None)
@given(STEPS, st.sampled_from([0.05, 0.5]))
def test_the_oracle_is_the_least_of_all_splits_and_latencies_are_those_of_single_requests(
    steps, timeout_s
):
    trace, of = trace_of(steps, scale=3e4), study()
    found = dscwb.replay(of, trace, every_s=0.03, timeout_s=timeout_s)
    fixed = np.stack([found.latencies_s[name] for name in of.splits])
    assert (found.latencies_s["oracle"] == fixed.min(axis=0)).all()
    for i in range(len(of.splits)):
        bits, head_s = of.lines.bits[0, i], of.lines.head_s[0, i]
        for start_s, latency_s in zip(found.times_s.tolist(), fixed[i].tolist(), strict=True):
            sending_s = Carrier(trace).sent(start_s + head_s, bits) if bits else 0.0
            waits_s = sending_s + of.lines.tail_s[0, i]
            single_s = head_s + waits_s if waits_s <= timeout_s else timeout_s + 0.06
            assert latency_s == pytest.approx(single_s, rel=1e-12)
    rows = np.array(of.splits)[found.taken["controller"]]
    assert found.splits["controller"].tolist() == rows.tolist()
    of_controller = [fixed[i, k] for k, i in enumerate(found.taken["controller"])]
    assert found.latencies_s["controller"].tolist() == of_controller


def test_more_requests_than_are_computed_at_a_time(monkeypatch):
    trace = trace_of([(0.7, 1), (0.6, 0), (0.9, 7)], scale=3e4)
    whole = dscwb.replay(study(), trace, every_s=0.01)
    monkeypatch.setattr(replays, "CHUNK", 7)
    parts = dscwb.replay(study(), trace, every_s=0.01)
    for name in whole.strategies:
        np.testing.assert_array_equal(whole.latencies_s[name], parts.latencies_s[name])
    assert whole.table().equals(parts.table())


def test_the_table_says_what_pandas_says_of_the_latencies():
    trace = trace_of([(0.7, 1), (0.6, 0), (0.9, 7)], scale=3e4)
    found = dscwb.replay(study(), trace, every_s=0.01)
    table = found.table()
    for name in found.strategies:
        seconds, splits = pd.Series(found.latencies_s[name]), found.splits[name]
        told = table.loc[name]
        assert told.mean_s == pytest.approx(seconds.mean())
        quantiles = [told[f"p{q}_s"] for q in (50, 90, 99)]
        assert quantiles == pytest.approx(seconds.quantile([0.5, 0.9, 0.99]).tolist())
        assert told.late == (seconds > 0.1).mean()
        assert told.switches == (splits != splits.shift()).sum() - 1


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
    splits = found.splits["controller"]
    early, late = splits[:40], splits[60:]
    assert set(early) == {"full offloading"}
    assert (late == "no offloading").mean() > 0.7


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


def test_a_controller_has_a_name_of_its_own():
    with pytest.raises(ValueError, match="'oracle', as another strategy; rename it"):
        dscwb.replay(study(), TRACE, {"oracle": {}})


# In joules: 5 W computing, 2 W sending, 1 W waiting


def test_joules_at_a_constant_rate_are_those_of_the_study():
    of = study(objective="energy", power=POWER, link=Link(round_trip_s=0.004))
    found = dscwb.replay(of, dscwb.Trace([0], [1e5], duration_s=5), deadline_s=0.04)
    for name, cost in zip(of.splits, of.cost_at(1, 1e5)[:, 0], strict=True):
        np.testing.assert_allclose(found.costs[name], cost)
    table = found.table()
    # After a: 0.010 s of 5 W, 0.016 s of 2 W, 0.004 and 0.005 s of 1 W.
    assert table["mean_j"]["a"] == pytest.approx(0.05 + 0.032 + 0.009)
    # Full offloading: 0.032 s of 2 W, 0.004 and 0.006 s of 1 W; 0.042 s in all.
    assert table["mean_j"]["full offloading"] == pytest.approx(0.074)
    assert table["late"]["full offloading"] == 1
    assert table["late"]["a"] == 0
    assert set(found.splits["controller"]) == {"full offloading"}
    assert "74 mJ" in repr(found) or "0.074 J" in repr(found)


def test_joules_without_an_answer_count_sending_waiting_and_the_whole_model():
    """After a no bit arrives in 2 s of sending; then the device computes for 0.060 s in all."""
    of = study(objective="energy", power=POWER)
    found = dscwb.replay(of, dscwb.Trace([0], [0], duration_s=1), timeout_s=2)
    np.testing.assert_allclose(found.costs["a"], 2 * 2 + 5 * 0.06)
    np.testing.assert_allclose(found.costs["no offloading"], 5 * 0.06)
    np.testing.assert_allclose(found.latencies_s["a"], 2.06)


def test_a_controller_for_joules_knows_the_load_from_seconds():
    of = study(objective="energy", power=POWER)
    trace = dscwb.Trace([0], [1e6], duration_s=5)
    requests = playing.Requests.of(of, 0, trace, 0.1, 5.0, 3.0)
    clock = playing.Clock()
    own = dscwb.Controller(of.policy(), data_rate_bps=1e6, clock=clock)
    playing.played(own, clock, requests, 1)
    assert own.server_load == pytest.approx(3)
