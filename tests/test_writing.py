"""Every file is written whole, or left as it was: on a full disk, and when the process dies."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import kaleido
import numpy as np
import pandas as pd
import pytest

import dscwb
from dscwb.writing import atomically, write_csv
from tests.tiny import profile_of, tiny_graph

ROOT = Path(__file__).parents[1]


def study_of(model):
    edge, server = (profile_of(tiny_graph(model), {1: [n, n, n]}) for n in (9, 3))
    rates = np.geomspace(1e3, 1e9, 40)
    encodings = {"input_encoding": "uint8", "feature_encoding": "float32"}
    return dscwb.sweep(edge, server, link=dscwb.Link(), data_rates_bps=rates, **encodings)


@pytest.fixture(scope="module")
def study():
    return study_of("tiny")


WRITERS = {
    "study.csv": lambda study, path: study.save(path),
    "study.parquet": lambda study, path: study.save(path),
    "study.nc": lambda study, path: study.save(path),
    "figure.html": lambda study, path: dscwb.save_figure(dscwb.plot_gain(study), path),
    "figure.png": lambda study, path: dscwb.save_figure(dscwb.plot_gain(study), path),
    "report.html": lambda study, path: dscwb.report(study, path),
    "policy.json": lambda study, path: study.policy().save(path),
    "profile.parquet": lambda study, path: dscwb.save_profile(study.edge, path),
    "table.csv": lambda study, path: write_csv(study.to_pandas(), path),
}


@contextmanager
def room_for(size_bytes):
    """A disk on which no file may grow beyond this: writing more is a real error of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch, study, name):
    # Without a browser, which would fail for its own files.
    monkeypatch.setattr(kaleido, "calc_fig_sync", lambda *figure, **how: bytes(10_000))
    path, write = tmp_path / name, WRITERS[name]
    write(study, path)
    before = path.read_bytes()
    with room_for(len(before) // 2), pytest.raises(OSError, match="File too large"):
        write(study, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


HALF = """
import sys
from dscwb.writing import atomically
with atomically(sys.argv[1]) as file:
    file.write_text("half of it")
    print("written", flush=True)
    sys.stdin.readline()
"""


def test_a_killed_process_leaves_the_older_file(tmp_path):
    path = tmp_path / "study.csv"
    path.write_text("the older one")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HALF, path], text=True, cwd=ROOT, **pipes) as half:
        assert half.stdout.readline() == "written\n"
        half.kill()
    assert path.read_text() == "the older one"
    [rest] = set(tmp_path.iterdir()) - {path}
    assert rest.suffix == ".part"  # nobody takes it for a table


def interrupted(path):
    with atomically(path) as file:
        file.write_text("half of it")
        raise KeyboardInterrupt


def test_an_error_leaves_the_older_file(tmp_path):
    path = tmp_path / "a.txt"
    for older in (None, "the older one"):
        if older:
            path.write_text(older)
        with pytest.raises(KeyboardInterrupt):
            interrupted(path)
        assert [one.read_text() for one in tmp_path.iterdir()] == ([older] if older else [])


def test_links_are_followed_permissions_kept_and_folders_made(tmp_path):
    target, link = tmp_path / "deep" / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    umask = os.umask(0o027)
    try:
        with atomically(link) as file:
            file.write_text("first")
    finally:
        os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o640
    target.chmod(0o604)
    with atomically(link) as file:
        file.write_text("second")
    assert link.is_symlink()
    assert target.read_text() == "second"
    assert target.stat().st_mode & 0o777 == 0o604


def test_folders_and_protected_files_are_refused_and_pipes_written_to(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match=r"is a folder; give a file"), atomically(tmp_path):
        pass
    protected = tmp_path / "a.txt"
    protected.touch(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="write-protected"), atomically(protected):
        pass
    read, write = os.pipe()
    with os.fdopen(read) as end, os.fdopen(write):
        with atomically(f"/dev/fd/{write}") as file:
            file.write_text("through\n")
        assert end.readline() == "through\n"


def test_a_name_that_a_spreadsheet_would_run_is_written_as_text(tmp_path):
    table = pd.DataFrame({"name": ["=1+1", "@a", "-x", "a-b"], "value": [-1.0, 2, 3, 4]})
    for kind in (object, "category"):
        write_csv(table.astype({"name": kind}), tmp_path / "a.csv")
        lines = (tmp_path / "a.csv").read_text().splitlines()
        assert lines == ["name,value", "'=1+1,-1.0", "'@a,2.0", "'-x,3.0", "a-b,4.0"]
    assert "'=cmd" in study_of("=cmd|'/c calc'!A0").save(tmp_path / "b.csv").read_text()
