"""A model's main road: which tensors pass each module, and which module needs what another made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dscwb.cuts import all_cuts
from dscwb.graph import ModelGraph


class Road:
    """What the graph knows of module paths; cuts are counted as in `all_cuts`.

    Attributes:
        spans: First and last layer of a path, counted from 1; what depends on weights only is
            left out, so what computes nothing else has no span.
        ends: The cut after a module, and after its parent's own operations that close a shortcut.
        alive: Names of the tensors that cross each cut, a view's owner for the view.
        all_work: FLOPs of the whole model.
    """

    def __init__(self, graph: ModelGraph) -> None:
        """Walk through the layers once."""
        self.spans: dict[str, tuple[int, int]] = {}
        self._layers = graph.layers
        self._owner: dict[str, str] = {}
        self._born = {spec.name: 0 for spec in graph.sent}
        self._reads: dict[str, list[int]] = {}
        self._work = [0]
        for k, layer in enumerate(graph.layers, start=1):
            self._work.append(self._work[-1] + (layer.flops or 0))  # unknown ones count as none
            for spec in layer.outputs:
                self._owner[spec.name] = self._owned(layer.view_of or spec.name)
                self._born.setdefault(self._owned(spec.name), k)
            for name in layer.inputs:
                self._reads.setdefault(self._owned(name), []).append(k)
            if not layer.constant:
                for path in parents(layer.module):
                    first, _ = self.spans.get(path, (k, k))
                    self.spans[path] = first, k
        self.all_work = self._work[-1]
        cuts = all_cuts(graph, "op")
        self.alive = [frozenset(self._owned(s.name) for s in cut.frontier) for cut in cuts]
        self._sizes = [cut.elements() for cut in cuts]
        self.ends = {path: self._end(path) for path in self.spans}

    def _owned(self, name: str) -> str:
        return self._owner.get(name, name)

    def _end(self, path: str) -> int:
        _, last = self.spans[path]
        above = {*parents(path)[1:], ""}
        for k in range(last + 1, len(self._layers)):
            if self._layers[k - 1].module not in above:
                break
            if len(self.alive[k]) < len(self.alive[last]) and self._sizes[k] < self._sizes[last]:
                return k
        return last

    def start(self, path: str) -> int:
        """The cut before a module."""
        return self.spans[path][0] - 1

    def work(self, path: str) -> int:
        """FLOPs from a module's first layer to its last."""
        first, last = self.spans[path]
        return self._work[last] - self._work[first - 1]

    def passing(self, path: str) -> frozenset[str]:
        """Tensors from before a module that are alive behind it."""
        start = self.start(path)
        return frozenset(t for t in self.alive[self.ends[path]] if self._born.get(t, 0) <= start)

    def beside(self, path: str) -> bool:
        """Whether all that was alive before a module is alive after it."""
        return self.alive[self.start(path)] <= self.alive[self.ends[path]]

    def read_by(self, tensor: str, paths: Sequence[str], after: int) -> bool:
        """Whether from a cut on only these modules read a tensor or a view of it."""
        later = (k for k in self._reads.get(tensor, ()) if k > after)
        return all(not set(paths).isdisjoint(parents(self._layers[k - 1].module)) for k in later)

    def in_sequence(self, paths: Sequence[str]) -> bool:
        """Whether each module needs what the one before it made."""
        return all(self._follows(later, earlier) for earlier, later in pairwise(paths))

    def _follows(self, later: str, earlier: str) -> bool:
        first, last = self.spans[earlier]
        reached = set[str]()
        for k in range(first, self.spans[later][1] + 1):
            layer = self._layers[k - 1]
            inside = k <= last and earlier in parents(layer.module)
            if inside or not reached.isdisjoint(map(self._owned, layer.inputs)):
                if k > last and later in parents(layer.module):
                    return True
                reached.update(self._owned(spec.name) for spec in layer.outputs)
        return False


def parents(path: str) -> list[str]:
    """A module path and those above it, the innermost first."""
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
