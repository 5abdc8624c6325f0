import pytest
import timm
import torch
from torch import nn

from dscwb.capturing.blocks import find_blocks


def paths(model):
    return [unit.path for unit in find_blocks(model)]


def conv(width=3):
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = conv(), conv()


class Stage(nn.Module):
    def __init__(self, depth):
        super().__init__()
        for k in range(depth):
            self.add_module(f"b{k}", Residual())


def test_blocks_in_a_list_and_in_nested_stages():
    model = nn.Module()
    model.stem = conv()
    model.body = nn.Sequential(nn.Sequential(Residual(), Residual()), nn.Sequential(Residual()))
    model.head = nn.Linear(3, 3)
    assert paths(model) == ["body.0.0", "body.0.1", "body.1.0"]


def test_stages_without_a_list_even_of_one_block():
    model = nn.Module()
    model.s1, model.s2 = Stage(1), Stage(2)
    assert paths(model) == ["s1.b0", "s2.b0", "s2.b1"]


def test_single_convolutions_among_stages_are_blocks_too():
    single = nn.Sequential(conv())
    model = nn.Module()
    model.blocks = nn.Sequential(single, nn.Sequential(Residual()))
    assert paths(model) == ["blocks.0.0", "blocks.1.0"]


def test_lists_of_different_parts_are_no_repeated_units():
    """Root children that are all of class Sequential: stem, body, head are still three things."""
    model = nn.Module()
    model.stem = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model.body = nn.Sequential(Residual(), Residual())
    model.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert paths(model) == ["body.0", "body.1"]


def test_a_plain_chain_is_cut_at_each_convolution_and_pooling():
    chain = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    units = find_blocks(chain)
    assert [unit.path for unit in units] == ["0", "2", "5", "6"]
    assert units[1].members == ("2", "3", "4")


def test_a_model_without_repeated_units_has_none():
    assert paths(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == []


@pytest.mark.parametrize(
    ("name", "count", "kind"),
    [
        # Depths from the papers: 3+4+6+3 bottlenecks, 6+12+24+16 dense layers, 2+2+6+2 and 12
        # transformer blocks, 3+3+9+3 ConvNeXt blocks, VGG's 13 convolutions and 5 poolings, 11
        # inception modules, 1+1+4+7 of RegNetX-200MF, 2+2+5+2 MaxViT blocks.
        ("resnet50", 16, "Bottleneck"),
        ("densenet121", 58, "DenseLayer"),
        ("swin_tiny_patch4_window7_224", 12, "SwinTransformerBlock"),
        ("vit_base_patch16_224", 12, "Block"),
        ("convnext_tiny", 18, "ConvNeXtBlock"),
        ("vgg16", 18, "Conv2d"),
        ("inception_v3", 11, "InceptionA"),
        ("regnetx_002", 13, "Bottleneck"),
        ("maxvit_tiny_rw_224", 11, "MaxxVitBlock"),
    ],
)
def test_blocks_of_well_known_models(name, count, kind):
    with torch.device("meta"):
        units = find_blocks(timm.create_model(name))
    if name == "inception_v3":  # its auxiliary classifier never runs in eval mode
        units = [unit for unit in units if unit.path != "AuxLogits"]
    assert len(units) == count
    assert units[0].kind == kind
