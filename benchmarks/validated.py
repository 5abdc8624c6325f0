"""Prediction against execution, six families: ``python -m benchmarks.validated [FOLDER]``.

Each model runs `dscwb validate --emulate` at three data rates and batch sizes 1 and 4, the device
eight times slower than this machine, images as uint8 and features as int8. Nothing else may run
meanwhile. Takes about half an hour; FOLDER keeps the requests, and only models that it lacks run:
all, or those named after ``--models``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import dscwb

MODELS = (
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "resnet18",
    "vit_tiny_patch16_224",
    "regnety_002",
    "convnext_atto",
)
OPTIONS = (
    *("--emulate", "--rates", "5,20,100", "--batch-sizes", "1,4"),
    *("--device-slowdown", "8", "--input-encoding", "uint8", "--feature-encoding", "int8"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all that the folder lacks, and print a row a model and one for all states together."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validated", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("validated"))
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args(arguments)
    rows, states, choices = [], [], []
    for model in options.models:
        path = options.folder / f"{model}.parquet"
        if not path.exists():
            command = [sys.executable, "-m", "dscwb", "validate", model, *OPTIONS]
            command += ["-o", str(path), "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = dscwb.load_validation(path)
        told = found.verdict()
        rows.append([model, *(told[name] for name in COLUMNS)])
        states.append(found.states())
        choices.append(found.choices())
        print(json.dumps(dict(zip(("model", *COLUMNS), rows[-1], strict=True))), flush=True)
    print(pd.DataFrame(rows, columns=["model", *COLUMNS]).round(3).to_string(index=False))
    every, chosen = pd.concat(states), pd.concat(choices)
    errors, regret = every["error"].abs(), chosen["regret"]
    print(
        f"{len(every)} states: median error {errors.median():.1%}, nine in ten within "
        f"{errors.quantile(0.9):.1%}; {every['inside'].mean():.0%} within their intervals; regret "
        f"{regret.mean():.2%} in the mean, {regret.max():.1%} at worst, "
        f"{regret.where(~chosen['tie'], 0.0).mean():.2%} beyond noise"
    )


COLUMNS = (
    *("median_error", "p90_error", "mean_regret", "regret_beyond_noise", "coverage"),
    *("noise", "states", "requests", "fell_back"),
)

if __name__ == "__main__":
    main()
