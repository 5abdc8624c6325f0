"""What every file of capturing raises, and how its messages name a line of the user's code."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from traceback import FrameSummary
from typing import Any

_NOT_THEIRS = re.compile(r"[\\/](torch|contextlib|logging|dscwb[\\/]capturing)[\\/.]")


class CaptureError(RuntimeError):
    """A model that cannot be captured: says why and what to do."""


def line_of(node: Any) -> str:
    """The user's line that an operation of an FX graph stands in, see `users_line`."""
    stack = node.meta.get("stack_trace") or ""
    found = re.findall(r'File "(.+)", line (\d+), in .+\n +(.+)', stack)
    return users_line(FrameSummary(file, int(at), "", line=line) for file, at, line in found)


def users_line(frames: Iterable[FrameSummary]) -> str:
    """The innermost line outside of torch and this room, as `` at `line` (file:number)``."""
    for frame in reversed(list(frames)):
        if frame.line and not _NOT_THEIRS.search(frame.filename):
            return f" at `{frame.line.split(' #')[0].rstrip()}` ({frame.filename}:{frame.lineno})"
    return ""


def keeps_state(model: str, names: Collection[str]) -> str:
    """What is said of a model whose results depend on the calls before."""
    held = " and ".join(map(repr, names))
    return (
        f"{model} keeps state between calls: its forward changes {held or 'something'} that the "
        "next call reads, so head and tail on two machines would each have a state of their own. "
        f"Let forward take {held or 'the state'} as an argument and return the new value."
    )
