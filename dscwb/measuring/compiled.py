"""Rounds of compiled halves: a captured model goes in, times of its heads and tails come out.

A compiler fuses across operations, so a compiled model has no times inside it: every head and tail
is compiled for itself and really run, in random order, the compiled whole next to it. That takes as
long as it sounds, so only likely cuts are run; the others have no times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.cuts import Cut, all_cuts
from dscwb.measuring.record import Record
from dscwb.measuring.rounds import Clock, Halves, Plan, Rounds, is_out_of_memory, likely_cuts
from dscwb.profiles.records import ProfileError

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


def compiler_named(backend: str) -> Compiler:
    """`torch.compile` with this backend, for one batch size each.

    One graph or an error: what torch.compile does not understand would otherwise run uncompiled
    and nobody would see.

    Raises:
        ValueError: torch knows no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(f"compiler is {backend!r}; torch has {', '.join(known)}.")
    return partial(torch.compile, backend=backend, dynamic=False, fullgraph=True)


class CompiledRounds(Rounds):
    """Runs a plan with compiled halves only.

    Attributes:
        records: One for each batch size, ascending; they fill as `run` goes on.
    """

    def __init__(
        self, captured: CapturedModel, clock: Clock, plan: Plan, compiling: Compiler
    ) -> None:
        """Choose the cuts; the code for a batch size is compiled as it is warmed up."""
        super().__init__(captured, clock, replace(plan, verify=False, stamps=False))
        self._compiling = compiling
        self._code: dict[int, dict[int, Halves]] = {}

    def _warm_halves(self, record: Record) -> None:
        """Compile, which the first call does, and run everything a few times that do not count."""
        # Fresh modules for each batch size: torch.compile gives up on code that it has compiled
        # for eight shapes.
        cuts = all_cuts(self._captured.graph)
        self._code[record.batch_size] = {
            index: self._compiled(cuts[index]) for index in (0, *self._executed_cuts())
        }
        try:
            super()._warm_halves(record)
        except Exception as error:
            if _of_the_compiler(error) and not is_out_of_memory(error):
                raise _failed(record, error) from error
            raise

    def _executed_cuts(self) -> list[int]:
        """The likeliest ones: compiling others would cost more than it tells."""
        return [cut.index for cut in likely_cuts(self._captured.graph)]

    def _compiled(self, cut: Cut) -> Halves:
        head, tail = self._captured.split(cut)
        return self._compiling(head), self._compiling(tail)

    def _halves_at(self, record: Record, cut: int) -> Halves:
        return self._code[record.batch_size][cut]

    def _whole(self, record: Record) -> int:
        """The tail of the cut at the input is the whole model."""
        _, whole = self._halves_at(record, 0)
        return int(self._timed(record, whole, (record.inputs,))[0][-1])


def _of_the_compiler(error: Exception) -> bool:
    kinds = type(error).__mro__
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in kinds)


def _failed(record: Record, error: Exception) -> ProfileError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = lines[0].strip()[:200] if lines else type(error).__name__
    return ProfileError(
        f"torch.compile failed at batch size {record.batch_size} ({reason}); inductor needs a C++ "
        "compiler on a CPU and triton on a GPU. Install it, or measure without compiling."
    )
