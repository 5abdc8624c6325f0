"""Called by `make test`: finds a Chromium, else gets one, else says how one is got."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.browser import HOW_TO_GET_ONE, find_chromium

PLAYWRIGHT = [[sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]]
DEBIAN = [
    ["apt-get", "update"],
    # Without the recommended desktop, but with a font: text would be blank.
    ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "fonts-liberation"],
]


def ensure_chromium() -> Path:
    """The browser's path; stops the program with a sentence where there is none to be had."""
    for commands in ([], *ways_to_get_one()):
        # A way may fail (no network, a missing library): what counts is what is found after it.
        all(run(command) for command in commands)
        if path := find_chromium():
            return path
    sys.exit(HOW_TO_GET_ONE)


def ways_to_get_one() -> list[list[list[str]]]:
    """Lists of commands, what needs no administrator first."""
    if os.environ.get("DSCWB_CHROMIUM"):
        return []
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [PLAYWRIGHT, DEBIAN] if is_root and shutil.which("apt-get") else [PLAYWRIGHT]


def run(command: list[str]) -> bool:
    """Whether the command succeeded; its own words go to the terminal."""
    return subprocess.run(command).returncode == 0


if __name__ == "__main__":
    print(f"The browser tests run in {ensure_chromium()}")
