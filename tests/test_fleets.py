"""Fleets, against queueing formulas, arithmetic by hand and a linear programme.

Times of `study()` are told in tests/test_controller.py: full offloading takes 0.006 s on the server
and 3200 bits, no offloading 0.060 s on the device.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

import dscwb
from dscwb.fleets import bound
from dscwb.fleets.arrivals import Arrivals, at_times, evenly, poisson
from dscwb.fleets.engine import Clock, Device, Split, simulate
from dscwb.fleets.histogram import RELATIVE_ERROR, Histogram
from dscwb.study.sending import Carrier
from tests.test_policy import study

FAST = dscwb.Trace([0], [1e12], duration_s=100)


def kind(number=1, arrivals=None, trace=FAST, name="made up", **fields):
    return dscwb.Devices(name, study(), number, trace, arrivals or poisson(100.0), **fields)


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
            kinds=1,
            workers=c,
            discipline="first come",
            deadline_s=0.1,
            warm_up_s=5,
        )
        means.append(run.latencies[0].mean_s)
    assert within_interval(means, expected)


@pytest.mark.parametrize(
    ("discipline", "latencies_s"),
    [("first come", [1, 4, 5]), ("shortest first", [1, 2, 5])],
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
        kinds=3,
        workers=1,
        discipline=discipline,
        deadline_s=1.5,
        warm_up_s=0,
    )
    assert sorted(one.mean_s for one in run.latencies) == pytest.approx(latencies_s)
    assert sum(run.late) == 2


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


# Strategies


def test_the_same_seed_gives_the_same_fleet_and_another_one_another():
    def told(seed):
        trace = dscwb.Trace(np.arange(20), np.geomspace(1e4, 1e6, 20), duration_s=20)
        one = kind(5, poisson(3.0), trace)
        return dscwb.fleet([one], duration_s=30, seed=seed).table()

    assert told(1).equals(told(1))
    assert not told(1).equals(told(2))


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
        sent = carrier.sent(start_s + one.head_s, one.bits)[0] if one.bits else 0.0
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"duration_s": 0}, "duration_s 0"),
        ({"discipline": "random"}, "choose 'first come' or 'shortest first'"),
        ({"strategies": ["nobody"]}, "'nobody' is no strategy of 'made up'; choose 'selfish'"),
        ({"devices": []}, "one kind of devices at least"),
        ({"devices": [kind(trace=dscwb.Trace([0], [0], 1))]}, "always down"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    given = {"devices": [kind()], "duration_s": 1} | changes
    with pytest.raises(ValueError, match=words):
        dscwb.fleet(**given)


# Arrivals and quantiles


def test_requests_come_evenly_by_chance_or_at_given_times():
    assert list(evenly(0.5).until(1.6, [0])) == [0, 0.5, 1.0, 1.5]
    assert list(at_times([0.1, 0.1, 3]).until(2, [0])) == [0.1, 0.1]
    times = np.array(list(poisson(50.0).until(200, [7])))
    assert len(times) == pytest.approx(10_000, abs=4 * 100)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    for wrong in (lambda: poisson(0), lambda: Arrivals(1, times_s=(2, 1)), lambda: at_times([])):
        with pytest.raises(ValueError, match=r"give|sort"):
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
