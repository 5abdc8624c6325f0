"""The only file with a clock: a captured model goes in, its times on this device come out.

One stamped pass takes the time of every cut; `rounds` runs it in random order with plain passes.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

from dscwb.capturing.captured import CapturedModel
from dscwb.capturing.precision import tf32 as with_tf32
from dscwb.measuring import slices
from dscwb.measuring.checkpoint import INTERRUPTED, Checkpoint, alone
from dscwb.measuring.compiled import CompiledRounds, compiler_named
from dscwb.measuring.copies import ladder, make_copier, measure_copies
from dscwb.measuring.machine import describe
from dscwb.measuring.nvml import GpuMonitor
from dscwb.measuring.record import MIN_PASSES
from dscwb.measuring.rounds import Clock, Plan, Rounds
from dscwb.profiles.passes import NOT_STAMPED, NS, Nanoseconds
from dscwb.profiles.records import Profile, ProfileError, Provenance
from dscwb.profiles.transfers import Transfers

_LOG = logging.getLogger("dscwb")
# Version 2 finds out what stamps cost before it uses them, and lets passes stamp few cuts.
PROTOCOL = "one-pass/2"
EXECUTED_PROTOCOL = "executed-halves/1"
COMPILED_PROTOCOL = "compiled-halves/1"
NS_PER_MS = 1e6
KEEP_EVERY_S = 2.0  # seconds of passes between two writes of the checkpoint
MOST_GAP_S = 60.0  # a longer idle gap before each pass is most likely given in milliseconds
SAMPLE_EVERY_S = 0.1  # seconds of passes between two samples of a GPU's clocks
TF32_SINCE = (8, 0)  # compute capability


class CpuClock:
    """Reads the processor's clock into a list made before the pass starts."""

    def __init__(self, cuts: int, now: Callable[[], int] = time.perf_counter_ns) -> None:
        """For a model with this many cuts; `now` gives nanoseconds."""
        self._cuts, self._now = cuts, now

    def begin(self, wanted: Sequence[bool]) -> None:
        """See `Clock`."""
        self._wanted, self._times = wanted, [NOT_STAMPED] * self._cuts
        self._times[0] = self._now()

    def stamp(self, cut: int) -> None:
        """See `Clock`."""
        if self._wanted[cut]:
            self._times[cut] = self._now()

    def end(self) -> Nanoseconds:
        """See `Clock`."""
        self._times[-1] = self._now()
        times = np.array(self._times, dtype=np.int64)
        return np.where(times == NOT_STAMPED, NOT_STAMPED, times - times[0])


class CudaClock:
    """Records one event a cut on the current stream and waits once, at the end of the pass."""

    def __init__(self, cuts: int, event: Callable[[], Any] | None = None) -> None:
        """Make all events beforehand; `event` makes one, torch's timing event if left out."""
        make = event or (lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        self._events = [make() for _ in range(cuts)]

    def begin(self, wanted: Sequence[bool]) -> None:
        """See `Clock`."""
        self._wanted = wanted
        self._events[0].record()

    def stamp(self, cut: int) -> None:
        """See `Clock`."""
        if self._wanted[cut]:
            self._events[cut].record()

    def end(self) -> Nanoseconds:
        """See `Clock`."""
        first, last = self._events[0], self._events[-1]
        last.record()
        last.synchronize()
        taken = list(zip(self._events, self._wanted, strict=True))[1:]
        times = [round(first.elapsed_time(e) * NS_PER_MS) if w else NOT_STAMPED for e, w in taken]
        return np.array([0, *times], dtype=np.int64)


def profile(
    captured: CapturedModel,
    batch_sizes: Sequence[int] = (1,),
    *,
    threads: int | None = None,
    tf32: bool = False,
    multiprocessors: int | None = None,
    copies: bool | None = None,
    compiler: str | None = None,
    passes: int = 30,
    budget_s: float = 15.0,
    seed: int = 0,
    clock: Clock | None = None,
    progress: bool = False,
    verify: bool = True,
    stamps: bool = True,
    gap_s: float = 0.0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Profile:
    """Measure head and tail of every cut, on the device where the captured model lies.

    What a stamp costs is found out first, at each batch size. Where all stamps together cost more
    than 2 % of a pass, a pass stamps so few cuts that they cost less: those that can be chosen
    first (after blocks, record-low, really run), the others in what time is left, so that some of
    them may have no times (NaN). Where even one stamp costs more than that, only halves are run,
    and only the likeliest cuts have times.

    Passes go on until the 95 % half-widths of T, of the heads that can be chosen and of the model
    error are under 1 % of T. An interrupt (Ctrl-C) ends the measurement early: batch sizes with at
    least ten passes are kept, and the provenance says so; where there are none the interrupt goes
    on to the caller.

    On a GPU the copies of the payloads to and from the host are measured afterwards, and clocks
    are sampled between rounds where nvidia-ml-py is installed. A slice of a GPU stands for another
    machine, whose copies are others: its copies are measured only where `copies` is True.

    Args:
        captured: The model; measured in its own dtype and memory format.
        batch_sizes: Numbers of samples in one pass. Where memory runs out, that batch size and
            those above it become ``oom``.
        threads: CPU threads of torch; as they are set if left out.
        tf32: Let float32 convolutions and matrix products on a GPU round to TF32. Whatever the
            process has set, this holds while measuring and is stated in the provenance.
        multiprocessors: Measure on so many multiprocessors of the GPU, through a CUDA green
            context; on all if left out. The device's name says it: ``8 of 132 multiprocessors``.
        copies: Whether to measure the copies of a GPU; of a whole one, not of a slice, if left out.
        compiler: Backend of torch.compile, ``inductor``, to measure the model compiled. Its inside
            cannot be stamped, so heads and tails of the likeliest cuts are compiled and run each
            for itself (see `compiled.compiled_cuts`), and only these have times. Compiling is not
            timed; a resumed measurement compiles again.
        passes: Least number of passes at each batch size, plain and stamped together; more where
            stamps cost over 2 % and a cut that can be chosen still lacks six. Halves only: twice
            the number of rounds.
        budget_s: Seconds of passes at one batch size after which none beyond `passes` are run,
            except until each cut that can be chosen has one stamp; 0 for no more than `passes` and
            those six stamps need.
        seed: Of the random order, and of the cuts that are verified at random.
        clock: What takes the times; the device's own if left out.
        progress: Show the time left on stderr.
        verify: Also run head and tail of the cuts with record-low payload and of three others on
            their own, for `model_error`: each once within `passes`, then one a round. Without
            meaning where only halves are run.
        stamps: False to run heads and tails of the likeliest cuts only, as with `compiler`.
        gap_s: Seconds of idling before every pass, and before each half: a model that has just
            waited is slower, and in a split both halves wait for each other.
        checkpoint: File that keeps the rounds so far while measuring goes on. If it is there when
            measuring starts and nothing of the conditions has changed, they are not run again. It
            stays at the end: remove it when the profile is saved, and nothing is ever lost. What
            was found there is logged to the logger ``dscwb``.

    Raises:
        ValueError: An argument outside its range, TF32 where there is none, or a number of
            multiprocessors that the device does not offer.
        ProfileError: There is no clock for this device, torch.compile failed, the GPU failed, or
            it has no slices.
    """
    plan = _plan(batch_sizes, passes, budget_s, seed, verify, stamps, gap_s)
    clock = clock or _clock(captured)
    _check_tf32(captured, tf32)
    if copies and captured.device.type != "cuda":
        raise ValueError(
            f"copies is True, but the model lies on {captured.device.type}, where nothing is "
            "copied; leave it out."
        )
    with (
        nullcontext() if checkpoint is None else alone(Path(checkpoint)),
        _fixed_conditions(captured.device, threads, tf32),
        _progress_bar(progress) as bar,
        _monitor(captured.device) as monitor,
        _slice(captured.device, multiprocessors) as part,
    ):
        here = _provenance(captured, compiler, plan, part)
        rounds = _rounds(captured, clock, plan, compiler)
        kept, throttled = _kept(captured, rounds, checkpoint, here)
        transfers, note = None, ""
        try:
            rounds.run(partial(_after_round, bar, rounds, kept, monitor))
            if monitor is not None:
                monitor.sample()  # the GPU is still warm; a short measurement has no other sample
            if copies or (copies is None and multiprocessors is None):
                transfers = _transfers(captured, rounds, clock, seed)
        except KeyboardInterrupt:
            if kept is not None:
                kept.keep(rounds.so_far(), monitor.throttled() if monitor else ())
            if all(passes.oom for passes in rounds.measured()):
                raise
            note = INTERRUPTED
        provenance = _finished(here, note, monitor, throttled)
        if kept is not None and not note:
            kept.keep(rounds.so_far(), monitor.throttled() if monitor else ())
    return Profile(captured.graph, provenance, rounds.measured(), transfers=transfers)


def _rounds(captured: CapturedModel, clock: Clock, plan: Plan, compiler: str | None) -> Rounds:
    if compiler is None:
        return Rounds(captured, clock, plan)
    return CompiledRounds(captured, clock, plan, compiler_named(compiler))


def _provenance(
    captured: CapturedModel, compiler: str | None, plan: Plan, part: tuple[str, str]
) -> Provenance:
    """Under the present conditions, before anything has been measured."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    protocol = PROTOCOL if plan.stamps else EXECUTED_PROTOCOL
    words, how = part
    notes = (how, "" if plan.stamps or compiler else "halves run apart")
    if compiler:
        protocol = COMPILED_PROTOCOL
    note = ", ".join(one for one in notes if one)
    here = describe(captured, protocol, date, note, compiler=compiler or "", part=words)
    return replace(here, gap_s=plan.gap_s)


def _finished(
    here: Provenance, note: str, monitor: GpuMonitor | None, throttled: tuple[str, ...]
) -> Provenance:
    """The provenance with what is known only after measuring.

    Args:
        here: As it was before.
        note: To be added to its own.
        monitor: What has sampled the GPU.
        throttled: What held the clocks down in the rounds that were taken over.
    """
    notes = ", ".join(part for part in (here.note, note) if part)
    if monitor is None:
        return replace(here, note=notes)
    names = tuple(dict.fromkeys((*throttled, *monitor.throttled())))
    return replace(here, note=notes, clocks=monitor.in_words(), throttled=names)


def _kept(
    captured: CapturedModel,
    rounds: Rounds,
    path: str | os.PathLike[str] | None,
    here: Provenance,
) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """The checkpoint, if one is wanted, after its rounds have been taken over.

    Beside it what held the clocks down in these rounds.
    """
    if path is None:
        return None, ()
    kept = Checkpoint(Path(path), captured.graph, here)
    found = kept.resume()
    if found.words:
        _LOG.info("%s: %s", kept.path, found.words)
    rounds.resume(found.passes)
    return kept, found.throttled


def _transfers(
    captured: CapturedModel, rounds: Rounds, clock: Clock, seed: int
) -> Transfers | None:
    """Times of the payloads' copies; None on a CPU, and where memory holds not even one."""
    sizes = [p.batch_size for p in rounds.measured() if not p.oom]
    if captured.device.type != "cuda" or not sizes:
        return None
    for record in rounds.records:
        record.inputs = ()
    torch.cuda.empty_cache()
    steps = ladder(captured.graph, sizes)
    copier, fitting = make_copier(captured.device, steps)
    if fitting < len(steps):
        _LOG.warning(
            "No memory to measure copies of more than %d of %d sizes.", fitting, len(steps)
        )
    if copier is None:
        return None
    rng = np.random.default_rng(seed)
    return measure_copies(copier, steps[:fitting], clock, len(captured.graph.layers) + 1, rng)


def _plan(
    batch_sizes: Sequence[int],
    passes: int,
    budget_s: float,
    seed: int,
    verify: bool,
    stamps: bool,
    gap_s: float,
) -> Plan:
    sizes = tuple(sorted(set(batch_sizes)))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"batch_sizes is {list(batch_sizes)}; give whole numbers from 1.")
    if passes < MIN_PASSES:
        raise ValueError(f"passes is {passes}; give at least {MIN_PASSES}.")
    if not budget_s >= 0:
        raise ValueError(f"budget_s is {budget_s}; give seconds, 0 for exactly `passes`.")
    if not 0 <= gap_s <= MOST_GAP_S:
        raise ValueError(
            f"gap_s is {gap_s}; give seconds from 0 to {MOST_GAP_S:g}, such as 0.02 for 20 ms."
        )
    return Plan(sizes, math.ceil(passes / 2), budget_s / NS, verify and stamps, seed, gap_s, stamps)


def _clock(captured: CapturedModel) -> Clock:
    cuts = len(captured.graph.layers) + 1
    if captured.device.type == "cpu":
        return CpuClock(cuts)
    if captured.device.type == "cuda":
        return CudaClock(cuts)
    raise ProfileError(
        f"There is no clock for {captured.device.type!r}; capture the model on cpu or cuda."
    )


def _check_tf32(captured: CapturedModel, wanted: bool) -> None:
    """Refuse TF32 where it means nothing."""
    if not wanted:
        return
    device = captured.device
    if device.type != "cuda":
        raise ValueError(
            f"tf32 is True, but the model lies on {device.type}, and TF32 is of NVIDIA GPUs; leave "
            "it out or capture the model on cuda."
        )
    if captured.dtype != "float32":
        raise ValueError(
            f"tf32 is True, but the model is {captured.dtype}, and TF32 rounds float32; leave it "
            "out or capture the model in float32."
        )
    if (has := torch.cuda.get_device_capability(device)) < TF32_SINCE:
        raise ValueError(
            f"tf32 is True, but {torch.cuda.get_device_name(device)} (compute capability "
            f"{has[0]}.{has[1]}) has no TF32, which came with 8.0; leave it out."
        )


@contextmanager
def _fixed_conditions(device: torch.device, threads: int | None, tf32: bool) -> Iterator[None]:
    """Inference mode, this many CPU threads, TF32 or not, no garbage collector; then all as before.

    On a CPU the settings of TF32 are left alone.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; give at least 1.")
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    gc.disable()
    torch.set_num_threads(threads or threads_before)
    try:
        with torch.inference_mode(), ExitStack() as on_gpu:
            if device.type == "cuda":
                on_gpu.enter_context(torch.cuda.device(device))
                on_gpu.enter_context(with_tf32(tf32))
            yield
    finally:
        torch.set_num_threads(threads_before)
        if collecting:
            gc.enable()


@contextmanager
def _slice(device: torch.device, multiprocessors: int | None) -> Iterator[tuple[str, str]]:
    """What of the device does the work, in words, and how that is done; nothing for all of it."""
    if multiprocessors is None:
        yield "", ""
        return
    words = slices.in_words(device, multiprocessors)
    with slices.multiprocessors(device, multiprocessors) as how:
        yield words, how


@contextmanager
def _monitor(device: torch.device) -> Iterator[GpuMonitor | None]:
    """What samples the GPU; None on a CPU."""
    if device.type != "cuda":
        yield None
        return
    monitor = GpuMonitor(str(torch.cuda.get_device_properties(device).uuid))
    try:
        yield monitor
    finally:
        monitor.close()


def _progress_bar(progress: bool) -> tqdm[NoReturn]:
    """A bar over seconds of passes; how many there will be turns out only as they go."""
    left = "{l_bar}{bar}| {elapsed} so far, at most {remaining} left"
    return tqdm(total=1.0, desc="measuring", bar_format=left, disable=not progress)


def _after_round(
    bar: tqdm[NoReturn],
    rounds: Rounds,
    kept: Checkpoint | None,
    monitor: GpuMonitor | None,
    spent_s: float,
    left_s: float,
) -> None:
    bar.total = spent_s + left_s
    if monitor is not None and bar.n // SAMPLE_EVERY_S < spent_s // SAMPLE_EVERY_S:
        monitor.sample()
    if kept is not None and bar.n // KEEP_EVERY_S < spent_s // KEEP_EVERY_S:
        kept.keep(rounds.so_far(), monitor.throttled() if monitor else ())
    bar.n = spent_s  # a disabled bar counts nothing itself
    bar.update(0)
