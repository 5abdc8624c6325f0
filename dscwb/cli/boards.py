"""The commands that fill a shelf of profiles: `dscwb plan` says what is to be measured, `dscwb
measure` has the boards of a dask cluster do it.
"""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dscwb
from dscwb.cli.options import PARSER, command, number, option, say, table, whole_numbers
from dscwb.cli.torch_arm import IMAGE_SIZE, INTERRUPTED, THREADS
from dscwb.units import format_seconds

if TYPE_CHECKING:
    import pandas as pd

    from dscwb.scaling.plans import Job

NOT_ALL = 1  # exit status: some jobs have no profile
HOW_TO_START = "a board is started there with: dask worker {} --resources '{}=1' --nthreads 1"


def _names(text: str) -> list[str]:
    if found := re.findall(r"[^\s,]+", text):
        return found
    raise ArgumentTypeError(f"is {text!r}; give names with commas: jetson-orin,pi5.")


def _address(text: str) -> str:
    if not re.fullmatch(r"[a-z]+://\S+:\d+", text):
        raise ArgumentTypeError(f"is {text!r}; give tcp://HOST:PORT, or tls://HOST:PORT.")
    return text


@command(
    option("models", "Text file with a timm model a line; # begins a comment.", Path),
    option("--devices", "Names of the boards' resources, with commas.", _names, required=True),
    option("--batch-sizes", "A list or ranges: 1,2,4 or 1:8 or 1:8,16.", whole_numbers, "1"),
    IMAGE_SIZE,
    THREADS,
    option("--options", "More of `dscwb profile`: --options='--device cuda'.", default=""),
    option("-o --output", "Plan to write, .csv.", Path, required=True),
)
def plan(
    models: Path,
    devices: Sequence[str],
    batch_sizes: Sequence[int],
    image_size: int | None,
    threads: int | None,
    options: str,
    output: Path,
) -> None:
    """Write down what is to be measured on which boards, as a table to edit.

    One line for each model and board, with the name of the profile's file. A board's name is that
    of the resource with which its owner starts it; see `dscwb measure`.

    Examples:
      dscwb plan models.txt --devices jetson-orin,pi5 --batch-sizes 1,2,4 -o plan.csv
      dscwb plan models.txt --devices t4 --options="--device cuda --dtype float16" -o plan.csv
    """
    from dscwb.scaling.plans import Job, write_plan

    lines = (line.partition("#")[0].strip() for line in models.read_text("utf-8").splitlines())
    names = list(dict.fromkeys(filter(None, lines)))
    sides = {name: image_size or _own_side(name) for name in names}
    jobs = []
    for board in dict.fromkeys(devices):
        for name, side in sides.items():
            job = Job(board, name, tuple(batch_sizes), side, threads, options, "none.parquet")
            used = [f"{threads}t"] if threads else []
            words = [name, f"{side}", board, *used, _checked(job).dtype]
            jobs.append(Job(**{**vars(job), "file": f"{'-'.join(words)}.parquet"}))
    write_plan(jobs, output)
    say(f"{len(jobs)} jobs: {len(names)} models on {len(set(devices))} boards", f"saved {output}")


@command(
    option("plan", "Table of `dscwb plan`.", Path),
    option("--scheduler", "Of the dask cluster: tcp://HOST:PORT.", _address, required=True),
    option("-o --output", "Folder for the profiles.", Path, required=True),
    option(
        "--patience",
        "Seconds to wait for a sign of a board (it came, began a job or ended one); give more than "
        "its longest job takes. For ever if left out.",
        number(0),
    ),
)
def measure(plan: Path, scheduler: str, output: Path, patience: float | None) -> int:
    r"""Have the boards of a dask cluster measure a plan, and keep their profiles in a folder.

    Somebody starts `dask scheduler`, and the owner of each board a worker there, with the name that
    the plan has for it: dask worker tcp://HOST:8786 --resources "pi5=1" --nthreads 1. It needs the
    same dscwb with the extras `torch` and `dask`. A board measures one job at a time, alone, and
    only those with its name. The same command goes on where it was. Exits with status 1 where a job
    has no profile.

    A dask cluster runs whatever its clients send: keep it in a network that you trust, or behind
    TLS (dask's own means, tls://HOST:PORT).

    Examples:
      dscwb measure plan.csv --scheduler tcp://10.0.0.2:8786 -o profiles
      dscwb measure plan.csv --scheduler tcp://10.0.0.2:8786 -o profiles --patience 600
    """
    from distributed import Client

    from dscwb.scaling.plans import read_plan

    jobs, shown = read_plan(plan), set[tuple[str, ...]]()
    for job in jobs:
        _checked(job)

    def told(table: pd.DataFrame) -> None:
        """Show what is new."""
        for row in table.itertuples():
            what = (f"{row.file}", f"{row.state}", f"{row.why}")
            if what not in shown and (row.why or row.state != "waiting"):
                say(f"{row.board}: {row.model} is {row.state}" + f": {row.why}" * bool(row.why))
            shown.add(what)

    say(HOW_TO_START.format(scheduler, jobs[0].board))
    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        found = dscwb.measured(jobs, client, output, patience_s=patience, told=told)
    columns = ["board", "model", "state", "seconds", "why"]
    seconds = found["seconds"].map(format_seconds)
    say("", table(columns, found.assign(seconds=seconds)[columns].itertuples(index=False)))
    if "cancelled" in set(found["state"]):
        return INTERRUPTED
    return 0 if (found["state"] == "done").all() else NOT_ALL


def _own_side(model: str) -> int:
    """Side in pixels of the image that a timm model takes."""
    import timm

    from dscwb.capturing.models import check_name

    check_name(model)
    about = timm.get_pretrained_cfg(model)
    if about is None:
        raise ValueError(f"timm does not say which images {model} takes; give --image-size.")
    return int(about.input_size[-1])


def _checked(job: Job) -> Namespace:
    """What `dscwb profile` makes of a job; what it would refuse on the board is refused here."""
    try:
        found, unknown = PARSER.parse_known_args(["profile", *job.words(), "-o", job.file])
    except ValueError as error:
        raise ValueError(f"{job.model} on {job.board}: {error}") from None
    if unknown:
        raise ValueError(
            f"options is {shlex.join(unknown)!r}, which `dscwb profile` does not know."
        )
    return found
