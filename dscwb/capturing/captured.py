"""Capture: a timm name or `nn.Module` goes in, its graph and runnable halves come out.

Weights stay as they are; a timm name gives random ones, since neither payloads nor times depend on
them. One capture serves every batch size.
"""

from __future__ import annotations

import difflib
import hashlib
import linecache
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import timm
import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from dscwb.capturing.exported import CaptureError, read_program
from dscwb.capturing.halves import make_head, make_stamped, make_tail
from dscwb.capturing.memory import keeps_state, noting_changes
from dscwb.capturing.precision import readable
from dscwb.cuts import Cut
from dscwb.graph import ModelGraph

Inputs = tuple[torch.Tensor, ...]
# On CUDA torch's batch norm takes no larger batch, and torch.export refuses a dimension that
# promises more than an operation allows. The same bound everywhere gives the same graph everywhere;
# nothing in the captured code checks it.
_MOST_SAMPLES = 65_535


@dataclass(frozen=True, eq=False)
class CapturedModel:
    """A model as torch.export sees it: the plain graph, and code for the whole or any half.

    Attributes:
        graph: The plain records, for every batch size.
        module: The whole captured model, called with the model's inputs.
        example_inputs: The inputs it was captured with.
        device: Where weights and inputs lie.
        dtype: Element type of the weights, without the ``torch.`` in front.
        own_weights: True where the weights are the user's own; those of a timm name are random.
    """

    graph: ModelGraph
    module: fx.GraphModule
    example_inputs: Inputs
    device: torch.device
    dtype: str
    own_weights: bool = False

    def inputs(self, batch_size: int) -> Inputs:
        """Inputs of any batch size, the example's samples repeated."""
        return tuple(_rows(x, batch_size) for x in self.example_inputs)

    def split(self, cut: Cut) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Head and tail at a cut, such that ``tail(head(*inputs))`` is the model's output.

        The head returns the frontier as a tuple, the tail takes that tuple; both share the weights
        of this model in memory. What depends on weights and shapes only, symbolic sizes among it,
        is recomputed in the tail. Send strides with the tensors if the results must be bitwise
        equal.
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
    model: str | nn.Module,
    input_size: int | tuple[int, ...] | None = None,
    *,
    example_input: torch.Tensor | Inputs | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    check: bool = True,
) -> CapturedModel:
    """Capture a model once for every batch size.

    Args:
        model: A timm name (random weights) or any `nn.Module` in eval mode.
        input_size: Shape of one sample, ``(3, 224, 224)``, or the side of a square image, 224;
            a timm model's own size when left out.
        example_input: Instead of `input_size`, the input of one call, batch dimension first;
            a tuple where the model takes several.
        device: Where to run; the module is moved there.
        dtype: Element type of weights and inputs, ``torch.float16``; the module is converted.
        channels_last: Convert 4-D weights and inputs to channels-last memory format.
        check: Run model and capture once each on one sample and compare the outputs bitwise.

    Raises:
        CaptureError: Unknown name, train mode, no batch dimension, a model that torch.export cannot
            express, or one that gives different outputs for the same input.
    """
    module, name = _module(model, input_size)
    if any(inner.training for inner in module.modules()):
        raise CaptureError(f"{name} is in train mode; call model.eval() first.")
    memory = torch.channels_last if channels_last else torch.preserve_format
    module = module.to(device=device, dtype=dtype)
    module = module.to(memory_format=memory) if channels_last else module
    inputs = _example(module, name, input_size, example_input)
    inputs = tuple(x.contiguous(memory_format=memory) if x.ndim == 4 else x for x in inputs)
    with noting_changes(module) as exchanged:
        program = _export(module, name, inputs)
    clean, graph = read_program(module, name, program, exchanged)
    first = next((p for p in module.parameters() if p.is_floating_point()), inputs[0])
    element = str(first.dtype).removeprefix("torch.")
    own = isinstance(model, nn.Module)
    captured = CapturedModel(graph, clean, inputs, inputs[0].device, element, own)
    if check:
        _check(module, captured, name, exchanged)
    return captured


def _module(
    model: str | nn.Module, input_size: int | tuple[int, ...] | None
) -> tuple[nn.Module, str]:
    if isinstance(model, nn.Module):
        return model, type(model).__name__
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3, cutoff=0.5)
        hint = f"nearest names: {', '.join(near)}" if near else "see timm.list_models()"
        raise CaptureError(f"timm has no model {model!r}; {hint}.")
    side = input_size if isinstance(input_size, int) or input_size is None else input_size[-1]
    if side is not None:
        try:  # transformers must be told the image size, convolutional models take no such word
            return timm.create_model(model, img_size=side).eval(), model
        except TypeError:
            pass
    return timm.create_model(model).eval(), model


def _example(
    module: nn.Module,
    name: str,
    input_size: int | tuple[int, ...] | None,
    example_input: torch.Tensor | Inputs | None,
) -> Inputs:
    """The inputs to trace with, two samples at least: torch.export takes one for a constant."""
    if example_input is None:
        if isinstance(input_size, tuple):
            shape = input_size
        else:
            native = getattr(module, "pretrained_cfg", {}).get("input_size")
            if native is None and input_size is None:
                raise CaptureError(f"{name}: give input_size=(3, 224, 224) or example_input=x.")
            channels = native[0] if native else 3
            shape = (channels, input_size, input_size) if input_size else tuple(native or ())
        first = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, *shape, generator=generator)
        return (x.to(device=first.device, dtype=first.dtype),)
    given = (example_input,) if isinstance(example_input, torch.Tensor) else tuple(example_input)
    for x in given:
        if x.ndim == 0 or x.shape[0] == 0:
            raise CaptureError(
                f"{name}: an example input of shape {tuple(x.shape)} has no batch dimension; "
                "give it as (batch, ...)."
            )
    place = next((p for p in module.parameters() if p.is_floating_point()), None)
    if place is not None:
        given = tuple(
            x.to(place.device, place.dtype if x.is_floating_point() else x.dtype) for x in given
        )
    return tuple(_rows(x, max(2, x.shape[0])) for x in given)


def _rows(x: torch.Tensor, batch_size: int) -> torch.Tensor:
    """`batch_size` samples by repeating those of x, in x's memory format."""
    index = torch.arange(batch_size, device=x.device) % x.shape[0]
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    rows = x.index_select(0, index)
    return rows.contiguous(memory_format=torch.channels_last) if channels_last else rows


def _export(module: nn.Module, name: str, inputs: Inputs) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=_MOST_SAMPLES)
    try:
        with warnings.catch_warnings(), torch.no_grad(), readable():
            warnings.simplefilter("ignore")
            shapes = tuple({0: batch} for _ in inputs)
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise CaptureError(_why(module, name, inputs, error)) from None


def _why(module: nn.Module, name: str, inputs: Inputs, error: Exception) -> str:
    """One sentence for an export that failed: the missing batch dimension, or the failing line."""
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "batch" in str(error) or not _runs(module, tuple(torch.cat([x, x]) for x in inputs)):
        return (
            f"{name}: the first dimension of its input {shapes} is not a free batch dimension "
            f"({reason.strip()[:160]}); give example_input as (batch, ...)."
        )
    where, remedy = "", "torch.export itself failed"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        outside = re.search(r"[\\/](torch|contextlib)[\\/.]", frame.filename)
        if not outside and frame.filename != __file__:
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            where = f" at `{line}` ({frame.filename}:{frame.lineno})"
            remedy = "Rewrite that line without control flow on tensor values"
            break
    return f"{name} cannot be exported{where}: {reason.strip()[:300]}. {remedy}."


def _runs(module: nn.Module, inputs: Inputs) -> bool:
    try:
        with torch.inference_mode():
            module(*inputs)
    except Exception:
        return False
    return True


def _check(module: nn.Module, captured: CapturedModel, name: str, exchanged: Sequence[str]) -> None:
    """Run model and capture; where they differ, run the model again to see which is at fault.

    One sample is quickest, and says more than the traced two: the batch size must be free. A model
    that sets tensors anew in each call runs on other samples before: are these what it keeps?
    """

    def run(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
        # New inputs for each run: the model may write into them.
        return pytree.tree_leaves(model(*map(change, captured.inputs(1))))

    with torch.inference_mode():
        try:
            if exchanged:
                run(module, lambda x: x.roll(1, -1))
            want = run(module, torch.clone)
        except Exception:
            if exchanged:  # such as a cache that has grown beyond its mask
                raise CaptureError(keeps_state(name, exchanged)) from None
            raise
        got = run(captured.module, torch.clone)
        if all(torch.equal(a, b) for a, b in zip(want, got, strict=True)):
            return
        seeded = []
        for _ in range(2):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                seeded.append(run(module, torch.clone))
        before, last = run(module, torch.clone), run(module, torch.clone)
    if _most_different(*seeded) > 0:
        raise CaptureError(keeps_state(name, exchanged))
    if (noise := _most_different(before, last)) > 0:
        raise CaptureError(
            f"{name} is not deterministic: two runs on the same input differ by up to {noise:.3g}; "
            "remove random operations (dropout, sampling) from its forward."
        )
    if _most_different(want, last) > 0:
        raise CaptureError(keeps_state(name, exchanged))
    if (error := _most_different(want, got)) > 1e-3:
        raise CaptureError(
            f"{name}: the captured program's output differs from the model's by up to {error:.3g}; "
            "the model keeps state between calls, or branches on values or on the batch size, "
            "which export cannot keep."
        )


def _most_different(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return max((_difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest absolute difference, relative to the largest value; infinite between two shapes."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.double(), b.double()
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) if a.numel() else 0.0


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
            if not all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True)):
                error = max(_difference(a, b) for a, b in zip(whole, halves, strict=True))
                unequal.append((cut, error))
    return unequal
