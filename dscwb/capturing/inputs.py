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
        names: Where each of them stands, ``x`` or ``batch['ids']``.
        owners: Name of the argument in which it stands, ``x`` or ``batch``.
        batch_axes: Its axis whose length is the batch size; None where it has none.
        leaves: Everything, in the places of tensors the class `torch.Tensor`.
        structure: How to make ``(args, kwargs)`` of the leaves.
    """

    tensors: Inputs
    names: tuple[str, ...]
    owners: tuple[str, ...]
    batch_axes: tuple[int | None, ...]
    leaves: tuple[Any, ...]
    structure: Any

    @property
    def batched(self) -> list[tuple[str, torch.Tensor, int]]:
        """Name, tensor and batch axis of those that have one."""
        rows = zip(self.names, self.tensors, self.batch_axes, strict=True)
        return [(name, x, axis) for name, x, axis in rows if axis is not None]

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
        """The tensors of another call, in the same order.

        Raises:
            ValueError: It does not have the structure of this one.
        """
        known = pytree.tree_unflatten(list(self.leaves), self.structure)[1]
        ordered = {name: kwargs[name] for name in known if name in kwargs} | dict(kwargs)
        flat, structure = pytree.tree_flatten((args, ordered))
        if structure != self.structure:
            raise ValueError(
                f"The model was captured for {', '.join(self.names)}; give the same arguments, in "
                "the same structure, as in the example."
            )
        pairs = zip(flat, self.leaves, strict=True)
        return tuple(value for value, leaf in pairs if leaf is torch.Tensor)

    def of_size(self, batch_size: int) -> Inputs:
        """The tensors with this many samples, its own repeated."""
        pairs = zip(self.tensors, self.batch_axes, strict=True)
        return tuple(x if axis is None else _rows(x, axis, batch_size) for x, axis in pairs)

    def first(self, tensors: Inputs, batch_size: int) -> Inputs:
        """The first samples of inputs; they share memory where the batch is the first axis."""
        pairs = zip(tensors, self.batch_axes, strict=True)
        return tuple(
            x if axis is None else x[:batch_size] if axis == 0 else _rows(x, axis, batch_size)
            for x, axis in pairs
        )

    def shapes(self) -> str:
        """Names and shapes, for people."""
        pairs = zip(self.names, self.tensors, strict=True)
        return ", ".join(f"{name} {tuple(x.shape)}" for name, x in pairs)


def one_call(
    module: nn.Module,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_axes: BatchAxes,
) -> Call:
    """Flatten the arguments of one call; `batch_axes` is that of `capture`.

    Raises:
        CaptureError: An argument is of an unknown kind, or no batch size follows from them.
    """
    given = (args, dict(kwargs))
    register_dataclasses(given)
    found, structure = pytree.tree_flatten_with_path(given)
    every = inspect.signature(module.forward).parameters.values()
    places = [p.name for p in every if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in every if p.kind is p.VAR_POSITIONAL), "input")
    places += [f"{rest}[{i}]" for i in range(len(args) - len(places))]
    arguments = [*places[: len(args)], *kwargs]
    wanted = _wanted_axes(name, arguments, len(args), batch_axes)
    rows: list[tuple[torch.Tensor, str, str, int | None]] = []
    leaves: list[Any] = []
    for path, leaf in found:
        key = key_of(path[1])
        argument = key if key_of(path[0]) else places[key]
        said = f"{argument}{pytree.keystr(path[2:])}"
        if isinstance(leaf, torch.Tensor):
            leaves.append(torch.Tensor)
            inner = () if said in wanted else path[2:]
            axis = _axis(name, said, leaf, wanted.get(said, wanted[argument]), inner)
            rows.append((leaf, said, argument, axis))
        elif leaf is None or isinstance(leaf, (bool, int, float, complex, str)):
            leaves.append(leaf)
        else:
            raise CaptureError(
                f"{name}: its input {said} is a {type(leaf).__name__}; torch.export takes tensors, "
                "numbers, strings and None, and tuples, lists, dictionaries and dataclasses of "
                "them. Convert it to one of these, an array by torch.as_tensor(x)."
            )
    tensors, names, owners, axes = zip(*rows, strict=True) if rows else ((), (), (), ())
    call = Call(tensors, names, owners, axes, tuple(leaves), structure)
    if unknown := [key for key in wanted if key not in (*arguments, *names)]:
        raise CaptureError(
            f"{name}: batch_axes names {', '.join(map(repr, unknown))}, but the inputs are "
            f"{', '.join(names)}."
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
            f"batch_axes={dict(zip(names, fitting, strict=True))}."
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


def _rows(x: torch.Tensor, axis: int, batch_size: int) -> torch.Tensor:
    """`batch_size` samples by repeating those of x, in x's memory format."""
    index = torch.arange(batch_size, device=x.device) % x.shape[axis]
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = x.index_select(axis, index)
    return rows.contiguous(memory_format=torch.channels_last) if channels_last else rows
