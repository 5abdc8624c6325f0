import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.graph import Block, Layer, ModelGraph
from dscwb.profiles.library import scale_profile
from dscwb.scenario import DATA_RATES_BPS, Link, PowerModel
from dscwb.study import sweep
from dscwb.study.conventions import conventions
from tests.pictures import MS, tiny_study
from tests.tiny import profile_of, spec, tiny_graph


def test_best_splits_and_switching_rates_by_hand():
    study = tiny_study()
    assert study.best_split().to_numpy().tolist() == [["no offloading", "a", "full offloading"]]
    assert study.chosen == ("full offloading", "a", "no offloading")
    rates = study.switching_rates()
    np.testing.assert_allclose(rates["data_rate_bps"], [1600 / 0.045, 1600 / 0.009])
    assert rates["below"].tolist() == ["no offloading", "a"]
    assert rates["above"].tolist() == ["a", "full offloading"]


def test_latency_gain_and_usefulness_by_hand():
    study = tiny_study()
    # 60 ms; 15 + 1600/1e5 = 31 ms; 6 + 3.2 = 9.2 ms.
    np.testing.assert_allclose(study.latency_s, [[0.060, 0.031, 0.0092]])
    gains = study.gain("no offloading")
    np.testing.assert_allclose(gains, [[0, 29 / 60, 50.8 / 60]])
    assert gains.index.name == "batch_size"
    assert gains.columns.tolist() == [1e4, 1e5, 1e6]
    # Full offloading takes 6 + 3200/1e5 = 38 ms in the middle state.
    np.testing.assert_allclose(study.gain("full offloading").iloc[0, 1], 7 / 38)
    assert study.usefulness() == pytest.approx(1 / 3)


def test_best_static_is_the_one_with_the_least_mean():
    # Means: full 6 + (320 + 32 + 3.2)/3 = 124.4 ms, a 15 + 59.2 = 74.2 ms, no offloading 60 ms.
    study = tiny_study()
    assert study.best_static() == "no offloading"
    np.testing.assert_allclose(study.gain("best static"), study.gain("no offloading"))


def test_decision_in_one_state():
    decision = tiny_study().at(1, 1e5)
    assert (decision.split, decision.runner_up) == ("a", "full offloading")
    assert decision.head_s == pytest.approx(0.010)
    assert decision.transfer_s == pytest.approx(0.016)
    assert decision.tail_s == pytest.approx(0.005)
    assert decision.latency_s == pytest.approx(0.031)
    assert decision.payload_bytes == 200
    assert decision.best_from_bps == pytest.approx(1600 / 0.045)
    assert decision.best_to_bps == pytest.approx(1600 / 0.009)
    assert decision.margin == pytest.approx(0.007)
    assert not decision.interpolated


def test_decision_agrees_with_the_grid_and_knows_its_ends():
    study = tiny_study()
    for column, rate in enumerate(study.data_rates_bps):
        decision = study.at(1, rate)
        assert decision.split == study.splits[study.best[0, column]]
        assert decision.latency_s == pytest.approx(study.latency_s[0, column])
    assert study.at(1, 1e3).best_from_bps == 0
    assert study.at(1, 1e9).best_to_bps == np.inf


def test_other_rates_need_no_new_sweep():
    study = tiny_study()
    finer = study.at_rates([2e5, 5e4])
    # Above 177,778 bit/s all is offloaded: 6 + 3200/2e5 = 22 ms; below split a: 15 + 32 = 47 ms.
    np.testing.assert_allclose(finer.latency_s, [[0.022, 0.047]])
    assert finer.best_split().to_numpy().tolist() == [["full offloading", "a"]]
    assert study.data_rates_bps.tolist() == [1e4, 1e5, 1e6]
    with pytest.raises(ValueError, match="Data rate -1 bit/s"):
        study.at_rates([-1])


def test_gain_in_one_state_agrees_with_the_grid():
    study = tiny_study()
    for baseline in ("no offloading", "full offloading", "best static", "b"):
        grid = study.gain(baseline).to_numpy()[0]
        ones = [study.gain_at(1, rate, baseline) for rate in study.data_rates_bps]
        np.testing.assert_allclose(ones, grid, atol=1e-12)
    assert study.baseline_split("best static") == "no offloading"


def test_table_holds_every_state():
    table = tiny_study().to_pandas()
    assert len(table) == 3
    np.testing.assert_allclose(table["latency_s"], [0.060, 0.031, 0.0092])
    assert table["payload_bytes"].tolist() == [0, 200, 400]
    assert table["best_split"].tolist() == ["no offloading", "a", "full offloading"]
    np.testing.assert_allclose(table["gain_over_no_offloading"], [0, 29 / 60, 50.8 / 60])


def test_label_names_origin_of_both_machines():
    text = tiny_study().label()
    assert "bench clock, float32 (measured)" in text
    assert "(assumed: 10 × as fast as bench clock)" in text


@given(
    st.lists(st.integers(0, 10**8), min_size=3, max_size=3).filter(any),
    st.lists(st.integers(0, 10**8), min_size=3, max_size=3).filter(any),
    st.floats(0, 1),
)
def test_dynamic_is_never_worse_than_any_static_split(edge_ns, server_ns, round_trip_s):
    graph = tiny_graph()
    study = sweep(
        profile_of(graph, {1: edge_ns}),
        profile_of(graph, {1: server_ns}),
        link=Link(round_trip_s),
        input_encoding="uint8",
        feature_encoding="float32",
        data_rates_bps=np.geomspace(1e2, 1e10, 30),
    )
    for split in study.splits:
        static = study.static_cost(split)
        assert np.all(study.latency_s <= static * (1 + 1e-12))
        assert np.all(study.gain(split) >= -1e-12)


def test_misuse_is_named():
    with pytest.raises(ValueError, match=r"Data rate -1 bit/s"):
        tiny_study(data_rates_bps=[-1])
    with pytest.raises(ValueError, match="Unknown encoding 'jpg'"):
        tiny_study(input_encoding="jpg")
    with pytest.raises(ValueError, match="'z' is not a candidate here; choose 'best static'"):
        tiny_study().gain("z")
    with pytest.raises(ValueError, match="batch size 9"):
        tiny_study(batch_sizes=[9])
    with pytest.raises(ValueError, match="Batch size 2 is not on this grid"):
        tiny_study().at(2, 1e6)
    with pytest.raises(ValueError, match="Unknown granularity 'layer'"):
        tiny_study(granularity="layer")


def test_a_large_sweep_stays_small():
    layers = tuple(
        Layer("linear", f"m{k}", (f"t{k - 1}",), (spec(f"t{k}", 1000 - k),)) for k in range(1, 200)
    )
    blocks = tuple(Block(f"m{k}", "Linear", k) for k in range(1, 200))
    graph = ModelGraph("long", (spec("t0", 1000),), layers, ("t199",), blocks)
    profile = profile_of(graph, {1: [MS] * 199, 64: [9 * MS] * 199}, rounds=1)
    server = scale_profile(profile, 20)
    fields = {"link": Link(), "input_encoding": "uint8", "feature_encoding": "float32"}
    rates = np.geomspace(1e4, 1e10, 1000)
    sweep(profile, server, data_rates_bps=rates, batch_sizes=[1], **fields)  # imports
    tracemalloc.start()
    try:
        study = sweep(profile, server, data_rates_bps=rates, **fields)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert study.best.shape == (64, 1000)
    assert len(study.splits) == 200
    assert peak < 50e6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "candidates: block ends"),
        ({"blocks": ()}, "candidates: all cuts"),
        ({"narrow": (Block("stem", "linear", 1),)}, "candidates: block ends and narrow places"),
        (
            {"blocks": (), "granularity": "block"},
            "candidates: record-low and single-tensor cuts, as the model has no blocks",
        ),
    ],
)
def test_the_caption_names_the_candidates_that_were_offered(changes, words):
    changes, graph = dict(changes), tiny_graph()
    granularity = changes.pop("granularity", "auto")
    blocks = tuple(block for block in graph.blocks if block.name != "a")
    edge = profile_of(replace(graph, **({"blocks": blocks} | changes)), {1: [1000, 2000, 3000]})
    told = sweep(
        edge,
        scale_profile(edge, 10),
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e6],
        granularity=granularity,
    ).stamp()["scenario"]
    assert told.endswith(words)


def test_baselines_are_understood_in_both_spellings_and_splits_in_both_names():
    found = tiny_study()
    for spelling, other in (
        ("best static", "best_static"),
        ("minimax-regret static", "minimax_regret_static"),
        ("no offloading", "no_offloading"),
        ("full offloading", "full_offloading"),
        ("a", "after a"),
    ):
        assert found.baseline_split(spelling) == found.baseline_split(other)
        assert found.mean_gain(spelling) == found.mean_gain(other)


def test_a_study_without_rates_is_over_the_default_range_and_says_so():
    found = tiny_study(data_rates_bps=None)
    np.testing.assert_array_equal(found.data_rates_bps, DATA_RATES_BPS)
    assert (len(DATA_RATES_BPS), DATA_RATES_BPS[0], DATA_RATES_BPS[-1]) == (241, 1e4, 1e10)
    assert found.grid_label == "batch size 1 and 10 kbit/s–10 Gbit/s"
    assert tiny_study(data_rates_bps=[1e6]).grid_label == "batch size 1 and 1 Mbit/s"


def test_what_a_split_costs_at_any_rate():
    found = tiny_study(link=Link(0.001))
    # Full offloading, a, b, no offloading; bits 3200, 1600, 2560, 0.
    np.testing.assert_allclose(found.cost_at(1, 1e6)[:, 0], [0.0102, 0.0176, 0.03656, 0.06])
    assert found.cost_at(1).shape == (4, 3)
    np.testing.assert_array_equal(found.cost_at(1, [0, 1e6]), found.latency_at(1, [0, 1e6]))
    assert found.cost_at(1, 0)[:, 0].tolist() == [np.inf] * 3 + [pytest.approx(0.06)]
    # 2 W computing, 1 W sending, none waiting: a 10 ms and 1600 bits at 1 Mbit/s.
    saving = tiny_study(objective="energy", power=PowerModel(2, 1, 0, "a guess"))
    np.testing.assert_allclose(saving.cost_at(1, 1e6)[1], 0.02 + 0.0016)
    np.testing.assert_allclose(saving.latency_at(1, 1e6)[1], 0.015 + 0.0016)
    with pytest.raises(ValueError, match="Batch size 2 is not on this grid"):
        found.cost_at(2)


@pytest.mark.parametrize("watts", [(5, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_power_of_zero_watts_divides_by_nothing(watts):
    found = tiny_study(objective="energy", power=PowerModel(*watts, "a guess"))
    confidence = found.confidence(40)
    assert np.isfinite(confidence.mean_gain()).all()
    assert np.isfinite(found.gain().to_numpy()).all()
    assert len(found.to_pandas()) == 3
    assert found.policy(confidence).best_split(1, 1e6) == found.best_split().iloc[0, 2]
    assert isinstance(str(found.dominance()), str)
    assert not conventions(found)["split_share"].isna().any()


def test_objects_print_themselves_in_six_lines_and_the_study_as_a_table():
    found = tiny_study()
    lines = repr(found).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "Study", "Device", "Server", "Scenario", "Verdict", "Mean gain",
    ]  # fmt: skip
    # The mean of 0, 29/60 and 50.8/60.
    assert lines[5] == "Mean gain: 44 % over no offloading, mean over batch size 1 and " + (
        "10 kbit/s–1 Mbit/s"
    )
    assert "a split is best in 33 % of 3 states" in lines[4]
    assert found._repr_html_().count("<tr>") == 6
    for shown in (found.confidence(40), found.policy()):
        assert len(repr(shown).splitlines()) <= 6
        assert "tiny" in repr(shown)
        assert shown._repr_html_().count("<tr>") == len(repr(shown).splitlines())


def test_a_decision_prints_itself():
    # At 100 kbit/s a costs 10 ms on the device, 16 ms for its 1,600 bits and 5 ms on the server.
    found = tiny_study().at(1, 1e5)
    assert repr(found).splitlines() == [
        "Decision: after a at batch size 1 and 100 kbit/s",
        "Latency: 31 ms, of which device 10 ms, link 16 ms, server 5 ms",
        "Payload: 200 B",
        "Best: from 35.6 kbit/s to 178 kbit/s",
        "Second best: full offloading",  # 6 + 32 ms
    ]
    assert found._repr_html_().count("<tr>") == 5
