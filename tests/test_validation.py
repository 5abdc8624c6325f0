"""Predictions held against execution, with figures that can be worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dscwb
from dscwb.running.validation import PARTS, Validation, agreement, tried
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING
from tests.command import refused
from tests.test_policy import study

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


def test_regret_is_what_the_predicted_best_took_longer(found):
    choices = found.choices().set_index("data_rate_bps")
    assert choices["predicted_best"].to_dict() == {1e5: "a", 1e6: "b"}
    assert choices["executed_best"].to_dict() == {1e5: "a", 1e6: "a"}
    assert choices["regret"].to_dict() == {1e5: 0, 1e6: pytest.approx(0.1)}
    assert found.mean_regret == pytest.approx(0.05)


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
        found = dscwb.validate(client, captured, planned, repeats=2, gaps_s=[0, 0.001])
    ran = found.requests
    states = {(n, split) for n in (1, 4) for split in tried(planned, n, 1e9)}
    assert set(zip(ran["batch_size"], ran["split"], strict=True)) == states
    assert len(ran) == 2 * 2 * len(states)
    assert set(ran["where"]) == {"server", "device"}
    assert (ran["why"] == "").all()
    for way in ("", "predicted_"):
        total = sum(ran[f"{way}{part}_s"] for part in PARTS)
        np.testing.assert_allclose(total, ran[f"{way}total_s"], rtol=1e-9)
    heads = planned.lines.head_s[0]
    of = ran[ran["batch_size"] == 1].groupby("split")["predicted_head_s"].first()
    assert of[NO_OFFLOADING] == heads[-1]
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
