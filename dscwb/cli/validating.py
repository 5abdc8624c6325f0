"""The command `dscwb validate`: what was predicted is executed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dscwb
from dscwb.cli.options import command, number, one_rate, option, say, table, whole_numbers
from dscwb.cli.torch_arm import IMAGE_SIZE, MODEL, some

if TYPE_CHECKING:
    import pandas as pd

WORST = 5  # states that are shown
DEADLINE_S = 60.0
"""A slow link is no failure here."""
MEASURED = (
    *("image_size", "weights", "seed", "threads", "batch_sizes", "edge"),
    *("input_encoding", "feature_encoding", "granularity", "device_slowdown"),
)
"""What a `Rig` is told under the same name."""


def _rates(text: str) -> list[float]:
    return [one_rate(part) for part in text.split(",")]


def _numbers(text: str) -> list[float]:
    read = number(0, unit=1e-3)
    return [read(part) for part in text.split(",")]


@command(
    MODEL,
    IMAGE_SIZE,
    option("--server", "HOST:PORT of `dscwb serve`, over the link as it is; else --emulate."),
    option("--emulate", "Server, link and device on this machine.", bool, False),
    option("--edge", "Profile of this device; measured first if left out."),
    option("--server-profile", "Profile of the server; with --emulate measured if left out."),
    option("--rates", "Data rates in Mbit/s, with commas.", _rates, "5,20,100"),
    option("--rtt-ms", "Round trip of the link, ms.", number(0, 10, unit=1e-3), "20", dest="rtt_s"),
    option("--batch-sizes", "1,4 or 1:8.", whole_numbers, "1"),
    option("--gap-ms", "Idle times before a request, ms, with commas.", _numbers, "0"),
    option("--repeats", "Requests of each state; else as many as their scatter asks for.", some),
    option("--input-encoding", "How the input is sent.", default="float32"),
    option("--feature-encoding", "How features are sent.", default="float32"),
    option("--device-slowdown", "Emulate a device slower by this factor.", number(1, 1000), 1.0),
    option("--granularity", "Where to split.", ("auto", "block", "op"), "auto"),
    option("--threads", "CPU threads of each end.", some, 1),
    option("--budget", "Seconds of measuring at a batch size.", number(0), 8.0, dest="budget_s"),
    option("--weights", "State dictionary of the model; else random by --seed.", Path),
    option("--seed", "Of random weights and of the order.", number(0, whole=True), 0),
    option("-o --output", "File for every request, .parquet.", Path),
    option("--json", "Print one JSON object.", bool, False, dest="as_json"),
)
def validate(model: str, output: Path | None, as_json: bool, **asked: Any) -> None:
    """Execute the splits that could be best, and hold each time against its prediction.

    In random order: every split that is best at some rate, no and full offloading, the next best
    two, and a bad one. Ends without a profile are measured before, within and after the run. With
    --emulate the server runs in a process of its own, and the link is made in user space by a
    proxy; each end has one processor where there are two.

    Examples:
      dscwb validate mobilenetv3_small_100 --emulate --rates 5,20,100 -o validation.parquet
      dscwb validate resnet50 --server 10.0.0.2:7000 --server-profile t4.parquet --rates 90 --json
    """
    from tqdm import tqdm

    from dscwb.running.executing import PIECES
    from dscwb.running.rig import Rig

    emulate, address, rates = asked["emulate"], asked["server"], asked["rates"]
    if emulate == (address is not None):
        raise ValueError("Give either --emulate, or --server HOST:PORT of a running `dscwb serve`.")
    if not emulate and asked["server_profile"] is None:
        raise ValueError("--server needs --server-profile, the server's own `dscwb profile`.")
    budget_s = asked["budget_s"] / PIECES
    rig = Rig.measured(
        model,
        **{name: asked[name] for name in MEASURED},
        budget_s=budget_s,
        server=asked["server_profile"],
        data_rates_bps=rates,
        link=dscwb.Link(round_trip_s=asked["rtt_s"]),
        apart=emulate,
    )
    ends = [asked[name] is None for name in ("edge", "server_profile")]
    with ExitStack() as held:
        if emulate:
            client, link = held.enter_context(rig.running(rates[0], deadline_s=DEADLINE_S))
            words, set_rate = "emulated: device, link and server on one machine", link.set_rate
        else:
            host, _, port = address.rpartition(":")
            there = host.strip("[]"), int(port)
            client = held.enter_context(rig.connected(there, deadline_s=DEADLINE_S))
            words, set_rate = "the link as it is", None
        found = dscwb.validate(
            client,
            rig.captured,
            rig.study,
            set_rate=set_rate,
            measure=lambda: [rig.measure(i, budget_s) if ends[i] else None for i in (0, 1)],
            gaps_s=asked["gap_ms"],
            repeats=asked["repeats"],
            seed=asked["seed"],
            link=words,
            progress=lambda plan: tqdm(plan, desc="running", disable=as_json),
        )
    if as_json:
        print(json.dumps(found.verdict(), indent=2))
    else:
        say(found, "", "Worst states, executed and predicted in ms:", _worst(found.states()))
    if output:
        saved = found.save(output)
        if not as_json:
            say(f"saved {saved}")


def _worst(states: pd.DataFrame) -> str:
    """The states that were predicted worst, with their parts."""
    worst = states.iloc[states["error"].abs().argsort()[::-1][:WORST]]
    parts = ("total", "head", "codec", "link", "tail")
    return table(
        ("batch", "Mbit/s", "gap", "split", *parts, "error"),
        (
            (
                row.batch_size,
                row.data_rate_bps / 1e6,
                row.gap_s * 1e3,
                row.split,
                *(
                    f"{1e3 * row[f'{part}_s']:.1f} / {1e3 * row[f'predicted_{part}_s']:.1f}"
                    for part in parts
                ),
                f"{row.error:+.1%}",
            )
            for _, row in worst.iterrows()
        ),
    )
