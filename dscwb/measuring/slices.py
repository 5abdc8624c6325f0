"""A slice of a GPU: some of its multiprocessors do all the work, through a CUDA green context.

It stands for a slower machine of the same kind, or for what a shared card leaves to one user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dscwb.profiles.records import ProfileError

# Fewest multiprocessors and the step between sizes, by major compute capability, as the CUDA driver
# API states them for cuDevSmResourceSplitByCount; later chips are like 9.
_SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2), 9: (8, 8)}
_REMEDY = (
    "it takes an NVIDIA GPU on Linux, a driver for CUDA 12.8 or newer and the package "
    "cuda-bindings (pip install cuda-bindings); without them leave multiprocessors out to measure "
    "the whole GPU"
)


def in_words(device: torch.device, number: int) -> str:
    """``8 of 132 multiprocessors``.

    Raises:
        ValueError: No GPU, or a number that this GPU does not offer; says which it does.
    """
    if device.type != "cuda":
        raise ValueError(
            f"multiprocessors is {number}, but the model lies on {device.type}, which has none; "
            "leave it out, or capture the model on cuda."
        )
    chip = torch.cuda.get_device_properties(device)
    fewest, step = _SIZES[min(max(chip.major, min(_SIZES)), max(_SIZES))]
    of = chip.multi_processor_count
    most = of // step * step
    if number % step or not fewest <= number <= most:
        possible = f"slices of {fewest} to {most}" + (f" in steps of {step}" if step > 1 else "")
        if most < fewest:
            possible = "no slices"
        raise ValueError(
            f"multiprocessors is {number}; {chip.name} has {of} and offers {possible}. "
            "Leave it out to measure the whole GPU."
        )
    return f"{number} of {of} multiprocessors"


@contextmanager
def slice_of(device: torch.device, number: int | None) -> Iterator[tuple[str, str]]:
    """All work inside runs on so many multiprocessors of the GPU and on no others.

    The rest stays that of the whole card: its clocks, its cache and its memory. What waits for the
    work has to wait for an event or the current stream: ``torch.cuda.synchronize()`` does not cover
    the stream of a green context.

    Args:
        device: A GPU.
        number: As `in_words` takes it; None for the whole device.

    Yields:
        What of the device does the work, and how that is done, in words; empty for all of it.

    Raises:
        ValueError: As `in_words`, or the driver made a slice of another size.
        ProfileError: The GPU, its driver or the installed packages have no green contexts.
    """
    if number is None:
        yield "", ""
        return
    part = in_words(device, number)
    torch.cuda.synchronize(device)  # weights and inputs were written on another stream
    context, stream = _made(device, number)
    granted = _granted(context, stream)
    if granted not in (None, number):
        raise ValueError(
            f"multiprocessors is {number}, but the driver made a slice of {granted}; give "
            f"{granted}, or another number."
        )
    untold = "" if granted else ", as asked for: the driver does not tell the number"
    with torch.cuda.stream(stream):
        try:
            yield part, f"CUDA green context of {number} multiprocessors{untold}"
        finally:
            stream.synchronize()


def _made(device: torch.device, number: int) -> tuple[Any, Any]:
    """The green context, which lives as long as somebody holds it, and a stream in it."""
    try:
        from torch.cuda.green_contexts import GreenContext

        context = GreenContext.create(num_sms=number, device_id=device.index or 0)
        return context, context.Stream()
    except (ImportError, AttributeError, RuntimeError) as error:
        said = str(error).strip().split("\n")[0].rstrip(".")
        raise ProfileError(
            f"No slice of {number} multiprocessors can be made here ({said}); {_REMEDY}."
        ) from None


def _granted(context: Any, stream: Any) -> int | None:
    """How many multiprocessors the driver gave; None where it does not tell.

    Newer versions of torch know it, older ones leave the question to cuda-bindings.
    """
    if known := getattr(context, "sm_count", None):
        return int(known)
    try:
        from cuda.bindings import driver

        error, green = driver.cuStreamGetGreenCtx(driver.CUstream(stream.cuda_stream))
        if error != driver.CUresult.CUDA_SUCCESS:
            return None
        kind = driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM
        error, resource = driver.cuGreenCtxGetDevResource(green, kind)
        return int(resource.sm.smCount) if error == driver.CUresult.CUDA_SUCCESS else None
    except (ImportError, AttributeError, RuntimeError):
        return None
