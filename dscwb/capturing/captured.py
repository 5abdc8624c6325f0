"""Capture: a timm name or `nn.Module` goes in, its graph and runnable halves come out.

Weights stay as they are; a timm name gives random ones, since neither payloads nor times depend on
them. One capture serves every batch size.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import timm
import torch
from torch import fx, nn

from dscwb.capturing import checking, halves, models
from dscwb.capturing.errors import CaptureError
from dscwb.capturing.exported import held_name, read_program
from dscwb.capturing.failures import check_ready, quiet, why_not_exported
from dscwb.capturing.inputs import BatchAxes, Call, Inputs, one_call, register_dataclasses
from dscwb.capturing.precision import readable
from dscwb.cuts import Cut
from dscwb.graph import ModelGraph
from dscwb.units import Told

# On CUDA torch's batch norm takes at most 65,535 rows, and torch.export refuses a dimension that
# promises more than an operation allows; where a sample has several rows (windows, frames), less is
# promised. Nothing in the captured code checks it.
_MOST_SAMPLES = (65_535, 1_024, 64)
_BOUNDED = re.compile(r"\bbatch\b[^,\n]* <= |got <= for batch")


@dataclass(frozen=True, eq=False, repr=False)
class CapturedModel(Told):
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

    def summary(self) -> dict[str, str]:
        """What it is, in a few words each."""
        weights = sum(x.numel() for x in self.module.parameters())
        return self.graph.summary() | {
            "parameters": f"{weights:,}",
            "element type": self.dtype,
            "device": str(self.device),
        }

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
        head = halves.make_head(self.module, self.graph, cut)
        return head, halves.make_tail(self.module, self.graph, cut)

    def stamped(self) -> fx.GraphModule:
        """The model with two more arguments: calls ``clock.stamp(k)`` after each wanted layer k.

        Call it with the inputs, the clock and, if not all layers are wanted, a sequence of bool,
        ``(cut,)``.
        """
        return halves.make_stamped(self.module, self.graph)

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
    model: models.Model,
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

    Raises:
        CaptureError: Unknown name, train mode, no batch dimension, a model that torch.export cannot
            express, or one that gives different outputs for the same input.
    """
    side = input_size[-1] if isinstance(input_size, tuple) else input_size
    module, name = models.module_of(model, side, device)
    memory = torch.channels_last if channels_last else None
    if models.is_exported(module):
        models.check_kept(module, name, device, dtype, channels_last)
    else:
        check_ready(module, name, check)
        module = module.to(device=device, dtype=dtype)
        module = module.to(memory_format=memory) if memory else module
    args, kwargs = models.example_of(module, name, input_size, example_inputs, example_kwargs)
    call = one_call(module, name, args, kwargs, batch_axes)
    call = replace(call, tensors=tuple(_moved(x, module, memory) for x in call.tensors))
    if isinstance(batch_axes, int):
        checking.check_one_sample(module, name, call)
    # Two samples at least: torch.export takes one for a constant.
    call = replace(call, tensors=call.of_size(max(2, call.batch_size)))
    with checking.noting_changes(module) as exchanged:
        program = _export(module, name, call)
    stays = (resident,) if isinstance(resident, (str, int)) else resident
    tree = models.tree_of(module)
    clean, graph = read_program(tree, name, program, stays, call.owners, exchanged)
    for spec, x in zip(graph.inputs, call.tensors, strict=True):
        if not spec.batch_axes and spec.name not in graph.resident:
            clean.register_buffer(held_name(spec.name), x, persistent=False)
    if check:
        checking.check_program(module, graph, clean, call, exchanged)
    weight = models.first_weight(module)
    element = str((call.tensors[0] if weight is None else weight).dtype).removeprefix("torch.")
    own = not (isinstance(model, str) and timm.is_model(model))
    return CapturedModel(graph, clean, call, call.tensors[0].device, element, own)


def _moved(x: torch.Tensor, module: nn.Module, memory: torch.memory_format | None) -> torch.Tensor:
    """An input where and how the model takes it."""
    weight = models.first_weight(module)
    if weight is not None:
        x = x.to(weight.device, weight.dtype if x.is_floating_point() else x.dtype)
    return x.detach().contiguous(memory_format=memory) if memory and x.ndim == 4 else x.detach()


def _export(module: nn.Module, name: str, call: Call) -> torch.export.ExportedProgram:
    """The program; once more where torch did not know the dataclasses that the model returns."""
    again = partial(_exported, module, call)
    try:
        return again()
    except Exception as error:
        failed, new = error, False
    with suppress(Exception), quiet(), torch.inference_mode():
        new = register_dataclasses(call.run(module, call.tensors))
    if new:
        return _export(module, name, call)
    # Outside of the except block: there torch's own error would stand above this one.
    raise CaptureError(why_not_exported(module, name, call, failed, again))


def _exported(module: nn.Module, call: Call) -> torch.export.ExportedProgram:
    """The program for as many samples as its operations allow."""
    args, kwargs = call.rebuilt(call.tensors)
    for most in _MOST_SAMPLES:
        batch = torch.export.Dim("batch", min=1, max=most)
        shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
        for _, x, axis in call.batched:
            shapes[x] = {axis: batch}
        try:
            with quiet(), torch.no_grad(), readable():
                dynamic = shapes.dynamic_shapes(module, args, kwargs)
                return torch.export.export(
                    module, args, kwargs, dynamic_shapes=dynamic, strict=False
                )
        except Exception as error:
            failed = error
            if not _BOUNDED.search(str(error)):
                break
    raise failed


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
    inputs = captured.inputs(batch_size)
    with torch.inference_mode():
        whole = captured.module(*inputs)
        for cut in cuts:
            head, tail = captured.split(cut)
            if error := checking.largest_difference(whole, tail(head(*inputs))):
                unequal.append((cut, error))
    return unequal
