"""Where a tool's layers lie in a captured graph: which of them make the head of a cut.

What a cut sends the tools do not know (only Scission does), so a `ModelGraph` says it, and here
their layers are found again in that graph: by name, by operation, or by the order of products.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import ModelGraph
from dscwb.profiles.tools import TRACE, LayerTimes, warm
from dscwb.units import DTYPE_BYTES

INPUT, OUTPUT = "input", "output"
"""Names of the splits for full offloading (nothing in the head) and no offloading."""
LARGEST = 9e9
"""Of seconds, samples and bytes of one payload: 285 years in nanoseconds fit 64 bits."""
PRODUCT = re.compile(
    r"(?i)(?:^|[\W_])(?:conv|gemm|matmul|fully_connected|batch_matmul|fc|dense|linear)"
)
"""An operation that does the arithmetic of its layer, by the names that the tools give it."""
PRODUCTS = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "baddbmm")
PIECES = r"\s\+\s|\s\|\|\s"
"""What parts the names of layers that were fused into one."""

Split = tuple[str, int, float]
"""Its name, the number of the tool's layers in its head, and the bytes that cross it."""


def splits(
    times: LayerTimes, graph: ModelGraph | None, batch_size: int
) -> tuple[LayerTimes, list[Split], str]:
    """These times, of single runs; where their sums are heads and tails; how that is known.

    Raises:
        ValueError: The payloads are known to nobody, or the graph is of another model.
    """
    times = times if graph is None else _of_one_run(times, graph)
    if not times.names or not (times.seconds.sum(axis=1) > 0).all():
        raise ValueError(f"it is {times.tool} without layers; switch the profiling of layers on")
    if not (np.abs(np.append(times.seconds, times.payload_bytes)) < LARGEST).all():
        raise ValueError(f"it is {times.tool} with a number beyond {LARGEST:g}; export it anew")
    last = len(times.names)
    if times.payload_bytes:  # after each layer but the first, which hands the input on
        element = DTYPE_BYTES["float32"] * batch_size
        sent = [element * max(1.0, round(size / element)) for size in times.payload_bytes]
        inner = [(times.names[i], i + 1, sent[i]) for i in range(1, last - 1)]
        return times, [(INPUT, 0, sent[0]), *inner, (OUTPUT, last, 0.0)], times.note
    if graph is None:
        raise ValueError(
            f"it is {times.tool}, without payloads: name the model whose graph knows them, with "
            "--model NAME, or graph=dscwb.capture(model, ...).graph"
        )
    inside, how = _places(times, graph, batch_size)
    found, cuts = {0: 0, **inside, len(graph.layers): last}, all_cuts(graph)
    if len(found) < 3:
        raise ValueError(
            f"it is {times.tool}, and no cut of {graph.model!r} lies between its layers"
        )
    sizes = {k: sum(spec.nbytes(batch_size) for spec in cuts[k].frontier) for k in found}
    return times, [(cuts[k].name, found[k], sizes[k]) for k in sorted(found)], how


def _of_one_run(times: LayerTimes, graph: ModelGraph) -> LayerTimes:
    """A trace of several runs as such: as many as it holds the graph's arithmetic."""
    heavy = [layer.op for layer in graph.layers if layer.flops]
    runs = max(1, sum(kind in heavy for kind in times.kinds) // max(1, len(heavy)))
    one = list(times.names[: len(times.names) // runs])
    if times.tool != TRACE or runs < 2 or times.names != one * runs:
        return times
    return times._replace(names=one, kinds=one, seconds=warm(times.seconds.reshape(runs, -1)))


def _places(times: LayerTimes, graph: ModelGraph, batch_size: int) -> tuple[dict[int, int], str]:
    """How many of the layers each cut's head holds, by the cut's index, and how that is known.

    Cuts that lie inside a fused layer are left out, as are the two ends.
    """
    if times.tool == TRACE:
        both = [layer.op for layer in graph.layers], times.kinds
        ours, theirs = map(Counter, both)
        same = {op for op in ours if ours[op] == theirs[op]}
        here, there = ([(k, op) for k, op in enumerate(some) if op in same] for some in both)
        known = all(layer.op in same for layer in graph.layers if layer.flops)
        if not known or [op for _, op in here] != [op for _, op in there]:
            raise ValueError(
                f"it is {TRACE} whose operations are not those of {graph.model!r}; give the model "
                "that was traced, in inference, with inputs of that size"
            )
        return _between(here, there, all_cuts(graph)), "matched by operation"
    if by_name := _by_name(times, graph):
        return by_name, "matched by the modules in their names"
    made = [
        (k, layer.outputs[0].elements(batch_size))
        for k, layer in enumerate(graph.layers)
        if layer.op.startswith(PRODUCTS) and layer.flops
    ]
    sizes = times.elements or [0] * len(times.names)
    layers = zip(times.names, times.kinds, sizes, strict=True)
    seen = [
        (i, n) for i, (name, kind, n) in enumerate(layers) for _ in range(_products(name, kind))
    ]
    unlike = all(n for _, n in seen) and [n for _, n in made] != [n for _, n in seen]
    if len(made) != len(seen) or unlike:
        sized = " of its size at this batch size" if len(made) == len(seen) else ""
        raise ValueError(
            f"it is {times.tool}, with {len(seen)} convolutions and products where "
            f"{graph.model!r} has {len(made)}{sized}, and its names hold no module paths such as "
            "torch.onnx.export writes; give the model that was timed, and its batch size"
        )
    return (
        _between(made, seen, all_cuts(graph, "block" if graph.blocks else "op")),
        "matched by the order of convolutions and products (what lies between two: in the head)",
    )


def _between(
    here: Sequence[tuple[int, Any]], there: Sequence[tuple[int, Any]], cuts: Sequence[Cut]
) -> dict[int, int]:
    """The head of a cut ends before the tool's layer that holds the first operation of its tail."""
    starts, found = [k for k, _ in here], {}
    for cut in cuts:
        done = int(np.searchsorted(starts, cut.index))
        if 0 < done < len(there) and there[done][0] > there[done - 1][0]:
            found[cut.index] = there[done][0]
    return found


def _products(name: str, kind: str) -> int:
    """How many operations of that sort a layer holds; several if it is fused."""
    if kind:
        return int(bool(PRODUCT.search(kind)))
    if re.search(r"(?i)reformat", name):  # a copy, named after the layer that needs it
        return 0
    pieces = [piece.strip() for piece in re.split(PIECES, name)]
    own = [piece for piece in pieces if not piece.endswith(("weight", "bias"))]
    return sum(bool(PRODUCT.match(re.split("[/.]", piece)[-1])) for piece in own)


def _by_name(times: LayerTimes, graph: ModelGraph) -> dict[int, int]:
    """Where each block ends, by the module paths in the layers' names; empty without any."""
    patterns = [re.compile(rf"(?<![\w.]){re.escape(block.name)}(?!\w)") for block in graph.blocks]
    seen = [
        {b for b, pattern in enumerate(patterns) for path in _paths(name) if pattern.search(path)}
        for name in times.names
    ]
    found = {}
    for b, block in enumerate(graph.blocks):
        inside = [i for i, blocks in enumerate(seen) if any(other <= b for other in blocks)]
        after = [i for i, blocks in enumerate(seen) if any(other > b for other in blocks)]
        own = any(b in blocks for blocks in seen)
        # Layers of no block between two are their joint, such as a reformatting: of the tail.
        if own and (not after or inside[-1] < after[0]) and block.end < len(graph.layers):
            found[block.end] = inside[-1] + 1
    return found


def _paths(name: str) -> Iterator[str]:
    """Module paths in a name: ``/blocks/blocks.0/blocks.0.1/conv/Conv`` is blocks.0.1.conv.Conv."""
    for piece in re.split(rf"{PIECES}|[;:\[\]()]", name):
        parts: list[str] = []
        for part in filter(None, piece.strip().split("/")):
            if parts and part.startswith(f"{parts[-1]}."):
                parts[-1] = part
            else:
                parts.append(part)
        yield ".".join(parts)
