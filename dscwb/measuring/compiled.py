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

import numpy as np
import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.cuts import Cut, all_cuts
from dscwb.graph import ModelGraph
from dscwb.measuring.rounds import (
    WARM_PASSES,
    Clock,
    Halves,
    Plan,
    Record,
    Rounds,
    is_out_of_memory,
    record_lows,
)
from dscwb.profiles.records import Nanoseconds, Passes, ProfileError, Separate

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


def compiled_cuts(graph: ModelGraph) -> list[Cut]:
    """Where halves are compiled: record-low cuts among all cuts, and among those after blocks.

    Ten at most of either kind (`record_lows`); if nothing is slower on the server than on the
    device, only such a cut can be best.
    """
    found = record_lows(graph)
    if graph.blocks:
        found += record_lows(graph, "block")
    cuts = all_cuts(graph)
    return [cuts[k] for k in sorted({cut.index for cut in found})]


class CompiledRecord(Record):
    """What has been measured of compiled halves at one batch size so far.

    A round has one plain pass, and head, tail and whole at every cut.
    """

    @property
    def rounds(self) -> int:
        """Complete rounds; an interrupt may leave some passes more."""
        return min([len(self.plain), *map(len, self.apart.values())])

    def arrays(self) -> tuple[Nanoseconds, Nanoseconds]:
        """Plain passes ``(round,)``; heads and tails on their scale, then it, ``(round, part)``.

        So the stopping rule for stamped passes serves here too: both are shares of a whole.
        """
        plain = np.array(self.plain[: self.rounds], dtype=np.int64)
        columns = [np.zeros_like(plain)]
        for times in self.apart.values():
            head, tail, whole = np.array(times[: self.rounds]).reshape(-1, 3).T
            columns += [np.rint(part / whole * plain).astype(np.int64) for part in (head, tail)]
        return plain, np.column_stack([*columns, plain])

    def passes(self, cuts: int) -> Passes:
        """What goes into the profile: the halves, the whole as head and as tail of the two ends."""
        none = np.empty((0, cuts), dtype=np.int64)
        if self.oom:
            return Passes(self.batch_size, none[:, 0], none, oom=True)
        whole = np.array(self.plain[: self.rounds], dtype=np.int64)
        nothing = np.zeros_like(whole)
        inner = [
            Separate(cut, *np.array(times[: self.rounds], dtype=np.int64).reshape(-1, 3).T)
            for cut, times in sorted(self.apart.items())
        ]
        ends = Separate(0, nothing, whole, whole), Separate(cuts - 1, whole, nothing, whole)
        return Passes(self.batch_size, none[:, 0], none, (ends[0], *inner, ends[1]))

    def take(self, earlier: Passes) -> None:
        """Go on from passes that an earlier run left."""
        if earlier.oom:
            self.give_up()
            return
        at_input, *inner, _ = earlier.separate
        self.plain = at_input.tail_ns.tolist()
        self.apart = {
            one.cut: list(zip(*(t.tolist() for t in one.times()), strict=True)) for one in inner
        }
        self.spent_ns = sum(self.plain)
        self.spent_ns += sum(sum(times) for runs in self.apart.values() for times in runs)


class CompiledRounds(Rounds):
    """Runs a plan with compiled halves.

    Attributes:
        records: One for each batch size, ascending; they fill as `run` goes on.
    """

    def __init__(
        self, captured: CapturedModel, clock: Clock, plan: Plan, compiling: Compiler
    ) -> None:
        """Choose the cuts; the code for a batch size is compiled as it is warmed up."""
        super().__init__(captured, clock, replace(plan, verify=False))
        self._compiling = compiling
        self._cuts_run = compiled_cuts(captured.graph)
        self._code: dict[int, dict[int, Halves]] = {}
        self.records = [CompiledRecord(size) for size in plan.batch_sizes]

    def _jobs(self, record: Record) -> list[Callable[[Record], None]]:
        halves = [partial(self._run_beside_whole, cut=cut.index) for cut in self._cuts_run]
        return [self._plain_pass, *halves]

    def _run_beside_whole(self, record: Record, cut: int) -> None:
        """Head, then tail, and a whole pass before or after them, which scales them."""
        whole_first = self._rng.random() < 0.5
        whole_ns = self._whole(record) if whole_first else 0
        halves = self._run_apart(record, cut)
        record.apart.setdefault(cut, []).append((*halves, whole_ns or self._whole(record)))

    def _warm_up(self, record: Record) -> None:
        """Compile, which the first call does, and run everything a few times that do not count."""
        record.inputs = self._captured.inputs(record.batch_size)
        # Fresh modules for each batch size: torch.compile gives up on code that it has compiled
        # for eight shapes.
        at_input = all_cuts(self._captured.graph)[0]
        self._code[record.batch_size] = {
            cut.index: self._compiled(cut) for cut in (at_input, *self._cuts_run)
        }
        plain, spent_ns = record.plain, record.spent_ns
        apart = record.apart or {cut.index: [] for cut in self._cuts_run}
        record.plain, record.apart = [], {}
        try:
            for _ in range(WARM_PASSES):
                for job in self._jobs(record):
                    job(record)
        except Exception as error:
            if _of_the_compiler(error) and not is_out_of_memory(error):
                raise _failed(record, error) from error
            raise
        finally:
            record.plain, record.apart, record.spent_ns = plain, apart, spent_ns

    def _compiled(self, cut: Cut) -> Halves:
        head, tail = self._captured.split(cut)
        return self._compiling(head), self._compiling(tail)

    def _halves_at(self, record: Record, cut: int) -> Halves:
        return self._code[record.batch_size][cut]

    def _whole(self, record: Record) -> int:
        """The tail of the cut at the input is the whole model."""
        _, whole = self._halves_at(record, 0)
        return int(self._timed(record, whole, record.inputs)[0][-1])


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
