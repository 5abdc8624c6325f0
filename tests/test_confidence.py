"""Win probabilities counted by hand; a replicate is the study of the passes that were drawn."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscwb.envelope import best_split
from dscwb.profiles import resampling
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile, Provenance, Separate
from dscwb.profiles.resampling import resampled
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
ALL_CUTS = np.arange(4)
# Every way to draw three of three rounds, twice over: fewer than 40 replicates are refused.
DRAWS = np.array(list(product(range(3), repeat=3)) * 2)


def noisy(plain_ms, shares, batch_size=1):
    """Passes of so many milliseconds, ``(round,)``; shares of a and b in them, ``(round, 2)``."""
    plain = np.array(plain_ms, dtype=float) * MS
    ends = np.insert(np.array(shares, dtype=float), [0, 2], [0.0, 1.0], axis=1)
    return Passes(
        batch_size, plain.astype(np.int64), (plain[:, None] * ends).round().astype(np.int64)
    )


def measured(*passes):
    return Profile(tiny_graph(), Provenance("measured", "bench clock"), passes)


def exact_server(*layers_ms):
    layers = [ms * MS for ms in layers_ms]
    return profile_of(tiny_graph(), {1: layers}, rounds=1, origin="modelled")


def b_or_nothing(server_tail_ms=2, **changes):
    """Either all on the device, 60 ms, or a split after b: 2,560 bits.

    In three rounds b's head takes 30, 50 or 70 % of 60 ms, so leaving the rest to the server saves
    42, 30 or 18 ms less the server's own tail.
    """
    edge = measured(noisy([60, 60, 60], [[0.1, 0.3], [0.1, 0.5], [0.1, 0.7]]))
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [2560 / 0.020],
        "min_depth": 2,
    } | changes
    return sweep(edge, exact_server(1, 1, server_tail_ms), **fields)


@pytest.fixture
def every_draw(monkeypatch):
    """All 27 draws of three rounds, each equally often; other numbers of rounds as always."""
    drawn = (np.arange(3)[:, None, None] == DRAWS).sum(axis=-1)
    counts = resampling._counts
    monkeypatch.setattr(
        resampling, "_counts", lambda key, n, r: drawn if n == 3 else counts(key, n, r)
    )


# --- replicates --------------------------------------------------------------------------------


def test_medians_over_all_draws_of_three(every_draw):
    # The median of three draws is the largest value where it is drawn twice or thrice: 7 of 27.
    heads, tails = resampled(
        noisy([60, 60, 60], [[0.1, 0.3], [0.1, 0.5], [0.1, 0.7]]), ALL_CUTS, (0,), len(DRAWS)
    )
    values, times = np.unique(heads[:, 2].round() / MS, return_counts=True)
    assert (values.tolist(), times.tolist()) == ([18, 30, 42], [14, 26, 14])
    np.testing.assert_allclose(heads + tails, 60 * MS)
    np.testing.assert_allclose(heads[:, 1], 6 * MS)


def test_a_stamped_pass_is_drawn_with_the_plain_pass_beside_it():
    # Apart from each other they would give heads of 0.4 of 10 ms and the like as well.
    heads, _ = resampled(
        noisy([10, 20, 30], [[0.2] * 2, [0.4] * 2, [0.6] * 2]), ALL_CUTS, (0,), 500
    )
    assert sorted(set((heads[:, 1] / MS).round(9))) == [2, 8, 18]


def test_drift_that_both_passes_share_cancels_in_the_shares():
    heads, tails = resampled(noisy([10, 20, 70], [[0.2, 0.4]] * 3), ALL_CUTS, (0,), 200)
    whole = heads + tails
    assert len(np.unique(whole)) == 3
    np.testing.assert_allclose(heads / whole, np.tile([0, 0.2, 0.4, 1], (200, 1)))


def test_a_cut_without_a_stamp_in_a_draw_keeps_the_median_of_all():
    passes = noisy([10, 10, 10], [[0.2, 0.4], [0.3, 0.6], [0.1, 0.5]])
    stamped = passes.stamped_ns.copy()
    stamped[1:, 1] = NOT_STAMPED  # only the first pass stamped a, and 8 of 27 draws leave it out
    heads, _ = resampled(replace(passes, stamped_ns=stamped), ALL_CUTS, (0,), 500)
    np.testing.assert_allclose(heads[:, 1], 2 * MS)


def test_head_and_tail_run_apart_are_drawn_together_with_the_whole():
    none = np.empty((0, 4), dtype=np.int64)
    times = np.array([10, 20, 30]) * MS
    alone = Separate(2, times, 10 * MS - times // 10, 2 * times)
    whole = Separate(3, np.full(3, 100 * MS), np.zeros(3, dtype=np.int64), np.full(3, 100 * MS))
    passes = Passes(1, none[:, 0], none, (alone, whole))
    heads, tails = resampled(passes, np.array([1, 2, 3]), (0,), 200)
    assert np.isnan(heads[:, 0]).all()
    np.testing.assert_allclose(heads[:, 1], 50 * MS)  # half of the whole in every round
    # Tails of 9, 8, 7 ms in wholes of 20, 40, 60 ms: shares that no other pairing gives.
    shares = {9 / 20, 8 / 40, 7 / 60}
    assert {*(tails[:, 1] / (100 * MS)).round(9)} == {round(share, 9) for share in shares}


@pytest.mark.parametrize("kind", ["stamped", "rotating", "halves"])
def test_a_replicate_is_the_study_of_the_passes_drawn(kind):
    rng = np.random.default_rng(3)
    edge, server = (measured(*(some_passes(rng, kind, size) for size in (1, 3))) for _ in range(2))
    fields = {
        "link": Link(0.001),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": np.geomspace(1e4, 1e8, 9),
        "batch_sizes": [1, 2, 3],
        "server_load": 1.5,
        "device_slowdown": 2.0,
    }
    study = sweep(edge, server, **fields)
    found = study.confidence(replicates=40, seed=5)
    drawn = sweep(anew(edge, 5, 0), anew(server, 5, 1), **fields)
    np.testing.assert_allclose([found.intercepts(row)[7] for row in range(3)], drawn.intercepts)


def some_passes(rng, kind, batch_size):
    shares = np.sort(rng.uniform(0.1, 0.9, (7, 2)))
    passes = noisy(rng.uniform(20, 60, 7) * batch_size, shares, batch_size)
    if kind == "rotating":  # passes stamp a and b in turn, the first both
        passes.stamped_ns[1::2, 1] = passes.stamped_ns[2::2, 2] = NOT_STAMPED
    if kind == "halves":
        times = rng.integers(1, 50, (4, 3, 5)) * MS
        halves = tuple(Separate(cut, *times[cut]) for cut in range(4))
        none = np.empty((0, 4), dtype=np.int64)
        return Passes(batch_size, none[:, 0], none, halves)
    return passes


def anew(profile, seed, machine, replicate=7):
    """The profile of those passes that one replicate drew."""

    def rows(key, rounds):
        counts = resampling._counts((seed, machine, *key), rounds, 40)[:, replicate]
        return np.repeat(np.arange(rounds), counts)

    def one(passes):
        here = rows((passes.batch_size,), len(passes.plain_ns)) if len(passes.plain_ns) else []
        halves = tuple(
            Separate(s.cut, *(t[rows((passes.batch_size, s.cut), 5)] for t in s.times()))
            for s in passes.separate
        )
        return Passes(
            passes.batch_size,
            passes.plain_ns[here] if len(here) else passes.plain_ns,
            passes.stamped_ns[here] if len(here) else passes.stamped_ns,
            halves,
        )

    return replace(profile, passes=tuple(one(passes) for passes in profile.passes))


# --- probabilities -----------------------------------------------------------------------------


def test_win_probability_counted_over_all_draws(every_draw):
    # b costs 22 ms beside its head, so it wins where it saves 42 or 30 ms: 20 of 27 draws.
    found = b_or_nothing().confidence(replicates=len(DRAWS))
    assert found.study.splits == ("b", "no offloading")
    np.testing.assert_allclose(found.shares, [[[20 / 27, 7 / 27]]])
    np.testing.assert_allclose(found.probability, [[20 / 27]])
    assert found.undecided.tolist() == [[True]]
    assert found.at(1, 2560 / 0.020) == pytest.approx(20 / 27)
    # Where sending takes 35 ms b saves enough only with the smallest head: 7 of 27.
    assert found.at(1, 2560 / 0.035) == pytest.approx(20 / 27)  # of no offloading, best there
    assert found.at(1, 2560 / 0.010) == pytest.approx(1)


def test_a_seeded_run_comes_near_it():
    found = b_or_nothing().confidence(replicates=20_000)
    error = np.sqrt(20 / 27 * 7 / 27 / 20_000)
    assert found.probability[0, 0] == pytest.approx(20 / 27, abs=4 * error)


def test_switching_rates_lie_between_those_of_the_replicates(every_draw):
    # b saves 42, 30 or 18 ms: less 2 ms on the server its 2,560 bits may take 40, 28 or 16 ms.
    row = b_or_nothing().confidence(replicates=len(DRAWS)).switching_rates().iloc[0]
    assert (row["batch_size"], row["below"], row["above"]) == (1, "no offloading", "b")
    rates = row[["low_bps", "data_rate_bps", "high_bps"]].tolist()
    assert rates == pytest.approx([2560 / 0.040, 2560 / 0.028, 2560 / 0.016])


def test_lines_that_do_not_meet_in_some_replicates_make_the_interval_endless(every_draw):
    # With 20 ms on the server the third round's b saves nothing at any rate.
    found = b_or_nothing(server_tail_ms=20).confidence(replicates=len(DRAWS))
    row = found.switching_rates().iloc[0]
    assert row["low_bps"] == pytest.approx(2560 / 0.022)
    assert row["high_bps"] == np.inf


def test_energy_counts_the_replicates_heads_and_tails_in_watts():
    power = PowerModel(compute_w=2, send_w=3, wait_w=0.5, source="by hand")
    seconds = b_or_nothing().confidence()
    joules = b_or_nothing(objective="energy", power=power).confidence()
    b, nothing = seconds.intercepts(0).T
    # 2 W for the head, half a watt for the server's 2 ms.
    np.testing.assert_allclose(joules.intercepts(0).T, [2 * (b - 0.002) + 0.001, 2 * nothing])


def test_no_noise_no_doubt():
    profile = profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]})
    study = sweep(
        profile,
        profile_of(tiny_graph(), {1: [MS, 2 * MS, 3 * MS]}),
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e4, 1600 / 0.045, 1e5, 1600 / 0.009, 1e6],  # the exact rates among them
    )
    found = study.confidence(replicates=50)
    assert np.all(found.probability == 1)
    assert not found.undecided.any()
    rates = found.switching_rates()
    np.testing.assert_array_equal(rates["low_bps"], rates["data_rate_bps"])
    np.testing.assert_array_equal(rates["high_bps"], rates["data_rate_bps"])
    for baseline in ("no offloading", "full offloading", "best static", "b"):
        mean = study.mean_gain(baseline)
        assert found.mean_gain(baseline) == pytest.approx((mean, mean), abs=1e-14)


def test_a_scaled_server_is_drawn_with_the_device():
    """At an endless rate a server ten times as fast gains 90 %, however noisy both are."""
    rng = np.random.default_rng(0)
    edge = measured(some_passes(rng, "stamped", 1))
    twin = replace(edge, passes=tuple(replace(p, plain_ns=p.plain_ns.copy()) for p in edge.passes))
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e18],
    }
    for copy in (scale_profile(edge, 10), scale_profile(twin, 10)):
        low, high = sweep(edge, copy, **fields).confidence().mean_gain()
        assert (low, high) == pytest.approx((0.9, 0.9), abs=1e-9)
    other = scale_profile(measured(some_passes(rng, "stamped", 1)), 10)
    low, high = sweep(edge, other, **fields).confidence().mean_gain()
    assert high - low > 0.01


def test_interpolated_rows_mix_the_replicates_of_their_neighbours():
    rng = np.random.default_rng(1)
    edge = measured(some_passes(rng, "stamped", 1), some_passes(rng, "stamped", 5))
    study = sweep(
        edge,
        scale_profile(edge, 10),
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e5],
        batch_sizes=[1, 2, 5],
    )
    one, two, five = map(study.confidence().intercepts, range(3))
    assert two.std() > 0
    np.testing.assert_allclose(two, 0.75 * one + 0.25 * five)


def test_profiles_without_repeats_are_exact_and_named():
    study = b_or_nothing()
    assert study.confidence().exact == ("server",)
    assert "without repeats, taken as exact: server" in study.confidence().label()
    both = sweep(
        study.server,
        study.server,
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e5],
    )
    assert both.confidence().exact == ("edge", "server")
    assert np.all(both.confidence().probability == 1)
    some = measured(noisy([60, 61], [[0.1, 0.3]] * 2), noisy([90], [[0.1, 0.3]], 2))
    mixed = sweep(
        some,
        some,
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e5],
    )
    assert mixed.confidence().exact == ("edge at batch size 2", "server at batch size 2")


def test_a_head_too_large_for_the_device_never_wins():
    study = b_or_nothing(min_depth=0, memory_cap_bytes=590)
    excluded = np.flatnonzero(study.lines.too_large[0])
    assert len(excluded)
    found = study.confidence()
    assert not found.shares[..., excluded].any()
    assert np.isnan(found.mean_gain(study.splits[excluded[0]])).all()


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    study = b_or_nothing()
    one, same, other = study.confidence(), study.confidence(), study.confidence(seed=1)
    np.testing.assert_array_equal(one.shares, same.shares)
    np.testing.assert_array_equal(one.intercepts(0), same.intercepts(0))
    assert np.any(one.intercepts(0) != other.intercepts(0))
    assert (one.replicates, one.seed, other.seed) == (1000, 0, 1)


ROUNDS = st.lists(st.tuples(*[st.integers(0, 50)] * 3).filter(any), min_size=1, max_size=4)


@settings(max_examples=60)
@given(ROUNDS, ROUNDS, st.floats(0, 1e-6))
def test_shares_are_those_of_deciding_every_replicate(edge_ns, server_ns, round_trip_s):
    def profile(rounds):
        stamps = np.insert(np.cumsum(rounds, axis=1), 0, 0, axis=1)
        return measured(Passes(1, stamps[:, -1], stamps))

    study = sweep(
        profile(edge_ns),
        profile(server_ns),
        link=Link(round_trip_s),
        input_encoding="uint8",
        feature_encoding="float32",
        data_rates_bps=np.geomspace(1e2, 1e14, 25),
    )
    found = study.confidence(replicates=40)
    np.testing.assert_allclose(found.shares.sum(axis=-1), 1)
    best = best_split(found.intercepts(0), study.slopes[0], study.data_rates_bps)
    counted = (best[..., None] == np.arange(len(study.splits))).mean(axis=0)
    np.testing.assert_allclose(found.shares[0], counted)
    for column, own in enumerate(study.best[0]):
        share = counted[column, own]
        assert found.probability[0, column] == pytest.approx(share)
        assert found.at(1, study.data_rates_bps[column]) == pytest.approx(share)


def test_misuse_is_named():
    study = b_or_nothing()
    with pytest.raises(ValueError, match="replicates is 39; give a whole number from 40 up"):
        study.confidence(replicates=39)
    with pytest.raises(ValueError, match="seed is -1; give a whole number from 0 up"):
        study.confidence(seed=-1)
    found = study.confidence(replicates=40)
    with pytest.raises(ValueError, match="Batch size 2 is not on this grid"):
        found.at(2, 1e5)
    with pytest.raises(ValueError, match="Data rate -1 bit/s"):
        found.at(1, -1)
    with pytest.raises(ValueError, match="'z' is not a candidate here"):
        found.mean_gain("z")


def test_progress_is_told_and_may_end_the_work():
    study = b_or_nothing()
    told = []
    found = study.confidence(40, progress=lambda done, steps: told.append((done, steps)))
    assert told == [(0, 3), (1, 3), (2, 3)]  # two machines are drawn, one batch size decided
    np.testing.assert_array_equal(found.probability, study.confidence(40).probability)

    def enough(done, steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.confidence(40, progress=enough)
