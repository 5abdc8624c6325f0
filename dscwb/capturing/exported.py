"""torch.export's program as code that can be cut, with its layers as records.

The records hold shapes for every batch size, FLOPs and bytes.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from dscwb.capturing import memory
from dscwb.capturing.blocks import find_blocks
from dscwb.capturing.errors import CaptureError, line_of
from dscwb.capturing.flops import flops
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

    Blocks are looked for in `module`; `owners` are the arguments that the input tensors stand in,
    `exchanged` names what the module changes in each call, `resident` is as in `capture`.
    """
    signature = program.graph_signature
    sources = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    values = {**program.constants, **program.state_dict}
    weights = {placeholder: values[source] for placeholder, source in sources.items()}
    code = _copied(program, weights)
    inputs = [n for n in code.nodes if n.op == "placeholder"]
    arguments = dict(zip(inputs, owners, strict=False))
    fixed = {n for n in inputs if all(isinstance(length, int) for length in n.meta["val"].shape)}
    memory.share_memory(code)
    memory.own_inputs(code, fixed.union(n for n in inputs if arguments.get(n) in resident), name)
    memory.drop_state(code, sources, exchanged, name)
    returned = _return_structure(code, program.call_spec.out_spec)
    places = [*arguments.items(), *returned.items()]  # a tensor may be both
    known = {place for _, place in places}
    if unknown := [one for one in resident if one not in known]:
        listed = ", ".join(repr(one) for one in sorted(known, key=str))
        raise CaptureError(
            f"{name}: resident names {', '.join(map(repr, unknown))}, which is neither an input "
            f"tensor nor a place in the output; there are {listed}."
        )
    staying = dict.fromkeys(node for node, place in places if place in resident)
    clean = Runnable(weights, code, "Captured")
    layers, specs = _layers(code, name, fixed.union(staying))
    graph = ModelGraph(
        model=name,
        inputs=tuple(specs[n.name] for n in inputs),
        layers=tuple(layers),
        # A weight among the results is on both sides, and a number is no tensor.
        outputs=tuple(n.name for n in returned if n.name in specs),
        resident=tuple(n.name for n in staying),
    )
    graph = replace(graph, blocks=find_blocks(module, graph))
    return clean, replace(graph, narrow=narrow_places(graph))


def held_name(name: str) -> str:
    """The attribute under which the captured module holds an input without a batch axis."""
    return f"held_{name}"


def key_of(entry: Any) -> Any:
    """The place or name that a step of a pytree's path stands for."""
    kinds = {pytree.SequenceKey: "idx", pytree.GetAttrKey: "name"}
    return getattr(entry, kinds.get(type(entry), "key"))


class Runnable(fx.GraphModule):
    """FX code whose weights have flat names, are shared, and are ordinary attributes too.

    As parameters and buffers alone they would be found by `nn.Module.__getattr__`: half a
    microsecond at each use, 2 % of a small model's time, and not the same in whole and halves.
    """

    def __init__(
        self, root: nn.Module | dict[str, Any], graph: fx.Graph, class_name: str = "Runnable"
    ) -> None:
        """Code that reads the weights of `root`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # get_attr nodes are checked against a root of tensors
            super().__init__(root, graph, class_name)
        vars(self).update({**self._parameters, **self._buffers})

    def _apply(self, fn: Any, recurse: bool = True) -> Runnable:
        """What moves or converts weights; it makes new buffers."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        vars(self).update({**self._parameters, **self._buffers})
        return self


# --- the program as one flat graph ----------------------------------------------------------------


def _copied(program: torch.export.ExportedProgram, weights: Collection[str]) -> fx.Graph:
    """The program without assertions; weights are attributes with flat names (quick to look up)."""
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
    return graph


def _copy(node: fx.Node, graph: fx.Graph, env: dict[fx.Node, Any], owner: nn.Module) -> None:
    """Copy one node; assertions vanish, regions without gradient or autocast are inlined."""
    if node.op == "get_attr" or any(check in str(node.target) for check in _CHECKS):
        return
    region = next((n for n in node.args if isinstance(n, fx.Node) and n.op == "get_attr"), None)
    if region is None:
        source: Any = env[node.args[0]] if node.target is operator.getitem else None  # type: ignore[index]
        unpacked = isinstance(source, tuple | list)
        env[node] = source[node.args[1]] if unpacked else graph.node_copy(node, env.__getitem__)
        return
    name = str(node.target)
    autocast = "autocast" in name and node.args[2]  # (device, dtype, enabled, ...)
    if autocast or not ("autocast" in name or "set_grad" in name):
        raise CaptureError(
            f"{module_path(node) or 'The model'} uses {name}, which cannot be cut; run it without "
            "autocast or control-flow operators."
        )
    inner = getattr(owner, str(region.target))
    given = iter(node.args[node.args.index(region) + 1 :])
    inside: dict[fx.Node, Any] = {}
    for step in inner.graph.nodes:
        if step.op == "placeholder":
            inside[step] = fx.map_arg(next(given), env.__getitem__)
        elif step.op == "output":
            env[node] = fx.map_arg(step.args[0], inside.__getitem__)
        else:
            _copy(step, graph, inside, inner)


def _return_structure(graph: fx.Graph, spec: Any) -> dict[fx.Node, str | int]:
    """Give the flat results the structure of the model's output; their places or keys in it."""
    output = next(node for node in graph.nodes if node.op == "output")
    flat: list[Any] = list(output.args[0])
    graph.erase_node(output)
    if not any(map(_runs_layer, graph.nodes)):  # as nn.Identity: its results are those of a layer
        for i, given in enumerate(flat):
            if isinstance(given, fx.Node) and given.op == "placeholder":
                flat[i] = graph.call_function(torch.ops.aten.alias.default, (given,))
                flat[i].meta = {"val": given.meta["val"]}
    value = pytree.tree_unflatten(flat, spec) if spec is not None else tuple(flat)

    def is_plain(spec: Any) -> bool:
        """Whether FX can write this structure as code."""
        plain = spec.type in (tuple, list, dict) and all(map(is_plain, spec.children()))
        return spec.is_leaf() or plain

    def put_together(*leaves: Any) -> Any:
        return pytree.tree_unflatten(leaves, spec)

    as_written = spec is None or is_plain(spec)
    graph.output(value if as_written else graph.call_function(put_together, tuple(flat)))
    returned: dict[fx.Node, str | int] = {}
    for path, leaf in pytree.tree_flatten_with_path(value)[0]:
        if isinstance(leaf, fx.Node):
            returned.setdefault(leaf, key_of(path[0]) if path else 0)
    return returned


# --- its layers as records ------------------------------------------------------------------------


def _layers(
    graph: fx.Graph, model: str, held: Collection[fx.Node]
) -> tuple[list[Layer], dict[str, TensorSpec]]:
    """The operations in execution order, and every tensor by its name.

    A node that runs layer k gets k as ``meta["layer"]``. Inputs that are `held` on both sides are
    as good as weights.
    """
    layers: list[Layer] = []
    specs: dict[str, TensorSpec] = {}
    owners: dict[Any, str] = {}  # storage to the tensor that owns it
    changing, fixed = memory.rewritten(graph), memory.constants(graph, held)
    for node in graph.nodes:
        if node.op == "placeholder":
            specs[node.name] = _spec(node, model)
            owners[memory.storage(node)] = node.name
        if not _runs_layer(node):
            if memory.written(node):
                raise CaptureError(
                    f"{model}: {node.target} writes into a tensor and returns none"
                    f"{line_of(node)}; let it return its result instead."
                )
            continue
        made = [node] if isinstance(node.meta["val"], torch.Tensor) else list(node.users)
        made = [n for n in made if isinstance(n.meta.get("val"), torch.Tensor)]
        if not made:
            continue
        read, writes = memory.tensors_read(node), bool(memory.written(node))
        active = [n.name for n in read if n.op != "get_attr"]
        kept = memory.storage(made[0]) in changing  # later read by a name that it had before
        owner = owners.get(memory.storage(made[0]))
        outputs = tuple(_spec(n, model) for n in made)
        for n, spec in zip(made, outputs, strict=True):
            specs[n.name] = spec
            if writes and not kept:
                owners[memory.storage(n)] = n.name
            owners.setdefault(memory.storage(n), n.name)
        args, kwargs = pytree.tree_map_only(fx.Node, _on_meta, (node.args, node.kwargs))
        layers.append(
            Layer(
                op=getattr(node.target, "_opname", getattr(node.target, "__name__", "op")),
                module=module_path(node),
                inputs=tuple(dict.fromkeys(active)),
                outputs=outputs,
                view_of=None if writes else owner,
                writes=owner if writes and kept else None,
                constant=node in fixed,
                flops=flops(node.target, args, kwargs, _on_meta(made[0])),
                weight_bytes=sum(_stored(n.meta["val"]) for n in read if n.op == "get_attr"),
                read_bytes=sum(int(specs[name].nbytes()) for name in active),
                written_bytes=sum(int(x.nbytes()) for x in outputs if writes or owner is None),
            )
        )
        node.meta["layer"] = len(layers)
    return layers, specs


def _spec(node: fx.Node, model: str) -> TensorSpec:
    shape = node.meta["val"].shape
    if any(isinstance(n, torch.SymInt) and free_unbacked_symbols(n) for n in shape):
        raise CaptureError(
            f"{model}: a length of {node.name} depends on values, not on shapes alone"
            f"{line_of(node)}, so nobody knows what would cross a cut behind it. Keep the "
            "length fixed (multiply by the mask, or torch.where with three arguments), or "
            "capture the part of the model before that line."
        )
    sizes = list(map(length_at_one_and_two, shape))
    if any(two not in (one, 2 * one) for one, two in sizes):
        raise CaptureError(
            f"{node.name}: shape {tuple(shape)} does not grow in proportion to the "
            "batch size; such models are not supported."
        )
    batch_axes = tuple(axis for axis, (one, two) in enumerate(sizes) if one != two)
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    return TensorSpec(node.name, tuple(one for one, _ in sizes), batch_axes, dtype)


def _on_meta(node: fx.Node) -> Any:
    """What a node holds at batch size 1, tensors without their values."""

    def meta(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            shape = [length_at_one_and_two(length)[0] for length in value.shape]
            return torch.empty(shape, dtype=value.dtype, device="meta")
        if isinstance(value, torch.SymInt) and not free_unbacked_symbols(value):
            return length_at_one_and_two(value)[0]
        return 1 if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool) else value

    return pytree.tree_map(meta, node.meta["val"])


def _stored(weight: torch.Tensor) -> int:
    """Bytes of a weight as it is stored: a packed one (torchao's) shows another type than it has.

    Such tensors say by `__tensor_flatten__` what they consist of.
    """
    if not hasattr(weight, "__tensor_flatten__"):
        return weight.nbytes
    return sum(_stored(getattr(weight, name)) for name in weight.__tensor_flatten__()[0])


def _runs_layer(node: fx.Node) -> bool:
    """Whether it makes tensors itself: getitem only unpacks, sizes are numbers."""
    made = pytree.tree_leaves(node.meta.get("val"))
    makes = any(isinstance(value, torch.Tensor) for value in made)
    return node.op == "call_function" and node.target is not operator.getitem and makes


def length_at_one_and_two(length: int | torch.SymInt) -> tuple[int, int]:
    """A length, also a symbolic one, at batch sizes 1 and 2."""
    return (length, length) if isinstance(length, int) else _evaluated(length.node.expr)


@lru_cache(maxsize=1024)
def _evaluated(expression: Any) -> tuple[int, int]:
    one, two = (
        int(expression.subs(dict.fromkeys(expression.free_symbols, size))) for size in (1, 2)
    )
    return one, two


def module_path(node: fx.Node) -> str:
    """Path of the module that an operation runs in; empty for the model itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
