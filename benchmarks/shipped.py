"""Measure the profiles that stand in ``data/profiles``: ``python -m benchmarks.shipped``.

On a machine with several cores keep the others' work off the core that measures, for example with
``taskset -c 1``. Models that have a file already are left alone, so an interrupted run goes on.
With ``--threads 2`` nothing else may run: these are the faster machine of the measured pair that
``03-paper`` compares.
"""

from __future__ import annotations

import argparse
import gc
import sys
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


def main() -> None:
    """Measure every model that has no file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="epyc", help="its name in file names")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="these models")
    parser.add_argument("--largest", type=int, default=max(SMALL), help="batch size")
    options = parser.parse_args()
    for model, side, sizes in MODELS:
        batch_sizes = [size for size in sizes if size <= options.largest]
        label = f"{options.machine}-{options.threads}t"
        path = FOLDER / f"{model}-{side}-{label}-float32{SUFFIX}"
        if path.exists() or (options.only and model not in options.only):
            continue
        captured = dscwb.capture(model, side, device=options.device)
        profile = dscwb.profile(captured, batch_sizes, threads=options.threads, progress=True)
        dscwb.save_profile(profile, path)
        states = ", ".join(f"{size}: {profile.status(size)}" for size in profile.batch_sizes)
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB; {states}\n")
        sys.stdout.flush()
        del captured, profile
        gc.collect()


if __name__ == "__main__":
    main()
