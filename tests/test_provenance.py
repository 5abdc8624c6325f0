import getpass
import platform
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from dscwb.capturing.captured import capture
from dscwb.capturing.precision import tf32
from dscwb.measuring import provenance


def captured(**options):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    return capture(model, example_inputs=torch.rand(2, 3, 8, 8), **options)


def test_provenance_says_what_was_measured_where():
    found = provenance.describe(captured(), "one-pass/1", gap_s=0.02)
    assert (found.origin, found.protocol, found.dtype) == ("measured", "one-pass/1", "float32")
    assert found.threads == torch.get_num_threads()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(found.date)) < timedelta(minutes=5)
    assert (found.note, found.gap_s) == ("", 0.02)
    versions = dict(found.versions)
    assert versions["torch"] == torch.__version__
    assert set(versions) == {"dscwb", "torch", "timm", "numpy", "python", "system"}


def test_provenance_names_no_host_user_or_path():
    found = str(provenance.describe(captured(), ""))
    for word in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert not re.search(rf"\b{re.escape(word)}\b", found) or len(word) < 2


def test_dtype_memory_format_and_notes_are_told():
    found = provenance.describe(
        captured(dtype=torch.bfloat16, channels_last=True), "", notes=("mine", "")
    )
    assert (found.dtype, found.note) == ("bfloat16", "channels last, mine")


def text_of(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("board", "cpuinfo", "name"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", "processor : 0\n", "Raspberry Pi 5 Model B Rev 1.0"),
        ("", "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t: x\n", "Some CPU @ 3 GHz"),
        ("", "", platform.processor() or platform.machine()),
    ],
)
def test_a_board_or_processor_has_its_name(tmp_path, monkeypatch, board, cpuinfo, name):
    monkeypatch.setattr(provenance, "_BOARD", text_of(tmp_path, "model", board))
    monkeypatch.setattr(provenance, "_PROCESSOR", text_of(tmp_path, "cpuinfo", cpuinfo))
    assert provenance.processor() == name


def test_clocks_are_told_as_far_as_they_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(provenance, "_GOVERNOR", tmp_path)
    monkeypatch.setattr(provenance, "_PROCESSOR", tmp_path / "nothing")
    assert provenance._clocks() == "4 logical cores"
    monkeypatch.setattr(
        provenance, "_PROCESSOR", text_of(tmp_path, "info", "cpu MHz\t: 2596.132\n")
    )
    assert provenance._clocks() == "4 logical cores, 2.60 GHz as reported"
    text_of(tmp_path, "scaling_governor", "performance\n")
    text_of(tmp_path, "scaling_max_freq", "2400000\n")
    assert provenance._clocks() == "4 logical cores, up to 2.40 GHz, governor performance"


@pytest.fixture
def on_gpu(monkeypatch):
    model = captured()
    vars(model)["device"] = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    return model


@pytest.mark.parametrize("driver", ["", "550.54"])
def test_a_gpu_is_described_with_its_software_and_the_driver_where_it_is_known(on_gpu, driver):
    found = provenance.describe(on_gpu, "", driver=driver)
    assert (found.device, found.threads, found.clocks) == ("NVIDIA T4", None, "")
    versions = dict(found.versions)
    assert {"cuda", "cudnn"} <= set(versions)
    assert versions.get("driver", "") == driver


def test_tf32_is_told_on_a_gpu_only(on_gpu):
    with tf32(True):
        assert provenance.describe(on_gpu, "").note == "TF32 in convolutions and matrix products"
        assert provenance.describe(captured(), "").note == ""
    with tf32(False):
        assert provenance.describe(on_gpu, "", notes=("mine", "")).note == "TF32 off, mine"


def test_a_compiled_model_is_told_in_the_devices_name():
    plain = provenance.describe(captured(), "")
    found = provenance.describe(captured(), "", compiler="inductor")
    assert found.device == f"{plain.device}, compiled"
    assert found.note == "torch.compile (inductor), halves run apart"


def test_weights_are_told_where_they_are_the_users():
    model = captured()
    assert provenance.describe(model, "").weights_sha256 == model.weights_sha256() != ""
