import numpy as np
import pytest

from dscwb.profiles.passes import half_width, overhead
from dscwb.profiles.records import (
    NOT_STAMPED,
    Passes,
    Profile,
    ProfileError,
    Provenance,
    Separate,
    calibration,
    model_error,
)
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
    plain, stamped = plain[:4], stamped[:4]  # a resample may miss a cut altogether
    assert np.isfinite(half_width(plain, stamped))


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
