"""TF32: whether it may round goes in, torch's settings while measuring or capturing come out.

torch has two interfaces to these settings. Where a process has used the newer one, reading the
older one can fail, so only the newer one is used here and everything is put back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

ON, OFF = "tf32", "ieee"
INHERITED = "none"  # what a setting holds that follows the one above it


def _settings() -> tuple[Any, ...]:
    """Holders of ``fp32_precision``, each below those that it inherits from."""
    cudnn: Any = torch.backends.cudnn
    return torch.backends, cudnn, cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


@contextmanager
def restored() -> Iterator[None]:
    """Whatever is done to the settings inside, afterwards each is as before."""
    before = _own_values()
    try:
        yield
    finally:
        for one, value in zip(_settings(), before, strict=True):
            one.fp32_precision = value


def _own_values() -> list[str]:
    """What each setting holds itself: reading one gives what it inherits where it holds nothing."""
    values = []
    for one in _settings():
        values.append(one.fp32_precision)
        one.fp32_precision = INHERITED  # those below no longer inherit it
    for one, value in zip(_settings(), values, strict=True):
        one.fp32_precision = value
    return values


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Let float32 convolutions, recurrent layers and matrix products on CUDA round to TF32, or not.

    TF32 keeps ten bits of the mantissa. torch's own default is to allow it in convolutions only.
    """
    with restored():
        for one in _settings()[2:]:
            one.fp32_precision = ON if on else OFF
        yield


@contextmanager
def readable() -> Iterator[None]:
    """Both interfaces agree on cuDNN, so that torch.export, which reads the older one, works."""
    with restored():
        _, _, conv, rnn, _ = _settings()
        for value in (ON, OFF):
            conv.fp32_precision = rnn.fp32_precision = value
            if _old_interface_agrees():
                break
        yield


def _old_interface_agrees() -> bool:
    try:
        return torch.backends.cudnn.allow_tf32 in (True, False)
    except RuntimeError:
        return False


def in_words(dtype: str) -> str:
    """Where float32 operations round to TF32 at present; empty for other element types."""
    if dtype != "float32":
        return ""
    cudnn: Any = torch.backends.cudnn
    backends = {"convolutions": cudnn.conv, "matrix products": torch.backends.cuda.matmul}
    on = [name for name, one in backends.items() if one.fp32_precision == ON]
    return f"TF32 in {' and '.join(on)}" if on else "TF32 off"
