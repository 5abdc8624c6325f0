"""Several processes at one file, processes that die, and files that others wrote."""

import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dscwb
from dscwb import writing
from dscwb.__main__ import main
from dscwb.measuring import clocks, measure
from dscwb.profiles import files
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import ProfileError
from tests.machine import KilledError, Machine, stop_after
from tests.test_files import rich_profile, same
from tests.tiny import profile_of, tiny_graph

ROOT = Path(__file__).parent.parent

# Holds a file as the command does while it measures; without torch, which takes seconds to load.
HOLD = """
import sys
from pathlib import Path
from dscwb.measuring.checkpoint import alone
with alone(Path(sys.argv[1])):
    print("torch" in sys.modules, flush=True)
    sys.stdin.readline()
"""
ROUNDS = 20  # of 40 passes
MIDDLE = 30  # passes, by when some rounds are done and some are not


@pytest.fixture
def run(monkeypatch, caplog):
    """The command, on a machine and a clock made for tests: its exit status."""

    def run(output, model="chain", fail=lambda kind, batch_size: None):
        machine = Machine(fail=fail)
        chain = machine.model()
        vars(chain)["graph"] = replace(chain.graph, model=model)
        monkeypatch.setattr(dscwb, "capture", lambda *_, **__: chain)
        monkeypatch.setattr(clocks, "CpuClock", lambda cuts: machine.clock())
        monkeypatch.setattr(measure, "KEEP_EVERY_S", 1e-12)  # every round
        options = ["--threads", "1", "--passes", "40", "--budget", "0", "--no-check"]
        with caplog.at_level(logging.INFO, "dscwb"):
            return main(["profile", model, *options, "-o", str(output)])

    return run


def rounds_in(path: Path) -> int:
    return sum(len(passes.plain_ns) for passes in load_profile(path).passes)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process measures into the file; at the end it is killed."""
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
        try:
            assert process.stdout.readline() == "False\n"  # and it has no torch
            yield
        finally:
            process.kill()


def test_a_second_process_at_the_same_file_is_sent_away(tmp_path, run, capsys, caplog):
    """Whatever model it measures; and the first one's rounds outlive even the first one's death."""
    output, unfinished = tmp_path / "p.parquet", tmp_path / "p.parquet.unfinished"
    with pytest.raises(KilledError):
        run(output, fail=stop_after(MIDDLE))
    kept, written = rounds_in(unfinished), unfinished.read_bytes()
    assert 0 < kept < ROUNDS
    with held(unfinished):
        for model in ("chain", "another"):
            assert run(output, model) == 2
            assert "another process is measuring into" in capsys.readouterr().err
        assert unfinished.read_bytes() == written
        assert run(tmp_path / "other.parquet") == 0  # another file of the folder is free
    caplog.clear()
    assert run(output) == 0
    assert f"going on after {kept} rounds" in caplog.text
    assert rounds_in(output) == rounds_in(tmp_path / "other.parquet") == ROUNDS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.parquet", "p.parquet"]


def test_what_was_measured_outlives_a_file_that_cannot_be_saved(tmp_path, run, capsys, caplog):
    """On a full disk, say; here a folder takes the file's place while the passes run."""
    output = tmp_path / "p.parquet"
    assert run(output, fail=lambda *_: output.mkdir(exist_ok=True)) == 2
    assert "is a folder" in capsys.readouterr().err
    output.rmdir()
    assert run(output) == 0
    assert f"going on after {ROUNDS} rounds" in caplog.text
    assert rounds_in(output) == ROUNDS
    assert [p.name for p in tmp_path.iterdir()] == ["p.parquet"]


SAVE = """
import sys
from dscwb.profiles.files import load_profile, save_profile
profile = load_profile(sys.argv[1])
while True:
    save_profile(profile, sys.argv[2])
"""
READS = 40


def test_a_reader_between_two_writers_sees_one_or_the_other(tmp_path):
    """Another process saves to the path where this one saves and reads."""
    profiles = {"rich": rich_profile(), "tiny": profile_of(tiny_graph(), {1: [1, 2, 3]})}
    source = save_profile(profiles["rich"], tmp_path / "rich.parquet")
    output = tmp_path / "p.parquet"
    seen = set()
    with subprocess.Popen([sys.executable, "-c", SAVE, source, output], cwd=ROOT) as writer:
        try:
            while not output.exists():
                assert writer.poll() is None
            for _ in range(READS):
                save_profile(profiles["tiny"], output)
                found = load_profile(output)
                same(found, profiles[found.graph.model])
                seen.add(found.graph.model)
        finally:
            writer.kill()
    assert seen <= set(profiles)


FOREIGN = {
    "empty": b"",
    "json.parquet": json.dumps({"model": "resnet50", "time_ns": [1, 2, 3]}).encode(),
    "csv.parquet": b"split,batch_size,head_s,tail_s,payload_bytes\ninput,1,0,0.006,400\n",
    "text.parquet": "Œuvre".encode("utf-16"),
    "seal.parquet": b"sha256:" + b"0" * 64,
    "magic.parquet": b"PAR1" + bytes(64) + b"PAR1",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ProfileError, match=r"not a dscwb profile|is damaged"):
        load_profile(path)


def test_a_sealed_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(writing.sealed(b"PAR1" + writing.UNSEALED + b"PAR1"))
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(path)


def test_parquet_with_the_columns_of_a_profile_is_not_one(tmp_path):
    """What `pandas.read_parquet` and `to_parquet` make of a profile."""
    path = save_profile(rich_profile(), tmp_path / "p.parquet")
    pd.read_parquet(path).to_parquet(tmp_path / "again.parquet")
    with pytest.raises(ProfileError, match="not a dscwb profile"):
        load_profile(tmp_path / "again.parquet")


def sealed(table: pa.Table) -> bytes:
    """A file as a program with a mistake of its own would write it: the seal holds."""
    return writing.sealed_parquet(table)


COLUMNS = ("batch_size", "kind", "cut", "time_ns", "stamps_ns")
INT_64 = np.iinfo(np.int64)
NO_NUMBERS = {
    "NaN": pa.scalar(math.nan),
    "inf": pa.scalar(math.inf),
    "-inf": pa.scalar(-math.inf),
    "a fraction": pa.scalar(1.5),
    "too large": pa.scalar(2**64 - 1, pa.uint64()),
    "text": pa.scalar("x"),
    "true": pa.scalar(True),
    "a date": pa.scalar(1, pa.timestamp("ns")),
    "a list of fractions": pa.scalar([0.0, math.nan, math.inf, 4.0]),
    "lists of lists": pa.scalar([[1], [2], [3], [4]]),
    "nothing": pa.scalar(None),
}


@pytest.mark.parametrize(
    ("column", "value"),
    [pair for pair in product(COLUMNS, NO_NUMBERS) if pair != ("kind", "text")],  # is its type
)
def test_a_sealed_column_of_another_type_is_refused(tmp_path, column, value):
    table = files._table(rich_profile())
    array = pa.repeat(NO_NUMBERS[value], len(table))
    wrong = table.set_column(table.column_names.index(column), column, array)
    refused(tmp_path, wrong.replace_schema_metadata(table.schema.metadata))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_sealed_file_without_a_column_is_refused(tmp_path, column):
    refused(tmp_path, files._table(rich_profile()).drop_columns([column]))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("batch_size", -1),
        ("batch_size", INT_64.min),
        ("cut", -1),
        ("cut", 4),
        ("cut", INT_64.max),
        ("time_ns", -1),
        ("time_ns", 0),
        ("time_ns", INT_64.min),
        ("stamps_ns", [0, 1, 2]),  # a cut less
        ("stamps_ns", [0, 1, 2, 3, 4]),  # a cut more
        ("stamps_ns", []),
        ("stamps_ns", [0, -7, 2, 3]),
        ("stamps_ns", [0, 2, 1, 3]),  # backwards
        ("stamps_ns", [0, 1, 2, -1]),  # no end
        ("stamps_ns", [1, 2, 3, 4]),  # no start
        ("stamps_ns", [0, None, None, 3]),  # nowhere stamped
        ("kind", "lunch"),
    ],
)
def test_sealed_times_that_no_clock_gives_are_refused(tmp_path, column, value):
    table = files._table(rich_profile())
    place = table.column_names.index(column)
    array = pa.array([value] * len(table), table.schema.field(place).type)
    refused(tmp_path, table.set_column(place, column, array))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("time_scale", math.nan),
        ("time_scale", math.inf),
        ("time_scale", 0),
        ("time_scale", -1),
        ("time_scale", "fast"),
        ("time_scale", None),
        ("schema", 2**70),
        ("schema", 0),
        ("schema", 1.5),
        ("provenance", None),
        ("provenance", {"origin": "guessed", "device": "x"}),
        ("provenance", {"origin": "measured"}),
    ],
)
def test_a_sealed_header_of_nonsense_is_refused(tmp_path, key, value):
    table = files._table(rich_profile())
    about = json.loads(table.schema.metadata[b"dscwb"]) | {key: value}
    header = table.schema.metadata | {b"dscwb": json.dumps(about).encode()}
    refused(tmp_path, table.replace_schema_metadata(header))


def refused(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "wrong.parquet"
    path.write_bytes(sealed(table))
    with pytest.raises(ProfileError, match=r"wrong\.parquet: "):
        load_profile(path)


def test_the_helper_seals_what_can_be_read(tmp_path):
    """Or the tests above would hold for another reason."""
    path = tmp_path / "right.parquet"
    path.write_bytes(sealed(files._table(rich_profile())))
    same(load_profile(path), rich_profile())
