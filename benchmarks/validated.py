"""Prediction against execution, six families: ``python -m benchmarks.validated [FOLDER]``.

Each model runs `dscwb validate --emulate` at three data rates and batch sizes 1 and 4, the device
eight times slower than this machine, images as uint8 and features as int8. Nothing else may run
meanwhile. Takes about 20 minutes; FOLDER keeps the requests.
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
    *("--emulate", "--rates", "5,20,100", "--batch-sizes", "1,4", "--gap-ms", "0"),
    *("--device-slowdown", "8", "--input-encoding", "uint8", "--feature-encoding", "int8"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all that the folder lacks, and print a row a model and one for all states together."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validated", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("validated"))
    parser.add_argument("--repeats", default="4")
    options = parser.parse_args(arguments)
    rows, errors, regrets = [], [], []
    for model in MODELS:
        path = options.folder / f"{model}.parquet"
        if not path.exists():
            command = [sys.executable, "-m", "dscwb", "validate", model, *OPTIONS]
            command += ["--repeats", options.repeats, "-o", str(path), "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = dscwb.load_validation(path)
        told = found.verdict()
        rows.append([model, *(told[name] for name in COLUMNS)])
        errors.append(found.errors())
        regrets.append(found.choices()["regret"])
        print(json.dumps(dict(zip(("model", *COLUMNS), rows[-1], strict=True))), flush=True)
    print(pd.DataFrame(rows, columns=["model", *COLUMNS]).round(3).to_string(index=False))
    every, regret = pd.concat(errors), pd.concat(regrets)
    print(
        f"{len(every)} states: median error {every.median():.1%}, nine in ten within "
        f"{every.quantile(0.9):.1%}; regret {regret.mean():.2%} in the mean, "
        f"{regret.max():.1%} at worst"
    )


COLUMNS = ("median_error", "p90_error", "mean_regret", "noise", "states", "requests", "fell_back")

if __name__ == "__main__":
    main()
