"""The commands that need profiles only: `dscwb sweep`, `policy` and `report`.

What a scenario is made of stands once, in `KNOBS`; every command has them all.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dscwb
from dscwb.cli import options
from dscwb.cli.options import MBPS, Knob, OptionalOutput, Output, say

if TYPE_CHECKING:
    from dscwb import Policy, Profile, Study

# Heavy libraries are loaded inside the functions, so that --help answers at once.

app = typer.Typer(rich_markup_mode=None)


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


def _power(text: str) -> Any:
    try:
        compute_w, send_w, wait_w = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--power is {text!r}; give COMPUTE,SEND,WAIT in W: 5,1.5,0.8.") from None
    return dscwb.PowerModel(compute_w, send_w, wait_w, "given on the command line")


def _downlink(text: str) -> float:
    return options.one_rate(text, "--downlink")


KNOBS = (
    Knob("input_encoding", "[required] How the input is sent: uint8, 'jpeg 10:1', ...", str),
    Knob("feature_encoding", "[required] How features are sent: float32, int8, ...", str),
    Knob(
        *("round_trip_s", "Round-trip time, ms."),
        flag="--rtt-ms",
        read=lambda ms: ms / 1e3,
        least=0,
        most=10_000,
    ),
    Knob("overhead_bytes", "Sent with each message beside the payload, bytes.", least=0),
    Knob("downlink_bps", "Rate of the result, Mbit/s; else free.", str, "--downlink", _downlink),
    Knob("granularity", "Where to split; auto: blocks, or all operations.", Candidates),
    Knob("server_load", "Factor on the server's times, 1 for an idle one.", least=1),
    Knob("device_slowdown", "Factor on the device's times, 1 as it was measured.", least=1),
    Knob("private_input", "Inputs must not leave the device.", bool, default=False),
    Knob("min_depth", "Blocks that must run on the device.", int, least=0),
    Knob(
        *("memory_cap_bytes", "Memory for the head on the device, MB; no cap if left out."),
        flag="--memory-cap-mb",
        read=lambda mb: mb * 1e6,
        least=0,
    ),
    Knob(
        *("arrival_rate_hz", "Samples that arrive in a second; batches wait to fill."),
        flag="--arrival-rate",
        least=0,
    ),
    Knob("objective", "Best in latency or in the device's energy.", Objective),
    Knob("power", "COMPUTE,SEND,WAIT: what the device draws, W; for energy.", str, read=_power),
)
"""The fields of a scenario and of its link; a new one is one line."""


def _refusals() -> Any:
    """Where a refusal names an argument, it shall name the option."""
    power = dict.fromkeys(("compute_w", "send_w", "wait_w"), "--power")
    others = {name: f"--{name.replace('_', '-')}" for name in ("batch_sizes", "speedup")}
    return options.naming_flags(
        KNOBS, data_rates_bps="--rates", replicates="--replicates", **others, **power
    )


def _study(
    edge: Annotated[
        str, typer.Argument(metavar="EDGE", help="Profile of the device: a file or shipped model.")
    ],
    server: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVER", help="Profile of the server; else --speedup or --server-device."
        ),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="Assume a server this many times as fast as the device.")
    ] = None,
    server_device: Annotated[
        str | None,
        typer.Option(help="Model this server from its datasheet; `dscwb devices` lists them."),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            help="Data rates LOW:HIGH or LOW:HIGH:NUMBER, Mbit/s, logarithmic; or a list: 4,0,12. "
            "From 10 kbit/s to 10 Gbit/s if left out."
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None, typer.Option(help="1,2,4 or 1:8; all that both profiles cover if left out.")
    ] = None,
    **knobs: Any,
) -> Study:
    """The study that the options ask for.

    Raises:
        ValueError: An option that cannot be used; names its value and the remedy.
    """
    from dscwb.scenario import DATA_RATES_BPS, Link

    with _refusals():
        given = options.read(KNOBS, knobs)
        for name in ("input_encoding", "feature_encoding"):
            if name not in given:
                raise ValueError(
                    f"--{name.replace('_', '-')} is missing: it has no default because it decides "
                    "whether splitting pays; give uint8, float32, float16, int8, int4 or, for an "
                    "image, 'jpeg 10:1'."
                )
        if given.get("objective") == "energy" and "power" not in given:
            raise ValueError("--objective energy needs --power COMPUTE,SEND,WAIT in W: 5,1.5,0.8.")
        device = dscwb.as_profile(edge)
        of_link = {one.name: given.pop(one.name) for one in fields(Link) if one.name in given}
        sizes = batch_sizes and sorted(set(options.whole_numbers(batch_sizes)))
        return dscwb.sweep(
            device,
            _server(device, server, speedup, server_device),
            link=Link(**of_link),
            data_rates_bps=options.many_rates(rates or "", DATA_RATES_BPS.tolist()),
            batch_sizes=sizes or None,
            **given,
        )


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


def _takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a study in place of its own `study`."""

    def run(**given: Any) -> None:
        command(_study(**{one.name: given.pop(one.name) for one in shared}), **given)

    shared = options.parameters(_study, KNOBS)
    own = [one for one in options.parameters(command, ()) if one.name != "study"]
    return options.command(run, command, [*own, *shared])


Replicates = Annotated[
    int,
    typer.Option(help="Draws from the raw passes, for 95 % intervals; 0 for none, else from 40."),
]


@app.command()
@_takes_study
def sweep(study: Study, output: OptionalOutput = None) -> None:
    """Find the best split at every point, and say what choosing it is worth.

    A point is a batch size and a data rate. Rates are in Mbit/s; 500kbit/s or 2MB/s is understood.
    The output, if there is one, holds every point: .csv, .parquet or .nc.

    \b
    Examples:
      dscwb sweep efficientnet_b4 --speedup 20 --input-encoding uint8 --feature-encoding int8
      dscwb sweep edge.parquet server.parquet --rtt-ms 10 --rates 1:100 --batch-sizes 1,4 \\
          --input-encoding "jpeg 10:1" --feature-encoding float32 -o study.csv
    """  # noqa: D301
    from dscwb.study.sureness import about_models
    from dscwb.study.thresholds import few_batch_sizes

    say(study.label(), "", dscwb.verdict(study), *study.cautions(), "")
    say(*_mean_gains(study), *filter(None, [about_models(study)]), "", study.dominance(), "")
    say(_thresholds(study.policy(), few_batch_sizes(study)))
    if output:
        say(f"saved {study.save(output)}")


@app.command()
@_takes_study
def policy(
    study: Study,
    output: Output,
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
    from dscwb.units import format_bytes, format_rate, shown_name

    asked = [options.one_rate(text, "--at") for text in at or []]
    with _refusals():
        sure = study.confidence(replicates) if replicates else None
    made = study.policy(sure)
    say(_thresholds(made, made.batch_sizes))
    for rate in asked:
        for size in made.batch_sizes:
            choice, undecided = made.choose(size, rate), made.undecided(size, rate)
            say(
                f"batch size {size} at {format_rate(rate)}: {shown_name(choice.name)}, "
                f"{format_bytes(choice.payload_bytes)} to send{' (undecided)' * undecided}"
            )
            if why := study.how_sure(size, rate, sure).why:
                say(f"  {why}.")
    say(f"saved {made.save(output)}")


@app.command()
@_takes_study
def report(
    study: Study, context: typer.Context, output: Output, replicates: Replicates = 1000
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
    from dscwb.reporting.report import within_bounds

    words = [shlex.quote(word) for word in context.obj or ["report"]]
    # An option a line, as it would be written into a script.
    command = " ".join(f"\\\n    {word}" if word.startswith("-") else word for word in words)
    shown = within_bounds(study)
    with _refusals():
        sure = shown.confidence(replicates) if replicates else None
    say(f"saved {dscwb.report(shown, output, confidence=sure, command=f'dscwb {command}')}")


def _mean_gains(study: Study) -> Iterable[str]:
    """A line for each baseline, after one that says over which points the means are."""
    from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC
    from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, format_percent, shown_name

    best, over = format_percent(study.usefulness()), study.grid_label
    yield f"A split is best at {best} of {study.best.size:,} points: {over}."
    yield f"Mean gain over these points in {study.scenario.objective}, compared with"
    for baseline in (NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC):
        try:
            split, gained = study.baseline_split(baseline), study.mean_gain(baseline)
        except ValueError:  # not a candidate of this scenario
            split, gained = baseline, math.nan
        name = baseline if split == baseline else f"{baseline}, {shown_name(split)}"
        yield f"  {name:<40} {'not possible' if math.isnan(gained) else format_percent(gained)}"


def _thresholds(policy: Policy, batch_sizes: Iterable[int]) -> str:
    """A line for each batch size and split that is best at some rate."""
    import pandas as pd

    from dscwb.units import format_number, shown_name

    def mbps(rate_bps: float) -> str:
        return "∞" if rate_bps == math.inf else format_number(rate_bps / MBPS)

    rows = [
        (size, mbps(low), mbps(high), shown_name(choice.name))
        for size in batch_sizes
        for choice, low, high in policy.at(size).stretches()
    ]
    columns = ["batch", "above Mbit/s", "up to Mbit/s", "best split"]
    return pd.DataFrame(rows, columns=columns).to_string(index=False)
