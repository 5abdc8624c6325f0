"""A model small enough to do its arithmetic by hand, and profiles of it.

Input of 100 floats; three blocks ``a``, ``b``, ``c`` of one layer each that leave 50, 80 and 10
floats. Payloads as float32: input 400 bytes, then 200, 320 and 40 bytes for one sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.records import Passes, Profile, Provenance

SIZES = {"x": 100, "a": 50, "b": 80, "c": 10}


def spec(name: str, *shape: int, batch_axes: tuple[int, ...] = (0,)) -> TensorSpec:
    return TensorSpec(name, (1, *shape), batch_axes, "float32")


def tiny_graph(model: str = "tiny") -> ModelGraph:
    names = list(SIZES)
    layers = tuple(
        Layer("linear", name, (before,), (spec(name, SIZES[name]),), flops=1000)
        for before, name in pairwise(names)
    )
    blocks = tuple(Block(name, "Linear", k) for k, name in enumerate("abc", start=1))
    return ModelGraph(model, (spec("x", SIZES["x"]),), layers, ("c",), blocks)


def profile_of(
    graph: ModelGraph,
    layers_ns: Mapping[int, Sequence[int]],
    *,
    rounds: int = 3,
    origin: str = "measured",
    device: str = "bench clock",
) -> Profile:
    """A noiseless profile: nanoseconds of each layer by batch size."""
    passes = []
    for batch_size, durations in layers_ns.items():
        stamps = np.concatenate(([0], np.cumsum(durations))).astype(np.int64)
        passes.append(
            Passes(
                batch_size,
                np.full(rounds, stamps[-1]),
                np.tile(stamps, (rounds, 1)),
            )
        )
    return Profile(graph, Provenance(origin, device), tuple(passes))  # type: ignore[arg-type]
