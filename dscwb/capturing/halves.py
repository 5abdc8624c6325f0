"""Runnable halves: head and tail of a captured model at a cut, on shared weights."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any

import torch
from torch import fx

from dscwb.capturing.exported import held_name, runnable
from dscwb.capturing.layers import length_at_one_and_two
from dscwb.capturing.memory import storage, storages, written
from dscwb.cuts import Cut
from dscwb.graph import ModelGraph, TensorSpec

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
    stays = sent.stays if isinstance(sent, Sent) else {}
    if name not in stays and held is None:
        raise ValueError(
            f"The tail reads {name}, which is resident and was not sent; give it as "
            f"tail(Sent(frontier, {{{name!r}: ...}})) with Sent from dscwb.capturing.halves."
        )
    return stays.get(name, held)


def state_made(sent: tuple[torch.Tensor, ...], name: str) -> torch.Tensor | None:
    """State that the head has made; None on the other machine, where it does not lie."""
    return sent.stays.get(name) if isinstance(sent, Sent) else None


def make_head(module: fx.GraphModule, graph: ModelGraph, cut: Cut) -> fx.GraphModule:
    """The layers up to the cut; takes the model's inputs, returns the frontier as a tuple."""
    rebuilt = _Rebuilt(module, graph)
    rebuilt.take_inputs()
    for node in rebuilt.until(cut.index):
        rebuilt.copy(node)
    return rebuilt.finish(rebuilt.frontier(cut))


def make_tail(module: fx.GraphModule, graph: ModelGraph, cut: Cut) -> fx.GraphModule:
    """The layers after the cut; takes the frontier as a tuple, returns the model's output."""
    rebuilt = _Rebuilt(module, graph)
    rebuilt.take_frontier(cut)
    for node in rebuilt.after(cut.index):
        rebuilt.copy(node)
    return rebuilt.finish(rebuilt.output())


def make_stamped(module: fx.GraphModule, graph: ModelGraph) -> fx.GraphModule:
    """The whole model with two more arguments, ``clock`` and ``wanted``.

    Calls ``clock.stamp(k)`` after each layer k where ``wanted[k]`` is true, after all if left out.
    One code for all choices is warm whatever is chosen; looking a choice up takes 20 ns, a call
    that does nothing takes 100.
    """
    rebuilt = _Rebuilt(module, graph)
    rebuilt.take_inputs()
    clock = rebuilt.graph.placeholder("clock")
    wanted = rebuilt.graph.placeholder("wanted", default_value=(True,) * (len(graph.layers) + 1))
    for node in rebuilt.nodes:
        rebuilt.copy(node)
        if (layer := node.meta.get("layer")) is not None:
            rebuilt.graph.call_method("stamp", (clock, layer))
    call = re.compile(rf"(\s*)\w+ = ({clock.name}\.stamp\((\d+)\))")

    def by_choice(parts: list[str]) -> list[str]:
        """FX has no conditions: they are written into its code."""
        found = [(line, call.match(line)) for line in "".join(parts).splitlines(keepends=True)]
        return [f"{m[1]}if {wanted.name}[{m[3]}]: {m[2]}\n" if m else x for x, m in found]

    rebuilt.graph.on_generate_code(lambda earlier: by_choice)
    return rebuilt.finish(rebuilt.output())


class _Rebuilt:
    """A new FX graph of some of the captured nodes, in their order; the weights are shared."""

    def __init__(self, module: fx.GraphModule, records: ModelGraph) -> None:
        self.graph = fx.Graph()
        self._module = module
        self._records = records
        every = list(module.graph.nodes)
        self.nodes = [n for n in every if n.op == "call_function"]
        self._output = every[-1]
        self._by_name = {n.name: n for n in every}
        self._env: dict[fx.Node, fx.Node] = {}
        self._given: tuple[TensorSpec, ...] = ()
        self._batch: fx.Node | None = None
        self._sent: fx.Node | None = None

    def take_inputs(self) -> None:
        for spec in self._records.inputs:
            self._env[self._by_name[spec.name]] = self.graph.placeholder(spec.name)

    def take_frontier(self, cut: Cut) -> None:
        """Bind what was sent; what else is read behind the cut is made anew."""
        self._given, self._sent = cut.frontier, self.graph.placeholder("frontier")
        getitem: Callable[..., Any] = operator.getitem
        parts = [
            self.graph.call_function(getitem, (self._sent, i)) for i in range(len(self._given))
        ]
        changed = {storage(n) for node in self.after(cut.index) for n in written(node)}
        for spec, part in zip(cut.frontier, parts, strict=True):
            node = self._by_name[spec.name]
            if storage(node) in changed:  # what is given stays as it is
                part = self.graph.call_function(torch.ops.aten.clone.default, (part,))
            self._env[node] = part
        for name in sorted(self._state_made(cut)):
            state = self.graph.call_function(state_made, (self._sent, name))
            self._env[self._by_name[name]] = state
        self._make_anew(cut.index)

    def frontier(self, cut: Cut) -> Any:
        """What the head returns: what is sent, beside it the constants and the state, if any."""
        sent = tuple(self._value(self._by_name[spec.name]) for spec in cut.frontier)
        stays = self._records.held | self._state_made(cut)
        if not stays:
            return sent
        kept = {name: self._value(self._by_name[name]) for name in sorted(stays)}
        return self.graph.call_function(Sent, (sent, kept))

    def _state_made(self, cut: Cut) -> set[str]:
        """Resident results of the first layers that the tail has no other way to know."""
        head, tail = self._records.layers[: cut.index], self._records.layers[cut.index :]
        made = {spec.name for layer in head for spec in layer.outputs}
        read = {name for layer in tail for name in layer.inputs}
        return made & set(self._records.resident) - read - {s.name for s in cut.frontier}

    def _make_anew(self, index: int) -> None:
        """What was not sent (sizes, constants, views), by the skipped operations it takes."""
        names = {layer.writes for layer in self._records.layers} - {None}
        rewritten = {storage(self._by_name[str(name)]) for name in names}
        skipped = self.until(index)
        sent = set().union(*map(storages, self._env)) & rewritten
        order = {node: i for i, node in enumerate(skipped)}
        writes: dict[Any, list[fx.Node]] = {}
        for node in skipped:
            for changed in written(node):
                writes.setdefault(storage(changed), []).append(node)
        wanted = [n for node in (*self.after(index), self._output) for n in node.all_input_nodes]
        needed: set[fx.Node] = set()
        while wanted:
            node = wanted.pop()
            if node in self._env or node in needed or node not in order:
                continue
            needed.add(node)
            if written(node) and storages(node) & sent:  # was sent as this write left it
                wanted.append(written(node)[0])
            elif node.target is not _SIZE:
                wanted += node.all_input_nodes
            for memory in storages(node) & rewritten - sent:  # as it was left by all writes into it
                wanted += writes.get(memory, ())
        for node in sorted(needed, key=order.__getitem__):
            if node.target is _SIZE and node.args[0] not in self._env:
                self._env[node] = self._size(node)
            elif written(node) and storages(node) & sent:
                self._env[node] = self._value(written(node)[0])
            else:
                self.copy(node)

    def until(self, index: int) -> list[fx.Node]:
        """The nodes of the first `index` layers and the bookkeeping between them."""
        return list(takewhile(lambda node: node.meta.get("layer", 0) <= index, self.nodes))

    def after(self, index: int) -> list[fx.Node]:
        """The nodes behind the first `index` layers."""
        return self.nodes[len(self.until(index)) :]

    def copy(self, node: fx.Node) -> None:
        if node not in self._env:
            self._env[node] = self.graph.node_copy(node, self._value)

    def _value(self, node: fx.Node) -> fx.Node:
        """A node's copy; weights and what was not sent are looked up where they are first read."""
        if node.op == "get_attr":
            self.copy(node)
        if node.op == "placeholder" and node not in self._env:
            constant = node.name not in self._records.resident
            held = (self.graph.get_attr(held_name(node.name)),) if constant else ()
            self._env[node] = self.graph.call_function(stayed, (self._sent, node.name, *held))
        return self._env[node]

    def _size(self, node: fx.Node) -> fx.Node:
        """A symbolic length from the batch size of what was sent."""
        if self._batch is None:
            spec = next(s for s in self._given if s.batch_axes)
            axis = spec.batch_axes[0]
            part = self._env[self._by_name[spec.name]]
            length = self.graph.call_function(_SIZE, (part, axis))
            self._batch = self.graph.call_function(operator.floordiv, (length, spec.shape[axis]))
        one, two = length_at_one_and_two(node.meta["val"])
        scaled = self.graph.call_function(operator.mul, (self._batch, two - one))
        return self.graph.call_function(operator.add, (scaled, 2 * one - two))

    def output(self) -> Any:
        return fx.map_arg(self._output.args[0], self._value)

    def finish(self, result: Any) -> fx.GraphModule:
        self.graph.output(result)
        return runnable(self._module, self.graph, "Half")
