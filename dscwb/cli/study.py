"""The commands that need profiles only: `dscwb sweep`, `policy`, `report` and `page`.

Every command takes all of a scenario, as `dscwb.scenario.KNOBS` declares it.
"""

from __future__ import annotations

import math
import shlex
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dscwb
from dscwb.cli.options import (
    MBPS,
    Option,
    command,
    many_rates,
    number,
    one_rate,
    option,
    say,
    table,
    whole_numbers,
)
from dscwb.scenario import DATA_RATES_BPS, KNOBS, Link, Scenario

if TYPE_CHECKING:
    from dscwb import Policy, Profile, Study

# Heavy libraries are loaded inside the functions, so that --help answers at once.

FLAGS = {
    "round_trip_s": "--rtt-ms",
    "downlink_bps": "--downlink",
    "memory_cap_bytes": "--memory-cap-mb",
    "arrival_rate_hz": "--arrival-rate",
}
"""Options that are not called as their field is."""


def _power(text: str) -> dscwb.PowerModel:
    watts = [number(0)(part) for part in text.split(",")]
    if len(watts) != 3:
        raise ArgumentTypeError(f"is {text!r}; give COMPUTE,SEND,WAIT in W: 5,1.5,0.8.")
    return dscwb.PowerModel(watts[0], watts[1], watts[2], "given on the command line")


def _knob(name: str, default: Any) -> Option:
    """The option of a field of `Scenario` or `Link`; left out, the field has its default."""
    knob, flag = KNOBS[name], FLAGS.get(name, f"--{name.replace('_', '-')}")
    unit = f", {knob.unit}" if knob.scale != 1 else ""
    if name == "power":
        return option(flag, "COMPUTE,SEND,WAIT: what the device draws, W; for energy.", _power)
    if isinstance(default, bool):
        return option(flag, f"{knob.help}.", bool, False)
    kind: Any = knob.choices or str
    if name == "downlink_bps":
        kind = one_rate
    elif knob.high is not None:
        kind = number(knob.low, knob.high, unit=knob.scale, whole=isinstance(default, int))
    required = "[required] " if default == "" else ""
    return option(flag, f"{required}{knob.help}{unit}.", kind, dest=name)


RATES = "Data rates in Mbit/s: LOW:HIGH or LOW:HIGH:NUMBER, 0.01:10000:241 if left out; or 4,0,12."
STUDY = (
    option("edge", "Profile of the device: a file or shipped model."),
    option("server", "Profile of the server; else --speedup or --server-device.", nargs="?"),
    option("--speedup", "Assume a server this many times as fast as the device.", number(0)),
    option("--server-device", "Model this server from its datasheet; `dscwb devices` lists them."),
    option("--rates", RATES, many_rates, DATA_RATES_BPS, dest="data_rates_bps"),
    option("--batch-sizes", "1,2,4 or 1:8; all of both profiles if left out.", whole_numbers),
    *(
        _knob(one.name, one.default)
        for one in (*fields(Scenario), *fields(Link))
        if one.name != "link"
    ),
)
OUTPUT = option("-o --output", "File to write.", Path, required=True)
DRAWS = "Draws from the raw passes, for 95 % intervals; 0 for none, else from 40."
REPLICATES = option("--replicates", DRAWS, number(0, whole=True), 1000)


def _study(edge: str, *, data_rates_bps: Any, batch_sizes: Any, **options: Any) -> Study:
    """The study that the options ask for."""
    given = {name: value for name, value in options.items() if value is not None}
    device = dscwb.as_profile(edge)
    servers: dict[str, Callable[[Any], Profile]] = {
        "server": dscwb.as_profile,
        "speedup": partial(dscwb.scale_profile, device),
        "server_device": lambda name: dscwb.model_profile(
            device.graph, name, device.batch_sizes, dtype=device.provenance.dtype
        ),
    }
    named = [name for name in servers if name in given]
    if len(named) != 1:
        raise ValueError(
            "Give one server: a profile after that of the device, or --speedup 20, or "
            "--server-device NAME."
        )
    server = servers[named[0]](given.pop(named[0]))
    if given.get("objective") == "energy" and "power" not in given:
        raise ValueError("--objective energy needs --power COMPUTE,SEND,WAIT in W: 5,1.5,0.8.")
    link = Link(**{one.name: given.pop(one.name) for one in fields(Link) if one.name in given})
    grid = {"data_rates_bps": data_rates_bps, "batch_sizes": batch_sizes}
    return dscwb.sweep(device, server, Scenario(link=link, **given), **grid)


@command(*STUDY, option("-o --output", "File to write: every point.", Path))
def sweep(output: Path | None, **asked: Any) -> None:
    r"""Find the best split at every point, and say what choosing it is worth.

    A point is a batch size and a data rate. Rates are in Mbit/s; 500kbit/s or 2MB/s is understood.
    The output, if there is one, holds every point: .csv, .parquet or .nc.

    Examples:
      dscwb sweep efficientnet_b4 --speedup 20 --input-encoding uint8 --feature-encoding int8
      dscwb sweep edge.parquet server.parquet --rtt-ms 10 --rates 1:100 --batch-sizes 1,4 \
          --input-encoding "jpeg 10:1" --feature-encoding float32 -o study.csv
    """
    from dscwb.study.sureness import about_models
    from dscwb.study.thresholds import few_batch_sizes

    study = _study(**asked)
    say(study.label(), "", dscwb.verdict(study), *study.cautions(), "")
    say(*_mean_gains(study), *filter(None, [about_models(study)]), "", study.dominance(), "")
    say(_thresholds(study.policy(), few_batch_sizes(study)))
    if output:
        say(f"saved {study.save(output)}")


@command(
    *STUDY,
    OUTPUT,
    option("--at", "Also say what to do at this data rate, Mbit/s.", one_rate, action="append"),
    REPLICATES,
)
def policy(output: Path, at: Sequence[float] | None, replicates: int, **asked: Any) -> None:
    r"""Write the exact thresholds to a small file that a device can ask without NumPy or torch.

    They hold for every data rate, at the batch sizes asked for; 0 is a link that is down. Rates
    are in Mbit/s; 500kbit/s or 2MB/s is understood.

    Examples:
      dscwb policy edge.parquet server.parquet -o policy.json --batch-sizes 1,4 \
          --input-encoding uint8 --feature-encoding int8
      dscwb policy edge.parquet --speedup 20 -o policy.json --at 4 --at 500kbit/s \
          --input-encoding uint8 --feature-encoding int8
    """
    from dscwb.units import format_bytes, format_rate, shown_name

    study = _study(**asked)
    sure = study.confidence(replicates) if replicates else None
    made = study.policy(sure)
    say(_thresholds(made, made.batch_sizes))
    for rate in at or ():
        for size in made.batch_sizes:
            choice, undecided = made.choose(size, rate), made.undecided(size, rate)
            say(
                f"batch size {size} at {format_rate(rate)}: {shown_name(choice.name)}, "
                f"{format_bytes(choice.payload_bytes)} to send{' (undecided)' * undecided}"
            )
            if why := study.how_sure(size, rate, sure).why:
                say(f"  {why}.")
    say(f"saved {made.save(output)}")


@command(*STUDY, OUTPUT, REPLICATES)
def report(output: Path, replicates: int, words: Sequence[str], **asked: Any) -> None:
    r"""Write one HTML page with every figure, table and source; it needs no network.

    Rates are in Mbit/s; 500kbit/s or 2MB/s is understood.

    Examples:
      dscwb report edge.parquet server.parquet -o report.html --input-encoding uint8 \
          --feature-encoding int8
      dscwb report edge.parquet --server-device "H100 SXM" -o report.html --rtt-ms 10 \
          --input-encoding "jpeg 10:1" --feature-encoding float32 --granularity op
    """
    from dscwb.reporting.report import within_bounds

    study = within_bounds(_study(**asked))
    sure = study.confidence(replicates) if replicates else None
    # An option a line, as it would be written into a script.
    quoted = map(shlex.quote, ["dscwb", *words])
    command = " ".join(f"\\\n    {word}" if word.startswith("-") else word for word in quoted)
    say(f"saved {dscwb.report(study, output, confidence=sure, command=command)}")


@command(
    option("profiles", "A folder, files or shipped models: the device, then servers.", nargs="+"),
    OUTPUT,
    option("--speedup", "Of an assumed server.", number(0.01, 1e5), dest="server_speedup"),
    option("--at", "Data rate to begin with, Mbit/s.", one_rate, dest="data_rate_bps"),
    option("--batch-size", "To begin with.", number(1, 1e6, whole=True)),
    *(
        _knob(one.name, one.default or None)
        for one in (*fields(Scenario), *fields(Link))
        if one.name != "link"
    ),
)
def page(profiles: Sequence[str], output: Path, **asked: Any) -> None:
    r"""Write one HTML page with sliders and all views, which needs no kernel and no network.

    It holds every profile given; of two of one model the first is the device and the second the
    server to begin with, of one the server is assumed.

    Examples:
      dscwb page edge.parquet server.parquet -o page.html --input-encoding uint8 \
          --feature-encoding int8 --rtt-ms 10 --at 20
      dscwb page data/profiles -o all.html
    """
    from dscwb.devices.machines import Library
    from dscwb.workbench import SplitWorkbench

    given = {name: value for name, value in asked.items() if value is not None}
    if power := given.pop("power", None):
        given |= {
            one.name: getattr(power, one.name) for one in fields(power) if one.name != "source"
        }
    if len(profiles) == 1:
        bench = SplitWorkbench(profiles[0])
    else:
        machines = [dscwb.as_profile(one) for one in profiles]
        library, (edge, server, *_) = Library(machines), machines
        bench = SplitWorkbench(machines, model=edge.graph.model)
        given["edge"] = library.named(edge)
        if server.graph.model == edge.graph.model:
            given["server"] = library.named(server)
    bench.update(**given)
    say(bench.answer, f"saved {bench.save_page(output, all_models=True)}")


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
    from dscwb.units import format_number, shown_name

    def mbps(rate_bps: float) -> str:
        return "∞" if rate_bps == math.inf else format_number(rate_bps / MBPS)

    return table(
        ("batch", "above Mbit/s", "up to Mbit/s", "best split"),
        (
            (size, mbps(low), mbps(high), shown_name(choice.name))
            for size in batch_sizes
            for choice, low, high in policy.at(size).stretches()
        ),
    )
