"""Whether an answer survives a wrong model: flips by hand, ranges against brute force."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dscwb.figures import plot_best_split
from dscwb.profiles.library import scale_profile
from dscwb.profiles.transfers import Transfers
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from dscwb.study.sureness import about_models, model_errors, robust, undecided
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
LAYERS_NS = {1: [10 * MS, 20 * MS, 30 * MS]}
SERVER_NS = {1: [1 * MS, 2 * MS, 3 * MS]}
ASSUMED = "server assumed, error unknown, 2 × slower and faster were tried"
KNOWN = "server modelled, nine in ten such times are at most 1.25 × off"
UNKNOWN = "server modelled, error unknown, 2 × slower and faster were tried"


def machine(layers_ns, origin="measured", error=None, rounds=3):
    profile = profile_of(tiny_graph(), layers_ns, origin=origin, rounds=rounds)
    return replace(profile, provenance=replace(profile.provenance, time_error=error))


def modelled(error=None, layers_ns=SERVER_NS):
    return machine(layers_ns, "modelled", error, rounds=1)


def study(server=None, edge=None, **changes):
    """Full offloading, a, b and no offloading cost, at 160 kbit/s:

    20 + 6 ms, 10 + 10 + 5 ms, 30 + 16 + 3 ms, 60 ms: of these the server has 6, 5, 3 and 0 ms.
    """
    edge = edge or machine(LAYERS_NS)
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1.6e5],
    } | changes
    return sweep(edge, server or scale_profile(edge, 10), **fields)


def flips(found):
    return [(one.device, one.server, one.split, one.inside) for one in found.flips]


def dear(layers_ns, sizes):
    """A measured machine whose stamps cost 30 % at these batch sizes."""
    profile = machine(layers_ns, rounds=5)
    passes = [
        replace(one, stamped_ns=one.stamped_ns * (13 if one.batch_size in sizes else 10) // 10)
        for one in profile.passes
    ]
    return replace(profile, passes=tuple(passes))


def test_an_answer_of_biased_times_is_not_sure_whatever_the_bootstrap_says():
    both = dict.fromkeys((1, 2), LAYERS_NS[1])
    server = machine(dict.fromkeys((1, 2), SERVER_NS[1]), rounds=5)
    found = study(server, dear(both, {2}))
    confidence = found.confidence(replicates=50)
    assert not confidence.undecided.any()
    assert found.how_sure(1, 1.6e5, confidence).status == "sure"
    told = found.how_sure(2, 1.6e5, confidence)
    assert told.status == "not sure"
    assert told.why == "Not sure: the device's times at batch size 2 are biased"
    assert undecided(found, confidence.undecided).tolist() == [[False], [True]]
    caption = plot_best_split(found, confidence=confidence).layout.annotations[-1].hovertext
    words = " ".join(caption.replace("<br>", " ").split())
    assert "raw passes, or times at batch size 2 are biased or unreliable: 50 % of" in words


# --- flips by hand -----------------------------------------------------------------------------


def test_where_another_line_crosses():
    # a costs 20 + 5 f, full offloading 20 + 6 f: they meet at no server but one of no time at all.
    # No offloading costs 60 at all times: 20 + 5 f = 60 at f = 8.
    found = study().how_sure(1, 1.6e5)
    assert found.split == "a"
    assert flips(found) == [(1.0, pytest.approx(8), "no offloading", False)]
    # At 200 kbit/s full offloading costs 16 + 6 f, a 18 + 5 f: they meet at f = 2.
    found = study().how_sure(1, 2e5)
    assert found.split == "full offloading"
    assert flips(found) == [(1.0, pytest.approx(2), "a", True)]


def test_the_range_is_the_known_error_or_twice_either_way():
    # At 190 kbit/s full offloading costs 16.84 + 6 f, a 18.42 + 5 f: they meet at f = 1.58.
    for server, holds in ((modelled(0.5), True), (modelled(0.6), False), (modelled(), False)):
        found = study(server, data_rates_bps=[1.9e5])
        assert found.how_sure(1, 1.9e5).flips[0].inside is not holds
        assert robust(found).tolist() == [[holds]]
    # At 205 kbit/s they meet at f = 2.2.
    assert robust(study(modelled(), data_rates_bps=[2.05e5]))[0, 0]


def test_measured_and_imported_machines_have_no_model_error():
    for origin in ("measured", "imported"):
        other = machine(SERVER_NS, origin)
        assert model_errors(study(other)) == ()
        assert robust(study(other)).all()
        assert study(other).how_sure(1, 2e5).why == ""
        assert about_models(study(other)) == ""


def test_an_assumed_machine_has_not_the_error_of_the_model_it_was_made_of():
    [device, server] = model_errors(study(edge=modelled(0.1, LAYERS_NS)))
    assert (device.factor, device.known, device.machine) == (1.1, True, "device")
    assert (server.factor, server.known, server.origin) == (2.0, False, "assumed")


def test_factors_of_the_scenario_come_first():
    # A server four times loaded: a costs 20 + 20 f, no offloading 60, full offloading 20 + 24 f.
    loaded = study(server_load=4.0).how_sure(1, 1.6e5)
    assert flips(loaded)[0] == (1.0, pytest.approx(2), "no offloading", True)
    # A device assumed slower by half: a costs 10 + 5 + 15 f, full offloading 26: f = 11 / 15.
    slow = study(machine(SERVER_NS), machine(LAYERS_NS, "assumed"), device_slowdown=1.5)
    assert slow.how_sure(1, 1.6e5).split == "full offloading"
    assert flips(slow.how_sure(1, 1.6e5)) == [(pytest.approx(11 / 15), 1.0, "a", True)]


def test_joules_count_as_joules():
    # 10 W computing, 5 W sending, 2 W waiting. In mJ: full 100 + 12 f, a 100 + 50 + 10 f.
    power = PowerModel(10, 5, 2, "by hand")
    found = study(objective="energy", power=power).how_sure(1, 1.6e5)
    assert found.split == "full offloading"
    # Then b, 300 + 80 + 6 f, is dearer, and no offloading, 600: 50 / 2 is the first to come.
    assert flips(found) == [(1.0, pytest.approx(25), "a", False)]


def test_what_does_not_fit_into_the_memory_never_takes_over():
    # Every head needs 600 bytes or more, see test_scene.
    found = study(memory_cap_bytes=599.0).how_sure(1, 1e4)
    assert (found.split, found.flips) == ("full offloading", ())
    assert found.why.startswith("The answer stays the same however fast the server is")


def test_both_machines_may_be_off_at_once():
    # f on the device, g on the server: a costs 10 f + 10 + 5 g, full offloading 20 + 6 g.
    both = study(modelled(0.25), modelled(0.25, LAYERS_NS))
    found = both.how_sure(1, 1.6e5)
    # Towards (1.25, 0.8) a rises by 2.5 - 1 ms, full offloading by - 1.2: 1 ms is gone at 1 / 2.7.
    way = 1 / 2.7
    expected = (pytest.approx(1 + 0.25 * way), pytest.approx(1 - 0.2 * way), "full offloading")
    assert flips(found)[0] == (*expected, True)
    assert len([one for one in found.flips if one.inside]) == 2  # and with the server slower
    assert not robust(both)[0, 0]
    # At 100 kbit/s a costs 10 f + 16 + 5 g, full offloading 32 + 6 g: no corner changes that.
    slower = study(modelled(0.25), modelled(0.25, LAYERS_NS), data_rates_bps=[1e5])
    assert robust(slower)[0, 0]
    assert not any(one.inside for one in slower.how_sure(1, 1e5).flips)


# --- against brute force -----------------------------------------------------------------------

ROUNDING = 1e-9  # of costs that are the same
LAYERS = st.lists(st.integers(1, 1000), min_size=3, max_size=3)
ERROR = st.one_of(st.none(), st.floats(0, 3))
ORIGIN = st.sampled_from(["measured", "modelled", "assumed"])
SCENARIO = st.fixed_dictionaries(
    {
        "server_load": st.floats(1, 5),
        "device_slowdown": st.floats(1, 5),
        "link": st.floats(0, 1e-3).map(Link),
        "objective": st.sampled_from(["latency", "energy"]),
        "power": st.builds(
            PowerModel, st.floats(0.1, 9), st.floats(0.1, 9), st.floats(0.1, 9), st.just("drawn")
        ),
    }
)
STATES = st.tuples(LAYERS, ORIGIN, ERROR, LAYERS, ORIGIN, ERROR, SCENARIO, st.floats(5, 9))


def drawn(layers, origin, error, server_layers, server_origin, server_error, scenario, decade):
    edge = machine({1: [1000 * ns for ns in layers]}, origin, error)
    server = machine({1: [1000 * ns for ns in server_layers]}, server_origin, server_error)
    return study(server, edge, data_rates_bps=[10**decade], **scenario)


def costs_if(states, device, server):
    """Every split's cost, by a study of machines that are really so slow."""
    machines = (
        replace(profile, time_scale=factor)
        for profile, factor in ((states.edge, device), (states.server, server))
    )
    slow = sweep(*machines, states.scenario, data_rates_bps=states.data_rates_bps)
    return slow.intercepts[0] + slow.slopes[0] / states.data_rates_bps[0]


def tried(states, rng, number=50):
    """Factors drawn from all of the range, its corners among them."""
    spans = {one.machine: np.log(one.factor) for one in model_errors(states)}
    spans = [spans.get(name, 0.0) for name in ("device", "server")]
    corners = [(a, b) for a in (-1, 1) for b in (-1, 1)]
    places = [*corners, *rng.uniform(-1, 1, (number, 2))]
    return [np.exp(np.multiply(place, spans)) for place in places]


@settings(max_examples=60, deadline=None)
@given(STATES, st.integers(0, 2**32))
def test_robust_means_best_all_over_the_range(state, seed):
    states = drawn(*state)
    best = int(states.best[0, 0])
    costs = [costs_if(states, *off) for off in tried(states, np.random.default_rng(seed))]
    worst = max(cost[best] / cost.min() - 1 for cost in costs)
    tie = min(np.diff(np.sort(cost)[:2])[0] / cost.min() for cost in costs)
    assume(worst > ROUNDING or tie > ROUNDING)
    inside = any(one.inside for one in states.how_sure(1, states.data_rates_bps[0]).flips)
    assert robust(states)[0, 0] == (worst <= ROUNDING) == (not inside)


@settings(max_examples=60, deadline=None)
@given(STATES)
def test_at_a_flip_two_splits_cost_the_same_and_before_it_the_own_is_best(state):
    states = drawn(*state)
    found = states.how_sure(1, states.data_rates_bps[0])
    best = states.splits.index(found.split)
    for flip in found.flips:
        cost = costs_if(states, flip.device, flip.server)
        other = states.splits.index(flip.split)
        np.testing.assert_allclose(cost[best], cost[other], rtol=ROUNDING)
        np.testing.assert_allclose(cost.min(), cost[best], rtol=ROUNDING)
        half = costs_if(states, (1 + flip.device) / 2, (1 + flip.server) / 2)
        np.testing.assert_allclose(half.min(), half[best], rtol=ROUNDING)


# --- words -------------------------------------------------------------------------------------


def test_sure_wherever_the_server_may_lie():
    found = study()
    sure = found.how_sure(1, 1.6e5, found.confidence(40))
    assert (sure.status, sure.probability) == ("sure", 1.0)
    assert sure.why == (
        "Sure: >99 % by the device's measurements, and the answer stays the same until the server "
        f"is 8 × slower ({ASSUMED})"
    )


def test_sure_only_if_the_model_is_right():
    found = study(modelled(0.25), data_rates_bps=[1.7e5])
    # At 170 kbit/s full offloading costs 18.8 + 6 f and a 19.4 + 5 f: they meet at f = 0.588.
    assert found.how_sure(1, 1.7e5, found.confidence(40)).status == "sure"
    # At 178 kbit/s 17.978 + 6 f and 18.989 + 5 f, a little above f = 1.
    sure = found.how_sure(1, 1.78e5, found.confidence(40))
    assert sure.status == "sure if the model is right"
    assert sure.why == (
        "Sure if the server is as fast as modelled: >99 % by the device's measurements, but with "
        f"the server 1.01 × slower, a split after a would be best ({KNOWN})"
    )


def test_not_sure_by_the_measurements_whatever_the_model():
    edge = machine(LAYERS_NS)
    # Two splits that meet within the noise: half of the draws say a, half full offloading.
    edge.passes[0].stamped_ns[:, 1] = [9 * MS, 11 * MS, 12 * MS]
    found = study(modelled(), edge, data_rates_bps=[1600 / 0.010])
    sure = found.how_sure(1, 1.6e5, found.confidence(400))
    assert sure.status == "not sure"
    assert sure.probability < 0.95
    assert sure.why.startswith("Not sure: ")
    assert "% by the device's measurements, against " in sure.why
    assert sure.why.endswith(f"would be best ({UNKNOWN})")


def test_two_measured_machines_speak_for_themselves():
    found = study(machine(SERVER_NS))
    sure = found.how_sure(1, 1.6e5, found.confidence(40))
    assert (sure.status, sure.errors, sure.flips) == ("sure", (), ())
    assert sure.why == "Sure: >99 % by the measurements of both machines"


def test_times_without_spread_are_not_sure():
    once = machine(LAYERS_NS, "imported", rounds=1)
    found = study(machine(SERVER_NS, "imported", rounds=1), once)
    sure = found.how_sure(1, 1.6e5, found.confidence(40))
    assert (sure.status, sure.probability) == ("not sure", None)
    assert sure.why == "How sure is not known (times without spread)"
    found = study(edge=once)
    assert found.how_sure(1, 1.6e5, found.confidence(40)).why == (
        "How sure is not known (times without spread); the answer stays the same until the server "
        f"is 8 × slower ({ASSUMED})"
    )


def test_two_models_are_told_apart_and_tried_at_once():
    found = study(modelled(0.25), modelled(0.1, LAYERS_NS), data_rates_bps=[1e5])
    sure = found.how_sure(1, 1e5, found.confidence(40))
    label = f"device modelled, nine in ten such times are at most 1.1 × off; {KNOWN}"
    assert sure.status == "sure"
    assert sure.why == (
        "Sure by the models alone: the answer stays the same even if both are off at once "
        f"({label})"
    )
    sure = found.how_sure(1, 1.7e5, found.confidence(40))
    assert sure.status == "sure if the model is right"
    assert sure.why.startswith("Sure if both models are right: with the device 1.0")
    assert sure.why.endswith(f", full offloading would be best ({label})")


def test_before_the_bootstrap_only_the_model_is_spoken_of():
    sure = study().how_sure(1, 1.6e5)
    assert (sure.status, sure.probability) == ("not sure", None)
    assert sure.why == f"The answer stays the same until the server is 8 × slower ({ASSUMED})"
    assert (
        study(modelled(1.5))
        .how_sure(1, 2e5)
        .why.startswith("With the server 2 × slower, a split after a would be best")
    )


def test_a_confidence_of_another_study_is_refused():
    with pytest.raises(ValueError, match="This confidence is of another study"):
        study().how_sure(1, 1.6e5, study().confidence(40))


def test_how_much_of_a_grid_hangs_on_the_model():
    # Full offloading holds to f = 2 at 200 kbit/s exactly, and to no f below 1.
    found = study(data_rates_bps=[1e4, 1.6e5, 1.79e5, 1e9])
    assert robust(found).tolist() == [[True, True, False, True]]
    assert about_models(found) == (
        f"{ASSUMED.capitalize()}: in 25 % of these states another split would then be best."
    )
    assert "in none of these states" in about_models(study(data_rates_bps=[1e4]))


def test_a_split_whose_copies_nobody_measured_hides_no_flip():
    # The input's 400 bytes lie beyond the copies' sizes, so full offloading is not possible. With
    # the server 8 times as slow, a costs 10 + 10 + 40 ms, as no offloading.
    sizes, times = np.array([1, 320]), np.ones((2, 3), dtype=np.int64)
    server = scale_profile(
        replace(machine(LAYERS_NS), transfers=Transfers(sizes, times, times)), 10
    )
    found = study(server)
    assert np.isnan(found.intercepts[0, 0])
    [flip] = found.how_sure(1, 1.6e5).flips
    assert (flip.split, flip.inside) == ("no offloading", False)
    assert flip.server == pytest.approx(8)
