"""Which cuts a pass stamps: so few that stamping costs little, those that can be chosen first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

MOST_COST = 0.02  # share of a pass that its stamps may take
# Stamped and plain passes side by side, and how many of them may say that stamps are cheap where
# they are dear: noise alone does the same once in a hundred times (binomial, one half each).
PAIRS_TO_JUDGE, CHEAP_AT_MOST = 9, 1
# Or so few pairs that all say that stamps cost more than this share.
PAIRS_IF_CLEAR, CLEARLY = 5, 0.10


def is_dear(plain_ns: Sequence[int], stamped_ns: Sequence[int]) -> bool | None:
    """Whether stamping costs more than `MOST_COST` of a pass; None while that is not sure.

    Args:
        plain_ns: Times of plain passes, ``(pair,)``.
        stamped_ns: Times of passes next to them that stamped all cuts, ``(pair,)``.
    """
    pairs = list(zip(plain_ns, stamped_ns, strict=True))
    cheap = sum(stamped <= (1 + MOST_COST) * plain for plain, stamped in pairs)
    if cheap > CHEAP_AT_MOST:
        return False
    if len(pairs) >= PAIRS_IF_CLEAR and all(s > (1 + CLEARLY) * plain for plain, s in pairs):
        return True
    return True if len(pairs) >= PAIRS_TO_JUDGE else None


def affordable(plain_ns: Sequence[int], stamped_ns: Sequence[int], cuts: int) -> int:
    """How many cuts one pass may stamp so that this costs at most `MOST_COST` of it.

    Args:
        plain_ns: Times of plain passes, ``(pair,)``.
        stamped_ns: Times of passes next to them that stamped all the cuts, ``(pair,)``.
        cuts: Number of cuts between the two ends.

    Returns:
        All of them where they cost nothing; 0 where even one stamp costs more.
    """
    plain, stamped = np.array(plain_ns, dtype=float), np.array(stamped_ns, dtype=float)
    cost_ns = float(np.median(stamped - plain))
    if cost_ns <= 0:
        return cuts
    return min(cuts, math.floor(MOST_COST * float(np.median(plain)) * cuts / cost_ns))


def next_cuts(taken: Counts, first: Flags, number: int, others: bool, rng: Generator) -> Flags:
    """The cuts that the next pass stamps, ``(cut,)``.

    Those that can be chosen take every stamp that they can use, and only the rest goes to the
    others; in a pass for the others it is the other way round. Among equals those with fewest
    stamps so far come first, then chance decides.

    Args:
        taken: Stamps so far at each cut, both ends included, ``(cut,)``.
        first: The cuts that can be chosen, ``(cut,)``.
        number: How many cuts a pass may stamp.
        others: Whether this pass is for the others.
        rng: Decides between equals.
    """
    cuts = len(taken)
    wanted = np.zeros(cuts, dtype=bool)
    if number >= cuts - 2:
        wanted[1:-1] = True
        return wanted
    later = first if others else ~first
    order = np.lexsort((rng.random(cuts), taken, later))
    order = order[(order > 0) & (order < cuts - 1)]
    wanted[order[:number]] = True
    return wanted
