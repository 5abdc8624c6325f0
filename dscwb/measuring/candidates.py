"""Which cuts a split may fall on: they are stamped before the others, and their halves are run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dscwb.cuts import Granularity, all_cuts
from dscwb.graph import ModelGraph

MOST_RECORD_LOWS = 10  # of which halves are run,
RANDOM_CUTS = 3  # and of others beside them


def record_lows(graph: ModelGraph, granularity: Granularity = "op") -> list[int]:
    """Cuts between the two ends with strictly fewer bytes than any before, ten at most."""
    lows = _every_record_low(graph, granularity)
    number = min(len(lows), MOST_RECORD_LOWS)
    return [lows[i] for i in np.linspace(0, len(lows) - 1, number).round().astype(int)]


def likely_cuts(graph: ModelGraph) -> list[int]:
    """The record-lows of all cuts, and of those after blocks.

    If nothing is slower on the server than on the device, only such a cut can be best.
    """
    return sorted({*record_lows(graph), *(record_lows(graph, "block") if graph.blocks else ())})


def verified_cuts(graph: ModelGraph, rng: Generator) -> list[int]:
    """The record-lows, and three others at random."""
    lows = set(_every_record_low(graph, "op"))
    others = rng.permutation([k for k in range(1, len(graph.layers)) if k not in lows])
    return sorted({*record_lows(graph), *map(int, others[:RANDOM_CUTS])})


def choosable(graph: ModelGraph, verified: Sequence[int]) -> NDArray[np.bool_]:
    """What can be chosen inside the model, ``(cut,)``: after blocks, record-low, really run."""
    marks = np.zeros(len(graph.layers) + 1, dtype=bool)
    marks[[*(block.end for block in graph.blocks), *likely_cuts(graph), *verified]] = True
    marks[[0, -1]] = False
    return marks


def _every_record_low(graph: ModelGraph, granularity: Granularity) -> list[int]:
    cuts = all_cuts(graph, granularity)
    sizes = [sum(spec.nbytes() for spec in cut.frontier) for cut in cuts]
    return [cuts[k].index for k in range(1, len(cuts) - 1) if sizes[k] < min(sizes[:k])]
