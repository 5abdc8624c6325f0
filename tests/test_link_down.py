"""A link that is down, rate 0: no offloading everywhere, as the limit of ever lower rates."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dscwb
from dscwb.__main__ import main
from dscwb.cost import cost_at, gain
from dscwb.figures.layout import caption_of
from dscwb.policy import Policy
from dscwb.profiles.files import save_profile
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from dscwb.study.tradeoffs import tradeoffs
from tests.pictures import MS, tiny_study
from tests.tiny import profile_of, tiny_graph

LOWEST = 1e-9  # bit/s, far below every switching rate here
scenarios = st.fixed_dictionaries(
    {},
    optional={
        "link": st.sampled_from([Link(), Link(0.02, 100, 1e6)]),
        "private_input": st.just(True),
        "min_depth": st.sampled_from([1, 3]),
        "granularity": st.sampled_from(["op", "compressive"]),
        "objective": st.just("energy"),
    },
)

DOWN = {"batch_size": 1, "data_rate_bps": 0}


@given(
    st.lists(st.integers(1, 10**8), min_size=3, max_size=3),
    st.lists(st.integers(1, 10**8), min_size=3, max_size=3),
    st.lists(st.sampled_from([0.0, 43e3, 12e6, 3e8]), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.5]),
    scenarios,
)
def test_a_sweep_with_outages_is_the_limit(edge_ns, server_ns, rates, send_w, more):
    edge, server = (profile_of(tiny_graph(), {1: ns}) for ns in (edge_ns, server_ns))
    wire = {"link": Link(), "input_encoding": "uint8", "feature_encoding": "int8"}
    power = PowerModel(5, send_w, 1, "a guess")
    study = sweep(edge, server, data_rates_bps=[*rates, 0.0], power=power, **wire | more)
    lines = study.lines
    for column, rate in enumerate(study.data_rates_bps):
        # Brute force; where sending costs no energy, it still must come to an end.
        cost, per_rate = study.intercepts[0], study.slopes[0]
        costs = cost + per_rate / (rate or LOWEST)
        if rate == 0:
            costs = np.where(lines.bits[0] > 0, np.inf, costs)
        assert costs[study.best[0, column]] == costs.min()
        decision = study.at(1, rate)
        assert decision.split == study.splits[study.best[0, column]]
        assert study.gain_at(1, rate) == study.gain().iloc[0, column]
        policy = Policy.from_json(study.policy().to_json())
        assert policy.best_split(1, float(rate)) == decision.split
        if rate == 0:
            assert decision.split == "no offloading"
            assert decision.payload_bytes == decision.transfer_s == decision.tail_s == 0
            assert not policy.undecided(1, 0)
    over = "full offloading" if "full offloading" in study.splits else "no offloading"
    gains = study.gain(over).to_numpy()
    assert ((gains >= -1e-12) & (gains <= 1)).all()
    assert study.best_static() == study.best_static("minimax") == "no offloading"
    table = study.static_splits()
    assert (table["max_regret"] >= 0).all()
    assert np.isfinite(study.cost[:, study.data_rates_bps == 0]).all()
    study.dominance()
    dscwb.verdict(study)


def test_where_nothing_at_all_is_possible_the_one_with_the_fewest_bytes_is_named():
    """The limit: no offloading does not fit, and block c sends the fewest bytes of the rest."""
    from dataclasses import replace

    graph = tiny_graph()
    *others, last = graph.layers
    heavy = replace(graph, layers=(*others, replace(last, weight_bytes=5000)))
    edge = profile_of(heavy, {1: [10 * MS, 20 * MS, 30 * MS]})
    wire = {"link": Link(), "input_encoding": "float32", "feature_encoding": "float32"}
    study = sweep(edge, edge, data_rates_bps=[0, 1e-6, 1e6], memory_cap_bytes=1000, **wire)
    assert study.best[0, 0] == study.best[0, 1] == study.splits.index("a")
    assert np.isposinf(study.cost[0, 0])
    assert study.regret("full offloading").iloc[0, 0] == 0
    assert study.best_static() in ("full offloading", "a")
    assert study.policy().best_split(1, 0) == "a"
    with pytest.raises(ValueError, match="At 0 bit/s nothing can be sent, and batch size 1"):
        dscwb.plot_latency_breakdown(study, **DOWN)


def test_where_the_link_is_down_nothing_comes_second():
    study = tiny_study()
    assert study.at(1, 0).runner_up == ""
    figure = dscwb.plot_latency_breakdown(study, **DOWN)
    assert figure.layout.title.subtitle.text == "no offloading is best: 60 ms"


def test_costs_and_gains_at_the_limit():
    assert cost_at([1.0, 1.0, np.nan], [0, 8, 8], 0).tolist()[:2] == [1.0, np.inf]
    np.testing.assert_array_equal(
        gain(np.array([1, 2, np.inf, np.nan]), np.array([np.inf, 4, np.inf, 2])),
        [1, 0.5, 0, np.nan],
    )


@given(st.lists(st.sampled_from([0.0, 2e4, 5e5]), min_size=1, max_size=4))
@settings(max_examples=10)
def test_every_figure_table_and_bootstrap_takes_outages(rates):
    study = tiny_study(batches=(1, 2), data_rates_bps=[*rates, 0.0], power=PowerModel(5, 2, 1, "g"))
    sure = study.confidence(40)
    assert (sure.probability[:, study.data_rates_bps == 0] == 1).all()
    assert sure.at(1, 0) == 1
    assert study.how_sure(1, 0, sure).flips == ()
    low, high = sure.mean_gain("full offloading")
    assert 0 < low <= high <= 1
    figure = dscwb.plot_best_split(study, confidence=sure)
    assert "The link is down at" in caption_of(figure)
    for figure in (
        dscwb.plot_gain(study),
        dscwb.plot_gain(study, baseline="full offloading"),
        dscwb.plot_regret(study, baseline="full offloading"),
        dscwb.plot_latency_vs_rate(study),
        dscwb.plot_conventions(study),
        dscwb.plot_latency_breakdown(study, **DOWN),
        dscwb.plot_pareto(study, **DOWN),
        dscwb.plot_pareto(study, **DOWN, y="device_energy_j"),
    ):
        figure.to_json()
    table = tradeoffs(study, 1, 0)
    assert table.loc[table["pareto"], "split"].tolist() == ["no offloading"]
    assert len(study.to_pandas()) == study.best.size
    dscwb.conventions(study)


def test_a_report_of_a_trace(tmp_path):
    study = tiny_study(data_rates_bps=[0, 1e5, 0, 1e4])
    text = dscwb.report(study, tmp_path / "r.html").read_text()
    assert "The link is down at 2 of 4 data rates: no offloading there." in text
    dscwb.report(tiny_study(data_rates_bps=[0]), tmp_path / "r.html")


def test_the_command_line_takes_a_trace_and_asks_for_an_outage(tmp_path, capsys):
    edge = save_profile(
        profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]}), tmp_path / "e.parquet"
    )
    same = ["--speedup", "10", "--input-encoding", "float32", "--feature-encoding", "float32"]
    assert not main(
        ["sweep", str(edge), *same, "--rates", "0.01,0,1", "-o", str(tmp_path / "s.csv")]
    )
    assert "of 3 points: batch size 1 and 0 bit/s–1 Mbit/s." in capsys.readouterr().out
    text = (tmp_path / "s.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in text[1:]] == ["no offloading"] * 2 + ["full offloading"]
    path = tmp_path / "p.json"
    assert not main(["policy", str(edge), *same, "-o", str(path), "--at", "0", "--replicates", "0"])
    assert "at 0 bit/s (0 B/s): no offloading" in capsys.readouterr().out
    old = json.loads(path.read_text())
    assert old["batches"][0]["down"] is None


def test_a_policy_without_the_new_field_is_read_as_before():
    """What an earlier version wrote."""
    import hashlib

    policy = tiny_study().policy()
    old = json.loads(policy.to_json())
    for one in old["batches"]:
        del one["down"]
    head = {name: old.pop(name) for name in ("format", "schema_version", "sha256")}
    text = json.dumps(old, sort_keys=True, separators=(",", ":"))
    head["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    assert Policy.from_json(json.dumps(head | old)) == policy


def test_an_assumed_server_scaled_on_a_dead_link():
    edge = dscwb.shipped_profile("efficientnet_b0")
    study = sweep(
        edge,
        scale_profile(edge, 20),
        link=Link(0.02),
        input_encoding="jpeg 10:1",
        feature_encoding="int8",
        data_rates_bps=[3.1e7, 0, 4.3e4, 0],
        batch_sizes=[1, 2],
    )
    assert set(study.best_split()[0.0].to_numpy().ravel()) == {"no offloading"}
