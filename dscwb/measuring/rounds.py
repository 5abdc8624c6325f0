"""Rounds of passes in random order: a plan and a clock give the raw times of each batch size.

A round has one plain and one stamped pass of every batch size; beside the plain one run the halves
of the candidates whose turn it is. Random order lets the machine's drift fall on all of them alike;
a fixed one can fake a speed-up. How many cuts a pass stamps follows from what a stamp costs here;
where even one costs too much, only halves are run.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dscwb.capturing.captured import CapturedModel
from dscwb.cuts import Cut, Granularity, all_cuts
from dscwb.graph import ModelGraph
from dscwb.measuring.record import LOOK_AGAIN, STAMPS_AT_LEAST, ExecutedRecord, Record
from dscwb.measuring.stamps import MOST_COST, affordable, is_dear, next_cuts
from dscwb.profiles.passes import NS, Nanoseconds, Passes, median_interval
from dscwb.profiles.records import ProfileError

WARM_WITHIN = 0.05  # two passes of a kind in a row that agree to this share are warm,
MOST_WARM_PAIRS = 4  # or else the machine is noisy and going on does not help
WARM_ROUNDS = 3  # of executed halves, that do not count
OTHERS_EVERY = 3  # of so many passes one is for other cuts, once those to choose from have a few
ROUNDS_TO_JUDGE = 15  # below, noise is taken for the cost of stamps too often
MISTAKEN_AT_MOST = 1e-3  # of the times that this is asked, a dozen in one measurement
MOST_CANDIDATES = 10  # record-low cuts whose halves are really run,
RANDOM_CUTS = 3  # others beside them
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Clock(Protocol):
    """Times one pass after another; the stamped module calls `stamp` after each layer."""

    def begin(self, wanted: Sequence[bool]) -> None:
        """Start a pass that stamps the cuts marked in `wanted`, ``(cut,)``; the ends always are."""

    def stamp(self, cut: int) -> None:
        """Take the time at a cut if it is wanted."""

    def end(self) -> Nanoseconds:
        """End the pass: nanoseconds since its start, ``(cut,)``, or `NOT_STAMPED`."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        batch_sizes: Ascending, each once.
        rounds: Least number of rounds.
        budget_ns: Time of the passes at one batch size after which no round beyond `rounds` starts.
        verify: Whether to run the candidates' halves on their own.
        seed: Of the random order and of the random candidates.
        gap_s: Seconds of idling before every pass, and before each half.
        stamps: Whether to stamp at all, or to run halves only.
    """

    batch_sizes: tuple[int, ...]
    rounds: int
    budget_ns: float
    verify: bool
    seed: int
    gap_s: float = 0.0
    stamps: bool = True


_Job = Callable[[Record], None]
Halves = tuple[Callable[..., Any], Callable[..., Any]]


class Rounds:
    """Runs a plan.

    Attributes:
        records: One for each batch size, ascending; they fill as `run` goes on.
    """

    def __init__(self, captured: CapturedModel, clock: Clock, plan: Plan) -> None:
        """Make the code to run, once for all batch sizes."""
        self._captured, self._clock, self._plan = captured, clock, plan
        self._rng = np.random.default_rng(plan.seed)
        self._cuts = len(captured.graph.layers) + 1
        candidates = _candidates(captured.graph, self._rng) if plan.verify else []
        self._candidates = [cut.index for cut in candidates]
        self._halves: dict[int, Halves] = {}
        self._first = _first_cuts(captured.graph, self._candidates)
        self._is_first = np.zeros(self._cuts, dtype=bool)
        self._is_first[self._first] = True
        self._stamped = captured.stamped() if plan.stamps else None
        kind = Record if plan.stamps else ExecutedRecord
        self.records: list[Record] = [kind(size) for size in plan.batch_sizes]

    def resume(self, earlier: Sequence[Passes]) -> None:
        """Take passes of an earlier, interrupted run under the same conditions as run already."""
        known = {passes.batch_size: passes for passes in earlier}
        for i, record in enumerate(self.records):
            if record.batch_size in known:
                passes = known[record.batch_size]
                if not passes.oom and not len(passes.stamped_ns):
                    record = self.records[i] = ExecutedRecord(record.batch_size)
                record.take(passes)
        taken = sum(record.rounds for record in self.records)
        self._rng = np.random.default_rng([self._plan.seed, taken])  # not the same order again

    def run(self, after_round: Callable[[float, float], object]) -> None:
        """Warm every batch size up, the smallest first, then go round until all are done.

        Args:
            after_round: Called with the seconds of all passes so far, and of those to come at most.

        Raises:
            ProfileError: The GPU failed and cannot be used any more.
        """
        for i in range(len(self.records)):
            self._attempt(self.records[i], self._warm_up)
            if self.records[i].per_pass == 0:
                self.records[i] = self._executed(self.records[i])
            self._share_inputs(self.records[i])
            self._review(self.records[i])
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
        return tuple(record.passes(self._cuts) for record in self.records if record.usable)

    def so_far(self) -> tuple[Passes, ...]:
        """All complete rounds, be they few: what `resume` takes."""
        begun = [record for record in self.records if record.oom or record.rounds]
        return tuple(record.passes(self._cuts) for record in begun)

    def _jobs(self, record: Record) -> list[_Job]:
        """This round's passes, to be run in any order."""
        if isinstance(record, ExecutedRecord):
            halves = [partial(self._run_beside_whole, cut=cut) for cut in self._executed_cuts()]
            return [self._plain_pass, *halves]
        due = self._due(record)
        return [partial(self._verified_pass, cuts=due), self._stamped_pass]

    def _executed_cuts(self) -> list[int]:
        """Where only halves are run: everywhere in a small model, else where it is likeliest."""
        if self._cuts - 2 <= MOST_CANDIDATES:
            return list(range(1, self._cuts - 1))
        return [cut.index for cut in likely_cuts(self._captured.graph)]

    def _due(self, record: Record) -> list[int]:
        """Candidates of this round: each once in the least rounds, then by turns.

        Those first of which more must be known.
        """
        nth, least = record.rounds, self._plan.rounds
        if nth < least:
            return self._candidates[nth::least]
        turns = record.suspects or self._candidates
        return [turns[(nth - least) % len(turns)]] if turns else []

    def _attempt(self, record: Record, job: _Job) -> None:
        """Run a job; where memory runs out, give up this batch size and all above it."""
        if record.oom:
            return
        try:
            job(record)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if isinstance(error, torch.AcceleratorError):
                    raise _lost(record, error) from error
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
        """Run what will be run until it is warm, and find out what stamps cost; nothing counts."""
        record.inputs = self._captured.inputs(record.batch_size)
        if isinstance(record, ExecutedRecord):
            self._warm_halves(record)
            return
        trial = Record(record.batch_size, record.inputs, per_pass=self._cuts - 2)
        while len(trial.plain) < MOST_WARM_PAIRS and not _warm(trial):
            self._pair(trial)
        for cut in self._candidates:
            self._halves_at(record, cut)  # made here: what is made between passes slows the next
        record.per_pass = self._affordable(trial)

    def _affordable(self, trial: Record) -> int:
        """How many cuts a pass may stamp at this batch size."""
        del trial.plain[:-2], trial.stamped[:-2]
        while (judged := is_dear(trial.plain, _totals(trial.stamped))) is None:
            self._pair(trial)
        every = self._cuts - 2
        return affordable(trial.plain, _totals(trial.stamped), every) if judged else every

    def _pair(self, record: Record) -> None:
        """A plain and a stamped pass, in random order."""
        passes = [self._plain_pass, self._stamped_pass]
        for i in self._rng.permutation(2):
            passes[i](record)

    def _warm_halves(self, record: Record) -> None:
        plain, apart, spent_ns = record.plain, record.apart, record.spent_ns
        record.plain, record.apart = [], {}
        try:
            for _ in range(WARM_ROUNDS):
                for job in self._jobs(record):
                    job(record)
        finally:  # an interrupt must not let them pass for measured ones
            record.plain, record.spent_ns = plain, spent_ns
            record.apart = apart or {cut: [] for cut in self._executed_cuts()}

    def _executed(self, record: Record) -> Record:
        """The record of this batch size where stamps are too dear: of halves only."""
        instead = ExecutedRecord(record.batch_size)
        self._attempt(instead, self._warm_up)
        return instead

    def _share_inputs(self, largest: Record) -> None:
        """Let smaller batches be the first rows of this one's inputs: the same samples, repeated.

        Inputs of their own would fill the memory: those of batch sizes 1 to 62 are 1,953 samples.
        """
        for record in self.records:
            if not largest.oom and record.batch_size < largest.batch_size:
                record.inputs = self._captured.call.first(largest.inputs, record.batch_size)

    def _plain_pass(self, record: Record) -> None:
        record.plain.append(self._whole(record))

    def _stamped_pass(self, record: Record) -> None:
        per_pass = self._cuts - 2 if record.per_pass is None else record.per_pass
        others = record.known_at is not None or self._turn_of_others(record)
        taken = record.taken(self._cuts)
        wanted = next_cuts(taken, self._is_first, per_pass, others, self._rng).tolist()
        args = (*record.inputs, self._clock, wanted)
        record.stamped.append(self._timed(record, self._stamped, args, wanted)[0])

    def _turn_of_others(self, record: Record) -> bool:
        """Whether the cuts that cannot be chosen are due before the others are known."""
        due = len(record.stamped) % OTHERS_EVERY == OTHERS_EVERY - 1
        return due and record.enough_of(self._first, self._cuts)

    def _verified_pass(self, record: Record, cuts: Sequence[int]) -> None:
        """A plain pass, and before or after it halves of these cuts, to be compared with it."""
        plain_first = self._rng.random() < 0.5
        if plain_first:
            self._plain_pass(record)
        halves = [self._run_apart(record, cut) for cut in cuts]
        if not plain_first:
            self._plain_pass(record)
        for cut, times in zip(cuts, halves, strict=True):
            record.apart.setdefault(cut, []).append((*times, record.plain[-1]))

    def _run_beside_whole(self, record: Record, cut: int) -> None:
        """Head, then tail, and a whole pass before or after them, which scales them."""
        whole_first = self._rng.random() < 0.5
        whole_ns = self._whole(record) if whole_first else 0
        halves = self._run_apart(record, cut)
        record.apart.setdefault(cut, []).append((*halves, whole_ns or self._whole(record)))

    def _run_apart(self, record: Record, cut: int) -> tuple[int, int]:
        """Nanoseconds of head and tail, one after the other."""
        head, tail = self._halves_at(record, cut)
        head_ns, frontier = self._timed(record, head, record.inputs)
        tail_ns, _ = self._timed(record, tail, (frontier,))
        return int(head_ns[-1]), int(tail_ns[-1])

    def _halves_at(self, record: Record, cut: int) -> Halves:
        """What runs as head and tail of a cut, made when it is first needed."""
        if cut not in self._halves:
            self._halves[cut] = self._captured.split(all_cuts(self._captured.graph)[cut])
        return self._halves[cut]

    def _whole(self, record: Record) -> int:
        return int(self._timed(record, self._captured.module, record.inputs)[0][-1])

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
        late = record.spent_ns >= self._plan.budget_ns > 0
        if not record.enough_of(self._first, self._cuts, 1 if late else STAMPS_AT_LEAST):
            return
        if record.known_at is None and record.rounds >= record.look_at:
            record.look_at = math.ceil(LOOK_AGAIN * record.rounds)
            if self._too_dear(record):
                return
            if record.look(self._first, bool(self._candidates)):
                record.known_at = record.rounds
        if record.known_at is not None or record.spent_ns >= self._plan.budget_ns:
            record.done = late or record.enough_of_others(self._cuts, self._plan.rounds)

    def _too_dear(self, record: Record) -> bool:
        """Whether a pass's stamps turn out to cost too much after all: then start anew with fewer.

        What all stamps cost says too little of few: on a GPU that waits for launches each of ten
        took three times as long as each of 240, and some cost nothing until the queue was empty.
        """
        if record.per_pass is None or record.per_pass <= 1 or record.rounds < ROUNDS_TO_JUDGE:
            return False
        plain, stamped = record.arrays()
        ratio, low, _ = median_interval(stamped[:, -1] / plain, MISTAKEN_AT_MOST)
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
        return max(left, self._plan.budget_ns - record.spent_ns, 0.0)


def _warm(trial: Record) -> bool:
    """Whether the last two passes agree, of the plain ones and of the stamped ones."""
    kinds = trial.plain[-2:], _totals(trial.stamped[-2:])
    return all(len(two) == 2 and max(two) <= (1 + WARM_WITHIN) * min(two) for two in kinds)


def _totals(stamped: Sequence[Nanoseconds]) -> list[int]:
    return [int(times[-1]) for times in stamped]


def _first_cuts(graph: ModelGraph, candidates: Sequence[int]) -> NDArray[np.intp]:
    """What can be chosen, inside the model: cuts after blocks, record-low ones, and those run."""
    ends = {block.end for block in graph.blocks}
    first = ends | {cut.index for cut in likely_cuts(graph)} | set(candidates)
    return np.array(sorted(first - {0, len(graph.layers)}), dtype=np.intp)


def _candidates(graph: ModelGraph, rng: Generator) -> list[Cut]:
    """The cuts of `record_lows`, and three others at random."""
    cuts, lows = all_cuts(graph), record_lows(graph)
    inner = range(1, len(cuts) - 1)
    sizes = _sizes(cuts)
    low = {k for k in inner if sizes[k] < min(sizes[:k])}
    others = rng.permutation([k for k in inner if k not in low])[:RANDOM_CUTS]
    return [cuts[k] for k in sorted({*(cut.index for cut in lows), *map(int, others)})]


def likely_cuts(graph: ModelGraph) -> list[Cut]:
    """Record-low cuts among all cuts, and among those after blocks.

    Ten at most of either kind (`record_lows`); if nothing is slower on the server than on the
    device, only such a cut can be best.
    """
    found = record_lows(graph)
    if graph.blocks:
        found += record_lows(graph, "block")
    cuts = all_cuts(graph)
    return [cuts[k] for k in sorted({cut.index for cut in found})]


def record_lows(graph: ModelGraph, granularity: Granularity = "op") -> list[Cut]:
    """Cuts between the two ends with strictly fewer bytes than any before, ten at most."""
    cuts = all_cuts(graph, granularity)
    sizes = _sizes(cuts)
    lows = [k for k in range(1, len(cuts) - 1) if sizes[k] < min(sizes[:k])]
    picked = np.linspace(0, len(lows) - 1, min(len(lows), MOST_CANDIDATES)).round().astype(int)
    return [cuts[lows[i]] for i in picked]


def _sizes(cuts: Sequence[Cut]) -> list[float]:
    return [sum(spec.nbytes() for spec in cut.frontier) for cut in cuts]


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or its host, had no memory left."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or any(words in str(error) for words in _NO_MEMORY)


def _lost(record: Record, error: Exception) -> ProfileError:
    return ProfileError(
        f"The GPU failed at batch size {record.batch_size} ({str(error).splitlines()[0]}) and "
        "cannot be used again in this process; start a new one and leave that batch size out."
    )
