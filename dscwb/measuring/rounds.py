"""Rounds of passes in random order: what runs when, until each batch size is known well enough.

A round has one plain and one stamped pass of every batch size; beside the plain one run the halves
of the cuts whose turn it is. Random order lets the machine's drift fall on all of them alike; a
fixed one can fake a speed-up. How many cuts a pass stamps follows from what a stamp costs here.
Where even one costs too much, on demand, and where a compiler fuses layers so that there is nothing
to stamp, only halves are run, each head and tail for itself, the whole next to them.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.cuts import all_cuts
from dscwb.measuring.clocks import Clock
from dscwb.measuring.failures import explained, is_out_of_memory
from dscwb.measuring.record import MIN_PASSES, STAMPS_AT_LEAST, Record
from dscwb.measuring.stamps import (
    MOST_COST,
    MOST_RECORD_LOWS,
    affordable,
    choosable,
    likely_cuts,
    next_cuts,
    verified_cuts,
)
from dscwb.profiles.medians import median_interval
from dscwb.profiles.passes import NS, Nanoseconds, Passes
from dscwb.profiles.records import ProfileError

MOST_GAP_S = 60.0  # a longer idle gap before each pass is most likely given in milliseconds
MOST_WARM_PAIRS = 4  # if it is not warm then, it is noisy and going on does not help
WARM_ROUNDS = 3  # of executed halves, that do not count
LOOK_AGAIN = 1.2  # times as many rounds, between two looks at what is known, which cost time
OTHERS_EVERY = 3  # of so many passes one is for other cuts, once those to choose from have a few
ROUNDS_TO_JUDGE = 15  # below, noise is taken for the cost of stamps too often
MISTAKEN_AT_MOST = 1e-3  # of the times that this is asked, a dozen in one measurement

Halves = tuple[Callable[..., Any], Callable[..., Any]]
Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]
_Job = Callable[[Record], object]


@dataclass(frozen=True)
class Plan:
    """What to measure: arguments of `measure.profile`, batch sizes ascending and each once."""

    batch_sizes: tuple[int, ...]
    passes: int
    budget_s: float
    verify: bool
    seed: int
    gap_s: float = 0.0
    stamps: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        most = f"{MOST_GAP_S:g}, such as 0.02 for 20 ms"
        for name, fine, remedy in (
            ("batch_sizes", min(self.batch_sizes, default=0) > 0, "whole numbers from 1"),
            ("passes", self.passes >= MIN_PASSES, f"at least {MIN_PASSES}"),
            ("budget_s", self.budget_s >= 0, "seconds, 0 for exactly `passes`"),
            ("gap_s", 0 <= self.gap_s <= MOST_GAP_S, f"seconds from 0 to {most}"),
        ):
            if not fine:
                raise ValueError(f"{name} is {getattr(self, name)}; give {remedy}.")

    @property
    def rounds(self) -> int:
        """Least number of rounds."""
        return math.ceil(self.passes / 2)


class Rounds:
    """Runs a plan.

    Attributes:
        records: One for each batch size, ascending; they fill as `run` goes on.
    """

    def __init__(
        self, captured: CapturedModel, clock: Clock, plan: Plan, compiling: Compiler | None = None
    ) -> None:
        """Make the code to run, once for all batch sizes; `compiling` does it for each."""
        graph = captured.graph
        self._captured, self._clock, self._plan = captured, clock, plan
        self._compiling = compiling
        self._rng = np.random.default_rng(plan.seed)
        self._cuts = len(graph.layers) + 1
        stamps = plan.stamps and compiling is None
        self._verified = verified_cuts(graph, self._rng) if plan.verify and stamps else []
        self._first = choosable(graph, self._verified)
        few = self._cuts - 2 <= MOST_RECORD_LOWS and compiling is None
        self._executed = list(range(1, self._cuts - 1)) if few else likely_cuts(graph)
        self._halves: dict[tuple[int, int], Halves] = {}
        self._stamped = captured.stamped() if stamps else None
        self.records = [
            Record(size, self._cuts, plan.gap_s > 0, not stamps) for size in plan.batch_sizes
        ]

    def resume(self, earlier: Sequence[Passes]) -> None:
        """Take passes of an earlier, interrupted run under the same conditions as run already."""
        known = {passes.batch_size: passes for passes in earlier}
        for record in self.records:
            if passes := known.get(record.batch_size):
                record.take(passes)
        taken = sum(record.rounds for record in self.records)
        self._rng = np.random.default_rng([self._plan.seed, taken])  # not the same order again

    def run(self, after_round: Callable[[float, float], object]) -> None:
        """Warm every batch size up, the smallest first, then go round until all are done.

        `after_round` gets the seconds of all passes so far, and of those to come at most.

        Raises:
            ProfileError: The GPU or the compiler failed.
        """
        for i, record in enumerate(self.records):
            self._attempt(record, self._warm_up)
            if record.per_pass == 0:  # stamps are too dear: halves only
                record = Record(record.batch_size, self._cuts, record.waited, executed=True)
                self.records[i] = record
                self._attempt(record, self._warm_up)
            # Smaller batches are the first rows of this one's inputs: the same samples, repeated.
            # Inputs of their own would fill the memory: those of 1 to 62 are 1,953 samples.
            for other in self.records:
                if not record.oom and other.batch_size < record.batch_size:
                    other.inputs = self._captured.call.first(record.inputs, other.batch_size)
            self._review(record)
        while active := [record for record in self.records if not record.done]:
            jobs = [(record, job) for record in active for job in self._jobs(record)]
            for i in self._rng.permutation(len(jobs)):
                self._attempt(*jobs[i])
            for record in active:
                self._review(record)
            spent_ns = sum(record.spent_ns for record in self.records)
            after_round(spent_ns * NS, NS * sum(map(self._left_ns, self.records)))

    def measured(self) -> tuple[Passes, ...]:
        """The passes of every batch size that has enough of them."""
        return self.so_far(MIN_PASSES // 2)

    def so_far(self, least: int = 1) -> tuple[Passes, ...]:
        """All complete rounds, be they few: what `resume` takes."""
        return tuple(one.passes() for one in self.records if one.oom or one.rounds >= least)

    def let_go_of_inputs(self) -> list[int]:
        """Free their memory; the batch sizes that were measured."""
        for record in self.records:
            record.inputs = ()
        return [passes.batch_size for passes in self.measured() if not passes.oom]

    def _jobs(self, record: Record) -> list[_Job]:
        """This round's passes, to be run in any order.

        Cuts are verified each once in the least rounds, then by turns: those first of which more
        must be known.
        """
        if record.executed:
            return [self._plain_pass, *(partial(self._beside, cuts=[k]) for k in self._executed)]
        nth, least = record.rounds, self._plan.rounds
        turns = record.suspects or self._verified
        late = [turns[(nth - least) % len(turns)]] if turns else []
        due = self._verified[nth::least] if nth < least else late
        return [partial(self._plain_pass, cuts=due), self._stamped_pass]

    def _attempt(self, record: Record, job: _Job) -> None:
        """Run a job; where memory runs out, give up this batch size and all above it."""
        if record.oom:
            return
        try:
            job(record)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if reason := explained(error, record.batch_size):
                    raise ProfileError(reason) from error
                raise
            record.oom = True
        # Only here, outside the except block, has the failed pass let go of its tensors.
        if record.oom:
            for other in self.records:
                if other.batch_size >= record.batch_size:
                    other.give_up()
            gc.collect()
            if self._captured.device.type == "cuda":
                torch.cuda.empty_cache()

    def _warm_up(self, record: Record) -> None:
        """Run what will be run until it is warm, and find out what stamps cost; nothing counts.

        The first call compiles, where that is wanted.
        """
        record.inputs = self._captured.inputs(record.batch_size)
        every = self._cuts - 2
        if record.executed:
            nothing: dict[int, list[Any]] = {k: [] for k in (0, *self._executed, self._cuts - 1)}
            counted, spent_ns = record.apart or nothing, record.spent_ns
            record.apart = {cut: [] for cut in nothing}
            try:
                for _ in range(WARM_ROUNDS):
                    for job in self._jobs(record):
                        job(record)
            finally:  # an interrupt must not let them pass for measured ones
                record.apart, record.spent_ns = counted, spent_ns
            return
        trial = Record(record.batch_size, self._cuts, inputs=record.inputs, per_pass=every)

        def pair() -> None:
            """A plain and a stamped pass, in random order."""
            for i in self._rng.permutation(2):
                (self._plain_pass, self._stamped_pass)[i](trial)

        while len(trial.plain) < MOST_WARM_PAIRS and not trial.warm():
            pair()
        for cut in self._verified:
            self._halves_at(record, cut)  # made here: what is made between passes slows the next
        del trial.plain[:-2], trial.stamped[:-2]
        while (number := affordable(trial.plain, trial.totals, every)) is None:
            pair()
        record.per_pass = number

    def _stamped_pass(self, record: Record) -> None:
        """Before the cuts that can be chosen are known, few passes are for the others."""
        due = len(record.stamped) % OTHERS_EVERY == OTHERS_EVERY - 1
        others = record.known_at is not None or (due and record.enough_of(self._first))
        per_pass = record.per_pass or 0
        wanted = next_cuts(record.taken, self._first, per_pass, others, self._rng).tolist()
        args = (*record.inputs, self._clock, wanted)
        record.add_stamped(self._timed(record, self._stamped, args, wanted)[0])

    def _plain_pass(self, record: Record, cuts: Sequence[int] = ()) -> None:
        record.add_plain(self._beside(record, cuts))

    def _beside(self, record: Record, cuts: Sequence[int]) -> int:
        """Halves of these cuts, and before or after them the whole, which scales them: its ns."""
        whole_first = not cuts or self._rng.random() < 0.5
        whole_ns = self._whole(record) if whole_first else 0
        halves = [self._run_apart(record, cut) for cut in cuts]
        whole_ns = whole_ns or self._whole(record)
        for cut, times in zip(cuts, halves, strict=True):
            record.apart.setdefault(cut, []).append((*times, whole_ns))
        return whole_ns

    def _run_apart(self, record: Record, cut: int) -> tuple[int, int]:
        """Nanoseconds of head and tail, one after the other, whose tensors are then let go of."""
        head, tail = self._halves_at(record, cut)
        head_ns, frontier = self._timed(record, head, record.inputs)
        tail_ns, _ = self._timed(record, tail, (frontier,))
        return int(head_ns[-1]), int(tail_ns[-1])

    def _whole(self, record: Record) -> int:
        """Nanoseconds of the whole model; compiled, it is the tail at the input."""
        if self._compiling:
            times, _ = self._timed(record, self._halves_at(record, 0)[1], (record.inputs,))
        else:
            times, _ = self._timed(record, self._captured.module, record.inputs)
        return int(times[-1])

    def _halves_at(self, record: Record, cut: int) -> Halves:
        """What runs as head and tail of a cut, made when it is first needed.

        A compiler gets fresh modules for each batch size: torch.compile gives up on code that it
        has compiled for eight shapes.
        """
        at = (record.batch_size if self._compiling else 0, cut)
        if at not in self._halves:
            head, tail = self._captured.split(all_cuts(self._captured.graph)[cut])
            compiling = self._compiling
            self._halves[at] = (compiling(head), compiling(tail)) if compiling else (head, tail)
        return self._halves[at]

    def _timed(
        self,
        record: Record,
        run: Callable[..., Any] | None,
        args: Sequence[Any],
        wanted: Sequence[bool] = (),
    ) -> tuple[Nanoseconds, Any]:
        """Run once under the clock; the two ends are stamped whatever is wanted."""
        assert run is not None
        inner = [*wanted][1:-1] or [False] * (self._cuts - 2)
        if self._plan.gap_s:
            time.sleep(self._plan.gap_s)
        self._clock.begin([True, *inner, True])
        result = run(*args)
        times = self._clock.end()
        record.spent_ns += int(times[-1]) + round(self._plan.gap_s / NS)
        return times, result

    def _review(self, record: Record) -> None:
        """After a round: stop where there is enough; where stamps cost much, take fewer."""
        if record.oom or record.rounds < self._plan.rounds:
            return
        budget_ns = self._plan.budget_s / NS
        late = record.spent_ns >= budget_ns > 0
        if not record.enough_of(self._first, 1 if late else STAMPS_AT_LEAST):
            return
        if record.known_at is None and record.rounds >= record.look_at:
            record.look_at = math.ceil(LOOK_AGAIN * record.rounds)
            if self._too_dear(record):
                return
            if record.look(self._first, bool(self._verified)):
                record.known_at = record.rounds
        if record.known_at is not None or record.spent_ns >= budget_ns:
            record.done = late or record.enough_of_others(self._plan.rounds)

    def _too_dear(self, record: Record) -> bool:
        """Whether a pass's stamps turn out to cost too much after all: then start anew with fewer.

        What all stamps cost says too little of few: on a GPU that waits for launches each of ten
        took three times as long as each of 240, and some cost nothing until the queue was empty.
        """
        if record.per_pass is None or record.per_pass <= 1 or record.rounds < ROUNDS_TO_JUDGE:
            return False
        passes = record.passes()
        stamped_over_plain = passes.stamped_ns[:, -1] / passes.plain_ns
        ratio, low, _ = median_interval(stamped_over_plain, MISTAKEN_AT_MOST)
        if low <= 1 + MOST_COST:  # perhaps only noise
            return False
        fewer = min(record.per_pass // 2, math.floor(record.per_pass * MOST_COST / (ratio - 1)))
        record.per_pass = max(1, fewer)
        record.start_anew()  # what was stamped so far carries the cost of so many stamps
        return True

    def _left_ns(self, record: Record) -> float:
        """Time that the passes still to come take at most."""
        if record.done:
            return 0.0
        a_round = record.spent_ns / max(1, record.rounds)
        left = (self._plan.rounds - record.rounds) * a_round
        return max(left, self._plan.budget_s / NS - record.spent_ns, 0.0)
