"""Where the tests find a Chromium, and how they start it: a machine goes in, a path comes out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

HOW_TO_GET_ONE = (
    "The browser tests need a Chromium or Chrome and found none: install one (for example with "
    "`.venv/bin/playwright install --with-deps chromium`), or name yours in DSCWB_CHROMIUM."
)

# Quiet in the background, drawn in software: the same on a desktop and in a bare container.
CHROMIUM_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Chromium refuses to build its sandbox for root, which is what a container runs as.
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
)

NAMES_ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Installers of macOS and Windows put nothing on PATH.
USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
)


def find_chromium() -> Path | None:
    """The first Chromium or Chrome that starts, or None."""
    return next((path for path in candidates() if starts(path)), None)


def candidates() -> Iterator[Path]:
    """The user's choice, the machine's own, Playwright's, the usual places: existing files only.

    A file named in DSCWB_CHROMIUM is the only candidate: another browser than the one asked for
    would be a silent surprise.
    """
    if chosen := os.environ.get("DSCWB_CHROMIUM"):
        yield Path(chosen)
        return
    yield from (Path(found) for name in NAMES_ON_PATH if (found := shutil.which(name)))
    yield from (path for path in (playwrights_own(), *map(Path, USUAL_PLACES)) if path.is_file())


def playwrights_own() -> Path:
    """Where this version of Playwright keeps its build, whether or not it has been fetched."""
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def starts(path: Path) -> bool:
    """Whether the browser runs: one may be a stub, or lack a library of the system."""
    if path.suffix == ".exe":
        return path.is_file()  # on Windows, asking Chrome for its version opens a window
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0
