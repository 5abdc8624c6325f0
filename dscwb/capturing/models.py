"""What people call a model: a timm name, a module, an exported program or its file.

Each becomes an `nn.Module` that torch.export takes, and a name to call it by.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch
from torch import fx, nn
from torch.export.passes import move_to_device_pass

from dscwb.capturing.errors import CaptureError

Model = str | os.PathLike[str] | nn.Module | torch.export.ExportedProgram
EXPORTED = ".pt2"
_NO_WAY_BACK = (
    "has no way back to PyTorch; capture the module that it was made from, or read times measured "
    "with it by `dscwb import`"
)
# Files that hold a model in another form, and the way from there to a module.
_WAYS = {
    ".onnx": "is an ONNX file; capture the PyTorch module that it was made from, or turn it into "
    "one first: `pip install onnx2torch`, then capture(onnx2torch.convert({path!r}).eval(), ...)",
    ".safetensors": "holds weights only; load them into their module, "
    "model.load_state_dict(safetensors.torch.load_file({path!r})), and capture model.eval()",
    ".tflite": f"is a TFLite file, which {_NO_WAY_BACK}",
    ".engine": f"is a TensorRT engine, which {_NO_WAY_BACK}",
    ".pt": "is not an exported program; load it in Python (torch.load, which may run code: only "
    "from an origin you trust, weights with weights_only=True) and capture the module: "
    "capture(model.eval(), ...), or save it by torch.export.save as .pt2",
}
_WAYS |= dict.fromkeys((".pth", ".ckpt", ".bin"), _WAYS[".pt"]) | {".plan": _WAYS[".engine"]}


def module_of(
    model: Any, image_side: int | None, device: torch.device | str | None
) -> tuple[nn.Module, str]:
    """The module to capture, and its name.

    A timm model is made for images of this side, an exported program is moved to the device; what
    wraps a module for compiling or for several GPUs is taken off. What is no model is refused with
    the way from there to one.
    """
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if path.suffix.lower() == EXPORTED:
            return _of_program(_loaded(path), device), path.stem
        if way := _WAYS.get(path.suffix.lower()):
            raise CaptureError(f"{path.name} {way.format(path=str(path))}.")
        return _from_timm(str(model), image_side), str(model)
    if isinstance(model, torch.export.ExportedProgram):
        model = _of_program(model, device)
    if not isinstance(model, nn.Module):
        raise CaptureError(f"The model is {_what(model)}.")
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = model._orig_mod
        else:
            break
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(
            f"{getattr(model, 'original_name', name)} is TorchScript, which torch.export does not "
            "take; capture the nn.Module that it was made from, before torch.jit.trace or "
            "torch.jit.script."
        )
    if is_exported(model):
        name = _classes(model).get("", "ExportedProgram").rpartition(".")[2]
    return model, name


def _what(model: Any) -> str:
    """What something is that is no model, and the way from there."""
    kind = type(model).__name__
    if isinstance(model, Mapping):
        return (
            "a dictionary, such as a state_dict, which holds weights only; load them into their "
            "module, model.load_state_dict(weights), and capture model.eval()"
        )
    if isinstance(model, type):
        return f"the class {model.__name__}; give an instance, {model.__name__}().eval()"
    if kind == "ModelProto":
        return f"an ONNX {kind}; save it and see capture('model.onnx')"
    if callable(model):
        named = getattr(model, "__name__", kind)
        return f"{named}, a {kind}; put it into the forward of an nn.Module and give that"
    return f"a {kind}; give a timm name, an nn.Module or an ExportedProgram"


def check_name(name: str) -> None:
    """Refuse what is no timm model, with the nearest names."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"nearest names: {', '.join(near)}" if near else "see timm.list_models()"
        raise CaptureError(f"timm has no model {name!r}; {hint}.")


def _from_timm(name: str, image_side: int | None) -> nn.Module:
    check_name(name)
    if image_side is not None:
        with suppress(TypeError):  # transformers must be told the size, others take no such word
            return timm.create_model(name, img_size=image_side).eval()
    return timm.create_model(name).eval()


def _loaded(path: Path) -> torch.export.ExportedProgram:
    if not path.exists():
        raise CaptureError(f"{path}: no such file; torch.export.save(program, path) makes one.")
    try:
        return torch.export.load(path)
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CaptureError(
            f"{path} cannot be read as an exported program ({said[:160]}); torch.export.save("
            "program, path) makes one, and this torch reads those of its own version or older ones."
        ) from None


def _of_program(
    program: torch.export.ExportedProgram, device: torch.device | str | None
) -> nn.Module:
    if device is not None:
        program = move_to_device_pass(program, torch.device(device))
    module = program.module()
    vars(module)["example"] = program.example_inputs
    return module


def is_exported(module: nn.Module) -> bool:
    """Whether it is a program that torch.export has made, which has no eval mode of its own."""
    return isinstance(module, fx.GraphModule) and "eval" in vars(module)


def _classes(module: Any) -> dict[str, str]:
    """Classes of the modules that an exported program was made of, by their paths."""
    stacks = (node.meta.get("nn_module_stack", {}) for node in module.graph.nodes)
    found: dict[str, str] = {}
    for path, kind in (pair for stack in stacks for pair in stack.values()):
        if "_empty_nn_module_stack" not in path:
            found.setdefault(path.partition("@")[0], kind)
    return found


def tree_of(module: nn.Module) -> nn.Module:
    """The module tree to look for blocks in: an exported program's is that of its origin.

    The program keeps weights at their paths and, with each operation, the classes of the modules
    that it ran in: enough for a tree of the same shape. A module in it has torch's own class where
    it had one of torch's, else a new one of the same name.
    """
    if not is_exported(module):
        return module
    kinds = _classes(module)
    weights = [(*path.rpartition("."), weight) for path, weight in module.named_parameters()]
    paths = {*kinds, *(owner for owner, *_ in weights)} - {""}
    paths |= {path[:k] for path in paths for k, letter in enumerate(path) if letter == "."}
    classes: dict[str, type[nn.Module]] = {"": nn.Module}
    root = nn.Module()
    for path in sorted(paths):  # those above before those inside of them
        kind, (owner, _, name) = kinds.get(path, ""), path.rpartition(".")
        short = kind.rpartition(".")[2]
        known = getattr(nn, short, None) if kind.startswith("torch.nn.modules.") else None
        kind_of = classes.setdefault(kind, known or type(short, (nn.Module,), {}))
        made: nn.Module = object.__new__(kind_of)
        nn.Module.__init__(made)
        root.get_submodule(owner).add_module(name, made)
    for owner, _, name, weight in weights:
        root.get_submodule(owner).register_parameter(name, weight)
    return root


def check_kept(
    module: nn.Module,
    name: str,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    channels_last: bool,
) -> None:
    """Refuse to convert an exported program: device and types stand inside of its operations."""
    first = first_weight(module)
    if channels_last or (dtype is not None and first is not None and first.dtype != dtype):
        raise CaptureError(
            f"{name} is an exported program, whose element type and memory format are fixed; leave "
            "dtype and channels_last out, or convert the module before torch.export.export."
        )
    if device is not None and first is not None and first.device.type != torch.device(device).type:
        raise CaptureError(
            f"{name} is an exported program on {first.device}; give the ExportedProgram itself or "
            "its .pt2 file, not its module(), to have it moved."
        )


def first_weight(module: nn.Module) -> nn.Parameter | None:
    """A weight that shows where and in which type the model computes; None where it has none."""
    return next((p for p in module.parameters() if p.is_floating_point()), None)


def example_of(
    module: nn.Module,
    name: str,
    input_size: int | tuple[int, ...] | None,
    args: Any,
    kwargs: Mapping[str, Any] | None,
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments to trace with, by place and by name; see `capture`."""
    if args is not None or kwargs is not None:
        by_place = () if args is None else args
        return (by_place if isinstance(by_place, tuple) else (by_place,)), kwargs or {}
    own = vars(module).get("example") if is_exported(module) else None
    if input_size is None and own is not None:
        given, named = own
        return given, named
    native = getattr(module, "pretrained_cfg", {}).get("input_size")
    if input_size is None and native is None:
        raise CaptureError(f"{name}: give input_size=(3, 224, 224) or example_inputs=x.")
    if isinstance(input_size, int):
        input_size = (native[0] if native else 3, input_size, input_size)
    shape: Any = input_size or native
    return (torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)),), {}
