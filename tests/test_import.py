"""Importing stays light, and each arm runs where the other's libraries are not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = {"torch", "torchvision", "timm", "pandas", "plotly", "ipywidgets", "xarray", "distributed"}
TORCH = ("torch", "torchvision", "timm")
NOTEBOOK = ("plotly", "ipywidgets", "anywidget", "jupyterlab", "IPython", "xarray", "kaleido")

TORCH_ARM = "import dscwb.capturing.captured, dscwb.measuring.measure, dscwb.profiles, dscwb.cuts"
ANALYSIS_ARM = "import dscwb.cost, dscwb.envelope, dscwb.study, dscwb.figures, dscwb.workbench"


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: this one has loaded whatever other tests needed."""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def heavy_loaded_by(program: str, heavy: set[str] = HEAVY) -> set[str]:
    finished = run(f"{program}\nimport sys\nprint(*sys.modules)")
    assert finished.returncode == 0, finished.stderr
    return heavy.intersection(finished.stdout.split())


def run_without(missing: tuple[str, ...], program: str) -> subprocess.CompletedProcess[str]:
    """Runs where importing one of these fails as if it were not installed."""
    return run(f"import sys\nsys.modules.update(dict.fromkeys({missing}))\n{program}")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert heavy_loaded_by("import dscwb") == set()


def test_opening_the_workbench_waits_for_no_figure() -> None:
    """plotly's output loads nbformat, and with it grammars that take seconds."""
    heavy = {"torch", "plotly.io", "nbformat", "dscwb.figures"}
    opened = "import dscwb; bench = dscwb.SplitWorkbench()"
    assert heavy_loaded_by(opened, heavy) == set()
    assert "plotly.io" in heavy_loaded_by(f"{opened}; bench.figure()", heavy)


def test_the_check_above_can_fail() -> None:
    assert "torch" in heavy_loaded_by("import dscwb; dscwb.capture")


@pytest.mark.parametrize(
    ("missing", "arm"),
    [
        pytest.param(NOTEBOOK, TORCH_ARM, id="device without notebook"),
        pytest.param(TORCH, ANALYSIS_ARM, id="laptop without torch"),
    ],
)
def test_each_arm_runs_without_the_others_libraries(missing: tuple[str, ...], arm: str) -> None:
    finished = run_without(missing, arm)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(("missing", "arm"), [(NOTEBOOK, ANALYSIS_ARM), (TORCH, TORCH_ARM)])
def test_the_check_of_the_arms_can_fail(missing: tuple[str, ...], arm: str) -> None:
    finished = run_without(missing, arm)
    assert finished.returncode != 0
    reason = finished.stderr.splitlines()[-1]  # and not for another one
    assert reason.startswith("ModuleNotFoundError")
    assert any(name in reason for name in missing)


GPU_MACHINE = (*NOTEBOOK, "hypothesis", "playwright", "nbclient", "nbformat", "psutil", "yaml")


def test_tests_for_a_gpu_start_on_a_machine_without_notebook_and_browser() -> None:
    """Collecting imports each of their files; here, where no GPU is, each is then skipped."""
    program = (
        "import os, pytest\n"
        "os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'  # plug-ins of what is not there\n"
        "raise SystemExit(pytest.main(['-m', 'gpu', '--collect-only', '-q']))"
    )
    finished = run_without(GPU_MACHINE, program)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = {line.split("::")[0] for line in finished.stdout.splitlines() if "::" in line}
    marked = {
        path
        for path in (ROOT / "tests").glob("test_*.py")
        if "\n@pytest.mark.gpu" in path.read_text()
    }
    assert found == {f"tests/{path.name}" for path in marked}


def test_the_command_that_measures_a_gpu_starts_there_too() -> None:
    program = "import sys\nsys.argv = ['gpu', '--help']\nfrom benchmarks.gpu import main\nmain()"
    finished = run_without(GPU_MACHINE, program)
    assert finished.returncode == 0, finished.stderr
    assert "seconds" in finished.stdout
