"""What no capture and no measurement can give: each check says in words what is wrong, or nothing.

Files come from elsewhere, so what is read from one is looked at before anybody computes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.passes import NOT_STAMPED, Passes
from dscwb.units import DTYPE_BYTES

MOST = 2**62
"""Of bytes, elements and operations; larger numbers are none, and overflow where they are added."""


def fault_of_graph(graph: ModelGraph) -> str:
    """What makes no sense in a graph: names, shapes, order; empty where nothing is wrong."""
    return next(_faults_of_graph(graph), "")


def _faults_of_graph(graph: ModelGraph) -> Iterator[str]:
    if not graph.inputs or not graph.layers or not graph.outputs:
        yield "it has no inputs, no layers or no outputs"
    if any(not layer.outputs for layer in graph.layers):
        yield "a layer without outputs"
    specs = list(graph.tensors())
    names = Counter(spec.name for spec in specs)
    yield from (f"the name {name!r} stands there twice" for name, n in names.items() if n > 1)
    yield from (f"tensor {s.name!r} {why}" for s in specs if (why := _fault_of_tensor(s)))
    known = {spec.name for spec in graph.inputs}
    for layer in graph.layers:
        asked = (*layer.inputs, *(name for name in (layer.view_of, layer.writes) if name))
        for name in asked:
            if name not in known:
                yield f"layer {layer.name!r} uses {name!r}, which nothing before it makes"
        known.update(spec.name for spec in layer.outputs)
        if any(not 0 <= number < MOST for number in _amounts(layer)):
            yield f"layer {layer.name!r} has an impossible number of operations or bytes"
    for name in (*graph.outputs, *graph.resident):
        if name not in known:
            yield f"it returns or keeps {name!r}, which nothing makes"
    for what, places in (("blocks", graph.blocks), ("narrow places", graph.narrow)):
        yield from _faults_of_places(what, places, len(graph.layers))
    if not graph.input_elements:
        yield "its inputs have no elements to send"


def _fault_of_tensor(spec: TensorSpec) -> str:
    axes = spec.batch_axes
    if spec.dtype not in DTYPE_BYTES:
        return f"has the unknown element type {spec.dtype!r}"
    if min(spec.shape, default=0) < 0 or spec.elements() >= MOST:
        return f"has the impossible shape {list(spec.shape)}"
    if len(set(axes)) < len(axes) or not all(0 <= axis < len(spec.shape) for axis in axes):
        return f"has the batch axes {list(axes)} in a shape of {len(spec.shape)} axes"
    return "" if spec.name else "has no name"


def _amounts(layer: Layer) -> tuple[int, ...]:
    return (layer.flops or 0, layer.weight_bytes, layer.read_bytes, layer.written_bytes)


def _faults_of_places(what: str, places: Sequence[Block], layers: int) -> Iterator[str]:
    ends = [place.end for place in places]
    if len({place.name for place in places}) < len(places):
        yield f"its {what} have a name twice"
    if ends != sorted(ends) or any(not 0 < end <= layers for end in ends):
        yield f"its {what} end after {ends} layers, which must ascend from 1 to {layers}"


def fault_of_passes(passes: Passes, cuts: int) -> str:
    """What is wrong with the passes of one batch size; empty where nothing is."""
    plain, stamped = passes.plain_ns, passes.stamped_ns
    if passes.oom:
        return "times beside an out-of-memory mark" if len(plain) else ""
    if not len(plain) and not passes.separate:
        return "no passes"
    if stamped.shape != (len(plain), cuts):
        return f"stamps of shape {stamped.shape} for {len(plain)} passes and {cuts} cuts"
    if np.any(plain <= 0) or np.any(stamped[:, -1] <= 0) or np.any(stamped[:, 0] != 0):
        return "a pass without a positive duration"
    if np.any(stamped < NOT_STAMPED):
        return "a negative time"
    taken = stamped != NOT_STAMPED
    if np.any(taken & (stamped < np.maximum.accumulate(stamped, axis=1))):
        return "stamps that run backwards"
    for one in passes.separate:
        if not 0 <= one.cut < cuts:
            return f"a cut {one.cut} that the model does not have"
        if not len(one.head_ns) or not len(one.tail_ns):
            return f"no times at cut {one.cut}"
        if min(times.min(initial=0) for times in one.times()) < 0:
            return f"a negative time at cut {one.cut}"
        if len(one.whole_ns) and len({times.size for times in one.times()}) > 1:
            return f"heads, tails and whole passes of different number at cut {one.cut}"
    return ""
