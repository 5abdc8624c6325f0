"""The analysis arm on the command line: profile files and options go in, `dscwb sweep`, `policy`
and `report` print or write what follows from them.

What a scenario is made of stands once, in the parameters of `_study`; every command has them all.
"""

from __future__ import annotations

import inspect
import math
import re
import shlex
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

import dscwb

if TYPE_CHECKING:
    from dscwb import Confidence, Policy, Profile, Study

# Heavy libraries are loaded inside the functions, so that --help answers at once.

app = typer.Typer(rich_markup_mode=None)

MBPS = 1e6  # bit/s
RATES = 200  # steps of --rates: 50 a decade over its default
UNITS_BPS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
MB = 1e6  # bytes

WHICH_ENCODING = (
    "it has no default because it decides whether splitting pays; give uint8, float32, float16, "
    "int8, int4 or, for an image, 'jpeg 10:1'."
)


class Candidates(StrEnum):
    """Where the model may be split."""

    AUTO = "auto"
    BLOCK = "block"
    OP = "op"
    COMPRESSIVE = "compressive"


class Objective(StrEnum):
    """What the best split is best in."""

    LATENCY = "latency"
    ENERGY = "energy"


def _study(
    edge: Annotated[
        str,
        typer.Argument(metavar="EDGE", help="Profile of the device: a file or a shipped model."),
    ],
    server: Annotated[
        str | None,
        typer.Argument(metavar="SERVER", help="The server's; else --speedup or --server-device."),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="Assume a server this many times as fast as the device.")
    ] = None,
    server_device: Annotated[
        str | None, typer.Option(help="Model this server from its datasheet, such as 'H100 SXM'.")
    ] = None,
    input_encoding: Annotated[
        str | None, typer.Option(help="[required] How the input is sent: uint8, 'jpeg 10:1', ...")
    ] = None,
    feature_encoding: Annotated[
        str | None, typer.Option(help="[required] How features are sent: float32, int8, ...")
    ] = None,
    rates: Annotated[
        str,
        typer.Option(
            help="Data rates LOW:HIGH or LOW:HIGH:NUMBER, Mbit/s, logarithmic; or a list: 4,0,12."
        ),
    ] = f"0.1:1000:{RATES}",
    batch_sizes: Annotated[
        str | None, typer.Option(help="1,2,4 or 1:8; all that both profiles cover if left out.")
    ] = None,
    rtt_ms: Annotated[float, typer.Option(help="Round-trip time, ms.")] = 0.0,
    overhead_bytes: Annotated[
        float, typer.Option(help="Sent with each message beside the payload, bytes.")
    ] = 0.0,
    downlink: Annotated[
        str | None, typer.Option(help="Data rate of the result's way back, Mbit/s; else free.")
    ] = None,
    granularity: Annotated[
        Candidates, typer.Option(help="auto: blocks where there are some, else all cuts.")
    ] = Candidates.AUTO,
    server_load: Annotated[
        float, typer.Option(help="Factor on the server's times, 1 for an idle one.")
    ] = 1.0,
    device_slowdown: Annotated[
        float, typer.Option(help="Factor on the device's times, 1 as it was measured.")
    ] = 1.0,
    private_input: Annotated[
        bool, typer.Option("--private-input", help="Inputs must not leave the device.")
    ] = False,
    min_depth: Annotated[int, typer.Option(help="Blocks that must run on the device.")] = 0,
    memory_cap_mb: Annotated[
        float | None,
        typer.Option(help="Memory for the head on the device, MB; no cap if left out."),
    ] = None,
    arrival_rate: Annotated[
        float | None, typer.Option(help="Samples that arrive in a second; batches wait to fill.")
    ] = None,
    objective: Annotated[
        Objective, typer.Option(help="Best in latency or in the device's energy.")
    ] = Objective.LATENCY,
    power: Annotated[
        str | None, typer.Option(help="COMPUTE,SEND,WAIT: what the device draws, W; for energy.")
    ] = None,
) -> Study:
    """The study that the options ask for.

    Raises:
        ValueError: An option that cannot be used; names its value and the remedy.
    """
    for option, given in (("input", input_encoding), ("feature", feature_encoding)):
        if given is None:
            raise ValueError(f"--{option}-encoding is missing: {WHICH_ENCODING}")
    device = dscwb.as_profile(edge)
    return dscwb.sweep(
        device,
        _server(device, server, speedup, server_device),
        link=dscwb.Link(
            rtt_ms / 1e3, overhead_bytes, None if downlink is None else _rate(downlink, "downlink")
        ),
        input_encoding=input_encoding,
        feature_encoding=feature_encoding,
        data_rates_bps=_rates(rates),
        batch_sizes=None if batch_sizes is None else sorted(set(whole_numbers(batch_sizes))),
        granularity=granularity.value,
        server_load=server_load,
        device_slowdown=device_slowdown,
        private_input=private_input,
        min_depth=min_depth,
        memory_cap_bytes=None if memory_cap_mb is None else memory_cap_mb * MB,
        arrival_rate_hz=arrival_rate,
        objective=objective.value,
        power=None if power is None else _power(power),
    )


def _takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the parameters of `_study` in place of its own `study`."""

    def run(**options: Any) -> None:
        output = options.get("output")
        if output and output.is_dir():
            raise ValueError(f"--output is {output}, a folder; give a file.")
        command(_study(**{name: options.pop(name) for name in shared}), **options)

    shared, own = _parameters(_study), _parameters(command)
    del own["study"]
    every = {**own, **shared}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {name: one.annotation for name, one in every.items()}
    run.__signature__ = inspect.Signature(list(every.values()))  # type: ignore[attr-defined]
    return run


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(function, localns={"Study": object}, include_extras=True)
    return {
        name: one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(function).parameters.items()
    }


Replicates = Annotated[
    int,
    typer.Option(help="Draws from the raw passes, for 95 % intervals; 0 for none, else from 40."),
]


@app.command()
@_takes_study
def sweep(
    study: Study,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write every state: .csv, .parquet or .nc."),
    ] = None,
) -> None:
    """Find the best split in every state, and say what choosing it is worth.

    A state is a batch size and a data rate. Rates are in Mbit/s; 500kbit/s or 2MB/s is understood.

    \b
    Examples:
      dscwb sweep edge.parquet server.parquet --input-encoding uint8 --feature-encoding int8
      dscwb sweep edge.parquet --speedup 20 --rtt-ms 10 --rates 1:100 --batch-sizes 1,4 \\
          --input-encoding "jpeg 10:1" --feature-encoding float32 -o study.csv
    """  # noqa: D301
    from dscwb.study.sureness import about_models
    from dscwb.study.thresholds import few_batch_sizes

    print(study.label())
    print(f"\n{dscwb.verdict(study)}")
    print(*study.cautions(), sep="\n", end="\n" if study.cautions() else "")
    print(f"\n{_grid(study)}")
    print(*filter(None, [about_models(study)]), *_mean_gains(study), sep="\n")
    print(f"\n{study.dominance()}\n")
    print(*_thresholds(study.policy(), few_batch_sizes(study)), sep="\n")
    if output:
        print(f"saved {study.save(output)}")


@app.command()
@_takes_study
def policy(
    study: Study,
    output: Annotated[Path, typer.Option("--output", "-o", help="Policy file to write, JSON.")],
    at: Annotated[
        list[str] | None, typer.Option(help="Also say what to do at this data rate, Mbit/s.")
    ] = None,
    replicates: Replicates = 1000,
) -> None:
    """Write the exact thresholds to a small file that a device can ask without NumPy or torch.

    They hold for every data rate, at the batch sizes asked for; 0 is a link that is down. Rates
    are in Mbit/s; 500kbit/s or 2MB/s is understood.

    \b
    Examples:
      dscwb policy edge.parquet server.parquet -o policy.json --batch-sizes 1,4 \\
          --input-encoding uint8 --feature-encoding int8
      dscwb policy edge.parquet --speedup 20 -o policy.json --at 4 --at 500kbit/s \\
          --input-encoding uint8 --feature-encoding int8
    """  # noqa: D301
    asked = [_rate(text, "at") for text in at or []]
    sure = _confidence(study, replicates)
    made = study.policy(sure)
    print(*_thresholds(made, made.batch_sizes), sep="\n")
    for rate in asked:
        for size in made.batch_sizes:
            choice = made.choose(size, rate)
            print(
                f"batch size {size} at {rate / MBPS:g} Mbit/s: {choice.name}, "
                f"cut {choice.cut_index}, {choice.payload_bytes:g} B to send"
                + " (undecided)"
                * made.undecided(size, rate)
            )
            if why := study.how_sure(size, rate, sure).why:
                print(f"  {why}.")
    print(f"saved {made.save(output)}")


@app.command()
@_takes_study
def report(
    study: Study,
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write, .html.")],
    replicates: Replicates = 1000,
) -> None:
    """Write one HTML page with every figure, table and source; it needs no network.

    Rates are in Mbit/s; 500kbit/s or 2MB/s is understood.

    \b
    Examples:
      dscwb report edge.parquet server.parquet -o report.html --input-encoding uint8 \\
          --feature-encoding int8
      dscwb report edge.parquet --server-device "H100 SXM" -o report.html --rtt-ms 10 \\
          --input-encoding "jpeg 10:1" --feature-encoding float32 --granularity op
    """  # noqa: D301
    words = [shlex.quote(word) for word in context.obj or ["report"]]
    # An option a line, as it would be written into a script.
    command = " ".join(f"\\\n    {word}" if word.startswith("-") else word for word in words)
    sure = _confidence(study, replicates)
    print(f"saved {dscwb.report(study, output, confidence=sure, command=f'dscwb {command}')}")


def _confidence(study: Study, replicates: int) -> Confidence | None:
    return study.confidence(replicates) if replicates else None


def _grid(study: Study) -> str:
    rates_bps = study.data_rates_bps
    low, high = (f"{rate / MBPS:g}" for rate in (rates_bps.min(), rates_bps.max()))
    sizes, rates = len(study.batch_sizes), len(study.data_rates_bps)
    return (
        f"{sizes} batch size{'s'[: sizes > 1]} × {rates} data rates from {low} to {high} Mbit/s; "
        f"in {study.usefulness():.1%} of these states a split is best."
    )


def _mean_gains(study: Study) -> Iterable[str]:
    """A line for each baseline."""
    from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC
    from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

    yield f"Mean gain over these states in {study.scenario.objective}, compared with"
    for baseline in (NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC):
        try:
            split, gained = study.baseline_split(baseline), study.mean_gain(baseline)
        except ValueError:  # not a candidate of this scenario
            split, gained = baseline, math.nan
        name = baseline if split == baseline else f"{baseline}, {split}"
        yield f"  {name:<40} {'not possible' if math.isnan(gained) else f'{gained:12.1%}'}"


def _thresholds(policy: Policy, batch_sizes: Iterable[int]) -> Iterable[str]:
    """A line for each batch size and split that is best at some rate."""
    line = "{:>5}  {:>12}  {:>12}  {}"
    yield line.format("batch", "above Mbit/s", "up to Mbit/s", "best split")
    for size in batch_sizes:
        one = policy.at(size)
        ends = [0.0, *one.switching_rates_bps, math.inf]
        for choice, low, high in zip(one.splits, ends[:-1], ends[1:], strict=True):
            yield line.format(size, f"{low / MBPS:.4g}", f"{high / MBPS:.4g}", choice.name)


def _server(
    edge: Profile, server: str | None, speedup: float | None, device: str | None
) -> Profile:
    if sum(given is not None for given in (server, speedup, device)) != 1:
        raise ValueError(
            "Give one server: a profile after that of the device, or --speedup 20, or "
            "--server-device NAME."
        )
    if server is not None:
        return dscwb.as_profile(server)
    if speedup is not None:
        return dscwb.scale_profile(edge, speedup)
    dtype = edge.provenance.dtype
    return dscwb.model_profile(edge.graph, str(device), edge.batch_sizes, dtype=dtype)


def _rate(text: str, option: str) -> float:
    """``4``, ``4Mbit/s``, ``500 kbit/s``, ``0.5 MB/s`` in bit/s; a bare number is Mbit/s."""
    parts = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(?:([kMG]?)(bit/s|bps|B/s))?\s*", text)
    try:
        number = float(parts[1]) if parts else math.nan
    except ValueError:
        number = math.nan
    if not parts or not (math.isfinite(number) and number >= 0):
        raise ValueError(
            f"--{option} is {text!r}; give Mbit/s, such as 4, or with a unit: 500kbit/s, 1Gbit/s, "
            "2MB/s; 0 for a link that is down."
        )
    if parts[3] is None:
        return number * MBPS
    return number * UNITS_BPS[parts[2]] * (8 if parts[3] == "B/s" else 1)


def _rates(text: str) -> list[float]:
    """A list with commas; ``LOW:HIGH`` or ``LOW:HIGH:NUMBER`` as rates of equal ratio; bit/s."""
    parts = text.split(":")
    number = parts[2] if len(parts) == 3 else f"{RATES}"
    try:
        if "," in text:
            return [_rate(part, "rates") for part in text.split(",")]
        low, high = (_rate(part, "rates") for part in (parts[0], parts[min(1, len(parts) - 1)]))
    except ValueError:
        low, high = math.nan, math.nan
    if not (len(parts) in (2, 3) and 0 < low < high and number.isdecimal() and int(number) >= 2):
        raise ValueError(
            f"--rates is {text!r}; give LOW:HIGH or LOW:HIGH:NUMBER in Mbit/s, such as 0.1:1000, "
            "or a trace's rates with commas, 0 for a link that is down: 31,900,0,12."
        )
    last = int(number) - 1
    return [low * (high / low) ** (k / last) for k in range(last)] + [high]


def _power(text: str) -> Any:
    try:
        compute_w, send_w, wait_w = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--power is {text!r}; give COMPUTE,SEND,WAIT in W: 5,1.5,0.8.") from None
    return dscwb.PowerModel(compute_w, send_w, wait_w, "given on the command line")


def whole_numbers(text: str) -> list[int]:
    """``1,2,8`` and ranges with both ends, ``1:8``, of batch sizes.

    Raises:
        ValueError: Not such a list, or a number below 1.
    """
    sizes: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        try:
            sizes += range(int(first), int(last or first) + 1)
        except ValueError:
            sizes = []
            break
    if not sizes or min(sizes) < 1:
        raise ValueError(f"--batch-sizes is {text!r}; give 1,2,4 or 1:8, whole numbers from 1.")
    return sizes
