"""Measure a GPU with one command: ``python -m benchmarks.gpu FOLDER --limit 600``.

The most telling models come first, each on the whole card in float32, on slices of it and in
float16; then what happens where memory runs out under a real cap, then all other models of
`benchmarks.shipped`. Needs a CUDA device and what measuring needs, no notebook and no browser.

After each batch size its file is written, and no batch size is begun that might end after the
limit. The same command goes on where it stopped, until nothing is left. What was found is in
``FOLDER/summary.json``, written anew after each step.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import dscwb
from benchmarks.shipped import MODELS
from dscwb.measuring.checkpoint import save_over, take_up
from dscwb.profiles.files import SUFFIX
from dscwb.profiles.records import Profile
from dscwb.writing import atomically

# Small and large models whose stamps are dear, and one that keeps a GPU busy.
TELLING = ("efficientnet_b0", "efficientnet_b4", "tf_efficientnetv2_s", "vgg16")
DTYPES = ("float32", "float16")
SLICES = (8, 40)  # multiprocessors: the paper's device and its server
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 62)  # up to the paper's largest
LIMIT_S = 600.0
STEP_S = 2.0  # of passes at one batch size
PASSES = 30
CAP_BYTES = 2e9  # under which the last case runs out of memory
OOM_MODEL, OOM_SIDE, OOM_BATCH_SIZES = "resnet50", 224, (1, 2048)

Row = dict[str, Any]


class OutOfTimeError(Exception):
    """The next batch size might end after the limit."""


@dataclass
class Watch:
    """The time that is left.

    Attributes:
        limit_s: Seconds for everything.
        longest_s: What the longest step so far took; no step is begun with less time left.
    """

    limit_s: float
    start_s: float = field(default_factory=lambda: time.perf_counter())
    longest_s: float = 0.0

    def so_far_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start_s

    def time(self, do: Callable[[], Any]) -> Any:
        """Do it and know how long it took.

        Raises:
            OutOfTimeError: It might end after the limit.
        """
        before_s = self.so_far_s()
        if before_s + self.longest_s >= self.limit_s:
            raise OutOfTimeError
        done = do()
        self.longest_s = max(self.longest_s, self.so_far_s() - before_s)
        return done


@dataclass(frozen=True)
class Setting:
    """One file to be measured: a model in an element type, on all of the card or a slice."""

    model: str
    side: int
    dtype: str
    multiprocessors: int | None

    def path(self, folder: Path, device: str) -> Path:
        """``resnet50-224-h200-8sm-float32.parquet``."""
        label = re.sub(r"[^a-z0-9]+", "-", _name(device).lower()).strip("-").removeprefix("nvidia-")
        part = f"-{self.multiprocessors}sm" if self.multiprocessors else ""
        return folder / f"{self.model}-{self.side}-{label}{part}-{self.dtype}{SUFFIX}"


Step = tuple[str, Callable[[Watch], Row]]


def settings(slices: Sequence[int], only: Sequence[str] = ()) -> Iterator[Setting]:
    """All of them, the most telling models first, one model's settings one after the other."""
    sides = {model: side for model, side, _ in MODELS if not only or model in only}
    order = [model for model in TELLING if model in sides]
    for model in (*order, *(model for model in sides if model not in order)):
        for part in (None, *slices):
            yield Setting(model, sides[model], "float32", part)
        yield Setting(model, sides[model], "float16", None)


def steps(
    folder: Path,
    device: str,
    slices: Sequence[int] = SLICES,
    only: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
) -> Iterator[Step]:
    """What there is to do, by name."""
    todo = [setting for setting in settings(slices, only) if setting.dtype in dtypes]
    telling = [setting for setting in todo if setting.model in TELLING]
    others = [setting for setting in todo if setting.model not in TELLING]
    yield from _measuring(telling, folder, device)
    if device.startswith("cuda"):
        yield "out of memory", lambda watch: watch.time(lambda: out_of_memory(device))
    yield from _measuring(others, folder, device)


def _measuring(todo: Iterable[Setting], folder: Path, device: str) -> Iterator[Step]:
    for setting in todo:
        path = setting.path(folder, device)
        yield path.name, lambda watch, s=setting, p=path: measured(p, s, device, watch)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


@lru_cache(maxsize=1)  # the settings of one model come one after the other
def _captured(model: str, side: int, dtype: str, device: str) -> dscwb.CapturedModel:
    return dscwb.capture(model, side, device=device, dtype=getattr(torch, dtype))


def measured(path: Path, setting: Setting, device: str, watch: Watch) -> Row:
    """Measure the batch sizes that the file lacks, one after the other; each is then in the file.

    Raises:
        OutOfTimeError: The limit came before the last of them.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    before_s = watch.so_far_s()
    profile = take_up(path, unfinished)
    for number in range(1, len(BATCH_SIZES) + 1):
        if profile and len(profile.passes) >= number:
            continue
        profile = watch.time(lambda n=number: _measure(path, unfinished, setting, device, n))
    unfinished.unlink(missing_ok=True)
    return {"took_s": watch.so_far_s() - before_s, **figures(profile)}


def _measure(path: Path, unfinished: Path, setting: Setting, device: str, number: int) -> Profile:
    """The first so many batch sizes; what the file holds of them is not measured again."""
    earlier = take_up(path, unfinished)
    captured = _captured(setting.model, setting.side, setting.dtype, device)
    profile = dscwb.profile(
        captured,
        BATCH_SIZES[:number],
        multiprocessors=setting.multiprocessors,
        passes=PASSES,
        budget_s=STEP_S,
        checkpoint=unfinished,
    )
    if "interrupted" in profile.provenance.note:
        raise KeyboardInterrupt
    save_over(path, profile, earlier)
    return profile


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
    captured = dscwb.capture(OOM_MODEL, OOM_SIDE, device=device)
    place = captured.device  # with an index, which the cap below wants
    total = torch.cuda.get_device_properties(place).total_memory
    _captured.cache_clear()  # what the models before this one hold counts under the cap
    gc.collect()
    torch.cuda.empty_cache()
    cap_bytes = CAP_BYTES + torch.cuda.memory_reserved(place)
    torch.cuda.set_per_process_memory_fraction(min(1.0, cap_bytes / total), place)
    try:
        profile = dscwb.profile(captured, OOM_BATCH_SIZES, budget_s=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, place)
    found = [profile.status(size) == "oom" for size in OOM_BATCH_SIZES]
    return {"as_expected": found == [False, True], "cap_bytes": cap_bytes, **figures(profile)}


def run(folder: Path, todo: Iterable[Step], limit_s: float) -> Row:
    """Take step after step; a failing one is a row too, and so is one that no time was left for."""
    watch, summary = Watch(limit_s), {"steps": {}, "left_for_next_time": []}
    for name, step in todo:
        try:
            summary["steps"][name] = step(watch)
        except OutOfTimeError:
            summary["left_for_next_time"].append(name)
            _write(folder / "summary.json", summary)
            continue
        except (ValueError, RuntimeError, OSError) as error:
            summary["steps"][name] = {"failed": str(error)}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        sys.stdout.write(f"{watch.so_far_s():6.0f} s  {name}\n")
        sys.stdout.flush()
        _write(folder / "summary.json", summary)
    return summary


def _write(path: Path, summary: Row) -> None:
    """Whole or not at all; numbers that there are none of (NaN) become null."""
    with atomically(path) as file:
        file.write_text(json.dumps(_without_nan(summary), indent=2) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is left; exit status 1 where a step failed or is left."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for everything")
    parser.add_argument("--only", nargs="*", default=(), help="these models")
    parser.add_argument("--dtypes", nargs="*", default=DTYPES, help="these element types")
    parser.add_argument(
        "--multiprocessors", nargs="*", type=int, default=SLICES, help="sizes of slices"
    )
    options = parser.parse_args(arguments)
    on_gpu = options.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; run this on a machine with one.")
    options.folder.mkdir(parents=True, exist_ok=True)
    slices = options.multiprocessors if on_gpu else ()
    todo = steps(options.folder, options.device, slices, options.only, options.dtypes)
    summary = run(options.folder, todo, options.limit)
    failed = [name for name, row in summary["steps"].items() if "failed" in row]
    return 1 if failed or summary["left_for_next_time"] else 0


if __name__ == "__main__":
    sys.exit(main())
