"""A slice of a GPU: on fakes, without a GPU, what it is asked and what it says; and a real one."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import dscwb
from dscwb.measuring import gpu as measuring_gpu
from dscwb.measuring import measure
from dscwb.measuring.measure import profile
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import ProfileError
from tests.machine import Machine
from tests.test_copies import copies

H200 = SimpleNamespace(name="NVIDIA H200", major=9, multi_processor_count=132, uuid="0")
A100 = SimpleNamespace(name="NVIDIA A100", major=8, multi_processor_count=108, uuid="0")
SMALL = SimpleNamespace(name="Small", major=9, multi_processor_count=4, uuid="0")
T4 = SimpleNamespace(name="Tesla T4", major=7, multi_processor_count=40, uuid="0")


class Gpu:
    """A machine that torch takes for a GPU, and what its driver answers to a wish for a slice.

    Attributes:
        granted: Multiprocessors that the driver gives; those asked for where it is None.
        tells: Whether torch tells how many they are.
        inside: Whether work goes to the slice's stream now.
        waited: Whether the whole device, then the slice's stream was waited for.
    """

    def __init__(self, monkeypatch, chip=H200):
        self.machine = Machine((100, 300, 600))
        self.chip, self.granted, self.tells, self.error = chip, None, True, None
        self.inside, self.waited, self.asked = False, [], []
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "device", lambda device: self._nothing())
        monkeypatch.setattr(cuda, "get_device_name", lambda device: self.chip.name)
        monkeypatch.setattr(cuda, "get_device_properties", lambda device: self.chip)
        monkeypatch.setattr(cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(cuda, "synchronize", lambda device: self.waited.append("device"))
        monkeypatch.setattr(cuda, "stream", self._stream)
        monkeypatch.setattr(
            measuring_gpu, "pinned_copies", lambda device, size: copies(self.machine)
        )
        monkeypatch.setitem(sys.modules, "pynvml", None)
        contexts = SimpleNamespace(GreenContext=SimpleNamespace(create=self._create))
        monkeypatch.setitem(sys.modules, "torch.cuda.green_contexts", contexts)

    @contextmanager
    def _nothing(self):
        yield

    @contextmanager
    def _stream(self, stream):
        self.inside = True
        yield
        self.inside = False

    def _create(self, *, num_sms, device_id):
        if self.error:
            raise self.error
        self.asked.append((num_sms, device_id))
        stream = SimpleNamespace(
            cuda_stream=7, synchronize=lambda: self.waited.append("slice" if self.inside else "?")
        )
        context = SimpleNamespace(Stream=lambda: stream)
        if self.tells:
            context.sm_count = self.granted or num_sms
        return context

    def profile(self, **options):
        model = self.machine.model((50, 80, 10))
        vars(model).update(device=torch.device("cuda", 0), dtype="float32")
        settings = {"budget_s": 0, "verify": False, "clock": self.machine.clock()}
        return profile(model, (1,), **settings | options)


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


def test_every_pass_runs_in_the_slice_and_the_profile_says_so(gpu, tmp_path):
    seen = set()
    gpu.machine.fail = lambda kind, batch_size: seen.add(gpu.inside)
    found = gpu.profile(multiprocessors=8)
    assert seen == {True}
    assert not gpu.inside
    assert gpu.asked == [(8, 0)]
    # What was written before is there when the slice begins, and all is done when it ends.
    assert gpu.waited == ["device", "slice"]
    assert found.provenance.device == "NVIDIA H200, 8 of 132 multiprocessors"
    assert found.provenance.note == "TF32 off, CUDA green context of 8 multiprocessors"
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.provenance == found.provenance


def test_without_the_word_the_whole_gpu_works(gpu):
    found = gpu.profile()
    assert gpu.asked == []
    assert found.provenance.device == "NVIDIA H200"
    assert found.transfers is not None


def test_copies_are_of_the_whole_gpu_or_kept_by_choice(gpu):
    assert gpu.profile(multiprocessors=8).transfers is None
    assert gpu.profile(multiprocessors=8, copies=True).transfers is not None
    assert gpu.profile(copies=False).transfers is None


def test_a_compiled_model_names_its_slice_too(gpu, monkeypatch):
    monkeypatch.setattr(measure, "compiler_named", lambda backend: lambda code: code)
    found = gpu.profile(multiprocessors=16, compiler="inductor")
    assert found.provenance.device == "NVIDIA H200, 16 of 132 multiprocessors, compiled"


def test_a_slice_is_left_where_a_pass_fails(gpu):
    def fail(kind, batch_size):
        raise RuntimeError("some kernel failed")

    gpu.machine.fail = fail
    with pytest.raises(RuntimeError, match="some kernel failed"):
        gpu.profile(multiprocessors=8)
    assert gpu.waited == ["device", "slice"]


def test_rounds_of_another_slice_are_not_taken_over(gpu, tmp_path, caplog):
    kept = tmp_path / "x"
    gpu.profile(multiprocessors=8, checkpoint=kept)
    passes = len(gpu.machine.log)
    gpu.profile(multiprocessors=8, checkpoint=kept)
    assert len(gpu.machine.log) < 2 * passes
    passes = len(gpu.machine.log)
    found = gpu.profile(multiprocessors=16, checkpoint=kept)
    assert len(gpu.machine.log) - passes >= 30
    assert found.provenance.device == "NVIDIA H200, 16 of 132 multiprocessors"


@pytest.mark.parametrize(
    ("chip", "number", "possible"),
    [
        (H200, 12, "has 132 and offers slices of 8 to 128 in steps of 8"),
        (H200, 4, "8 to 128 in steps of 8"),
        (H200, 132, "8 to 128 in steps of 8"),
        (H200, 0, "8 to 128 in steps of 8"),
        (H200, -8, "8 to 128 in steps of 8"),
        (A100, 7, "has 108 and offers slices of 4 to 108 in steps of 2"),
        (A100, 2, "4 to 108 in steps of 2"),
        (SMALL, 8, "has 4 and offers no slices"),
        (T4, 42, "has 40 and offers slices of 2 to 40 in steps of 2"),
    ],
)
def test_a_number_that_the_chip_does_not_offer_is_refused(gpu, chip, number, possible):
    gpu.chip = chip
    with pytest.raises(ValueError, match=f"multiprocessors is {number}; .*{possible}"):
        gpu.profile(multiprocessors=number)
    assert gpu.machine.log == []


@pytest.mark.parametrize(("chip", "number"), [(H200, 128), (A100, 6), (T4, 2)])
def test_a_number_that_it_offers_is_taken(gpu, chip, number):
    gpu.chip = chip
    assert f"{number} of " in gpu.profile(multiprocessors=number).provenance.device


def test_a_slice_of_another_size_than_asked_for_is_refused(gpu):
    gpu.granted = 16
    with pytest.raises(ValueError, match=r"is 8, but the driver made a slice of 16; give 16"):
        gpu.profile(multiprocessors=8)
    assert gpu.machine.log == []


def driver(count, fails=False):
    """What cuda-bindings answers when asked for a stream's context and its resources."""
    resource = SimpleNamespace(sm=SimpleNamespace(smCount=count))
    return SimpleNamespace(
        CUstream=lambda handle: ("stream", handle),
        CUresult=SimpleNamespace(CUDA_SUCCESS=0),
        CUdevResourceType=SimpleNamespace(CU_DEV_RESOURCE_TYPE_SM="sm"),
        cuStreamGetGreenCtx=lambda stream: (0, f"context of {stream[1]}"),
        cuGreenCtxGetDevResource=lambda context, kind: (
            (1 if fails else 0), resource if (context, kind) == ("context of 7", "sm") else None
        ),
    )  # fmt: skip


def test_where_torch_does_not_tell_the_number_the_driver_is_asked(gpu, monkeypatch):
    gpu.tells = False
    cuda = SimpleNamespace(driver=driver(16))
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(bindings=cuda))
    monkeypatch.setitem(sys.modules, "cuda.bindings", cuda)
    assert gpu.profile(multiprocessors=16).provenance.note.endswith("of 16 multiprocessors")
    with pytest.raises(ValueError, match="the driver made a slice of 16"):
        gpu.profile(multiprocessors=8)
    cuda.driver = driver(8, fails=True)
    note = gpu.profile(multiprocessors=8).provenance.note
    assert note.endswith("as asked for: the driver does not tell the number")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("GreenContext requires the cuda.bindings package"),
        RuntimeError("Green Context requires CUDA driver and cuda.bindings 12.8+"),
        RuntimeError("Green Context is not supported on Windows"),
    ],
)
def test_where_there_are_no_slices_it_says_why_and_what_it_takes(gpu, error):
    gpu.error = error
    with pytest.raises(ProfileError, match=r"No slice of 8 .*pip install cuda-bindings") as told:
        gpu.profile(multiprocessors=8)
    assert str(error) in str(told.value)


def test_a_torch_without_them_says_so_too(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.cuda.green_contexts", None)
    with pytest.raises(ProfileError, match="No slice of 8 multiprocessors can be made here"):
        gpu.profile(multiprocessors=8)


def test_a_cpu_has_none():
    machine = Machine()
    with pytest.raises(ValueError, match=r"multiprocessors is 8, but the model lies on cpu"):
        profile(machine.model(), multiprocessors=8, clock=machine.clock())


def test_copies_of_a_cpu_are_refused():
    machine = Machine()
    with pytest.raises(ValueError, match=r"copies is True, but the model lies on cpu"):
        profile(machine.model(), copies=True, clock=machine.clock())


@pytest.mark.gpu
def test_a_slice_of_a_real_gpu_is_slower_than_all_of_it():
    pytest.importorskip("cuda.bindings")
    chip = torch.cuda.get_device_properties(0)
    number = 8  # every GPU that has slices offers so many
    wide = nn.Sequential(nn.Conv2d(64, 256, 3), nn.ReLU(), nn.Conv2d(256, 256, 3)).eval()
    captured = dscwb.capture(wide, example_inputs=torch.rand(2, 64, 64, 64), device="cuda")
    part = profile(captured, (64,), budget_s=1, multiprocessors=number)
    whole = profile(captured, (64,), budget_s=1)
    assert (
        part.provenance.device
        == f"{chip.name}, {number} of {chip.multi_processor_count} multiprocessors"
    )
    assert part.total_s(64) > whole.total_s(64)
    assert part.transfers is None
