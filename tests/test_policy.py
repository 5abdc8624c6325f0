import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb import policy as room
from dscwb.policy import Interval, Policy, PolicyError, load_policy
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
LAYERS_NS = {1: [10 * MS, 20 * MS, 30 * MS], 4: [40 * MS, 80 * MS, 120 * MS]}
FEW_BITS, MANY_BITS = 1600 / 0.045, 1600 / 0.009  # tests/test_study.py derives them


def study(layers_ns=LAYERS_NS, **changes):
    profile = profile_of(tiny_graph(), layers_ns)
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e5],
        "batch_sizes": [1],
    } | changes
    return sweep(profile, scale_profile(profile, 10), **fields)


@pytest.fixture
def saved(tmp_path):
    return study(batch_sizes=[1, 2, 4]).policy().save(tmp_path / "policy.json")


# What it holds


def test_thresholds_by_hand():
    [thresholds] = study().policy().batches
    assert [one.name for one in thresholds.splits] == ["no offloading", "a", "full offloading"]
    assert [one.cut_index for one in thresholds.splits] == [3, 1, 0]
    assert [one.payload_bytes for one in thresholds.splits] == [0, 200, 400]
    assert thresholds.switching_rates_bps == pytest.approx((FEW_BITS, MANY_BITS))
    assert thresholds.intervals == (None, None)


def test_it_answers_for_every_rate_and_a_tie_sends_fewer_bits():
    policy = study().policy()
    low, high = policy.at(1).switching_rates_bps
    assert policy.best_split(1, 1e-9) == policy.best_split(1, low) == "no offloading"
    assert policy.best_split(1, np.nextafter(low, np.inf)) == policy.best_split(1, high) == "a"
    assert policy.best_split(1, np.nextafter(high, np.inf)) == "full offloading"
    assert policy.best_split(1, 1e300) == "full offloading"


def test_interpolated_batch_sizes_are_marked_and_ascend():
    policy = study(batch_sizes=[4, 2, 1]).policy()
    assert policy.batch_sizes == (1, 2, 4)
    assert [one.interpolated for one in policy.batches] == [False, True, False]
    assert policy.choose(4, 1e9).payload_bytes == 1600


def test_it_says_where_it_comes_from():
    one, two = study(), study({1: [10 * MS, 20 * MS, 31 * MS]})
    origin = one.policy().origin
    assert origin.model == "tiny at 100"
    assert (origin.device, origin.server) == (one.stamp()["device"], one.stamp()["server"])
    assert origin.scenario == one.scenario.label(candidates="block ends")
    assert origin.date.endswith("+00:00")
    assert origin.device_profile != origin.server_profile  # the same times, differently scaled
    assert origin.device_profile == one.policy().origin.device_profile
    assert origin.device_profile != two.policy().origin.device_profile
    assert origin.objective == "latency"
    power = PowerModel(5, 1, 0.5, "a guess")
    assert study(objective="energy", power=power).policy().origin.objective == "energy"


NANOSECONDS = st.lists(st.integers(0, 10**8), min_size=3, max_size=3).filter(any)


@given(NANOSECONDS, NANOSECONDS, st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=9))
def test_it_agrees_with_the_study_after_a_file(edge_ns, server_ns, rates):
    graph = tiny_graph()
    found = sweep(
        profile_of(graph, {1: edge_ns}),
        profile_of(graph, {1: server_ns}),
        link=Link(0.001),
        input_encoding="uint8",
        feature_encoding="float32",
        data_rates_bps=rates,
    )
    policy = Policy.from_json(found.policy().to_json())
    rates += found.envelopes[0].switching_rates_bps.tolist()
    expected = found.at_rates(rates).best_split().to_numpy()[0].tolist()
    assert [policy.best_split(1, rate) for rate in rates] == expected


# Its file


def test_a_file_gives_back_the_same_policy(saved):
    policy = load_policy(saved)
    assert Policy.load(str(saved)) == policy
    assert policy.save(saved.with_name("again.json")).read_bytes() == saved.read_bytes()
    found = json.loads(saved.read_text())
    assert (found["format"], found["schema_version"]) == ("dscwb policy", 2)
    assert found["batches"][0]["splits"][1] == {"name": "a", "cut_index": 1, "payload_bytes": 200}
    assert saved.stat().st_size < 5000


def test_intervals_travel_along_and_say_what_is_undecided(tmp_path):
    policy = study().policy()
    [plain] = policy.batches
    sure = replace(plain, intervals=(Interval(3e4, 4e4), None))
    found = load_policy(replace(policy, batches=(sure,)).save(tmp_path / "p.json"))
    assert found.at(1).intervals == (Interval(3e4, 4e4), None)
    asked = [2.9e4, 3e4, 3.5e4, 4e4, 4.1e4]
    assert [found.undecided(1, rate) for rate in asked] == [False, True, True, True, False]
    assert not policy.undecided(1, 3.5e4)


def refused(path):
    with pytest.raises(PolicyError) as error:
        load_policy(path)
    reason = str(error.value)
    assert reason.startswith(str(path))
    assert "\n" not in reason
    return reason


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    assert "no such file; `dscwb policy` makes one" in refused(tmp_path / "none.json")
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"[1, 2]", "not a dscwb policy"),
        (b'{"format": "a recipe"}', "not a dscwb policy"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[" * 100_000, "no JSON"),
        (b'{"format": "dscwb policy"}', "schema None"),
        (b'{"format": "dscwb policy", "schema_version": 3}', "update dscwb"),
        (b'{"format": "dscwb policy", "schema_version": 1}', "checksum"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    assert reason in refused(path)


def test_every_cut_off_file_is_refused(saved):
    text = saved.read_text()
    for length in range(0, len(text) - 2, 97):
        saved.write_text(text[:length])
        assert "make it again" in refused(saved)


def test_one_changed_digit_is_noticed(saved):
    text = saved.read_text()
    for at in [i for i, letter in enumerate(text) if letter.isdigit()][20::7]:
        changed = f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"
        if json.loads(changed) == json.loads(text):
            continue  # the seventeenth digit of a number may say nothing
        saved.write_text(changed)
        refused(saved)


BROKEN = {
    "no batches": lambda found: found.update(batches=[]),
    "a batch size twice": lambda found: found["batches"].append(found["batches"][0]),
    "a batch size of zero": lambda found: found["batches"][0].update(batch_size=0),
    "a rate below zero": lambda found: found["batches"][0].update(switching_rates_bps=[-1, 1]),
    "descending rates": lambda found: found["batches"][0].update(switching_rates_bps=[2, 1]),
    "an endless rate": lambda found: found["batches"][0].update(switching_rates_bps=[1, 1e999]),
    "a rate too few": lambda found: found["batches"][0].update(switching_rates_bps=[1]),
    "a word for a rate": lambda found: found["batches"][0].update(switching_rates_bps=["x", 1]),
    "intervals too few": lambda found: found["batches"][0].update(intervals=[]),
    "a wrong interval": lambda found: found["batches"][0].update(
        intervals=[{"low_bps": 2, "high_bps": 1}, None]
    ),
    "half an interval": lambda found: found["batches"][0].update(intervals=[{"low_bps": 2}, None]),
    "a negative cut": lambda found: found["batches"][0]["splits"][0].update(cut_index=-1),
    "no name": lambda found: found["batches"][0]["splits"][0].pop("name"),
    "a number for a batch": lambda found: found.update(batches=[1]),
    "no origin": lambda found: found.pop("origin"),
    "a foreign word in the origin": lambda found: found["origin"].update(weather="fine"),
    "a huge number": lambda found: found["batches"][0].update(switching_rates_bps=[1, 10**400]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_wrong_content_with_a_right_checksum_is_refused(saved, how):
    found = json.loads(saved.read_text())
    head = {name: found.pop(name) for name in ("format", "schema_version", "sha256")}
    BROKEN[how](found)
    saved.write_text(json.dumps(head | found | {"sha256": room._seal(found)}))
    assert "make it again" in refused(saved)


# Questions


def test_batch_sizes_are_not_extrapolated(saved):
    with pytest.raises(
        PolicyError, match=r"Batch size 3 is not in this policy, which holds 1, 2, 4"
    ):
        load_policy(saved).best_split(3, 1e6)


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_named(rate):
    policy = study().policy()
    for ask in (policy.best_split, policy.undecided):
        with pytest.raises(PolicyError, match=f"Data rate {rate} bit/s; give a finite rate such"):
            ask(1, rate)


# On the device

HEAVY = {"torch", "pandas", "numpy", "scipy", "pyarrow", "plotly"}


def loaded_by(program):
    program += "\nimport sys\nprint(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return HEAVY & set(finished.stdout.split())


def test_asking_a_policy_loads_nothing_heavy(saved):
    ask = f"from dscwb.policy import Policy; Policy.load({str(saved)!r}).best_split(1, 1e6)"
    assert loaded_by(ask) == set()
    assert loaded_by(f"import dscwb; dscwb.load_policy({str(saved)!r})") == set()


def test_the_check_above_can_fail():
    assert "numpy" in loaded_by("import dscwb; dscwb.load_policy; dscwb.sweep")


def test_the_file_alone_answers_on_the_standard_library(saved):
    folder = saved.parent
    shutil.copy(Path(room.__file__), folder / "policy.py")
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        f"from policy import load_policy; print(load_policy({str(saved)!r}).best_split(4, 1e5))"
    )
    # Without site-packages, so without anything that was installed.
    command = [sys.executable, "-I", "-S", "-c", program]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.stdout == "a\n", finished.stderr
