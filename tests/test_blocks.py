"""Blocks on the main road: many small modules against how they were put together."""

import warnings
from collections import Counter
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import weight_norm
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrizations import weight_norm as parametrised

import dscwb
from benchmarks.networks import NETWORKS, Attention, Bottleneck, C2f

WIDTH = 8


def captured(module, *shape, inputs=None):
    inputs = inputs or (torch.zeros(2, *shape, device="meta"),)
    return dscwb.capture(module.to("meta").eval(), example_inputs=inputs, check=False).graph


def names(graph):
    return [block.name for block in graph.blocks]


def conv(inside=WIDTH, out=WIDTH, stride=1):
    return nn.Sequential(nn.Conv2d(inside, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, wrap=lambda layer: layer):
        super().__init__()
        self.one, self.two = (wrap(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)) for _ in range(2))

    def forward(self, x):
        return x + self.two(self.one(x).relu())


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and all over vocoders
        return weight_norm(layer)


class Squeeze(nn.Module):
    def __init__(self, multiplies):
        super().__init__()
        self.down, self.up = nn.Conv2d(WIDTH, 2, 1), nn.Conv2d(2, WIDTH, 1)
        self.multiplies = multiplies

    def forward(self, x):
        scale = self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * scale if self.multiplies else scale


class MBConv(nn.Module):
    """As torchvision writes it: everything in a Sequential, a shortcut or none."""

    def __init__(self, shortcut=True):
        super().__init__()
        self.block = nn.Sequential(conv(), conv(), Squeeze(True), conv())
        self.shortcut = shortcut

    def forward(self, x):
        return self.block(x) + x if self.shortcut else self.block(x)


class Gated(nn.Module):
    """A squeeze path that its parent multiplies."""

    def __init__(self):
        super().__init__()
        self.one, self.squeeze, self.two = conv(), Squeeze(False), conv()

    def forward(self, x):
        y = self.one(x)
        return self.two(y * self.squeeze(y))


class CrossStage(nn.Module):
    """Half of the data goes round a row of bottlenecks."""

    def __init__(self):
        super().__init__()
        self.left, self.right = conv(out=WIDTH // 2), conv(out=WIDTH // 2)
        self.parts = nn.Sequential(Bottleneck(WIDTH // 2), Bottleneck(WIDTH // 2))
        self.last = conv()

    def forward(self, x):
        return self.last(torch.cat((self.parts(self.left(x)), self.right(x)), 1))


class Parallel(nn.Module):
    """Two branches, each a row of residual blocks (an HRNet module)."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(Residual(), Residual()) for _ in range(2))

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


class TwoAttentions(nn.Module):
    """Two attentions of one class, each closed by its own shortcut, and an MLP."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Attention(WIDTH, 2), Attention(WIDTH, 2)
        self.wide, self.narrow = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)

    def forward(self, x):
        y = x.flatten(2).transpose(1, 2)
        y = y + self.one(y)
        y = y + self.two(y)
        y = y + self.narrow(self.wide(y).relu())
        return y.transpose(1, 2).reshape(x.shape)


KINDS = {
    "residual": Residual,
    "weight norm": lambda: Residual(old_weight_norm),
    "parametrised": lambda: Residual(parametrised),
    "spectral norm": lambda: Residual(spectral_norm),
    "mbconv": MBConv,
    "mbconv without shortcut": lambda: MBConv(False),
    "gated": Gated,
    "c2f": lambda: C2f(WIDTH, WIDTH, 2),
    "cross stage": CrossStage,
    "parallel": Parallel,
    "two attentions": TwoAttentions,
}


class Stage(nn.Module):
    """A list of blocks in a module of its own, behind a downsampling."""

    def __init__(self, blocks):
        super().__init__()
        self.down = conv()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(self.down(x))


class Numbered(nn.Module):
    """Blocks as attributes, as RegNet has them."""

    def __init__(self, blocks):
        super().__init__()
        for k, block in enumerate(blocks):
            self.add_module(f"b{k}", block)

    def forward(self, x):
        for block in self.children():
            x = block(x)
        return x


class Looped(nn.Module):
    """A ModuleList that its owner walks through."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Net(nn.Module):
    """Stem, stages, and a head that may look at two levels in parallel."""

    def __init__(self, stages, levels):
        super().__init__()
        self.stem, self.body = conv(3), nn.Sequential(*stages)
        self.heads = nn.ModuleList(nn.Sequential(conv(), conv()) for _ in range(levels))

    def forward(self, x):
        x = self.body(self.stem(x))
        return [head(x) for head in self.heads] or x


WRAPS = {"list": lambda x: nn.Sequential(*x), "stage": Stage, "numbered": Numbered, "loop": Looped}
DEPTHS = [(2, 1), (1, 3), (2, 2), (1, 2, 1)]


def put_together(wrap, kinds, depths, levels):
    """A network, and its blocks as they were put in."""
    blocks = [[KINDS[kind]() for _ in range(n)] for kind, n in zip(kinds, depths, strict=False)]
    net = Net([WRAPS[wrap](row) for row in blocks], levels)
    return net, [block for row in blocks for block in row]


def last_layers(graph, net, blocks):
    """After the last layer that runs inside each."""
    paths = {module: path for path, module in net.named_modules()}
    return [
        max(k for k, x in enumerate(graph.layers, 1) if f"{x.module}.".startswith(f"{paths[b]}."))
        for b in blocks
    ]


def all_data_passes(graph, cut):
    """By brute force: without the tensors of this cut no output can be reached from the input."""
    reached = {spec.name for spec in graph.inputs}
    gone = {spec.name for spec in dscwb.all_cuts(graph)[cut].frontier}
    for layer in graph.layers:
        if not reached.isdisjoint(layer.inputs):
            reached |= {spec.name for spec in layer.outputs} - gone
    return reached.isdisjoint(graph.outputs) or cut >= len(graph.layers)


@settings(max_examples=6)
@given(
    st.sampled_from(sorted(WRAPS)),
    st.lists(st.sampled_from(sorted(KINDS)), min_size=3, max_size=3),
    st.sampled_from(DEPTHS),
    st.sampled_from([0, 2]),
)
def test_blocks_are_those_that_were_put_in(wrap, kinds, depths, levels):
    net, blocks = put_together(wrap, kinds, depths, levels)
    graph = captured(net, 3, 8, 8)
    ends = last_layers(graph, net, blocks)
    assert [block.end for block in graph.blocks] == ends
    assert all(all_data_passes(graph, end) for end in ends)
    cuts = dscwb.all_cuts(graph)
    assert all(len(cuts[end].frontier) == 1 for end in ends)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_in_a_plain_list(kind):
    net = nn.Sequential(conv(3), *(KINDS[kind]() for _ in range(3)))
    assert names(captured(net, 3, 8, 8)) == ["1", "2", "3"]


def test_pairs_in_a_list_end_after_the_shortcut_that_the_parent_adds():
    make, inputs = NETWORKS["vit"]
    graph = captured(make(), inputs=tuple(x.to("meta") for x in inputs()))
    assert names(graph) == [f"layers.{k}" for k in range(6)]
    assert [graph.layers[block.end - 1].op for block in graph.blocks] == ["add"] * 6


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("decoder", [f"layers.layers.{k}" for k in range(6)]),
        ("gpt", [f"layers.{k}" for k in range(6)]),
        ("t5", [f"{half}.layers.{k}" for half in ("encoder", "decoder") for k in range(3)]),
        (
            "translator",
            [f"transformer.{half}.layers.{k}" for half in ("encoder", "decoder") for k in range(3)],
        ),
        ("yolo", [f"backbone.{k}" for k in (2, 4, 6, 8, 9)] + [f"neck.{k}" for k in range(4)]),
    ],
)
def test_transformers_and_a_detector(name, blocks):
    make, inputs = NETWORKS[name]
    graph = captured(make(), inputs=tuple(x.to("meta") for x in inputs()))
    assert names(graph) == blocks


def test_single_convolutions_among_stages_are_blocks_too():
    net = nn.Sequential(
        conv(3), nn.Sequential(nn.Sequential(conv()), nn.Sequential(Residual(), Residual()))
    )
    assert names(captured(net, 3, 8, 8)) == ["1.0.0", "1.1.0", "1.1.1"]


def test_a_plain_chain_is_cut_at_each_convolution_and_pooling():
    chain = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    graph = captured(chain, 3, 10, 10)
    assert [(block.name, block.end) for block in graph.blocks] == [
        ("0", 2), ("2", 5), ("5", 6), ("6", 7),
    ]  # fmt: skip


class UNet(nn.Module):
    """A network without blocks: each part occurs once."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.one(x)
        b = nn.functional.max_pool2d(self.two(a), 2)
        return self.three(torch.cat((a, nn.functional.interpolate(b, scale_factor=2)), 1))


def test_a_model_without_blocks_offers_single_tensors_and_record_lows():
    graph = captured(UNet(), 3, 8, 8)
    assert not graph.blocks
    cuts, offered = dscwb.all_cuts(graph), dscwb.all_cuts(graph, "block")
    lowest = [c.index for c in cuts if all(c.elements() < d.elements() for d in cuts[: c.index])]
    single = [cut.index for cut in cuts if len(cut.frontier) == 1]
    assert [cut.index for cut in offered] == sorted({0, len(cuts) - 1, *lowest, *single})
    assert len(offered) < len(cuts)
    assert dscwb.bottlenecks(graph, "block")["cut"].tolist() == [cut.index for cut in offered[1:-1]]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.booleans(), st.sampled_from(["", "b0", "b1.x"])),
        min_size=3,
        max_size=12,
    )
)
def test_narrow_places_send_less_than_all_before(rows):
    """A chain of single tensors; blocks end after the last layer inside each."""
    specs = [dscwb.graph.TensorSpec(f"t{k}", (1, n), (0,), "float32") for k, (n, *_) in
             enumerate(rows)]  # fmt: skip
    given_ = dscwb.graph.TensorSpec("x", (1, 10), (0,), "float32")
    layers = tuple(
        dscwb.graph.Layer("op", where, (([given_, *specs])[k].name,), (specs[k],), flops=int(works))
        for k, (_, works, where) in enumerate(rows)
    )
    spans = {
        name: [k for k, x in enumerate(layers, 1) if x.module.split(".")[0] == name]
        for name in ("b0", "b1")
    }
    blocks = tuple(
        dscwb.graph.Block(name, "Block", ks[-1])
        for name, ks in sorted(spans.items(), key=lambda item: item[1][-1:])
        if ks
    )
    graph = dscwb.ModelGraph("chain", (given_,), layers, (specs[-1].name,), blocks)
    sizes = [10, *(n for n, *_ in rows)]
    ends = [block.end for block in blocks]
    expected = []
    for k in range(1, len(layers)):
        if k in ends or any(sizes[j] <= sizes[k] for j in {0, *(e for e in ends if e < k)}):
            continue
        if any(sizes[j] <= sizes[k] for j in expected):
            continue
        around = [e for ks in spans.values() if ks and ks[0] <= k < (e := ks[-1])]
        if all(sizes[k] <= sizes[e] and any(x.flops for x in layers[k:e]) for e in around[-1:]):
            expected.append(k)
    found = dscwb.cuts.narrow_places(graph)
    if len({e for ks in spans.values() if ks for e in ks[-1:]}) < 2 or not _overlap(spans):
        assert [place.end for place in found] == expected
    assert len({place.name for place in (*found, *blocks)}) == len(found) + len(blocks)


def _overlap(spans):
    (a, b) = spans.values()
    return a and b and max(a[0], b[0]) < min(a[-1], b[-1])


@pytest.mark.parametrize(
    ("name", "side", "kinds"),
    [
        # Depths from the papers; those of shipped models are tested in test_capture_cuda.
        ("vgg16", 64, {"Conv2d": 13, "MaxPool2d": 5}),
        ("regnetx_002", 64, {"Bottleneck": 13}),
        ("ghostnet_050", 64, {"GhostBottleneck": 16}),
        ("legacy_xception", 96, {"Block": 12}),
        ("efficientvit_b0", 64, {"EfficientVitBlock": 4}),
        ("lowformer_b0", 64, {"LowFormerBlock": 7}),
    ],
)
def test_blocks_of_well_known_models(name, side, kinds):
    with torch.device("meta"):
        model = timm.create_model(name)
    found = Counter(block.kind for block in captured(model, 3, side, side).blocks)
    assert {kind: found[kind] for kind in kinds} == kinds


class Cell(nn.Module):
    """Reads the outputs of the two cells before it (NASNet)."""

    def __init__(self):
        super().__init__()
        self.near, self.far = conv(), conv()

    def forward(self, near, far):
        return self.near(near) + self.far(far)


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.cells = conv(3), nn.ModuleList(Cell() for _ in range(4))

    def forward(self, x):
        near = far = self.stem(x)
        for cell in self.cells:
            near, far = cell(near, far), near
        return near


def test_cells_that_read_two_before_them_are_blocks():
    assert names(captured(Cells(), 3, 8, 8)) == [f"cells.{k}" for k in range(4)]


def test_torchvision_names_its_mbconvs():
    """The same network as timm's: the same bottlenecks."""
    with torch.device("meta"):
        graph = captured(torchvision.models.efficientnet_b0(weights=None), 3, 224, 224)
    assert {block.kind for block in graph.blocks} == {"MBConv"}
    assert len(graph.blocks) == 16
    table = dscwb.bottlenecks(graph)
    assert table["ratio"][table["compressive"]].round(4).tolist() == [0.5, 0.2083, 0.1042, 0.0625]


def test_files_without_narrow_places_meet_a_fresh_capture():
    """An edge measured today and a server's older file have the blocks in common."""
    net = nn.Sequential(nn.Conv2d(3, WIDTH, 4, 4), Residual(), Residual())
    graph = captured(net, 3, 64, 64)
    assert [place.name for place in graph.narrow] == ["0"]
    edge = dscwb.model_profile(graph, "Jetson Nano", [1])
    old = dscwb.model_profile(replace(graph, narrow=()), "H100 SXM", [1])
    names_of = {}
    for key, server in (("new", dscwb.model_profile(graph, "H100 SXM", [1])), ("old", old)):
        study = dscwb.sweep(
            edge, server, link=dscwb.Link(), input_encoding="uint8", feature_encoding="int8",
            data_rates_bps=[1e7],
        )  # fmt: skip
        names_of[key] = list(study.splits)
    assert names_of["old"] == [name for name in names_of["new"] if name != "0"]
