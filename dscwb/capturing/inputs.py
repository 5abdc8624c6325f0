"""One call of a model: the tensors among its arguments, and the batch axis of each.

A model may take tensors in tuples, dictionaries and dataclasses, by place or by name, numbers and
None beside them. torch.export makes a flat row of them, and so does this room.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError
from dscwb.capturing.exported import key_of

Inputs = tuple[torch.Tensor, ...]
BatchAxes = int | None | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call.

    Attributes:
        tensors: The tensors among them, in torch.export's order.
        axes: Where each of them stands, ``x`` or ``batch['ids']``, and its axis whose length is the
            batch size; None where it has none.
        owners: Name of the argument in which it stands, ``x`` or ``batch``.
        leaves: Everything, in the places of tensors the class `torch.Tensor`.
        structure: How to make ``(args, kwargs)`` of the leaves.
    """

    tensors: Inputs
    axes: Mapping[str, int | None]
    owners: tuple[str, ...]
    leaves: tuple[Any, ...]
    structure: Any

    @property
    def batched(self) -> list[tuple[str, torch.Tensor, int]]:
        """Name, tensor and batch axis of those that have one."""
        pairs = zip(self.axes.items(), self.tensors, strict=True)
        return [(name, x, axis) for (name, axis), x in pairs if axis is not None]

    @property
    def batch_size(self) -> int:
        """Samples in this call."""
        _, x, axis = self.batched[0]
        return x.shape[axis]

    def rebuilt(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``(args, kwargs)`` with these tensors in the place of its own."""
        each = iter(tensors)
        flat = [next(each) if leaf is torch.Tensor else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(flat, self.structure)
        return args, kwargs

    def run(
        self,
        module: nn.Module,
        tensors: Sequence[torch.Tensor],
        change: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
    ) -> Any:
        """What a module returns for these tensors, changed; it may write into what it is given."""
        args, kwargs = self.rebuilt(tuple(map(change, tensors)))
        return module(*args, **kwargs)

    def flatten(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """The tensors of another call of this structure, in the same order."""
        known = pytree.tree_unflatten(list(self.leaves), self.structure)[1] if kwargs else {}
        ordered = {name: kwargs[name] for name in known if name in kwargs} | dict(kwargs)
        flat, structure = pytree.tree_flatten((args, ordered))
        if structure != self.structure:
            raise ValueError(
                f"The model was captured for {', '.join(self.axes)}; give the same arguments, in "
                "the same structure, as in the example."
            )
        pairs = zip(flat, self.leaves, strict=True)
        return tuple(value for value, leaf in pairs if leaf is torch.Tensor)

    def of_size(self, batch_size: int) -> Inputs:
        """The tensors with this many samples, its own repeated."""
        pairs = zip(self.tensors, self.axes.values(), strict=True)
        return tuple(_rows(x, axis, batch_size) for x, axis in pairs)

    def first(self, tensors: Inputs, batch_size: int) -> Inputs:
        """The first samples of inputs; they share memory where the batch is the first axis."""
        pairs = zip(tensors, self.axes.values(), strict=True)
        return tuple(x[:batch_size] if k == 0 else _rows(x, k, batch_size) for x, k in pairs)

    def shapes(self) -> str:
        """Names and shapes, for people."""
        pairs = zip(self.axes, self.tensors, strict=True)
        return ", ".join(f"{name} {tuple(x.shape)}" for name, x in pairs)


def one_call(
    module: nn.Module,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_axes: BatchAxes,
) -> Call:
    """Flatten the arguments of one call; `batch_axes` is that of `capture`."""
    given = (args, dict(kwargs))
    register_dataclasses(given)
    found, structure = pytree.tree_flatten_with_path(given)
    every = inspect.signature(module.forward).parameters.values()
    places = [p.name for p in every if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in every if p.kind is p.VAR_POSITIONAL), "input")
    places += [f"{rest}[{i}]" for i in range(len(args) - len(places))]
    arguments = [*places[: len(args)], *kwargs]
    wanted = _wanted_axes(name, arguments, len(args), batch_axes)
    tensors, owners, leaves = list[torch.Tensor](), list[str](), list[Any]()
    axes: dict[str, int | None] = {}
    for path, leaf in found:
        key = key_of(path[1])
        argument = key if key_of(path[0]) else places[key]
        said = f"{argument}{pytree.keystr(path[2:])}"
        if isinstance(leaf, torch.Tensor):
            leaves.append(torch.Tensor)
            inner = () if said in wanted else path[2:]
            axes[said] = _axis(name, said, leaf, wanted.get(said, wanted[argument]), inner)
            tensors.append(leaf)
            owners.append(argument)
        elif leaf is None or isinstance(leaf, (bool, int, float, complex, str)):
            leaves.append(leaf)
        else:
            raise CaptureError(
                f"{name}: its input {said} is a {type(leaf).__name__}; torch.export takes tensors, "
                "numbers, strings and None, and tuples, lists, dictionaries and dataclasses of "
                "them. Convert it to one of these, an array by torch.as_tensor(x)."
            )
    call = Call(tuple(tensors), axes, tuple(owners), tuple(leaves), structure)
    if unknown := [key for key in wanted if key not in (*arguments, *axes)]:
        raise CaptureError(
            f"{name}: batch_axes names {', '.join(map(repr, unknown))}, but the inputs are "
            f"{', '.join(axes)}."
        )
    if not call.batched:
        raise CaptureError(
            f"{name}: no input has a batch axis; give an input tensor whose first axis is the "
            "batch, or say by batch_axes which axis it is."
        )
    size, lengths = call.batch_size, {said: x.shape[axis] for said, x, axis in call.batched}
    if len(set(lengths.values())) > 1:
        # What fits: axes as long as the first input's.
        fitting = [next((k for k, n in enumerate(x.shape) if n == size), None) for x in tensors]
        raise CaptureError(
            f"{name}: the batch axes of its inputs differ in length "
            f"({', '.join(f'{said} has {n}' for said, n in lengths.items())}; shapes "
            f"{call.shapes()}). Give all inputs the same number of samples, or say which axis of "
            "each is the batch, None where there is none: "
            f"batch_axes={dict(zip(axes, fitting, strict=True))}."
        )
    return call


def register_dataclasses(value: Any) -> bool:
    """Make torch know the dataclasses in a value; whether there were new ones."""
    found = pytree.tree_leaves(value)
    kinds = {type(x) for x in found if dataclasses.is_dataclass(x) and not isinstance(x, type)}
    for kind in kinds:
        torch.export.register_dataclass(kind)
    if kinds:
        register_dataclasses(value)  # those inside of them
    return bool(kinds)


def _wanted_axes(name: str, every: Sequence[str], places: int, given: BatchAxes) -> dict[str, Any]:
    """What `batch_axes` says of each argument, 0 where nothing; the first `places` have no name."""
    if given is None or isinstance(given, int):
        return dict.fromkeys(every, given)
    if not isinstance(given, Mapping):
        if len(given) not in (places, len(every)):
            raise CaptureError(
                f"{name}: batch_axes has {len(given)} entries for {places} example_inputs; give "
                f"one for each, such as batch_axes={(0,) * places}, or a dictionary by name."
            )
        given = dict(zip(every, given, strict=False))
    return dict.fromkeys(every, 0) | dict(given)


def _axis(name: str, said: str, x: torch.Tensor, wanted: Any, path: Sequence[Any]) -> int | None:
    """The batch axis of one tensor, from what was said of its argument or of a part of that."""
    for entry in path:
        if wanted is None or isinstance(wanted, int):
            break
        try:
            key = key_of(entry)
            wanted = wanted.get(key, 0) if isinstance(wanted, Mapping) else wanted[key]
        except (LookupError, TypeError, AttributeError):
            wanted = "unclear"
    if wanted is None:
        return None
    if not isinstance(wanted, int):
        raise CaptureError(
            f"{name}: batch_axes does not say the batch axis of {said}; give batch_axes="
            f"{{{said!r}: 0}} with the number of its axis, or None where it has none."
        )
    if not -x.ndim <= wanted < x.ndim or x.shape[wanted] == 0:
        raise CaptureError(
            f"{name}: {said} of shape {tuple(x.shape)} has no batch dimension at axis {wanted}, or "
            f"no sample in it; give it as (batch, ...), or say batch_axes={{{said!r}: None}} if it "
            "does not grow with the batch."
        )
    return wanted % x.ndim


def _rows(x: torch.Tensor, axis: int | None, batch_size: int) -> torch.Tensor:
    """`batch_size` samples by repeating those of x, in x's memory format; x itself without axis."""
    if axis is None:
        return x
    index = torch.arange(batch_size, device=x.device) % x.shape[axis]
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = x.index_select(axis, index)
    return rows.contiguous(memory_format=torch.channels_last) if channels_last else rows
