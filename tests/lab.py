"""A real JupyterLab in a real Chromium: a project's folder goes in, an open notebook comes out."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, TimeoutError, sync_playwright

from tests.browser import CHROMIUM_FLAGS

ROOT = Path(__file__).parents[1]
NOTEBOOK = Path("notebooks/01-explore.ipynb")

START_S = 180  # a server on a busy machine with two cores
ANSWER_MS = 15_000  # of a busy machine
FIRST_PAINT_MS = 180_000  # five megabytes of plotly, drawn in software
DROPPED_AFTER_MS = 5_000  # a Run All that was heard shows at once

# Whether the server says that a kernel listens and is in this state.
KERNEL_STATE = """async (state) => {
  const sessions = await (await fetch('/api/sessions')).json();
  return sessions.some(({kernel}) => kernel && kernel.connections > 0
    && kernel.execution_state === state);
}"""
# What has become of Run All: "ran" once a cell bears a number, "waits" while one waits for it.
PROMPTS = """(wanted) => {
  const prompts = Array.from(
    document.querySelectorAll('.jp-CodeCell .jp-InputPrompt'), (at) => at.textContent);
  const state = prompts.some((text) => /\\[\\d/.test(text)) ? 'ran'
    : prompts.some((text) => text.includes('[*')) ? 'waits' : 'dropped';
  return wanted.includes(state) && state;
}"""


def copy_project(folder: Path) -> Path:
    """Notebooks and data in a folder of their own: exports and checkpoints stay out of the tree."""
    for name in ("notebooks", "data"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, folder / name)
    return folder


@contextmanager
def jupyterlab(project: Path, home: Path) -> Iterator[str]:
    """Start the server as `make lab` does, on a free port; gives the notebook's address.

    Settings, workspaces and everything else of the user are left alone: they live under `home`.
    """
    runtime = home / "runtime"
    environment = os.environ | {
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        str(NOTEBOOK),
        "--no-browser",
        "--allow-root",
    ]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        try:
            about = _answering(server, runtime, home / "server.log")
            # JupyterLab serves the folder of the file that it was given.
            yield f"{about['url']}lab/tree/{NOTEBOOK.name}?token={about['token']}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _answering(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> dict[str, str]:
    """What the server writes about itself once it listens."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            if text := file.read_text():
                return json.loads(text)
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def chromium_page(
    chromium: Path, *, width: int = 1280, height: int = 1000, scale: float = 1
) -> Iterator[Page]:
    """A page of a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height}, device_scale_factor=scale
            )
            page.set_default_timeout(ANSWER_MS)
            yield page
        finally:
            browser.close()


def run_cells(page: Page) -> None:
    """Run All, again if JupyterLab dropped it; returns when a cell has run.

    JupyterLab shows "idle" before it has a kernel: a Run All pressed then asks for one in a dialog.
    So the server is asked. Even so it may be dropped a moment later, without a word.
    """
    page.wait_for_function(KERNEL_STATE, arg="idle", timeout=FIRST_PAINT_MS)
    for _ in range(10):
        try:
            page.get_by_role("menuitem", name="Run", exact=True).click(timeout=DROPPED_AFTER_MS)
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click(
                timeout=DROPPED_AFTER_MS
            )
            page.wait_for_function(PROMPTS, arg=["waits", "ran"], timeout=DROPPED_AFTER_MS)
            state = page.wait_for_function(
                PROMPTS, arg=["dropped", "ran"], timeout=FIRST_PAINT_MS
            ).json_value()
            if state == "ran":
                return
        except TimeoutError:
            answer_dialogs(page)


def answer_dialogs(page: Page) -> list[str]:
    """Accept what JupyterLab asks or reports in a dialog, as a person would; gives the words."""
    words = []
    while (dialog := page.locator("dialog.jp-Dialog").last).count():
        words.append(" ".join(dialog.inner_text().split()))
        dialog.locator("button.jp-mod-accept").last.click()
        dialog.wait_for(state="detached")
    return words


def open_notebook(page: Page, url: str, name: str) -> None:
    """One notebook, in a workspace without those that an earlier page left open."""
    page.goto(url.replace(f"tree/{NOTEBOOK.name}", f"workspaces/{Path(name).stem}/tree/{name}"))
    page.wait_for_function(KERNEL_STATE, arg="idle", timeout=FIRST_PAINT_MS)


def shut_down(page: Page) -> None:
    """End all kernels: none of an earlier page computes beside the next one."""
    page.evaluate("""async () => {
      const cookie = Object.fromEntries(document.cookie.split('; ').map((one) => one.split('=')));
      for (const { id } of await (await fetch('/api/sessions')).json()) {
        await fetch(`/api/sessions/${id}`,
          { method: 'DELETE', headers: { 'X-XSRFToken': cookie._xsrf ?? '' } });
      }
    }""")


@contextmanager
def notebook_page(
    chromium: Path, url: str, name: str, *, height: int = 1800, width: int = 1280
) -> Iterator[tuple[Page, list[str]]]:
    """A notebook after Run All: its page, and what the page reports as errors from then on."""
    with chromium_page(chromium, height=height, width=width) as page:
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if ours(said) else None)
        open_notebook(page, url, name)
        run_cells(page)
        try:
            yield page, errors
        finally:
            shut_down(page)


def ours(said: ConsoleMessage) -> bool:
    """Whether a line of the browser's log is an error of a widget, not JupyterLab's own talk."""
    own = ("Failed to load resource", "debugger state")  # routes; a kernel that starts anew
    return said.type == "error" and not any(words in said.text for words in own)


def shown(page: Page) -> tuple[int, float]:
    """Batch size and data rate in bit/s that every workbench of the page has painted."""
    script = "() => [...document.querySelectorAll('.dscwb')].map((one) => one.dataset.at)"
    first, *others = page.evaluate(script)
    assert all(other == first for other in others)
    size, rate = first.split()
    return int(size), float(rate)


def wait_until(page: Page, condition: str) -> tuple[int, float]:
    """Until every workbench has painted a state of which this holds.

    The condition is of batch size `size`, data rate `rate` and all the `state`.
    """
    page.wait_for_function(
        "() => [...document.querySelectorAll('.dscwb')].every((view) => {"
        "const { painted: state } = view.dscwb;"
        "if (!state) return false;"
        "const { batch_size: size, data_rate_bps: rate } = state;"
        f"return {condition}; }})",
        timeout=ANSWER_MS,
    )
    return shown(page)
