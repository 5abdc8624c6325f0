"""The commands that need a model: `dscwb bottlenecks`, `verify`, `profile` and `import`."""

from __future__ import annotations

import json
import logging
import os
import signal
from argparse import ArgumentTypeError
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import dscwb
from dscwb.cli.options import (
    UNTIL_INPUT_ENDS,
    at_end_of_input,
    command,
    number,
    option,
    say,
    table,
    whole_numbers,
)

if TYPE_CHECKING:
    from dscwb import Profile
    from dscwb.profiles.records import Passes
    from dscwb.profiles.transfers import Transfers

# Heavy libraries are loaded inside the commands, so that --help answers at once.

UNEQUAL = 1  # exit status: head and tail do not give the model's output
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def _profile_file(text: str) -> Path:
    """Refuses, before anything is measured, a name under which nobody would look for a profile."""
    from dscwb.profiles.files import SUFFIX

    path = Path(text)
    if path.suffix != SUFFIX or path.is_dir():
        raise ArgumentTypeError(
            f"is {text!r}, but a profile is a Parquet file: give a name that ends in {SUFFIX}."
        )
    return path


def _cuts(text: str) -> int | None:
    if text != "all" and not (text.isdecimal() and int(text) >= 2):
        raise ArgumentTypeError(f"is {text!r}; give a number from 2 or all.")
    return None if text == "all" else int(text)


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have."""
    import torch

    (kind, _, index), gpus = device.partition(":"), torch.cuda.device_count()
    if not (index or "0").isdecimal() or int(index or 0) >= {"cpu": 1, "cuda": gpus}.get(kind, 0):
        raise ValueError(f"--device is {device!r}; this machine has cpu and {gpus} CUDA GPUs.")


some = number(1, whole=True)
MODEL = option("model", "A timm model, such as efficientnet_b0, or a .pt2 file of torch.export.")
IMAGE_SIZE = option("--image-size", "Side of the image in pixels; else the model's own.", some)
DEVICE = option("--device", "cpu, cuda or cuda:1.", default="cpu")
DTYPES = "float32", "float16", "bfloat16"
DTYPE = option("--dtype", "Of weights and activations.", DTYPES, "float32")
THREADS = option("--threads", "CPU threads; torch's own choice if left out.", some)
OUTPUT = option("-o --output", "Profile to write.", _profile_file, required=True)


@command(
    MODEL,
    IMAGE_SIZE,
    option("--granularity", "Cuts after blocks or operations.", ("block", "op"), "block"),
    option("--json", "Print one JSON object.", bool, False, dest="as_json"),
)
def bottlenecks(model: str, image_size: int | None, granularity: Any, as_json: bool) -> None:
    """List the natural and compressive bottlenecks of a model.

    The ratio is what crosses the cut over the model's input, in elements.

    Examples:
      dscwb bottlenecks efficientnet_b0
      dscwb bottlenecks resnet50 --image-size 384 --json
    """
    graph = dscwb.capture(model, image_size, check=False).graph
    found = dscwb.bottlenecks(graph, granularity)
    shown = found[[granularity, "name", "ratio"]]
    if as_json:
        told = {
            "model": graph.model,
            "input_shape": list(graph.inputs[0].shape[1:]),
            f"{granularity}s": len(found),
            "natural": int(found.natural.sum()),
            "compressive": shown[found.compressive].to_dict("records"),
        }
        print(json.dumps(told, indent=2))
        return
    kinds = found.natural.map({True: "natural", False: ""}).mask(found.compressive, "compressive")
    say(
        shown.assign(kind=kinds).to_string(index=False),
        f"{model}: {len(found)} {granularity}s, {found.natural.sum()} natural and "
        f"{found.compressive.sum()} compressive bottlenecks",
    )


@command(
    MODEL,
    option("--cuts", "Number of cuts, spread evenly, and those after blocks; or all.", _cuts, "12"),
    option("--batch-size", "Samples in one pass.", some, 3),
    IMAGE_SIZE,
)
def verify(model: str, cuts: int | None, batch_size: int, image_size: int | None) -> int:
    """Check that head and tail give the whole model's output, bit by bit.

    Exits with status 1 where they do not.

    Examples:
      dscwb verify mobilenetv3_small_100
      dscwb verify vit_tiny_patch16_224 --cuts all --batch-size 5
    """
    captured = dscwb.capture(model, image_size, check=False)
    every, ends = dscwb.all_cuts(captured.graph), [one.end for one in captured.graph.blocks]
    spread = np.linspace(0, len(every) - 1, cuts or len(every)).round().astype(int)
    tried = [every[k] for k in sorted({*spread, *ends})]
    unequal = dscwb.verify(captured, tried, batch_size)
    for cut, difference in unequal:
        say(f"cut {cut.index} after {cut.name}: differs by {difference:.3g} of the largest value")
    say(f"{len(tried) - len(unequal)} of {len(tried)} cuts equal")
    return UNEQUAL if unequal else 0


@command(
    MODEL,
    OUTPUT,
    option("--batch-sizes", "A list or ranges: 1,2,4 or 1:8 or 1:8,16.", whole_numbers, "1"),
    DEVICE,
    IMAGE_SIZE,
    DTYPE,
    option("--channels-last", "Channels-last memory format.", bool, False),
    THREADS,
    option("--tf32", "Let float32 on an NVIDIA GPU round to TF32.", bool, False),
    option("--multiprocessors", "Measure on a slice of the GPU: so many of its own.", some),
    option("--copies", "Measure copies between GPU and host; else of a whole GPU only.", bool),
    option("--compile", "Run only the likeliest halves, through torch.compile.", bool, False),
    option("--passes", "Least number of passes at a batch size.", some, 30),
    option("--budget", "Seconds a batch size may take.", number(0), 15.0, dest="budget_s"),
    option("--check", "Also run some heads and tails on their own.", bool, True, dest="verify"),
    option("--stamps", "Stamp every cut in a pass; else run the likeliest halves.", bool, True),
    option("--gap-ms", "Idle before every pass, ms.", number(0, unit=1e-3), "0", dest="gap_s"),
    UNTIL_INPUT_ENDS,
)
def profile(
    model: str,
    output: Path,
    batch_sizes: list[int],
    device: str,
    until_input_ends: bool,
    **how: Any,
) -> int:
    """Measure head and tail of every cut on this machine.

    A batch size that does not fit into memory is marked oom. After an interruption, Ctrl-C or
    worse, the same command goes on where it was; until then FILE.unfinished holds what was run. It
    adds further batch sizes to a finished file. What it cannot go on from, it sets aside.

    Examples:
      dscwb profile efficientnet_b0 --threads 1 --batch-sizes 1,2,4,8 -o b0.parquet
      dscwb profile resnet50 --device cuda --dtype float16 --batch-sizes 1:62 -o resnet50.parquet
      dscwb profile resnet50 --device cuda --tf32 --compile -o resnet50-compiled.parquet
      dscwb profile resnet50 --device cuda --multiprocessors 8 -o resnet50-slice.parquet
    """
    import torch

    from dscwb.measuring.checkpoint import save_over, take_up

    if until_input_ends:
        at_end_of_input(partial(os.kill, os.getpid(), signal.SIGTERM))
    how["compiler"] = "inductor" if how.pop("compile") else None
    captured_as = {name: how.pop(name) for name in ("image_size", "dtype", "channels_last")}
    check_device(device)
    dtype = captured_as["dtype"]
    if how["tf32"] and (device == "cpu" or dtype != "float32"):
        raise ValueError(
            f"--tf32 rounds float32 on NVIDIA GPUs, but this is {dtype} on {device}; leave it out, "
            "or give --device cuda and --dtype float32."
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    unfinished = output.with_name(f"{output.name}.unfinished")
    earlier = take_up(output, unfinished)
    captured_as |= {"dtype": getattr(torch, dtype), "device": device}
    captured = dscwb.capture(model, captured_as.pop("image_size"), **captured_as)
    measured = dscwb.profile(captured, batch_sizes, progress=True, checkpoint=unfinished, **how)
    kept = save_over(output, measured, earlier)
    _show(measured)
    say(kept)
    if "interrupted" in measured.provenance.note:
        return INTERRUPTED
    unfinished.unlink(missing_ok=True)
    return 0


@command(
    option("table", "split,batch_size,head_s,tail_s,payload_bytes; or layer times.", Path),
    option("--device", "What measured it, in words.", required=True),
    OUTPUT,
    option("--model", "A timm model: whose blocks the splits name, or which was timed."),
    IMAGE_SIZE,
    option("--dtype", "Element type that payload_bytes counts.", default="float32"),
    option("--batch-size", "Of layer times, which lack it.", some, 1),
)
def import_(table: Path, output: Path, model: str, image_size: int | None, **told: Any) -> None:
    """Make a profile of numbers measured by other means.

    Splits are listed from input to output; input is full offloading, output no offloading. Times
    are in seconds (head_s) or head_ms, head_us, payloads in bytes of the whole batch. Rows may
    repeat. Layer times are taken from trtexec --exportProfile, TFLite's benchmark_model, ONNX
    Runtime, torch.profiler (CPU) and Scission.

    Examples:
      dscwb import orin.csv --device "Jetson Orin Nano, TensorRT 10" -o orin.parquet
      dscwb import layers.json --model resnet50 --device "Orin, TensorRT 10" -o orin.parquet
    """
    from dscwb.profiles.imported import models_of

    named = model in models_of(table)  # in the file itself
    graph = dscwb.capture(model, image_size, check=False).graph if model and not named else None
    profile = dscwb.profile_from_csv(table, graph=graph, model=model, **told)
    dscwb.save_profile(profile, output)
    sizes = ", ".join(map(str, profile.batch_sizes))
    say(f"{profile.graph.model}, batch sizes {sizes}, on {profile.provenance.label()}")
    say(f"saved {output}")


COLUMNS = "batch", "T", "IQR/T", "passes", "stamped/plain (95 %)", "model error: head, tail; worst"


def _show(profile: Profile) -> None:
    """One line a batch size: the times, and how far to believe them."""
    told = profile.provenance
    say(f"{profile.graph.model} on {told.label()}, {profile.cuts} cuts")
    say(table((*COLUMNS, ""), [_row(profile, passes) for passes in profile.passes]))
    for passes in profile.passes:
        if not passes.oom and (caution := profile.caution(passes.batch_size)):
            say(f"batch size {passes.batch_size} is {caution}")
    if profile.transfers is not None:
        say(_copies(profile.transfers))
    if told.throttled:
        say(f"THROTTLED by {' and '.join(told.throttled)}: times may be too long")


def _row(profile: Profile, passes: Passes) -> tuple[object, ...]:
    """T of one batch size, what stamping cost, and how far halves really run lie from it."""
    from dscwb.profiles.library import calibration, model_error
    from dscwb.units import format_percent, format_seconds

    size, status = passes.batch_size, profile.status(passes.batch_size)
    if passes.oom:
        return size, *"-----", status
    times = size, format_seconds(profile.total_s(size)), format_percent(profile.spread(size))
    if not len(passes.stamped_ns):
        run = f"{len(passes.separate) - 2} cuts run"
        return *times, passes.rounds, "none stamped", run, status
    error, (ratio, low, high) = model_error(profile, size), calibration(profile, size)
    some = "" if passes.stamps_per_pass == profile.cuts - 2 else f", {passes.stamps_per_pass} cuts"
    shares = (error.head, error.head_half_width, error.tail, error.tail_half_width)
    worst = max(error.head_worst, error.tail_worst)
    head, about_head, tail, about_tail, most = (
        format_percent(round(share, 4) + 0.0) for share in (*shares, worst)
    )
    checked = f"{head} ± {about_head}, {tail} ± {about_tail}; {most}"
    stamped = f"{ratio:.3f} ({low:.3f}–{high:.3f}){some}"
    return *times, 2 * passes.rounds, stamped, checked if error.cuts else "not checked", status


def _copies(transfers: Transfers) -> str:
    """Median times of the smallest and the largest copy, in both directions."""
    from dscwb.profiles.records import NS
    from dscwb.units import format_bytes, format_seconds

    both = (np.median(ns, axis=1) * NS for ns in (transfers.to_host_ns, transfers.to_device_ns))
    rows = [*zip(transfers.sizes_bytes, *both, strict=True)]
    ends = ", ".join(
        f"{format_bytes(size)} in {format_seconds(out)} to the host and {format_seconds(back)} to "
        "the device"
        for size, out, back in (rows[0], rows[-1])
    )
    return f"copies through {transfers.host_memory} memory: {ends}"
