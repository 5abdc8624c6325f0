"""The command that measures a GPU, on a CPU and on fakes."""

import itertools
import json

import pytest

from benchmarks import gpu
from dscwb.profiles.files import load_profile

SMALL = "test_resnet"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(gpu, "MODELS", ((SMALL, 32, ()), ("test_vit", 160, ())))
    monkeypatch.setattr(gpu, "BATCH_SIZES", (1, 2))
    monkeypatch.setattr(gpu, "DTYPES", ("float32",))
    monkeypatch.setattr(gpu, "PASSES", 10)
    monkeypatch.setattr(gpu, "STEP_S", 0)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_it_measures_resumes_and_sums_up(tmp_path, monkeypatch):
    assert gpu.main([str(tmp_path), "--device", "cpu", "--only", SMALL]) == 0
    name = f"{SMALL}-32-cpu-float32.parquet"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["summary.json", name]
    first = summary(tmp_path)["steps"][name]
    found = load_profile(tmp_path / name)
    assert list(first["batch_sizes"]) == ["1", "2"]
    assert first["batch_sizes"]["2"]["total_s"] == found.total_s(2)
    assert first["batch_sizes"]["1"]["cuts_executed"] > 0
    assert first["took_s"] > 0

    def again(*args, **options):
        raise AssertionError("measured twice")

    monkeypatch.setattr(gpu.dscwb, "capture", again)
    assert gpu.main([str(tmp_path), "--device", "cpu", "--only", SMALL]) == 0
    second = summary(tmp_path)["steps"][name]
    assert second == {key: value for key, value in first.items() if key != "took_s"}


def test_a_failing_step_is_a_row_and_the_others_go_on(tmp_path):
    def fail():
        raise RuntimeError("no kernel image")

    found = gpu.run(tmp_path, iter([("a", fail), ("b", lambda: {"x": float("nan")})]), 1e9)
    assert found["steps"]["a"] == {"failed": "no kernel image"}
    assert summary(tmp_path)["steps"] == {"a": {"failed": "no kernel image"}, "b": {"x": None}}


def test_no_step_starts_after_the_budget(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(seconds))
    todo = [(name, dict) for name in "abc"]
    found = gpu.run(tmp_path, iter(todo), 4)
    # The clock ticks at the start, before each step and after it: b starts at 3 s, c not at 5 s.
    assert list(found["steps"]) == ["a", "b"]
    assert found["left_for_next_time"] == summary(tmp_path)["left_for_next_time"] == ["c"]


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([str(tmp_path / "new")])
    assert "torch sees no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_on_a_gpu_every_model_in_both_types_and_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "DTYPES", ("float32", "float16"))
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert [name for name, _ in gpu.steps(tmp_path, "cuda")] == [
        f"{SMALL}-32-nvidia-h200-float32.parquet",
        "test_vit-160-nvidia-h200-float32.parquet",
        f"{SMALL}-32-nvidia-h200-float16.parquet",
        "test_vit-160-nvidia-h200-float16.parquet",
        "out of memory",
    ]


@pytest.mark.gpu
def test_out_of_memory_under_a_real_cap():
    assert gpu.out_of_memory("cuda")["as_expected"]
