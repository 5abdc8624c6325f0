"""What has been measured at one batch size so far, and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dscwb.capturing.inputs import Inputs
from dscwb.profiles.passes import (
    NOT_STAMPED,
    Nanoseconds,
    Passes,
    Separate,
    error_of_passes,
    half_width,
    suspects,
)

MIN_PASSES = 10  # plain and stamped together; fewer give no median worth the name
HALF_WIDTH_BELOW = 0.01  # of T, for the 95 % half-widths at which measuring stops
STAMPS_AT_LEAST = 6  # at each cut that can be chosen: fewer have no 95 % interval of their own
WARM_WITHIN = 0.05  # two passes of a kind in a row that agree to this share are warm
LONGER_FOR_OTHERS = 1.25  # times the rounds that the cuts to choose from need, for the others

Times = tuple[int, int, int]
"""Nanoseconds of a head, of its tail, and of the whole next to them."""


@dataclass
class Record:
    """What stamped passes, and halves run beside them, have said so far.

    Attributes:
        batch_size: Samples in one pass.
        cuts: Number of cuts, both ends included.
        waited: There is an idle gap before every pass.
        executed: Only halves are run, without stamps or plain passes; the whole model, once a
            round by itself, is the tail at the input and the head at the output.
        inputs: Made before the first pass; once all are warm, rows of the largest batch's.
        plain: Totals of the plain passes in nanoseconds.
        stamped: Times of the stamped passes, each ``(cut,)``.
        taken: Number of stamps at each cut, ``(cut,)``.
        apart: Times of halves really run and of the whole next to them, by cut.
        spent_ns: Time of all these passes, gaps before them included.
        per_pass: How many cuts a pass stamps; None before that is known, and without stamps.
        known_at: Number of rounds at which the cuts to choose from were known; None before.
        look_at: Number of rounds at which to look again.
        suspects: Cuts whose halves disagree with the one pass, too few runs to tell whether it is
            noise; they are run next.
        done: No further rounds.
        oom: The device ran out of memory.
    """

    batch_size: int
    cuts: int
    waited: bool = False
    executed: bool = False
    inputs: Inputs = ()
    plain: list[int] = field(default_factory=list)
    stamped: list[Nanoseconds] = field(default_factory=list)
    taken: NDArray[np.int64] = field(init=False)
    apart: dict[int, list[Times]] = field(default_factory=dict)
    spent_ns: int = 0
    per_pass: int | None = None
    known_at: int | None = None
    look_at: int = 0
    suspects: tuple[int, ...] = ()
    done: bool = False
    oom: bool = False

    def __post_init__(self) -> None:
        """Begin without stamps."""
        self.start_anew()

    @property
    def rounds(self) -> int:
        """Complete rounds; an interrupt may leave some passes more."""
        if self.executed:
            return min(map(len, self.apart.values()), default=0)
        return min(len(self.plain), len(self.stamped))

    @property
    def stamps_all(self) -> bool:
        """Whether no cut has to wait for its turn."""
        return self.per_pass is None or self.per_pass >= self.cuts - 2

    @property
    def totals(self) -> list[int]:
        """Nanoseconds of the stamped passes."""
        return [int(times[-1]) for times in self.stamped]

    def warm(self) -> bool:
        """Whether the last two passes agree, of the plain ones and of the stamped ones."""
        kinds = self.plain[-2:], self.totals[-2:]
        return all(len(two) == 2 and max(two) <= (1 + WARM_WITHIN) * min(two) for two in kinds)

    def add_plain(self, total_ns: int) -> None:
        """Keep a run of the whole."""
        if self.executed:
            self.apart[0].append((0, total_ns, total_ns))
            self.apart[self.cuts - 1].append((total_ns, 0, total_ns))
        else:
            self.plain.append(total_ns)

    def add_stamped(self, times: Nanoseconds) -> None:
        """Keep a stamped pass."""
        self.stamped.append(times)
        self.taken += times != NOT_STAMPED

    def passes(self) -> Passes:
        """What goes into the profile: complete rounds, and the halves beside them."""
        plain = np.array(self.plain[: self.rounds], dtype=np.int64)
        stamped = np.array(self.stamped[: self.rounds], dtype=np.int64).reshape(-1, self.cuts)
        number = self.rounds if self.executed else None
        separate = (
            Separate(cut, *np.array(times[:number], dtype=np.int64).reshape(-1, 3).T)
            for cut, times in sorted(self.apart.items())
        )
        halves, oom, waited = tuple(separate), self.oom, self.waited
        return Passes(self.batch_size, plain, stamped, halves, oom, waited)

    def take(self, earlier: Passes) -> None:
        """Go on from passes that an earlier run left."""
        if earlier.oom:
            self.give_up()
            return
        self.executed |= not len(earlier.stamped_ns)
        self.plain, self.stamped = earlier.plain_ns.tolist(), list(earlier.stamped_ns)
        self.taken = earlier.stamps
        self.apart = {
            one.cut: list(zip(*(times.tolist() for times in one.times()), strict=True))
            for one in earlier.separate
        }
        self.spent_ns = sum(self.plain) + int(earlier.stamped_ns[:, -1].sum())
        for cut, times in self.apart.items():  # at the two ends is the whole, kept twice
            wholes = [whole for *_, whole in times] * (cut == 0)
            self.spent_ns += sum(map(sum, times)) if 0 < cut < self.cuts - 1 else sum(wholes)

    def look(self, first: NDArray[np.bool_], halves: bool) -> bool:
        """Whether T, the heads of the first cuts and, if halves are run, the model error are known.

        They are where their 95 % half-widths are below 1 % of T, and no cut's own halves lie so far
        off that more runs must tell whether that is noise.
        """
        passes = self.passes()
        if self.executed:
            # The stopping rule of stamped passes serves here too: both are shares of a whole.
            wholes = passes.separate[0].whole_ns
            shares = np.concatenate([one.shares() for one in passes.separate])
            columns = [np.zeros_like(wholes), *np.rint(shares * wholes).astype(np.int64), wholes]
            return half_width(wholes, np.column_stack(columns)) < HALF_WIDTH_BELOW
        known = half_width(passes.plain_ns, passes.stamped_ns, np.flatnonzero(first))
        if not known < HALF_WIDTH_BELOW or not halves:
            return known < HALF_WIDTH_BELOW
        error = error_of_passes(passes)
        self.suspects = suspects(passes)
        sure = max(error.head_half_width, error.tail_half_width) < HALF_WIDTH_BELOW
        return sure and not self.suspects

    def enough_of(self, first: NDArray[np.bool_], least: int = STAMPS_AT_LEAST) -> bool:
        """Whether each of the first cuts has its least number of stamps."""
        return self.stamps_all or bool((self.taken[first] >= least).all())

    def enough_of_others(self, least_rounds: int) -> bool:
        """Whether every cut has a stamp, or the others have had their share of rounds."""
        if self.stamps_all or (self.taken > 0).all():
            return True
        return self.rounds >= LONGER_FOR_OTHERS * (self.known_at or least_rounds)

    def start_anew(self) -> None:
        """Forget stamped passes that turned out too dear, with what ran beside them."""
        self.plain, self.stamped, self.known_at, self.look_at = [], [], None, 0
        self.taken = np.zeros(self.cuts, dtype=np.int64)

    def give_up(self) -> None:
        """Out of memory: no times, no rounds, no inputs held."""
        self.plain, self.stamped, self.apart, self.inputs = [], [], {}, ()
        self.done = self.oom = True
