"""How many floating-point operations one operation takes: counted, or None where nobody knows.

A multiply-add counts as two. What goes over its elements once (activations, norms, pooling, copies)
counts as 0, as torch.utils.flop_counter has it: memory decides its time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten
# Torch runs these as products, convolutions and transforms, and its counter adds them up.
_COUNTED = re.compile(
    r"conv|linear|mm(?![a-z])|matmul|einsum|attention|multi_head|transformer|(tensor|v|multi_)dot$"
    r"|^dot$|mv$|^inner$|^(linalg_)?matrix_power$|stft$|^fft_i?[hr]?fft[2n]?$|^_fft_"
)
# More work than once over their elements, and no formula here.
_UNKNOWN = re.compile(
    r"^_?linalg_(?!norm|vector_norm|cross|diagonal|vecdot|vander|matmul|multi_dot|matrix_power)|^(log|slog)?det$|^p?inverse$|svd"
    r"|cholesky|^_?lu_(?!unpack)|^geqrf$|^or(gqr|mqr)$|triangular_solve|lstsq|^matrix_exp$"
    r"|nuclear_norm|^quantized_|sparse|^s?smm$|^hspmm$|fbgemm|_rnn|^_?pdist|trilinear"
)
_QUANTIZING = re.compile(r"quantize|choose_qparams")
_TAPS = {"nearest": 0, "linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}  # input pixels to either side

Size = Sequence[int]


def flops(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> int | None:
    """FLOPs of one call of an operation, `made` being its first result; None where unknown.

    Recurrent layers multiply every weight matrix with one vector a step: 2 · steps · Σ |W|.
    A Fourier transform of N points takes 5 N log2 N, of real numbers half of it (a radix-2
    transform has N/2 log2 N butterflies of 10 operations). Resampling weighs taps: 2 for each of
    them and each element made; with an antialiasing filter along one axis after the other. All
    tensors lie on the meta device.
    """
    if not isinstance(target, torch._ops.OpOverload):
        return None
    name = target._opname.removesuffix("_")
    if target.namespace == "torchvision" and name == "deform_conv2d":
        return int(2 * made.numel() * args[1][0].numel())
    if target.namespace not in ("aten", "prims"):
        return 0 if _QUANTIZING.search(name) else None
    for pattern, formula in _FORMULAS.items():
        if re.fullmatch(pattern, name):
            return int(formula(name, args, made))
    if _UNKNOWN.search(name):
        return None
    if not _COUNTED.search(name):
        return 0
    found = _counted(target, args, kwargs)
    # Sums of elements alone are einsums too; elsewhere 0 means that nobody counts it.
    return found or (0 if name == "einsum" else None)


def _counted(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    with FlopCounterMode(display=False, custom_mapping=_MAPPING) as counter, torch.no_grad():
        try:
            target(*args, **kwargs)
        except Exception:  # it asks for values, which meta tensors do not have
            return None
    return int(counter.get_total_flops())


def _recurrent(name: str, args: tuple[Any, ...], made: torch.Tensor) -> Any:
    given = pytree.tree_leaves(args[2:4] if name.endswith("cell") else args[1:])
    weights = sum(x.numel() for x in given if isinstance(x, torch.Tensor) and x.ndim == 2)
    return 2 * weights * (args[0].numel() // args[0].shape[-1])


def _resampled(name: str, args: tuple[Any, ...], made: torch.Tensor) -> Any:
    kind = re.sub(r"_?upsample_|_exact|\dd|_aa", "", name)
    if not name.endswith("_aa"):
        return 2 * _TAPS[kind] * made.numel()
    (height, width), (high, wide) = args[0].shape[-2:], made.shape[-2:]
    along_width = math.ceil(2 * _REACH[kind] * max(1, width / wide)) * height * wide
    along_height = math.ceil(2 * _REACH[kind] * max(1, height / high)) * high * wide
    return 2 * (made.numel() // (high * wide)) * (along_width + along_height)


def _sampled(_: str, args: tuple[Any, ...], made: torch.Tensor) -> Any:
    axes = made.ndim - 2
    return 2 * (2**axes, 0, 4**axes)[args[2]] * made.numel()  # linear, nearest, cubic


def _bilinear(_: str, args: tuple[Any, ...], made: torch.Tensor) -> Any:
    """x1 A, then its product with x2."""
    rows, (outs, _first, second) = args[0].numel() // args[0].shape[-1], args[2].shape
    return 2 * rows * (args[2].numel() + outs * second)


_FORMULAS: dict[str, Callable[[str, tuple[Any, ...], Any], Any]] = {
    r"(lstm|gru|rnn_tanh|rnn_relu)(_cell)?": _recurrent,
    r"_?upsample_.*": _resampled,
    r"grid_sampler(_2d|_3d)?": _sampled,
    r"bilinear": _bilinear,
    # A difference, its power and a sum for each coordinate.
    r"_?cdist(_forward)?": lambda _, args, made: 3 * made.numel() * args[0].shape[-1],
    r"affine_grid_generator": lambda _, args, made: 2 * made.numel() * (made.shape[-1] + 1),
}


def _transform(shape: Size, axes: Size) -> float:
    """A complex Fourier transform over some axes; one of real numbers takes half of it."""
    return 5 * math.prod(shape) * math.log2(math.prod(shape[axis] for axis in axes))


def _product(shape: Size, *_: Any, out_shape: Any, **__: Any) -> int:
    """Each element made takes a row of the first argument."""
    return int(2 * math.prod(out_shape) * shape[-1])


# Of shapes, as torch's counter wants them.
_MAPPING: dict[Any, Any] = {
    _aten._fft_c2c: lambda x, axes, *_, **__: round(_transform(x, axes)),
    _aten._fft_r2c: lambda x, axes, *_, **__: round(_transform(x, axes) / 2),
    _aten._fft_c2r: lambda _, axes, *__, out_shape, **___: round(_transform(out_shape, axes) / 2),
    _aten.addmv: lambda _, x, *__, out_shape, **___: _product(x, out_shape=out_shape),
}
_MAPPING |= dict.fromkeys(
    (_aten.mv, _aten.dot, _aten.vdot, _aten._int_mm, _aten._weight_int8pack_mm), _product
)
