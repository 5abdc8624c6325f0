"""One call of a model: its arguments go in, flat tensors and the batch axis of each come out.

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

from dscwb.capturing.exported import CaptureError, key_of

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
        leaves: Everything, the tensors by their place among `tensors`.
        structure: How to make ``(args, kwargs)`` of the leaves.
    """

    tensors: Inputs
    names: tuple[str, ...]
    owners: tuple[str, ...]
    batch_axes: tuple[int | None, ...]
    leaves: tuple[Any, ...]
    structure: Any

    @property
    def batch_size(self) -> int:
        """Samples in this call."""
        pairs = zip(self.tensors, self.batch_axes, strict=True)
        return next(x.shape[axis] for x, axis in pairs if axis is not None)

    def rebuilt(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """``(args, kwargs)`` with these tensors in the place of its own."""
        flat = [tensors[x.place] if isinstance(x, _Place) else x for x in self.leaves]
        args, kwargs = pytree.tree_unflatten(flat, self.structure)
        return args, kwargs

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
        return tuple(value for value, leaf in pairs if isinstance(leaf, _Place))

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Call:
        """The same call with every tensor changed."""
        return dataclasses.replace(self, tensors=tuple(map(change, self.tensors)))

    def of_size(self, batch_size: int) -> Inputs:
        """The tensors with this many samples."""
        return rows_of(self.tensors, self.batch_axes, batch_size)

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


@dataclass(frozen=True)
class _Place:
    """Stands for a tensor among the leaves."""

    place: int


def one_call(
    module: nn.Module,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    batch_axes: BatchAxes,
) -> Call:
    """Flatten the arguments of one call.

    Args:
        module: The model.
        name: What messages call it.
        args: Arguments by place.
        kwargs: Arguments by name.
        batch_axes: See `capture`.

    Raises:
        CaptureError: An argument is of an unknown kind, or no batch size follows from them.
    """
    given = (args, dict(kwargs))
    register_dataclasses(given)
    found, structure = pytree.tree_flatten_with_path(given)
    arguments = _arguments(module, args, kwargs)
    wanted = _said_of_arguments(name, list(arguments.values()), len(args), batch_axes)
    tensors: list[torch.Tensor] = []
    names: list[str] = []
    owners: list[str] = []
    axes: list[int | None] = []
    leaves: list[Any] = []
    for path, leaf in found:
        argument = arguments[key_of(path[0]), key_of(path[1])]
        said = f"{argument}{pytree.keystr(path[2:])}"
        if isinstance(leaf, torch.Tensor):
            leaves.append(_Place(len(tensors)))
            tensors.append(leaf)
            names.append(said)
            owners.append(argument)
            inner = () if said in wanted else path[2:]
            axes.append(_axis(name, said, leaf, wanted.get(said, wanted[argument]), inner))
        elif leaf is None or isinstance(leaf, (bool, int, float, complex, str)):
            leaves.append(leaf)
        else:
            raise CaptureError(
                f"{name}: its input {said} is a {type(leaf).__name__}; torch.export takes tensors, "
                "numbers, strings and None, and tuples, lists, dictionaries and dataclasses of "
                "them. Convert it to one of these, an array by torch.as_tensor(x)."
            )
    if unknown := [key for key in wanted if key not in (*arguments.values(), *names)]:
        raise CaptureError(
            f"{name}: batch_axes names {', '.join(map(repr, unknown))}, but the inputs are "
            f"{', '.join(names)}."
        )
    call = Call(tuple(tensors), tuple(names), tuple(owners), tuple(axes), tuple(leaves), structure)
    _check_sizes(name, call, stated=not isinstance(batch_axes, int))
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


def _arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[tuple[int, Any], str]:
    """The names of the arguments by (0, place) and (1, name)."""
    by_place: list[str] = []
    rest = "input"
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = parameter.name
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            by_place.append(parameter.name)
    by_place += [f"{rest}[{i}]" for i in range(len(args) - len(by_place))]
    places = {(0, i): by_place[i] for i in range(len(args))}
    return places | {(1, name): name for name in kwargs}


def _said_of_arguments(name: str, every: Sequence[str], places: int, given: BatchAxes) -> Any:
    """What `batch_axes` says of each argument, 0 where nothing; the first `places` have no name."""
    if given is None or isinstance(given, int):
        return dict.fromkeys(every, given)
    if isinstance(given, Mapping):
        return dict.fromkeys(every, 0) | dict(given)
    if len(given) not in (places, len(every)):
        raise CaptureError(
            f"{name}: batch_axes has {len(given)} entries for {places} example_inputs; give one "
            f"for each, such as batch_axes={(0,) * places}, or a dictionary by name."
        )
    return dict.fromkeys(every, 0) | dict(zip(every, given, strict=False))


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


def _check_sizes(name: str, call: Call, stated: bool) -> None:
    """Refuse a call whose batch size is unknown or stands in it twice."""
    lengths = {
        said: x.shape[axis]
        for said, x, axis in zip(call.names, call.tensors, call.batch_axes, strict=True)
        if axis is not None
    }
    if not lengths:
        raise CaptureError(
            f"{name}: no input has a batch axis; give an input tensor whose first axis is the "
            "batch, or say by batch_axes which axis it is."
        )
    if len(set(lengths.values())) > 1 and not stated:
        listed = ", ".join(f"{said} has {n}" for said, n in lengths.items())
        raise CaptureError(
            f"{name}: the first dimensions of its inputs differ ({listed}; shapes {call.shapes()})."
            " Say which axis of each is the batch, None where there is none: "
            f"batch_axes={_fitting(call)}."
        )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(
            f"{said} {tuple(x.shape)} at axis {axis}"
            for said, x, axis in zip(call.names, call.tensors, call.batch_axes, strict=True)
            if axis is not None
        )
        raise CaptureError(
            f"{name}: the batch axes differ in length ({listed}); give all inputs the same number "
            "of samples, and None as the batch axis of those that do not grow with it."
        )


def _fitting(call: Call) -> str:
    """batch_axes that fit the shapes: each input's axis as long as the first input's first one."""
    size = call.tensors[0].shape[0]
    axes = [next((k for k, n in enumerate(x.shape) if n == size), None) for x in call.tensors]
    return str(dict(zip(call.names, axes, strict=True)))


def rows_of(
    tensors: Sequence[torch.Tensor], batch_axes: Sequence[int | None], batch_size: int
) -> Inputs:
    """The tensors with `batch_size` samples, by repeating theirs."""
    pairs = zip(tensors, batch_axes, strict=True)
    return tuple(x if axis is None else _rows(x, axis, batch_size) for x, axis in pairs)


def _rows(x: torch.Tensor, axis: int, batch_size: int) -> torch.Tensor:
    """`batch_size` samples by repeating those of x, in x's memory format."""
    index = torch.arange(batch_size, device=x.device) % x.shape[axis]
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = x.index_select(axis, index)
    return rows.contiguous(memory_format=torch.channels_last) if channels_last else rows
