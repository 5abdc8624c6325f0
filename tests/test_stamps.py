"""Which cuts a pass stamps, and how it is found out how many it may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.measuring.stamps import MOST_COST, affordable, next_cuts


def test_so_many_stamps_that_they_cost_two_percent():
    # 240 stamps take 6 ms of passes of 20 ms: 25 µs each; 2 % are 400 µs, or 16 stamps.
    assert affordable([20_000_000] * 9, [26_000_000] * 9, 240) == 16


def test_one_stamp_may_be_too_dear_and_all_may_be_free():
    assert affordable([1000] * 9, [1030] * 9, 1) == 0
    assert affordable([1000] * 9, [1000] * 9, 5) == 5
    assert affordable([1000] * 9, [990] * 9, 5) == 5


@given(plain=st.integers(1_000, 10**9), cost=st.integers(1, 10**6), cuts=st.integers(1, 2000))
def test_what_is_afforded_costs_at_most_two_percent_and_one_more_would_not(plain, cost, cuts):
    number = affordable([plain] * 9, [plain + cost * cuts] * 9, cuts)
    assert 0 <= number <= cuts
    assert number * cost <= MOST_COST * plain * (1 + 1e-9)
    assert number == cuts or (number + 1) * cost > MOST_COST * plain * (1 - 1e-9)


@pytest.mark.parametrize(
    ("ratios", "dear"),
    [
        ([1.5, 1.5], None),  # two pairs prove nothing
        ([1.5] * 4, None),
        ([1.5] * 5, True),  # unless all say that it is much
        ([1.09] * 8, None),
        ([1.09] * 9, True),
        ([1.5] * 8 + [0.2], True),  # a plain pass that something else held up
        ([1.0, 1.0], False),  # two that cost nothing settle it
        ([1.5] * 4 + [1.0, 1.0], False),
        ([1.019] * 2, False),
    ],
)
def test_noise_is_not_taken_for_dear_stamps(ratios, dear):
    number = affordable([1000] * len(ratios), [round(1000 * ratio) for ratio in ratios], 1)
    assert number == (None if dear is None else 0 if dear else 1)


@given(data=st.data())
def test_first_cuts_come_first_and_those_with_fewest_stamps_before_others(data):
    cuts = data.draw(st.integers(3, 60))
    taken = np.array(data.draw(st.lists(st.integers(0, 9), min_size=cuts, max_size=cuts)))
    first = np.array(data.draw(st.lists(st.booleans(), min_size=cuts, max_size=cuts)))
    number, others = data.draw(st.integers(1, cuts)), data.draw(st.booleans())
    wanted = next_cuts(taken, first, number, others, np.random.default_rng(0))
    assert wanted.sum() == min(number, cuts - 2)
    assert not wanted[[0, -1]].any()
    chosen = [(bool(first[k]) == others, taken[k]) for k in range(1, cuts - 1) if wanted[k]]
    left = [(bool(first[k]) == others, taken[k]) for k in range(1, cuts - 1) if not wanted[k]]
    assert not left or max(chosen) <= min(left)
