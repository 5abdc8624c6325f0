"""A folder to work in: the shipped notebooks go into it, JupyterLab opens on the first."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dscwb.writing import atomically

FIRST = "01-explore.ipynb"


class LabError(RuntimeError):
    """JupyterLab or the notebooks are not there: says what to do."""


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the shipped notebooks into a folder, made if need be; those already there stay."""
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file; name a folder for the notebooks.")
    package = Path(__file__).parents[1]  # installed with the notebooks, or beside them in a clone
    found = [*package.glob("notebooks/*.ipynb"), *package.parent.glob("notebooks/*.ipynb")]
    if not found:
        raise LabError("This dscwb came without its notebooks; install it anew, or clone it.")
    new = {folder / one.name: one for one in sorted(found) if not (folder / one.name).exists()}
    for path, shipped in new.items():
        with atomically(path) as file:
            shutil.copy(shipped, file)
    return list(new)


def open_lab(folder: Path, flags: Sequence[str] = ()) -> int:
    """Run JupyterLab on the first notebook of a folder, on this machine only, until it ends."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise LabError("JupyterLab is not installed here; run: pip install 'dscwb[lab]'")
    command = [sys.executable, "-m", "jupyter", "lab", "--ServerApp.ip=127.0.0.1"]
    command += ["--ServerApp.root_dir=.", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    if getattr(os, "geteuid", lambda: 1)() == 0:  # in a container, say: JupyterLab would refuse
        command.append("--allow-root")
    return subprocess.run([*command, *flags], cwd=folder, check=False).returncode
