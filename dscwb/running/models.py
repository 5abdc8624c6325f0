"""The same model on both ends: built from a name, a seed and, where there are some, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file

from dscwb.capturing.captured import CapturedModel, capture
from dscwb.capturing.models import is_exported, module_of


def built(
    model: str,
    input_size: int | None = None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    **how: Any,
) -> CapturedModel:
    """Build and capture a model so that another process with the same arguments gets the same.

    Args:
        model: A timm name, or the path of a ``.pt2`` file.
        input_size: Side of the image; the model's own if left out.
        weights: A state dictionary for the timm model: ``.safetensors``, or what `torch.save` wrote
            of tensors alone. Left out, the weights are random by `seed`.
        seed: Seeds torch's generator; the same seed and version of torch give the same weights.
        how: As for `capture`: ``device``, ``dtype``, ``channels_last``.

    Raises:
        CaptureError: As for `capture`.
        ValueError: The file's weights are none of this model.
    """
    torch.manual_seed(seed)
    if weights is None:
        return capture(model, input_size, check=False, **how)
    module, name = module_of(model, input_size, None)
    if is_exported(module):
        raise ValueError(f"weights is {str(weights)!r}, but {name} has its own; leave it out.")
    path = Path(weights)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except (OSError, RuntimeError, ValueError, KeyError, UnpicklingError) as error:
        raise ValueError(f"{path} holds no weights of {model}: {error}"[:500]) from None
    described: Any = module.pretrained_cfg
    captured = capture(module, input_size or described["input_size"], check=False, **how)
    return replace(captured, graph=replace(captured.graph, model=name))
