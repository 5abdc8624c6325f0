"""Whether a captured program does what the model does, and if not, which of them is at fault."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from dscwb.capturing.errors import CaptureError, keeps_state, line_of
from dscwb.capturing.failures import error_of, quiet
from dscwb.capturing.inputs import Call
from dscwb.capturing.models import is_exported
from dscwb.capturing.same import same_operations
from dscwb.graph import ModelGraph

_EMPTY = vars(nn.Module()).keys()
# A model with more FLOPs takes longer to be run twice than to be exported. Half a second on one
# thread of a CPU.
_SLOW = 5e9
_KERNELS = 1e-3  # a larger difference, relative to the largest value, comes from another program


def check_one_sample(module: nn.Module, name: str, call: Call) -> None:
    """Refuse an example of one sample where an input may as well be a constant for all samples."""
    if len(call.batched) < 2 or call.batch_size > 1:
        return
    two = call.of_size(2)
    mixed = {
        said: (*two[:i], call.tensors[i], *two[i + 1 :])
        for i, (said, axis) in enumerate(call.axes.items())
        if axis is not None
    }
    if unclear := [x for x in mixed if error_of(call.run, module, mixed[x]) is None]:
        raise CaptureError(
            f"{name}: with one sample nothing shows whether {' and '.join(unclear)} grow with the "
            "batch or are constants for all samples, such as a mask or anchors; give an example of "
            f"two samples, or say batch_axes={call.axes}, with None for a constant."
        )


def check_program(
    module: nn.Module,
    graph: ModelGraph,
    captured: fx.GraphModule,
    call: Call,
    exchanged: Sequence[str],
) -> None:
    """Run model and program on one sample; where they differ, find out why.

    A large model is first compared operation by operation, without running it.

    One sample is quickest, and says more than the traced two: the batch size must be free. A
    program that was exported by others may be for two or more. A model that changes what it holds
    (`exchanged`) runs on other samples before: is this what it keeps?
    """
    alone = not is_exported(module) or error_of(call.run, module, call.of_size(1)) is None
    inputs, name = call.of_size(1 if alone else call.batch_size), graph.model
    if sum(layer.flops or 0 for layer in graph.layers) > _SLOW and not exchanged:
        with noting_changes(module), quiet():
            args, kwargs = call.rebuilt(inputs)
            if same_operations(lambda: module(*args, **kwargs), lambda: captured(*inputs)):
                return
    with torch.inference_mode():
        try:
            if exchanged:  # it may keep something of its first call, or of the one before
                call.run(module, inputs, _other)
            want = call.run(module, inputs)
        except Exception:
            if exchanged:  # such as a cache that has grown beyond its mask
                raise CaptureError(keeps_state(name, exchanged)) from None
            raise
        error = largest_difference(want, captured(*inputs))
        if error <= _KERNELS:
            return
        noise = _noise(module, call, seeded=False)
        if noise and _noise(module, call, seeded=True):
            with noting_changes(module) as changing:
                error_of(call.run, module, call.tensors)
            why = keeps_state(name, exchanged or changing)
        elif noise:
            seeded = torch.Tag.nondeterministic_seeded
            drawing = (n for n in captured.graph.nodes if seeded in getattr(n.target, "tags", ()))
            why = (
                f"{name} is not deterministic: two runs on the same input differ by up to "
                f"{noise:.3g}; remove the random operation{next(map(line_of, drawing), '')} from "
                "its forward (dropout takes training=self.training), or give the random numbers as "
                "an input."
            )
        elif largest_difference(call.run(module, call.tensors), captured(*call.tensors)) == 0:
            why = (
                f"{name}: for one sample the captured program's output differs from the model's by "
                f"up to {error:.3g}; for {call.batch_size} it does not: the model branches on the "
                "batch size, which export cannot keep. Remove that branch."
            )
        elif exchanged:  # such as the first call's, kept for all that follow
            why = keeps_state(name, exchanged)
        else:
            why = (
                f"{name}: the captured program's output differs from the model's by up to "
                f"{error:.3g}, with any batch size; its forward depends on something that is "
                "neither input nor weight (a global variable, the time, a file). Make it an input."
            )
    raise CaptureError(why)


def _noise(module: nn.Module, call: Call, seeded: bool) -> float:
    """Largest difference between two runs, from the same random numbers on or from any.

    Before them the model runs on other samples: of these it may keep something.
    """
    cuda = [x.device for x in call.tensors[:1] if x.is_cuda]
    kept, results = (random.getstate(), np.random.get_state()), []
    with torch.random.fork_rng(cuda):
        for change in (_other, torch.clone, torch.clone):
            if seeded:
                torch.manual_seed(0)
                random.seed(0)
                np.random.seed(0)
            results.append(call.run(module, call.of_size(1), change))
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    return largest_difference(*results[1:])


def _other(x: torch.Tensor) -> torch.Tensor:
    """Other samples in place of these: what is kept of them, a mean say, is another too."""
    moved = x.roll(1, -1) if x.ndim else x.clone()
    return moved * 1.5 if x.is_floating_point() or x.is_complex() else moved


def largest_difference(some: Any, others: Any) -> float:
    """Over all tensors of two results, relative to a tensor's largest value.

    It is 0 if and only if they are equal to the bit, and infinite where anything but the values of
    tensors differs: numbers, shapes, structure.
    """

    def difference(a: Any, b: Any) -> float:
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            return 0.0 if type(a) is type(b) and a == b else math.inf
        if a.shape != b.shape:
            return math.inf
        wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
        a, b = a.to(wide), b.to(wide)
        unlike = ~torch.isclose(a, b, rtol=0, atol=0, equal_nan=True)
        gap = (a - b)[unlike].abs().max() / a.abs().max().clamp_min(1e-30) if unlike.any() else 0
        return float(gap) if math.isfinite(gap) else math.inf

    leaves = pytree.tree_leaves(some), pytree.tree_leaves(others)
    unlike = len(leaves[0]) != len(leaves[1])
    return math.inf if unlike else max(map(difference, *leaves), default=0.0)


@contextmanager
def noting_changes(module: nn.Module) -> Iterator[list[str]]:
    """Names of what a module changes in its calls; afterwards its attributes are as before.

    torch.export tells of tensors that are written in place, but not of ``self.h = new`` (it does so
    for buffers of the model itself only), and leaves tensors without values in such attributes.
    """
    attributes = [(vars(inner), dict(vars(inner))) for inner in module.modules()]
    every = [value for _, values in attributes for value in values.values()]
    contents = [(x, x.copy()) for x in every if isinstance(x, (list, dict, set))]
    before: dict[str, list[Any]] = {}
    alive: list[Any] = []  # an id is a tensor's own for as long as it lives
    changed: list[str] = []

    def look(*_: Any) -> None:
        before.update(_held(module, alive))

    def compare(*_: Any) -> None:
        after = _held(module, alive)
        unlike = (n for n in {**before, **after} if before.get(n, []) != after.get(n, []))
        changed.extend(name for name in unlike if name not in changed)

    hooks = [module.register_forward_pre_hook(look), module.register_forward_hook(compare)]
    try:
        yield changed
    finally:
        for hook in hooks:
            hook.remove()
        for value, content in contents:
            value.clear()
            (value.extend if isinstance(value, list) else value.update)(content)
        for current, values in attributes:
            current.clear()
            current.update(values)


def _held(module: nn.Module, alive: list[Any]) -> dict[str, list[Any]]:
    """What a module and those inside of it hold, also in containers, so that it can be compared.

    Numbers and text, which tensors and how often each was written to, and the lengths of sets.
    """

    def told(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return id(x), None if x.is_inference() else x._version
        return len(x) if isinstance(x, set) else x

    found = {}
    for path, inner in module.named_modules():
        plain = {name: value for name, value in vars(inner).items() if name not in _EMPTY}
        for name, value in (plain | inner._buffers | inner._parameters).items():
            leaves = pytree.tree_leaves(value)
            alive += leaves
            kept = (x for x in leaves if isinstance(x, (torch.Tensor, int, float, str, set)))
            found[f"{path}.{name}".lstrip(".")] = [told(x) for x in kept]
    return found
