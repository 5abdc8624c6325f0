"""The scripts that a user writes first work as they are typed, with expected values by hand."""

import torch
from torch import nn

import dscwb

WIRE = {"input_encoding": "uint8", "feature_encoding": "int8"}


def test_two_datasheets_and_a_map():
    graph = dscwb.shipped_profile("efficientnet_b0").graph
    edge = dscwb.model_profile(graph, "Jetson Nano", [1, 8])
    server = dscwb.model_profile(graph, "RTX 2080 Ti", [1, 8])
    study = dscwb.sweep(edge, server, **WIRE)
    assert study.at(1, 1e4).split == "no offloading"
    assert study.at(1, 1e10).split == "full offloading"
    assert "efficientnet_b0" in dscwb.plot_best_split(study).layout.title.text
    assert "modelled" in repr(study)


def test_a_shipped_model_explored_by_its_name():
    server = dscwb.scale_profile("efficientnet_b4", speedup=20)
    study = dscwb.sweep("efficientnet_b4", server, link=dscwb.Link(0.02), **WIRE)
    decision = study.at(batch_size=1, data_rate_bps=20e6)
    # By hand: after blocks.3.0 there are 64,512 elements of one byte: 25.8 ms,
    # and 20 ms round trip.
    assert decision.split == "blocks.3.0"
    assert abs(decision.transfer_s - (0.02 + 64512 * 8 / 20e6)) < 1e-12
    assert decision.best_from_bps < 20e6 <= decision.best_to_bps


class Net(nn.Module):
    """No repeated blocks; after its second layer 512 of the 12,288 elements are left."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.narrow = nn.Conv2d(16, 8, 3, stride=4, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.narrow(torch.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


def test_an_own_module_without_repeated_blocks():
    captured = dscwb.capture(Net().eval(), 64)
    profile = dscwb.profile(captured, [1, 2], passes=10, budget_s=0)
    study = dscwb.sweep(profile, dscwb.scale_profile(profile, speedup=10), **WIRE)
    assert study.granularity == "op"  # all cuts, since there are no blocks
    assert "all cuts" in study.label()
    table = dscwb.bottlenecks(profile.graph).set_index("name")
    assert table.elements["conv2d_1"] == 8 * 8 * 8
    assert table.compressive["conv2d_1"]
