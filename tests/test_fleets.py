"""Fleets, against queueing formulas, arithmetic by hand and a linear programme.

Times of `study()` are told in tests/test_controller.py: full offloading takes 0.006 s on the server
and 3200 bits, no offloading 0.060 s on the device.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import dscwb
from dscwb import Arrivals
from dscwb.fleets import bound
from dscwb.fleets.engine import Clock, Device, Split, simulate
from dscwb.fleets.histogram import RELATIVE_ERROR, Histogram
from dscwb.fleets.pools import Servers
from dscwb.study.sending import Carrier
from tests.arrivals import at_times, evenly, poisson
from tests.test_policy import study

FAST = dscwb.Trace([0], [1e12], duration_s=100)


def kind(number=1, arrivals=None, traces=FAST, name="made up", **fields):
    return dscwb.Devices(name, study(), number, traces, arrivals or poisson(100.0), **fields)


def mean_s(found, strategy="full offloading"):
    return found.table().loc[(strategy, "all"), "mean_s"]


# The queue


def within_interval(means, expected):
    """Whether the expected mean lies in the 99.9 % interval of these independent ones."""
    half = 4.6 * np.std(means, ddof=1) / math.sqrt(len(means))  # Student's t of 10 runs
    return abs(np.mean(means) - expected) < half < 0.05 * expected


def test_one_worker_gives_what_the_formula_of_m_d_1_says():
    """Tails of D = 6 ms, 100 a second: D + rho D / (2 (1 - rho)) = 10.5 ms with rho = 0.6."""
    options = {"duration_s": 300, "warm_up_s": 5, "strategies": ["full offloading"]}
    runs = [dscwb.fleet([kind()], seed=seed, **options) for seed in range(10)]
    assert within_interval([mean_s(one) for one in runs], 0.0105)
    assert runs[0].utilisation["full offloading"] == pytest.approx(0.6, rel=0.03)


def test_many_devices_are_one_stream_of_requests():
    options = {"duration_s": 300, "warm_up_s": 5, "strategies": ["full offloading"]}
    many = [dscwb.fleet([kind(50, poisson(2.0))], seed=s, **options) for s in range(10)]
    assert within_interval([mean_s(one) for one in many], 0.0105)


class Drawn(dict):
    """A split whose tail is drawn anew each time."""

    def __init__(self, rng, mean_s):
        self.rng, self.mean_s = rng, mean_s

    def __getitem__(self, name):
        return Split(name, 0.0, 1.0, 0.0, self.rng.exponential(self.mean_s))


def test_several_workers_give_what_erlangs_formula_says():
    """M/M/3 with tails of 20 ms in the mean and 120 a second: a = 2.4, rho = 0.8."""
    a, c, tail_s = 2.4, 3, 0.02
    last = a**c / math.factorial(c) / (1 - a / c)
    waits = last / (sum(a**k / math.factorial(k) for k in range(c)) + last)
    expected = tail_s + waits * tail_s / (c - a)
    means = []
    for seed in range(10):
        clock, rng = Clock(), np.random.default_rng([seed, 1])
        coming = poisson(120.0).until(400, [seed])
        device = Device(0, Drawn(rng, tail_s), Carrier(FAST), 0.0, coming, lambda: "x", None, 1)
        run = simulate(
            [device],
            clock,
            [Servers(workers=c)],
            kinds=1,
            duration_s=400,
            deadline_s=0.1,
            warm_up_s=5,
        )
        means.append(run.latencies[0].mean_s)
    assert within_interval(means, expected)


@pytest.mark.parametrize(
    ("discipline", "latencies_s"),
    [("first come", [1, 4, 5]), ("shortest first", [1, 2, 5]), ("shared", [3, 3, 5])],
)
def test_the_discipline_says_which_tail_is_next(discipline, latencies_s):
    """At once come tails of 1 s, 3 s and 1 s, one worker; links take no time."""
    clock = Clock()
    tails = {"first": 1.0, "long": 3.0, "short": 1.0}
    devices = [
        Device(
            k,
            {name: Split(name, 0.0, 1e-9, 0.0, tail)},
            Carrier(FAST),
            0.0,
            iter([0.0]),
            lambda name=name: name,
            None,
            1,
        )
        for k, (name, tail) in enumerate(tails.items())
    ]
    run = simulate(
        devices,
        clock,
        [Servers(discipline=discipline)],
        kinds=3,
        duration_s=1,
        deadline_s=1.5,
    )
    assert sorted(one.mean_s for one in run.latencies) == pytest.approx(latencies_s)
    assert sum(run.late) == sum(one > 1.5 for one in latencies_s)
    assert run.busy_s[0] == pytest.approx([1, 4])


def test_processor_and_link_of_a_device_serve_one_request_after_the_other():
    """After a, at 16 kbit/s: 0.010 s of head, 0.1 s of link, 0.005 s of tail, every 0.05 s."""
    slow = dscwb.Trace([0], [1.6e4], duration_s=10)
    found = dscwb.fleet([kind(1, at_times([0.0, 0.05, 0.1]), slow)], duration_s=1, strategies=["a"])
    # Links are free at 0.11, 0.21 and 0.31 s: 0.115, 0.165 and 0.215 s.
    assert mean_s(found, "a") == pytest.approx(0.165)
    alone = dscwb.fleet(
        [kind(1, at_times([0.0, 0.05]))], duration_s=1, strategies=["no offloading"]
    )
    assert mean_s(alone, "no offloading") == pytest.approx((0.06 + 0.07) / 2)


def test_a_shared_worker_gives_what_the_formula_of_processor_sharing_says():
    """D / (1 - rho) = 15 ms, whatever the distribution of the tails."""
    options = {"duration_s": 300, "warm_up_s": 5, "strategies": ["full offloading"]}
    runs = [dscwb.fleet([kind()], discipline="shared", seed=s, **options) for s in range(10)]
    assert within_interval([mean_s(one) for one in runs], 0.015)


AT_ONCE = {"duration_s": 1, "strategies": ["full offloading"], "bins": 1}


def test_who_gets_no_answer_in_time_finishes_alone_and_the_server_works_on():
    """Answers would come after 6, 12 and 18 ms; two devices begin anew after 10 ms."""
    found = dscwb.fleet([kind(3, at_times([0.0]), timeout_s=0.01)], **AT_ONCE)
    assert mean_s(found) == pytest.approx((0.006 + 0.07 + 0.07) / 3)
    assert found.table()["fell_back"].tolist() == pytest.approx([2 / 3] * 2)
    assert found.runs["full offloading"].busy_s[0] == pytest.approx([0.018, 0])


@pytest.mark.parametrize("discipline", ["first come", "shortest first", "shared"])
def test_who_finds_too_many_waiting_finishes_alone_at_once(discipline):
    """One tail of 6 ms is worked at, one waits (or both are worked at); the third takes 60 ms."""
    pool = dscwb.Servers(discipline=discipline, waiting=1)
    found = dscwb.fleet([kind(3, at_times([0.0]))], servers=[pool], **AT_ONCE)
    second_s, first_s = 0.012, 0.012 if discipline == "shared" else 0.006
    assert mean_s(found) == pytest.approx((first_s + second_s + 0.06) / 3)
    assert sum(found.runs["full offloading"].busy_s[0]) == pytest.approx(0.012)


def test_a_device_goes_on_while_it_waits_or_does_one_thing_at_a_time():
    """Two requests at once: heads of 10 ms, tails of 5 ms."""
    for one_at_a_time, answers_s in ((False, (0.015, 0.025)), (True, (0.015, 0.03))):
        one = kind(1, at_times([0.0, 0.0]), one_at_a_time=one_at_a_time)
        found = dscwb.fleet([one], duration_s=1, strategies=["a"])
        assert mean_s(found, "a") == pytest.approx(sum(answers_s) / 2)


def test_what_came_back_is_finished_before_what_waits():
    """Tail of 3 s, given up at 1 s while the second head runs (0.5 s to 1.5 s), rests of 2 s."""
    clock = Clock()
    split = Split("a", 0.5, 1e-9, 0.0, 30.0, rest_s=2.0)
    coming = iter([0.0, 0.0, 0.0])
    device = Device(
        0, {"a": split}, Carrier(FAST), 0.0, coming, lambda: "a", None, 1, timeout_s=0.7
    )
    run = simulate([device], clock, [Servers()], kinds=1, duration_s=1, deadline_s=1)
    # Heads end at 0.5 and 1; the third has begun when the first is given up at 1.2, ends at 1.5.
    # Then the rests, in the order in which they were given up (1.2, 1.7, 2.2): 3.5, 5.5 and 7.5.
    assert run.latencies[0].total_s == pytest.approx(3.5 + 5.5 + 7.5)


class Told:
    """A controller that keeps what it is told."""

    def __init__(self):
        self.answers = []

    def observe(self, batch_size, answer):
        self.answers.append((answer, answer.why))


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 0.99), min_size=1, max_size=8),
            st.sampled_from([0.05, 0.3, math.inf]),
            st.booleans(),
            st.sampled_from([0, 1]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["first come", "shortest first", "shared"]),
    st.sampled_from([0, 2, math.inf]),
)
def test_every_request_is_answered_once_by_a_server_or_its_device(given_devices, how, waiting):
    clock, devices = Clock(), []
    splits = {"far": Split("far", 0.02, 4e3, 0.01, 0.1, 0.2), "here": Split("here", 0.2, 0, 0, 0)}
    carrier = Carrier(dscwb.Trace([0, 0.5], [1e5, 1e4], duration_s=1))
    for times_s, timeout_s, one_at_a_time, pool in given_devices:
        turns = itertools.cycle(["far", "far", "here"])
        coming = iter(sorted(times_s))
        more = {"pool": pool, "timeout_s": timeout_s, "one_at_a_time": one_at_a_time}
        choose = turns.__next__
        devices.append(Device(0, splits, carrier, 0.0, coming, choose, Told(), 1, **more))
    pools = [Servers("a", 1, how, waiting), Servers("b", 2, how)]
    run = simulate(devices, clock, pools, kinds=1, duration_s=1, deadline_s=1, bins=4)
    for device, (times_s, *_) in zip(devices, given_devices, strict=True):
        requests = [request for request, _ in device.controller.answers]
        assert len(set(map(id, requests))) == len(requests) == len(times_s)
        assert sorted(request.begun_s for request in requests) == sorted(times_s)
        assert not device.busy
        assert not device.awaits
    told = [one for device in devices for one in device.controller.answers]
    assert all(request.why == why for request, why in told)  # nothing came later
    assert run.fell_back == [sum(bool(why) for _, why in told)]
    assert sum(map(sum, run.taken[0].values())) == run.latencies[0].count == len(told)
    whys = [why for one, why in told if one.split == "far"]
    done = sum(map(sum, run.busy_s)) / 0.1
    assert whys.count("") - 1e-6 < done < sum("too many" not in why for why in whys) + 1e-6
    if waiting == math.inf:  # who gave up may be refused, too, else
        assert done == pytest.approx(len(whys))


def test_each_pool_is_loaded_by_its_own_devices_alone():
    """Tails of 6 ms: 200 a second are too many for one worker, 100 are 60 % of one of two."""
    many = kind(1, poisson(200.0), name="many", servers="small")
    few = kind(1, evenly(0.01), name="few", servers="large")
    pools = [dscwb.Servers("small"), dscwb.Servers("large", workers=2)]
    found = dscwb.fleet(
        [few, many], servers=pools, duration_s=10, strategies=["full offloading", "no offloading"]
    )
    table = found.table().loc["full offloading"]
    assert table.loc["few", "mean_s"] == pytest.approx(0.006)
    assert table.loc["many", "mean_s"] > 0.1
    assert table.loc["many", "utilisation"] > 0.99
    assert found.over_time("full offloading").loc["few", "utilisation"].to_numpy() == pytest.approx(
        0.3, rel=0.1
    )
    own = {"duration_s": 1, "strategies": ["no offloading"]}
    bounds_s = [dscwb.fleet([one], servers=pools, **own).bound_s for one in (few, many)]
    assert found.bound_s == pytest.approx((bounds_s[0] + 2 * bounds_s[1]) / 3)


def test_what_happens_when_is_told_by_bins():
    """Two requests in the first half second, one in the last; tails of 6 ms."""
    one = kind(1, at_times([0.1, 0.4999999, 0.6]))
    found = dscwb.fleet([one], duration_s=1, strategies=["full offloading"], bins=2)
    table = found.over_time("full offloading")
    assert table.loc["all"].equals(table.loc["made up"])
    assert table.loc["all"].index.tolist() == [0, 0.5]
    assert table["requests"].tolist() == [2, 1] * 2
    assert table["mean_s"].to_numpy() == pytest.approx(0.006)
    assert table["utilisation"].tolist()[:2] == pytest.approx([0.0120, 0.024], abs=1e-6)
    assert table["full offloading"].tolist() == [1, 1] * 2
    empty = dscwb.fleet([one], duration_s=1, strategies=["full offloading"], bins=4)
    assert empty.over_time("full offloading").loc["all", "mean_s"].isna().tolist() == [
        False,
        False,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="'x' was not run; choose one of full offloading"):
        found.over_time("x")


# Strategies


def test_the_same_seed_gives_the_same_fleet_and_another_one_another():
    def told(seed):
        trace = dscwb.Trace(np.arange(20), np.geomspace(1e4, 1e6, 20), duration_s=20)
        one = kind(5, poisson(3.0), trace)
        return dscwb.fleet([one], duration_s=30, seed=seed).table()

    assert told(1).equals(told(1))
    assert not told(1).equals(told(2))


SLOW, FAST_ENOUGH = (dscwb.Trace([0], [bps], duration_s=10) for bps in (1e5, 3.2e5))


def test_devices_take_the_traces_of_a_list_in_turn():
    """Full offloading sends 3200 bits: 32 or 10 ms, and 6 ms at a server of its own."""
    options = {"duration_s": 20, "workers": 6, "strategies": ["full offloading"]}
    both = dscwb.fleet([kind(6, evenly(1.0), [SLOW, FAST_ENOUGH])], **options)
    assert mean_s(both) == pytest.approx((0.038 + 0.016) / 2)
    assert both.table().loc[("full offloading", "all"), "p99_s"] == pytest.approx(0.038, rel=0.006)
    parts = [kind(3, evenly(1.0), one, name) for one, name in ((SLOW, "a"), (FAST_ENOUGH, "b"))]
    assert both.bound_s == pytest.approx(dscwb.fleet(parts, **options).bound_s)


def test_a_device_alone_has_another_of_the_traces_with_another_seed():
    def took(seed):
        one = kind(1, evenly(1.0), [SLOW, FAST_ENOUGH])
        return mean_s(dscwb.fleet([one], duration_s=5, seed=seed, strategies=["full offloading"]))

    assert {round(took(seed), 6) for seed in range(8)} == {0.038, 0.016}


def test_the_best_static_split_may_wait_for_a_link_that_comes_back():
    """Down for 1 s in 100, full offloading takes 9.2 + 5 ms in the mean; staying local 60 ms."""
    trace = dscwb.Trace([0, 1], [0, 1e6], duration_s=100)
    best = dscwb.fleet([kind(1, poisson(1.0), trace)], duration_s=9, strategies=["best static"])
    assert list(best.shares["best static"].columns) == ["full offloading"]


def test_who_is_selfish_leaves_a_server_that_all_share():
    """40 devices, 5 a second each: 1.2 s of tails a second. Half of them must stay at home."""
    found = dscwb.fleet([kind(40, poisson(5.0))], duration_s=60, deadline_s=0.07)
    table = found.table()["mean_s"].xs("all", level="devices")
    assert table["full offloading"] > 1
    assert table["no offloading"] == pytest.approx(0.07, rel=0.1)
    assert table["selfish"] < table["no offloading"]
    assert 0.2 < found.shares["selfish"].loc["made up", "no offloading"] < 0.9
    assert found.bound_s <= table.min()
    assert found.switches["selfish"] > 40
    assert 0.9 < found.fairness["no offloading"] <= 1
    assert found.utilisation["no offloading"] == 0
    assert repr(found).startswith("lower bound: ")


def test_where_no_request_is_counted_it_says_so_and_nothing_is_made_up():
    """Nothing comes to the first kind, one request to the second: 6 ms, in the first half."""
    none, one = kind(2, at_times([50.0]), name="none"), kind(1, at_times([0.1]), name="one")
    found = dscwb.fleet([none, one], **AT_ONCE)
    table = found.table().loc["full offloading"]
    assert table["requests"].to_dict() == {"all": 1, "none": 0, "one": 1}
    told = table.loc["none", ["mean_s", "p50_s", "p99_s", "late", "fell_back"]]
    assert told.isna().all()
    assert found.shares["full offloading"]["full offloading"].isna().to_dict() == {
        "none": True,
        "one": False,
    }
    empty = dscwb.fleet([none], **AT_ONCE)
    assert math.isnan(empty.fairness["full offloading"])
    assert empty.utilisation == {"full offloading": 0}
    assert math.isnan(empty.bound_s)
    assert empty.table().loc[("full offloading", "all"), "utilisation"] == 0
    assert empty.over_time("full offloading")["requests"].tolist() == [0, 0]
    assert "full offloading: no request was counted" in repr(empty)


@pytest.mark.parametrize("workers", [1, 2, 10])
def test_the_bound_is_the_value_of_the_linear_programme(workers, monkeypatch):
    """The least mean over shares of splits at each place of the trace, with the workers' time."""
    monkeypatch.setattr(bound, "PLACES", 12)
    trace = dscwb.Trace([0, 1, 2], [2e4, 1e6, 2e5], duration_s=3)
    ours = kind(60, poisson(5.0), trace)
    splits, carrier, total_hz = ours.splits(), Carrier(trace), 300.0
    starts_s = (np.arange(12) + 0.5) / 4
    costs, tails = [], []
    for start_s, one in itertools.product(starts_s, splits.values()):
        sent = carrier.sent(start_s + one.head_s, one.bits) if one.bits else 0.0
        costs.append(one.head_s + sent + one.tail_s)
        tails.append(one.tail_s)
    shares = np.kron(np.eye(12), np.ones(len(splits)))
    found = linprog(
        np.array(costs) / 12,
        A_ub=[np.array(tails) / 12 * total_hz],
        b_ub=[workers],
        A_eq=shares,
        b_eq=np.ones(12),
    )
    told = bound.least_mean_s([(total_hz, splits, carrier)], workers)
    assert told == pytest.approx(found.fun, rel=1e-4)
    assert told <= found.fun * (1 + 1e-9)


def test_the_bound_is_below_what_happens_also_where_requests_come_at_given_times():
    """One a second is nothing for a worker, and three at once would be too much for ever."""
    found = dscwb.fleet([kind(3, at_times([0.0]))], duration_s=1, strategies=["full offloading"])
    assert found.bound_s == pytest.approx(0.006)
    few = [kind(1, evenly(0.1)), kind(2, at_times([0.0]), traces=SLOW, name="b")]
    weighed = dscwb.fleet(few, duration_s=1, strategies=["selfish"]).bound_s
    assert weighed == pytest.approx((10 * 0.006 + 2 * 0.031) / 12)  # after a: 10 + 16 + 5 ms


def test_round_trips_of_a_trace_count():
    """5 or 15 ms in turn, 6 ms of tail: 16 ms in the mean, as a replay says; the least bounds."""
    trips = np.array([0.005, 0.015])
    trace = dscwb.Trace([0, 1], [1e12, 1e12], duration_s=2, round_trips_s=trips)
    asked = {"duration_s": 20, "strategies": ["full offloading", "best static"], "workers": 9}
    plain = kind(8, evenly(0.01), trace)
    distant = replace(plain, study=study(link=dscwb.Link(round_trip_s=0.5)))
    played = dscwb.replay(study(), trace, every_s=0.01, deadline_s=0.02)
    for own in (plain, distant):
        found = dscwb.fleet([own], **asked)
        assert mean_s(found) == pytest.approx(played.table().loc["full offloading", "mean_s"])
        assert mean_s(found) == pytest.approx(0.016)
        assert list(found.shares["best static"].columns) == ["full offloading"]
        assert found.bound_s == pytest.approx(0.011)
    known = dscwb.fleet([replace(distant, traces=FAST)], **asked)
    assert mean_s(known) == pytest.approx(0.506)


def test_a_fleet_is_told_by_the_names_of_its_strategies():
    found = dscwb.fleet([kind()], duration_s=1, strategies=["selfish", "best static", "a"])
    assert list(found.summary()) == ["lower bound", "selfish", "best static", "after a"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"duration_s": 0}, "duration_s is 0"),
        ({"deadline_s": 0}, "deadline_s is 0; give seconds above zero"),
        ({"warm_up_s": math.nan}, "warm_up_s is nan"),
        ({"seed": -1}, "seed is -1; give a whole number, zero at least"),
        ({"strategies": "selfish"}, r"strategies is 'selfish'; give a list, such as \['selfish'\]"),
        ({"strategies": []}, r"strategies is \[\]; give a list"),
        ({"discipline": "random"}, "choose 'first come', 'shortest first' or 'shared'"),
        ({"strategies": ["nobody"]}, "'nobody' is no strategy of 'made up'; choose 'selfish'"),
        ({"bins": 0}, "bins is 0"),
        ({"workers": 1.5}, "workers is 1.5 and waiting inf; give a whole number"),
        ({"warm_up_s": 1}, "warm_up_s is 1; give 0 or more seconds, but fewer than the 1 in which"),
        ({"workers": 2, "servers": [Servers()]}, "say workers and discipline of each"),
        ({"servers": [Servers(), Servers()]}, "give each another"),
        ({"devices": [kind(), kind()]}, "made up, made up; give each kind another name"),
        ({"devices": [kind(servers="x")]}, "to use 'x'; choose one of servers"),
        ({"devices": [kind(timeout_s=0)]}, "timeout_s is 0"),
        ({"devices": []}, "devices is empty; give one kind at least"),
        ({"devices": kind()}, "devices is one kind, 'made up'; give a list"),
        ({"devices": [kind(0)]}, "number of 'made up' is 0; give a whole number, one at least"),
        ({"devices": [kind(2.5)]}, "number of 'made up' is 2.5"),
        ({"devices": [kind(traces=dscwb.Trace([0], [0], 1))]}, "always down"),
        ({"devices": [kind(traces=[FAST, dscwb.Trace([0], [0], 1)])]}, r"always down in traces\[1"),
        ({"devices": [kind(traces=[])]}, "traces of 'made up' is empty; give one"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    given = {"devices": [kind()], "duration_s": 1} | changes
    with pytest.raises(ValueError, match=words):
        dscwb.fleet(**given)


def test_a_file_in_place_of_a_trace_is_refused():
    with pytest.raises(ValueError, match=r"'lte.csv', which is no trace; give dscwb.load_trace"):
        kind(traces=["lte.csv"])


# Arrivals and quantiles


def test_requests_come_evenly_by_chance_or_at_given_times():
    for number in range(3):
        even = list(evenly(0.5).until(40, [number]))
        assert len(even) == 80
        assert 0 <= even[0] < 0.5
        assert np.diff(even) == pytest.approx(0.5)
    assert len({next(evenly(0.5).until(40, [0, 0, number, 0])) for number in range(9)}) == 9
    assert list(at_times([0.1, 0.1, 3]).until(2, [0])) == [0.1, 0.1]
    times = np.array(list(poisson(50.0).until(200, [7])))
    assert len(times) == pytest.approx(10_000, abs=4 * 100)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert Arrivals(1, times_s=np.array([0.1, 2])).times_s == (0.1, 2)
    for wrong, words in (
        (lambda: poisson(0), "rate_hz is 0"),
        (lambda: Arrivals(1, times_s=(2, 1)), "holds 1 after 2; give .* sorted"),
        (lambda: at_times([1, math.nan, 3]), "holds nan after 1"),
        (lambda: at_times([]), "times_s is empty; give one"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


@given(st.lists(st.floats(1e-8, 1e4), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_as_near_as_it_says(seconds, share):
    own, other = Histogram(), Histogram()
    for k, one in enumerate(seconds):
        (own if k % 2 else other).add(one)
    own.join(other)
    exact = sorted(seconds)[max(0, math.ceil(share * len(seconds) - 1e-9) - 1)]
    assert own.quantile(share) == pytest.approx(exact, rel=RELATIVE_ERROR * 1.01)
    assert own.mean_s == pytest.approx(np.mean(seconds))
