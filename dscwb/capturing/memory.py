"""Who writes into whose memory: an exported graph goes in, one that cuts can trust comes out.

Most models write only into what nobody else reads, a ReLU in place. Some fill a canvas slice by
slice, change their own input, or keep state in a buffer; a cut in between must know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import fx, nn
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError

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
    """Identity of the memory behind a node's (first) tensor; None where it makes none."""
    made = (v for v in pytree.tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor))
    first = next(made, None)
    return None if first is None else first.untyped_storage()._cdata


def written(node: fx.Node) -> list[fx.Node]:
    """The tensors given to an operation that it writes into."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs
    changed = [
        given.get(a.name) for a in schema.arguments if a.alias_info and a.alias_info.is_write
    ]
    return [n for n in pytree.tree_leaves(changed) if isinstance(n, fx.Node)]


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
    writes: dict[Any, list[int]] = {}
    found = set()
    for node in graph.nodes:
        for given in node.all_input_nodes:
            for memory in storages(given) & writes.keys():
                if any(place[given] < at for at in writes[memory]):
                    found.add(memory)
        for changed in written(node):
            writes.setdefault(storage(changed), []).append(place[node])
    return found


def constants(graph: fx.Graph, held: Collection[fx.Node] = ()) -> set[fx.Node]:
    """What depends on weights and shapes only, and can be made again on the other side of a cut.

    Inputs that are `held` there are as good as weights.

    Memory that the input reaches later may be constant at first (a canvas of zeros); what was read
    off it before that cannot be made again from the memory as it is then.
    """
    changing, reached = rewritten(graph), set[Any]()
    while True:
        found, now = set[fx.Node](), set[Any]()
        for node in graph.nodes:
            mine = storages(node)
            spoiled = now | (reached - mine)
            given = tensors_read(node)
            if (
                node.op == "get_attr"
                or node in held
                or (
                    node.op == "call_function"
                    and all(n in found and not storages(n) & spoiled for n in given)
                )
            ):
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
    for node in graph.nodes:
        if node.target is _aten.lift_fresh_copy.default:
            constant = node.args[0]
            constant.meta = {**constant.meta, "val": constant.meta["val"].clone()}
        if getattr(node.target, "overloadpacket", None) in _RESHAPED_IN_PLACE:
            view = _RESHAPED_IN_PLACE[node.target.overloadpacket]
            node.target = getattr(view, node.target._overloadname)
    may_share = [found for node in graph.nodes if (found := _shares(node)) is not None]
    if not may_share or any(may_share):
        return
    values = [n.meta["val"] for n in graph.nodes if n.op in ("placeholder", "get_attr")]
    mode = detect_fake_mode(values)
    with torch.no_grad(), nullcontext() if mode is None else mode:
        for node in graph.nodes:
            if node.op == "call_function":
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
                node.meta["val"] = node.target(*args, **kwargs)


def _shares(node: fx.Node) -> bool | None:
    """Whether a result has the memory of an argument; None where its operation never lets it."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not any(result.alias_info for result in schema.returns):
        return None
    return any(storages(node) & storages(given) for given in node.all_input_nodes)


def own_inputs(graph: fx.Graph) -> None:
    """Let a model that writes into its input write into a copy: the caller's stays as it is."""
    changed = _changed(graph)
    for node in [n for n in graph.nodes if n.op == "placeholder" and storages(n) & changed]:
        value = node.meta["val"]
        with graph.inserting_after(_last_placeholder(graph)):
            copy = graph.call_function(_aten.clone.default, (node,))
        node.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)
        copy.meta = {"val": value}
        node.meta = {"val": value.clone()}  # memory of its own, that nobody writes into


def _last_placeholder(graph: fx.Graph) -> fx.Node:
    found: fx.Node = next(n for n in reversed(graph.nodes) if n.op == "placeholder")
    return found


def _changed(graph: fx.Graph) -> set[Any]:
    return {storage(n) for node in graph.nodes for n in written(node)}


@contextmanager
def noting_changes(module: nn.Module) -> Iterator[list[str]]:
    """Tensors that a module holds and exchanges in its next call, by their names.

    torch.export tells of what is written in place, but not of ``self.h = new`` (it does so for
    buffers of the model itself only). What it has left in such attributes is taken out again.
    """
    attributes = {inner: dict(vars(inner)) for inner in module.modules()}
    before: dict[str, list[Any]] = {}
    changed: list[str] = []

    def look(*_: Any) -> None:
        before.update(_held(module))

    def compare(*_: Any) -> None:
        after = _held(module)
        for name in before.keys() | after.keys():
            old, new = before.get(name, []), after.get(name, [])
            if len(old) != len(new) or any(a is not b for a, b in zip(old, new, strict=True)):
                changed.append(name)

    hooks = [module.register_forward_pre_hook(look), module.register_forward_hook(compare)]
    try:
        yield changed
    finally:
        for hook in hooks:
            hook.remove()
        for inner, earlier in attributes.items():
            for name, value in list(vars(inner).items()):
                if any(isinstance(leaf, FakeTensor) for leaf in pytree.tree_leaves(value)):
                    vars(inner).pop(name)
                    vars(inner).update({name: earlier[name]} if name in earlier else {})


def _held(module: nn.Module) -> dict[str, list[Any]]:
    """All tensors that a module and those inside of it hold, by attribute, also in containers."""
    own = vars(nn.Module()).keys()
    found = {}
    for path, inner in module.named_modules():
        plain = {k: v for k, v in vars(inner).items() if k not in own}
        for name, value in (plain | inner._buffers | inner._parameters).items():
            if not isinstance(value, nn.Module | str | int | float | None):
                leaves = pytree.tree_leaves(value)
                tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
                found[f"{path}.{name}".lstrip(".")] = tensors
    return {name: tensors for name, tensors in found.items() if tensors}


def drop_state(
    graph: fx.Graph, names: Mapping[str, str], exchanged: Collection[str], model: str
) -> None:
    """Leave out writes into weights and buffers that no result depends on; refuse the others.

    Args:
        graph: Changed in place.
        names: What the user calls the tensor of a ``get_attr`` node.
        exchanged: Names of those that are set anew in each call.
        model: Name of the model.

    Raises:
        CaptureError: A result depends on a buffer that changes from call to call.
    """
    changed = _changed(graph)
    for held in [n for n in graph.nodes if n.op == "get_attr"]:
        name = names.get(str(held.target), str(held.target))
        if not storages(held) & changed and name not in exchanged:
            continue
        dependent = list(_dependent(graph, held))
        if any(node.op == "output" for node in dependent):
            raise CaptureError(keeps_state(model, [name]))
        for node in [held, *dependent][::-1]:
            if not node.users:
                graph.erase_node(node)


def keeps_state(model: str, names: Collection[str]) -> str:
    """What is said of a model whose results depend on the calls before."""
    held = " and ".join(map(repr, names))
    return (
        f"{model} keeps state between calls: its forward changes {held or 'something'} that the "
        "next call reads, so head and tail on two machines would each have a state of their own. "
        f"Let forward take {held or 'the state'} as an argument and return the new value."
    )


def _dependent(graph: fx.Graph, source: fx.Node) -> Iterator[fx.Node]:
    """The nodes whose values depend on a tensor, through memory too, in their order."""
    nodes, memory = {source}, storages(source)
    for node in graph.nodes:
        read = node.all_input_nodes
        if any(n in nodes or storages(n) & memory for n in read):
            nodes.add(node)
            memory |= storages(node) | {storage(n) for n in written(node)}
            yield node
