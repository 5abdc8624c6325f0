"""The command that says what block candidates cost, on graphs by hand."""

import json

import pytest

from benchmarks import blocks
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec


def graph(blocks=(), narrow=()):
    """An image of 3 by 100 by 100, heavy layers, and one narrow place after the first."""
    sizes, layers = [30_000, 300, 20_000, 20_000, 10], []
    specs = [TensorSpec(f"t{k}", (1, n), (0,), "float32") for k, n in enumerate(sizes)]
    for k in range(1, len(sizes)):
        inputs = (specs[k - 1].name,) if k > 1 else ("x",)
        layers.append(Layer("conv2d", f"m{k}", inputs, (specs[k],), flops=10**9))
    image = TensorSpec("x", (1, 3, 100, 100), (0,), "float32")
    return ModelGraph("hand", (image,), tuple(layers), (specs[-1].name,), blocks, narrow)


BLOCK = Block("m3", "Heavy", 3)


def test_a_missing_narrow_place_costs_and_is_named():
    row = blocks.excess("hand", graph((BLOCK,)))
    assert row.excess > blocks.LIMIT
    assert (row.blocks, row.narrow, row.kinds) == (1, 0, "Heavy")
    assert row.reason.startswith("best outside the blocks, after m1 (conv2d, c = 0.010, 1 sent)")
    assert "hand: +" in blocks.table([row])


def test_with_the_narrow_place_nothing_is_lost():
    row = blocks.excess("hand", graph((BLOCK,), (Block("m1", "conv2d", 1),)))
    assert row.excess == 0
    assert blocks.table([row]).startswith("1 models; at 1 the best candidate costs at most 5%")


def test_what_has_a_row_is_not_captured_again(tmp_path, monkeypatch, capsys):
    def never():
        raise RuntimeError("asked again")

    monkeypatch.setattr(blocks, "models", lambda: iter([("own a: b", never)]))
    blocks.main([str(tmp_path)])
    assert "own a: b: no result, RuntimeError: asked again" in capsys.readouterr().out
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({"model": "own a: b", "excess": 0.25, "reason": "kept"}))
    blocks.main([str(tmp_path)])
    assert "own a: b: +25.0% at 0 Mbit/s, : kept" in capsys.readouterr().out


def test_every_timm_module_and_network_is_there():
    names = [name for name, _ in blocks.models()]
    assert len(names) == len(set(names))
    assert sum(name.startswith("timm ") for name in names) == 98
    assert sum(name.startswith("own ") for name in names) == 7


@pytest.mark.parametrize("name", ["own gpt", "torchvision squeezenet1_1"])
def test_real_models_lose_little(name):
    make = dict(blocks.models())[name]
    row = blocks.measured(name, make)
    assert not row.failed
    assert row.blocks
    assert row.excess <= blocks.LIMIT
