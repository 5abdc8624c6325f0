"""How long payloads take between a GPU and its host: copies really made and timed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator

from dscwb.capturing.captured import CapturedModel
from dscwb.cuts import all_cuts
from dscwb.graph import ModelGraph
from dscwb.measuring.clocks import Clock
from dscwb.measuring.failures import is_out_of_memory
from dscwb.measuring.rounds import Rounds
from dscwb.profiles.transfers import Transfers, payload_bytes, payload_terms

_LOG = logging.getLogger("dscwb")
REPEATS = 15  # of each size in each direction; medians are kept by the profile
WARM_REPEATS = 3  # run before them and thrown away


class PinnedCopier:
    """Copies through page-locked memory, allocated once: what a program written for speed does.

    From ordinary memory, as ``tensor.cpu()`` has it, a copy takes longer: the driver copies once
    more, through page-locked memory of its own.
    """

    def __init__(self, device: torch.device, largest_bytes: int) -> None:
        """Allocate both ends."""
        self._there = torch.empty(largest_bytes, dtype=torch.uint8, device=device)
        self._here = torch.empty(largest_bytes, dtype=torch.uint8, pin_memory=True)

    def to_host(self, size_bytes: int) -> None:
        """Start a copy of so many bytes from the GPU."""
        self._here[:size_bytes].copy_(self._there[:size_bytes], non_blocking=True)

    def to_device(self, size_bytes: int) -> None:
        """Start a copy of so many bytes to the GPU."""
        self._there[:size_bytes].copy_(self._here[:size_bytes], non_blocking=True)


def copies_of_payloads(
    captured: CapturedModel, rounds: Rounds, clock: Clock, seed: int
) -> Transfers | None:
    """Times of the copies of what was measured; None on a CPU, and where memory holds no copy."""
    sizes = [passes.batch_size for passes in rounds.measured() if not passes.oom]
    if captured.device.type != "cuda" or not sizes:
        return None
    for record in rounds.records:
        record.inputs = ()
    torch.cuda.empty_cache()
    steps = ladder(captured.graph, sizes)
    copier, fitting = make_copier(captured.device, steps)
    if fitting < len(steps):
        _LOG.warning(
            "No memory to measure copies of more than %d of %d sizes.", fitting, len(steps)
        )
    if copier is None:
        return None
    cuts = len(captured.graph.layers) + 1
    return measure_copies(copier, steps[:fitting], clock, cuts, np.random.default_rng(seed))


def ladder(graph: ModelGraph, batch_sizes: Sequence[int]) -> list[int]:
    """Sizes to measure: all powers of two between the smallest and the largest payload, and these.

    Payloads of every cut but the last, the input among them, in the tensors' own element types.
    """
    terms = payload_terms(all_cuts(graph)[:-1])
    payloads = {int(n) for size in batch_sizes for n in payload_bytes(terms, size) if n > 0}
    if not payloads:
        return []
    low, high = min(payloads), max(payloads)
    powers = (2**k for k in range(low.bit_length(), high.bit_length()))
    return sorted({low, *(n for n in powers if low < n < high), high})


def make_copier(device: torch.device, sizes: Sequence[int]) -> tuple[PinnedCopier | None, int]:
    """A copier for as many of the sizes as memory allows, ascending, and their number."""
    for number in range(len(sizes), 0, -1):
        try:
            return PinnedCopier(device, sizes[number - 1]), number
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    return None, 0


def measure_copies(
    copier: PinnedCopier, sizes: Sequence[int], clock: Clock, cuts: int, rng: Generator
) -> Transfers:
    """Time copies of all sizes in both directions, in random order in every repeat.

    Args:
        copier: Makes the copies.
        sizes: Bytes, ascending.
        clock: Made for a model of so many cuts; only its two ends are stamped.
        cuts: Number of cuts of that model.
        rng: Draws the order.
    """
    directions = (copier.to_host, copier.to_device)
    times = np.zeros((len(directions), len(sizes), REPEATS), dtype=np.int64)
    ends_only = [True, *[False] * (cuts - 2), True]
    for repeat in range(-WARM_REPEATS, REPEATS):
        for job in rng.permutation(len(directions) * len(sizes)):
            way, size = divmod(int(job), len(sizes))
            clock.begin(ends_only)
            directions[way](sizes[size])
            taken_ns = clock.end()[-1]
            if repeat >= 0:
                times[way, size, repeat] = max(1, taken_ns)  # an event's clock ticks in half a µs
    return Transfers(np.array(sizes, dtype=np.int64), times[0], times[1])
