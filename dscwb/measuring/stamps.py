"""Which cuts a pass stamps, how many it can, and the halves of which cuts are really run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dscwb.cuts import Granularity, all_cuts
from dscwb.graph import ModelGraph

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

MOST_COST = 0.02  # share of a pass that its stamps may take
# Stamped and plain passes side by side, and how many of them may say that stamps are cheap where
# they are dear: noise alone does the same once in a hundred times (binomial, one half each).
PAIRS_TO_JUDGE, CHEAP_AT_MOST = 9, 1
# Or so few pairs that all say that stamps cost more than this share.
PAIRS_IF_CLEAR, CLEARLY = 5, 0.10
MOST_RECORD_LOWS = 10  # of which halves are run,
RANDOM_CUTS = 3  # and of others beside them


def record_lows(
    graph: ModelGraph, granularity: Granularity = "op", most: int = MOST_RECORD_LOWS
) -> list[int]:
    """Cuts between the two ends with strictly fewer bytes than any before, `most` at most."""
    cuts = all_cuts(graph, granularity)
    sizes = [sum(spec.nbytes() for spec in cut.frontier) for cut in cuts]
    lows = [cuts[k].index for k in range(1, len(cuts) - 1) if sizes[k] < min(sizes[:k])]
    number = min(len(lows), most)
    return [lows[i] for i in np.linspace(0, len(lows) - 1, number).round().astype(int)]


def likely_cuts(graph: ModelGraph) -> list[int]:
    """The record-lows of all cuts, and of those after blocks.

    If nothing is slower on the server than on the device, only such a cut can be best.
    """
    return sorted({*record_lows(graph), *(record_lows(graph, "block") if graph.blocks else ())})


def verified_cuts(graph: ModelGraph, rng: Generator) -> list[int]:
    """The record-lows, and three others at random."""
    lows = record_lows(graph, most=len(graph.layers))
    others = rng.permutation([k for k in range(1, len(graph.layers)) if k not in lows])
    return sorted({*record_lows(graph), *map(int, others[:RANDOM_CUTS])})


def choosable(graph: ModelGraph, verified: Sequence[int]) -> Flags:
    """What can be chosen inside the model, ``(cut,)``: after blocks, record-low, really run."""
    marks = np.zeros(len(graph.layers) + 1, dtype=bool)
    marks[[*(block.end for block in graph.blocks), *likely_cuts(graph), *verified]] = True
    marks[[0, -1]] = False
    return marks


def affordable(plain_ns: Sequence[int], stamped_ns: Sequence[int], cuts: int) -> int | None:
    """How many of so many `cuts` one pass may stamp at a cost of at most `MOST_COST` of it.

    Args:
        plain_ns: Times of plain passes, ``(pair,)``.
        stamped_ns: Times of passes next to them that stamped all the cuts, ``(pair,)``.
        cuts: Number of cuts between the two ends.

    Returns:
        All of them where they are cheap; 0 where even one stamp costs more; None while so few
        pairs do not tell.
    """
    plain, stamped = np.array(plain_ns, dtype=float), np.array(stamped_ns, dtype=float)
    if np.sum(stamped <= (1 + MOST_COST) * plain) > CHEAP_AT_MOST:
        return cuts
    clear = len(plain) >= PAIRS_IF_CLEAR and bool(np.all(stamped > (1 + CLEARLY) * plain))
    if not clear and len(plain) < PAIRS_TO_JUDGE:
        return None
    cost_ns = float(np.median(stamped - plain))
    if cost_ns <= 0:
        return cuts
    return min(cuts, math.floor(MOST_COST * float(np.median(plain)) * cuts / cost_ns))


def next_cuts(taken: Counts, first: Flags, number: int, others: bool, rng: Generator) -> Flags:
    """The cuts that the next pass stamps, as many as this `number`, ``(cut,)``.

    Those that can be chosen (`first`) take every stamp that they can use, and only the rest goes to
    the others; in a pass for the others it is the other way round. Among equals those with the
    fewest stamps `taken` so far come first, then chance decides.
    """
    cuts = len(taken)
    wanted = np.zeros(cuts, dtype=bool)
    if number >= cuts - 2:
        wanted[1:-1] = True
        return wanted
    order = np.lexsort((rng.random(cuts), taken, first if others else ~first))
    order = order[(order > 0) & (order < cuts - 1)]
    wanted[order[:number]] = True
    return wanted
