from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.cost import checked_rates, gain
from dscwb.envelope import best_split, lower_envelope
from dscwb.study import sweep
from tests.tiny import profile_of, tiny_graph

# Integers are exact in floating point and in fractions, and make ties likely.
LINES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12)
RATES = st.lists(st.integers(1, 1000).map(lambda n: n / 16), min_size=1, max_size=8)


def exact_latency(lines, rate):
    return [Fraction(a) + Fraction(s) / Fraction(rate) for a, s in lines]


def brute_force(lines, rate):
    """The least latency; ties by fewer bits, then by the lower index."""
    latency = exact_latency(lines, rate)
    return min(range(len(lines)), key=lambda i: (latency[i], lines[i][1], i))


def columns(lines):
    return [a for a, _ in lines], [s for _, s in lines]


def test_three_lines_by_hand():
    # T0 = 1 + 12/r, T1 = 3 + 4/r, T2 = 7: T0 = T1 at r = 4, T1 = T2 at r = 1.
    envelope = lower_envelope([1, 3, 7], [12, 4, 0])
    assert envelope.splits.tolist() == [2, 1, 0]
    assert envelope.switching_rates_bps.tolist() == [1.0, 4.0]
    best = best_split([[1, 3, 7]], [12, 4, 0], [0.5, 1, 1.01, 4, 4.01, 1e9])
    assert best.tolist() == [[2, 2, 1, 1, 0, 0]]


def test_a_line_above_the_meeting_point_of_its_neighbours_never_wins():
    # T0 and T2 meet at r = 2 with T = 7; the middle line has T = 5 + 6/2 = 8 there.
    assert lower_envelope([1, 5, 7], [12, 6, 0]).splits.tolist() == [2, 0]


@given(LINES, RATES)
def test_envelope_is_brute_force(lines, rates):
    got = best_split([columns(lines)[0]], columns(lines)[1], rates)[0]
    for rate, split in zip(rates, got, strict=True):
        latency = exact_latency(lines, rate)
        # A rate within rounding of a switching rate may fall on either side: same latency there.
        assert latency[split] <= min(latency) * (1 + Fraction(1, 10**12))


@given(LINES)
def test_ties_at_exact_switching_rates_go_to_fewer_bits(lines):
    envelope = lower_envelope(*columns(lines))
    for i, rate in enumerate(envelope.switching_rates_bps):
        low, high = envelope.splits[i : i + 2]
        assert lines[low][1] < lines[high][1]
        assert lines[low][0] > lines[high][0]
        assert envelope.best_split(rate) == low
        assert envelope.best_split(np.nextafter(rate, np.inf)) == high
        at = exact_latency(lines, rate)
        assert at[low] == pytest.approx(float(at[high]), rel=1e-12)
    assert np.all(np.diff(envelope.switching_rates_bps) > 0)


@given(LINES)
def test_the_limits_of_the_rate(lines):
    envelope = lower_envelope(*columns(lines))
    first, last = int(envelope.splits[0]), int(envelope.splits[-1])
    fewest = min(range(len(lines)), key=lambda i: (lines[i][1], lines[i][0], i))
    assert first == fewest  # r → 0
    assert lines[last][0] == min(a for a, _ in lines)  # r → ∞


@given(LINES, st.randoms(use_true_random=False))
def test_order_of_the_splits_changes_only_their_numbers(lines, random):
    unique = list(dict.fromkeys(lines))
    shuffled = random.sample(unique, len(unique))
    one, two = lower_envelope(*columns(unique)), lower_envelope(*columns(shuffled))
    assert [unique[i] for i in one.splits] == [shuffled[i] for i in two.splits]
    assert one.switching_rates_bps.tolist() == two.switching_rates_bps.tolist()


@given(LINES, RATES)
def test_dynamic_is_never_worse_than_any_static_choice(lines, rates):
    a, s = (np.array(column, dtype=float) for column in columns(lines))
    best = best_split(a[None], s, rates)[0]
    latency = a[:, None] + s[:, None] / np.array(rates)
    dynamic = latency[best, np.arange(len(rates))]
    assert np.all(dynamic <= latency * (1 + 1e-12))


@given(LINES, RATES)
def test_payload_never_falls_as_the_rate_rises(lines, rates):
    a, s = columns(lines)
    best = best_split([a], s, sorted(rates))[0]
    assert np.all(np.diff(np.array(s)[best]) >= 0)


def test_equal_lines_give_the_first_and_nan_leaves_a_split_out():
    assert lower_envelope([2, 2, 2], [5, 5, 5]).splits.tolist() == [0]
    assert lower_envelope([1, 1, 1], [5, 3, 3]).splits.tolist() == [1]
    assert lower_envelope([np.nan, 3], [0, 4]).splits.tolist() == [1]


def test_lines_that_differ_by_roundings_only_are_one():
    # 0.1 + 0.2 is 0.30000000000000004 in floats: that must give no switch at 1e5 bits / 6e-17 s.
    assert lower_envelope([0.1 + 0.2, 0.3], [0, 1e5]).splits.tolist() == [0]
    # Nor may payloads that differ so give one at almost no rate: the cheaper line wins everywhere.
    alike = lower_envelope([0.2, 0.1], [0.3, 0.1 + 0.2])
    assert (alike.splits.tolist(), alike.switching_rates_bps.tolist()) == ([1], [])
    # A nanosecond in a second is no rounding.
    assert lower_envelope([1.0, 1 - 1e-9], [0, 1e5]).switching_rates_bps == pytest.approx([1e14])


def test_two_equal_profiles_leave_one_choice_at_every_rate():
    # Head and tail of b, 74 and 26 of 100 ns, add up to less than 100 ns by a rounding.
    machine = profile_of(tiny_graph(), {1: [42, 32, 26]})
    study = sweep(machine, machine, input_encoding="float32", feature_encoding="float32")
    assert study.switching_rates().empty
    assert study.chosen == ("no offloading",)


def test_batches_are_independent():
    best = best_split([[1, 7], [9, 7]], [[12, 0], [12, 0]], [1, 100])
    assert best.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("rate", [-1, np.inf, np.nan])
def test_bad_rates_are_named(rate):
    with pytest.raises(ValueError, match=r"Data rate .* bit/s; give finite rates, 0 for a link"):
        checked_rates([1e6, rate])


def test_other_misuse_is_named():
    with pytest.raises(ValueError, match="No split has a time"):
        lower_envelope([np.nan], [1])
    with pytest.raises(ValueError, match="not negative"):
        lower_envelope([1, 2], [-1, 2])
    with pytest.raises(ValueError, match="two equal rows"):
        lower_envelope([1, 2], [1])
    with pytest.raises(ValueError, match=r"give \(batch, split\)"):
        best_split([1, 2], [1, 2], [1])
    with pytest.raises(ValueError, match="one row of bit/s"):
        checked_rates([[1.0]])


def test_gain_is_not_clipped():
    assert gain(np.array([2.0, 5.0]), np.array([10.0, 4.0])).tolist() == [0.8, -0.25]
