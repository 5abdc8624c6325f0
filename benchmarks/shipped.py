"""Measure all profiles of ``data/profiles``: ``python -m benchmarks.shipped``, or into a FOLDER.

Every model on one thread, the EfficientNets on two as well: these are the measured pair that
``03-paper`` compares, so the two are measured one after the other, in the same mood of the machine.
Nothing else may run meanwhile. A file that is there is left alone and an interrupted one goes on,
so the command can be given again until all are there.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import dscwb
from dscwb.profiles.files import SUFFIX

FOLDER = Path(__file__).parent.parent / "data" / "profiles"
# Model, side of the image (the paper's native sizes), batch sizes that one core does in minutes.
SMALL, MIDDLE, LARGE, HUGE = (1, 2, 4, 8, 16), (1, 2, 4, 8), (1, 2, 4), (1, 2)
MODELS: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("efficientnet_b0", 224, SMALL),
    ("efficientnet_b4", 380, LARGE),
    ("tf_efficientnetv2_s", 384, LARGE),
    ("mobilenetv3_large_100", 224, SMALL),
    ("resnet50", 224, MIDDLE),
    ("tf_efficientnetv2_b0", 224, SMALL),
    ("efficientnet_b1", 240, MIDDLE),
    ("convnext_tiny", 224, MIDDLE),
    ("vit_small_patch16_224", 224, MIDDLE),
    ("swin_tiny_patch4_window7_224", 224, MIDDLE),
    ("tf_efficientnetv2_b1", 240, MIDDLE),
    ("tf_efficientnetv2_b2", 260, MIDDLE),
    ("tf_efficientnetv2_b3", 300, MIDDLE),
    ("efficientnet_b2", 260, MIDDLE),
    ("efficientnet_b3", 300, MIDDLE),
    ("regnety_016", 224, MIDDLE),
    ("densenet121", 224, MIDDLE),
    ("inception_v3", 299, LARGE),
    ("mobilevit_s", 256, MIDDLE),
    ("maxvit_pico_rw_256", 256, LARGE),
    ("vgg16", 224, HUGE),
    ("efficientnet_b5", 456, HUGE),
    ("efficientnet_b6", 528, HUGE),
    ("tf_efficientnetv2_m", 480, HUGE),
    ("efficientnet_b7", 600, (1,)),
    ("tf_efficientnetv2_l", 480, (1,)),
)
# Threads, and the largest batch size that fits into the time.
PAIRED, PAIR = ("efficientnet", "tf_efficientnetv2"), {1: max(SMALL), 2: 4}


@dataclass(frozen=True)
class Job:
    """One file to be measured."""

    path: Path
    model: str
    side: int
    batch_sizes: list[int]
    threads: int

    @property
    def missing(self) -> bool:
        return not self.path.exists()


def jobs(folder: Path, machine: str, only: Sequence[str]) -> Iterator[Job]:
    """Every file, those of one model one after the other."""
    for model, side, sizes in MODELS:
        for threads, largest in PAIR.items() if model.startswith(PAIRED) else [(1, max(sizes))]:
            path = folder / f"{model}-{side}-{machine}-{threads}t-float32{SUFFIX}"
            if not only or model in only:
                yield Job(path, model, side, [n for n in sizes if n <= largest], threads)


def measured(captured: dscwb.CapturedModel, job: Job) -> str:
    """Measure into a file; what was measured, in words."""
    unfinished = job.path.with_name(f"{job.path.name}.unfinished")
    profile = dscwb.profile(
        captured, job.batch_sizes, threads=job.threads, progress=True, checkpoint=unfinished
    )
    if "interrupted" in profile.provenance.note:
        raise KeyboardInterrupt
    dscwb.save_profile(profile, job.path)
    unfinished.unlink(missing_ok=True)
    states = ", ".join(f"{size}: {profile.status(size)}" for size in profile.batch_sizes)
    return f"{job.path.name}: {job.path.stat().st_size / 1e3:.0f} kB; {states}"


def main() -> None:
    """Measure whatever has no file yet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shipped", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--machine", default="epyc", help="its name in file names")
    parser.add_argument("--only", nargs="*", default=(), help="these models")
    options = parser.parse_args()
    missing = [job for job in jobs(options.folder, options.machine, options.only) if job.missing]
    for model, of_model in groupby(missing, key=lambda job: job.model):
        todo = list(of_model)
        captured = dscwb.capture(model, todo[0].side)
        for job in todo:
            sys.stdout.write(f"{measured(captured, job)}\n")
            sys.stdout.flush()
        del captured
        gc.collect()


if __name__ == "__main__":
    main()
