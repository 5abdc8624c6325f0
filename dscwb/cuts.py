"""Where a model can be cut, what crosses each cut, and which cuts are bottlenecks.

A cut is a place between two layers in execution order. What crosses it is its *frontier*: every
tensor alive there, the shortcut of a residual block included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

from dscwb.graph import Block, ModelGraph, TensorSpec
from dscwb.units import Encoding

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Granularity = Literal["auto", "block", "op", "compressive"]


def resolved(graph: ModelGraph, granularity: Granularity) -> Granularity:
    """What ``auto`` stands for in this model: ``block`` where there are blocks, else ``op``."""
    if granularity != "auto":
        return granularity
    return "block" if graph.blocks else "op"


@dataclass(frozen=True)
class Cut:
    """A place where the model can be split.

    Attributes:
        index: Number of layers in the head: 0 is full offloading, ``len(graph.layers)`` is no
            offloading.
        name: The block or layer after which it lies; ``input`` and ``output`` at the two ends.
        frontier: The tensors to send so that the tail can run.
        is_input: True at cut 0, where the model's input itself is sent.
        is_output: True at the last cut, where nothing is left to offload.
    """

    index: int
    name: str
    frontier: tuple[TensorSpec, ...]
    is_input: bool = False
    is_output: bool = False

    def elements(self, batch_size: int = 1) -> int:
        """Elements that cross the cut."""
        return sum(spec.elements(batch_size) for spec in self.frontier)

    def payload_bytes(
        self, encoding: Encoding, batch_size: int = 1, *, input_encoding: Encoding | None = None
    ) -> float:
        """Bytes that cross the cut: features in `encoding`, at cut 0 the input in `input_encoding`.

        Tensors that an encoding cannot hold keep their own size (`Encoding.bytes_of`). The last
        cut sends nothing.
        """
        if self.is_output:
            return 0.0
        used = input_encoding if self.is_input and input_encoding is not None else encoding
        return sum(spec.nbytes(batch_size, used) for spec in self.frontier)


def all_cuts(graph: ModelGraph, granularity: Granularity = "op") -> tuple[Cut, ...]:
    """Every cut in execution order, from the input (index 0) to the output.

    ``op`` gives all ``len(graph.layers) + 1`` of them, ``block`` the input, the end of each block,
    the graph's narrow places and the output, ``compressive`` of the input, blocks and output only
    the two ends and the compressive bottlenecks (among all cuts for a model without blocks). For a
    model without blocks ``block`` gives the cuts that send one tensor only, and those that send
    fewer elements than every cut before. ``auto`` is `resolved`.

    Raises:
        ValueError: Unknown granularity.
    """
    granularity = resolved(graph, granularity)
    last = len(graph.layers)
    if granularity == "compressive":
        table = bottlenecks(graph)
        kept = {0, *table["cut"][table["compressive"]], last}
        return tuple(cut for cut in all_cuts(graph, "auto") if cut.index in kept)
    if granularity not in ("block", "op"):
        raise ValueError(
            f"Unknown granularity {granularity!r}; choose 'auto', 'block', 'op' or 'compressive'."
        )
    frontiers = _frontiers(graph)
    if granularity == "block" and graph.blocks:
        names = {place.end: place.name for place in (*graph.narrow, *graph.blocks)}
    else:
        names = {k: layer.name for k, layer in enumerate(graph.layers, start=1)}
    if granularity == "block" and not graph.blocks:
        sizes = [sum(spec.elements() for spec in frontier) for frontier in frontiers]
        lowest = np.minimum.accumulate(sizes)
        kept = {k for k in names if len(frontiers[k]) == 1 or sizes[k] < lowest[k - 1]}
        names = {k: names[k] for k in kept}
    # The output's cut is no offloading, whatever else ends there.
    names = {0: "input", **names, last: "output"}
    return tuple(
        Cut(k, names[k], frontiers[k], is_input=k == 0, is_output=k == last) for k in sorted(names)
    )


def narrow_places(graph: ModelGraph) -> tuple[Block, ...]:
    """Where the data has shrunk without a block's end: a patch embedding, a downsampling.

    These are the cuts that send fewer elements than the input, every block's end and every narrow
    place before them. Inside a block there is one only if it sends no more than the block's end,
    and layers with FLOPs lie between them.

    Returns:
        One record a place, in execution order, with the path of the module that makes the last
        tensor (or this tensor's name, where the path is taken) and the operation as its kind.
    """
    layers = graph.layers
    sizes = [sum(spec.elements() for spec in frontier) for frontier in _frontiers(graph)]
    ends = {block.end for block in graph.blocks}
    around: dict[int, int] = {}  # a cut inside a block to the block's end
    for block in graph.blocks:
        inside = (k for k, x in enumerate(layers, 1) if f"{x.module}.".startswith(f"{block.name}."))
        around.update(dict.fromkeys(range(next(inside, block.end), block.end), block.end))
    names = {block.name for block in graph.blocks}
    lowest, places = sizes[0], []
    for k in range(1, len(layers)):
        end = around.get(k, k)
        works = end == k or any(layer.flops for layer in layers[k:end])
        if sizes[k] < lowest and (k in ends or (works and sizes[k] <= sizes[end])):
            lowest = sizes[k]
            if k not in ends:
                layer = layers[k - 1]
                name = layer.name if layer.module in {"", *names} else layer.module
                names.add(name)
                places.append(Block(name, layer.op, k))
    return tuple(places)


@lru_cache(maxsize=64)  # a scenario changes often, the model seldom
def _frontiers(graph: ModelGraph) -> tuple[tuple[TensorSpec, ...], ...]:
    """The frontier of every cut, by one sweep over the tensors' lifetimes."""
    last = len(graph.layers)
    # The others lie on both sides, or where their layer runs.
    born = {spec.name: 0 for spec in graph.inputs if spec.name not in graph.held}
    root: dict[str, str] = {}  # a view's owner of memory
    written = {layer.writes for layer in graph.layers} - {None}

    def carrier(name: str) -> str:
        """What is sent for a tensor: memory that is written to crosses whole, by its owner."""
        return root[name] if root.get(name) in written else name

    dies: dict[str, int] = {}
    for k, layer in enumerate(graph.layers, start=1):
        for name in map(carrier, layer.inputs):
            dies[name] = max(dies.get(name, 0), k)
        shared = layer.writes or layer.view_of
        for spec in layer.outputs:
            root[spec.name] = root.get(shared or "", shared or spec.name)
            if not layer.constant:  # else made anew in the tail from weights and shapes
                born.setdefault(carrier(spec.name), k)
    results = [name for name in graph.outputs if name not in graph.resident]
    dies |= dict.fromkeys(map(carrier, results), last + 1)
    specs = {spec.name: spec for spec in graph.tensors()}
    changes: list[list[str]] = [[] for _ in range(last + 2)]  # who is born or dies at a cut
    for name, at in born.items():
        if dies.get(name, 0) > at:
            changes[at].append(name)
            changes[dies[name]].append(name)
    alive: dict[str, None] = {}  # ordered
    frontiers = []
    for names in changes[:-1]:
        for name in names:
            if name in alive:
                del alive[name]
            else:
                alive[name] = None
        frontiers.append(tuple(specs[name] for name in _without_copies(alive, root, specs)))
    return tuple(frontiers)


def _without_copies(
    alive: dict[str, None], root: dict[str, str], specs: dict[str, TensorSpec]
) -> list[str]:
    """Send no memory twice: where views of one tensor would cost more than it, send it instead."""
    groups: dict[str, list[str]] = {}
    for name in alive:
        groups.setdefault(root.get(name, name), []).append(name)
    sent = []
    for owner, names in groups.items():
        cost = sum(specs[name].elements() for name in names)
        if owner in names or cost > specs[owner].elements():
            sent.append(owner)
        else:
            sent.extend(names)
    return sent


def head_memory_bytes(graph: ModelGraph, batch_size: int) -> Floats:
    """What the head of each cut needs on the device, in bytes, ``(cut,)``.

    Its weights, and the largest set of tensors that live at one time while it runs (those alive
    before a layer and those that it makes), in their own element types. Constants and resident
    state lie there from the first layer that reads or makes them on. A framework's workspace
    and fragmentation come on top; weights that two layers share count twice. No head, no bytes.
    """
    alive, made, held = (np.asarray(polyval(batch_size, x)) for x in memory_terms(graph))
    running = np.maximum.accumulate(alive[:-1] + made)
    weights = np.cumsum([layer.weight_bytes for layer in graph.layers])
    return np.concatenate(([0.0], weights + running + np.cumsum(held)))


@lru_cache(maxsize=64)
def memory_terms(graph: ModelGraph) -> tuple[Floats, Floats, Floats]:
    """What takes memory, as `byte_terms`: the frontier of each cut, ``(power, cut)``; and by layer,
    ``(power, layer)``, what it makes, and constants and state that lie there from it on.
    """
    there = graph.held.union(graph.resident)
    new = {spec.name: spec for spec in graph.tensors() if spec.name in there}
    held = []
    for layer in graph.layers:
        touched = dict.fromkeys((*layer.inputs, *(spec.name for spec in layer.outputs)))
        held.append([new.pop(name) for name in touched if name in new])
    made = [() if layer.view_of else layer.outputs for layer in graph.layers]
    return byte_terms(_frontiers(graph)), byte_terms(made), byte_terms(held)


def byte_terms(
    groups: Sequence[Sequence[TensorSpec]],
    nbytes: Callable[[TensorSpec], float] = TensorSpec.nbytes,
) -> Floats:
    """Bytes of groups of tensors as a polynomial of B, ``(power, group)``.

    In own element types, or as `nbytes` says of one sample.
    """
    most = max((len(spec.batch_axes) for group in groups for spec in group), default=0)
    terms = np.zeros((most + 1, len(groups)))
    for at, group in enumerate(groups):
        for spec in group:
            terms[len(spec.batch_axes), at] += nbytes(spec)
    return terms


def bottlenecks(graph: ModelGraph, granularity: Granularity = "auto") -> pd.DataFrame:
    """Compression ratio and kind of every cut between input and output.

    Returns:
        One row a cut, in execution order: ``block`` (its number from zero), ``name``, ``cut``
        (layers in the head), ``elements`` (for one sample), ``ratio`` (c = |h|/|x| in elements, as
        in arXiv 2205.11269), ``natural`` (c < 1) and ``compressive`` (c strictly below every
        earlier natural bottleneck). With ``op`` the first column is called ``op``.

    Raises:
        ValueError: Unknown granularity.

    Example:
        >>> import dscwb
        >>> table = dscwb.bottlenecks(dscwb.shipped_profile("efficientnet_b0").graph)
        >>> table.loc[table["compressive"], ["name", "ratio"]].round(3).values.tolist()
        [['blocks.1.0', 0.5], ['blocks.2.0', 0.208], ['blocks.3.0', 0.104],
        ['blocks.5.0', 0.062]]
    """
    from dscwb.bottleneck_table import BottleneckTable

    granularity = resolved(graph, granularity)
    if granularity not in ("block", "op"):
        raise ValueError(f"Unknown granularity {granularity!r}; choose 'auto', 'block' or 'op'.")
    places = all_cuts(graph, granularity)[1:-1]
    if granularity == "block" and graph.blocks:  # a block that ends at the output is one too
        frontiers = _frontiers(graph)
        places = tuple(Cut(b.end, b.name, frontiers[b.end]) for b in graph.blocks)
    elements = [cut.elements() for cut in places]
    ratio = np.array(elements, dtype=np.float64) / graph.input_elements
    before = np.minimum.accumulate([1.0, *ratio])[:-1]
    return BottleneckTable(
        {
            granularity: range(len(places)),
            "name": [cut.name for cut in places],
            "cut": [cut.index for cut in places],
            "elements": elements,
            "ratio": ratio,
            "natural": ratio < 1,
            "compressive": ratio < before,
        }
    )
