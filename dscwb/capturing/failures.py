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

from dscwb.capturing.errors import CaptureError, users_line
from dscwb.capturing.inputs import Call
from dscwb.capturing.models import is_exported

_LONGEST = 200  # characters of torch's own words
_ANEW = (
    "export it again with dynamic_shapes=({0: torch.export.Dim('batch', min=1)},), or capture the "
    "module that it was made from"
)
_WHOLE_NUMBERS = re.compile("indices.*(Long|Int)|Long, Int|scalar type.*Long|must be.*integer")
_TOKENS = (
    "It takes whole numbers, such as token ids: give example_inputs=torch.randint(0, 10, (2, 16))"
)
_ANOTHER_EXAMPLE = "Give example_inputs and example_kwargs with which the model itself runs"
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
    kept = log.handlers, log.propagate
    log.handlers, log.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.handlers, log.propagate = kept


def check_ready(module: nn.Module, name: str, run: bool) -> None:
    """Refuse a module that cannot be captured, or `run`, as it is."""
    inside = dict(module.named_modules())
    weights = (*module.parameters(), *module.buffers())
    training = [path for path, inner in inside.items() if inner.training]
    scripted = [path for path, x in inside.items() if isinstance(x, torch.jit.ScriptModule)]
    where = "".join(f", in its part {path!r}" for path in training[:1] if path)
    refusals = {
        "has lazy layers without weights yet; run it once on an input, model(x)": any(
            isinstance(x, nn.UninitializedParameter) for x in weights
        ),
        "lies on the meta device and has no weights; give it some, model.to_empty(device='cpu'), "
        "and load or initialise them, or say check=False to have its graph alone": run
        and any(x.is_meta for x in weights),
        f"holds TorchScript in {next(iter(scripted), '')!r}, which torch.export does not "
        "take; put the nn.Module that it was made from there": bool(scripted),
        f"is in train mode{where}; call model.eval() first": bool(training),
    }
    for wrong, so in refusals.items():
        if so:
            raise CaptureError(f"{name} {wrong}.")


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
    """Why torch.export raised this error; `again` exports once more.

    First the model itself is run: on its example, then on one sample more.
    """
    samples, program = call.batch_size, is_exported(module)
    made = f"{name} is a program exported for"
    if failed := error_of(call.run, module, call.tensors):
        if program and "Guard" in str(failed):
            return f"{made} other inputs ({_said(failed)}); {_ANEW}."
        advice = _TOKENS if _WHOLE_NUMBERS.search(str(failed)) else _ANOTHER_EXAMPLE
        return (
            f"{name} does not run on its example, {call.shapes()}{_line(failed)}: {_said(failed)}. "
            f"{advice}."
        )
    if failed := error_of(call.run, module, call.of_size(samples + 1)):
        if program:
            return f"{made} {samples} samples only; {_ANEW}."
        axes = (f"axis {axis} of {said} {tuple(x.shape)}" for said, x, axis in call.batched)
        return (
            f"{name} runs on its example but not with {samples + 1} instead of {samples} along "
            f"{', '.join(axes)}{_line(failed)}: {_said(failed)}. So this is not a free batch "
            "dimension: give example_inputs as (batch, ...), say batch_axes if the batch is "
            "another axis, or let that line take any number of samples."
        )
    if "Constraints violated" not in str(error):
        told, line = f"{type(error).__name__}: {error}", _line(error)
        fitting = (words for pattern, words in _OPERATIONS if re.search(pattern, told))
        words = next(fitting, _IN_A_LINE if line else _IN_TORCH)
        return f"{name} {words.format(line=line, said=_said(error))}."
    if program:
        return f"{made} certain numbers of samples only; {_ANEW}."
    guards = [(text, line) for text, line in _guards(again) if line]
    where = guards[-1][1] if guards else ""
    if "constant" in str(error):
        where = next((line for text, line in guards if text.startswith("Eq(")), where)
        return (
            f"{name} fixes the number of samples to {samples}{where}: it goes through the "
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
    lines = (*filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return lines[0][:_LONGEST].rstrip(".: ")


def _line(error: Exception) -> str:
    return users_line(traceback.extract_tb(error.__traceback__))
