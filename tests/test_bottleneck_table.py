"""The table of bottlenecks: the rule of arXiv 2205.11269 on the models that the paper used.

Counts are those that the authors' rule gives on their own (TensorFlow) models; they do not depend
on the input size.
"""

from dataclasses import replace
from functools import cache

import pytest
import timm
import torch

from dscwb.capturing.captured import capture
from dscwb.cuts import bottlenecks
from dscwb.profiles.library import read_profiles

# model: native size, blocks, natural, compressive
TABLE = {
    "efficientnet_b0": (224, 16, 15, 4),
    "efficientnet_b1": (240, 23, 21, 4),
    "efficientnet_b2": (260, 23, 21, 4),
    "efficientnet_b3": (300, 26, 24, 4),
    "efficientnet_b4": (380, 32, 30, 4),
    "efficientnet_b5": (456, 39, 36, 4),
    "efficientnet_b6": (528, 45, 42, 4),
    "efficientnet_b7": (600, 55, 44, 3),
    "tf_efficientnetv2_b0": (224, 21, 20, 4),
    "tf_efficientnetv2_b1": (240, 27, 25, 4),
    "tf_efficientnetv2_b2": (260, 28, 26, 4),
    "tf_efficientnetv2_b3": (300, 32, 30, 4),
    "tf_efficientnetv2_s": (384, 40, 34, 3),
    "tf_efficientnetv2_m": (480, 57, 49, 3),
    "tf_efficientnetv2_l": (480, 79, 68, 3),
}
# One small, one middle, one of few compressive bottlenecks: that the size does not matter.
OTHER_SIZES = [
    (name, size)
    for name in ("efficientnet_b0", "efficientnet_b4", "tf_efficientnetv2_s")
    for size in {224, 384} - {TABLE[name][0]}
]
# Counted in test_capture_cuda, which captures the same: what both find equals a shipped profile.
ON_CUDA = [(name, TABLE[name][0]) for name in ("efficientnet_b7", "tf_efficientnetv2_b0")]
NATIVE = [(name, native) for name, (native, *_) in TABLE.items() if (name, native) not in ON_CUDA]


@cache
def shipped_fingerprints():
    """Of the shipped profiles, which were captured on CPUs and on a GPU."""
    graphs = (profile.graph for profile in read_profiles("data/profiles")[0].values())
    return {(graph.model, graph.inputs[0].shape[-1]): graph.fingerprint() for graph in graphs}


def counts(graph):
    """Blocks, natural and compressive bottlenecks of a model."""
    table = bottlenecks(graph)
    return len(table), int(table["natural"].sum()), int(table["compressive"].sum())


@pytest.mark.parametrize(("name", "size"), [*NATIVE, *sorted(OTHER_SIZES)])
def test_counts(name, size):
    with torch.device("meta"):  # shapes alone decide
        model = timm.create_model(name).eval()
    graph = replace(capture(model, size, check=False).graph, model=name)
    assert counts(graph) == TABLE[name][1:]
    if (name, size) in NATIVE:
        assert graph.fingerprint() == shipped_fingerprints()[name, size]


def test_ratios_of_b0():
    table = bottlenecks(capture("efficientnet_b0", check=False).graph)
    found = table[table["compressive"]]
    assert found["block"].tolist() == [1, 3, 5, 11]
    assert found["ratio"].round(4).tolist() == [0.5, 0.2083, 0.1042, 0.0625]
