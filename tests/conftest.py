"""What every test gets: the same random numbers each time and, where it asks, a browser.

``pytest -m gpu`` runs on a machine that has what measuring needs and pytest, no browser and no
notebook: whatever else is used here is imported where it is used.
"""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

try:
    import hypothesis
except ImportError:  # no test that is marked `gpu` needs it
    hypothesis = None

# Several processes share the cores, and sums of more threads differ in their last bits. Set before
# torch is loaded, for every process that a test starts too.
os.environ["OMP_NUM_THREADS"] = "1"

SEED = 20220523
GPU_ONLY = "gpu"  # the expression after -m

if hypothesis:
    # The same examples on every machine; no deadline, since a busy machine is not a wrong result.
    hypothesis.settings.register_profile("dscwb", derandomize=True, deadline=None, print_blob=True)
    hypothesis.settings.load_profile("dscwb")


# Begun first: a file that takes long and is begun last leaves the other processes idle.
LONGEST = (
    *("test_notebooks", "test_running_commands", "test_jupyterlab", "test_engine_browser"),
    *("test_running_faults", "test_running_view", "test_boards", "test_dominance", "test_import"),
    *("test_running_attack", "test_running_rig", "test_capture_cuda", "test_reports"),
)

# A shell's background jobs ignore Ctrl-C, and so would all processes that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out files without a test for a GPU where only these run: they import much more."""
    if config.option.markexpr == GPU_ONLY and collection_path.name.startswith("test_"):
        return "\n@pytest.mark.gpu" not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, for processes that take one after the other."""
    turns = {name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(LONGEST)))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seeds every generator in use; torch only where a test file has loaded it already."""
    random.seed(SEED)
    np.random.seed(SEED)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], str]]:
    """The command line in this process: exit status, lines on stdout, text on stderr."""
    from dscwb.__main__ import main

    def run(*arguments: object) -> tuple[int, list[str], str]:
        status = main([str(word) for word in arguments])
        shown = capsys.readouterr()
        return status, shown.out.splitlines(), shown.err

    return run


@pytest.fixture(scope="session")
def chromium() -> Iterator[Path]:
    """The browser's path; a test that needs one fails with the remedy where there is none."""
    from tests.browser import HOW_TO_GET_ONE, find_chromium

    path = find_chromium()
    if path is None:
        pytest.fail(HOW_TO_GET_ONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER_PATH", str(path))  # kaleido looks in fewer places than we do
        yield path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One JupyterLab for all tests, on a copy of notebooks and data: its address, its folder."""
    from tests.lab import NOTEBOOK, copy_project, jupyterlab

    project = copy_project(tmp_path_factory.mktemp("project"))
    with jupyterlab(project, tmp_path_factory.mktemp("home")) as url:
        yield url, (project / NOTEBOOK).parent


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what is marked `gpu` on a machine without a CUDA device."""
    if item.get_closest_marker("gpu"):
        import torch  # late: most runs need it for no such test

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
