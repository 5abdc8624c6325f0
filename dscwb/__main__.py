"""The command line: a thin door on both arms, `dscwb bottlenecks`, `verify` and `profile`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import dscwb
from dscwb.cli import commands, shipped

if TYPE_CHECKING:
    import pandas as pd

    from dscwb import Cut, ModelGraph, Profile
    from dscwb.profiles.records import Passes
    from dscwb.profiles.transfers import Transfers

# Heavy libraries are loaded inside the commands, so that --help answers at once.

UNEQUAL = 1  # exit status: head and tail do not give the model's output
MISUSE = 2  # exit status: wrong options, unknown model, unusable file
MS_PER_S = 1e3
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

# Unknown option, missing argument, ...: typer has no public name for what they have in common.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])

app = typer.Typer(
    help="Where should this network be split between my device and my server?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take a tenth of a second and reflow the examples
)
app.add_typer(commands.app)
app.add_typer(shipped.app)


class Granularity(StrEnum):
    """Where to look for cuts."""

    BLOCK = "block"
    OP = "op"


class Dtype(StrEnum):
    """Element type of weights and activations."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


Model = Annotated[
    str,
    typer.Argument(help="A timm model, such as efficientnet_b0, or a .pt2 file of torch.export."),
]
ImageSize = Annotated[
    int | None,
    typer.Option(min=1, help="Side of the square image in pixels; the model's own if left out."),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a mistake becomes one line on stderr.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = int(app(words, prog_name="dscwb", standalone_mode=False, obj=words) or 0)
        return _fail("interrupted", INTERRUPTED) if status == INTERRUPTED else status
    except UsageError as error:
        return _fail(error.format_message())
    except (ValueError, OSError, RuntimeError) as error:
        return _fail(str(error))


def _fail(reason: str, status: int = MISUSE) -> int:
    print(f"dscwb: {' '.join(reason.split())}", file=sys.stderr)
    return status


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dscwb {dscwb.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


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
    captured = dscwb.capture(model, image_size, check=False)
    table = dscwb.bottlenecks(captured.graph, granularity.value)
    if as_json:
        print(json.dumps(_as_json(captured.graph, table, granularity), indent=2))
        return
    marks = table.compressive.map({True: "compressive", False: ""})
    kinds = marks.where(table.compressive | ~table.natural, "natural")
    print(table[[granularity.value, "name", "ratio"]].assign(kind=kinds).to_string(index=False))
    print(
        f"{model}: {len(table)} {granularity.value}s, {table.natural.sum()} natural and "
        f"{table.compressive.sum()} compressive bottlenecks"
    )


def _as_json(graph: ModelGraph, table: pd.DataFrame, granularity: Granularity) -> dict[str, Any]:
    lowest = table[table.compressive]
    return {
        "model": graph.model,
        "input_shape": list(graph.inputs[0].shape[1:]),
        f"{granularity}s": len(table),
        "natural": int(table.natural.sum()),
        "compressive": lowest[[granularity.value, "name", "ratio"]].to_dict("records"),
    }


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
        print(f"cut {cut.index} after {cut.name}: differs by {difference:.3g} of the largest value")
    print(f"{len(tried) - len(unequal)} of {len(tried)} cuts equal")
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


@app.command()
def profile(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Profile file to write.")],
    batch_sizes: Annotated[str, typer.Option(help="A list or ranges: 1,2,4 or 1:8 or 1:8,16.")] = (
        "1"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; torch's own choice if left out.")
    ] = None,
    image_size: ImageSize = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.FLOAT32,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Channels-last memory format.")
    ] = False,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 on an NVIDIA GPU round to TF32.")
    ] = False,
    multiprocessors: Annotated[
        int | None,
        typer.Option(min=1, help="Measure on a slice of the GPU: so many of its multiprocessors."),
    ] = None,
    copies: Annotated[
        bool | None,
        typer.Option(
            help="Measure copies between GPU and host; left out, of a whole GPU and not of a slice."
        ),
    ] = None,
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Run heads and tails of the likeliest cuts through torch.compile (inductor); the "
            "others get no times.",
        ),
    ] = False,
    passes: Annotated[int, typer.Option(help="Least number of passes at a batch size.")] = 30,
    budget: Annotated[
        float,
        typer.Option(help="Seconds a batch size may take for more passes where times scatter."),
    ] = 15.0,
    check: Annotated[
        bool, typer.Option(help="Also run some heads and tails on their own, for comparison.")
    ] = True,
    stamps: Annotated[
        bool,
        typer.Option(
            help="Stamp every cut in one pass; without, only heads and tails of the likeliest cuts "
            "are run on their own, and the others get no times."
        ),
    ] = True,
    gap_ms: Annotated[
        float, typer.Option(help="Idle before every pass, ms: a half that has waited is slower.")
    ] = 0.0,
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

    sizes = commands.whole_numbers(batch_sizes)
    _check_device(device)
    if tf32 and (device == "cpu" or dtype is not Dtype.FLOAT32):
        raise ValueError(
            f"--tf32 rounds float32 on NVIDIA GPUs, but this is {dtype} on {device}; leave it out, "
            "or give --device cuda and --dtype float32."
        )
    _check_output(output)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    unfinished = output.with_name(f"{output.name}.unfinished")
    earlier = take_up(output, unfinished)
    captured = dscwb.capture(
        model,
        image_size,
        device=device,
        dtype=getattr(torch, dtype),
        channels_last=channels_last,
    )
    measured = dscwb.profile(
        captured,
        sizes,
        threads=threads,
        tf32=tf32,
        multiprocessors=multiprocessors,
        copies=copies,
        compiler="inductor" if compile_ else None,
        passes=passes,
        budget_s=budget,
        progress=True,
        verify=check,
        stamps=stamps,
        gap_s=gap_ms / MS_PER_S,
        checkpoint=unfinished,
    )
    interrupted = "interrupted" in measured.provenance.note
    kept = save_over(output, measured, earlier)
    _show(measured)
    print(kept)
    if interrupted:
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
    output: Annotated[Path, typer.Option("--output", "-o", help="Profile file to write.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="A timm model whose blocks the splits name, or which was timed; else the file."
        ),
    ] = None,
    image_size: ImageSize = None,
    dtype: Annotated[str, typer.Option(help="Element type that payload_bytes counts.")] = "float32",
    batch_size: Annotated[int, typer.Option(help="Of layer times, which do not say it.")] = 1,
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
    print(f"{profile.graph.model}, batch sizes {sizes}, on {profile.provenance.label()}")
    print(f"saved {output}")


def _check_output(path: Path) -> None:
    """Refuse, before anything is measured, a name under which nobody would look for a profile."""
    from dscwb.profiles.files import SUFFIX

    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file.")
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
    from dscwb.units import format_seconds

    print(f"{profile.graph.model} on {profile.provenance.label()}, {profile.cuts} cuts")
    line = "{:>5}  {:>8}  {:>6}  {:>6}  {:>22}  {:>33}  {}"
    print(
        line.format(
            "batch",
            "T",
            "IQR/T",
            "passes",
            "stamped/plain (95 %)",
            "model error: head, tail; worst",
            "",
        )
    )
    for passes in profile.passes:
        size, status = passes.batch_size, profile.status(passes.batch_size)
        if passes.oom:
            print(line.format(size, *"-----", status))
            continue
        total, noise = format_seconds(profile.total_s(size)), f"{profile.spread(size):.1%}"
        print(line.format(size, total, noise, *_believable(profile, passes), status))
    for passes in profile.passes:
        if not passes.oom and (caution := profile.caution(passes.batch_size)):
            print(f"batch size {passes.batch_size} is {caution}")
    if profile.transfers is not None:
        print(_copies(profile.transfers))
    if profile.provenance.throttled:
        print(f"THROTTLED by {' and '.join(profile.provenance.throttled)}: times may be too long")


def _believable(profile: Profile, passes: Passes) -> tuple[int, str, str]:
    """Number of passes, what stamping cost, and how far halves really run lie from them."""
    from dscwb.profiles.records import calibration, model_error

    if not len(passes.stamped_ns):
        return passes.rounds, "none stamped", f"{len(passes.separate) - 2} cuts run"
    size = passes.batch_size
    error, (ratio, low, high) = model_error(profile, size), calibration(profile, size)
    some = "" if passes.stamps_per_pass == profile.cuts - 2 else f", {passes.stamps_per_pass} cuts"
    return (
        2 * passes.rounds,
        f"{ratio:.3f} ({low:.3f}–{high:.3f}){some}",
        f"{_give_or_take(error.head, error.head_half_width)}, "
        f"{_give_or_take(error.tail, error.tail_half_width)}; "
        f"{100 * max(error.head_worst, error.tail_worst):.1f} %"
        if error.cuts
        else "not checked",
    )


def _give_or_take(share: float, half_width: float) -> str:
    return f"{100 * share:+z.1f} ± {100 * half_width:.1f} %"


def _copies(transfers: Transfers) -> str:
    """Median times of the smallest and the largest copy, in both directions."""
    import numpy as np

    from dscwb.profiles.records import NS
    from dscwb.units import format_bytes, format_seconds

    ends = [
        f"{format_bytes(transfers.sizes_bytes[k])} in {format_seconds(there * NS)} to the host and "
        f"{format_seconds(back * NS)} to the device"
        for k in (0, -1)
        for there, back in [
            (np.median(transfers.to_host_ns[k]), np.median(transfers.to_device_ns[k]))
        ]
    ]
    return f"copies through {transfers.host_memory} memory: {', '.join(ends)}"


if __name__ == "__main__":
    sys.exit(main())
