"""Why a model was not captured: what torch said goes in, the cause and a remedy come out.

torch names what it stumbled over, not what is the matter, and prints pages of it. Here the model
itself is run: on its example, on one sample more, twice on the same. What fails there says more.
"""

from __future__ import annotations

import io
import linecache
import logging
import random
import re
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from dscwb.capturing.exported import line_of
from dscwb.capturing.inputs import Call
from dscwb.capturing.memory import keeps_state
from dscwb.capturing.models import is_exported

_SHAPES_LOG = "torch.fx.experimental.symbolic_shapes"
_LONGEST = 200  # characters of torch's own words
_ANEW = (
    "export it again with dynamic_shapes=({0: torch.export.Dim('batch', min=1)},), or capture the "
    "module that it was made from"
)


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor torch's log nor what it prints to stderr comes through."""
    log = logging.getLogger("torch")
    handlers, propagate = log.handlers, log.propagate
    log.handlers, log.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.handlers, log.propagate = handlers, propagate


def why_not_ready(module: nn.Module, name: str, run: bool) -> str:
    """Why a module cannot be captured, or `run`, as it is; empty where nothing is known."""
    if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters()):
        return f"{name} has lazy layers without weights yet; run it once on an input, model(x)."
    if run and any(x.is_meta for x in (*module.parameters(), *module.buffers())):
        return (
            f"{name} lies on the meta device and has no weights; give it some, "
            "model.to_empty(device='cpu'), and load or initialise them, or say check=False to have "
            "its graph alone."
        )
    scripted = [p for p, m in module.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        return (
            f"{name} holds TorchScript in {scripted[0]!r}, which torch.export does not take; put "
            "the nn.Module that it was made from there."
        )
    training = [path for path, inner in module.named_modules() if inner.training]
    if training and not is_exported(module):
        where = "" if module.training else f", in its part {training[0]!r}"
        return f"{name} is in train mode{where}; call model.eval() first."
    return ""


def why_not_exported(
    module: nn.Module, name: str, call: Call, error: Exception, again: Callable[[], Any]
) -> str:
    """Why torch.export failed.

    Args:
        module: The model.
        name: What messages call it.
        call: The call that it was exported with.
        error: What torch.export raised.
        again: Exports it once more.
    """
    with quiet():
        found = _not_running(module, name, call) or _of_batch_size(module, name, call, error, again)
    return found or _of_operation(module, name, error)


def _not_running(module: nn.Module, name: str, call: Call) -> str:
    """Why the model does not run at all, or on no other number of samples."""
    samples = call.batch_size
    if error := error_of(module, call):
        advice = "Give example_inputs and example_kwargs with which the model itself runs"
        if re.search(
            r"indices.*(Long|Int)|Long, Int|scalar type.*Long|must be.*integer", str(error)
        ):
            advice = (
                "It takes whole numbers, such as token ids: give "
                "example_inputs=torch.randint(0, 10, (2, 16))"
            )
        if is_exported(module) and "Guard" in str(error):
            return f"{name} is a program exported for other inputs ({_said(error)}); {_ANEW}."
        return (
            f"{name} does not run on its example, {call.shapes()}{_line(error)}: {_said(error)}. "
            f"{advice}."
        )
    more = replace(call, tensors=call.of_size(samples + 1))
    if error := error_of(module, more):
        if is_exported(module):
            return f"{name} is a program exported for {samples} samples only; {_ANEW}."
        axes = ", ".join(
            f"axis {axis} of {said} {tuple(x.shape)}"
            for said, x, axis in zip(call.names, call.tensors, call.batch_axes, strict=True)
            if axis is not None
        )
        return (
            f"{name} runs on its example but not with {samples + 1} instead of {samples} along "
            f"{axes}{_line(error)}: {_said(error)}. So this is not a free batch dimension: give "
            "example_inputs as (batch, ...), say batch_axes if the batch is another axis, or let "
            "that line take any number of samples."
        )
    return ""


def error_of(module: nn.Module, call: Call) -> Exception | None:
    """What the module raises on a call, None where it runs."""
    args, kwargs = call.rebuilt(tuple(x.clone() for x in call.tensors))
    try:
        with quiet(), torch.inference_mode():
            module(*args, **kwargs)
    except Exception as error:
        return error
    return None


def _of_batch_size(
    module: nn.Module, name: str, call: Call, error: Exception, again: Callable[[], Any]
) -> str:
    """Why the number of samples is not free, though the model runs on several."""
    said = str(error)
    if "Constraints violated" not in said:
        return ""
    guards = _guards(again)
    if is_exported(module):
        return f"{name} is a program exported for certain numbers of samples only; {_ANEW}."
    where = next((line for text, line in reversed(guards) if line), "")
    if "constant" in said:
        where = next((line for text, line in guards if text.startswith("Eq(") and line), where)
        return (
            f"{name} fixes the number of samples to {call.batch_size}{where}: it goes through the "
            "samples one by one, or takes their number as a Python number. Write it for the whole "
            "batch at once (x.flatten(1) for x.reshape(2, -1), x.sum(1) for a loop over x), or "
            "capture the part of the model without it. If this axis is not the batch, say "
            "batch_axes."
        )
    return (
        f"{name} does different things for different numbers of samples{where}, and torch.export "
        "keeps one of them. Remove the branch on the number of samples."
    )


class _Guards(logging.Handler):
    """Collects what torch.export takes for granted of the batch size, and the user's line there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if match := re.match(r"(?:runtime_assert |eval )(.+?) \[", record.getMessage()):
            self.found.append((match[1], _users_line(traceback.extract_stack())))


def _guards(again: Callable[[], Any]) -> list[tuple[str, str]]:
    """Export once more, quietly, and listen; empty where torch no longer logs it."""
    log, handler = logging.getLogger(_SHAPES_LOG), _Guards()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        again()
    except Exception:
        pass  # as it did before
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return handler.found


def _of_operation(module: nn.Module, name: str, error: Exception) -> str:
    """What torch.export cannot follow, by the kind of its error."""
    line, said = _line(error), str(error)
    if isinstance(error, GuardOnDataDependentSymNode) or "data-dependent" in said:
        return (
            f"{name} decides by the values of a tensor, or by a length that depends on them (boxes "
            f"after NMS),{line}; torch.export cannot follow that. Choose by "
            "torch.where(condition, a, b) instead, or capture the part of the model without it, "
            "such as capture(model.backbone, ...)."
        )
    if ".numpy()" in said or "numpy" in said.partition("\n")[0]:
        return (
            f"{name} leaves torch for NumPy{line}, which torch.export cannot follow. Use torch's "
            "own functions there, or capture the part of the model without it."
        )
    if re.search(
        r"fake impl|[Uu]nsupported operator|Meta.*backend|not registered for.*[Mm]eta", said
    ):
        return (
            f"{name} uses an operation of which torch does not know the result's shape{line}: "
            f"{_said(error)}. Tell it by torch.library.register_fake, or capture the part of the "
            "model without it."
        )
    if "fake tensor in the exported program" in said:
        return (
            f"{name} keeps a tensor between calls, in an attribute or through .data, which "
            "torch.export cannot follow. Let forward take it as an argument and return its new "
            "value."
        )
    if re.search(r"quantized|PackedParams|__obj_flatten__|ScriptObject", said):
        return (
            f"{name} holds packed quantised weights, which torch.export does not take"
            f"{line}. Quantise with torchao's quantize_, or keep int8 weights as buffers; times "
            "measured elsewhere are read by `dscwb import`."
        )
    if line:
        return (
            f"{name} cannot be exported{line}: {_said(error)}. Write that line with torch's "
            "operations on whole tensors, or capture the part of the model without it."
        )
    return (
        f"{name} cannot be exported: {_said(error)}. torch.export itself failed; try another "
        "version of torch, or capture a part of the model."
    )


def why_different(
    module: nn.Module,
    name: str,
    captured: fx.GraphModule,
    call: Call,
    error: float,
    exchanged: Collection[str],
) -> str:
    """Why the captured program and the model differ, though both ran.

    Args:
        module: The model.
        name: What messages call it.
        captured: The program.
        call: An example with several samples.
        error: The largest difference with one sample.
        exchanged: Names of tensors that the model sets anew in each call.
    """
    noise = _noise(module, call, seeded=False)
    if noise > 0:
        if _noise(module, call, seeded=True) > 0:
            return keeps_state(name, exchanged or _changing(module, call))
        drawing = (n for n in captured.graph.nodes if _is_random(n))
        where = next((line_of(n) for n in drawing), "")
        return (
            f"{name} is not deterministic: two runs on the same input differ by up to {noise:.3g}; "
            f"remove the random operation{where} from its forward (dropout takes "
            "training=self.training), or give the random numbers as an input."
        )
    args, kwargs = call.rebuilt(call.of_size(call.batch_size))
    with torch.inference_mode():
        want, got = module(*args, **kwargs), captured(*call.of_size(call.batch_size))
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


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _noise(module: nn.Module, call: Call, seeded: bool) -> float:
    """Largest difference between two runs, from the same random numbers on or from any.

    Before them the model runs on other samples: of these it may keep something.
    """
    results = []
    for change in (other, torch.clone, torch.clone):
        args, kwargs = call.rebuilt(tuple(map(change, call.of_size(1))))
        with torch.inference_mode(), _seeded(call) if seeded else nullcontext():
            results.append(module(*args, **kwargs))
    return largest_difference(*results[1:])


def other(x: torch.Tensor) -> torch.Tensor:
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


def _changing(module: nn.Module, call: Call) -> list[str]:
    """The buffers and attributes that a run changes."""
    before = state_of(module)
    error_of(module, call)
    after = state_of(module)
    return [name for name in after if before.get(name) != after[name]]


def state_of(module: nn.Module) -> dict[str, Any]:
    """What a run of the module may change: tensors by their versions, lists by their lengths."""
    found: dict[str, Any] = {}
    for path, inner in module.named_modules():
        places = {**inner._parameters, **inner._buffers, **vars(inner)}
        for key, value in places.items():
            place = f"{path}.{key}" if path else key
            if isinstance(value, torch.Tensor):
                found[place] = id(value), 0 if value.is_inference() else value._version
            elif isinstance(value, (int, float, str)):
                found[place] = value
            elif isinstance(value, (list, dict, set)) and not key.startswith("_"):
                found[place] = len(value)
    return found


def all_equal(some: list[Any], others: list[Any]) -> bool:
    """Whether two rows of results are the same to the bit."""
    return len(some) == len(others) and all(map(equal, some, others))


def equal(a: Any, b: Any) -> bool:
    """Whether two results are the same to the bit: tensors, numbers, None."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    return a is b or (type(a) is type(b) and bool(a == b))


def largest_difference(some: Any, others: Any) -> float:
    """Over all tensors of two results, relative to a tensor's largest value."""
    pairs = pytree.tree_leaves(some), pytree.tree_leaves(others)
    if len(pairs[0]) != len(pairs[1]):
        return float("inf")
    return max(map(_difference, *pairs), default=0.0)


def _difference(a: Any, b: Any) -> float:
    """Largest absolute difference, relative to the largest value; infinite between two shapes."""
    if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape):
        return 0.0 if equal(a, b) else float("inf")
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    a, b = a.to(wide), b.to(wide)
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) if a.numel() else 0.0


def _said(error: Exception) -> str:
    """The first line of an error that says something, without its full stop."""
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), type(error).__name__)
    return first[:_LONGEST].rstrip(".: ")


def _line(error: Exception) -> str:
    return _users_line(traceback.extract_tb(error.__traceback__))


def _users_line(frames: traceback.StackSummary) -> str:
    """The innermost line outside of torch and dscwb, as `` at `line` (file:number)``."""
    for frame in reversed(frames):
        ours = re.search(
            r"[\\/](torch|contextlib|logging|dscwb[\\/]capturing)[\\/.]", frame.filename
        )
        line = linecache.getline(frame.filename, frame.lineno or 0).strip()
        if not ours and line:
            return f" at `{line}` ({frame.filename}:{frame.lineno})"
    return ""
