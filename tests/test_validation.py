"""Predictions held against execution, with figures that can be worked out by hand."""

import json
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dscwb
from dscwb.running.client import Answer
from dscwb.running.executing import FEW, LEAST, MOST, requests_of, spread, tried
from dscwb.running.prediction import (
    PARTS,
    RUN_LINK_ERROR,
    RUN_SPLIT_ERROR,
    interval,
    on_this_link,
    predicted,
)
from dscwb.running.validation import Validation, agreement
from dscwb.scenario import Link
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING
from tests.command import refused
from tests.test_policy import study
from tests.tiny import profile_of, tiny_graph

ORIGIN = {"model": "tiny", "link": "made up", "weights": "", "provenance": "executed"}


def request(split, seconds, predicted, rate=1e6, **more):
    """All of the time in the head."""
    parts = {f"{way}{part}_s": 0.0 for way in ("", "predicted_") for part in PARTS}
    parts |= {"head_s": seconds, "predicted_head_s": predicted}
    return {
        "batch_size": 1,
        "data_rate_bps": rate,
        "gap_s": 0.0,
        "split": split,
        **parts,
        "total_s": seconds,
        "predicted_total_s": predicted,
        "predicted_low_s": 0.9 * predicted,
        "predicted_high_s": 1.2 * predicted,
        "model_error_s": 0.05 * predicted,
        "sent_bytes": 10,
        "where": "server",
        "why": "",
        "same_class": 1.0,
        "relative_error": 0.0,
    } | more


@pytest.fixture
def found():
    """Errors of 10, 20 and 5 %; at 1 Mbit/s `b` is predicted best, and `a` is, by a tenth."""
    rows = [request("a", 1.0 * x, 1 / 1.1) for x in (1.0, 0.9, 1.3)]
    rows += [request("b", 1.1, 1.1 / 1.2), request("b", 1.1, 1.1 / 1.2)]
    rows += [request("a", 2.1, 2.0, rate=1e5), request("b", 9.0, 1.0, rate=1e5, why="no answer")]
    rows[3]["predicted_total_s"] = rows[4]["predicted_total_s"] = 0.88
    return Validation(pd.DataFrame(rows), ORIGIN)


def test_errors_are_medians_over_states_and_what_the_device_had_to_finish_is_left_out(found):
    # 1.0 / (1 / 1.1) - 1 = 0.1; 1.1 / 0.88 - 1 = 0.25; 2.1 / 2 - 1 = 0.05
    assert sorted(found.errors().round(9)) == pytest.approx([0.05, 0.1, 0.25])
    assert found.median_error == pytest.approx(0.1)
    assert found.p90_error == pytest.approx(0.1 + 0.8 * 0.15)
    assert found.states()["requests"].tolist() == [1, 3, 2]
    assert found.noise == 0  # of the states one scatters: from 0.95 to 1.15 s around 1
    # 1.2533 · (1.15 - 0.95) / 1.349 / √3: of normal samples.
    errors = found.states().set_index(["data_rate_bps", "split"])["median_error_s"]
    assert errors[1e6, "a"] == pytest.approx(0.10728, abs=1e-5)


def test_what_lies_outside_its_interval_is_counted_and_named(found):
    # 1.1 s where 0.825 to 1.1 s were stated (0.9 and 1.2 times 1.1 / 1.2), and so on.
    states = found.states().set_index(["data_rate_bps", "split"])
    assert states["inside"].to_dict() == {(1e5, "a"): True, (1e6, "a"): True, (1e6, "b"): True}
    narrow = found.requests.assign(predicted_high_s=1.05 * found.requests["predicted_total_s"])
    few = Validation(narrow, ORIGIN)
    assert few.coverage == pytest.approx(1 / 3)
    words = few.summary()["Confidence"]
    assert words.startswith("1 of 3 states lie in their 90 % intervals (± 7.5 %")
    # 1.1 over 1.05 · 0.88 = 0.924: by 0.2 of 0.88; 1.0 over 1.05 / 1.1: by 0.05 of 1 / 1.1
    assert "outside after b at 1 Mbit/s" in words
    assert words.index("batch size 1, by 20 %") < words.index("after a at 1 Mbit/s")
    assert few.verdict()["coverage"] == few.coverage


def test_regret_is_what_the_predicted_best_took_longer(found):
    choices = found.choices().set_index("data_rate_bps")
    assert choices["predicted_best"].to_dict() == {1e5: "a", 1e6: "b"}
    assert choices["executed_best"].to_dict() == {1e5: "a", 1e6: "a"}
    assert choices["regret"].to_dict() == {1e5: 0, 1e6: pytest.approx(0.1)}
    assert found.mean_regret == pytest.approx(0.05)
    # b took 0.1 s longer than a, of whose median the standard error alone is 0.107 s.
    assert choices["tie"].to_dict() == {1e5: True, 1e6: True}
    assert found.regret_beyond_noise == 0
    still = found.requests.assign(total_s=found.requests["total_s"].replace([0.9, 1.3], 1.0))
    assert Validation(still, ORIGIN).regret_beyond_noise == pytest.approx(0.05)


def test_a_machine_reads_fractions_and_people_read_lines(found):
    told = json.loads(json.dumps(found.verdict()))
    assert told["median_error"] == pytest.approx(0.1)
    assert told["mean_regret"] == pytest.approx(0.05)
    assert (told["requests"], told["fell_back"]) == (7, 1)
    lines = repr(found).splitlines()
    assert "median 10 %" in lines[1]
    assert "1 of them finished on the device" in lines[1]
    assert len(lines) <= 6


def test_a_file_gives_it_back(found, tmp_path):
    back = dscwb.load_validation(found.save(tmp_path / "v.parquet"))
    pd.testing.assert_frame_equal(back.requests, found.requests)
    assert back.origin == ORIGIN
    (tmp_path / "no.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="is no validation"):
        dscwb.load_validation(tmp_path / "no.parquet")


def test_all_that_could_be_best_is_tried_the_predicted_best_first():
    """At 0.1 Mbit/s: after a 0.031 s, full offloading 0.038, b 0.0586, no offloading 0.060."""
    assert tried(study(), 1, 1e5) == ["a", FULL_OFFLOADING, "b", NO_OFFLOADING]


def test_requests_follow_what_scatters():
    """Passes from 0.9 to 1.1 s with quartiles 0.95 and 1.05: s = 0.1 / 1.349 of the median."""
    plain = np.array([900, 950, 1000, 1050, 1100]) * 1_000_000
    profile = profile_of(tiny_graph(), {1: [400_000_000, 0, 600_000_000]}, rounds=5)
    passes = replace(profile.passes[0], plain_ns=plain)
    planned = dscwb.sweep(
        replace(profile, passes=(passes,)),
        profile,
        input_encoding="float32",
        feature_encoding="float32",
    )

    def number(head_s, link_s):
        told = {"head": head_s, "codec": 0.0, "link": link_s, "tail": 0.0}
        told = {f"predicted_{part}_s": x for part, x in told.items()}
        return requests_of(planned, 1, told | {"predicted_total_s": head_s + link_s})

    # (1.2533 · 0.0741 · share / 0.01)² = 86.3 · share²
    assert number(0.01, 0.0) == MOST
    assert number(0.01, 0.01) == 22
    assert number(0.001, 0.019) == LEAST
    assert number(0.5, 0.5) == FEW  # more would take over four seconds


def test_requests_of_a_state_are_spread_over_the_run_beside_their_rivals():
    one, two, often = ((1, 1e6, 0.0, split) for split in "abc")
    plan = spread({one: 2, two: 2, often: 20}, random.Random(1))
    assert [plan.count(state) for state in (one, two, often)] == [2, 2, 20]
    at = [[i for i, state in enumerate(plan) if state == wanted] for wanted in (one, two)]
    assert [abs(i - j) for i, j in zip(*at, strict=True)] == [1, 1]
    assert at[0][0] <= 12 <= at[0][1]  # one in either half
    assert plan != spread({one: 2, two: 2, often: 20}, random.Random(2))


def test_an_interval_holds_noise_and_what_is_no_noise_apart():
    told = predicted(study(), 1, 1e6, "a", 0.0)
    found = interval(study(), 1, told, 3)  # passes without any scatter
    # Of a head of 10 ms and a tail of 5 ms; a scaled server is assumed, and twice as slow.
    # The link takes 200 bytes there and 40 back, at 1 Mbit/s.
    model_s = RUN_SPLIT_ERROR * 0.015 + 0.005 + RUN_LINK_ERROR * 240 * 8 / 1e6
    assert found["model_error_s"] == pytest.approx(model_s)
    assert found["predicted_low_s"] == pytest.approx(told["predicted_total_s"] - model_s)
    assert found["predicted_high_s"] == pytest.approx(told["predicted_total_s"] + model_s)


def test_intervals_hold_nine_of_ten_medians():
    """Requests and passes of one lognormal distribution, and no other error."""
    rng, hits, trials = np.random.default_rng(3), 0, 200
    profile = profile_of(tiny_graph(), {1: [400_000, 0, 600_000]}, rounds=60)
    for trial in range(trials):
        plain = (1e6 * np.exp(0.1 * rng.standard_normal(60))).astype(np.int64)
        passes = replace(profile.passes[0], plain_ns=plain)
        edge = replace(profile, passes=(passes,))
        planned = dscwb.sweep(edge, edge, input_encoding="float32", feature_encoding="float32")
        told = predicted(planned, 1, 1e9, NO_OFFLOADING, 0.0)
        found = interval(planned, 1, told, 9, seed=trial)
        median = np.median(1e-3 * np.exp(0.1 * rng.standard_normal(9)))
        by_noise = found["predicted_low_s"] + found["model_error_s"]
        hits += by_noise < median < found["predicted_high_s"] - found["model_error_s"]
    assert hits / trials == pytest.approx(0.9, abs=0.06)


class Probed:
    """A client whose requests take 25 ms on the link, and whose headers have 150 bytes."""

    def run(self, *inputs, split):
        where = "device" if self.down else "server"
        sizes = {"c": 40, "a": 200, "b": 320}
        return Answer(
            None, split, where, link_s=0.025, sent_bytes=sizes[split] + 150, received_bytes=40
        )

    down = False


def test_what_a_message_costs_is_found_on_the_link_itself():
    client, asked = Probed(), study(link=Link(round_trip_s=0.02))
    found = on_this_link(client, asked, (), 1, 1e6).scenario.link
    # After a, the least of what is sent: 350 bytes there, 40 + 150 back, at 1 Mbit/s.
    assert found.round_trip_s == pytest.approx(0.025 - 8 * (350 + 190) / 1e6)
    assert found.overhead_bytes == 300
    client.down = True
    assert on_this_link(client, asked, (), 1, 1e6) is asked


def test_agreement_by_hand():
    whole = torch.tensor([[1.0, 4.0], [8.0, 2.0]])
    other = torch.tensor([[5.0, 4.0], [8.0, 2.0]])
    assert agreement(whole, whole) == (1.0, 0.0)
    assert agreement(other, whole) == (0.5, 0.5)
    mask = torch.tensor([True, False])
    assert np.isnan(agreement(mask, mask)[0])  # there are no classes
    assert agreement(~mask, mask)[1] == 1.0


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(3)]
    return dscwb.capture(nn.Sequential(*layers, nn.Linear(64, 10)).eval(), (64,))


def test_what_ran_is_held_against_its_prediction(captured):
    profile = dscwb.profile(captured, [1, 4], passes=12, budget_s=0)
    planned = dscwb.sweep(
        profile,
        profile,
        input_encoding="float32",
        feature_encoding="float16",
        data_rates_bps=[1e9],
        batch_sizes=[1, 4],
    )
    options = {"feature_encoding": "float16"}
    with (
        dscwb.TailServer(captured) as server,
        dscwb.SplitClient(captured, server.address, **options) as client,
    ):
        measured = []

        def measure():
            measured.append(dscwb.profile(captured, [1, 4], passes=12, budget_s=0))
            return measured[-1], None

        found = dscwb.validate(
            client, captured, planned, measure=measure, repeats=2, gaps_s=[0, 0.001]
        )
    assert len(measured) == 3
    ran = found.requests
    number = ran.groupby(["batch_size", "split"]).size()
    ends = {(n, end) for n in (1, 4) for end in (FULL_OFFLOADING, NO_OFFLOADING)}
    assert ends < set(number.index)
    assert set(number) == {2 * 2}
    assert set(ran["where"]) == {"server", "device"}
    assert (ran["why"] == "").all()
    for way in ("", "predicted_"):
        total = sum(ran[f"{way}{part}_s"] for part in PARTS)
        np.testing.assert_allclose(total, ran[f"{way}total_s"], rtol=1e-9)
    whole_ns = [one.at(1).plain_ns for one in (profile, *measured)]
    of = ran[ran["batch_size"] == 1].groupby("split")["predicted_head_s"].first()
    assert of[NO_OFFLOADING] == pytest.approx(np.median(np.concatenate(whole_ns)) / 1e9)
    assert (ran["predicted_low_s"] < ran["predicted_total_s"]).all()
    assert (ran["predicted_high_s"] > ran["predicted_total_s"]).all()
    assert 0 < ran["relative_error"].max() < 0.01  # float16 on the wire
    assert found.origin["provenance"] == "executed"
    assert "random weights" not in found.origin["weights"]  # a module of one's own


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["resnet18"], "either --emulate, or --server HOST:PORT"),
        (["resnet18", "--emulate", "--server", "h:1"], "either --emulate, or --server HOST:PORT"),
        (["resnet18", "--server", "h:1"], "--server needs --server-profile"),
    ],
)
def test_what_cannot_be_validated_is_refused(run, words, reason):
    assert reason in refused(run("validate", *words))


def test_the_figure_has_a_point_a_state_and_a_pair_of_bars_a_part(found):
    shown = Validation(found.requests, ORIGIN | {"device": "one", "server": "another"})
    figure = dscwb.plot_validation(shown)
    (points,) = figure.select_traces({"mode": "markers"})
    states = found.states()
    np.testing.assert_allclose(points.x, 1e3 * states["predicted_total_s"])
    np.testing.assert_allclose(points.y, 1e3 * states["total_s"])
    bars = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in figure.data[-2:]}
    # Of the heads: the medians of 1 / 1.1, 1.1 / 1.2 and 2 s, and of 1, 1.1 and 2.1 s.
    assert bars["predicted"]["head"] == pytest.approx(1e3 * 1.1 / 1.2)
    assert bars["executed"] == pytest.approx({"head": 1100, "encoding": 0, "link": 0, "tail": 0})
    assert "median error 10 %" in figure.layout.title.subtitle.text
