"""Rounds of passes in random order: a plan and a clock go in, the raw times of each batch size out.

A round has one plain and one stamped pass of every batch size; beside the plain one run the halves
of the candidates whose turn it is. Random order lets the machine's drift fall on all of them alike;
a fixed one can fake a speed-up.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator

from dscwb.capturing.captured import CapturedModel, Inputs
from dscwb.cuts import Cut, Granularity, all_cuts
from dscwb.graph import ModelGraph
from dscwb.profiles.records import NOT_STAMPED, NS, Nanoseconds, Passes, ProfileError, Separate
from dscwb.profiles.trust import error_of_passes, half_width, overhead

MIN_PASSES = 10  # plain and stamped together; fewer give no median worth the name
WARM_PASSES = 3  # passes in a row that must agree before anything counts,
WARM_WITHIN = 0.05  # to this share of the shortest,
MOST_WARM_PASSES = 6  # or else the machine is noisy and going on does not help
CHECK_EVERY = 5  # rounds between two looks at the half-width, which cost milliseconds
HALF_WIDTH_BELOW = 0.01  # of T, for the 95 % half-widths at which measuring stops
MOST_OVERHEAD = 0.02  # of a stamped pass; above, a pass stamps only every m-th cut, in rotation
ROUNDS_TO_JUDGE = 15  # below, noise is taken for overhead too often
TURNS = 5  # least number of stamps at each cut where they rotate
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
    """

    batch_sizes: tuple[int, ...]
    rounds: int
    budget_ns: float
    verify: bool
    seed: int


@dataclass
class Record:
    """What has been measured at one batch size so far.

    Attributes:
        batch_size: Samples in one pass.
        inputs: Made before the first pass; once all are warm, rows of the largest batch's.
        plain: Totals of the plain passes in nanoseconds.
        stamped: Times of the stamped passes, each ``(cut,)``.
        apart: Times of halves really run and of the whole next to them, by cut.
        spent_ns: Time of all these passes.
        every: A stamped pass stamps every m-th cut.
        done: No further rounds.
        oom: The device ran out of memory.
    """

    batch_size: int
    inputs: Inputs = ()
    plain: list[int] = field(default_factory=list)
    stamped: list[Nanoseconds] = field(default_factory=list)
    apart: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    spent_ns: int = 0
    every: int = 1
    done: bool = False
    oom: bool = False

    @property
    def rounds(self) -> int:
        """Complete rounds; an interrupt may leave a pass more."""
        return min(len(self.plain), len(self.stamped))

    @property
    def usable(self) -> bool:
        """Whether there are passes enough for a median at every cut."""
        return self.oom or self.rounds >= max(MIN_PASSES // 2, self.every)

    def arrays(self) -> tuple[Nanoseconds, Nanoseconds]:
        """Plain ``(round,)`` and stamped ``(round, cut)`` passes."""
        plain, stamped = self.plain[: self.rounds], self.stamped[: self.rounds]
        return np.array(plain, dtype=np.int64), np.array(stamped, dtype=np.int64)

    def passes(self, cuts: int) -> Passes:
        """What goes into the profile."""
        if self.oom:
            none = np.empty((0, cuts), dtype=np.int64)
            return Passes(self.batch_size, none[:, 0], none, oom=True)
        apart = {cut: np.array(times, dtype=np.int64) for cut, times in sorted(self.apart.items())}
        separate = tuple(Separate(cut, *times.T) for cut, times in apart.items())
        return Passes(self.batch_size, *self.arrays(), separate)

    def take(self, earlier: Passes) -> None:
        """Go on from passes that an earlier run left."""
        if earlier.oom:
            self.give_up()
            return
        self.plain, self.stamped = earlier.plain_ns.tolist(), list(earlier.stamped_ns)
        self.apart = {
            one.cut: list(zip(*(t.tolist() for t in one.times()), strict=True))
            for one in earlier.separate
        }
        self.spent_ns = sum(self.plain) + int(earlier.stamped_ns[:, -1].sum())
        self.spent_ns += sum(sum(times) for runs in self.apart.values() for times in runs)
        stamped = np.flatnonzero(earlier.stamped_ns[0, 1:-1] != NOT_STAMPED)
        self.every = int(np.diff(stamped).max(initial=1))

    def give_up(self) -> None:
        """Out of memory: no times, no rounds, no inputs held."""
        self.plain, self.stamped, self.apart, self.inputs = [], [], {}, ()
        self.done = self.oom = True


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
        self._stampers: dict[tuple[int, int], Callable[..., Any]] = {(1, 0): captured.stamped()}
        candidates = _candidates(captured.graph, self._rng) if plan.verify else []
        self._halves: dict[int, Halves] = {cut.index: captured.split(cut) for cut in candidates}
        self.records: Sequence[Record] = [Record(size) for size in plan.batch_sizes]

    def resume(self, earlier: Sequence[Passes]) -> None:
        """Take passes of an earlier, interrupted run under the same conditions as run already."""
        known = {passes.batch_size: passes for passes in earlier}
        for record in self.records:
            if record.batch_size in known:
                record.take(known[record.batch_size])
        taken = sum(record.rounds for record in self.records)
        self._rng = np.random.default_rng([self._plan.seed, taken])  # not the same order again

    def run(self, after_round: Callable[[float, float], object]) -> None:
        """Warm every batch size up, the smallest first, then go round until all are done.

        Args:
            after_round: Called with the seconds of all passes so far, and of those to come at most.

        Raises:
            ProfileError: The GPU failed and cannot be used any more.
        """
        for record in self.records:
            self._attempt(record, self._warm_up)
            self._share_inputs(record)
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
        return tuple(record.passes(self._cuts) for record in self.records if record.usable)

    def so_far(self) -> tuple[Passes, ...]:
        """All complete rounds, be they few: what `resume` takes."""
        begun = [record for record in self.records if record.oom or record.rounds >= record.every]
        return tuple(record.passes(self._cuts) for record in begun)

    def _jobs(self, record: Record) -> list[_Job]:
        """This round's passes, to be run in any order."""
        due = self._due(record.rounds)
        return [partial(self._verified_pass, cuts=due), self._stamped_pass]

    def _due(self, nth: int) -> list[int]:
        """Candidates of the n-th round: each once in the least rounds, then by turns."""
        candidates, least = [*self._halves], self._plan.rounds
        if nth < least:
            return candidates[nth::least]
        return candidates[(nth - least) % len(candidates) :][:1] if candidates else []

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
        record.inputs = self._captured.inputs(record.batch_size)
        before, spent_before = record.rounds, record.spent_ns
        totals: list[int] = []
        try:
            while len(totals) < MOST_WARM_PASSES and not _agree(totals[-WARM_PASSES:]):
                (self._plain_pass if len(totals) % 2 else self._stamped_pass)(record)
                totals.append(record.spent_ns - spent_before - sum(totals))
        finally:  # an interrupt must not let them pass for measured ones
            record.plain, record.stamped = record.plain[:before], record.stamped[:before]
            record.spent_ns = spent_before

    def _share_inputs(self, largest: Record) -> None:
        """Let smaller batches be the first rows of this one's inputs: the same samples, repeated.

        Inputs of their own would fill the memory: those of batch sizes 1 to 62 are 1,953 samples.
        """
        for record in self.records:
            if not largest.oom and record.batch_size < largest.batch_size:
                record.inputs = tuple(x[: record.batch_size] for x in largest.inputs)

    def _plain_pass(self, record: Record) -> None:
        record.plain.append(self._whole(record))

    def _stamped_pass(self, record: Record) -> None:
        turn = len(record.stamped) % record.every
        wanted = [cut % record.every == turn for cut in range(self._cuts)]
        stamped = self._stamping(record.every, turn)
        args = (*record.inputs, self._clock)
        record.stamped.append(self._timed(record, stamped, *args, wanted=wanted)[0])

    def _stamping(self, every: int, turn: int) -> Callable[..., Any]:
        """The code that stamps the cuts of one turn, made when it is first needed."""
        if (every, turn) not in self._stampers:
            self._stampers[every, turn] = self._captured.stamped(range(turn, self._cuts, every))
        return self._stampers[every, turn]

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

    def _run_apart(self, record: Record, cut: int) -> tuple[int, int]:
        """Nanoseconds of head and tail, one after the other."""
        head, tail = self._halves_at(record, cut)
        head_ns, frontier = self._timed(record, head, *record.inputs)
        tail_ns, _ = self._timed(record, tail, frontier)
        return int(head_ns[-1]), int(tail_ns[-1])

    def _halves_at(self, record: Record, cut: int) -> Halves:
        """What runs as head and tail of a cut."""
        return self._halves[cut]

    def _whole(self, record: Record) -> int:
        return int(self._timed(record, self._captured.module, *record.inputs)[0][-1])

    def _timed(
        self, record: Record, run: Callable[..., Any], *args: Any, wanted: Sequence[bool] = ()
    ) -> tuple[Nanoseconds, Any]:
        """Run once under the clock; the two ends are stamped whatever is wanted."""
        inner = [*wanted][1:-1] or [False] * (self._cuts - 2)
        self._clock.begin([True, *inner, True])
        result = run(*args)
        times = self._clock.end()
        record.spent_ns += int(times[-1])
        return times, result

    def _review(self, record: Record) -> None:
        """After a round: stop where there is enough; where stamps cost much, let them rotate."""
        beyond = record.rounds - self._least(record)
        if record.oom or beyond < 0:
            return
        enough = False
        if beyond % CHECK_EVERY == 0:
            passes = record.arrays()
            if record.every == 1 and (every := _rotation(*passes)) > 1:
                # What was stamped so far carries the cost of all stamps.
                record.every, record.plain, record.stamped = every, [], []
                return
            enough = half_width(*passes) < HALF_WIDTH_BELOW and self._verified(record)
        record.done = enough or record.spent_ns >= self._plan.budget_ns

    def _verified(self, record: Record) -> bool:
        """Whether the model error is known as well as the times; so it is where none is wanted."""
        if not self._halves:
            return True
        error = error_of_passes(record.passes(self._cuts))
        return max(error.head_half_width, error.tail_half_width) < HALF_WIDTH_BELOW

    def _least(self, record: Record) -> int:
        return max(self._plan.rounds, TURNS * record.every if record.every > 1 else 0)

    def _left_ns(self, record: Record) -> float:
        """Time that the passes still to come take at most."""
        if record.done:
            return 0.0
        a_round = record.spent_ns / max(1, record.rounds)
        left = (self._least(record) - record.rounds) * a_round
        return max(left, self._plan.budget_ns - record.spent_ns, 0.0)


def _agree(totals: list[int]) -> bool:
    return len(totals) == WARM_PASSES and max(totals) <= (1 + WARM_WITHIN) * min(totals)


def _rotation(plain_ns: Nanoseconds, stamped_ns: Nanoseconds) -> int:
    """Stamp every m-th cut, so that stamping costs `MOST_OVERHEAD` at most; 1 where it does."""
    ratio, low, _ = overhead(plain_ns, stamped_ns)
    if len(plain_ns) < ROUNDS_TO_JUDGE or low <= 1 + MOST_OVERHEAD:  # perhaps only noise
        return 1
    return min(math.ceil((ratio - 1) / MOST_OVERHEAD), int(stamped_ns.shape[1]) - 1)


def _candidates(graph: ModelGraph, rng: Generator) -> list[Cut]:
    """The cuts of `record_lows`, and three others at random."""
    cuts, lows = all_cuts(graph), record_lows(graph)
    inner = range(1, len(cuts) - 1)
    sizes = _sizes(cuts)
    low = {k for k in inner if sizes[k] < min(sizes[:k])}
    others = rng.permutation([k for k in inner if k not in low])[:RANDOM_CUTS]
    return [cuts[k] for k in sorted({*(cut.index for cut in lows), *map(int, others)})]


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
