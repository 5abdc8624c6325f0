"""TF32: whether float32 arithmetic may round while a model is captured or measured.

torch has two interfaces to these settings. Where a process has used the newer one, reading the
older one can fail, so only the newer one is used here and everything is put back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

ON, OFF = "tf32", "ieee"
INHERITED = "none"  # what a setting holds that follows the one above it
_cudnn: Any = torch.backends.cudnn
CONVOLUTIONS, RECURRENT, PRODUCTS = _cudnn.conv, _cudnn.rnn, torch.backends.cuda.matmul
# Holders of ``fp32_precision``, each below those that it inherits from.
SETTINGS: tuple[Any, ...] = (torch.backends, _cudnn, CONVOLUTIONS, RECURRENT, PRODUCTS)


@contextmanager
def restored() -> Iterator[None]:
    """Whatever is done to the settings inside, afterwards each is as before."""
    before = own_values()
    try:
        yield
    finally:
        _set(before)


def own_values() -> list[str]:
    """What each setting holds itself: reading one gives what it inherits where it holds nothing."""
    values = []
    for one in SETTINGS:
        values.append(one.fp32_precision)
        one.fp32_precision = INHERITED  # those below no longer inherit it
    _set(values)
    return values


def _set(values: list[str]) -> None:
    for one, value in zip(SETTINGS, values, strict=True):
        one.fp32_precision = value


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Let float32 convolutions, recurrent layers and matrix products on CUDA round to TF32, or not.

    TF32 keeps ten bits of the mantissa. torch's own default is to allow it in convolutions only.
    """
    with restored():
        for one in SETTINGS[2:]:
            one.fp32_precision = ON if on else OFF
        yield


@contextmanager
def readable() -> Iterator[None]:
    """Both interfaces agree on cuDNN, so that torch.export, which reads the older one, works."""
    with restored():
        for value in (ON, OFF):
            CONVOLUTIONS.fp32_precision = RECURRENT.fp32_precision = value
            with suppress(RuntimeError):  # where the older interface finds that they disagree
                if _cudnn.allow_tf32 in (True, False):
                    break
        yield


def in_words(dtype: str) -> str:
    """Where float32 operations round to TF32 at present; empty for other element types."""
    if dtype != "float32":
        return ""
    backends = {"convolutions": CONVOLUTIONS, "matrix products": PRODUCTS}
    on = [name for name, one in backends.items() if one.fp32_precision == ON]
    return f"TF32 in {' and '.join(on)}" if on else "TF32 off"
