"""Whether two programs do the same, told without running them.

Running a large model twice takes longer than exporting it. Its operations run on shapes alone
(torch's meta device) instead and are written down with all that they are given; two programs that
write down the same give the same results to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_META = torch.device("meta")


def same_operations(one: Callable[[], Any], other: Callable[[], Any]) -> bool:
    """Whether both run the same operations on the same tensors and return the same of them.

    False means no more than that nobody knows: values decide, random numbers are drawn, weights
    are written to, or an operation has no shape without being run.
    """
    try:
        return _Recorder().write_down(one) == _Recorder().write_down(other)
    except Exception:
        return False


class _MustBeRunError(Exception):
    """What an operation does cannot be told from its shapes."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operations on the meta device and writes them down, tensors by what made them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._steps: list[tuple[Any, ...]] = []
        self._made: dict[int, int] = {}
        self._metas: dict[Any, torch.Tensor] = {}
        self._kept: list[torch.Tensor] = []  # an id is that of a tensor for as long as it lives

    def write_down(self, run: Callable[[], Any]) -> tuple[list[tuple[Any, ...]], list[Any]]:
        """The operations with all that they are given, and what is returned."""
        with torch.no_grad(), self:
            result = run()
        return self._steps, [self._named(leaf) for leaf in pytree.tree_leaves(result)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every operation."""
        kwargs = kwargs or {}
        named = zip((argument.name for argument in func._schema.arguments), args, strict=False)
        # torch.export switches cuDNN off while it traces, and batch norm takes that as a number.
        told = {
            name: pytree.tree_map(self._named, value)
            for name, value in (*named, *kwargs.items())
            if name != "cudnn_enabled"
        }
        self._steps.append((func, told))
        given = any(map(self._is_given, pytree.tree_leaves((args, kwargs))))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random or (given and func._schema.is_mutable):
            raise _MustBeRunError
        args, kwargs = pytree.tree_map(self._on_meta, (args, kwargs))
        result = func(*args, **kwargs)
        for x in pytree.tree_leaves(result):
            if isinstance(x, torch.Tensor) and id(x) not in self._made:
                self._made[id(x)] = len(self._kept)
                self._kept.append(x)
        return result

    def _named(self, value: Any) -> Any:
        """A value as it can be compared: a tensor by its maker's number or by its memory."""
        if not isinstance(value, torch.Tensor):
            return type(value), repr(value)
        if id(value) in self._made:
            return self._made[id(value)]
        return value.data_ptr(), value.dtype, tuple(value.shape), value.stride(), value.device

    def _is_given(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and id(value) not in self._made

    def _on_meta(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return _META
        if not self._is_given(value):
            return value
        if type(value) not in (torch.Tensor, nn.Parameter) or value.is_meta:
            raise _MustBeRunError
        key = self._named(value)
        if key not in self._metas:
            self._metas[key] = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=_META
            )
        return self._metas[key]
