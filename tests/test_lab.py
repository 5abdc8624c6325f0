"""What `dscwb lab` and an installed wheel give, without starting JupyterLab itself."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dscwb.cli import lab
from dscwb.workbench.screen import SCRIPTS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_notebooks_are_copied_and_a_persons_own_stay(tmp_path):
    folder = tmp_path / "mine" / "split"
    assert [path.name for path in lab.copy_notebooks(folder)] == NOTEBOOKS
    (folder / lab.FIRST).write_text("mine")
    (folder / NOTEBOOKS[-1]).unlink()
    assert [path.name for path in lab.copy_notebooks(folder)] == [NOTEBOOKS[-1]]
    assert (folder / lab.FIRST).read_text() == "mine"


def test_jupyterlab_opens_the_first_notebook_on_this_machine_only(tmp_path, monkeypatch):
    started = []

    def run(command, cwd, check):
        started.append((command, cwd))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert lab.open_lab(tmp_path, ["--no-browser"]) == 3
    ((command, cwd),) = started
    assert cwd == tmp_path
    assert command[:4] == [sys.executable, "-m", "jupyter", "lab"]
    assert "--ServerApp.ip=127.0.0.1" in command
    assert command[-1] == "--no-browser"
    assert f"/lab/tree/{lab.FIRST}" in " ".join(command)


@pytest.mark.parametrize("words", [["--no-browser"], ["mine", "--no-browser", "--port=1"]])
def test_the_command_hands_jupyterlabs_options_through(run, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr(lab, "open_lab", lambda *given: opened.append(given) or 3)
    assert run("lab", *words)[0] == 3
    folder = words[0] if len(words) > 1 else "."
    assert opened == [(Path(folder), words[len(words) > 1 :])]
    assert (tmp_path / folder / lab.FIRST).exists()


@pytest.mark.parametrize(("user", "flags"), [(0, ["--allow-root"]), (1000, [])])
def test_root_may_open_it_too(tmp_path, monkeypatch, user, flags):
    started = []
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **options: (
            started.extend(command) or subprocess.CompletedProcess(command, 0)
        ),
    )
    lab.open_lab(tmp_path)
    assert [word for word in started if word == "--allow-root"] == flags


def test_without_jupyterlab_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(lab.LabError, match=r"pip install 'dscwb\[lab\]'"):
        lab.open_lab(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(lab.LabError, match="is a file; name a folder"):
        lab.copy_notebooks(tmp_path / "x")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as `pip install` gets it; an editable installation would find all files anyway."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; print(build_wheel(__import__('sys').argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_carries_notebooks_data_and_scripts(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"dscwb/notebooks/{name}" for name in NOTEBOOKS} <= set(names)
    profiles = [name for name in names if name.startswith("dscwb/data/profiles/")]
    assert len(profiles) == len(list((ROOT / "data" / "profiles").glob("*.parquet")))
    assert {f"dscwb/workbench/{name}" for name in (*SCRIPTS, "screen.css")} <= set(names)
    others = {"devices/devices.toml", "py.typed", "reporting/report.html"}
    assert {f"dscwb/{name}" for name in others} <= set(names)


def test_what_the_wheel_installs_finds_its_data_and_notebooks_anywhere(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import dscwb; print(dscwb.__file__); "
        "print(dscwb.shipped_profile('efficientnet_b0').graph.model); "
        "from pathlib import Path; from dscwb.cli.lab import copy_notebooks; "
        "print(len(copy_notebooks(Path('mine'))))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert said == [
        str(tmp_path / "site" / "dscwb" / "__init__.py"),
        "efficientnet_b0",
        str(len(NOTEBOOKS)),
    ]
