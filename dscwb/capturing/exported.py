"""torch.export's program as code that can be cut, with its layers as records."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from dscwb.capturing.blocks import find_blocks
from dscwb.capturing.errors import CaptureError
from dscwb.capturing.layers import Reader, module_path, runs_layer
from dscwb.capturing.memory import own_inputs, share_memory
from dscwb.capturing.state import drop_state
from dscwb.cuts import narrow_places
from dscwb.graph import ModelGraph

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

    Args:
        module: Where the blocks are looked for.
        name: The model's.
        program: What torch.export made.
        resident: See `capture`.
        owners: The argument of each input tensor.
        exchanged: Names of what the module changes in each call.

    Raises:
        CaptureError: The model keeps state between calls or uses what cannot be cut; there is no
            such argument or output, or an input that stays is written in place.
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
    fixed = {n for n in inputs if arguments.get(n) in resident or _is_fixed(n)}
    share_memory(code)
    own_inputs(code, fixed, name)
    drop_state(code, sources, exchanged, name)
    returned = _return_structure(code, program.call_spec.out_spec)
    staying = _staying(name, resident, arguments, returned)
    clean = runnable(weights, code, "Captured")
    reader = Reader(code, name, fixed.union(staying))
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


def _return_structure(graph: fx.Graph, spec: Any) -> dict[fx.Node, str | int]:
    """Give the flat results the structure of the model's output; their places or keys in it."""
    output = next(node for node in graph.nodes if node.op == "output")
    flat: list[Any] = list(output.args[0])
    graph.erase_node(output)
    if not any(map(runs_layer, graph.nodes)):  # as nn.Identity: its results are those of a layer
        for i, given in enumerate(flat):
            if isinstance(given, fx.Node) and given.op == "placeholder":
                flat[i] = graph.call_function(torch.ops.aten.alias.default, (given,))
                flat[i].meta = {"val": given.meta["val"]}
    value = pytree.tree_unflatten(flat, spec) if spec is not None else tuple(flat)

    def put_together(*leaves: Any) -> Any:
        return pytree.tree_unflatten(leaves, spec)

    as_written = spec is None or _is_plain(spec)
    graph.output(value if as_written else graph.call_function(put_together, tuple(flat)))
    returned: dict[fx.Node, str | int] = {}
    for path, leaf in pytree.tree_flatten_with_path(value)[0]:
        if isinstance(leaf, fx.Node):
            returned.setdefault(leaf, key_of(path[0]) if path else 0)
    return returned


def _is_plain(spec: Any) -> bool:
    """Whether FX can write a structure as code."""
    return spec.is_leaf() or (
        spec.type in (tuple, list, dict) and all(map(_is_plain, spec.children()))
    )


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
            return fx.map_arg(step.args[0], inside.__getitem__)
        else:
            _copy(step, graph, inside, inner)
    return ()
