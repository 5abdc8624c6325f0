"""What an exception out of a pass means: no memory left, a GPU that is lost, a failed compiler."""

from __future__ import annotations

import torch

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_COMPILER = ("torch._dynamo", "torch._inductor")


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or its host, had no memory left."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in _NO_MEMORY)


def explained(error: Exception, batch_size: int) -> str:
    """What happened and what to do; empty where it is the model's own error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:200] if lines else type(error).__name__
    if isinstance(error, torch.AcceleratorError):
        return (
            f"The GPU failed at batch size {batch_size} ({reason}) and cannot be used again in "
            "this process; start a new one and leave that batch size out."
        )
    if any(kind.__module__.startswith(_COMPILER) for kind in type(error).__mro__):
        return (
            f"torch.compile failed at batch size {batch_size} ({reason}); inductor needs a C++ "
            "compiler on a CPU and triton on a GPU. Install it, or measure without compiling."
        )
    return ""
