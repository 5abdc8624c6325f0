"""Every timm family's smallest model captured and measured: ``python -m benchmarks.families``.

One row a family goes into ``data/families.csv``, and all of them as a table into
``data/families.md``. Each family runs in a process of its own, so that a crash costs its row only;
families that have a row already are left alone, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dscwb.writing import atomically

if TYPE_CHECKING:
    import dscwb

T = TypeVar("T")
DATA = Path(__file__).parent.parent / "data"
CSV, MARKDOWN = DATA / "families.csv", DATA / "families.md"

TEST_MODELS = "test_*"  # timm's own fixtures, which nobody deploys
BATCH_SIZES = (1, 2)
PASSES = 10  # plain and stamped together, the fewest that `dscwb.profile` takes
BUDGET_S = 2.0  # for more passes where times scatter
VERIFIED_CUTS = 12  # spread evenly from input to output,
VERIFY_S = 60.0  # or fewer where that many passes take longer than this,
FEWEST_VERIFIED = 3  # input, middle and output
VERIFIED_BATCH = 3  # neither traced nor measured
MEMORY_BYTES = 20 * 2**30  # of address space, for one family
LIMIT_S = 1800.0  # for one family; a large transformer takes 20 s a pass
MS = 1e3


@dataclass(frozen=True)
class Row:
    """What became of one family.

    Attributes:
        family: Name of timm's module.
        model: Its member with the fewest parameters, timm's own test models left out.
        parameters: Of that model.
        image: Shape of one sample, as timm gives it for this model: ``3x224x224``.
        cuts: Number of cuts, input and output included.
        capture_s: Seconds that `dscwb.capture` took, its own check of the output included.
        t1_ms: Median time of a whole pass at batch size 1.
        spread1: Interquartile range of these passes over their median.
        t2_ms: The same at batch size 2.
        spread2: The same at batch size 2.
        equal: Cuts at which head and tail gave the whole model's output, bit by bit,
        tried: of so many.
        reason: Why something is missing; empty where nothing is.
        date: UTC date.
        machine: Processor, clock and threads.
        versions: Of the libraries.
    """

    family: str
    model: str = ""
    parameters: int = 0
    image: str = ""
    cuts: int = 0
    capture_s: float = 0.0
    t1_ms: float = 0.0
    spread1: float = 0.0
    t2_ms: float = 0.0
    spread2: float = 0.0
    equal: int = 0
    tried: int = 0
    reason: str = ""
    date: str = ""
    machine: str = ""
    versions: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason and 0 < self.tried == self.equal


# In the process of one family.


def smallest(family: str) -> tuple[str, int]:
    """The member with the fewest parameters and their number; weights are not allocated."""
    import timm
    import torch

    def parameters(model: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(model).parameters())

    if family not in timm.list_modules():  # else all models would be listed
        raise ValueError(f"timm has no module {family!r}")
    models = timm.list_models(module=family, exclude_filters=TEST_MODELS)
    return min(((name, parameters(name)) for name in models), key=lambda pair: pair[1])


def measure(family: str) -> Row:
    """The whole row; where a step fails, what the steps before it found, and the reason."""
    import torch

    import dscwb

    torch.set_num_threads(1)
    row, step = Row(family), "counting parameters"
    try:
        model, parameters = smallest(family)
        row, step = replace(row, model=model, parameters=parameters), "capture"
        start = time.perf_counter()
        captured = dscwb.capture(model)
        took = time.perf_counter() - start
        row, step = replace(_captured(row, captured), capture_s=round(took, 2)), "verification"
        cuts = spread(dscwb.all_cuts(captured.graph), affordable(captured))
        unequal = dscwb.verify(captured, cuts, VERIFIED_BATCH)
        row = replace(row, equal=len(cuts) - len(unequal), tried=len(cuts))
        step = "profile"
        profile = dscwb.profile(
            captured, BATCH_SIZES, threads=1, passes=PASSES, budget_s=BUDGET_S, verify=False
        )
        return _profiled(row, profile)
    except Exception as error:  # whatever it is, it is this family's result
        traceback.print_exc()
        line = " ".join(str(error).split())[:300]
        return replace(row, reason=f"{step}: {type(error).__name__}: {line}")


def affordable(captured: dscwb.CapturedModel) -> int:
    """Number of cuts to verify; each takes about one pass."""
    import torch

    inputs = captured.inputs(VERIFIED_BATCH)
    start = time.perf_counter()
    with torch.inference_mode():
        captured.module(*inputs)
    fitting = int(VERIFY_S / (time.perf_counter() - start))
    return max(FEWEST_VERIFIED, min(fitting, VERIFIED_CUTS))


def spread(items: Sequence[T], number: int) -> list[T]:
    """So many of the items, evenly from the first to the last; all where there are fewer."""
    last = len(items) - 1
    places = {round(i * last / (number - 1)) for i in range(number)}
    return [items[k] for k in sorted(places)]


def _captured(row: Row, captured: dscwb.CapturedModel) -> Row:
    image = "x".join(map(str, captured.graph.inputs[0].shape[1:]))
    return replace(row, image=image, cuts=len(captured.graph.layers) + 1)


def _profiled(row: Row, profile: dscwb.Profile) -> Row:
    source = profile.provenance
    times = {size: MS * profile.total_s(size) for size in profile.batch_sizes}
    missing = [f"{size}: {profile.status(size)}" for size in BATCH_SIZES if size not in times]
    return replace(
        row,
        t1_ms=round(times.get(1, 0.0), 2),
        t2_ms=round(times.get(2, 0.0), 2),
        spread1=round(profile.spread(1), 3) if 1 in times else 0.0,
        spread2=round(profile.spread(2), 3) if 2 in times else 0.0,
        reason=f"profile: batch size {', '.join(missing)}" if missing else "",
        date=source.date[:10],
        machine=f"{source.device}, {source.clocks}, {source.threads} thread, {source.dtype}",
        versions=", ".join(f"{name} {version}" for name, version in source.versions),
    )


# In the process that starts the others.


def run_apart(family: str, limit_s: float = LIMIT_S) -> Row:
    """The row of one family from a process of its own, which may crash or take too long."""
    command = [sys.executable, "-m", "benchmarks.families", "--child", family]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Row(family, reason=f"took longer than {limit_s:g} s")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return Row(family, reason=f"its process ended with status {done.returncode}")
    return Row(**json.loads(lines[-1]))


def run(
    families: Iterable[str], path: Path, one: Callable[[str], Row] = run_apart
) -> dict[str, Row]:
    """Rows of these families beside those in the file, which gets each as soon as it is there."""
    rows = read(path)
    for family in families:
        start = time.perf_counter()
        rows[family] = one(family)
        write(path, rows.values())
        row, took = rows[family], time.perf_counter() - start
        state = "ok" if row.ok else row.reason or f"equal at {row.equal} of {row.tried}"
        print(f"{family}: {row.model}, {state}, {took:.0f} s", flush=True)
    return rows


def read(path: Path) -> dict[str, Row]:
    """The rows of a file by family; none where there is no file."""
    if not path.exists():
        return {}
    kinds = {"int": int, "float": float, "str": str}
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    rows = [Row(**{f.name: kinds[str(f.type)](row[f.name]) for f in fields(Row)}) for row in found]
    return {row.family: row for row in rows}


def write(path: Path, rows: Iterable[Row]) -> None:
    """All rows, by family; the file before stays whole until this one is."""
    with atomically(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.family))


def markdown(rows: Sequence[Row]) -> str:
    """The page: what was done where, the sum, what failed, the table."""
    done = [row for row in rows if row.ok]
    failed = [row for row in rows if not row.ok]
    parts = [
        "# Every model family of timm\n",
        f"The smallest model of each of timm's {len(rows)} modules (fewest parameters; timm's own "
        "test models left out), with random weights, at the image size that timm gives for it: "
        "captured, cut, and profiled on one core.\n",
        f"**{len(done)} of {len(rows)} families** are captured, give the whole model's output bit "
        f"by bit from head and tail at every cut tried ({sum(r.equal for r in rows):,} of "
        f"{sum(r.tried for r in rows):,} cuts in all, up to {VERIFIED_CUTS} a model, spread "
        f"evenly from input to output, at batch size {VERIFIED_BATCH}), and "
        "are profiled at batch sizes 1 and 2.\n",
        *_conditions(rows),
        f"*T*: median time of a whole pass; *IQR/T*: interquartile range of these passes over "
        f"it. With {PASSES} passes or {BUDGET_S:g} s of them they tell the size of a model, not "
        "its speed to the per cent: the files in `profiles` do that. The same rows, and why one "
        "failed, are in `families.csv`. This page is written by\n\n"
        "    python -m benchmarks.families\n",
        *(["## What failed\n", _failures(failed)] if failed else []),
        "## All families\n",
        HEAD + "".join(map(_line, rows)),
    ]
    return "\n".join(parts)


HEAD = (
    "| module | model | parameters | image | cuts | capture | T(1) | IQR/T | T(2) | IQR/T | "
    "equal |\n|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|\n"
)


def _line(row: Row) -> str:
    def of(value: float, text: str) -> str:
        return text if value else "–"

    cells = (
        f"`{row.family}`",
        f"`{row.model}`" if row.model else "–",
        of(row.parameters, f"{row.parameters / 1e6:.2f} M"),
        row.image.replace("x", " × ") or "–",
        of(row.cuts, f"{row.cuts:,}"),
        of(row.capture_s, f"{row.capture_s:.1f} s"),
        of(row.t1_ms, f"{row.t1_ms:.1f} ms"),
        of(row.t1_ms, f"{row.spread1:.0%}"),
        of(row.t2_ms, f"{row.t2_ms:.1f} ms"),
        of(row.t2_ms, f"{row.spread2:.0%}"),
        of(row.tried, f"{row.equal} of {row.tried} cuts"),
    )
    return f"| {' | '.join(cells)} |\n"


def _conditions(rows: Sequence[Row]) -> list[str]:
    """Machine, versions and dates, each that occurs."""
    dates = sorted({row.date for row in rows if row.date})
    said = [("Machine", {r.machine for r in rows}), ("Versions", {r.versions for r in rows})]
    lines = [f"* {what}: {one}\n" for what, many in said for one in sorted(many) if one]
    return ["".join([*lines, f"* Date: {', '.join(dates)}\n"])] if dates else []


def _failures(rows: Sequence[Row]) -> str:
    return "".join(
        f"* `{row.family}` ({row.model or 'no model'}): "
        f"{row.reason or f'head and tail differ at {row.tried - row.equal} cuts'}\n"
        for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every family that has no row yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("--only", nargs="*", help="these families, measured anew")
    parser.add_argument("--table", action="store_true", help="only write the page from the rows")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        print(json.dumps(asdict(measure(options.child))))
        return
    import timm

    known = {} if options.only else read(CSV)
    families = options.only or [name for name in timm.list_modules() if name not in known]
    rows = read(CSV) if options.table else run(families, CSV)
    with atomically(MARKDOWN) as file:
        file.write_text(markdown(sorted(rows.values(), key=lambda row: row.family)))


if __name__ == "__main__":
    main()
