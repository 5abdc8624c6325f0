import copy
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from dscwb.capturing import precision
from dscwb.capturing.captured import capture, verify
from dscwb.capturing.errors import CaptureError
from dscwb.cuts import all_cuts

SWIN = {"img_size": 112, "depths": (1, 2, 1), "embed_dim": 24, "num_heads": (1, 2, 4)}
# Small members of each family; a name, the side of its image, and how else it is made.
FAMILIES = {
    "efficientnet_b0": (64, {}),
    "tf_efficientnetv2_b0": (64, {}),
    "resnet18": (64, {}),
    "densenet121": (64, {"block_config": (2, 2, 2)}),
    "mobilenetv3_small_050": (64, {}),
    "test_convnext": (64, {}),
    "test_vit": (160, {}),
    "swin_tiny_patch4_window7_224": (112, SWIN),
    "test_maxvit": (64, {"img_size": 64}),
    "inception_v3": (96, {}),
    "vgg11": (32, {"mlp_ratio": 0.01}),
    "regnetx_002": (64, {}),
}  # fmt: skip


@cache
def captured_once(name):
    """One of timm's small models."""
    return capture(name, check=False)


def linear(*widths):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_halves_equal_the_whole_bitwise_at_another_batch_size(name):
    side, options = FAMILIES[name]
    captured = capture(timm.create_model(name, **options).eval(), side, check=False)
    every, blocks = all_cuts(captured.graph), all_cuts(captured.graph, "block")
    cuts = [every[len(every) * k // 4] for k in (1, 2, 3)] + [blocks[1], blocks[-2]]
    assert captured.example_inputs[0].shape[0] != 3
    assert verify(captured, cuts, batch_size=3) == []


def test_verify_finds_a_difference():
    captured = capture(linear(4, 4, 2), (4,))
    broken = replace(captured)
    head, tail = captured.split(all_cuts(captured.graph)[1])
    object.__setattr__(broken, "split", lambda cut: (head, lambda sent: tail(sent) + 1))
    [(cut, error)] = verify(broken, [all_cuts(captured.graph)[1]])
    assert cut.index == 1
    assert error > 0


def test_records_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Flatten()).eval()
    graph = capture(model, (3, 6, 6)).graph
    conv, relu, flatten = graph.layers
    assert [layer.op for layer in graph.layers] == ["conv2d", "relu", "flatten"]
    assert (conv.module, conv.inputs) == ("0", (graph.inputs[0].name,))
    assert conv.outputs[0].shape == (1, 8, 4, 4)
    assert conv.outputs[0].elements(5) == 5 * 128
    # 8·4·4 outputs of 3·3·3 multiply-adds; 216 weights; 108 floats in, 128 out.
    assert conv.flops == 2 * 128 * 27
    assert conv.weight_bytes == 4 * 216
    assert (conv.read_bytes, conv.written_bytes) == (4 * 108, 4 * 128)
    assert relu.flops == 0
    assert (flatten.view_of, flatten.written_bytes) == (relu.name, 0)


def test_matrix_products_count_two_for_a_multiply_add():
    class Product(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x, x, x) @ x.transpose(1, 2)

    attention, *_, product = capture(Product().eval(), (5, 4)).graph.layers
    assert attention.flops == 2 * (2 * 5 * 5 * 4)
    assert product.flops == 2 * 5 * 5 * 4


def test_halves_share_the_weights_of_the_model():
    model = linear(4, 8, 2)
    captured = capture(model, (4,))
    head, tail = captured.split(all_cuts(captured.graph)[1])
    mine = {p.data_ptr() for p in model.parameters()}
    theirs = {p.data_ptr() for half in (head, tail) for p in half.parameters()}
    assert theirs == mine
    with torch.no_grad():
        model[0].weight.zero_()
    x = captured.inputs(3)
    with torch.inference_mode():
        assert torch.equal(tail(head(*x)), model(*x))


def test_only_the_cut_layers_run():
    captured = capture(linear(4, 8, 2), (4,))
    first, middle, last = all_cuts(captured.graph)

    def linears(half):
        return sum("linear" in str(node.target) for node in half.graph.nodes)

    assert [tuple(map(linears, captured.split(c))) for c in (first, middle, last)] == [
        (0, 2),
        (1, 1),
        (2, 0),
    ]


def test_sizes_and_constants_are_recomputed_in_the_tail():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 6, 4))
            self.token = nn.Parameter(torch.randn(1, 1, 4))

        def forward(self, x):
            batch, positions = x.shape[0], self.table * 2
            x = x.relu().reshape(batch * 2, 3, 4).sin()
            x = torch.cat([self.token.expand(batch, 1, 4), x.reshape(batch, 6, 4)], dim=1)
            return x[:, 1:] + positions

    captured = capture(Positions().eval(), (6, 4))
    cuts = all_cuts(captured.graph)
    assert verify(captured, cuts, batch_size=5) == []
    assert all(len(cut.frontier) == 1 for cut in cuts)


def test_constants_written_in_place_before_the_cut_are_rebuilt_in_the_tail():
    class Table(nn.Module):
        def forward(self, x):
            table = torch.zeros(4, 4)
            table[:, 0] = torch.arange(4.0)
            x = x.relu()
            table[0] += 1
            return x.sin() @ table

    captured = capture(Table().eval(), (4,))
    assert verify(captured, all_cuts(captured.graph), batch_size=5) == []
    assert all(len(cut.frontier) == 1 for cut in all_cuts(captured.graph))


def test_scores_between_samples_grow_with_the_square_of_the_batch():
    class Samples(nn.Module):
        def forward(self, x):
            return (x @ x.T).softmax(-1) @ x

    captured = capture(Samples().eval(), (4,))
    cuts = all_cuts(captured.graph)
    scores = next(s for c in cuts for s in c.frontier if len(s.batch_axes) == 2)
    assert scores.elements(5) == 25
    assert verify(captured, cuts, batch_size=5) == []


def test_regions_without_autocast_or_gradient_are_cut_like_the_rest():
    class Careful(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                y, z = x.float().relu(), x.sin()
            with torch.no_grad():
                y = y * 2
            return y + z

    captured = capture(Careful().eval(), (4,))
    assert [layer.op for layer in captured.graph.layers][-2:] == ["mul", "add"]
    assert verify(captured, all_cuts(captured.graph), batch_size=5) == []


def test_several_inputs_integers_and_a_dictionary():
    class Ranker(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(50, 8)
            self.mix = nn.Linear(8, 8)

        def forward(self, tokens, weights):
            x = self.mix(self.words(tokens) * weights[..., None])
            return {"score": x.mean(dim=(1, 2)), "best": [x.argmax(-1)]}

    example = (torch.randint(50, (2, 7)), torch.rand(2, 7))
    captured = capture(Ranker().eval(), example_inputs=example)
    assert verify(captured, all_cuts(captured.graph), batch_size=4) == []
    head, tail = captured.split(all_cuts(captured.graph)[2])
    result = tail(head(*captured.inputs(4)))
    assert set(result) == {"score", "best"}
    assert result["best"][0].shape == (4, 7)


def test_neither_half_writes_into_what_it_is_given():
    class InPlace(nn.Module):
        def forward(self, x):
            y = x.mul(2)
            y += 1
            y[:, 0] = 0
            return y.relu_() * 3

    captured = capture(InPlace().eval(), (4,))
    for cut in all_cuts(captured.graph):
        head, tail = captured.split(cut)
        inputs = captured.inputs(3)
        sent = head(*inputs)
        first, second = tail(sent), tail(sent)
        assert torch.equal(first, second)
        assert torch.equal(inputs[0], captured.inputs(3)[0])


@pytest.mark.parametrize("wanted", [None, range(0, 1000, 3), [2, 7], []])
def test_stamps_come_after_the_layers_asked_for_and_change_nothing(wanted):
    class Clock:
        def __init__(self):
            self.seen = []

        def stamp(self, layer):
            self.seen.append(layer)

    captured = captured_once("test_vit")
    clock, inputs = Clock(), captured.inputs(3)
    with torch.inference_mode():
        every = range(1, len(captured.graph.layers) + 1)
        flags = [] if wanted is None else [[layer in wanted for layer in range(len(every) + 1)]]
        stamped = captured.stamped()(*inputs, clock, *flags)
        assert torch.equal(stamped, captured.module(*inputs))
    assert clock.seen == [layer for layer in every if wanted is None or layer in wanted]


def test_weights_are_looked_up_as_ordinary_attributes_and_shared():
    """`nn.Module.__getattr__` would take its time at every weight, most in a small model."""
    captured = captured_once("test_resnet")
    head, tail = captured.split(all_cuts(captured.graph)[5])
    for module in (captured.module, captured.stamped(), head, tail):
        names = [node.target for node in module.graph.nodes if node.op == "get_attr"]
        assert names
        assert set(names) <= set(vars(module))
        assert all(vars(module)[name] is getattr(captured.module, name) for name in names)
        assert set(names) <= set(module.state_dict())


def test_halves_can_be_copied_and_converted():
    captured = captured_once("test_resnet")
    _, tail = captured.split(all_cuts(captured.graph)[5])
    copied = copy.deepcopy(tail).double()
    frontier = captured.split(all_cuts(captured.graph)[5])[0](*captured.inputs(2))
    with torch.inference_mode():
        want = tail(frontier)
        got = copied(tuple(x.double() for x in frontier))
    assert got.dtype == torch.float64
    torch.testing.assert_close(got.float(), want)
    assert all(x.dtype != torch.float64 for x in tail.state_dict().values())


def test_dtype_and_memory_format():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    captured = capture(model, (3, 8, 8), dtype=torch.bfloat16, channels_last=True)
    assert captured.dtype == "bfloat16"
    assert captured.graph.inputs[0].dtype == "bfloat16"
    assert captured.inputs(5)[0].is_contiguous(memory_format=torch.channels_last)


def test_image_size_reaches_transformers_and_convolutional_models():
    assert capture("test_vit", 96, check=False).graph.inputs[0].shape == (1, 3, 96, 96)
    assert capture("test_resnet", 96, check=False).graph.inputs[0].shape == (1, 3, 96, 96)


def test_a_model_prints_itself_in_six_lines():
    captured = capture(linear(4, 8, 2), (4,))
    assert repr(captured).splitlines() == [
        "model: Sequential",
        "inputs: input_1 (4,) float32",
        "layers: 2",
        "blocks: 0",
        "FLOPs for one sample: 96 FLOP",  # 2 · (4 · 8 + 8 · 2)
        "parameters: 58; element type: float32; device: cpu",
    ]
    assert repr(captured.graph) == "\n".join(repr(captured).splitlines()[:5])
    assert captured._repr_html_().count("<tr>") == 8
    assert "<td style='text-align: left'>58</td>" in captured._repr_html_()


# --- errors ---------------------------------------------------------------------------------------


def test_a_name_that_is_near_to_none_leads_to_the_list():
    with pytest.raises(CaptureError, match=r"see timm\.list_models"):
        capture("?!")


@pytest.mark.parametrize(
    ("alone", "difference"),
    # The trace, of two samples, holds their branch only: half of what one sample would get.
    [(lambda x: 2 * x, "0.5"), (lambda x: x[0], "inf")],
    ids=["values", "shape"],
)
def test_a_model_that_treats_one_sample_differently_is_refused(alone, difference):
    class Branches(nn.Module):
        def forward(self, x):
            return x + x - x if x.shape[0] > 1 else alone(x)

    with pytest.raises(CaptureError, match=rf"differs .* by up to {difference}; .* batch size"):
        capture(Branches().eval(), (4,))
    assert len(capture(Branches().eval(), (4,), check=False).graph.layers) == 2


def test_a_cut_of_another_model_is_refused():
    captured = capture(linear(4, 2), (4,))
    other = all_cuts(captured_once("test_vit").graph)[-1]
    with pytest.raises(ValueError, match="is not one of the 2 cuts of 'Sequential'"):
        captured.split(other)


# Settings of the process


@pytest.mark.parametrize(
    "setting",
    [
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
        "torch.backends.cudnn.fp32_precision = 'ieee'; "
        "torch.backends.cudnn.conv.fp32_precision = 'none'",
        "torch.backends.fp32_precision = 'tf32'; torch.backends.cudnn.rnn.fp32_precision = 'ieee'",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    ],
)
def test_torchs_new_settings_of_tf32_stop_no_capture_and_stay(setting):
    """torch.export reads the old ones, which torch refuses where the new ones disagree."""
    held = precision.SETTINGS
    with precision.restored():
        exec(setting)
        before = [one.fp32_precision for one in held], precision.own_values()
        captured = capture(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), (3, 8, 8))
        assert [layer.op for layer in captured.graph.layers] == ["conv2d", "relu"]
        assert ([one.fp32_precision for one in held], precision.own_values()) == before


def test_a_failure_of_torch_export_is_not_blamed_on_the_model(monkeypatch):
    broken = "def export(*args, **options):\n    raise RuntimeError('the exporter is broken')"
    inside: dict = {}
    exec(compile(broken, "/somewhere/torch/export.py", "exec"), inside)
    monkeypatch.setattr(torch.export, "export", inside["export"])
    with pytest.raises(CaptureError, match=r"exported: the exporter is broken. torch.export itsel"):
        capture(linear(4, 2), (4,))


# Hash of the weights


def test_weights_have_a_hash_where_they_are_the_users():
    model = linear(4, 8, 2)
    first = capture(model, (4,)).weights_sha256()
    assert len(first) == 64
    assert capture(model, (4,)).weights_sha256() == first
    with torch.no_grad():
        model[1].bias[0] += 1
    assert capture(model, (4,)).weights_sha256() != first
    assert capture("test_resnet", 32).weights_sha256() == ""


def test_the_hash_counts_buffers_and_not_the_memory_format():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    first = capture(model, (3, 8, 8)).weights_sha256()
    assert capture(model, (3, 8, 8), channels_last=True).weights_sha256() == first
    model[1].running_mean += 1
    assert capture(model, (3, 8, 8)).weights_sha256() != first
    assert len(capture(model, (3, 8, 8), dtype=torch.bfloat16).weights_sha256()) == 64
