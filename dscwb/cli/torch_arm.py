"""The commands that need a model: `dscwb bottlenecks`, `verify`, `profile` and `import`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dscwb
from dscwb.cli import options
from dscwb.cli.options import ImageSize, Knob, Model, Output, say

if TYPE_CHECKING:
    from dscwb import Cut, ModelGraph, Profile
    from dscwb.profiles.records import Passes
    from dscwb.profiles.transfers import Transfers

# Heavy libraries are loaded inside the commands, so that --help answers at once.

UNEQUAL = 1  # exit status: head and tail do not give the model's output
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it
MS_PER_S = 1e3
app = typer.Typer(rich_markup_mode=None)


class Granularity(StrEnum):
    """Where to look for cuts."""

    BLOCK = "block"
    OP = "op"


class Dtype(StrEnum):
    """Element type of weights and activations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@app.command()
def bottlenecks(
    model: Model,
    image_size: ImageSize = None,
    granularity: Annotated[Granularity, typer.Option(help="Cuts after blocks or operations.")] = (
        Granularity.BLOCK
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the natural and compressive bottlenecks of a model.

    The ratio is what crosses the cut over the model's input, in elements.

    \b
    Examples:
      dscwb bottlenecks efficientnet_b0
      dscwb bottlenecks resnet50 --image-size 384 --json
    """  # noqa: D301
    graph = dscwb.capture(model, image_size, check=False).graph
    table = dscwb.bottlenecks(graph, granularity.value)
    if as_json:
        lowest = table[table.compressive]
        found = {
            "model": graph.model,
            "input_shape": list(graph.inputs[0].shape[1:]),
            f"{granularity}s": len(table),
            "natural": int(table.natural.sum()),
            "compressive": lowest[[granularity.value, "name", "ratio"]].to_dict("records"),
        }
        print(json.dumps(found, indent=2))
        return
    marks = table.compressive.map({True: "compressive", False: ""})
    kinds = marks.where(table.compressive | ~table.natural, "natural")
    say(
        table[[granularity.value, "name", "ratio"]].assign(kind=kinds).to_string(index=False),
        f"{model}: {len(table)} {granularity.value}s, {table.natural.sum()} natural and "
        f"{table.compressive.sum()} compressive bottlenecks",
    )


@app.command()
def verify(
    model: Model,
    cuts: Annotated[
        str, typer.Option(help="Number of cuts, spread evenly, beside those after blocks; or all.")
    ] = "12",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in one pass.")] = 3,
    image_size: ImageSize = None,
) -> None:
    """Check that head and tail give the whole model's output, bit by bit.

    Exits with status 1 where they do not.

    \b
    Examples:
      dscwb verify mobilenetv3_small_100
      dscwb verify vit_tiny_patch16_224 --cuts all --batch-size 5
    """  # noqa: D301
    if cuts != "all" and not (cuts.isdecimal() and int(cuts) >= 2):
        raise ValueError(f"--cuts is {cuts!r}; give a number from 2 or all.")
    captured = dscwb.capture(model, image_size, check=False)
    tried = _sample(captured.graph, None if cuts == "all" else int(cuts))
    unequal = dscwb.verify(captured, tried, batch_size)
    for cut, difference in unequal:
        say(f"cut {cut.index} after {cut.name}: differs by {difference:.3g} of the largest value")
    say(f"{len(tried) - len(unequal)} of {len(tried)} cuts equal")
    if unequal:
        raise typer.Exit(UNEQUAL)


def _sample(graph: ModelGraph, number: int | None) -> list[Cut]:
    """This many cuts evenly from input to output, and those after blocks; None for all."""
    every = dscwb.all_cuts(graph)
    if number is None:
        return list(every)
    last = len(every) - 1
    spread = {round(i * last / (number - 1)) for i in range(number)}
    return [every[k] for k in sorted(spread | {block.end for block in graph.blocks})]


MEASURING = (
    Knob("threads", "CPU threads; torch's own choice if left out.", int, least=1),
    Knob("tf32", "Let float32 on an NVIDIA GPU round to TF32.", bool, default=False),
    Knob("multiprocessors", "Measure on a slice of the GPU: so many of its own.", int, least=1),
    Knob(
        *("copies", "Measure copies between GPU and host; left out, of a whole GPU only.", bool),
        flag="--copies/--no-copies",
    ),
    Knob(
        *(
            "compiler",
            "Run halves at the likeliest cuts through torch.compile, and no others.",
        ),
        kind=bool,
        flag="--compile",
        read=lambda wanted: "inductor" if wanted else None,
        default=False,
    ),
    Knob("passes", "Least number of passes at a batch size.", int, default=30),
    Knob(
        *("budget_s", "Seconds a batch size may take for more passes where times scatter."),
        flag="--budget",
        default=15.0,
    ),
    Knob(
        *("verify", "Also run some heads and tails on their own, for comparison.", bool),
        flag="--check/--no-check",
        default=True,
    ),
    Knob(
        *("stamps", "Stamp every cut in one pass; else only halves at the likeliest cuts are run."),
        kind=bool,
        flag="--stamps/--no-stamps",
        default=True,
    ),
    Knob(
        *("gap_s", "Idle before every pass, ms: a half that has waited is slower."),
        flag="--gap-ms",
        read=lambda ms: ms / MS_PER_S,
        default=0.0,
    ),
)
"""How `dscwb profile` measures, as arguments of `dscwb.profile`."""


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        command(**given)

    return options.command(run, command, options.parameters(command, MEASURING))


@app.command()
@_measuring
def profile(
    model: Model,
    output: Output,
    batch_sizes: Annotated[str, typer.Option(help="A list or ranges: 1,2,4 or 1:8 or 1:8,16.")] = (
        "1"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    image_size: ImageSize = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.FLOAT32,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Channels-last memory format.")
    ] = False,
    **how: Any,
) -> None:
    """Measure head and tail of every cut on this machine.

    A batch size that does not fit into memory is marked oom. After an interruption, Ctrl-C or
    worse, the same command goes on where it was; until then FILE.unfinished holds what was run. It
    adds further batch sizes to a finished file. What it cannot go on from, it sets aside.

    \b
    Examples:
      dscwb profile efficientnet_b0 --threads 1 --batch-sizes 1,2,4,8 -o b0.parquet
      dscwb profile resnet50 --device cuda --dtype float16 --batch-sizes 1:62 -o resnet50.parquet
      dscwb profile resnet50 --device cuda --tf32 --compile -o resnet50-compiled.parquet
      dscwb profile resnet50 --device cuda --multiprocessors 8 -o resnet50-slice.parquet
    """  # noqa: D301
    import torch

    from dscwb.measuring.checkpoint import save_over, take_up

    sizes = options.whole_numbers(batch_sizes)
    _check_device(device)
    if how["tf32"] and (device == "cpu" or dtype is not Dtype.FLOAT32):
        raise ValueError(
            f"--tf32 rounds float32 on NVIDIA GPUs, but this is {dtype} on {device}; leave it out, "
            "or give --device cuda and --dtype float32."
        )
    _check_output(output)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    unfinished = output.with_name(f"{output.name}.unfinished")
    earlier = take_up(output, unfinished)
    kind, given = getattr(torch, dtype), options.read(MEASURING, how)
    captured = dscwb.capture(
        model, image_size, device=device, dtype=kind, channels_last=channels_last
    )
    with options.naming_flags(MEASURING):
        measured = dscwb.profile(captured, sizes, progress=True, checkpoint=unfinished, **given)
    kept = save_over(output, measured, earlier)
    _show(measured)
    say(kept)
    if "interrupted" in measured.provenance.note:
        raise typer.Exit(INTERRUPTED)
    unfinished.unlink(missing_ok=True)


@app.command(name="import")
def import_(
    table: Annotated[
        Path,
        typer.Argument(
            help="Table: split,batch_size,head_s,tail_s,payload_bytes; or a tool's layer times."
        ),
    ],
    device: Annotated[str, typer.Option(help="What measured it, in words.")],
    output: Output,
    model: Annotated[
        str | None,
        typer.Option(
            help="A timm model whose blocks the splits name, or which was timed; else the file."
        ),
    ] = None,
    image_size: ImageSize = None,
    dtype: Annotated[str, typer.Option(help="Element type that payload_bytes counts.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Of layer times, which lack it.")] = 1,
) -> None:
    """Make a profile of numbers measured by other means.

    Splits are listed from input to output; input is full offloading, output no offloading. Times
    are in seconds (head_s) or head_ms, head_us, payloads in bytes of the whole batch. Rows may
    repeat. Layer times are taken from trtexec --exportProfile, TFLite's benchmark_model, ONNX
    Runtime, torch.profiler (CPU) and Scission.

    \b
    Examples:
      dscwb import orin.csv --device "Jetson Orin Nano, TensorRT 10" -o orin.parquet
      dscwb import layers.json --model resnet50 --device "Orin, TensorRT 10" -o orin.parquet
    """  # noqa: D301
    from dscwb.profiles.imported import models_of

    _check_output(output)
    named = model in models_of(table)  # in the file itself
    graph = dscwb.capture(model, image_size, check=False).graph if model and not named else None
    profile = dscwb.profile_from_csv(
        table, device=device, graph=graph, model=model, dtype=dtype, batch_size=batch_size
    )
    dscwb.save_profile(profile, output)
    sizes = ", ".join(map(str, profile.batch_sizes))
    say(f"{profile.graph.model}, batch sizes {sizes}, on {profile.provenance.label()}")
    say(f"saved {output}")


def _check_output(path: Path) -> None:
    """Refuse, before anything is measured, a name under which nobody would look for a profile."""
    from dscwb.profiles.files import SUFFIX

    if path.suffix != SUFFIX:
        raise ValueError(
            f"--output is {str(path)!r}, but a profile is a Parquet file: give a name that ends in "
            f"{SUFFIX}."
        )


def _check_device(name: str) -> None:
    import torch

    kind, _, number = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(kind, 0)
    if not (number or "0").isdecimal() or int(number or 0) >= count:
        raise ValueError(
            f"--device is {name!r}; this machine has cpu and {torch.cuda.device_count()} CUDA GPUs."
        )


def _show(profile: Profile) -> None:
    """One line a batch size: the times, and how far to believe them."""
    import pandas as pd

    told = profile.provenance
    rows = pd.DataFrame(_row(profile, passes) for passes in profile.passes)
    say(f"{profile.graph.model} on {told.label()}, {profile.cuts} cuts")
    say(rows.to_string(index=False))
    for passes in profile.passes:
        if not passes.oom and (caution := profile.caution(passes.batch_size)):
            say(f"batch size {passes.batch_size} is {caution}")
    if profile.transfers is not None:
        say(_copies(profile.transfers))
    if told.throttled:
        say(f"THROTTLED by {' and '.join(told.throttled)}: times may be too long")


def _row(profile: Profile, passes: Passes) -> dict[str, object]:
    """T of one batch size, what stamping cost, and how far halves really run lie from it."""
    from dscwb.profiles.library import calibration, model_error
    from dscwb.units import format_percent, format_seconds

    size = passes.batch_size
    columns = ("batch", "T", "IQR/T", "passes", "stamped/plain (95 %)")
    row: dict[str, object] = dict.fromkeys(columns, "-") | {"batch": size}
    row |= {"model error: head, tail; worst": "-", "": profile.status(size)}
    if passes.oom:
        return row
    row |= {"T": format_seconds(profile.total_s(size))}
    row |= {"IQR/T": format_percent(profile.spread(size)), "passes": passes.rounds}
    if not len(passes.stamped_ns):
        run = f"{len(passes.separate) - 2} cuts run"
        return row | {columns[-1]: "none stamped", "model error: head, tail; worst": run}
    error, (ratio, low, high) = model_error(profile, size), calibration(profile, size)
    some = "" if passes.stamps_per_pass == profile.cuts - 2 else f", {passes.stamps_per_pass} cuts"
    shares = (error.head, error.head_half_width, error.tail, error.tail_half_width)
    worst = max(error.head_worst, error.tail_worst)
    head, about_head, tail, about_tail, most = (
        format_percent(round(share, 4) + 0.0) for share in (*shares, worst)
    )
    return row | {
        "passes": 2 * passes.rounds,
        columns[-1]: f"{ratio:.3f} ({low:.3f}–{high:.3f}){some}",
        "model error: head, tail; worst": f"{head} ± {about_head}, {tail} ± {about_tail}; {most}"
        if error.cuts
        else "not checked",
    }


def _copies(transfers: Transfers) -> str:
    """Median times of the smallest and the largest copy, in both directions."""
    import numpy as np

    from dscwb.profiles.records import NS
    from dscwb.units import format_bytes, format_seconds

    ends = [
        f"{format_bytes(transfers.sizes_bytes[k])} in "
        f"{format_seconds(float(np.median(transfers.to_host_ns[k])) * NS)} to the host and "
        f"{format_seconds(float(np.median(transfers.to_device_ns[k])) * NS)} to the device"
        for k in (0, -1)
    ]
    return f"copies through {transfers.host_memory} memory: {', '.join(ends)}"
