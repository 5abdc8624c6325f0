"""Who writes into whose memory in an exported graph: a cut in between must know.

Most models write only into what nobody else reads, a ReLU in place. Some fill a canvas slice by
slice or change their own input.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import fx
from torch._guards import detect_fake_mode
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError, keeps_state, line_of

_aten = torch.ops.aten
# They change shape and strides of the tensor object, not its memory.
_RESHAPED_IN_PLACE = {
    getattr(_aten, f"{name}_"): getattr(_aten, name)
    for name in ("squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims", "as_strided")
} | {_aten.detach_: _aten.detach}


def storages(node: fx.Node) -> set[Any]:
    """Identities of the memory behind all tensors of a node."""
    made = pytree.tree_leaves(node.meta.get("val"))
    return {v.untyped_storage()._cdata for v in made if isinstance(v, torch.Tensor)}


def storage(node: fx.Node) -> Any:
    """Identity of the memory behind a node's tensor; None where it makes none."""
    return next(iter(storages(node)), None)


def written(node: fx.Node) -> list[fx.Node]:
    """The tensors given to an operation that it writes into."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs
    named = (a.name for a in schema.arguments if a.alias_info and a.alias_info.is_write)
    changed = pytree.tree_leaves([given.get(name) for name in named])
    return [n for n in changed if isinstance(n, fx.Node)]


def writers(graph: fx.Graph) -> dict[Any, fx.Node]:
    """All memory that is written to, and the first operation that does it."""
    return {storage(n): node for node in reversed(graph.nodes) for n in written(node)}


def tensors_read(node: fx.Node) -> list[fx.Node]:
    """The tensors whose values an operation reads, also by a number taken from one of them."""
    found: dict[fx.Node, None] = {}
    for given in node.all_input_nodes:
        if storages(given):
            found[given] = None
        elif given.target is not _aten.sym_size.int:  # a length follows from the batch size
            found |= dict.fromkeys(tensors_read(given))
    return list(found)


def rewritten(graph: fx.Graph) -> set[Any]:
    """The memory that is written to and then read by a name that it had before.

    In all other memory that is written to, what a write returns is all that is read afterwards:
    there every tensor keeps its values for as long as anybody reads it.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    last_write: dict[Any, int] = {}
    found = set[Any]()
    for node in graph.nodes:
        for given in node.all_input_nodes:
            found.update(m for m in storages(given) if place[given] < last_write.get(m, 0))
        last_write.update((storage(changed), place[node]) for changed in written(node))
    return found


def constants(graph: fx.Graph, held: Collection[fx.Node] = ()) -> set[fx.Node]:
    """What depends on weights, shapes and `held` inputs only: made again on a cut's other side.

    Memory that the input reaches later may be constant at first (a canvas of zeros); what was read
    off it before that cannot be made again from the memory as it is then.
    """
    changing, reached = rewritten(graph), set[Any]()
    while True:
        found, now = set[fx.Node](), set[Any]()
        for node in graph.nodes:
            mine = storages(node)
            spoiled = now | (reached - mine)
            known = (n in found and not storages(n) & spoiled for n in tensors_read(node))
            runs = node.op == "call_function"
            if node.op == "get_attr" or node in held or (runs and all(known)):
                found.add(node)
            else:
                now |= mine & changing
        if now <= reached:
            return found
        reached |= now


def share_memory(graph: fx.Graph) -> None:
    """Make sure that views share the memory of their tensor: a program read from a file lost that.

    Also lets a tensor that changes its shape in place (`unsqueeze_`) become a view, and one that is
    made of numbers (`torch.tensor`) the copy of a constant: while tracing both have one memory.
    """
    sharing = []
    for node in graph.nodes:
        if node.target is _aten.lift_fresh_copy.default:
            constant = node.args[0]
            constant.meta = {**constant.meta, "val": constant.meta["val"].clone()}
        if view := _RESHAPED_IN_PLACE.get(getattr(node.target, "overloadpacket", None)):
            node.target = getattr(view, node.target._overloadname)
        schema = getattr(node.target, "_schema", None)
        if schema is not None and any(result.alias_info for result in schema.returns):
            sharing.append(any(storages(node) & storages(x) for x in node.all_input_nodes))
    if not sharing or any(sharing):
        return
    values = [n.meta["val"] for n in graph.nodes if n.op in ("placeholder", "get_attr")]
    with torch.no_grad(), detect_fake_mode(values) or nullcontext():
        for node in graph.nodes:
            if node.op == "call_function":
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
                node.meta["val"] = node.target(*args, **kwargs)


def own_inputs(graph: fx.Graph, fixed: Collection[fx.Node], model: str) -> None:
    """Let a model that writes into its input write into a copy: the caller's stays as it is.

    Refuses writes into the `fixed` inputs, of which each side has its own.
    """
    changed = writers(graph)
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    for node in [n for n in inputs if storage(n) in changed]:
        if node in fixed:
            line = line_of(changed[storage(node)])
            raise CaptureError(
                f"{model} writes into its input {node.name}{line}, which is resident or has no "
                "batch axis; let it write into a copy (new = old.clone()) and return that, and "
                "name this output as resident too if it is state."
            )
        value = node.meta["val"]
        with graph.inserting_after(inputs[-1]):
            copy = graph.call_function(_aten.clone.default, (node,))
        node.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)
        copy.meta = {"val": value}
        node.meta = {"val": value.clone()}  # memory of its own, that nobody writes into


def drop_state(
    graph: fx.Graph, names: Mapping[str, str], exchanged: Collection[str], model: str
) -> None:
    """Leave out writes into weights and buffers that no result depends on; refuse the others.

    `names` are the user's for the tensors of ``get_attr`` nodes, `exchanged` those that are set
    anew in each call.
    """
    changed = writers(graph).keys()
    for held in [n for n in graph.nodes if n.op == "get_attr"]:
        name = names.get(str(held.target), str(held.target))
        if not storages(held) & changed and name not in exchanged:
            continue
        dependent, memory = {held: None}, storages(held)  # through memory too, in their order
        for node in graph.nodes:
            if any(n in dependent or storages(n) & memory for n in node.all_input_nodes):
                dependent[node] = None
                memory |= storages(node) | {storage(n) for n in written(node)}
                if node.op == "output":
                    raise CaptureError(keeps_state(model, [name]))
        for node in reversed(dependent):
            if not node.users:
                graph.erase_node(node)
