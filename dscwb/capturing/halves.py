"""Runnable halves: head and tail of a captured model at a cut, on shared weights."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx

from dscwb.capturing.exported import Runnable, held_name, length_at_one_and_two
from dscwb.capturing.memory import storage, storages, written
from dscwb.cuts import Cut
from dscwb.graph import ModelGraph

_SIZE = torch.ops.aten.sym_size.int


class Sent(tuple[torch.Tensor, ...]):
    """What a head returns where something is not sent: the frontier, and beside it what stays.

    Made by the head, so that ``tail(head(*inputs))`` is the model's output in one process. Between
    two machines send the tensors of the tuple; on the other one give the tail a
    ``Sent(received, stays)`` with its own constants and state.

    Attributes:
        stays: By name, the model's inputs that are not sent, and the state that the head has made.
    """

    stays: Mapping[str, torch.Tensor]

    def __new__(
        cls, tensors: Iterable[torch.Tensor], stays: Mapping[str, torch.Tensor] | None = None
    ) -> Sent:
        """These tensors, and what stays beside them."""
        sent = super().__new__(cls, tensors)
        sent.stays = stays or {}
        return sent


def stayed(sent: tuple[torch.Tensor, ...], name: str, held: torch.Tensor | None = None) -> Any:
    """What stays under this name; the constant of the capture where it was not given."""
    found = state_made(sent, name)
    if found is None and held is None:
        raise ValueError(
            f"The tail reads {name}, which is resident and was not sent; give it as "
            f"tail(Sent(frontier, {{{name!r}: ...}})) with Sent from dscwb.capturing.halves."
        )
    return held if found is None else found


def state_made(sent: tuple[torch.Tensor, ...], name: str) -> torch.Tensor | None:
    """State that the head has made; None on the other machine, where it does not lie."""
    return sent.stays.get(name) if isinstance(sent, Sent) else None


def make_head(module: fx.GraphModule, graph: ModelGraph, cut: Cut) -> fx.GraphModule:
    """The layers up to the cut; takes the model's inputs, returns the frontier as a tuple."""
    half = _Rebuilt(module, graph, cut.index)
    half.take_inputs()
    half.copy(half.first)
    sent = tuple(half.value(half.by_name[spec.name]) for spec in cut.frontier)
    stays = sorted(graph.held | half.state_made(cut))
    kept = {name: half.value(half.by_name[name]) for name in stays}
    return half.finish(half.graph.call_function(Sent, (sent, kept)) if kept else sent)


def make_tail(module: fx.GraphModule, graph: ModelGraph, cut: Cut) -> fx.GraphModule:
    """The layers after the cut; takes the frontier as a tuple, returns the model's output."""
    half = _Rebuilt(module, graph, cut.index)
    half.take_frontier(cut)
    half.copy(half.last)
    return half.finish(half.output())


def make_stamped(module: fx.GraphModule, graph: ModelGraph) -> fx.GraphModule:
    """The whole model with two more arguments, ``clock`` and ``wanted``.

    Calls ``clock.stamp(k)`` after each layer k where ``wanted[k]`` is true, after all if left out.
    One code for all choices is warm whatever is chosen; looking a choice up takes 20 ns, a call
    that does nothing takes 100.
    """
    whole = _Rebuilt(module, graph, len(graph.layers))
    whole.take_inputs()
    clock = whole.graph.placeholder("clock")
    wanted = whole.graph.placeholder("wanted", default_value=(True,) * (len(graph.layers) + 1))
    for node in (*whole.first, *whole.last):
        whole.copy([node])
        if (layer := node.meta.get("layer")) is not None:
            whole.graph.call_method("stamp", (clock, layer))
    call = re.compile(rf"^(\s*)\w+ = ({clock.name}\.stamp\((\d+)\)).*$", re.MULTILINE)
    # FX has no conditions: they are written into its code.
    chosen = rf"\1if {wanted.name}[\3]: \2"
    whole.graph.on_generate_code(lambda _: lambda code: [call.sub(chosen, "".join(code))])
    return whole.finish(whole.output())


class _Rebuilt:
    """A new FX graph of the captured nodes before or behind a cut; the weights are shared."""

    def __init__(self, module: fx.GraphModule, records: ModelGraph, index: int) -> None:
        self.graph = fx.Graph()
        self._module, self._records = module, records
        self.by_name = {node.name: node for node in module.graph.nodes}
        # Of the layers before the cut with the bookkeeping between them, and those behind it.
        nodes = [n for n in self.by_name.values() if n.op == "call_function"]
        end = next((i for i, n in enumerate(nodes) if n.meta.get("layer", 0) > index), len(nodes))
        self.first, self.last = nodes[:end], nodes[end:]
        self._output = [*module.graph.nodes][-1]
        self._env: dict[fx.Node, fx.Node] = {}
        self._sent: fx.Node | None = None
        self._batch: fx.Node | None = None

    def take_inputs(self) -> None:
        for spec in self._records.inputs:
            self._env[self.by_name[spec.name]] = self.graph.placeholder(spec.name)

    def take_frontier(self, cut: Cut) -> None:
        """Bind what was sent; what else is read behind the cut is made anew."""
        self._sent = self.graph.placeholder("frontier")
        getitem: Any = operator.getitem
        places = range(len(cut.frontier))
        parts = [self.graph.call_function(getitem, (self._sent, i)) for i in places]
        changed = {storage(n) for node in self.last for n in written(node)}
        for spec, part in zip(cut.frontier, parts, strict=True):
            node = self.by_name[spec.name]
            if storage(node) in changed:  # what is given stays as it is
                part = self.graph.call_function(torch.ops.aten.clone.default, (part,))
            self._env[node] = part
        for name in sorted(self.state_made(cut)):
            state = self.graph.call_function(state_made, (self._sent, name))
            self._env[self.by_name[name]] = state
        self._make_anew(cut)

    def state_made(self, cut: Cut) -> set[str]:
        """Resident results of the first layers that the tail has no other way to know."""
        head, tail = self._records.layers[: cut.index], self._records.layers[cut.index :]
        made = {spec.name for layer in head for spec in layer.outputs}
        read = {name for layer in tail for name in layer.inputs}
        return made & set(self._records.resident) - read - {s.name for s in cut.frontier}

    def _make_anew(self, cut: Cut) -> None:
        """What was not sent (sizes, constants, views), by the skipped operations it takes."""
        canvases = {storage(self.by_name[x.writes]) for x in self._records.layers if x.writes}
        sent = set[Any]().union(*map(storages, self._env)) & canvases
        order = {node: i for i, node in enumerate(self.first)}
        writes: dict[Any, list[fx.Node]] = {}
        for node in self.first:
            for changed in written(node):
                writes.setdefault(storage(changed), []).append(node)

        def as_sent(node: fx.Node) -> bool:
            """Whether it is a write whose memory was sent as this left it."""
            return bool(written(node) and storages(node) & sent)

        wanted = [n for node in (*self.last, self._output) for n in node.all_input_nodes]
        needed: set[fx.Node] = set()
        while wanted:
            node = wanted.pop()
            if node in self._env or node in needed or node not in order:
                continue
            needed.add(node)
            if as_sent(node):
                wanted.append(written(node)[0])
            elif node.target is not _SIZE:
                wanted += node.all_input_nodes
            for memory in storages(node) & canvases - sent:  # as it was left by all writes into it
                wanted += writes.get(memory, ())
        for node in sorted(needed, key=order.__getitem__):
            if node.target is _SIZE and node.args[0] not in self._env:
                self._env[node] = self._size(node, cut)
            elif as_sent(node):
                self._env[node] = self.value(written(node)[0])
            else:
                self.copy([node])

    def _size(self, node: fx.Node, cut: Cut) -> fx.Node:
        """A symbolic length from the batch size of what was sent."""
        if self._batch is None:
            spec = next(s for s in cut.frontier if s.batch_axes)
            axis, part = spec.batch_axes[0], self._env[self.by_name[spec.name]]
            length = self.graph.call_function(_SIZE, (part, axis))
            self._batch = self.graph.call_function(operator.floordiv, (length, spec.shape[axis]))
        one, two = length_at_one_and_two(node.meta["val"])
        scaled = self.graph.call_function(operator.mul, (self._batch, two - one))
        return self.graph.call_function(operator.add, (scaled, 2 * one - two))

    def copy(self, nodes: Iterable[fx.Node]) -> None:
        for node in nodes:
            if node not in self._env:
                self._env[node] = self.graph.node_copy(node, self.value)

    def value(self, node: fx.Node) -> fx.Node:
        """A node's copy; weights and what was not sent are looked up where they are first read."""
        if node.op == "get_attr":
            self.copy([node])
        if node.op == "placeholder" and node not in self._env:
            constant = node.name not in self._records.resident
            held = (self.graph.get_attr(held_name(node.name)),) if constant else ()
            self._env[node] = self.graph.call_function(stayed, (self._sent, node.name, *held))
        return self._env[node]

    def output(self) -> Any:
        return fx.map_arg(self._output.args[0], self.value)

    def finish(self, result: Any) -> fx.GraphModule:
        self.graph.output(result)
        return Runnable(self._module, self.graph, "Half")
