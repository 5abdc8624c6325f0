"""Capturing where CUDA's own rules hold: on a fake device, without a GPU, and on a real one.

torch.export asks an operation's CUDA rules as soon as its tensors say that they lie on CUDA: batch
norm, for one, then takes 65,535 samples at most.
"""

import os
import re
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import nn

import dscwb
from benchmarks.shipped import MODELS
from tests.fake_cuda import fake_cuda, moved
from tests.test_bottleneck_table import ON_CUDA, TABLE, counts, shipped_fingerprints

# `make soak` has all models. Else of each family of shipped models the smallest, and the one with
# the largest tensors; the deepest is captured in test_bottleneck_table.
LEFT_OUT = "^$" if os.environ.get("DSCWB_CAPTURES") == "all" else "_b[1-6]$|v2_[sml]$"
SHIPPED = [(name, side) for name, side, _ in MODELS if not re.search(LEFT_OUT, name)]
# A family each that no shipped model stands for.
OTHERS = (
    "edgenext_xx_small",
    "efficientvit_m0",
    "ghostnetv2_100",
    "levit_128s",
    "mobilevitv2_050",
    "resnest14d",
)


def made(name, **options):
    """A model of timm's in no time: it has no values."""
    with torch.device("meta"):
        return timm.create_model(name, **options).eval()


def captured_on_cuda(monkeypatch, module, *shapes):
    with fake_cuda(monkeypatch):
        inputs = tuple(torch.rand(shape, device="cuda") for shape in shapes)
        return dscwb.capture(moved(module), example_inputs=inputs, check=False)


@pytest.mark.parametrize(("name", "side"), SHIPPED)
def test_every_shipped_model_is_captured_on_cuda_as_on_a_cpu(monkeypatch, name, side):
    for_images = {"img_size": side} if re.match("vit|swin|maxvit", name) else {}
    found = captured_on_cuda(monkeypatch, made(name, **for_images), (2, 3, side, side))
    assert found.device.type == "cuda"
    graph = replace(found.graph, model=name)
    assert graph.fingerprint() == shipped_fingerprints()[name, side]
    if (name, side) in ON_CUDA:
        assert counts(graph) == TABLE[name][1:]


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_captured_on_cuda_as_on_a_cpu(monkeypatch, name):
    module, shape = made(name), (2, 3, 224, 224)
    here = dscwb.capture(module, example_inputs=torch.zeros(shape, device="meta"), check=False)
    there = captured_on_cuda(monkeypatch, module, shape)
    assert there.graph.fingerprint() == here.graph.fingerprint()
    assert [cut.elements() for cut in dscwb.all_cuts(there.graph)] == [
        cut.elements() for cut in dscwb.all_cuts(here.graph)
    ]


class Recurrent(nn.Module):
    """Batch norm over a sequence, and an LSTM, whose CUDA kernels are others than a CPU's."""

    def __init__(self):
        super().__init__()
        self.norm, self.lstm, self.out = nn.BatchNorm1d(8), nn.LSTM(8, 16), nn.Linear(16, 2)

    def forward(self, x):
        y, _ = self.lstm(self.norm(x).permute(2, 0, 1))
        return self.out(y[-1])


class TwoInputs(nn.Module):
    """Two inputs with one batch size, and batch norm in three dimensions."""

    def __init__(self):
        super().__init__()
        self.volume, self.norm = nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)

    def forward(self, x, y):
        return self.norm(self.volume(x)).mean((2, 3, 4)) + y


class Windows(nn.Module):
    """Batch norm that sees four rows of each sample."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        parts = x.reshape(-1, 3, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 4, 4)
        return self.norm(self.conv(parts)).reshape(x.shape[0], 4, -1).mean(-1)


class Frames(nn.Module):
    """Batch norm over all frames of all samples, of which 65,535 are reached at 13,107 samples."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        each = self.norm(self.conv(x.flatten(0, 1))).mean((2, 3))
        return each.unflatten(0, x.shape[:2]).mean(1)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (Windows, [(2, 3, 8, 8)]),
        (Frames, [(2, 5, 3, 8, 8)]),
        (Frames, [(2, 300, 3, 8, 8)]),
        (Recurrent, [(2, 8, 5)]),
        (TwoInputs, [(2, 1, 6, 6, 6), (2, 4)]),
        (lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None
        ), [(2, 3, 96, 96)]),
        (lambda: torchvision.models.video.r3d_18(weights=None), [(2, 3, 4, 48, 48)]),
        (lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2
        ), [(2, 7, 16)]),
    ],
    ids="windows frames many-frames recurrent two-inputs segmentation video encoder".split(),  # noqa: SIM905
)  # fmt: skip
def test_models_of_other_kinds_are_captured_on_cuda_as_on_a_cpu(monkeypatch, make, shapes):
    module = make().eval()
    inputs = tuple(torch.rand(shape) for shape in shapes)
    here = dscwb.capture(module, example_inputs=inputs, check=False).graph
    there = captured_on_cuda(monkeypatch, module, *shapes).graph
    assert there.fingerprint() == here.fingerprint()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilevit_s", "resnet18"])
def test_a_real_gpu_captures_what_a_cpu_does(name):
    here = dscwb.capture(name).graph
    there = dscwb.capture(name, device="cuda")
    assert there.graph.fingerprint() == here.fingerprint()
    assert dscwb.verify(there, dscwb.all_cuts(there.graph)[::20]) == []
