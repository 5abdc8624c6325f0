"""Measuring on a GPU: one made of fakes whose every nanosecond is known, and a real one."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dscwb.capturing.captured import capture
from dscwb.measuring import gpu as measuring_gpu
from dscwb.measuring import measure
from dscwb.measuring.measure import profile
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import ProfileError
from tests.machine import Machine
from tests.test_copies import copies
from tests.test_nvml import COOL, HOT, WARM, library

WIDTHS = (50, 80, 10)  # after 100 at the input: payloads of 400, 200, 320 bytes for one sample


@pytest.fixture
def gpu(monkeypatch):
    """A machine that torch takes for a GPU with TF32 and measures with the machine's clock."""
    machine = Machine((100, 300, 600))
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(cuda, "get_device_name", lambda device: "NVIDIA T4")
    monkeypatch.setattr(cuda, "get_device_capability", lambda device: (9, 0))
    uuid = SimpleNamespace(uuid="0123")
    monkeypatch.setattr(cuda, "get_device_properties", lambda device: uuid)
    monkeypatch.setattr(cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(measuring_gpu, "pinned_copies", lambda device, size: copies(machine))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    return machine


def measured(machine, batch_sizes=(1,), dtype="float32", **options):
    model = machine.model(WIDTHS)
    vars(model).update(device=torch.device("cuda", 0), dtype=dtype)
    options = {"budget_s": 0, "verify": False, "clock": machine.clock()} | options
    return profile(model, batch_sizes, **options)


# TF32


def in_force():
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    return cudnn.conv.fp32_precision, cuda.matmul.fp32_precision


@pytest.mark.parametrize(
    ("tf32", "value", "note"),
    [(False, "ieee", "TF32 off"), (True, "tf32", "TF32 in convolutions and matrix products")],
)
def test_tf32_holds_in_every_pass_is_stated_and_put_back(gpu, tf32, value, note):
    before, seen = in_force(), set()
    gpu.fail = lambda kind, batch_size: seen.add(in_force())
    found = measured(gpu, tf32=tf32)
    assert seen == {(value, value)}
    assert found.provenance.note == note
    assert in_force() == before


def test_tf32_is_put_back_after_a_failure(gpu):
    def fail(kind, batch_size):
        raise RuntimeError("some kernel failed")

    before, gpu.fail = in_force(), fail
    with pytest.raises(RuntimeError, match="some kernel failed"):
        measured(gpu, tf32=True)
    assert in_force() == before


def test_tf32_without_meaning_is_refused(gpu, monkeypatch):
    assert measured(gpu, dtype="float16").provenance.note == ""
    with pytest.raises(ValueError, match=r"the model is float16, and TF32 rounds float32"):
        measured(gpu, tf32=True, dtype="float16")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ValueError, match=r"NVIDIA T4 \(compute capability 7.5\) has no TF32"):
        measured(gpu, tf32=True)
    with pytest.raises(ValueError, match=r"the model lies on cpu, and TF32 is of NVIDIA GPUs"):
        profile(Machine().model(), tf32=True)


def test_on_a_cpu_nothing_of_it_is_touched():
    before, seen = in_force(), set()
    machine = Machine(fail=lambda kind, batch_size: seen.add(in_force()))
    found = profile(machine.model(), budget_s=0, clock=machine.clock())
    assert seen == {before}
    assert found.provenance.note == ""


# Copies


def test_copies_of_all_payloads_are_measured(gpu):
    found = measured(gpu, (1, 4))
    assert found.transfers.sizes_bytes.tolist() == [200, 256, 512, 1024, 1600]
    # 10 ns and one for each byte out, two for each byte in; the output is not sent, and the input
    # needs no copy to the host.
    np.testing.assert_allclose(found.to_host_s(1), np.array([0, 210, 330, 0]) * 1e-9)
    np.testing.assert_allclose(found.to_device_s(4), np.array([3210, 1610, 2570, 0]) * 1e-9)
    np.testing.assert_allclose(found.to_host_s(3), np.array([0, 610, 970, 0]) * 1e-9)


def test_on_a_cpu_nothing_is_copied():
    machine = Machine()
    found = profile(machine.model(), (1,), budget_s=0, clock=machine.clock())
    assert found.transfers is None
    assert found.to_host_s(1).tolist() == found.to_device_s(1).tolist() == [0, 0, 0, 0]


def test_a_batch_size_that_did_not_fit_has_no_copies(gpu):
    def fail(kind, batch_size):
        if batch_size == 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    gpu.fail = fail
    assert measured(gpu, (1, 4)).transfers.sizes_bytes.tolist() == [200, 256, 400]
    gpu.fail = lambda kind, batch_size: fail(kind, 4)
    assert measured(gpu, (1,)).transfers is None


def test_copies_too_large_for_memory_are_said_and_left_out(gpu, monkeypatch, caplog):
    fits = 200

    def pinned(device, largest_bytes):
        if largest_bytes > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return copies(gpu)

    monkeypatch.setattr(measuring_gpu, "pinned_copies", pinned)
    found = measured(gpu)
    assert "No memory to measure copies of more than 1 of 3 sizes" in caplog.text
    np.testing.assert_array_equal(found.to_host_s(1), [0, 210e-9, np.nan, 0])
    fits = 0
    assert measured(gpu).transfers is None


def test_compiled_halves_have_copies_too(gpu, monkeypatch):
    monkeypatch.setattr(measure, "compiler_named", lambda backend: lambda code: code)
    found = measured(gpu, compiler="inductor")
    assert found.transfers.sizes_bytes.tolist() == [200, 256, 400]
    assert found.provenance.device == "NVIDIA T4, compiled"
    assert found.provenance.note == "TF32 off, torch.compile (inductor), halves run apart"


# Clocks


def test_without_nvml_clocks_are_not_sampled(gpu):
    found = measured(gpu)
    assert (found.provenance.clocks, found.provenance.throttled) == ("not sampled", ())


def test_clocks_are_sampled_between_rounds_and_throttling_is_told(gpu, monkeypatch, tmp_path):
    samples = [COOL, *[WARM] * 100]
    nvml = library(samples)
    asked_at = []
    sm_or_memory = nvml.nvmlDeviceGetClockInfo
    nvml.nvmlDeviceGetClockInfo = lambda gpu_, kind: (
        asked_at.append(len(gpu.log)),
        sm_or_memory(gpu_, kind),
    )[1]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(measure, "SAMPLE_EVERY_S", 2e-6)  # a round of two passes of 1,000 ns
    found = measured(gpu)
    # Four passes to warm up; after each of 15 rounds, and once at the end. Two clocks a time.
    assert asked_at == [n for k in range(1, 16) for n in [4 + 2 * k] * 2] + [34, 34]
    assert found.provenance.clocks.startswith("SM 1755/1755/1980 MHz, memory 2619/")
    assert found.provenance.throttled == ("software power cap",)
    assert "throttled by software power cap" in found.provenance.label()
    assert nvml.told["open"] == 0
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.provenance == found.provenance
    np.testing.assert_array_equal(again.transfers.to_host_ns, found.transfers.to_host_ns)
    np.testing.assert_array_equal(again.transfers.to_device_ns, found.transfers.to_device_ns)
    np.testing.assert_array_equal(again.transfers.sizes_bytes, found.transfers.sizes_bytes)


def test_throttling_before_two_interruptions_is_remembered(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "KEEP_EVERY_S", 1e-12)
    monkeypatch.setattr(measure, "SAMPLE_EVERY_S", 1e-12)

    def fail(kind, batch_size):
        if len(gpu.log) in (25, 35):
            gpu.log.append(("interrupted", batch_size))
            raise KeyboardInterrupt

    gpu.fail = fail
    for sample in (HOT, COOL):
        monkeypatch.setitem(sys.modules, "pynvml", library([sample] * 100))
        interrupted = measured(gpu, checkpoint=tmp_path / "x")
        assert interrupted.provenance.note == "TF32 off, interrupted"
    found = measured(gpu, checkpoint=tmp_path / "x")
    assert found.provenance.note == "TF32 off"
    assert found.provenance.throttled == ("software power cap", "software thermal slowdown")


# A real GPU


def network(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 3), nn.Flatten(), nn.Linear(3136, 5)
    ).eval()


@pytest.mark.gpu
@pytest.mark.parametrize("tf32", [False, True])
def test_a_real_gpu_has_its_settings_back_and_copies_that_take_time(tf32):
    before = in_force()
    captured = capture(network(), example_inputs=torch.rand(2, 3, 32, 32), device="cuda")
    if tf32 and torch.cuda.get_device_capability() < (8, 0):
        with pytest.raises(ValueError, match="has no TF32"):
            profile(captured, tf32=True)
        return
    found = profile(captured, (1, 64), budget_s=1, tf32=tf32)
    assert in_force() == before
    assert found.provenance.note.startswith("TF32 in conv" if tf32 else "TF32 off")
    for size in (1, 64):
        assert (found.to_host_s(size)[1:-1] > 0).all()
        assert (found.to_device_s(size)[:-1] > 0).all()
    largest = np.argmax(found.to_device_s(64))
    assert found.to_device_s(64)[largest] > found.to_device_s(1)[largest]


@pytest.mark.gpu
def test_out_of_memory_under_a_real_cap_is_a_row():
    captured = capture(network(256), example_inputs=torch.rand(2, 3, 32, 32), device="cuda")
    device = captured.device  # with an index: the cap below wants one
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total), device)  # 2 GB
    try:
        # 16,384 samples leave 256 · 30 · 30 floats each after the first layer: 15 GB.
        found = profile(captured, (1, 16_384), budget_s=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
    assert [found.status(size) == "oom" for size in (1, 16_384)] == [False, True]
    with pytest.raises(ProfileError, match="No times at batch size 16384"):
        found.head_s(16_384)


@pytest.mark.gpu
def test_clocks_of_a_real_gpu_are_sampled_where_nvml_is_installed():
    pytest.importorskip("pynvml")
    captured = capture(network(), example_inputs=torch.rand(2, 3, 32, 32), device="cuda")
    assert "MHz" in profile(captured, budget_s=1).provenance.clocks
