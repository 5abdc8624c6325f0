"""Measure a GPU with one command: ``python -m benchmarks.gpu FOLDER``.

Every model of `benchmarks.shipped` in float32 and float16 with raw passes, then what happens where
memory runs out under a real cap. Needs a CUDA device and what measuring needs, no notebook. A model
with a file already is left alone and an interrupted one goes on, so the command can be given again
until nothing is left. What was found is in ``FOLDER/summary.json``, written anew after each step.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import dscwb
from benchmarks.shipped import MODELS
from dscwb.profiles.files import SUFFIX
from dscwb.profiles.records import Profile

DTYPES = ("float32", "float16")
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
BUDGET_S = 1500.0  # of the whole command; no step starts after it
STEP_S = 2.0  # of passes at one batch size
PASSES = 30
CAP_BYTES = 2e9  # under which the last case runs out of memory
OOM_MODEL, OOM_SIDE, OOM_BATCH_SIZES = "resnet50", 224, (1, 2048)

Row = dict[str, Any]
Step = tuple[str, Callable[[], Row]]


def steps(folder: Path, device: str, only: Sequence[str] = ()) -> Iterator[Step]:
    """What there is to do, by name, the quickest to learn something from first."""
    label = re.sub(r"[^a-z0-9]+", "-", _name(device).lower()).strip("-")
    for dtype in DTYPES:
        for model, side, _ in MODELS:
            if not only or model in only:
                path = folder / f"{model}-{side}-{label}-{dtype}{SUFFIX}"
                yield (
                    path.name,
                    lambda p=path, m=model, s=side, d=dtype: measured(p, m, s, d, device),
                )
    if device.startswith("cuda"):
        yield "out of memory", lambda: out_of_memory(device)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def measured(path: Path, model: str, side: int, dtype: str, device: str) -> Row:
    """Measure one model, or read the file where that was done before."""
    if path.exists():
        return figures(dscwb.load_profile(path))
    captured = dscwb.capture(model, side, device=device, dtype=getattr(torch, dtype))
    unfinished = path.with_name(f"{path.name}.unfinished")
    start = time.perf_counter()
    profile = dscwb.profile(
        captured,
        BATCH_SIZES,
        passes=PASSES,
        budget_s=STEP_S,
        checkpoint=unfinished,
    )
    took_s = time.perf_counter() - start
    if "interrupted" in profile.provenance.note:
        raise KeyboardInterrupt
    dscwb.save_profile(profile, path)
    unfinished.unlink(missing_ok=True)
    return {"took_s": took_s, **figures(profile)}


def figures(profile: Profile) -> Row:
    """How far to believe a profile: by batch size what `bench` asks of one-pass measuring."""
    source = profile.provenance
    return {
        "device": source.device,
        "clocks": source.clocks,
        "throttled": list(source.throttled),
        "note": source.note,
        "copies": 0 if profile.transfers is None else len(profile.transfers.sizes_bytes),
        "batch_sizes": {passes.batch_size: _figures(profile, passes) for passes in profile.passes},
    }


def _figures(profile: Profile, passes: Any) -> Row:
    size = passes.batch_size
    if passes.oom:
        return {"status": "oom"}
    error = dscwb.model_error(profile, size)
    stamped, low, high = dscwb.calibration(profile, size)
    return {
        "status": profile.status(size),
        "total_s": profile.total_s(size),
        "spread": profile.spread(size),
        "one_pass_head_minus_executed": error.head,
        "one_pass_tail_minus_executed": error.tail,
        "cuts_executed": error.cuts,
        "stamped_over_plain": [stamped, low, high],
        "to_host_s": float(profile.to_host_s(size).max()),
        "to_device_s": float(profile.to_device_s(size).max()),
    }


def out_of_memory(device: str) -> Row:
    """A batch size that cannot fit under a real cap on this process's memory is a row."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, CAP_BYTES / total), device)
    try:
        captured = dscwb.capture(OOM_MODEL, OOM_SIDE, device=device)
        profile = dscwb.profile(captured, OOM_BATCH_SIZES, budget_s=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    found = [profile.status(size) == "oom" for size in OOM_BATCH_SIZES]
    return {"as_expected": found == [False, True], "cap_bytes": CAP_BYTES, **figures(profile)}


def run(folder: Path, todo: Iterator[Step], budget_s: float) -> Row:
    """Take step after step; a failing one is a row too, and so is one that no time was left for."""
    start, summary = time.perf_counter(), {"steps": {}, "left_for_next_time": []}
    for name, step in todo:
        if time.perf_counter() - start >= budget_s:
            summary["left_for_next_time"].append(name)
        else:
            try:
                summary["steps"][name] = step()
            except (ValueError, RuntimeError, OSError) as error:
                summary["steps"][name] = {"failed": str(error)}
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            sys.stdout.write(f"{time.perf_counter() - start:6.0f} s  {name}\n")
            sys.stdout.flush()
        _write(folder / "summary.json", summary)
    return summary


def _write(path: Path, summary: Row) -> None:
    """Whole or not at all; numbers that there are none of (NaN) become null."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(_without_nan(summary), indent=2) + "\n")
    os.replace(part, path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is left; exit status 1 where a step failed or is left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--only", nargs="*", default=(), help="these models")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; run this on a machine with one.")
    options.folder.mkdir(parents=True, exist_ok=True)
    todo = steps(options.folder, options.device, options.only)
    summary = run(options.folder, todo, options.budget)
    failed = [name for name, row in summary["steps"].items() if "failed" in row]
    return 1 if failed or summary["left_for_next_time"] else 0


if __name__ == "__main__":
    sys.exit(main())
