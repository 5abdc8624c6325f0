"""What of a raw profile is shipped, on models small enough to see it."""

from dataclasses import replace

import numpy as np
import pytest

import dscwb
from benchmarks import ship_gpu
from tests.tiny import profile_of, tiny_graph

SLICE, NOTE = "NVIDIA H200, 8 of 132 SMs", "CUDA green context of 8 SMs (stream)"


def with_stamps(costs):
    """Passes of 600 ns, stamped ones so many times as long; batch sizes from 1 up."""
    raw = profile_of(tiny_graph(), {size: [100, 200, 300] for size in range(1, len(costs) + 1)})
    passes = tuple(
        replace(one, stamped_ns=np.round(one.stamped_ns * cost).astype(np.int64))
        for one, cost in zip(raw.passes, costs, strict=True)
    )
    source = replace(raw.provenance, device=SLICE, note=NOTE, date="2026-11-26T06:12:29+00:00")
    return replace(raw, provenance=source, passes=passes)


@pytest.fixture
def source(tmp_path):
    for name, costs in {"cheap": [1.0, 1.1], "mixed": [2.5, 1.11, 1.05], "dear": [4.0]}.items():
        dscwb.save_profile(with_stamps(costs), tmp_path / "raw" / f"{name}.parquet")
    return tmp_path / "raw"


def test_batch_sizes_with_dear_stamps_are_left_out_and_a_file_without_any_is_not_written(
    source, tmp_path
):
    rows = ship_gpu.ship(source, tmp_path / "out")
    assert {row.path.stem: (list(row.left_out), row.kept) for row in rows} == {
        "cheap": ([], (1, 2)),
        "dear": ([1], ()),
        "mixed": ([1, 2], (3,)),
    }
    shipped = {path.stem: dscwb.load_profile(path) for path in (tmp_path / "out").iterdir()}
    assert {name: one.batch_sizes for name, one in shipped.items()} == {
        "cheap": (1, 2),
        "mixed": (3,),
    }


def test_passes_stay_as_they_were_and_only_the_machine_is_spelled_out(source, tmp_path):
    ship_gpu.ship(source, tmp_path / "out")
    raw, shipped = (
        dscwb.load_profile(folder / "mixed.parquet") for folder in (source, tmp_path / "out")
    )
    (kept,) = shipped.passes
    assert kept.plain_ns.tolist() == [600, 600, 600]
    np.testing.assert_array_equal(kept.stamped_ns, raw.passes[2].stamped_ns)
    assert shipped.graph == raw.graph
    assert shipped.provenance == replace(
        raw.provenance,
        device="NVIDIA H200, 8 of 132 multiprocessors",
        note="CUDA green context of 8 multiprocessors (stream)",
    )


def test_the_command_prints_what_was_left_out_and_what_stays(source, tmp_path, monkeypatch, capsys):
    words = ["ship_gpu", str(source), str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", words)
    ship_gpu.main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[3:] == ["stamped", "/", "plain", "over", "a", "larger", "stays"]
    assert [line.split() for line in lines[:3]] == [
        ["dear", "1", "4.000", "1.00", "nothing,", "no", "file"],
        ["mixed", "1", "2.500", "1.00", "3"],
        ["mixed", "2", "1.110", "1.00", "3"],
    ]
    assert lines[3:] == [
        "2 files with 3 batch sizes are shipped,",
        "3 batch sizes are left out.",
    ]


def test_a_folder_without_profiles_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of the raw profiles"):
        ship_gpu.ship(tmp_path, tmp_path / "out")


def test_a_batch_that_took_longer_than_a_larger_one_is_left_out(tmp_path):
    slowed = profile_of(tiny_graph(), {1: [100, 200, 500], 2: [100, 200, 300], 4: [200, 400, 660]})
    dscwb.save_profile(slowed, tmp_path / "raw" / "slowed.parquet")
    (row,) = ship_gpu.ship(tmp_path / "raw", tmp_path / "out")
    assert row.left_out == {1: (pytest.approx(1), pytest.approx(800 / 600))}
    assert dscwb.load_profile(tmp_path / "out" / "slowed.parquet").batch_sizes == (2, 4)


def test_a_shipped_file_with_more_batch_sizes_stays_and_files_set_aside_are_no_sources(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    few, more = with_stamps([1.0]), with_stamps([1.0, 1.0])
    dscwb.save_profile(few, raw / "model.parquet")
    dscwb.save_profile(few, raw / "model-20261127151904.parquet")
    dscwb.save_profile(more, out / "model.parquet")
    ship_gpu.ship(raw, out)
    assert [path.name for path in out.iterdir()] == ["model.parquet"]
    assert dscwb.load_profile(out / "model.parquet").batch_sizes == (1, 2)
