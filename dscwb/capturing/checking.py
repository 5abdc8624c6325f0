"""Whether a captured program does what the model does, and if not, which of them is at fault."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import fx, nn

from dscwb.capturing.errors import CaptureError, line_of
from dscwb.capturing.failures import error_of, quiet
from dscwb.capturing.inputs import Call
from dscwb.capturing.models import is_exported
from dscwb.capturing.same import largest_difference, same_operations
from dscwb.capturing.state import keeps_state, noting_changes
from dscwb.graph import ModelGraph

# A model with more FLOPs is first compared operation by operation: running it twice takes longer
# than exporting it. Half a second on one thread of a CPU.
_SLOW = 5e9
_KERNELS = 1e-3  # a larger difference, relative to the largest value, comes from another program


def check_one_sample(module: nn.Module, name: str, call: Call) -> None:
    """Refuse an example of one sample where an input may as well be a constant for all samples."""
    if len(call.batched) < 2 or call.batch_size > 1:
        return
    two = call.of_size(2)
    unclear = []
    for i, axis in enumerate(call.batch_axes):
        mixed = (*two[:i], call.tensors[i], *two[i + 1 :])
        if axis is not None and error_of(call.run, module, mixed) is None:
            unclear.append(call.names[i])
    if unclear:
        axes = dict(zip(call.names, call.batch_axes, strict=True))
        raise CaptureError(
            f"{name}: with one sample nothing shows whether {' and '.join(unclear)} grow with the "
            "batch or are constants for all samples, such as a mask or anchors; give an example of "
            f"two samples, or say batch_axes={axes}, with None for a constant."
        )


def check_program(
    module: nn.Module,
    graph: ModelGraph,
    captured: fx.GraphModule,
    call: Call,
    exchanged: Sequence[str],
) -> None:
    """Run model and program on one sample; where they differ, find out why.

    One sample is quickest, and says more than the traced two: the batch size must be free. A
    program that was exported by others may be for two or more. A model that changes what it holds
    (`exchanged`) runs on other samples before: is this what it keeps?
    """
    samples = 1
    if is_exported(module) and error_of(call.run, module, call.of_size(1)):
        samples = call.batch_size
    inputs = call.of_size(samples)
    work = sum(layer.flops or 0 for layer in graph.layers)
    if work > _SLOW and not exchanged:
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
                raise CaptureError(keeps_state(graph.model, exchanged)) from None
            raise
        error = largest_difference(want, captured(*inputs))
    if error > _KERNELS:
        raise CaptureError(_why_different(module, graph.model, captured, call, error, exchanged))


def _why_different(
    module: nn.Module,
    name: str,
    captured: fx.GraphModule,
    call: Call,
    error: float,
    exchanged: Sequence[str],
) -> str:
    """Why program and model differ by so much with one sample, though both ran."""
    noise = _noise(module, call, seeded=False)
    if noise > 0:
        if _noise(module, call, seeded=True) > 0:
            with noting_changes(module) as changing:
                error_of(call.run, module, call.tensors)
            return keeps_state(name, exchanged or changing)
        seeded = torch.Tag.nondeterministic_seeded
        drawing = (n for n in captured.graph.nodes if seeded in getattr(n.target, "tags", ()))
        where = next(map(line_of, drawing), "")
        return (
            f"{name} is not deterministic: two runs on the same input differ by up to {noise:.3g}; "
            f"remove the random operation{where} from its forward (dropout takes "
            "training=self.training), or give the random numbers as an input."
        )
    with torch.inference_mode():
        want, got = call.run(module, call.tensors), captured(*call.tensors)
    if largest_difference(want, got) == 0:
        return (
            f"{name}: for one sample the captured program's output differs from the model's by up "
            f"to {error:.3g}; for {call.batch_size} it does not: the model branches on the batch "
            "size, which export cannot keep. Remove that branch."
        )
    if exchanged:  # such as the first call's, kept for all that follow
        return keeps_state(name, exchanged)
    return (
        f"{name}: the captured program's output differs from the model's by up to {error:.3g}, "
        "with any batch size; its forward depends on something that is neither input nor weight (a "
        "global variable, the time, a file). Make it an input."
    )


def _noise(module: nn.Module, call: Call, seeded: bool) -> float:
    """Largest difference between two runs, from the same random numbers on or from any.

    Before them the model runs on other samples: of these it may keep something.
    """
    results = []
    for change in (_other, torch.clone, torch.clone):
        with torch.inference_mode(), _seeded(call) if seeded else nullcontext():
            results.append(call.run(module, call.of_size(1), change))
    return largest_difference(*results[1:])


def _other(x: torch.Tensor) -> torch.Tensor:
    """Other samples in place of these: what is kept of them, a mean say, is another too."""
    moved = x.roll(1, -1) if x.ndim else x.clone()
    return moved * 1.5 if x.is_floating_point() or x.is_complex() else moved


@contextmanager
def _seeded(call: Call) -> Iterator[None]:
    """The same random numbers each time, of torch, Python and NumPy; afterwards as before."""
    cuda = [x.device for x in call.tensors[:1] if x.is_cuda]
    kept = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(cuda):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
