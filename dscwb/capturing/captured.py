"""Capture: a timm name or `nn.Module` goes in, its graph and runnable halves come out.

Weights stay as they are; a timm name gives random ones, since neither payloads nor times depend on
them. One capture serves every batch size.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import timm
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from dscwb.capturing.exported import CaptureError, held_name, read_program
from dscwb.capturing.failures import (
    all_equal,
    error_of,
    largest_difference,
    other,
    quiet,
    state_of,
    why_different,
    why_not_exported,
    why_not_ready,
)
from dscwb.capturing.halves import make_head, make_stamped, make_tail
from dscwb.capturing.inputs import BatchAxes, Call, Inputs, one_call, register_dataclasses
from dscwb.capturing.memory import keeps_state, noting_changes
from dscwb.capturing.models import Model, example_of, is_exported, module_of, tree_of
from dscwb.capturing.precision import readable
from dscwb.capturing.same import attributes_restored, same_operations
from dscwb.cuts import Cut
from dscwb.graph import ModelGraph

# On CUDA torch's batch norm takes at most 65,535 rows, and torch.export refuses a dimension that
# promises more than an operation allows; where a sample has several rows (windows, frames), less is
# promised. Nothing in the captured code checks it.
_MOST_SAMPLES = (65_535, 1_024, 64)
_BOUNDED = re.compile(r"\bbatch\b[^,\n]* <= |got <= for batch")
# A model with more FLOPs is first compared operation by operation: running it twice takes longer
# than exporting it. Half a second on one thread of a CPU.
_SLOW = 5e9
_KERNELS = 1e-3  # a larger difference, relative to the largest value, comes from another program


@dataclass(frozen=True, eq=False)
class CapturedModel:
    """A model as torch.export sees it: the plain graph, and code for the whole or any half.

    Attributes:
        graph: The plain records, for every batch size.
        module: The whole captured model, called with the model's input tensors in a row.
        call: The call that it was captured with.
        device: Where weights and inputs lie.
        dtype: Element type of the weights, without the ``torch.`` in front.
        own_weights: True where the weights are the user's own; those of a timm name are random.
    """

    graph: ModelGraph
    module: fx.GraphModule
    call: Call
    device: torch.device
    dtype: str
    own_weights: bool = False

    @property
    def example_inputs(self) -> Inputs:
        """The input tensors that it was captured with, those in dictionaries and by name too."""
        return self.call.tensors

    def inputs(self, batch_size: int) -> Inputs:
        """Inputs of any batch size, the example's samples repeated."""
        return self.call.of_size(batch_size)

    def flatten(self, *args: Any, **kwargs: Any) -> Inputs:
        """The tensors of a call of the model, in the order in which `module` and heads take them.

        Raises:
            ValueError: The arguments have another structure than the example's.
        """
        return self.call.flatten(args, kwargs)

    def split(self, cut: Cut) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Head and tail at a cut, such that ``tail(head(*inputs))`` is the model's output.

        The head returns the frontier as a tuple, the tail takes that tuple; both share the weights
        of this model in memory. What depends on weights and shapes only, symbolic sizes among it,
        is recomputed in the tail. Send strides with the tensors if the results must be bitwise
        equal. Where inputs have no batch axis or are resident, the head returns a `halves.Sent`:
        the frontier, and beside it what stays where it is. An input without a batch axis that does
        not come beside the frontier has the example's values in the tail.
        """
        if not 0 <= cut.index <= len(self.graph.layers):
            raise ValueError(
                f"Cut {cut.index} is not one of the {len(self.graph.layers) + 1} cuts of "
                f"{self.graph.model!r}; take it from all_cuts(captured.graph)."
            )
        head = make_head(self.module, self.graph, cut)
        return head, make_tail(self.module, self.graph, cut)

    def stamped(self) -> fx.GraphModule:
        """The model with two more arguments: calls ``clock.stamp(k)`` after each wanted layer k.

        Call it with the inputs, the clock and, if not all layers are wanted, a sequence of bool,
        ``(cut,)``.
        """
        return make_stamped(self.module, self.graph)

    def weights_sha256(self) -> str:
        """SHA-256 of names, shapes and bytes of all weights and buffers, hexadecimal.

        Empty where the weights are random: another capture of the same name has others.
        """
        if not self.own_weights:
            return ""
        digest = hashlib.sha256()
        for name, weight in self.module.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)};".encode())
            # Contiguous: the memory format is no part of the weights. As bytes: NumPy has no
            # bfloat16.
            flat = weight.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()


def capture(
    model: Model,
    input_size: int | tuple[int, ...] | None = None,
    *,
    example_inputs: Any = None,
    example_kwargs: Mapping[str, Any] | None = None,
    batch_axes: BatchAxes = 0,
    resident: str | int | Collection[str | int] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    check: bool = True,
    example_input: Any = None,
) -> CapturedModel:
    """Capture a model once for every batch size.

    Numbers, strings and None among its inputs become part of the captured program. An input without
    a batch axis (a mask, anchors) is a constant that both sides hold: no payload counts it. With
    `resident`, prefill and one step of decoding of a language model can each be captured: what is
    not modelled is that the cache grows from step to step (each length is a capture of its own),
    nor that a cache must move when the split changes.

    Args:
        model: A timm name (random weights), any `nn.Module` in eval mode, an ExportedProgram of
            torch.export, what its ``module()`` gives, or the path of a ``.pt2`` file. torch may
            run code that such a file holds: open only those whose origin you trust.
        input_size: Shape of one sample, ``(3, 224, 224)``, or the side of a square image, 224;
            a timm model's own size when left out.
        example_inputs: Instead of `input_size`, the arguments by place of one call, with two
            samples or more: a tensor, or a tuple of tensors, numbers, None, and tuples, lists,
            dictionaries and dataclasses of them.
        example_kwargs: Its arguments by name.
        batch_axes: Axis of the inputs whose length is the batch size, None for an input that does
            not grow with it: one for all, a tuple like `example_inputs`, or a dictionary by name,
            ``{"mask": None, "h": 1}``; those that it leaves out have axis 0.
        resident: State that lies where its layer runs and is not sent: names of arguments, and keys
            of the output (places, if it is a tuple): ``("past", 1)``.
        device: Where to run; the module is moved there.
        dtype: Element type of weights and inputs, ``torch.float16``; the module is converted.
        channels_last: Convert 4-D weights and inputs to channels-last memory format.
        check: Run model and capture once each on one sample and compare the outputs bitwise; a
            large model's operations are compared one by one instead, where they are the same.
        example_input: Another spelling of `example_inputs`.

    Raises:
        CaptureError: Unknown name, train mode, no batch dimension, a model that torch.export cannot
            express, or one that gives different outputs for the same input.
    """
    side = input_size[-1] if isinstance(input_size, tuple) else input_size
    module, name = module_of(model, side, device)
    memory = torch.channels_last if channels_last else None
    if is_exported(module):
        _check_kept(module, name, device, dtype, channels_last)
    elif reason := why_not_ready(module, name, check):
        raise CaptureError(reason)
    else:
        module = module.to(device=device, dtype=dtype)
        module = module.to(memory_format=memory) if memory else module
    given = example_inputs if example_inputs is not None else example_input
    args, kwargs = _example(module, name, input_size, given, example_kwargs)
    call = one_call(module, name, args, kwargs, batch_axes)
    call = _moved(module, call, memory)
    if isinstance(batch_axes, int):
        _check_one_sample(module, name, call)
    # Two samples at least: torch.export takes one for a constant.
    call = replace(call, tensors=call.of_size(max(2, call.batch_size)))
    with noting_changes(module) as exchanged:
        program = _export(module, name, call)
    stays = (resident,) if isinstance(resident, (str, int)) else resident
    clean, graph = read_program(tree_of(module), name, program, stays, call.owners, exchanged)
    for spec, x in zip(graph.inputs, call.tensors, strict=True):
        if not spec.batch_axes and spec.name not in graph.resident:
            clean.register_buffer(held_name(spec.name), x, persistent=False)
    first = next((p for p in module.parameters() if p.is_floating_point()), call.tensors[0])
    element = str(first.dtype).removeprefix("torch.")
    own = not (isinstance(model, str) and timm.is_model(model))
    captured = CapturedModel(graph, clean, call, call.tensors[0].device, element, own)
    if check:
        _check(module, captured, name, exchanged)
    return captured


def _check_kept(
    module: nn.Module,
    name: str,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    channels_last: bool,
) -> None:
    """Refuse to convert an exported program: device and types stand inside of its operations."""
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    if channels_last or (dtype is not None and first is not None and first.dtype != dtype):
        raise CaptureError(
            f"{name} is an exported program, whose element type and memory format are fixed; leave "
            "dtype and channels_last out, or convert the module before torch.export.export."
        )
    if device is not None and first is not None and first.device.type != torch.device(device).type:
        raise CaptureError(
            f"{name} is an exported program on {first.device}; give the ExportedProgram itself or "
            "its .pt2 file, not its module(), to have it moved."
        )


def _example(
    module: nn.Module,
    name: str,
    input_size: int | tuple[int, ...] | None,
    args: Any,
    kwargs: Mapping[str, Any] | None,
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments to trace with, by place and by name."""
    if args is not None or kwargs is not None:
        by_place = () if args is None else args
        return (by_place if isinstance(by_place, tuple) else (by_place,)), kwargs or {}
    if input_size is None and example_of(module) is not None:
        given, named = example_of(module)
        return given, named
    if isinstance(input_size, tuple):
        shape = input_size
    else:
        native = getattr(module, "pretrained_cfg", {}).get("input_size")
        if native is None and input_size is None:
            raise CaptureError(f"{name}: give input_size=(3, 224, 224) or example_inputs=x.")
        channels = native[0] if native else 3
        shape = (channels, input_size, input_size) if input_size else tuple(native or ())
    return (torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)),), {}


def _moved(module: nn.Module, call: Call, memory: torch.memory_format | None) -> Call:
    """The call with its tensors where and how the model takes them."""
    place = next((p for p in module.parameters() if p.is_floating_point()), None)

    def moved(x: torch.Tensor) -> torch.Tensor:
        if place is not None:
            x = x.to(place.device, place.dtype if x.is_floating_point() else x.dtype)
        ready = x.detach()
        return ready.contiguous(memory_format=memory) if memory and x.ndim == 4 else ready

    return call.with_tensors(moved)


def _check_one_sample(module: nn.Module, name: str, call: Call) -> None:
    """Refuse an example of one sample where an input may as well be a constant for all samples."""
    batched = [i for i, axis in enumerate(call.batch_axes) if axis is not None]
    if len(batched) < 2 or call.batch_size > 1:
        return
    two = call.of_size(2)
    unclear = []
    for i in batched:
        mixed = (*two[:i], call.tensors[i], *two[i + 1 :])
        if error_of(module, replace(call, tensors=mixed)) is None:
            unclear.append(call.names[i])
    if unclear:
        axes = dict(zip(call.names, call.batch_axes, strict=True))
        raise CaptureError(
            f"{name}: with one sample nothing shows whether {' and '.join(unclear)} grow with the "
            "batch or are constants for all samples, such as a mask or anchors; give an example of "
            f"two samples, or say batch_axes={axes}, with None for a constant."
        )


def _export(module: nn.Module, name: str, call: Call) -> torch.export.ExportedProgram:
    try:
        return _exported(module, call)
    except Exception as error:
        failed = error
    if _learns_results(module, call):
        try:
            return _exported(module, call)
        except Exception as error:
            failed = error
    # Outside of the except blocks: there torch's own error would stand above this one.
    again = partial(_exported, module, call)
    raise CaptureError(why_not_exported(module, name, call, failed, again))


def _exported(module: nn.Module, call: Call) -> torch.export.ExportedProgram:
    for most in _MOST_SAMPLES[:-1]:
        with suppress(_TooManySamplesError):
            return _exported_up_to(module, call, most)
    return _exported_up_to(module, call, _MOST_SAMPLES[-1])


class _TooManySamplesError(Exception):
    """An operation takes fewer samples than the export promised."""


def _exported_up_to(module: nn.Module, call: Call, most: int) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=most)
    args, kwargs = call.rebuilt(call.tensors)
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    for x, axis in zip(call.tensors, call.batch_axes, strict=True):
        if axis is not None:
            shapes[x] = {axis: batch}
    with quiet(), torch.no_grad(), readable():
        dynamic = shapes.dynamic_shapes(module, args, kwargs)
        try:
            return torch.export.export(module, args, kwargs, dynamic_shapes=dynamic, strict=False)
        except Exception as error:
            if most > _MOST_SAMPLES[-1] and _BOUNDED.search(str(error)):
                raise _TooManySamplesError from error
            raise


def _learns_results(module: nn.Module, call: Call) -> bool:
    """Tell torch of the dataclasses that the model returns; whether there were new ones."""
    args, kwargs = call.rebuilt(call.of_size(call.batch_size))
    with suppress(Exception), quiet(), torch.inference_mode():
        return register_dataclasses(module(*args, **kwargs))
    return False


def _check(module: nn.Module, captured: CapturedModel, name: str, exchanged: Sequence[str]) -> None:
    """Run model and capture; where they differ, find out which is at fault.

    One sample is quickest, and says more than the traced two: the batch size must be free. A
    program that was exported by others may be for two or more. A model that changes what it holds
    runs on other samples before: is this what it keeps?
    """
    call, samples = captured.call, 1
    if is_exported(module) and error_of(module, replace(call, tensors=call.of_size(1))):
        samples = call.batch_size
    work = sum(layer.flops or 0 for layer in captured.graph.layers)
    if work > _SLOW and not exchanged and _is_same_program(module, captured, samples):
        return
    before = state_of(module)
    with torch.inference_mode():
        try:
            if exchanged:  # it may keep something of its first call, or of the one before
                _run(module, call, samples, other)
            want = _run(module, call, samples)
            if not exchanged and state_of(module) != before:
                _run(module, call, samples, other)
                want = _run(module, call, samples)
        except Exception:
            if exchanged:  # such as a cache that has grown beyond its mask
                raise CaptureError(keeps_state(name, exchanged)) from None
            raise
        got = pytree.tree_leaves(captured.module(*captured.inputs(samples)))
        if all_equal(want, got):
            return
    error = largest_difference(want, got)
    if error > _KERNELS:
        raise CaptureError(why_different(module, name, captured.module, call, error, exchanged))


def _is_same_program(module: nn.Module, captured: CapturedModel, samples: int) -> bool:
    inputs = captured.inputs(samples)
    args, kwargs = captured.call.rebuilt(inputs)
    with attributes_restored(module), quiet():
        return same_operations(lambda: module(*args, **kwargs), lambda: captured.module(*inputs))


def _run(
    module: nn.Module,
    call: Call,
    samples: int,
    change: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> list[Any]:
    """What the module returns for new inputs: it may write into them."""
    args, kwargs = call.rebuilt(tuple(map(change, call.of_size(samples))))
    return pytree.tree_leaves(module(*args, **kwargs))


def verify(
    captured: CapturedModel, cuts: Iterable[Cut], batch_size: int = 3
) -> list[tuple[Cut, float]]:
    """Run head and tail at each cut and compare with the whole model, bitwise.

    Args:
        captured: The model.
        cuts: The cuts to try.
        batch_size: Batch size of the inputs, other than the traced one if the test is to mean much.

    Returns:
        The cuts whose output is not bitwise equal, with the largest difference relative to the
        largest value; empty where all agree.
    """
    unequal = []
    with torch.inference_mode():
        whole = pytree.tree_leaves(captured.module(*captured.inputs(batch_size)))
        for cut in cuts:
            head, tail = captured.split(cut)
            halves = pytree.tree_leaves(tail(head(*captured.inputs(batch_size))))
            if not all_equal(whole, halves):
                unequal.append((cut, largest_difference(whole, halves)))
    return unequal
