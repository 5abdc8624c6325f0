"""A CUDA device without a GPU: tensors that have a shape, a type and a device, but no values."""

from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv


@contextmanager
def fake_cuda(monkeypatch):
    """Whatever is made on ``cuda`` inside has no values, and needs neither driver nor card.

    torch cannot move such tensors, so a module says where it is by `moved`, before it is captured.
    """
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(nn.Module, "to", lambda module, *args, **kwargs: module)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        yield


def moved(module: nn.Module) -> nn.Module:
    """The same module with weights and buffers on the fake device; call it inside `fake_cuda`."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            there = torch.empty_like(weight, device="cuda")
            part._parameters[name] = nn.Parameter(there, weight.requires_grad)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = torch.empty_like(buffer, device="cuda")
    return module
