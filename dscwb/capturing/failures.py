"""Why a model was not captured: the cause and a remedy in one sentence, in place of torch's pages.

torch names what it stumbled over, not what is the matter. Here the model itself is run, on its
example and on one sample more: what fails there says more.
"""

from __future__ import annotations

import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any

import torch
from torch import nn

from dscwb.capturing.errors import users_line
from dscwb.capturing.inputs import Call
from dscwb.capturing.models import is_exported

_LONGEST = 200  # characters of torch's own words
_ANEW = (
    "export it again with dynamic_shapes=({0: torch.export.Dim('batch', min=1)},), or capture the "
    "module that it was made from"
)
# What torch.export cannot follow: how its error tells, and what is said of it.
_OPERATIONS = (
    (
        "GuardOnDataDependent|data-dependent",
        "decides by the values of a tensor, or by a length that depends on them (boxes after NMS),"
        "{line}; torch.export cannot follow that. Choose by torch.where(condition, a, b) instead, "
        "or capture the part of the model without it, such as capture(model.backbone, ...)",
    ),
    (
        r"\.numpy\(\)|^.*numpy",
        "leaves torch for NumPy{line}, which torch.export cannot follow. Use torch's own functions "
        "there, or capture the part of the model without it",
    ),
    (
        "fake impl|[Uu]nsupported operator|Meta.*backend|not registered for.*[Mm]eta",
        "uses an operation of which torch does not know the result's shape{line}: {said}. Tell it "
        "by torch.library.register_fake, or capture the part of the model without it",
    ),
    (
        "fake tensor in the exported program",
        "keeps a tensor between calls, in an attribute or through .data, which torch.export cannot "
        "follow. Let forward take it as an argument and return its new value",
    ),
    (
        "quantized|PackedParams|__obj_flatten__|ScriptObject",
        "holds packed quantised weights, which torch.export does not take{line}. Quantise with "
        "torchao's quantize_, or keep int8 weights as buffers; times measured elsewhere are read "
        "by `dscwb import`",
    ),
)
_IN_A_LINE = (
    "cannot be exported{line}: {said}. Write that line with torch's operations on whole tensors, "
    "or capture the part of the model without it"
)
_IN_TORCH = (
    "cannot be exported: {said}. torch.export itself failed; try another version of torch, or "
    "capture a part of the model"
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
    for path, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            return (
                f"{name} holds TorchScript in {path!r}, which torch.export does not take; put the "
                "nn.Module that it was made from there."
            )
    training = [path for path, inner in module.named_modules() if inner.training]
    if training and not is_exported(module):
        where = "" if module.training else f", in its part {training[0]!r}"
        return f"{name} is in train mode{where}; call model.eval() first."
    return ""


def error_of(run: Callable[..., Any], *given: Any) -> Exception | None:
    """What running a model raises, None where it runs."""
    try:
        with quiet(), torch.inference_mode():
            run(*given)
    except Exception as error:
        return error
    return None


def why_not_exported(
    module: nn.Module, name: str, call: Call, error: Exception, again: Callable[[], Any]
) -> str:
    """Why torch.export raised this error; `again` exports once more."""
    found = _not_running(module, name, call) or _of_batch_size(module, name, call, error, again)
    if found:
        return found
    said, line = f"{type(error).__name__}: {error}", _line(error)
    fitting = (words for pattern, words in _OPERATIONS if re.search(pattern, said))
    words = next(fitting, _IN_A_LINE if line else _IN_TORCH)
    return f"{name} {words.format(line=line, said=_said(error))}."


def _not_running(module: nn.Module, name: str, call: Call) -> str:
    """Why the model does not run at all, or on no other number of samples."""
    samples = call.batch_size
    if error := error_of(call.run, module, call.tensors):
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
    if error := error_of(call.run, module, call.of_size(samples + 1)):
        if is_exported(module):
            return f"{name} is a program exported for {samples} samples only; {_ANEW}."
        axes = (f"axis {axis} of {said} {tuple(x.shape)}" for said, x, axis in call.batched)
        return (
            f"{name} runs on its example but not with {samples + 1} instead of {samples} along "
            f"{', '.join(axes)}{_line(error)}: {_said(error)}. So this is not a free batch "
            "dimension: give example_inputs as (batch, ...), say batch_axes if the batch is "
            "another axis, or let that line take any number of samples."
        )
    return ""


def _of_batch_size(
    module: nn.Module, name: str, call: Call, error: Exception, again: Callable[[], Any]
) -> str:
    """Why the number of samples is not free, though the model runs on several."""
    said = str(error)
    if "Constraints violated" not in said:
        return ""
    if is_exported(module):
        return f"{name} is a program exported for certain numbers of samples only; {_ANEW}."
    guards = _guards(again)
    where = next((line for _, line in reversed(guards) if line), "")
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


def _guards(again: Callable[[], Any]) -> list[tuple[str, str]]:
    """What torch.export takes for granted of the batch size, and the user's line there.

    It is heard while exporting once more; nothing where torch no longer logs it.
    """
    found: list[tuple[str, str]] = []

    def listen(record: logging.LogRecord) -> bool:
        if match := re.match(r"(?:runtime_assert |eval )(.+?) \[", record.getMessage()):
            found.append((match[1], users_line(traceback.extract_stack())))
        return False

    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.addFilter(listen)
    log.setLevel(logging.INFO)
    try:
        with suppress(Exception):  # as it did before
            again()
    finally:
        log.removeFilter(listen)
        log.setLevel(level)
    return found


def _said(error: Exception) -> str:
    """The first line of an error that says something, without its full stop."""
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), type(error).__name__)
    return first[:_LONGEST].rstrip(".: ")


def _line(error: Exception) -> str:
    return users_line(traceback.extract_tb(error.__traceback__))
