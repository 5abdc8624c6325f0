"""torch.export's program as records: it goes in, layers and clean FX code come out."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from dscwb.capturing.blocks import find_blocks
from dscwb.capturing.errors import CaptureError as CaptureError
from dscwb.capturing.flops import flops
from dscwb.capturing.memory import (
    constants,
    drop_state,
    own_inputs,
    rewritten,
    share_memory,
    storage,
    tensors_read,
    written,
)
from dscwb.cuts import narrow_places
from dscwb.graph import Layer, ModelGraph, TensorSpec

# Assertions that torch.export leaves in the graph: they compute nothing.
_CHECKS = ("_assert", "sym_constrain", "_guards")


def read_program(
    module: nn.Module,
    name: str,
    program: torch.export.ExportedProgram,
    resident: Collection[str | int] = (),
    owners: Sequence[str] = (),
    exchanged: Collection[str] = (),
) -> tuple[fx.GraphModule, ModelGraph]:
    """The program as a plain FX module that shares its weights, and as records.

    Every FX node that runs layer k (from 1) carries k in ``node.meta["layer"]``.

    Args:
        module: Where the blocks are looked for.
        name: The model's.
        program: What torch.export made.
        resident: Arguments, and places or keys of the output, that stay where their layer runs.
        owners: The argument of each input tensor.
        exchanged: Names of the tensors that the module sets anew in each call.

    Raises:
        CaptureError: A shape does not grow in proportion to the batch size or depends on values,
            the model keeps state between calls, or it uses an operation that cannot be cut; there
            is no such argument or output, or an input that stays is written in place.
    """
    clean, returned = _clean(program, name, resident, owners, exchanged)
    inputs = [n for n in clean.graph.nodes if n.op == "placeholder"]
    staying = _staying(name, resident, dict(zip(inputs, owners, strict=False)), returned)
    reader = _Reader(clean, name, [n for n in inputs if n in staying or _is_fixed(n)])
    graph = ModelGraph(
        model=name,
        inputs=tuple(reader.specs[n.name] for n in inputs),
        layers=tuple(reader.layers),
        # A weight among the results is on both sides, and a number is no tensor.
        outputs=tuple(n.name for n in returned if n.name in reader.specs),
        resident=tuple(n.name for n in staying),
    )
    graph = replace(graph, blocks=find_blocks(module, graph))
    return clean, replace(graph, narrow=narrow_places(graph))


def _staying(
    name: str,
    resident: Collection[str | int],
    arguments: dict[fx.Node, str],
    results: dict[fx.Node, str | int],
) -> list[fx.Node]:
    """The inputs and results that the user calls resident."""
    known = {*arguments.values(), *results.values()}
    if unknown := [one for one in resident if one not in known]:
        listed = ", ".join(repr(one) for one in sorted(known, key=str))
        raise CaptureError(
            f"{name}: resident names {', '.join(map(repr, unknown))}, which is neither an input "
            f"tensor nor a place in the output; there are {listed}."
        )
    both = [*arguments.items(), *results.items()]  # a tensor may be both
    return list(dict.fromkeys(node for node, place in both if place in resident))


def _is_fixed(node: fx.Node) -> bool:
    """Whether the lengths of its tensor do not depend on the batch size."""
    return all(isinstance(length, int) for length in node.meta["val"].shape)


def _check_held(
    name: str, graph: fx.Graph, resident: Collection[str | int], owners: Sequence[str]
) -> None:
    """Refuse writes into inputs that are not sent: each side would write into a copy of its own."""
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    arguments = dict(zip(inputs, owners, strict=False))
    fixed = [n for n in inputs if arguments.get(n) in resident or _is_fixed(n)]
    held = {storage(n): n.name for n in fixed}
    for node in graph.nodes:
        for changed in written(node):
            if storage(changed) in held:
                kind = held[storage(changed)]
                raise CaptureError(
                    f"{name} writes into its input {kind}{line_of(node)}, which is resident or has "
                    "no batch axis; let it write into a copy (new = old.clone()) and return that, "
                    "and name this output as resident too if it is state."
                )


def _clean(
    program: torch.export.ExportedProgram,
    name: str,
    resident: Collection[str | int],
    owners: Sequence[str],
    exchanged: Collection[str],
) -> tuple[fx.GraphModule, dict[fx.Node, str | int]]:
    """The program without assertions, weights as attributes with flat names (quick to look up).

    Beside it the nodes among its results, with place or key of each in the output.
    """
    weights, sources = _weights(program)
    graph = fx.Graph()
    env: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.name in weights:
            env[node] = graph.get_attr(node.name)
            env[node].meta = dict(node.meta)
        elif node.op == "output":
            graph.output(tuple(env[n] if isinstance(n, fx.Node) else n for n in node.args[0]))
        elif node.op == "placeholder" and not isinstance(node.meta["val"], torch.Tensor):
            env[node] = node.meta["val"]  # a number, string or None: part of the program
        else:
            _copy(node, graph, env, program.graph_module)
    share_memory(graph)
    _check_held(name, graph, resident, owners)
    own_inputs(graph)
    drop_state(graph, sources, exchanged, name)
    returned = _return_structure(graph, program.call_spec.out_spec)
    return runnable(weights, graph, "Captured"), returned


def _return_structure(graph: fx.Graph, spec: Any) -> dict[fx.Node, str | int]:
    """Give the flat results the structure of the model's output; their places or keys in it."""
    output = next(node for node in graph.nodes if node.op == "output")
    flat: list[Any] = list(output.args[0])
    graph.erase_node(output)
    if not any(map(_runs_layer, graph.nodes)):
        flat = [_passed_on(graph, value) for value in flat]
    value = pytree.tree_unflatten(flat, spec) if spec is not None else tuple(flat)
    graph.output(_structured(graph, flat, value, spec))
    returned: dict[fx.Node, str | int] = {}
    for path, leaf in pytree.tree_flatten_with_path(value)[0]:
        if isinstance(leaf, fx.Node):
            returned.setdefault(leaf, key_of(path[0]) if path else 0)
    return returned


def _passed_on(graph: fx.Graph, value: Any) -> Any:
    """A result of a model without operations (`nn.Identity`) as that of one that does nothing."""
    if not isinstance(value, fx.Node) or value.op != "placeholder":
        return value
    made = graph.call_function(torch.ops.aten.alias.default, (value,))
    made.meta = {"val": value.meta["val"]}
    return made


def held_name(name: str) -> str:
    """The attribute under which the captured module holds an input without a batch axis."""
    return f"held_{name}"


def key_of(entry: Any) -> Any:
    """The place or name that a step of a pytree's path stands for."""
    kinds = {pytree.SequenceKey: "idx", pytree.GetAttrKey: "name"}
    return getattr(entry, kinds.get(type(entry), "key"))


def runnable(
    weights: fx.GraphModule | dict[str, torch.Tensor], graph: fx.Graph, class_name: str
) -> fx.GraphModule:
    """Code for a graph whose weights have flat names; they are shared, not copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # get_attr nodes are checked against a root of tensors
        return _Runnable(weights, graph, class_name)


class _Runnable(fx.GraphModule):
    """FX code whose weights are ordinary attributes too.

    As parameters and buffers alone they would be found by `nn.Module.__getattr__`: half a
    microsecond at each use, 2 % of a small model's time, and not the same in whole and halves.
    """

    def __init__(
        self, root: nn.Module | dict[str, Any], graph: fx.Graph, class_name: str = "Runnable"
    ) -> None:
        super().__init__(root, graph, class_name)
        self._expose()

    def _apply(self, fn: Any, recurse: bool = True) -> _Runnable:
        """What moves or converts weights; it makes new buffers."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._expose()
        return self

    def _expose(self) -> None:
        vars(self).update({**self._parameters, **self._buffers})


def _weights(
    program: torch.export.ExportedProgram,
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Parameters, buffers and constants by the names of their placeholders; the user's names."""
    signature = program.graph_signature
    sources = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**program.constants, **program.state_dict}
    return {placeholder: held[source] for placeholder, source in sources.items()}, sources


def _copy(node: fx.Node, graph: fx.Graph, env: dict[fx.Node, Any], owner: nn.Module) -> None:
    """Copy one node; assertions vanish, regions without gradient or autocast are inlined."""
    if node.op == "get_attr" or any(check in str(node.target) for check in _CHECKS):
        return
    region = next((n for n in node.args if isinstance(n, fx.Node) and n.op == "get_attr"), None)
    if region is not None:
        env[node] = _inlined(node, region, graph, env, owner)
    elif node.target is operator.getitem and isinstance(env[node.args[0]], tuple | list):  # type: ignore[index]
        env[node] = env[node.args[0]][node.args[1]]  # type: ignore[index]
    else:
        env[node] = graph.node_copy(node, env.__getitem__)


def _inlined(
    node: fx.Node, region: fx.Node, graph: fx.Graph, env: dict[fx.Node, Any], owner: nn.Module
) -> Any:
    """The results of a region that torch.export keeps as a graph of its own."""
    name = str(node.target)
    autocast = "autocast" in name and node.args[2]  # (device, dtype, enabled, ...)
    if autocast or not ("autocast" in name or "set_grad" in name):
        raise CaptureError(
            f"{_module_path(node) or 'The model'} uses {name}, which cannot be cut; run it without "
            "autocast or control-flow operators."
        )
    inner = getattr(owner, str(region.target))
    given = iter(node.args[node.args.index(region) + 1 :])
    inside: dict[fx.Node, Any] = {}
    for step in inner.graph.nodes:
        if step.op == "placeholder":
            inside[step] = fx.map_arg(next(given), env.__getitem__)
        elif step.op == "output":
            return fx.map_arg(step.args[0], inside.__getitem__)
        else:
            _copy(step, graph, inside, inner)
    return ()


def _structured(graph: fx.Graph, flat: list[Any], value: Any, spec: Any) -> Any:
    """The results in their structure: as FX writes it, or put together by a call."""
    if all(type(x) in (tuple, list, dict) for x in _containers(value)):
        return value

    def put_together(*leaves: Any) -> Any:
        return pytree.tree_unflatten(leaves, spec)

    return graph.call_function(put_together, tuple(flat))


def _containers(value: Any) -> list[Any]:
    """The value and everything inside of it that holds other values."""
    if isinstance(value, fx.Node) or not pytree.tree_structure(value).num_children:
        return [] if pytree.tree_structure(value).is_leaf() else [value]
    inside = value.values() if isinstance(value, dict) else value
    if type(value) not in (tuple, list, dict):
        return [value]
    return [value, *(found for one in inside for found in _containers(one))]


class _Reader:
    """Reads the clean FX graph into layers.

    Attributes:
        layers: The operations in execution order.
        specs: Every tensor by its name.
    """

    def __init__(self, clean: fx.GraphModule, model: str, held: Collection[fx.Node] = ()) -> None:
        self.layers: list[Layer] = []
        self.specs: dict[str, TensorSpec] = {}
        self._model = model
        self._sizes: dict[Any, tuple[int, int]] = {}
        self._owner: dict[Any, str] = {}  # storage to the tensor that owns it
        self._rewritten = rewritten(clean.graph)
        self._constants = constants(clean.graph, held)
        for node in clean.graph.nodes:
            if node.op == "placeholder":
                self._spec(node)
                self._owner[storage(node)] = node.name
            elif _runs_layer(node):
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
        writes = bool(written(node))
        memory = storage(made[0])
        owner = self._owner.get(memory)
        for n in made:
            self._spec(n)
            if writes and memory not in self._rewritten:
                self._owner[storage(n)] = n.name
            else:
                self._owner.setdefault(storage(n), n.name)
        self.layers.append(
            Layer(
                op=getattr(node.target, "_opname", getattr(node.target, "__name__", "op")),
                module=_module_path(node),
                inputs=tuple(dict.fromkeys(n.name for n in active)),
                outputs=tuple(self.specs[n.name] for n in made),
                view_of=None if writes else owner,
                writes=owner if writes and memory in self._rewritten else None,
                constant=node in self._constants,
                flops=self._flops(node, made[0]),
                weight_bytes=sum(_stored(n.meta["val"]) for n in read if n.op == "get_attr"),
                read_bytes=sum(int(self.specs[n.name].nbytes()) for n in active),
                written_bytes=0
                if owner and not writes
                else sum(int(self.specs[n.name].nbytes()) for n in made),
            )
        )
        node.meta["layer"] = len(self.layers)

    def _spec(self, node: fx.Node) -> None:
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
        self.specs[node.name] = TensorSpec(node.name, tuple(shape), tuple(batch_axes), dtype)

    def _size(self, length: Any) -> tuple[int, int]:
        """A symbolic length at batch sizes 1 and 2."""
        if isinstance(length, int):
            return length, length
        expression = length.node.expr
        if expression not in self._sizes:
            self._sizes[expression] = length_at_one_and_two(length)
        return self._sizes[expression]

    def _flops(self, node: fx.Node, made: fx.Node) -> int | None:
        """FLOPs at batch size 1, on meta tensors; None where they are unknown."""
        args, kwargs = pytree.tree_map_only(fx.Node, self._meta, (node.args, node.kwargs))
        return flops(node.target, args, kwargs, self._meta(made))

    def _meta(self, node: fx.Node) -> Any:
        return self._meta_of(node.meta["val"])

    def _meta_of(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            shape = [self._size(length)[0] for length in value.shape]
            return torch.empty(shape, dtype=value.dtype, device="meta")
        if isinstance(value, list | tuple):
            return [self._meta_of(one) for one in value]
        if isinstance(value, torch.SymInt) and not free_unbacked_symbols(value):
            return self._size(value)[0]
        return 1 if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool) else value


def _stored(weight: torch.Tensor) -> int:
    """Bytes of a weight as it is stored: a packed one (torchao's) shows another type than it has.

    Such tensors say by `__tensor_flatten__` what they consist of.
    """
    inner = getattr(weight, "__tensor_flatten__", None)
    if inner is None:
        return weight.nbytes
    return sum(_stored(getattr(weight, name)) for name in inner()[0])


def _runs_layer(node: fx.Node) -> bool:
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


def line_of(node: fx.Node) -> str:
    """The user's line that an operation stands in, as `` at `line` (file:number)``."""
    frames = re.findall(
        r'File "(.+)", line (\d+), in .+\n +(.+)', node.meta.get("stack_trace") or ""
    )
    outside = [f for f in frames if not re.search(r"[\\/](torch|contextlib)[\\/.]", f[0])]
    if not outside:
        return ""
    file, number, line = outside[-1]
    line = line.split(" #")[0].rstrip()
    return f" at `{line}` ({file}:{number})"


def _module_path(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
