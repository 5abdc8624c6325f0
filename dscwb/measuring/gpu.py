"""What only a GPU has: slices of its multiprocessors, clocks of its own, copies to its host.

A slice stands for a slower machine of the same kind, or for what a shared card leaves to one user.
Clocks are told by nvidia-ml-py (``pip install dscwb[gpu]``); without it they are "not sampled".
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from numpy.polynomial.polynomial import polyval
from numpy.random import Generator

from dscwb.cuts import memory_terms
from dscwb.graph import ModelGraph
from dscwb.measuring.clocks import Clock
from dscwb.measuring.failures import is_out_of_memory
from dscwb.profiles.records import ProfileError
from dscwb.profiles.transfers import Transfers

_LOG = logging.getLogger("dscwb")
REPEATS = 15  # of each size in each direction; medians are kept by the profile
WARM_REPEATS = 3  # run before them and thrown away
# Fewest multiprocessors and the step between sizes, by major compute capability, as the CUDA driver
# API states them for cuDevSmResourceSplitByCount; later chips are like 9.
_SIZES = {6: (1, 1), 7: (2, 2), 8: (4, 2), 9: (8, 8)}
# Bits of nvmlClocksEventReasons (nvml.h), formerly nvmlClocksThrottleReasons.
_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clocks",
}
# The others are how somebody set the GPU up, or that it had nothing to do between two rounds.
_SLOWED = 0x004 | 0x008 | 0x020 | 0x040 | 0x080
# What is sampled: NVML's function, its second argument, how many of its units make one of ours.
_QUESTIONS = {
    "SM": ("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM", 1, "MHz"),
    "memory": ("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM", 1, "MHz"),
    "temperature": ("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU", 1, "°C"),
    "power": ("nvmlDeviceGetPowerUsage", "", 1000, "W"),
}
Copy = Callable[[int], object]
"""Starts a copy of so many bytes."""


@contextmanager
def slice_of(device: torch.device, number: int | None) -> Iterator[tuple[str, str]]:
    """All work inside runs on so many multiprocessors of the GPU and on no others.

    The rest stays that of the whole card: its clocks, its cache and its memory. What waits for the
    work has to wait for an event or the current stream: ``torch.cuda.synchronize()`` does not cover
    the stream of a green context.

    Yields:
        What of the device does the work, and how that is done, in words; empty where `number` is
        None, for all of it.

    Raises:
        ValueError: No GPU, a number that it does not offer, or a slice of another size than asked.
        ProfileError: The GPU, its driver or the installed packages have no green contexts.
    """
    if number is None:
        yield "", ""
        return
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
        steps = f" in steps of {step}" if step > 1 else ""
        offers = f"slices of {fewest} to {most}{steps}" if most >= fewest else "no slices"
        raise ValueError(
            f"multiprocessors is {number}; {chip.name} has {of} and offers {offers}. "
            "Leave it out to measure the whole GPU."
        )
    torch.cuda.synchronize(device)  # weights and inputs were written on another stream
    try:
        from torch.cuda.green_contexts import GreenContext

        context = GreenContext.create(num_sms=number, device_id=device.index or 0)
        stream = context.Stream()
    except (ImportError, AttributeError, RuntimeError) as error:
        said = str(error).strip().split("\n")[0].rstrip(".")
        raise ProfileError(
            f"No slice of {number} multiprocessors can be made here ({said}); it takes an NVIDIA "
            "GPU on Linux, a driver for CUDA 12.8 or newer and the package cuda-bindings (pip "
            "install cuda-bindings); without them leave multiprocessors out to measure the whole "
            "GPU."
        ) from None
    granted = _granted(context, stream)
    if granted not in (None, number):
        raise ValueError(
            f"multiprocessors is {number}, but the driver made a slice of {granted}; give "
            f"{granted}, or another number."
        )
    untold = "" if granted else ", as asked for: the driver does not tell the number"
    with torch.cuda.stream(stream):
        try:
            yield (
                f"{number} of {of} multiprocessors",
                f"CUDA green context of {number} multiprocessors{untold}",
            )
        finally:
            stream.synchronize()


def _granted(context: Any, stream: Any) -> int | None:
    """How many multiprocessors the driver gave; None where it does not tell.

    Newer versions of torch know it, older ones leave the question to cuda-bindings.
    """
    if known := getattr(context, "sm_count", None):
        return int(known)
    with suppress(ImportError, AttributeError, RuntimeError):
        from cuda.bindings import driver

        error, green = driver.cuStreamGetGreenCtx(driver.CUstream(stream.cuda_stream))
        if error == driver.CUresult.CUDA_SUCCESS:
            kind = driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM
            error, resource = driver.cuGreenCtxGetDevResource(green, kind)
            return int(resource.sm.smCount) if error == driver.CUresult.CUDA_SUCCESS else None
    return None


class GpuMonitor:
    """Samples one GPU, between rounds: asking takes milliseconds, so never inside a timed pass.

    What this GPU or its driver does not tell is left out: sampling never costs a measurement. A
    CPU has no samples.

    Attributes:
        driver: Version of the driver; empty where nobody tells it.
    """

    def __init__(self, device: torch.device) -> None:
        """Open NVML for this device."""
        self.driver = ""
        self._samples: dict[str, list[float]] = {name: [] for name in _QUESTIONS}
        self._reasons = 0
        self._nvml: Any = None
        self._gpu: Any = None
        if device.type != "cuda":
            return
        uuid = torch.cuda.get_device_properties(device).uuid
        # The library, its driver's part or this GPU may be missing: whatever it is that fails.
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self.driver = str(pynvml.nvmlSystemGetDriverVersion())

    def sample(self) -> None:
        """Ask once for clocks, temperature, power, and what limits the clocks."""
        if self._gpu is None:
            return
        for name, (ask, what, in_one, _) in _QUESTIONS.items():
            with suppress(Exception):
                more = [getattr(self._nvml, what)] if what else []
                told = float(getattr(self._nvml, ask)(self._gpu, *more))
                self._samples[name].append(told / in_one)
        for word in ("Event", "Throttle"):  # old libraries and drivers know the second only
            with suppress(Exception):
                ask = f"nvmlDeviceGetCurrentClocks{word}Reasons"
                self._reasons |= getattr(self._nvml, ask)(self._gpu)
                break

    def in_words(self) -> str:
        """Lowest, median and highest of what was sampled, and what limited the clocks."""
        parts = [
            f"{name} {min(x):.0f}/{statistics.median(x):.0f}/{max(x):.0f} {_QUESTIONS[name][-1]}"
            for name, x in self._samples.items()
            if x
        ]
        if not parts:
            return "not sampled"
        limits = f", limited by {' and '.join(names)}" if (names := _names(self._reasons)) else ""
        return f"{', '.join(parts)} (lowest/median/highest){limits}"

    def throttled(self) -> tuple[str, ...]:
        """What slowed the GPU down for heat or power, by name; empty where nothing did."""
        return _names(self._reasons & _SLOWED)

    def close(self) -> None:
        """Let NVML go."""
        if self._nvml is not None:
            with suppress(Exception):
                self._nvml.nvmlShutdown()
        self._nvml = self._gpu = None


def _names(reasons: int) -> tuple[str, ...]:
    known = tuple(name for bit, name in _REASONS.items() if reasons & bit)
    return known or ((f"reasons {reasons:#x}",) if reasons else ())


def pinned_copies(device: torch.device, largest_bytes: int) -> tuple[Copy, Copy]:
    """Copies to the host and to the GPU through page-locked memory, allocated once.

    This is what a program written for speed does. From ordinary memory, as ``tensor.cpu()`` has it,
    a copy takes longer: the driver copies once more, through page-locked memory of its own.
    """
    there = torch.empty(largest_bytes, dtype=torch.uint8, device=device)
    here = torch.empty(largest_bytes, dtype=torch.uint8, pin_memory=True)
    return (
        lambda size: here[:size].copy_(there[:size], non_blocking=True),
        lambda size: there[:size].copy_(here[:size], non_blocking=True),
    )


def copies_of_payloads(
    graph: ModelGraph, batch_sizes: Sequence[int], device: torch.device, clock: Clock, seed: int
) -> Transfers | None:
    """Times of the copies of what a cut may send; None on a CPU, and where memory holds no copy."""
    if device.type != "cuda" or not batch_sizes:
        return None
    torch.cuda.empty_cache()
    steps, directions = ladder(graph, batch_sizes), None
    fitting = len(steps)
    while fitting and directions is None:
        try:
            directions = pinned_copies(device, steps[fitting - 1])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fitting -= 1
    if fitting < len(steps):
        words = "No memory to measure copies of more than %d of %d sizes."
        _LOG.warning(words, fitting, len(steps))
    if directions is None:
        return None
    cuts, rng = len(graph.layers) + 1, np.random.default_rng(seed)
    return measure_copies(directions, steps[:fitting], clock, cuts, rng)


def ladder(graph: ModelGraph, batch_sizes: Sequence[int]) -> list[int]:
    """Sizes to measure: all powers of two between the smallest and the largest payload, and these.

    Payloads of every cut but the last, the input among them, in the tensors' own element types.
    """
    sizes = polyval(batch_sizes, memory_terms(graph)[0][:, :-1])
    payloads = {int(n) for n in sizes.ravel() if n > 0}
    if not payloads:
        return []
    low, high = min(payloads), max(payloads)
    powers = (2**k for k in range(low.bit_length(), high.bit_length()))
    return sorted({low, *(n for n in powers if low < n < high), high})


def measure_copies(
    directions: tuple[Copy, Copy], sizes: Sequence[int], clock: Clock, cuts: int, rng: Generator
) -> Transfers:
    """Time copies of all sizes (bytes, ascending) in both directions, in random order each time.

    The clock is one for a model of so many cuts; only its two ends are stamped.
    """
    times = np.zeros((len(directions), len(sizes), REPEATS), dtype=np.int64)
    ends_only = [True, *[False] * (cuts - 2), True]
    for repeat in range(-WARM_REPEATS, REPEATS):
        for job in rng.permutation(len(directions) * len(sizes)):
            way, size = divmod(int(job), len(sizes))
            clock.begin(ends_only)
            directions[way](sizes[size])
            taken_ns = clock.end()[-1]
            if repeat >= 0:
                times[way, size, repeat] = max(1, taken_ns)  # an event's clock ticks in half a µs
    return Transfers(np.array(sizes, dtype=np.int64), times[0], times[1])
