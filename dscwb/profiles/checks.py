"""What no capture can give: graphs come from files of elsewhere too, and are looked at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dscwb.graph import ModelGraph
from dscwb.units import DTYPE_BYTES

MOST = 2**62
"""Of bytes, elements and operations; larger numbers are none, and overflow where they are added."""


def faults_of_graph(graph: ModelGraph) -> Iterator[str]:
    """What makes no sense in a graph: names, shapes, order, one after the other in words."""
    if not graph.inputs or not graph.layers or not graph.outputs:
        yield "it has no inputs, no layers or no outputs"
    if not all(layer.outputs for layer in graph.layers):
        yield "a layer without outputs"
    specs = list(graph.tensors())
    names = Counter(spec.name for spec in specs)
    yield from (f"the name {name!r} stands there twice" for name, n in names.items() if n > 1)
    for spec in specs:
        what, shape, axes = f"tensor {spec.name!r} has", spec.shape, spec.batch_axes
        if not spec.name:
            yield "a tensor without a name"
        if spec.dtype not in DTYPE_BYTES:
            yield f"{what} the unknown element type {spec.dtype!r}"
        if min(shape, default=0) < 0 or spec.elements() >= MOST:
            yield f"{what} the impossible shape {list(shape)}"
        if len(set(axes)) < len(axes) or not all(0 <= axis < len(shape) for axis in axes):
            yield f"{what} the batch axes {list(axes)} in a shape of {len(shape)} axes"
    known = {spec.name for spec in graph.inputs}
    for layer in graph.layers:
        asked = filter(None, (*layer.inputs, layer.view_of, layer.writes))
        for name in (name for name in asked if name not in known):
            yield f"layer {layer.name!r} uses {name!r}, which nothing before it makes"
        known.update(spec.name for spec in layer.outputs)
        amounts = layer.flops or 0, layer.weight_bytes, layer.read_bytes, layer.written_bytes
        if not all(0 <= number < MOST for number in amounts):
            yield f"layer {layer.name!r} has an impossible number of operations or bytes"
    for name in (name for name in (*graph.outputs, *graph.resident) if name not in known):
        yield f"it returns or keeps {name!r}, which nothing makes"
    for what, places in (("blocks", graph.blocks), ("narrow places", graph.narrow)):
        ends, last = [place.end for place in places], len(graph.layers)
        if len({place.name for place in places}) < len(places):
            yield f"its {what} have a name twice"
        if ends != sorted(ends) or not all(0 < end <= last for end in ends):
            yield f"its {what} end after {ends} layers, which must ascend from 1 to {last}"
    if not graph.input_elements:
        yield "its inputs have no elements to send"
