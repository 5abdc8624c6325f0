"""The layers of an exported graph as records: shapes for every batch size, FLOPs, bytes."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError, line_of
from dscwb.capturing.flops import flops
from dscwb.capturing.memory import constants, rewritten, storage, tensors_read, written
from dscwb.graph import Layer, TensorSpec


class Reader:
    """Reads a clean graph, in which every node that runs layer k gets k as ``meta["layer"]``.

    Attributes:
        layers: The operations in execution order.
        specs: Every tensor by its name.
    """

    def __init__(self, graph: fx.Graph, model: str, held: Collection[fx.Node]) -> None:
        """Read all of it; inputs that are `held` on both sides are as good as weights.

        Raises:
            CaptureError: A shape depends on values or does not grow in proportion to the batch
                size, or an operation returns nothing.
        """
        self.layers: list[Layer] = []
        self.specs: dict[str, TensorSpec] = {}
        self._model = model
        self._sizes: dict[Any, tuple[int, int]] = {}
        self._owner: dict[Any, str] = {}  # storage to the tensor that owns it
        self._rewritten = rewritten(graph)
        self._constants = constants(graph, held)
        for node in graph.nodes:
            if node.op == "placeholder":
                self.specs[node.name] = self._spec(node)
                self._owner[storage(node)] = node.name
            elif runs_layer(node):
                self._layer(node)
            elif written(node):
                raise CaptureError(
                    f"{model}: {node.target} writes into a tensor and returns none"
                    f"{line_of(node)}; let it return its result instead."
                )

    def _layer(self, node: fx.Node) -> None:
        made = [node] if isinstance(node.meta["val"], torch.Tensor) else list(node.users)
        made = [n for n in made if isinstance(n.meta.get("val"), torch.Tensor)]
        if not made:
            return
        read = tensors_read(node)
        active = [n for n in read if n.op != "get_attr"]
        writes, memory = bool(written(node)), storage(made[0])
        kept = memory in self._rewritten  # later read by a name that it had before
        owner = self._owner.get(memory)
        for n in made:
            self.specs[n.name] = self._spec(n)
            if writes and not kept:
                self._owner[storage(n)] = n.name
            else:
                self._owner.setdefault(storage(n), n.name)
        args, kwargs = pytree.tree_map_only(fx.Node, self._meta, (node.args, node.kwargs))
        self.layers.append(
            Layer(
                op=getattr(node.target, "_opname", getattr(node.target, "__name__", "op")),
                module=module_path(node),
                inputs=tuple(dict.fromkeys(n.name for n in active)),
                outputs=tuple(self.specs[n.name] for n in made),
                view_of=None if writes else owner,
                writes=owner if writes and kept else None,
                constant=node in self._constants,
                flops=flops(node.target, args, kwargs, self._meta(made[0])),
                weight_bytes=sum(_stored(n.meta["val"]) for n in read if n.op == "get_attr"),
                read_bytes=self._bytes(active),
                written_bytes=0 if owner and not writes else self._bytes(made),
            )
        )
        node.meta["layer"] = len(self.layers)

    def _bytes(self, nodes: list[fx.Node]) -> int:
        """Bytes of these tensors for one sample."""
        return sum(int(self.specs[n.name].nbytes()) for n in nodes)

    def _spec(self, node: fx.Node) -> TensorSpec:
        value = node.meta["val"]
        shape, batch_axes = [], []
        for axis, length in enumerate(value.shape):
            if isinstance(length, torch.SymInt) and free_unbacked_symbols(length):
                raise CaptureError(
                    f"{self._model}: a length of {node.name} depends on values, not on shapes alone"
                    f"{line_of(node)}, so nobody knows what would cross a cut behind it. Keep the "
                    "length fixed (multiply by the mask, or torch.where with three arguments), or "
                    "capture the part of the model before that line."
                )
            one, two = self._size(length)
            shape.append(one)
            if two not in (one, 2 * one):
                raise CaptureError(
                    f"{node.name}: shape {tuple(value.shape)} does not grow in proportion to the "
                    "batch size; such models are not supported."
                )
            if two != one:
                batch_axes.append(axis)
        dtype = str(value.dtype).removeprefix("torch.")
        return TensorSpec(node.name, tuple(shape), tuple(batch_axes), dtype)

    def _size(self, length: Any) -> tuple[int, int]:
        """A length at batch sizes 1 and 2."""
        if isinstance(length, int):
            return length, length
        expression = length.node.expr
        if expression not in self._sizes:
            self._sizes[expression] = length_at_one_and_two(length)
        return self._sizes[expression]

    def _meta(self, node: fx.Node) -> Any:
        """What a node holds at batch size 1, tensors without their values."""

        def meta(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                shape = [self._size(length)[0] for length in value.shape]
                return torch.empty(shape, dtype=value.dtype, device="meta")
            if isinstance(value, torch.SymInt) and not free_unbacked_symbols(value):
                return self._size(value)[0]
            return 1 if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool) else value

        return pytree.tree_map(meta, node.meta["val"])


def _stored(weight: torch.Tensor) -> int:
    """Bytes of a weight as it is stored: a packed one (torchao's) shows another type than it has.

    Such tensors say by `__tensor_flatten__` what they consist of.
    """
    inner = getattr(weight, "__tensor_flatten__", None)
    if inner is None:
        return weight.nbytes
    return sum(_stored(getattr(weight, name)) for name in inner()[0])


def runs_layer(node: fx.Node) -> bool:
    """Whether it makes tensors itself: getitem only unpacks, sizes are numbers."""
    made = pytree.tree_leaves(node.meta.get("val"))
    makes = any(isinstance(value, torch.Tensor) for value in made)
    return node.op == "call_function" and node.target is not operator.getitem and makes


def length_at_one_and_two(length: torch.SymInt) -> tuple[int, int]:
    """A symbolic length at batch sizes 1 and 2."""
    expression = length.node.expr
    one, two = (
        int(expression.subs(dict.fromkeys(expression.free_symbols, size))) for size in (1, 2)
    )
    return one, two


def module_path(node: fx.Node) -> str:
    """Path of the module that an operation runs in; empty for the model itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
