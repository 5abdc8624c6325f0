"""Models called in other ways than with one tensor: what is sent, and whether the halves agree."""

import dataclasses
from collections import namedtuple
from itertools import pairwise

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree as pytree

import dscwb
from dscwb.capturing.halves import Sent

FLOAT32 = dscwb.Encoding("float32", 4)


@dataclasses.dataclass
class Prediction:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


@dataclasses.dataclass
class Batch:
    tokens: torch.Tensor
    weights: list


Pair = namedtuple("Pair", "first second")


def flat(value):
    """Everything in a result, dataclasses opened, in order."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for one in value for leaf in flat(one)]
    return [value]


def same(some, others):
    some, others = flat(some), flat(others)
    return len(some) == len(others) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(some, others, strict=True)
    )


def check(model, captured, batch=3):
    """Halves give what the model gives, and heads return what cuts say, tensor by tensor."""
    with torch.inference_mode():
        args, kwargs = captured.call.rebuilt(captured.inputs(batch))
        want = model(*args, **kwargs)
        for cut in dscwb.all_cuts(captured.graph):
            head, tail = captured.split(cut)
            sent = head(*captured.flatten(*args, **kwargs))
            assert [x.nbytes for x in sent] == [spec.nbytes(batch) for spec in cut.frontier]
            assert same(want, tail(sent)), cut.name
    return captured


# --- what a model may return and take, made at random ---------------------------------------------

RESULTS = st.recursive(
    st.sampled_from(["x", "x", "y", "weight", None, 7, 2.5, "text", True, "batch"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inner, min_size=1)
        | st.tuples(inner, inner).map(lambda two: Pair(*two))
        | st.tuples(inner, inner).map(lambda two: Prediction(*two))
    ),
    max_leaves=5,
)


class Returns(nn.Module):
    """Puts its tensors into the places named in a structure."""

    def __init__(self, wanted):
        super().__init__()
        self.f, self.g, self.wanted = nn.Linear(4, 6), nn.Linear(6, 3), wanted

    def forward(self, x):
        x = self.f(x)
        values = {"x": x, "weight": self.g.weight, "y": self.g(x).relu(), "batch": x.shape[0]}

        def put(one):
            if isinstance(one, str):
                return values.get(one, one)
            if isinstance(one, dict):
                return {key: put(inner) for key, inner in one.items()}
            if isinstance(one, (Pair, Prediction)):
                inner = one if isinstance(one, Pair) else (one.logits, one.loss)
                return type(one)(*map(put, inner))
            return type(one)(map(put, one)) if isinstance(one, (list, tuple)) else one

        return {"always": values["y"], "wanted": put(self.wanted)}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(RESULTS)
def test_whatever_a_model_returns_comes_out_of_the_halves(wanted):
    model = Returns(wanted).eval()
    captured = check(model, dscwb.capture(model, (4,)))
    assert type(captured.module(*captured.inputs(2))["wanted"]) is type(
        model(*captured.inputs(2))["wanted"]
    )


@st.composite
def arguments(draw):
    """Arguments of one call, the axes of the tensors in them, and their bytes for a sample."""

    def tensor(kind):
        if kind == "fixed":
            return torch.randn(5, 4), None, 0
        axis = draw(st.integers(0, 1))
        return torch.randn((2, 4) if axis == 0 else (5, 2, 4)), axis, 16 if axis == 0 else 80

    def value(depth):
        kind = draw(st.sampled_from(["sent", "fixed", "number", "none", "list", "dict"]))
        if kind in ("sent", "fixed"):
            return tensor(kind)
        if kind == "number":
            return draw(st.sampled_from([1, 2.0, True, "mode"])), "none", 0
        if kind == "none" or depth == 2:
            return None, "none", 0
        inside = [value(depth + 1) for _ in range(draw(st.integers(1, 2)))]
        size = sum(one[2] for one in inside)
        if kind == "list":
            return [one[0] for one in inside], [one[1] for one in inside], size
        return (
            {f"k{i}": one[0] for i, one in enumerate(inside)},
            {f"k{i}": one[1] for i, one in enumerate(inside)},
            size,
        )

    place = [value(0) for _ in range(draw(st.integers(0, 3)))]
    named = {f"n{i}": value(0) for i in range(draw(st.integers(0, 2)))}
    return place, named


class Takes(nn.Module):
    """Adds up every tensor that it is given, in any structure."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 4)

    def forward(self, x, *rest, **named):
        y = self.f(x)
        for leaf in pytree.tree_leaves((rest, named)):
            if isinstance(leaf, torch.Tensor):
                y = y + (self.f(leaf.relu()).sum(0) if leaf.ndim == 3 else leaf.sin().mean(0))
            elif isinstance(leaf, float):
                y = y * leaf
        return self.f(y).tanh()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments())
def test_whatever_a_model_takes_is_sent_or_held(made):
    place, named = made
    model = Takes().eval()
    axes = {"x": 0}
    axes |= {f"rest[{i}]": one[1] for i, one in enumerate(place)}
    axes |= {name: one[1] for name, one in named.items()}
    captured = dscwb.capture(
        model,
        example_inputs=(torch.randn(2, 4), *(one[0] for one in place)),
        example_kwargs={name: one[0] for name, one in named.items()},
        batch_axes={name: axis for name, axis in axes.items() if axis != "none"},
    )
    check(model, captured)
    sent = 16 + sum(one[2] for one in (*place, *named.values()))
    at_input = dscwb.all_cuts(captured.graph)[0]
    assert at_input.payload_bytes(FLOAT32, 8) == 8 * sent


# --- one by one -----------------------------------------------------------------------------------


def test_a_dataclass_goes_in_and_another_comes_out():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.f = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, batch, *, scale):
            x = self.words(batch.tokens) * batch.weights[0][..., None]
            return Prediction(self.f(x) * scale)

    example = Batch(torch.randint(20, (2, 5)), [torch.rand(2, 5)])
    model = Model().eval()
    captured = dscwb.capture(model, example_inputs=(example,), example_kwargs={"scale": 3.0})
    check(model, captured)
    head, tail = captured.split(dscwb.all_cuts(captured.graph)[2])
    new = Batch(torch.randint(20, (7, 5)), [torch.rand(7, 5)])
    result = tail(head(*captured.flatten(new, scale=3.0)))
    assert isinstance(result, Prediction)
    assert torch.equal(result.logits, model(new, scale=3.0).logits)


def test_a_call_of_another_structure_is_refused():
    class Model(nn.Module):
        def forward(self, x, *, y=None):
            return x if y is None else x + y

    captured = dscwb.capture(Model().eval(), example_inputs=torch.rand(2, 3))
    with pytest.raises(ValueError, match="captured for x; give the same arguments"):
        captured.flatten(torch.rand(2, 3), y=torch.rand(2, 3))


def test_another_mask_than_the_example_s_reaches_the_tail():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x, mask):
            x = self.f(x)
            return (x @ x.transpose(1, 2) + mask.log()).softmax(-1) @ x

    model = Masked().eval()
    example = (torch.randn(2, 6, 4), torch.ones(6, 6))
    captured = dscwb.capture(model, example_inputs=example, batch_axes=(0, None))
    check(model, captured)
    assert all("mask" not in s.name for c in dscwb.all_cuts(captured.graph) for s in c.frontier)
    new = (torch.randn(3, 6, 4), torch.tril(torch.ones(6, 6)))
    for cut in dscwb.all_cuts(captured.graph):
        head, tail = captured.split(cut)
        with torch.inference_mode():
            sent = head(*new)
            assert torch.equal(tail(sent), model(*new))
            received = Sent(tuple(sent), {"mask": new[1]})
            assert torch.equal(tail(received), model(*new))
    with torch.inference_mode():  # nothing beside it: the tail has the mask of the capture
        head, tail = captured.split(dscwb.all_cuts(captured.graph)[0])
        assert torch.equal(tail(tuple(head(*new))), model(new[0], example[1]))


def test_a_recurrent_layer_that_is_given_its_state():
    class State(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(13, 20, batch_first=True)

        def forward(self, x, h, c):
            out, (h, c) = self.cell(x, (h, c))
            return out.relu(), h, c

    model = State().eval()
    example = (torch.randn(2, 7, 13), torch.randn(1, 2, 20), torch.randn(1, 2, 20))
    captured = check(model, dscwb.capture(model, example_inputs=example, batch_axes=(0, 1, 1)))
    assert [s.batch_axes for s in captured.graph.inputs] == [(0,), (1,), (1,)]
    assert dscwb.all_cuts(captured.graph)[0].payload_bytes(FLOAT32, 8) == 8 * 4 * (7 * 13 + 40)
    profile = dscwb.profile(captured, [1, 3], threads=1, passes=10, budget_s=0)
    assert profile.batch_sizes == (1, 3)


def test_one_sample_does_not_tell_a_constant_from_an_input():
    class Shared(nn.Module):
        def forward(self, x, anchors):
            return x[:, :9, None] + anchors

    example = (torch.randn(1, 9), torch.randn(1, 9, 4))
    with pytest.raises(
        dscwb.CaptureError,
        match=r"x and anchors.*two samples, or say batch_axes=\{'x': 0, 'anchors'",
    ):
        dscwb.capture(Shared().eval(), example_inputs=example)
    held = dscwb.capture(
        Shared().eval(), example_inputs=example, batch_axes={"x": 0, "anchors": None}
    )
    assert held.graph.inputs[1].batch_axes == ()
    each = dscwb.capture(Shared().eval(), example_inputs=example, batch_axes={"x": 0, "anchors": 0})
    assert each.graph.inputs[1].batch_axes == (0,)


def test_one_sample_suffices_where_no_input_can_be_shared():
    class Both(nn.Module):
        def forward(self, x, y):
            return torch.cat([x, y], 1).sin()

    model = Both().eval()
    check(model, dscwb.capture(model, example_inputs=(torch.randn(1, 3), torch.randn(1, 3))))


# --- modules that are wrapped, exported, quantised ------------------------------------------------


def chain(*widths):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths))).eval()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: torch.compile(m),
        lambda m: torch.compile(nn.DataParallel(m)),
        lambda m: nn.DataParallel(torch.compile(m)),
    ],
)
def test_wrapped_modules_are_the_ones_inside(wrap):
    inside = chain(8, 8, 8, 4)
    captured = dscwb.capture(wrap(inside).eval(), (8,))
    assert captured.graph == dscwb.capture(inside, (8,)).graph


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small ResNet, its exported program, and the file that holds this."""
    kinds = torchvision.models.resnet
    model = kinds.ResNet(kinds.BasicBlock, [1, 1, 1, 1], num_classes=10).eval()
    batch = torch.export.Dim("batch", min=1)
    example = (torch.randn(2, 3, 32, 32),)
    program = torch.export.export(model, example, dynamic_shapes=({0: batch},))
    path = tmp_path_factory.mktemp("exported") / "resnet.pt2"
    torch.export.save(program, path)
    return model, program, path


@pytest.mark.parametrize("form", ["program", "module", "path", "str"])
def test_an_exported_program_is_the_model_that_it_was_made_of(form, exported):
    model, program, path = exported
    x = torch.randn(2, 3, 32, 32)
    forms = {"program": program, "module": program.module(), "path": path, "str": str(path)}
    given = {} if form != "module" else {"example_inputs": x}
    captured = dscwb.capture(forms[form], **given)
    direct = dscwb.capture(model, example_inputs=x)
    assert captured.graph.model == ("resnet" if form in ("path", "str") else "ResNet")
    assert [b.name for b in direct.graph.blocks] == [f"layer{k}.0" for k in (1, 2, 3, 4)]
    assert captured.graph.blocks == direct.graph.blocks
    assert [c.elements() for c in dscwb.all_cuts(captured.graph)] == [
        c.elements() for c in dscwb.all_cuts(direct.graph)
    ]
    x = torch.randn(3, 3, 32, 32)
    head, tail = captured.split(dscwb.all_cuts(captured.graph, "block")[2])
    with torch.inference_mode():
        assert torch.equal(tail(head(x)), model(x))


class Int8Linear(nn.Module):
    """Weights as 8-bit whole numbers and a scale for each row, as torchao and pt2e leave them."""

    def __init__(self, width):
        super().__init__()
        weight = torch.randn(width, width)
        scale = weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale)


def test_bytes_of_int8_weights_count_as_stored():
    model = nn.Sequential(Int8Linear(64), nn.ReLU(), Int8Linear(64)).eval()
    captured = check(model, dscwb.capture(model, (64,)))
    assert sum(x.weight_bytes for x in captured.graph.layers) == 2 * (64 * 64 + 4 * 64)
    assert all(len(c.frontier) == 1 for c in dscwb.all_cuts(captured.graph))


class Packed(torch.Tensor):
    """A weight like torchao's: float32 to look at, 8-bit whole numbers and a scale inside."""

    @staticmethod
    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=scale.dtype)

    def __init__(self, values, scale):
        self.values, self.scale = values, scale

    def __tensor_flatten__(self):
        return ["values", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return Packed(inner["values"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return Packed(func(args[0].values), func(args[0].scale))

        def opened(x):
            return x.values.to(x.scale.dtype) * x.scale if isinstance(x, Packed) else x

        args, kwargs = pytree.tree_map(opened, (args, kwargs or {}))
        return func(*args, **kwargs)


def test_bytes_of_packed_weights_count_as_stored():
    model = nn.Linear(64, 32, bias=False).eval()
    values = torch.randint(-127, 127, (32, 64), dtype=torch.int8)
    model.weight = nn.Parameter(Packed(values, torch.rand(32, 1)), requires_grad=False)
    captured = check(model, dscwb.capture(model, (64,)))
    assert sum(x.weight_bytes for x in captured.graph.layers) == 64 * 32 + 4 * 32


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_count_whole(dtype):
    class Spectrum(nn.Module):
        def forward(self, x):
            x = torch.fft.fft(x.to(dtype))
            return (x * x.conj()).abs().float()

    model = Spectrum().eval()
    captured = check(model, dscwb.capture(model, (8,)))
    assert max(s.nbytes() for c in dscwb.all_cuts(captured.graph) for s in c.frontier) >= (
        8 * dtype.itemsize
    )


def test_a_model_that_does_nothing_is_measured_and_swept():
    captured = check(nn.Identity().eval(), dscwb.capture(nn.Identity().eval(), (4,)))
    edge = dscwb.profile(captured, [1, 2], threads=1, passes=10, budget_s=0)
    study = dscwb.sweep(
        edge,
        dscwb.scale_profile(edge, 20),
        link=dscwb.Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e6],
        granularity="op",
    )
    assert study.best_split().loc[1].tolist() == ["no offloading"]


def test_the_command_line_takes_an_exported_program(tmp_path, capsys):
    from dscwb.__main__ import main

    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        chain(8, 16, 4), (torch.rand(2, 8),), dynamic_shapes=({0: batch},)
    )
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    assert main(["verify", str(path)]) == 0
    words = ["--threads", "1", "--passes", "10", "--budget", "0", "-o", str(tmp_path / "p.parquet")]
    assert main(["profile", str(path), *words]) == 0
    assert dscwb.load_profile(tmp_path / "p.parquet").graph.model == "net"
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "none.pt2")]) == 2
    assert "no such file; torch.export.save" in capsys.readouterr().err


def test_an_encoding_of_the_input_need_not_hold_what_is_not_sent():
    class Gathers(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(6, 6)

        def forward(self, x, index):
            return self.f(x)[:, index]

    example = (torch.rand(2, 6), torch.tensor([4, 1]))
    captured = dscwb.capture(Gathers().eval(), example_inputs=example, batch_axes=(0, None))
    edge = dscwb.profile(captured, [1], threads=1, passes=10, budget_s=0)
    wire = {"feature_encoding": "int8", "data_rates_bps": [1e6], "granularity": "op"}
    server = dscwb.scale_profile(edge, 20)
    study = dscwb.sweep(edge, server, link=dscwb.Link(), input_encoding="uint8", **wire)
    assert study.lines.bits[0, 0] == 8 * 6
