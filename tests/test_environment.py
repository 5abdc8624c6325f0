"""The files that describe the environment agree with each other, and what is stored stays small."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NOTEBOOK_LIMIT_BYTES = 200_000

# conda-forge's name → the name in pyproject.toml, where spelling alone does not make them equal.
CONDA_NAMES = {"pytorch": "torch"}
# What only conda lists: the interpreter, and the installer of the project itself.
ONLY_CONDA = {"python", "pip"}


def bounds(lines: Iterable[str]) -> dict[str, str]:
    """Name → version bounds, in one spelling."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> dict[str, str]:
    """What `make env` asks for: the base, and three extras."""
    extras = project()["optional-dependencies"]
    three = [line for name in ("torch", "lab", "test") for line in extras[name]]
    return bounds([*project()["dependencies"], *three])


def conda() -> tuple[list[str], list[str]]:
    """The lines of environment.yml: those for conda, and those for pip."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [line["pip"] for line in lines if isinstance(line, dict)]
    return [line for line in lines if isinstance(line, str)], pip


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_conda_gets_the_same_dependencies_and_bounds() -> None:
    from_conda, (*from_pip, last) = conda()
    found = {CONDA_NAMES.get(name, name): bound for name, bound in bounds(from_conda).items()}
    python = found["python"]
    found = {name: bound for name, bound in found.items() if name not in ONLY_CONDA}
    assert found | bounds(from_pip) == wanted()
    assert python == project()["requires-python"]
    assert last == "-e ."


def test_constraints_are_exact_versions_sorted() -> None:
    assert [pin for pin in pins() if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", pin)] == []
    names = [pin.split("==")[0] for pin in pins()]
    assert names == sorted(set(names))


def test_constraints_name_every_dependency_within_its_bounds() -> None:
    versions = {
        canonicalize_name(name): version for name, version in (p.split("==") for p in pins())
    }
    outside = {
        name: versions.get(name, "not pinned")
        for name, bound in wanted().items()
        if name not in versions or not Requirement(name + bound).specifier.contains(versions[name])
    }
    assert outside == {}


def test_no_file_names_a_package_registry() -> None:
    # Where packages come from is each machine's own choice, made in the settings of its tools.
    registry = "https?://[^ ]*(pypi|pythonhosted|anaconda|debian|npmjs|download.pytorch)"
    search = ["git", "grep", "--no-index", "--exclude-standard", "-IniE", registry]
    found = subprocess.run(search, cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, ""), found.stderr


def test_notebooks_are_stored_small_and_without_outputs() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell["outputs"] for cell in code if cell["outputs"]] == [], path.name
        assert [cell["execution_count"] for cell in code if cell["execution_count"]] == [], (
            path.name
        )
        assert "widgets" not in notebook["metadata"], path.name
        assert path.stat().st_size < NOTEBOOK_LIMIT_BYTES, path.name
