"""Functions that other processes run as cells; each run leaves a file, to be counted."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def counted(runs: str, label: Any) -> None:
    (Path(runs) / f"{label}-{secrets.token_hex(4)}").touch()


def times_run(runs: Path) -> dict[int, int]:
    labels = [int(path.name.partition("-")[0]) for path in runs.iterdir()]
    return {label: labels.count(label) for label in sorted(set(labels))}


def drawn(seed: int, scale: float = 1.0, runs: str = "") -> dict[str, Any]:
    """Numbers of every kind that a table holds."""
    if runs:
        counted(runs, seed)
    found = np.random.default_rng(seed).normal(0, scale, 3)
    return {"mean": found.mean(), "above": int((found > 0).sum()), "name": f"n{seed}"}


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame({"k": range(count), "square": [k * k for k in range(count)]})


def picky(seed: int, bad: int) -> dict[str, int]:
    if seed == bad:
        raise ValueError(f"{seed} is\nbad")
    return {"square": seed * seed}


def killed_once(seed: int, at: int, runs: str) -> dict[str, Any]:
    """As `drawn`; the first process that is asked for the cell `at` is killed in its middle."""
    counted(runs, seed)
    if seed == at and times_run(Path(runs))[at] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(seed)


def held(seed: int, at: int, pipes: str) -> dict[str, Any]:
    """As `drawn`; the first run of the cell `at` says that it has begun, and waits for a word.

    Both are pipes in a folder, where whoever opens one waits for the other end.
    """
    folder = Path(pipes)
    counted(f"{folder / 'runs'}", seed)
    if seed == at and times_run(folder / "runs")[at] == 1:
        (folder / "begun").write_text("begun")
        (folder / "go").read_text()
    return drawn(seed)
