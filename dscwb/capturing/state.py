"""State: what a model changes in one call and reads in the next. Two machines cannot share it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError
from dscwb.capturing.memory import storage, storages, writers, written

_EMPTY = vars(nn.Module()).keys()


@contextmanager
def noting_changes(module: nn.Module) -> Iterator[list[str]]:
    """Names of what a module changes in its calls; afterwards its attributes are as before.

    torch.export tells of tensors that are written in place, but not of ``self.h = new`` (it does so
    for buffers of the model itself only), and leaves tensors without values in such attributes.
    """
    attributes = [(inner, _copied(vars(inner))) for inner in module.modules()]
    before: dict[str, list[Any]] = {}
    changed: list[str] = []

    def look(*_: Any) -> None:
        before.update(_held(module))

    def compare(*_: Any) -> None:
        after = _held(module)
        names = (name for name in {**before, **after} if name not in changed)
        changed.extend(n for n in names if not _same(before.get(n, []), after.get(n, [])))

    hooks = [module.register_forward_pre_hook(look), module.register_forward_hook(compare)]
    try:
        yield changed
    finally:
        for hook in hooks:
            hook.remove()
        for inner, held in attributes:
            for value, content in held.values():
                if isinstance(value, list):
                    value[:] = content
                elif content is not None:
                    value.clear()
                    value.update(content)
            vars(inner).clear()
            vars(inner).update({name: value for name, (value, _) in held.items()})


def _copied(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and beside it a copy of what it holds."""
    return {
        name: (value, value.copy() if isinstance(value, (list, dict, set)) else None)
        for name, value in attributes.items()
    }


def _held(module: nn.Module) -> dict[str, list[Any]]:
    """All tensors and numbers that a module and those inside of it hold, also in containers.

    Behind them how often each tensor was written to, and the lengths of sets.
    """
    found = {}
    for path, inner in module.named_modules():
        plain = {name: value for name, value in vars(inner).items() if name not in _EMPTY}
        for name, value in (plain | inner._buffers | inner._parameters).items():
            leaves = pytree.tree_leaves(value)
            kept = [x for x in leaves if isinstance(x, (torch.Tensor, int, float, str))]
            written_to = [
                x._version for x in kept if isinstance(x, torch.Tensor) and not x.is_inference()
            ]
            lengths = [len(x) for x in leaves if isinstance(x, set)]
            found[f"{path}.{name}".lstrip(".")] = [*kept, *written_to, *lengths]
    return found


def _same(some: list[Any], others: list[Any]) -> bool:
    """Whether these are the same tensors and equal numbers."""

    def equal(a: Any, b: Any) -> bool:
        tensors = isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor)
        return a is b or (not tensors and a == b)

    return len(some) == len(others) and all(map(equal, some, others))


def drop_state(
    graph: fx.Graph, names: Mapping[str, str], exchanged: Collection[str], model: str
) -> None:
    """Leave out writes into weights and buffers that no result depends on; refuse the others.

    The graph is changed. `names` are the user's for the tensors of ``get_attr`` nodes, `exchanged`
    those that are set anew in each call.

    Raises:
        CaptureError: A result depends on a buffer that changes from call to call.
    """
    changed = writers(graph).keys()
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


def _dependent(graph: fx.Graph, source: fx.Node) -> Iterator[fx.Node]:
    """The nodes whose values depend on a tensor, through memory too, in their order."""
    nodes, memory = {source}, storages(source)
    for node in graph.nodes:
        read = node.all_input_nodes
        if any(n in nodes or storages(n) & memory for n in read):
            nodes.add(node)
            memory |= storages(node) | {storage(n) for n in written(node)}
            yield node


def keeps_state(model: str, names: Collection[str]) -> str:
    """What is said of a model whose results depend on the calls before."""
    held = " and ".join(map(repr, names))
    return (
        f"{model} keeps state between calls: its forward changes {held or 'something'} that the "
        "next call reads, so head and tail on two machines would each have a state of their own. "
        f"Let forward take {held or 'the state'} as an argument and return the new value."
    )
