"""The command that measures a GPU, on a CPU and on fakes."""

import itertools
import json

import pytest
import torch

from benchmarks import gpu
from dscwb.profiles.files import load_profile
from dscwb.profiles.library import model_error

SMALL, OTHER = "test_resnet", "test_vit"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(gpu, "MODELS", ((OTHER, 160, ()), (SMALL, 32, ())))
    monkeypatch.setattr(gpu, "TELLING", (SMALL,))
    monkeypatch.setattr(gpu, "BATCH_SIZES", (1, 2))
    monkeypatch.setattr(gpu, "PASSES", 10)
    monkeypatch.setattr(gpu, "STEP_S", 0)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def measure(folder, *options):
    return gpu.main([str(folder), "--device", "cpu", "--only", SMALL, *options])


NAME = f"{SMALL}-32-cpu-float32.parquet"
HALF = f"{SMALL}-32-cpu-float16.parquet"


def test_it_measures_resumes_and_sums_up(tmp_path, monkeypatch):
    assert measure(tmp_path) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["summary.json", HALF, NAME]
    first = summary(tmp_path)["steps"][NAME]
    found = load_profile(tmp_path / NAME)
    assert list(first["batch_sizes"]) == ["1", "2"]
    assert first["batch_sizes"]["2"]["total_s"] == found.total_s(2)
    assert first["batch_sizes"]["1"]["cuts_executed"] == model_error(found, 1).cuts
    assert first["took_s"] > 0

    def again(*args, **options):
        raise AssertionError("measured twice")

    monkeypatch.setattr(gpu.dscwb, "profile", again)
    assert measure(tmp_path) == 0
    second = summary(tmp_path)["steps"][NAME]
    assert {**second, "took_s": 0} == {**first, "took_s": 0}


def test_a_batch_size_is_kept_when_the_next_one_is_killed(tmp_path, monkeypatch):
    """The next run takes the passes over and measures the other batch size only."""
    profile = gpu.dscwb.profile

    def killed(captured, batch_sizes, **options):
        if 2 in batch_sizes:
            raise KeyboardInterrupt
        return profile(captured, batch_sizes, **options)

    monkeypatch.setattr(gpu.dscwb, "profile", killed)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path)
    before = load_profile(tmp_path / NAME)
    assert before.batch_sizes == (1,)
    monkeypatch.setattr(gpu.dscwb, "profile", profile)
    assert measure(tmp_path) == 0
    after = load_profile(tmp_path / NAME)
    assert after.batch_sizes == (1, 2)
    kept = before.passes[0].plain_ns  # on a noisy machine a few rounds more may follow them
    assert (after.passes[0].plain_ns[: len(kept)] == kept).all()


def test_a_failing_step_is_a_row_and_the_others_go_on(tmp_path):
    def fail(watch):
        raise RuntimeError("no kernel image")

    todo = [("a", fail), ("b", lambda watch: {"x": float("nan")})]
    found = gpu.run(tmp_path, todo, 1e9)
    assert found["steps"]["a"] == {"failed": "no kernel image"}
    assert summary(tmp_path)["steps"] == {"a": {"failed": "no kernel image"}, "b": {"x": None}}


def test_nothing_is_begun_that_might_end_after_the_limit(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(seconds))
    todo = [(name, lambda watch: watch.time(dict)) for name in "abcd"]
    found = gpu.run(tmp_path, todo, 7)
    # The clock ticks at every look, and each step takes a tick: the first begins at 1 s and ends
    # at 2, the second begins at 4, and the third, at 7, has no second left.
    assert list(found["steps"]) == ["a", "b"]
    assert found["left_for_next_time"] == summary(tmp_path)["left_for_next_time"] == ["c", "d"]


def test_without_time_for_anything_all_is_left(tmp_path):
    assert measure(tmp_path, "--limit", "0") == 1
    assert summary(tmp_path) == {"steps": {}, "left_for_next_time": [NAME, HALF]}


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([str(tmp_path / "new")])
    assert "torch sees no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_on_a_gpu_telling_models_whole_and_in_slices_then_memory_then_the_rest(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert [name for name, _ in gpu.steps(tmp_path, "cuda", (8, 40))] == [
        *(
            f"{SMALL}-32-h200{part}.parquet"
            for part in ("-float32", "-8sm-float32", "-40sm-float32", "-float16")
        ),
        "out of memory",
        *(
            f"{OTHER}-160-h200{part}.parquet"
            for part in ("-float32", "-8sm-float32", "-40sm-float32", "-float16")
        ),
    ]


def test_slices_and_the_cap_are_asked_of_one_device(tmp_path, monkeypatch):
    """The cap wants a device with its index, which ``cuda`` alone is not."""
    asked = []
    cuda = gpu.torch.cuda
    monkeypatch.setattr(cuda, "get_device_properties", lambda device: Total)
    monkeypatch.setattr(cuda, "empty_cache", lambda: None)
    cap = "set_per_process_memory_fraction"
    monkeypatch.setattr(cuda, cap, lambda share, device: asked.append((share, device)))
    here = torch.device("cuda", 0)
    monkeypatch.setattr(gpu.dscwb, "capture", lambda *args, **options: Captured(here))

    def stopped(*args, **options):
        raise RuntimeError("stop here")

    monkeypatch.setattr(gpu.dscwb, "profile", stopped)
    with pytest.raises(RuntimeError, match="stop here"):
        gpu.out_of_memory("cuda")
    assert asked == [(0.5, here), (1.0, here)]


class Total:
    total_memory = 4e9


class Captured:
    def __init__(self, device):
        self.device = device


@pytest.mark.gpu
def test_out_of_memory_under_a_real_cap():
    assert gpu.out_of_memory("cuda")["as_expected"]
