"""The choice over data rate and server load, and the controller that learns both by itself.

Times of `study()` by hand, in seconds at batch size 1: full offloading 0.006 L + 3200 / r, after a
0.010 + 0.005 L + 1600 / r, after b 0.030 + 0.003 L + 2560 / r, no offloading 0.060, with the
server's load L and the data rate r. Without a link all four meet at L = 10.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dscwb
from dscwb import PolicyError
from dscwb import controller as room
from dscwb.study import thresholds
from tests.test_policy import study


@dataclass
class Seen:
    """What a batch took."""

    split: str = "a"
    why: str = ""
    sent_bytes: int = 200
    link_s: float = 0.016
    queue_s: float = 0.0
    tail_s: float = 0.005


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def controller(clock, **options):
    given = {"data_rate_bps": 1e5, "weight": 1.0, "hysteresis": 0.0, "window": 4} | options
    return dscwb.Controller(study().policy(), clock=clock, **given)


# The policy's planes


@pytest.mark.parametrize(
    ("rate", "load", "split"),
    [
        (1e9, 9.9, "full offloading"),
        (1e9, 10.1, "no offloading"),
        (1e5, 1, "a"),
        (1e5, 6.7, "a"),
        (1e5, 7, "no offloading"),
        (0, 1, "no offloading"),
    ],
)
def test_load_moves_the_choice_as_by_hand(rate, load, split):
    assert study().policy().choose(1, rate, load).name == split


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 50), st.floats(2, 8), st.floats(1, 20))
def test_planes_say_what_a_sweep_at_that_load_says(load, log_rate, own_load):
    policy = study(server_load=own_load).policy()
    there = study(server_load=load, data_rates_bps=[10**log_rate])
    costs = dict(zip(there.splits, there.cost_at(1)[:, 0], strict=True))
    chosen = policy.choose(1, 10**log_rate, load).name
    assert costs[chosen] == pytest.approx(min(costs.values()), rel=1e-12)


def test_an_older_file_loads_and_knows_no_load(tmp_path, clock):
    file = json.loads(study().policy().to_json())
    content = {name: file[name] for name in ("batches", "origin")}
    for batch in content["batches"]:
        del batch["planes"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    sealed = {"format": "dscwb policy", "schema_version": 1}
    sealed["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path = tmp_path / "old.json"
    path.write_text(json.dumps(sealed | content))
    old = dscwb.load_policy(path)
    assert old.best_split(1, 1e5) == "a"
    with pytest.raises(PolicyError, match="knows of no server load; make it again"):
        old.choose(1, 1e5, 2.0)
    with pytest.raises(PolicyError, match="knows of no server load"):
        dscwb.Controller(old, data_rate_bps=1e5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=3, max_size=3), st.floats(1, 40), st.floats(2, 8))
def test_planes_that_are_left_out_are_never_best(layers_ms, load, log_rate):
    of = study({1: [one * 1_000_000 for one in layers_ms]}, server_load=load)
    best = of.at_rates(10**log_rate).cost[0, 0]
    costs = [plane.cost(10**log_rate, load) for plane in of.policy().planes(1)]
    assert min(costs) == pytest.approx(best, rel=1e-9)


def test_a_mixture_of_two_planes_may_undercut_a_third():
    """Costs (bits, base, tail): half of each of the first two is (2, 2, 2)."""
    two = np.array([[1.0, 3, 2], [3.0, 1, 2]])
    assert thresholds._undercut(np.array([2.0, 2, 2]), two)
    assert thresholds._undercut(np.array([2.5, 2.5, 3]), two)
    assert not thresholds._undercut(np.array([2.0, 2, 1.9]), two)
    assert not thresholds._undercut(np.array([0.9, 9, 9]), two)


# The controller, against arithmetic of its own


LINES = {  # seconds by load and rate, see above
    "full offloading": lambda load, rate: 0.006 * load + 3200 / rate,
    "a": lambda load, rate: 0.010 + 0.005 * load + 1600 / rate,
    "b": lambda load, rate: 0.030 + 0.003 * load + 2560 / rate,
    "no offloading": lambda load, rate: 0.060,
}
BYTES = {"full offloading": 400, "a": 200, "b": 320}
TAILS_S = {"full offloading": 0.006, "a": 0.005, "b": 0.003}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "full offloading"]), st.floats(3, 8), st.floats(1, 20)),
        max_size=20,
    ),
    st.integers(1, 8),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5]),
)
def test_it_takes_the_least_of_what_it_estimates_unless_the_last_is_nearly_as_good(
    batches, window, weight, hysteresis
):
    clock = Clock()
    one = controller(clock, window=window, weight=weight, hysteresis=hysteresis)
    last, switches = one.choose(1), 0
    for k, (split, log_rate, load) in enumerate(batches):
        took_s = BYTES[split] * 8 / 10**log_rate
        one.observe(1, Seen(split, "", BYTES[split], took_s, 0.0, load * TAILS_S[split]))
        seen = batches[max(0, k + 1 - window) : k + 1]
        loads = [load for *_, load in seen]
        mean = loads[0]
        for load in loads:
            mean += weight * (load - mean)
        assert one.server_load == pytest.approx(mean)
        costs = {name: line(mean, one.data_rate_bps) for name, line in LINES.items()}
        least = min(costs.values())
        chosen = one.choose(1)
        if abs(least - costs[last] * (1 - hysteresis)) < 1e-12:
            return  # either is right, up to roundings
        if costs[last] * (1 - hysteresis) < least or costs[last] == least:
            assert chosen == last
        else:
            assert costs[chosen] == pytest.approx(least, rel=1e-12)
            switches += 1
        assert one.switches == switches
        last = chosen


@settings(max_examples=200, deadline=None)
@given(
    st.permutations(["a", "full offloading", "b", "b", "full offloading"]),
    st.floats(4, 8),
    st.floats(0, 0.2),
    st.sampled_from(["mean", "quantile"]),
)
def test_samples_without_noise_give_rate_and_round_trip_back(splits, log_rate, trip_s, estimate):
    one, rate = controller(Clock(), window=8, weight=0.5, estimate=estimate), 10**log_rate
    for split in splits:
        sent = BYTES[split]
        one.observe(1, Seen(split, "", sent, trip_s + sent * 8 / rate, 0.0, TAILS_S[split]))
    assert one.data_rate_bps == pytest.approx(rate, rel=1e-3)
    assert one.round_trip_s == pytest.approx(trip_s, rel=1e-3, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([1e5, 1e6, 1e9]), st.floats(0.1, 5), st.integers(0, 5))
def test_no_answer_is_local_at_once_and_each_time_the_link_is_tried_again(rate, retry_s, failures):
    clock = Clock()
    one = controller(clock, data_rate_bps=rate, retry_s=retry_s, hysteresis=0.3, dwell_s=0.0)
    first = one.choose(1)
    for failure in range(failures):
        one.observe(1, Seen(split=first, why="no answer"))
        assert one.choose(1) == "no offloading"
        wait_s = min(2 ** (failure + 1), 4) * retry_s
        clock.now_s += 0.99 * wait_s
        assert one.choose(1) == "no offloading"
        clock.now_s += 0.02 * wait_s
        assert one.choose(1) == first


def test_a_low_outlier_is_forgotten_with_its_window(clock):
    """One answer in 1 ms bounds the round trip only while it is looked at."""
    one = controller(clock, round_trip_s=0.01)
    one.observe(1, Seen(link_s=0.001))
    assert one.round_trip_s == pytest.approx(0.0009)
    for _ in range(4):
        one.observe(1, Seen(link_s=0.026))
    assert one.round_trip_s == pytest.approx(0.01)
    assert one.data_rate_bps == pytest.approx(1e5)


# The controller, by hand


def test_it_begins_with_what_is_expected(clock):
    assert controller(clock).choose(1) == "a"
    assert controller(clock, data_rate_bps=1e9).choose(1) == "full offloading"
    assert controller(clock, data_rate_bps=1e3).choose(1) == "no offloading"


def test_round_trip_and_rate_come_from_payloads_that_differ(clock):
    one = controller(clock)
    for sent in (200, 400, 320):
        one.observe(1, Seen(sent_bytes=sent, link_s=0.005 + sent * 8 / 2e5))
    assert one.round_trip_s == pytest.approx(0.005)
    assert one.data_rate_bps == pytest.approx(2e5)


def test_payloads_alike_leave_the_round_trip_as_expected(clock):
    one = controller(clock, round_trip_s=0.004)
    for _ in range(3):
        one.observe(1, Seen(link_s=0.004 + 1600 / 5e4))
    assert one.round_trip_s == pytest.approx(0.004)
    assert one.data_rate_bps == pytest.approx(5e4)


def test_mean_and_quantile_of_rates(clock):
    rates = 1e5, 2e5, 4e5
    low, late = controller(clock, estimate="quantile", quantile=0.0), controller(clock, weight=0.5)
    for rate in rates:
        for one in (low, late):
            one.observe(1, Seen(link_s=1600 / rate))
    assert low.data_rate_bps == pytest.approx(1e5)
    # Seconds of a bit: 10, then halfway to 5 is 7.5, then halfway to 2.5 is 5 µs.
    assert late.data_rate_bps == pytest.approx(2e5)


def test_a_loaded_server_is_left_and_tried_again_later(clock):
    one, loaded = controller(clock, retry_s=1.0), Seen(queue_s=0.030, tail_s=0.005)
    assert one.choose(1) == "a"
    for waits_s in (2, 4, 4):  # twice as long after each trial that did not pay
        one.observe(1, loaded)  # load 7: 0.061 s
        assert one.server_load == pytest.approx(7)
        assert one.choose(1) == "no offloading"
        clock.now_s += waits_s - 0.1
        assert one.choose(1) == "no offloading"
        clock.now_s += 0.2
        assert one.choose(1) == "a"


def test_a_small_gain_is_not_worth_a_switch(clock):
    one = controller(clock, hysteresis=0.05)
    one.choose(1)
    one.observe(1, Seen(tail_s=0.035))  # 0.061 against 0.060 s
    assert (one.choose(1), one.switches) == ("a", 0)
    one.observe(1, Seen(tail_s=0.05))  # 0.076 against 0.060 s
    assert (one.choose(1), one.switches) == ("no offloading", 1)


def test_a_split_is_kept_for_the_dwell_time(clock):
    one = controller(clock, dwell_s=1.0)
    one.choose(1)
    one.observe(1, Seen(tail_s=0.05))
    assert one.choose(1) == "no offloading"
    clock.now_s += 0.5
    one.observe(1, Seen(tail_s=0.005))
    assert one.choose(1) == "no offloading"
    clock.now_s += 0.6
    assert one.choose(1) == "a"


def test_no_answer_means_the_link_is_down_for_a_while(clock):
    one = controller(clock, retry_s=1.0, dwell_s=10.0)
    assert one.choose(1) == "a"
    one.observe(1, Seen(why="no answer within the deadline"))
    assert one.data_rate_bps == 0
    assert one.choose(1) == "no offloading"  # whatever the dwell time
    clock.now_s += 2.1
    assert one.data_rate_bps == 0
    assert one.choose(1) == "no offloading"  # the dwell time holds
    clock.now_s += 10
    assert one.choose(1) == "a"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": 1.5}, "weight is 1.5; give a number from 0 to 1"),
        ({"data_rate_bps": np.inf}, "data_rate_bps is inf"),
        ({"window": 0}, "window is 0"),
        ({"estimate": "median"}, "choose 'mean' or 'quantile'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(clock, options, words):
    with pytest.raises(PolicyError, match=words):
        controller(clock, **options)


def test_two_files_alone_decide_on_the_standard_library(tmp_path):
    saved = study().policy().save(tmp_path / "policy.json")
    for module in (room, sys.modules["dscwb.policy"]):
        shutil.copy(Path(module.__file__), tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from controller import Controller; from policy import load_policy\n"
        f"print(Controller(load_policy({str(saved)!r}), data_rate_bps=1e5).choose(1))"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.stdout == "a\n", finished.stderr


def test_the_map_over_load_shows_what_a_sweep_at_each_load_says():
    figure = dscwb.plot_best_split(study(data_rates_bps=[1e3, 1e9]), over="server_load")
    (cells,) = figure.data
    rates = np.sqrt(np.array(cells.x[:-1]) * np.array(cells.x[1:]))
    names = [name.removeprefix("after ") for name in cells.colorbar.ticktext]
    for row in (0, 60, 120):
        told = study(server_load=cells.y[row], data_rates_bps=rates)
        assert [names[k] for k in cells.z[row]] == told.best_split().loc[1].tolist()
    with pytest.raises(ValueError, match="choose 'batch_size' or 'server_load'"):
        dscwb.plot_best_split(study(), over="energy")
