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
    """Copy the shipped notebooks into a folder; those already there stay as they are.

    Args:
        folder: Made where it does not exist.

    Returns:
        The notebooks that were copied.

    Raises:
        LabError: The package came without notebooks, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file; name a folder for the notebooks.")
    found = sorted(_shipped().glob("*.ipynb"))
    new = [path for path in found if not (folder / path.name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        with atomically(folder / path.name) as file:
            shutil.copy(path, file)
    return [folder / path.name for path in new]


def open_lab(folder: Path, flags: Sequence[str] = ()) -> int:
    """Run JupyterLab on the first notebook of a folder, on this machine only, until it ends.

    Args:
        folder: Where the notebooks are.
        flags: Handed through, such as ``--no-browser``.

    Returns:
        Its exit status.

    Raises:
        LabError: JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise LabError("JupyterLab is not installed here; run: pip install 'dscwb[lab]'")
    command = [sys.executable, "-m", "jupyter", "lab", "--ServerApp.ip=127.0.0.1"]
    command += ["--ServerApp.root_dir=.", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    if getattr(os, "geteuid", lambda: 1)() == 0:  # in a container, say: JupyterLab would refuse
        command.append("--allow-root")
    command += flags
    return subprocess.run(command, cwd=folder, check=False).returncode


def _shipped() -> Path:
    """The notebooks in the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / FIRST).exists():
            return folder
    raise LabError("This dscwb came without its notebooks; install it anew, or clone it.")
