"""Which cuts can ever be best: by hand on the tiny model, and against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscwb.graph import Block, Layer, ModelGraph
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from dscwb.study.dominance import record_low
from tests.tiny import profile_of, spec, tiny_graph

MS = 1_000_000
MANY = settings(max_examples=2000)
BLOCKS = "abcdefg"
POWER = PowerModel(compute_w=5, send_w=2, wait_w=1, source="a guess")
FIELDS = {
    "link": Link(),
    "input_encoding": "float32",
    "feature_encoding": "float32",
    "data_rates_bps": [1e4, 1e5, 1e6],
}


def study(edge_ns, server_ns, **changes):
    """The tiny model: 3200, 1600, 2560 and 0 bits for full, a, b and no offloading."""
    graph = tiny_graph()
    edge, server = (profile_of(graph, {1: layers}) for layers in (edge_ns, server_ns))
    return sweep(edge, server, **(FIELDS | changes))


def chain(payloads):
    """A model of one block after the other, whose tensors have so many elements."""
    names = ["x", *BLOCKS[: len(payloads) - 1]]
    layers = tuple(
        Layer("linear", name, (before,), (spec(name, size),))
        for before, name, size in zip(names[:-1], names[1:], payloads[1:], strict=True)
    )
    blocks = tuple(Block(name, "Linear", k) for k, name in enumerate(names[1:], start=1))
    return ModelGraph("chain", (spec("x", payloads[0]),), layers, (names[-1],), blocks)


# Record-low cuts


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=3))
def test_record_low_is_strictly_below_all_before(bits):
    expected = [[all(b < other for other in row[:k]) for k, b in enumerate(row)] for row in bits]
    assert record_low(np.array(bits, dtype=float)).tolist() == expected


# By hand


def test_a_faster_server_leaves_only_record_low_cuts():
    dominance = study([10 * MS, 20 * MS, 30 * MS], [1 * MS, 2 * MS, 3 * MS]).dominance()
    assert dominance.holds
    assert dominance.slower.empty
    assert dominance.record_low == ("full offloading", "a", "no offloading")
    assert dominance.needed == ()
    assert dominance.beyond_compressive == ()
    assert (dominance.mean_loss, dominance.worst_loss) == (0, 0)
    assert "only the 3 record-low cuts can ever be best" in str(dominance)


def test_a_slow_layer_on_the_server_is_found_and_what_it_makes_best_is_named():
    # The server takes 90 ms for b instead of 20. Intercepts: full 94, a 103, b 33, none 60 ms; so b
    # meets no offloading at 2560 bits / 27 ms = 94,815 bit/s and full at 640 / -61 ms: never.
    found = study([10 * MS, 20 * MS, 30 * MS], [1 * MS, 90 * MS, 3 * MS])
    dominance = found.dominance()
    assert not dominance.holds
    [slower] = dominance.slower.itertuples()
    assert (slower.batch_size, slower.after, slower.until) == (1, "a", "b")
    assert slower.device_s == pytest.approx(0.020)
    assert slower.server_s == pytest.approx(0.090)
    assert dominance.record_low == ("full offloading", "a", "no offloading")
    assert dominance.needed == dominance.beyond_compressive == ("b",)
    np.testing.assert_allclose(found.switching_rates()["data_rate_bps"], [2560 / 0.027])
    # At 1e5 b takes 58.6 ms and no offloading 60; at 1e6 35.56 and 60.
    losses = np.array([0, 60 / 58.6 - 1, 60 / 35.56 - 1])
    assert dominance.mean_loss == pytest.approx(losses.mean())
    assert dominance.worst_loss == pytest.approx(losses.max())
    assert str(dominance).startswith("1 stretch is slower on the server")
    assert "may be best: after b." in str(dominance)


def test_a_loaded_server_breaks_the_premise_and_the_largest_stretch_comes_first():
    dominance = study([1 * MS] * 3, [1 * MS] * 3, server_load=4, device_slowdown=2).dominance()
    assert dominance.slower.after.tolist() == ["full offloading", "a", "b"]
    assert dominance.slower.loc[0, ["device_s", "server_s"]].tolist() == pytest.approx(
        [0.002, 0.004]
    )
    uneven = study([1 * MS] * 3, [2 * MS, 9 * MS, 3 * MS]).dominance()
    assert uneven.slower.after.tolist() == ["a", "b", "full offloading"]


def test_for_energy_a_second_counts_what_it_draws():
    # Twice as slow on the server, but a second there costs a fifth.
    slow = {"objective": "energy", "power": POWER}
    assert study([1 * MS] * 3, [2 * MS] * 3, **slow).dominance().holds
    assert not study([1 * MS] * 3, [6 * MS] * 3, **slow).dominance().holds
    assert not study([1 * MS] * 3, [2 * MS] * 3).dominance().holds


def test_equal_machines_hold_in_spite_of_roundings():
    dominance = study([1, 3, 7], [1, 3, 7]).dominance()
    assert dominance.holds
    assert dominance.needed == ()


def test_stretches_reach_across_candidates_without_times():
    # Of b there are no times; behind a the server is slower, which only a to output shows.
    found = study([10 * MS, 20 * MS, 30 * MS], [1 * MS, 90 * MS, 3 * MS])
    lines = replace(found.lines, head_s=found.lines.head_s.copy())
    lines.head_s[:, 2] = np.nan
    states = type(found).of(found.edge, found.server, found.scenario, lines, [1e6])
    [slower] = states.dominance().slower.itertuples()
    assert (slower.after, slower.until) == ("a", "no offloading")
    assert slower.device_s == pytest.approx(0.050)
    assert slower.server_s == pytest.approx(0.093)
    assert "b" not in states.dominance().record_low


def test_compressive_cuts_may_lose_where_only_record_low_ones_are_best():
    # Neither a nor b is a bottleneck in elements; as int8 they send fewer bits all the same.
    graph = chain([100, 150, 125, 10])
    edge = profile_of(graph, {1: [10 * MS, 20 * MS, 30 * MS]})
    fields = FIELDS | {"feature_encoding": "int8"}
    found = sweep(edge, scale_profile(edge, 10), **fields)
    # Intercepts 6, 15, 33, 60 ms; bits 3200, 1200, 1000, 0.
    dominance = found.dominance()
    assert dominance.record_low == ("full offloading", "a", "b", "no offloading")
    assert dominance.beyond_compressive == ("a",)
    # At 1e5: a 15 + 12 = 27 ms; of the others full 6 + 32 = 38 ms. Elsewhere nothing is lost.
    assert dominance.worst_loss == pytest.approx(38 / 27 - 1)
    assert dominance.mean_loss == pytest.approx((38 / 27 - 1) / 3)


# Against every envelope

CHAINS = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 30), min_size=n + 1, max_size=n + 1),
        st.lists(st.integers(0, 20), min_size=n, max_size=n).filter(any),
        st.lists(st.integers(0, 20), min_size=n, max_size=n).filter(any),
    )
)


@MANY
@given(CHAINS, st.sampled_from(["float32", "int8"]), st.booleans())
def test_where_it_holds_only_record_low_cuts_are_ever_best(model, encoding, energy):
    payloads, edge_ns, server_ns = model
    graph = chain(payloads)
    more = {"objective": "energy", "power": POWER} if energy else {}
    found = sweep(
        profile_of(graph, {1: edge_ns}, rounds=1),
        profile_of(graph, {1: server_ns}, rounds=1),
        **(FIELDS | more | {"feature_encoding": encoding}),
    )
    dominance = found.dominance()
    factor = 5 if energy else 1  # 5 W against 1 W
    premise = all(s <= factor * e for e, s in zip(edge_ns, server_ns, strict=True))
    assert dominance.holds == premise
    rates = found.envelopes[0].switching_rates_bps
    # A rate of 10^15 bit/s and more is one of roundings: an element takes a nanosecond and more.
    best = {found.splits[i] for i in found.envelopes[0].best_split([1e-9, *rates[rates < 1e15]])}
    if dominance.holds:
        assert best <= set(dominance.record_low)
        assert dominance.needed == ()
    assert best <= set(dominance.record_low) | set(dominance.needed)


@settings(max_examples=1000)
@given(CHAINS, st.data())
def test_a_planted_slow_layer_is_named_with_what_becomes_best(model, data):
    payloads, edge_ns, server_ns = model
    at = data.draw(st.integers(0, len(edge_ns) - 2))  # before the last nothing would be gained
    edge_ns = [ns + 1 for ns in edge_ns]  # so that the server is faster in every other layer
    server_ns = [min(e - 1, s) for e, s in zip(edge_ns, server_ns, strict=True)]
    server_ns[at] = 10_000
    # Behind it stands more to send than before it, so that it is not record-low.
    payloads[at + 1] = payloads[at] + 1
    graph = chain(payloads)
    found = sweep(
        profile_of(graph, {1: edge_ns}, rounds=1),
        profile_of(graph, {1: server_ns}, rounds=1),
        **FIELDS,
    )
    dominance = found.dominance()
    assert not dominance.holds
    assert dominance.slower.after.tolist() == [found.splits[at]]
    # At an endless rate only what must be computed counts, and all behind it is faster there.
    behind = found.splits[at + 1]
    assert found.splits[found.envelopes[0].splits[-1]] == behind
    assert behind not in dominance.record_low
    assert behind in dominance.needed
