"""Passes drawn anew: the raw passes of one batch size go in, replicates of its times come out.

A replicate takes the medians of `profiles` over rounds drawn with replacement, as many as there
were (Efron, Annals of Statistics 7, 1979, doi:10.1214/aos/1176344552).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dscwb.profiles.passes import Passes, rising, stamped_shares

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
Key = tuple[int, ...]
"""Seed of one draw, whole numbers from zero up; the same key draws the same rounds."""


def resampled(
    passes: Passes, cuts: NDArray[np.intp], key: Key, replicates: int
) -> tuple[Floats, Floats]:
    """Heads and tails in nanoseconds, ``(replicate, cut)`` each; NaN where none was measured.

    A round is drawn as a whole: its plain and its stamped pass, or a head, its tail and the whole
    next to them. Cuts that were run apart are drawn apart.

    Args:
        passes: What was measured; not out of memory.
        cuts: Layers in the head, ascending, ``(cut,)``.
        key: Seed.
        replicates: How often to draw.
    """
    if not len(passes.stamped_ns):
        return _of_halves(passes, cuts, key, replicates)
    counts = _counts(key, len(passes.plain_ns), replicates)
    whole = _median(passes.plain_ns, counts)[:, None]
    heads = _shares(passes, cuts, counts) * whole
    rest = passes.medians_ns[:, cuts].sum(axis=0) - np.median(passes.plain_ns)  # see `restart_ns`
    return heads, whole - heads + rest


def _of_halves(
    passes: Passes, cuts: NDArray[np.intp], key: Key, replicates: int
) -> tuple[Floats, Floats]:
    """Replicates of heads and tails that were run on their own."""
    output = passes.stamped_ns.shape[1] - 1
    found = np.full((2, replicates, output + 1), np.nan)

    def drawn(cut: int, values: NDArray[Any]) -> Floats:
        return _median(values, _counts((*key, cut), len(values), replicates))

    ends = [drawn(output, one.head_ns) for one in passes.separate if one.cut == output]
    for one in (one for one in passes.separate if one.cut in cuts):
        for half, times in zip(found, (one.head_ns, one.tail_ns), strict=True):
            if ends and len(one.whole_ns):
                half[:, one.cut] = drawn(one.cut, times / one.whole_ns) * ends[0]
            else:
                half[:, one.cut] = drawn(one.cut, times)
    return found[0][:, cuts], found[1][:, cuts]


def _shares(passes: Passes, cuts: NDArray[np.intp], counts: Counts) -> Floats:
    """Median share of each cut in its own pass, ``(replicate, cut)``."""
    shares, taken = stamped_shares(passes.stamped_ns), passes.stamps
    # A pass's shares rise, and so do their medians; not if each pass left out other cuts.
    looked_at = np.arange(cuts.max() + 1) if np.isnan(shares).any() else cuts
    medians = np.full((counts.shape[1], len(looked_at)), np.nan)
    for i in np.flatnonzero(taken[looked_at]):
        medians[:, i] = _median(shares[:, looked_at[i]], counts)
    medians = rising(medians, taken[looked_at])
    return medians[:, np.searchsorted(looked_at, cuts)]


def _counts(key: Key, rounds: int, replicates: int) -> Counts:
    """How often each round is drawn, ``(round, replicate)``."""
    drawn = np.random.default_rng(key).integers(rounds, size=(rounds, replicates))
    place = drawn * replicates + np.arange(replicates)
    counts = np.bincount(place.ravel(), minlength=rounds * replicates)
    return counts.reshape(rounds, replicates).astype(np.int32)


def _median(values: NDArray[Any], counts: Counts) -> Floats:
    """Median of values that occur so often, ``(replicate,)``; NaN is left out.

    Where only NaN is drawn, as may happen to a cut that few passes stamped, the median of all.
    """
    order = np.argsort(values, kind="stable")
    order = order[~np.isnan(values[order])]
    ordered = values[order].astype(np.float64)
    below = np.cumsum(counts[order], axis=0, dtype=np.int32)
    number = below[-1]
    last = len(ordered) - 1
    low, high = (
        ordered[np.minimum((below < rank).sum(axis=0), last)]
        for rank in ((number + 1) // 2, number // 2 + 1)
    )
    medians: Floats = np.where(number > 0, (low + high) / 2, np.median(ordered))
    return medians


def same_passes(one: Passes, other: Passes) -> bool:
    """Whether one measurement stands behind both, be it loaded from two files."""
    a, b = one.times(), other.times()
    return a.keys() == b.keys() and all(np.array_equal(a[kind], b[kind]) for kind in a)


def fewest_repeats(passes: Passes, cuts: NDArray[np.intp]) -> int:
    """Repeats of the split that has fewest."""
    if len(passes.stamped_ns):
        return len(passes.stamped_ns)
    here = [min(len(s.head_ns), len(s.tail_ns)) for s in passes.separate if s.cut in cuts]
    return min(here, default=0)
