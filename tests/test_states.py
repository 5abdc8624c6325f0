"""Decisions over states against brute force in exact fractions, and against sums done by hand."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscwb.cost import CostLines
from dscwb.cuts import Cut
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import ProfileError
from dscwb.scenario import Link, PowerModel, Scenario
from dscwb.study import Study, sweep
from tests.pictures import MS, study_of
from tests.tiny import profile_of, tiny_graph

MANY = settings(max_examples=2000)
EDGE = profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]})
SCENARIO = Scenario(input_encoding="float32", feature_encoding="float32")

# Whole seconds and bits are exact in floating point and in fractions, and make ties likely.
LINES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=10
)
RATES = st.lists(st.integers(1, 4000).map(lambda n: n / 16), min_size=1, max_size=6)


def states_of(lines, rates):
    """States of one batch size; a line is head, tail in seconds and bits."""
    head, tail, bits = (np.array([column], dtype=float) for column in zip(*lines, strict=True))
    last = len(lines) - 1
    cuts = [
        Cut(k, f"s{k}", (), is_input=k == 0 < last, is_output=k == last) for k in range(last + 1)
    ]
    none = np.zeros(1)
    flags = np.zeros((1, last + 1), dtype=bool)
    given = CostLines(tuple(cuts), (1,), head, tail, 0 * head, none, bits, none > 0, flags)
    return Study.of(EDGE, EDGE, SCENARIO, given, rates)


def exact(lines, rate):
    return [Fraction(head + tail) + Fraction(bits) / Fraction(rate) for head, tail, bits in lines]


# Against brute force


@MANY
@given(LINES, RATES)
def test_the_best_split_is_the_brute_force_one(lines, rates):
    states = states_of(lines, rates)
    for column, rate in enumerate(rates):
        latency = exact(lines, rate)
        found = latency[states.best[0, column]]
        # A rate within rounding of a switching rate may fall on either side of it.
        assert found <= min(latency) * (1 + Fraction(1, 10**12))
        ordered = sorted(latency)
        if len(ordered) == 1 or ordered[1] > ordered[0] * (1 + Fraction(1, 10**12)):
            assert found == ordered[0]


@MANY
@given(LINES)
def test_switching_rates_are_exact_and_bits_strictly_rise_with_the_rate(lines):
    [envelope] = states_of(lines, [1.0]).envelopes
    splits = envelope.splits.tolist()
    for i, (low, high) in enumerate(pairwise(splits)):
        (head, tail, bits), (other_head, other_tail, other_bits) = lines[low], lines[high]
        assert bits < other_bits
        assert head + tail > other_head + other_tail
        # One division of exact numbers: the float nearest to the true rate.
        meet = Fraction(other_bits - bits, head + tail - other_head - other_tail)
        assert envelope.switching_rates_bps[i] == float(meet)
        assert min(exact(lines, meet)) == exact(lines, meet)[low] == exact(lines, meet)[high]


@MANY
@given(LINES, RATES)
def test_dynamic_costs_no_more_than_any_static_split(lines, rates):
    states = states_of(lines, rates)
    states = states.at_rates([*rates, *states.envelopes[0].switching_rates_bps])
    for split in states.splits:
        assert np.all(states.cost <= states.static_cost(split) * (1 + 1e-15))
        assert np.all(states.regret(split).to_numpy() >= 0)
        assert np.all(states.gain(split).to_numpy() >= -1e-15)


@given(LINES, RATES, st.integers(-30, 30))
def test_slower_machines_on_a_slower_link_decide_alike(lines, rates, power):
    scale = 2.0**power  # exact
    slower = [(head * scale, tail * scale, bits) for head, tail, bits in lines]
    one, two = states_of(lines, rates), states_of(slower, np.array(rates) / scale)
    assert one.best.tolist() == two.best.tolist()
    assert (one.cost * scale).tolist() == two.cost.tolist()
    assert np.array_equal(one.gain(), two.gain())


@given(LINES, RATES, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(lines, rates, random):
    lines = list({(head + tail, bits): (head, tail, bits) for head, tail, bits in lines}.values())
    shuffled = random.sample(lines, len(lines))
    one, two = states_of(lines, rates), states_of(shuffled, rates)
    assert [lines[i] for i in one.best[0]] == [shuffled[i] for i in two.best[0]]
    assert one.cost.tolist() == two.cost.tolist()


@given(LINES, RATES)
def test_one_state_agrees_with_the_grid(lines, rates):
    states = states_of(lines, rates)
    for column, rate in enumerate(rates):
        decision = states.at(1, rate)
        assert decision.split == states.splits[states.best[0, column]]
        assert decision.latency_s == pytest.approx(states.latency_s[0, column], rel=1e-12)
        assert decision.best_from_bps < rate <= decision.best_to_bps
        ordered = sorted(exact(lines, rate))
        if len(lines) > 1:
            assert decision.margin == pytest.approx(float(ordered[1] - ordered[0]), abs=1e-9)
        else:
            assert (decision.runner_up, decision.margin) == ("", np.inf)


@given(LINES, RATES)
def test_minimax_regret_is_the_brute_force_one(lines, rates):
    states = states_of(lines, rates)
    costs = [exact(lines, rate) for rate in rates]
    worst = [max(cost[i] - min(cost) for cost in costs) for i in range(len(lines))]
    chosen = states.splits.index(states.best_static("minimax"))
    assert float(worst[chosen]) == pytest.approx(float(min(worst)), abs=1e-9)
    mean = [sum(cost[i] for cost in costs) for i in range(len(lines))]
    chosen = states.splits.index(states.best_static())
    assert float(mean[chosen]) == pytest.approx(float(min(mean)), rel=1e-12)


# By hand


def tiny_study(profile=EDGE, **changes):
    """Intercepts 6, 15, 33, 60 ms and bits 3200, 1600, 2560, 0: see tests/pictures.py."""
    return study_of(profile, scale_profile(profile, 10), **changes)


def test_regret_and_minimax_static_by_hand():
    # Best: 60, 31, 9.2 ms. Always a: 175, 31, 16.6; always full: 326, 38, 9.2; never: 60.
    study = tiny_study()
    np.testing.assert_allclose(study.regret("a"), [[0.115, 0, 0.0074]], atol=1e-12)
    np.testing.assert_allclose(study.regret("no offloading"), [[0, 0.029, 0.0508]], atol=1e-12)
    np.testing.assert_allclose(study.regret("full offloading"), [[0.266, 0.007, 0]], atol=1e-12)
    # Largest regrets 115, 50.8 and 266 ms: no offloading. From 1e5 up: 7.4, 50.8 and 7 ms.
    assert study.best_static("minimax") == "no offloading"
    faster = study.at_rates([1e5, 1e6])
    assert faster.best_static("minimax") == "full offloading"
    # Means from 1e5 up: a 23.8 ms, full 23.6 ms, no offloading 60 ms.
    assert faster.best_static() == "full offloading"
    np.testing.assert_allclose(faster.gain("minimax-regret static"), faster.gain("full offloading"))
    table = study.static_splits().set_index("split")
    assert table.loc["a", "max_regret"] == pytest.approx(0.115)
    assert table.loc["a", "mean_regret"] == pytest.approx((0.115 + 0.0074) / 3)
    assert table["share"].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    with pytest.raises(ValueError, match="by is 'median'; choose 'mean' or 'minimax'"):
        study.best_static("median")


def test_weights_by_hand():
    study = tiny_study()
    # Gains over no offloading: 0, 29/60, 50.8/60.
    assert study.mean_gain(weights=[[1, 2, 1]]) == pytest.approx((2 * 29 + 50.8) / 60 / 4)
    assert study.mean_gain(weights=[10, 20, 10]) == pytest.approx((2 * 29 + 50.8) / 60 / 4)
    assert study.mean_gain(weights=3) == pytest.approx(study.mean_gain())
    assert study.usefulness([0, 1, 0]) == 1
    assert study.usefulness([1, 1, 2]) == pytest.approx(1 / 4)
    # Only the fastest state counts: there everything is offloaded.
    assert study.best_static(weights=[0, 0, 1]) == "full offloading"
    # Over itself nothing is gained; over the best static split of unweighted states, much.
    assert study.mean_gain("best static", weights=[0, 0, 1]) == 0
    assert study.mean_gain(study.best_static(), weights=[0, 0, 1]) > 0


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ([1, 2], r"weights have shape \(2,\); the grid is \(1, 3\)"),
        ([0, 0, 0], "not all zero"),
        ([1, -1, 1], "not negative"),
        ([1, np.nan, 1], "finite"),
    ],
)
def test_weights_that_are_no_distribution_are_named(weights, reason):
    with pytest.raises(ValueError, match=reason):
        tiny_study().mean_gain(weights=weights)


def heavy_profile(**sizes):
    """Weights of 1000, 10 and 5000 bytes. Tensors alive while a layer runs: 600, 520, 360 bytes.

    So heads of one sample need 0, 1600, 1610 and 6610 bytes; of two 0, 2200, 2210 and 7210.
    """
    graph = tiny_graph()
    layers = zip(graph.layers, (1000, 10, 5000), strict=True)
    graph = replace(graph, layers=tuple(replace(one, weight_bytes=n) for one, n in layers))
    return profile_of(graph, {1: [10 * MS, 20 * MS, 30 * MS], 2: [20 * MS, 40 * MS, 60 * MS]})


def test_under_a_memory_cap_heads_that_do_not_fit_are_no_choice():
    study = tiny_study(profile=heavy_profile(), memory_cap_bytes=1600)
    fits = [[True, True, False, False], [True, False, False, False]]
    assert (~np.isnan(study.lines.head_s)).tolist() == fits
    assert (~study.lines.too_large).tolist() == fits
    # At 1e4 bit/s no offloading was best; now a with 15 + 160 ms, at batch size 2 all is sent.
    assert study.best_split().to_numpy().tolist() == [
        ["a", "a", "full offloading"],
        ["full offloading"] * 3,
    ]
    assert np.isnan(study.static_cost("no offloading")).all()
    assert np.isnan(study.mean_gain("no offloading"))
    assert np.isnan(study.static_cost("a")).tolist() == [[False] * 3, [True] * 3]
    assert study.best_static() == "full offloading"
    assert study.best_static("minimax") == "full offloading"
    assert study.at(2, 1e5).runner_up == ""


def test_a_cap_under_which_nothing_fits_is_an_error():
    with pytest.raises(
        ProfileError, match=r"1\.6 kB, but at batch size 2 every .* 2\.2 kB or more"
    ):
        tiny_study(profile=heavy_profile(), memory_cap_bytes=1600, private_input=True)
    study = tiny_study(profile=heavy_profile(), memory_cap_bytes=2200, private_input=True)
    assert set(study.best_split().to_numpy().ravel()) == {"a"}


def test_dominance_is_there_where_no_compressive_cut_fits():
    # b needs 2210 bytes, of which a is a bottleneck and b is none; only b may be chosen.
    study = tiny_study(profile=heavy_profile(), memory_cap_bytes=2210, min_depth=2, batch_sizes=[2])
    assert study.chosen == ("b",)
    found = study.dominance()
    assert np.isnan(found.mean_loss)
    assert "not possible" in str(found)


def test_depth_and_private_inputs_by_hand():
    assert tiny_study(private_input=True).splits == ("a", "b", "no offloading")
    assert tiny_study(min_depth=1).splits == ("a", "b", "no offloading")
    assert tiny_study(min_depth=2).splits == ("b", "no offloading")
    assert tiny_study(min_depth=3).splits == ("no offloading",)
    # b: 33 + 25.6 and 33 + 2.56 ms against 60 ms.
    best = tiny_study(min_depth=2).best_split().to_numpy().tolist()
    assert best == [["no offloading", "b", "b"]]
    with pytest.raises(ProfileError, match="min_depth is 4, but 'tiny' has 3 blocks"):
        tiny_study(min_depth=4)


def test_the_way_back_and_the_round_trip_are_paid_only_when_something_is_sent():
    # The result of 10 floats is 320 bits: 32 ms at 10 kbit/s.
    study = tiny_study(link=Link(0.002, downlink_bps=1e4))
    np.testing.assert_allclose(study.lines.link_s, [[0.034, 0.034, 0.034, 0]])
    # At 1e5 bit/s a takes 31 + 34 ms, no offloading 60 ms.
    assert study.best_split().to_numpy().tolist() == [
        ["no offloading", "no offloading", "full offloading"]
    ]
    np.testing.assert_allclose(study.latency_s, [[0.060, 0.060, 0.0432]])
    assert study.at(1, 1e6).transfer_s == pytest.approx(0.0032 + 0.034)


def test_waiting_for_a_batch_shifts_latency_and_no_choice():
    profile = profile_of(tiny_graph(), {1: [10 * MS] * 3, 5: [40 * MS] * 3})
    rates = np.geomspace(1e3, 1e8, 40)
    plain = tiny_study(profile=profile, data_rates_bps=rates)
    waits = tiny_study(profile=profile, data_rates_bps=rates, arrival_rate_hz=50)
    assert waits.best.tolist() == plain.best.tolist()
    # (B - 1) / (2 · 50): 0, 10, 20, 30, 40 ms.
    wait = np.array([0, 0.01, 0.02, 0.03, 0.04])
    np.testing.assert_allclose(waits.latency_s, plain.latency_s + wait[:, None])
    np.testing.assert_allclose(
        waits.envelopes[4].switching_rates_bps, plain.envelopes[4].switching_rates_bps
    )
    assert waits.at(5, 1e6).wait_s == pytest.approx(0.04)


POWER = PowerModel(compute_w=5, send_w=2, wait_w=1, source="a guess")


def test_energy_by_hand():
    study = tiny_study(objective="energy", power=POWER)
    assert study.unit == "J"
    # Heads 0, 10, 30, 60 ms at 5 W; tails 6, 5, 3, 0 ms at 1 W; bits at 2 W.
    np.testing.assert_allclose(study.intercepts, [[0.006, 0.055, 0.153, 0.3]])
    np.testing.assert_allclose(study.slopes, [[6400, 3200, 5120, 0]])
    # At 1e4: 646, 375, 665, 300 mJ; at 1e5: 70, 87, 204.2, 300; at 1e6: 12.4, 58.2, ...
    np.testing.assert_allclose(study.cost, [[0.3, 0.070, 0.0124]])
    assert study.best_split().to_numpy().tolist() == [
        ["no offloading", "full offloading", "full offloading"]
    ]
    # Latency is still told: 6 + 32 ms at 1e5.
    np.testing.assert_allclose(study.latency_s, [[0.060, 0.038, 0.0092]])
    assert study.at(1, 1e5).margin == pytest.approx(0.017)
    # a meets no offloading at 3200/0.245, full meets a at 3200/0.049 bit/s: nowhere is a best
    # beyond, since full meets no offloading at 6400/0.294 = 21,769 in between.
    rates = [3200 / 0.245, 3200 / 0.049]
    np.testing.assert_allclose(study.switching_rates()["data_rate_bps"], rates)
    assert study.to_pandas()["device_energy_j"].tolist() == pytest.approx([0.3, 0.070, 0.0124])


def test_link_and_waiting_cost_energy_but_an_unfilled_batch_does_not():
    study = tiny_study(
        objective="energy", power=POWER, link=Link(0.01, downlink_bps=1e4), arrival_rate_hz=1
    )
    # 10 ms and 32 ms on the link at 1 W.
    np.testing.assert_allclose(study.intercepts, [[0.048, 0.097, 0.195, 0.3]])


def test_a_device_that_computes_for_nothing_gains_nothing():
    study = tiny_study(objective="energy", power=replace(POWER, compute_w=0))
    assert set(study.chosen) == {"no offloading"}
    assert study.gain().to_numpy().tolist() == [[0, 0, 0]]
    assert study.gain_at(1, 1e6) == 0
    assert study.mean_gain("full offloading") == 1


def retyped(profile, dtype, graph_dtype=None):
    """The same profile with the tensors of a capture in another element type, other FLOPs too."""
    graph = profile.graph
    other = graph_dtype or dtype

    def spec(one):
        return replace(one, dtype=other)

    layers = tuple(
        replace(layer, outputs=tuple(map(spec, layer.outputs)), flops=7) for layer in graph.layers
    )
    graph = replace(graph, inputs=tuple(map(spec, graph.inputs)), layers=layers)
    return replace(profile, graph=graph, provenance=replace(profile.provenance, dtype=dtype))


@pytest.mark.parametrize("device", ["float16", "int8", "bfloat16"])
@pytest.mark.parametrize(("encoding", "size"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_a_head_in_another_element_type_sends_what_the_encoding_says(device, encoding, size):
    fields = {"input_encoding": "uint8", "feature_encoding": encoding, "data_rates_bps": [1e6]}
    mixed = sweep(retyped(EDGE, device), EDGE, link=Link(), **fields)
    same = sweep(EDGE, EDGE, link=Link(), **fields)
    np.testing.assert_array_equal(mixed.lines.bits, same.lines.bits)
    assert mixed.lines.bits[0, 1] == 50 * size * 8
    np.testing.assert_array_equal(mixed.latency_s, same.latency_s)
    words = f"features {encoding} (converted from the device's {device}, into the server's float32)"
    assert words in mixed.label()
    assert any("which takes time that is not counted" in one for one in mixed.cautions())
    assert "converted" not in same.label()


def test_other_models_are_refused_in_any_element_type():
    fields = {"input_encoding": "uint8", "feature_encoding": "int8", "data_rates_bps": [1e6]}
    half = retyped(EDGE, "float16")
    layers = list(half.graph.layers)
    wider = replace(layers[0].outputs[0], shape=(1, 51))
    layers[0] = replace(layers[0], outputs=(wider,))
    other = replace(half, graph=replace(half.graph, layers=tuple(layers)))
    with pytest.raises(
        ProfileError, match="After 'a' 51 elements leave the edge's head, but the s"
    ):
        sweep(other, EDGE, link=Link(), **fields)
    other = replace(half, graph=replace(half.graph, model="other"))
    with pytest.raises(ProfileError, match="different models: other on the edge, tiny on the ser"):
        sweep(other, EDGE, link=Link(), **fields)


def test_a_batch_size_twice_is_refused():
    with pytest.raises(ValueError, match=r"batch_sizes is \[1, 1\]; give .* each once"):
        tiny_study(batch_sizes=[1, 1])
    with pytest.raises(ValueError, match=r"batch_sizes is \[1\.5\]; give whole numbers"):
        tiny_study(batch_sizes=[1.5])
