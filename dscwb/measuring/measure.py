"""Measuring a captured model: the times of every head and tail on this device, as a profile.

One stamped pass takes the time of every cut; `rounds` runs it in random order with plain passes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from dscwb.capturing.captured import CapturedModel
from dscwb.capturing.precision import tf32 as with_tf32
from dscwb.measuring.checkpoint import INTERRUPTED, Checkpoint, alone
from dscwb.measuring.clocks import Clock, clock_for
from dscwb.measuring.gpu import GpuMonitor, copies_of_payloads, slice_of
from dscwb.measuring.provenance import describe
from dscwb.measuring.rounds import Compiler, Plan, Rounds
from dscwb.profiles.records import Profile, Provenance

# Version 2 finds out what stamps cost before it uses them, and lets passes stamp few cuts.
PROTOCOL = "one-pass/2"
EXECUTED_PROTOCOL = "executed-halves/1"
COMPILED_PROTOCOL = "compiled-halves/1"
KEEP_EVERY_S = 2.0  # seconds of passes between two writes of the checkpoint
SAMPLE_EVERY_S = 0.1  # seconds of passes between two samples of a GPU's clocks
TF32_SINCE = (8, 0)  # compute capability
# Over seconds of passes; how many there will be turns out only as they go.
BAR = "{l_bar}{bar}| {elapsed} so far, at most {remaining} left"


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
        batch_sizes: Samples in one pass. Where memory runs out, that batch size and those above it
            become ``oom``.
        threads: CPU threads of torch; as they are set if left out.
        tf32: Let float32 convolutions and matrix products on a GPU round to TF32. Whatever the
            process has set, this holds while measuring and is stated in the provenance.
        multiprocessors: Measure on so many multiprocessors of the GPU, through a CUDA green
            context; on all if left out. The device's name says it: ``8 of 132 multiprocessors``.
        copies: Whether to measure the copies of a GPU; of a whole one, not of a slice, if left out.
        compiler: Backend of torch.compile, ``inductor``, to measure the model compiled. Its inside
            cannot be stamped, so it is measured as without `stamps`. Compiling is not timed; a
            resumed measurement compiles again.
        passes: Least number of passes at each batch size, plain and stamped together, or twice the
            number of rounds of halves.
        budget_s: Seconds of passes at one batch size after which none beyond `passes` are run,
            except until each cut that can be chosen has a stamp; 0 for no more than `passes` and
            what it takes to stamp each of these six times.
        seed: Of the random order, and of the cuts that are verified at random.
        clock: What takes the times; the device's own if left out.
        progress: Show the time left on stderr.
        verify: Also run head and tail of the cuts with record-low payload and of three others on
            their own, for `model_error`: each once within `passes`, then one a round.
        stamps: False to run only heads and tails of the likeliest cuts, each for itself; the other
            cuts have no times.
        gap_s: Seconds of idling before every pass, and before each half: a model that has just
            waited is slower, and in a split both halves wait for each other.
        checkpoint: File that keeps the rounds so far. Rounds that are there when measuring starts,
            under the same conditions, are not run again; those of others are set aside. It stays at
            the end: remove it when the profile is saved, and nothing is ever lost. What was found
            there is logged to the logger ``dscwb``.

    Raises:
        ValueError: An argument outside its range, TF32 where there is none, or a number of
            multiprocessors that the device does not offer.
        ProfileError: There is no clock for this device, torch.compile failed, the GPU failed, or
            it has no slices.
    """
    plan = Plan(tuple(sorted(set(batch_sizes))), passes, budget_s, verify, seed, gap_s, stamps)
    device, cuts = captured.device, len(captured.graph.layers) + 1
    clock = clock or clock_for(device, cuts)
    _check_gpu_options(captured, tf32, copies)
    compiling = None if compiler is None else compiler_named(compiler)
    path = None if checkpoint is None else Path(checkpoint)
    with (
        alone(path),
        _fixed_conditions(device, threads, tf32),
        tqdm(total=1.0, desc="measuring", bar_format=BAR, disable=not progress) as bar,
        closing(GpuMonitor(device)) as monitor,
        slice_of(device, multiprocessors) as (part, how),
    ):
        here = describe(
            captured,
            COMPILED_PROTOCOL if compiler else PROTOCOL if stamps else EXECUTED_PROTOCOL,
            compiler=compiler or "",
            part=part,
            notes=(how, "" if stamps or compiler else "halves run apart"),
            gap_s=gap_s,
            driver=monitor.driver,
        )
        rounds, kept = Rounds(captured, clock, plan, compiling), Checkpoint(path, captured.graph)
        if earlier := kept.resume(here):
            rounds.resume(earlier.passes)
        before = dict.fromkeys(earlier.provenance.throttled if earlier else ())

        def conditions() -> Provenance:
            return replace(here, throttled=tuple({**before, **dict.fromkeys(monitor.throttled())}))

        def keep() -> None:
            kept.keep(rounds.so_far(), conditions())

        def after_round(spent_s: float, left_s: float) -> None:
            """Show the time, sample the clocks, keep the rounds: what a pass must not wait for."""
            bar.total = spent_s + left_s
            if bar.n // SAMPLE_EVERY_S < spent_s // SAMPLE_EVERY_S:
                monitor.sample()
            if bar.n // KEEP_EVERY_S < spent_s // KEEP_EVERY_S:
                keep()
            bar.n = spent_s  # a disabled bar counts nothing itself
            bar.update(0)

        transfers, note = None, here.note
        try:
            rounds.run(after_round)
            monitor.sample()  # the GPU is still warm; a short measurement has no other sample
            if copies or (copies is None and multiprocessors is None):
                sizes = rounds.let_go_of_inputs()
                transfers = copies_of_payloads(captured.graph, sizes, device, clock, seed)
        except KeyboardInterrupt:
            keep()
            if all(passes.oom for passes in rounds.measured()):
                raise
            note = ", ".join(filter(None, (note, INTERRUPTED)))
        else:
            keep()
        provenance = replace(conditions(), note=note, clocks=here.clocks or monitor.in_words())
    return Profile(captured.graph, provenance, rounds.measured(), transfers=transfers)


def compiler_named(backend: str) -> Compiler:
    """`torch.compile` with this backend, for one batch size each.

    One graph or an error: what torch.compile does not understand would otherwise run uncompiled
    and nobody would see.

    Raises:
        ValueError: torch knows no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(f"compiler is {backend!r}; torch has {', '.join(known)}.")
    return partial(torch.compile, backend=backend, dynamic=False, fullgraph=True)


def _check_gpu_options(captured: CapturedModel, tf32: bool, copies: bool | None) -> None:
    """Refuse copies and TF32 where they mean nothing."""
    device, wrong = captured.device, ""
    if copies and device.type != "cuda":
        wrong = f"copies is True, but the model lies on {device.type}, where nothing is copied"
    elif tf32 and device.type != "cuda":
        wrong = f"tf32 is True, but the model lies on {device.type}, and TF32 is of NVIDIA GPUs"
    elif tf32 and captured.dtype != "float32":
        wrong = f"tf32 is True, but the model is {captured.dtype}, and TF32 rounds float32"
    elif tf32 and (has := torch.cuda.get_device_capability(device)) < TF32_SINCE:
        chip = f"{torch.cuda.get_device_name(device)} (compute capability {has[0]}.{has[1]})"
        wrong = f"tf32 is True, but {chip} has no TF32, which came with 8.0"
    if wrong:
        raise ValueError(f"{wrong}; leave it out.")


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
