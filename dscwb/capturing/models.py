"""What people call a model: a timm name, a module, an exported program or its file goes in.

Out comes one kind of thing, an `nn.Module` that torch.export takes, and the name to call it by.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import fx, nn
from torch.export.passes import move_to_device_pass

from dscwb.capturing.exported import CaptureError

Model = str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram
EXPORTED = ".pt2"
# Files that hold a model in another form, and the way from there to a module.
_WAYS = {
    ".onnx": "is an ONNX file; capture the PyTorch module that it was made from, or turn it into "
    "one first: `pip install onnx2torch`, then capture(onnx2torch.convert({path!r}).eval(), ...)",
    ".safetensors": "holds weights only; load them into their module, "
    "model.load_state_dict(safetensors.torch.load_file({path!r})), and capture model.eval()",
    ".tflite": "is a TFLite file, which has no way back to PyTorch; capture the module that it was "
    "made from, or read times measured with it by `dscwb import`",
    ".engine": "is a TensorRT engine, which has no way back to PyTorch; capture the module that it "
    "was made from, or read times measured with it by `dscwb import`",
    ".pt": "is not an exported program; load it in Python (torch.load for a module or its weights) "
    "and capture the module: capture(model.eval(), ...), or save it by torch.export.save as .pt2",
}
_WAYS |= {
    ".pth": _WAYS[".pt"],
    ".ckpt": _WAYS[".pt"],
    ".bin": _WAYS[".pt"],
    ".plan": _WAYS[".engine"],
}
_TORCHSCRIPT = (
    "{name} is TorchScript, which torch.export does not take; capture the nn.Module that it was "
    "made from, before torch.jit.trace or torch.jit.script."
)


def module_of(
    model: Any, image_side: int | None, device: torch.device | str | None
) -> tuple[nn.Module, str]:
    """The module to capture, and its name.

    Args:
        model: See `capture`.
        image_side: Of the images that a timm model is made for; None for its own.
        device: Where an exported program is moved; None for where it is.

    Raises:
        CaptureError: It is none of these; says what it is and the way from there.
    """
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if path.suffix.lower() == EXPORTED:
            return _loaded(path, device), path.stem
        if path.suffix.lower() in _WAYS:
            way = _WAYS[path.suffix.lower()].format(path=str(path))
            raise CaptureError(f"{path.name} {way}.")
        return _from_timm(str(model), image_side), str(model)
    if isinstance(model, torch.export.ExportedProgram):
        module = _of_program(model, device)
        return module, _exported_name(module)
    if isinstance(model, nn.Module):
        return _unwrapped(model)
    raise CaptureError(f"{_what(model)}.")


def _what(model: Any) -> str:
    """What something is that is no model, and the way from there."""
    if isinstance(model, Mapping):
        return (
            "The model is a dictionary, such as a state_dict, which holds weights only; load them "
            "into their module, model.load_state_dict(weights), and capture model.eval()"
        )
    if isinstance(model, type):
        return (
            f"The model is the class {model.__name__}; give an instance, {model.__name__}().eval()"
        )
    kind = type(model).__name__
    if kind == "ModelProto":
        return f"The model is an ONNX {kind}; save it and see capture('model.onnx')"
    if callable(model):
        named = getattr(model, "__name__", kind)
        return (
            f"The model is {named}, a {kind}; put it into the forward of an nn.Module and give that"
        )
    return f"The model is a {kind}; give a timm name, an nn.Module or an ExportedProgram"


def _from_timm(name: str, image_side: int | None) -> nn.Module:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"nearest names: {', '.join(near)}" if near else "see timm.list_models()"
        raise CaptureError(f"timm has no model {name!r}; {hint}.")
    if image_side is not None:
        try:  # transformers must be told the image size, convolutional models take no such word
            return timm.create_model(name, img_size=image_side).eval()
        except TypeError:
            pass
    return timm.create_model(name).eval()


def _unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside of what wraps it for compiling or for several GPUs."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(_TORCHSCRIPT.format(name=getattr(model, "original_name", name)))
    return model, _exported_name(model) if is_exported(model) else name


def _loaded(path: Path, device: torch.device | str | None) -> nn.Module:
    if not path.exists():
        raise CaptureError(f"{path}: no such file; torch.export.save(program, path) makes one.")
    try:
        program = torch.export.load(path)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CaptureError(
            f"{path} cannot be read as an exported program ({said[:160]}); torch.export.save("
            "program, path) makes one, and this torch reads those of its own version or older ones."
        ) from None
    return _of_program(program, device)


def _of_program(
    program: torch.export.ExportedProgram, device: torch.device | str | None
) -> nn.Module:
    if device is not None:
        program = move_to_device_pass(program, torch.device(device))
    module = program.module()
    vars(module)["example"] = program.example_inputs
    return module


def example_of(module: nn.Module) -> Any:
    """``(args, kwargs)`` that an exported program carries with it; None for other modules."""
    return vars(module).get("example") if is_exported(module) else None


def is_exported(module: nn.Module) -> bool:
    """Whether it is a program that torch.export has made, which has no eval mode of its own."""
    return isinstance(module, fx.GraphModule) and "eval" in vars(module)


def _stacks(module: fx.GraphModule) -> dict[str, str]:
    """Classes of the modules that an exported program was made of, by their paths."""
    found: dict[str, str] = {}
    for node in module.graph.nodes:
        for path, kind in node.meta.get("nn_module_stack", {}).values():
            if "_empty_nn_module_stack" not in path:
                found.setdefault(path.partition("@")[0], kind)
    return found


def _exported_name(module: nn.Module) -> str:
    assert isinstance(module, fx.GraphModule)
    return _stacks(module).get("", "ExportedProgram").rpartition(".")[2]


def tree_of(module: nn.Module) -> nn.Module:
    """The module tree to look for blocks in: an exported program's is that of its origin.

    The program keeps weights at their paths and, with each operation, the classes of the modules
    that it ran in: enough for a tree of the same shape.
    """
    if not is_exported(module):
        return module
    assert isinstance(module, fx.GraphModule)
    root = nn.Module()
    for path, kind in sorted(_stacks(module).items()):
        _placed(root, path, _empty(kind))
    for path, weight in module.named_parameters():
        owner, _, name = path.rpartition(".")
        _placed(root, owner, None).register_parameter(name, weight)
    return root


def _empty(kind: str) -> nn.Module:
    """A module of a class of this name."""
    made: nn.Module = object.__new__(_class_of(kind))
    nn.Module.__init__(made)
    return made


@cache  # modules of one class must have one class here too
def _class_of(kind: str) -> type[nn.Module]:
    """The class of this name: torch's own where it is one of torch's, else a new one."""
    name = kind.rpartition(".")[2]
    known = getattr(nn, name, None) if kind.startswith("torch.nn.modules.") else None
    return known or type(name, (nn.Module,), {})


def _placed(root: nn.Module, path: str, new: nn.Module | None) -> nn.Module:
    """The module at a path, made where there is none."""
    here = root
    *above, last = path.split(".")
    if not path:
        return root
    for step in above:
        if step not in here._modules:
            here.add_module(step, nn.Module())
        here = here._modules[step] or root
    if last not in here._modules or new is not None:
        here.add_module(last, new or nn.Module())
    return here._modules[last] or root
