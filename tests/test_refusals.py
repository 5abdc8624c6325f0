"""What is printed where a model cannot be captured: the forty likeliest failures.

Each sentence names the true cause and a remedy; where the remedy is something to do with the call,
the table does it and the capture works.
"""

import random
import re
import sys
import types

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

import dscwb


def module(forward, *parts):
    """A module in eval mode whose forward is this function of it and its inputs."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            for i, part in enumerate(parts):
                setattr(self, f"part{i}", part)

    # torch names lines of functions of this name only
    code = forward.__code__.replace(co_name="forward")
    Model.forward = types.FunctionType(code, forward.__globals__)
    return Model().eval()


def branches(self, x):
    if x.sum() > 0:
        return x
    return -x


def loops(self, x):
    while x.max() < 10:
        x = x * 2 + 1
    return x


def asserts(self, x):
    assert x.min() < 100, "too large"
    return x * 2


def indexes(self, x):
    return [1, 2, 3][int(x.argmax()) % 3] * x


def sorts(self, x):
    return x * sorted(x.sum(1).tolist())[0]


def in_numpy(self, x):
    return torch.from_numpy(np.sqrt(x.numpy()))


def sample_by_sample(self, x):
    return torch.stack([row * 2 for row in x])


def counts_samples(self, x):
    return x.reshape(int(x.shape[0]), -1)


def two_samples(self, x):
    return x.reshape(2, -1) * 2


def even_numbers(self, x):
    assert x.shape[0] % 2 == 0, "pairs only"
    return x * 2


def many_or_few(self, x):
    return x * 2 if x.shape[0] > 4 else x * 3


def one_or_more(self, x):
    return x * 2 if x.shape[0] > 1 else x * 3


def noisy(self, x):
    return x + torch.rand_like(x)


def dropping(self, x):
    return functional.dropout(x)


def unseeded(self, x):
    return x * random.random()


def counting(self, x):
    self.calls = getattr(self, "calls", 0) + 1
    return x * self.calls


def collecting(self, x):
    self.seen.append(x.mean())
    return x * len(self.seen)


def with_memory(self, x):
    self.part0.weight.data.add_(1)
    return self.part0(x)


def cut_out(self, x):
    return x[x > 0]


def not_zero(self, x):
    return x.nonzero().float()


def under_autocast(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.T


def in_place_on_mask(self, x, mask):
    mask.clamp_(0, 1)
    return x * mask


@torch.library.custom_op("dscwb_tests::without_fake", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def custom(self, x):
    return twice(x)


def embeds(self, x):
    return self.part0(x)


def adds(self, x, y):
    return x + y


def catches(self, x, y):
    return torch.cat([x, y], 1)


def first(self, x, *rest):
    return x * 2


class Holder:
    def __init__(self, x):
        self.x = x


def scripted():
    return torch.jit.script(nn.Linear(8, 8).eval())


def static_program():
    return torch.export.export(nn.Linear(8, 8).eval(), (torch.rand(2, 8),))


def narrow_program():
    batch = torch.export.Dim("batch", min=2, max=8)
    net, x = nn.Linear(8, 8).eval(), torch.rand(4, 8)
    return torch.export.export(net, (x,), dynamic_shapes=({0: batch},))


def quantised():
    net = nn.Sequential(nn.Linear(8, 8)).eval()
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}).eval()


def in_parts():
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout()).eval()
    net[1].train()
    return net


def with_state():
    net = module(collecting)
    net.seen = []
    return net


def changes_weights():
    return module(with_memory, nn.Linear(8, 8).requires_grad_(False))


def detector():
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
    anchors = torchvision.models.detection.anchor_utils.DefaultBoxGenerator([[2]])
    return torchvision.models.detection.ssd.SSD(backbone, anchors, (32, 32), 2).eval()


def of(forward, *parts):
    return lambda: module(forward, *parts)


X = torch.rand(2, 8)
LINEAR = nn.Linear(8, 8).eval()
LINE = r"at `{}` \(.*test_refusals\.py:\d+\)"

# name: what makes the model; how it is captured; what the sentence says
TABLE = {
    "unknown name": (lambda: "resnet5", {}, r"no model 'resnet5'; nearest names: .*resnet50"),
    "a file that is missing": (lambda: "none.pt2", {}, r"none.pt2: no such file; torch.export"),
    "an ONNX file": (lambda: "net.onnx", {}, r"ONNX file; capture the PyTorch module .*onnx2torch"),
    "a checkpoint": (lambda: "net.pth", {}, r"net.pth is not an exported program; load it in"),
    "weights alone": (lambda: "net.safetensors", {}, "holds weights only; load them into their"),
    "a state_dict": (LINEAR.state_dict, {}, r"holds weights only; .*load_state_dict"),
    "a class": (lambda: nn.ReLU, {}, r"is the class ReLU; give an instance, ReLU\(\)\.eval\(\)"),
    "a function": (lambda: torch.relu, {}, r"is relu, .*put it into the forward of an nn\.Module"),
    "None": (lambda: None, {}, "a NoneType; give a timm name, an nn.Module or an ExportedProgram"),
    "TorchScript": (scripted, {}, r"Linear is TorchScript, .*capture the nn\.Module"),
    "TorchScript inside": (
        lambda: nn.Sequential(nn.ReLU(), scripted()).eval(),
        {},
        "holds TorchScript in '1', .* put the nn.Module that it was made from there",
    ),
    "train mode": (lambda: nn.Linear(8, 8), {}, r"Linear is in train mode; call model\.eval\(\)"),
    "a part in train mode": (in_parts, {}, r"train mode, in its part '1'; call model\.eval\(\)"),
    "lazy layers": (lambda: nn.LazyLinear(4).eval(), {}, r"lazy layers .*; run it once"),
    "no weights": (
        lambda: nn.Linear(8, 8, device="meta").eval(),
        {},
        r"meta device and has no weights; give it some, model\.to_empty",
    ),
    "no size": (lambda: LINEAR, {"example_inputs": None}, r"give input_size=\(3, 224, 224\) or"),
    "another width": (
        lambda: LINEAR,
        {"example_inputs": torch.rand(2, 9)},
        r"does not run on its example, input \(2, 9\).*: mat1 and mat2.* with which the model",
    ),
    "an argument too few": (
        of(adds),
        {},
        "does not run on its example.*missing 1 required positional argument: 'y'.*example_kwargs",
    ),
    "floats for token ids": (
        of(embeds, nn.Embedding(10, 4)),
        {"example_inputs": X},
        r"It takes whole numbers, such as token ids: give example_inputs=torch\.randint",
    ),
    "no samples": (lambda: LINEAR, {"example_inputs": X[:0]}, r"\(0, 8\) has no batch dimension"),
    "a number alone": (of(first), {"example_inputs": X[0, 0]}, r"shape \(\) has no batch dim"),
    "an image without a batch": (
        lambda: nn.Conv2d(3, 8, 3).eval(),
        {"example_inputs": torch.rand(3, 16, 16)},
        r"not with 4 instead of 3 along axis 0 of input \(3, 16, 16\).*\(batch, \.\.\.\)",
    ),
    "inputs of other sizes": (
        of(adds),
        {"example_inputs": (X, torch.rand(8, 8))},
        r"x has 2, y has 8.*None where there is none: batch_axes=\{'x': 0, 'y': None\}",
    ),
    "batch_axes for another call": (
        of(adds),
        {"example_inputs": (X, X), "batch_axes": {"z": 1}},
        "batch_axes names 'z', but the inputs are x, y",
    ),
    "an input of another kind": (
        of(first),
        {"example_inputs": (X, Holder(X))},
        r"its input rest\[0\] is a Holder; .*Convert it",
    ),
    "NumPy arrays": (
        of(first),
        {"example_inputs": (X.numpy(),)},
        r"its input x is a ndarray; .*torch\.as_tensor\(x\)",
    ),
    "resident by a wrong name": (
        of(first),
        {"resident": "past"},
        r"resident names 'past', which is neither .*; there are 0, 'x'",
    ),
    "a mask written in place": (
        of(in_place_on_mask),
        {"example_inputs": (X, torch.rand(8)), "batch_axes": (0, None)},
        r"writes into its input mask at `mask\.clamp_\(0, 1\)`.*new = old\.clone\(\)",
    ),
    "if on values": (
        of(branches),
        {},
        r"values of a tensor.*" + LINE.format(r"if x\.sum\(\) > 0:"),
    ),
    "while on values": (of(loops), {}, LINE.format(r"while x\.max\(\) < 10:") + ".*torch.where"),
    "assert on values": (of(asserts), {}, LINE.format(r"assert x\.min\(\) < 100.*")),
    "a Python list by values": (of(indexes), {}, "values of a tensor.*" + LINE.format(r"return.*")),
    "sorted by values": (of(sorts), {}, LINE.format(r"return x \* sorted.*")),
    "a boolean mask": (of(cut_out), {}, r"depends on values.*" + LINE.format(r"return x\[x > 0\]")),
    "nonzero": (of(not_zero), {}, r"depends on values.*" + LINE.format(r"return x\.nonzero.*")),
    "NumPy inside": (of(in_numpy), {}, r"leaves torch for NumPy " + LINE.format(".*np.sqrt.*")),
    "one by one": (
        of(sample_by_sample),
        {},
        r"fixes the number of samples to 2 " + LINE.format(".*for row in x.*") + ".*whole batch",
    ),
    "number as int": (of(counts_samples), {}, r"samples to 2 " + LINE.format(r".*int\(x\.shape.*")),
    "a written-down batch": (
        of(two_samples),
        {},
        r"samples to 2 " + LINE.format(r".*reshape\(2, -1.*"),
    ),
    "even batches": (of(even_numbers), {}, r"not with 3 instead of 2.*pairs only"),
    "a branch on the batch": (
        of(many_or_few),
        {},
        r"different things for different numbers of samples " + LINE.format(".*shape.*> 4.*"),
    ),
    "a branch for one sample": (
        of(one_or_more),
        {},
        r"differs from the model's by up to 0\.\d+; for 2 it does not: .*branches on the batch",
    ),
    "random numbers": (
        of(noisy),
        {},
        r"not deterministic: .*random operation " + LINE.format(".*rand_like.*"),
    ),
    "dropout left on": (of(dropping), {}, r"random operation at .*training=self\.training"),
    "Python's random": (of(unseeded), {}, "is not deterministic: .*remove the random operation"),
    "a counter": (of(counting), {}, r"keeps state between calls: .*'calls'.*as an argument"),
    "a list that grows": (with_state, {}, r"keeps state between calls: .*'seen'"),
    "weights that change": (changes_weights, {}, r"keeps a tensor between calls, .*through \.data"),
    "autocast": (of(under_autocast), {}, "which cannot be cut; run it without autocast"),
    "a custom operation": (of(custom), {}, r"result's shape .*register_fake"),
    "packed int8": (quantised, {}, r"packed quantised weights.*torchao's quantize_"),
    "a static program": (static_program, {}, r"exported for 2 samples only; export it again"),
    "a narrow program": (narrow_program, {}, "exported for certain numbers of samples only"),
    "a program in another type": (
        static_program,
        {"dtype": torch.float16},
        "whose element type and memory format are fixed; leave dtype and channels_last out",
    ),
    "a detector": (
        detector,
        {"example_inputs": torch.rand(2, 3, 64, 64)},
        "fixes the number of samples|values of a tensor",
    ),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_a_refusal_is_one_sentence_that_names_the_cause(name, capfd):
    make, options, said = TABLE[name]
    model = make()
    capfd.readouterr()
    program = isinstance(model, torch.export.ExportedProgram)
    given = options if program or isinstance(model, str) else {"example_inputs": X} | options
    with pytest.raises(dscwb.CaptureError) as info:
        dscwb.capture(model, **given)
    sentence = str(info.value)
    print(sentence, file=sys.stdout)
    out, err = capfd.readouterr()
    assert err == ""
    assert pytest.approx(len(out), abs=1) == len(sentence)  # nothing else was printed
    assert "\n" not in sentence
    assert "<string>" not in sentence
    assert len(sentence) < 700
    assert info.value.__cause__ is None
    assert info.value.__suppress_context__ or info.value.__context__ is None
    assert re.search(said, sentence), sentence
