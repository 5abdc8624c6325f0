import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.library import calibration, model_error
from dscwb.profiles.medians import quantile
from dscwb.profiles.passes import half_width, overhead
from dscwb.profiles.pooling import pooled
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.resampling import resampled
from tests.tiny import profile_of, tiny_graph


def noisy_passes(rng, rounds, ratio=1.0, scatter=0.1):
    """Four cuts at 0, 1, 4, 10 tenths; stamped passes `ratio` times as long as plain ones."""
    plain = 1e6 * np.exp(scatter * rng.standard_normal(rounds))
    own = ratio * 1e6 * np.exp(scatter * rng.standard_normal(rounds))
    return plain.astype(int), (own[:, None] * [0, 0.1, 0.4, 1]).astype(int)


def profile_with(separate):
    plain, stamped = np.array([1000] * 3), np.array([[0, 100, 400, 1000]] * 3)
    passes = (Passes(1, plain, stamped, separate),)
    return Profile(tiny_graph(), Provenance("measured", "bench clock"), passes)


def test_calibration_holds_the_truth_19_times_in_20():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        ratio, low, high = overhead(*noisy_passes(rng, 40, ratio=1.05))
        assert low <= ratio <= high
        hits += low <= 1.05 <= high
    assert hits / 200 == pytest.approx(0.95, abs=0.05)


def test_calibration_is_a_paired_ratio():
    # Plain 100, 200, 300, stamped a tenth more each: the pairs have no scatter, whatever the drift.
    plain = np.array([100, 200, 300])
    stamped = np.column_stack([0 * plain, plain * 11 // 10])
    assert overhead(plain, stamped) == pytest.approx((1.1, 1.1, 1.1))


@pytest.mark.parametrize(
    ("rounds", "ends"),
    # Of 9 ratios at most 1 lies below the median in (1 + 9)/512 < 2.5 % of all cases, at most 2 in
    # 46/512 > 2.5 %; of 5 not even none: 1/32. 10,000 are nearly normal: 5,000 ± 1.96 · 50.
    [(1, (0, 0)), (5, (0, 4)), (9, (1, 7)), (10_000, (4901, 5098))],
)
def test_calibration_lies_between_two_of_the_ratios(rounds, ends):
    plain, stamped = noisy_passes(np.random.default_rng(1), rounds)
    ratios = np.sort(stamped[:, -1] / plain)
    _, low, high = overhead(plain, stamped)
    assert [np.searchsorted(ratios, low), np.searchsorted(ratios, high)] == pytest.approx(
        ends, abs=1
    )
    if rounds < 100:
        assert (low, high) == tuple(ratios[list(ends)])


def test_the_same_passes_have_the_same_half_width():
    passes = noisy_passes(np.random.default_rng(1), 15)
    assert half_width(*passes) == half_width(*passes)


def test_calibration_of_a_profile_without_passes_is_not_a_number():
    apart = Separate(1, np.array([3]), np.array([7]))
    none = Passes(1, np.empty(0, np.int64), np.empty((0, 4), np.int64), (apart,))
    imported = Profile(tiny_graph(), Provenance("imported", "somebody's board"), (none,))
    assert np.isnan(overhead(none.plain_ns, none.stamped_ns)).all()
    assert np.isnan(calibration(imported, 1)).all()


@pytest.mark.parametrize("judge", [calibration, model_error])
def test_a_batch_size_that_was_not_measured_is_named(judge):
    with pytest.raises(ProfileError, match="batch size 3"):
        judge(profile_of(tiny_graph(), {1: [1, 2, 3]}), 3)


def test_half_width_of_equal_passes_is_zero():
    assert half_width(np.array([1000] * 5), np.array([[0, 100, 1000]] * 5)) == 0


def test_half_width_shrinks_with_the_root_of_the_passes():
    rng = np.random.default_rng(1)
    few, many = (np.mean([half_width(*noisy_passes(rng, n)) for _ in range(20)]) for n in (50, 800))
    assert few / many == pytest.approx(4, rel=0.2)
    # Of a normal median: 1.96 · 1.2533 · 10 % / √50.
    assert few == pytest.approx(0.0347, rel=0.15)


def test_half_width_sees_a_head_that_scatters_more_than_the_whole():
    rng = np.random.default_rng(1)
    plain = np.full(50, 1000)
    head = rng.integers(100, 900, 50)
    steady = np.column_stack([0 * plain, np.full(50, 500), plain])
    assert half_width(plain, steady) == 0
    assert half_width(plain, np.column_stack([0 * plain, head, plain])) > 0.05


def test_half_width_of_rotating_stamps_counts_those_taken():
    rng = np.random.default_rng(1)
    plain, stamped = noisy_passes(rng, 60)
    stamped[::2, 1] = stamped[1::2, 2] = NOT_STAMPED
    assert half_width(plain, stamped) == pytest.approx(0.03, abs=0.02)
    # Two stamps at a cut say nothing of their scatter: not known well enough to stop.
    assert half_width(plain[:4], stamped[:4], np.array([1])) == np.inf


def test_model_error_is_taken_next_to_the_whole_pass():
    # One pass says 10 % and 40 %. Run alone, on a machine meanwhile twice as slow, head 1 takes
    # 240 of 2,000 and tail 1 1,800; head 2 takes 800 of 2,000 and tail 2 1,260.
    whole = np.array([2000] * 3)
    separate = (
        Separate(1, np.array([240] * 3), np.array([1800] * 3), whole),
        Separate(2, np.array([800] * 3), np.array([1260] * 3), whole),
    )
    error = model_error(profile_with(separate), 1)
    assert error.head == pytest.approx((-0.02 + 0) / 2)
    assert error.tail == pytest.approx((0 - 0.03) / 2)
    assert error.cuts == 2
    # Of six runs, three at -0.02 and three at 0, a 95 % interval leaves none out.
    assert error.head_half_width == pytest.approx(0.01)
    assert error.tail_half_width == pytest.approx(0.015)


def test_model_error_is_within_its_half_width_19_times_in_20():
    rng = np.random.default_rng(1)
    whole, hits = np.full(10, 100_000), 0
    for _ in range(200):
        heads = [(share * whole * (1 + 0.05 * rng.standard_normal(10))) for share in (0.1, 0.4)]
        separate = [
            Separate(cut, head.astype(int), whole - head.astype(int), whole)
            for cut, head in enumerate(heads, 1)
        ]
        error = model_error(profile_with(tuple(separate)), 1)
        hits += abs(error.head) <= error.head_half_width
    assert hits / 200 == pytest.approx(0.95, abs=0.05)


def test_model_error_needs_whole_passes():
    error = model_error(profile_with((Separate(1, np.array([100]), np.array([900])),)), 1)
    assert error.cuts == 0
    assert np.isnan([error.head, error.tail, error.head_half_width]).all()


def test_a_profile_of_halves_alone_has_no_model_error():
    halves = Separate(1, np.array([20]), np.array([80]), np.array([100]))
    ends = [Separate(0, np.array([1]), np.array([99])), Separate(3, np.array([100]), np.array([1]))]
    none = np.empty((0, 4), dtype=np.int64)
    passes = Passes(1, none[:, 0], none, (ends[0], halves, ends[1]))
    profile = Profile(tiny_graph(), Provenance("measured", "compiled"), (passes,))
    assert model_error(profile, 1).cuts == 0


# Status


def judged(separate=(), *, plain=(1000,) * 9, cost=1.0, heads=(0.1, 0.4)):
    """A profile whose stamped passes take `cost` times the plain ones."""
    plain = np.array(plain)
    stamped = np.rint(np.outer(plain, [0, *heads, 1]) * cost).astype(int)
    passes = Passes(1, plain, stamped, tuple(separate))
    return Profile(tiny_graph(), Provenance("measured", "bench clock"), (passes,))


def executed(cut, head, tail, runs=9):
    whole = np.full(runs, 1000)
    return Separate(cut, np.full(runs, head), np.full(runs, tail), whole)


def test_times_that_agree_are_ok():
    found = judged([executed(1, 100, 900), executed(2, 400, 600)], cost=1.09)
    assert found.status(1) == "ok"
    assert found.caution(1) == ""


def test_stamps_that_cost_more_than_a_tenth_are_never_ok():
    assert judged(cost=1.09).status(1) == "ok"
    found = judged(cost=1.3)
    assert found.status(1) == "biased"
    assert found.caution(1) == (
        "biased: stamps cost 30 % of a pass; measure more passes (passes=, --passes), or executed "
        "halves only (stamps=False, --no-stamps)"
    )


@pytest.mark.parametrize(
    ("head", "tail", "words"),
    [
        (
            140,
            900,
            "heads are 4.0 % of T shorter than executed ones in the median, off by 4.0 % "
            "at the worst cut",
        ),
        (
            100,
            860,
            "tails are 4.0 % of T longer than executed ones in the median, off by 4.0 % "
            "at the worst cut",
        ),
    ],
)
def test_halves_that_disagree_are_never_ok(head, tail, words):
    found = judged([executed(1, head, tail)])
    assert found.status(1) == "biased"
    assert words in found.caution(1)


def test_one_cut_that_disagrees_by_more_than_noise_explains_is_enough():
    agreeing = [executed(2, 400, 600, runs=40)]
    for runs in (1, 2, 5, 9):
        found = judged([*agreeing, executed(1, 150, 900, runs=runs)])
        assert found.status(1) == "biased"
        assert "5.0 % at the worst cut" in found.caution(1)


def test_one_cut_that_noise_may_explain_is_not():
    # Quartiles of T 80 apart: s = 80 / 1.349 = 59, √2 s = 84 of a thousand for one difference.
    plain = [960, 960, 960, 1000, 1000, 1000, 1040, 1040, 1040]
    agreeing = [executed(2, 400, 600, runs=40)]
    for head, runs, status in (
        (150, 1, "ok"),  # 5 % against 4 · √(π/2) · 8.4 % = 42 %
        (150, 5, "ok"),  # against 19 %
        (550, 1, "biased"),  # 45 %
        (350, 5, "biased"),  # 25 %
    ):
        found = judged([*agreeing, executed(1, head, 900, runs=runs)], plain=plain)
        assert found.status(1) == status, (head, runs)


def test_stamps_cost_what_they_do_in_the_median_however_they_scatter():
    plain = np.full(100, 1000)
    stamped = np.outer(np.where(np.arange(100) % 2, 1500, 999), [0, 0.1, 0.4, 1]).astype(int)
    passes = (Passes(1, plain, stamped),)
    found = Profile(tiny_graph(), Provenance("measured", "bench clock"), passes)
    assert found.status(1) == "biased"
    assert "stamps cost 25 % of a pass" in found.caution(1)


def test_bias_comes_before_noise_since_a_quieter_machine_does_not_mend_it():
    plain = [1000, 1000, 1000, 1000, 1000, 1500, 1500, 1500, 1500]
    assert judged(plain=plain).status(1) == "unreliable"
    assert "the middle half of the passes spans 50 % of their median" in judged(
        plain=plain
    ).caution(1)
    both = judged(plain=plain, cost=1.3)
    assert both.status(1) == "biased"
    assert "spans 50 % of their median and stamps cost 30 % of a pass" in both.caution(1)


def test_the_worst_cut_is_told_beside_the_median():
    error = model_error(judged([executed(1, 110, 900), executed(2, 400, 580)]), 1)
    assert (error.head_worst, error.tail_worst) == pytest.approx((0.01, 0.02))
    assert (error.head_surely, error.tail_surely) == pytest.approx((0.01, 0.02))


# Few stamps a pass


def test_heads_of_few_stamps_never_fall_and_the_better_known_count_more():
    # Cut 1 is stamped nine times at 40 %, cut 2 once, at 10 %: their weighted mean is 37 %.
    stamped = np.array([[0, 400, NOT_STAMPED, 1000]] * 9 + [[0, NOT_STAMPED, 100, 1000]])
    passes = (Passes(1, np.array([1000] * 10), stamped),)
    found = Profile(tiny_graph(), Provenance("measured", "bench clock"), passes)
    np.testing.assert_allclose(found.head_s(1), np.array([0, 370, 370, 1000]) * 1e-9)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=12))
def test_quantiles_are_numpys(rows):
    samples = np.array(rows)
    samples[samples < 0.2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns without a number
        for share in (0.25, 0.5, 0.75):
            np.testing.assert_allclose(
                quantile(samples, share), np.nanquantile(samples, share, axis=0)
            )


def test_half_width_is_that_of_a_median_and_smaller_with_more_stamps():
    rng = np.random.default_rng(3)
    rounds = 400
    heads = [0.3, 0.6] + 0.02 * rng.standard_normal((rounds, 2))
    shares = np.column_stack([np.zeros(rounds), heads[:, 0], heads[:, 1], np.ones(rounds)])
    stamped = np.rint(1e6 * shares).astype(int)
    stamped[100:, 2] = NOT_STAMPED
    # T does not scatter; 1.96 · 2 % · √(π / 2n) for n = 400 and 100.
    plain = np.full(rounds, 1_000_000)
    for cut, stamps in ((1, 400), (2, 100)):
        expected = 1.96 * 0.02 * np.sqrt(np.pi / 2 / stamps)
        assert half_width(plain, stamped, np.array([cut])) == pytest.approx(expected, rel=0.15)
    assert half_width(plain, stamped, np.array([0, 3])) == 0


# Passes after an idle gap


def waiting(waited, tail_ns=650):
    """A head of 400 of 1,000 ns; run on its own the tail takes 50 ns longer than the rest."""
    times = ((400, tail_ns, 1000), (820, 230, 1000))
    halves = tuple(
        Separate(cut, *(np.array([x] * 9) for x in ns)) for cut, ns in enumerate(times, start=1)
    )
    stamped = np.array([[0, 400, 820, 1000]] * 9)
    return Passes(1, np.array([1000] * 9), stamped, halves, waited=waited)


def test_a_tail_that_has_waited_begins_anew():
    passes = waiting(True)
    assert passes.cold_start_ns == pytest.approx(50)
    head, tail = passes.medians_ns
    assert head.tolist() == pytest.approx([0, 400, 820, 1000])
    # E(t) = 50 (1 - exp(-t / 50)): E(400), E(600), E(820) and E(1000) are 50 to 0.02, E(180) is
    # 48.63; at both ends there is one half alone.
    assert tail.tolist() == pytest.approx([1000, 650, 228.63, 0], abs=0.02)
    assert waiting(False).medians_ns[1].tolist() == [1000, 600, 180, 0]


def test_halves_that_wait_are_no_error_of_the_one_pass_and_their_noise_none_of_the_median():
    biased = Profile(tiny_graph(), Provenance("measured", "bench clock"), (waiting(False),))
    fine = Profile(tiny_graph(), Provenance("measured", "clock", gap_s=0.02), (waiting(True),))
    assert biased.status(1) == "biased"
    assert (fine.status(1), round(model_error(fine, 1).tail, 4)) == ("ok", -0.0007)
    _, tails = resampled(fine.at(1), np.arange(4), (0,), 5)
    np.testing.assert_allclose(tails, np.tile(fine.at(1).medians_ns[1], (5, 1)))


def test_no_cold_start_is_below_zero():
    passes = waiting(True, tail_ns=500)
    passes = replace(passes, separate=passes.separate[:1])
    assert passes.cold_start_ns == 0
    assert passes.medians_ns[1].tolist() == [1000, 600, 180, 0]


def test_what_waited_is_read_back_as_such(tmp_path):
    found = Profile(tiny_graph(), Provenance("measured", "clock", gap_s=0.02), (waiting(True),))
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.tail_s(1).tolist() == found.tail_s(1).tolist()
    assert again.tail_s(1)[1] > 640e-9


def test_measurements_of_several_times_are_pooled():
    other = replace(waiting(True), plain_ns=np.array([1100] * 27), stamped_ns=np.array([[0] * 4]))
    other = replace(other, stamped_ns=np.array([[0, 440, 902, 1100]] * 27))
    both = [
        Profile(tiny_graph(), Provenance("measured", "clock", gap_s=0.02), (one,))
        for one in (waiting(True), other)
    ]
    found = pooled(both)
    assert found.at(1).rounds == 36
    assert found.total_s(1) == pytest.approx(1100e-9)
    assert found.at(1).separate[0].tail_ns.tolist() == [650] * 18
    assert found.at(1).waited
    assert pooled(both[:1]).total_s(1) == both[0].total_s(1)
    out = Passes(1, np.empty(0, np.int64), np.empty((0, 4), np.int64), oom=True)
    assert pooled([both[0], replace(both[1], passes=(out,))]).status(1) == "oom"
    back_to_back = Profile(tiny_graph(), Provenance("measured", "clock"), (waiting(False),))
    with pytest.raises(ProfileError, match="differ in model, batch sizes or idle gap"):
        pooled([both[0], back_to_back])
