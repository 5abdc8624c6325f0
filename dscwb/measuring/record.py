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
LOOK_AGAIN = 1.2  # times as many rounds, between two looks at what is known, which cost time
LONGER_FOR_OTHERS = 1.25  # times the rounds that the cuts to choose from need, for the others

Times = tuple[int, int, int]
"""Nanoseconds of a head, of its tail, and of the whole next to them."""


@dataclass
class Record:
    """What stamped passes, and halves run beside them, have said so far.

    Attributes:
        batch_size: Samples in one pass.
        inputs: Made before the first pass; once all are warm, rows of the largest batch's.
        plain: Totals of the plain passes in nanoseconds.
        stamped: Times of the stamped passes, each ``(cut,)``.
        apart: Times of halves really run and of the whole next to them, by cut.
        spent_ns: Time of all these passes, gaps before them included.
        per_pass: Number of cuts that one pass stamps; None before that is known.
        known_at: Number of rounds at which the cuts to choose from were known; None before.
        look_at: Number of rounds at which to look again.
        suspects: Cuts whose halves disagree with the one pass, too few runs to tell whether it is
            noise; they are run next.
        done: No further rounds.
        oom: The device ran out of memory.
    """

    batch_size: int
    inputs: Inputs = ()
    plain: list[int] = field(default_factory=list)
    stamped: list[Nanoseconds] = field(default_factory=list)
    apart: dict[int, list[Times]] = field(default_factory=dict)
    spent_ns: int = 0
    per_pass: int | None = None
    known_at: int | None = None
    look_at: int = 0
    suspects: tuple[int, ...] = ()
    done: bool = False
    oom: bool = False
    _taken: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _counted: int = 0

    @property
    def rounds(self) -> int:
        """Complete rounds; an interrupt may leave a pass more."""
        return min(len(self.plain), len(self.stamped))

    @property
    def usable(self) -> bool:
        """Whether there are passes enough for a median."""
        return self.oom or self.rounds >= MIN_PASSES // 2

    def taken(self, cuts: int) -> NDArray[np.int64]:
        """Stamps so far at each cut, ``(cut,)``."""
        if not len(self._taken):
            self._taken = np.zeros(cuts, dtype=np.int64)
        for times in self.stamped[self._counted :]:
            self._taken += times != NOT_STAMPED
        self._counted = len(self.stamped)
        return self._taken

    def arrays(self) -> tuple[Nanoseconds, Nanoseconds]:
        """Plain ``(round,)`` and stamped ``(round, cut)`` passes."""
        plain, stamped = self.plain[: self.rounds], self.stamped[: self.rounds]
        return np.array(plain, dtype=np.int64), np.array(stamped, dtype=np.int64)

    def passes(self, cuts: int) -> Passes:
        """What goes into the profile."""
        if self.oom:
            return nothing(self.batch_size, cuts)
        return Passes(self.batch_size, *self.arrays(), separate(self.apart))

    def take(self, earlier: Passes) -> None:
        """Go on from passes that an earlier run left."""
        if earlier.oom:
            self.give_up()
            return
        self.plain, self.stamped = earlier.plain_ns.tolist(), list(earlier.stamped_ns)
        self.apart = by_cut(earlier.separate)
        self.spent_ns = sum(self.plain) + int(earlier.stamped_ns[:, -1].sum())
        self.spent_ns += sum(map(sum, (times for runs in self.apart.values() for times in runs)))

    def look(self, first: NDArray[np.intp], halves: bool) -> bool:
        """Whether T, the heads of the first cuts and, if halves are run, the model error are known.

        They are where their 95 % half-widths are below 1 % of T, and no cut's own halves lie so far
        off that more runs must tell whether that is noise.
        """
        plain, stamped = self.arrays()
        if not half_width(plain, stamped, first) < HALF_WIDTH_BELOW:
            return False
        if not halves:
            return True
        passes = Passes(self.batch_size, plain, stamped, separate(self.apart))
        error = error_of_passes(passes)
        known = max(error.head_half_width, error.tail_half_width) < HALF_WIDTH_BELOW
        self.suspects = suspects(passes)
        return known and not self.suspects

    def enough_of(self, first: NDArray[np.intp], cuts: int, least: int = STAMPS_AT_LEAST) -> bool:
        """Whether each of the first cuts has its least number of stamps."""
        if self.stamps_all(cuts):
            return True
        return bool((self.taken(cuts)[first] >= least).all())

    def enough_of_others(self, cuts: int, least_rounds: int) -> bool:
        """Whether every cut has a stamp, or the others have had their share of rounds."""
        if self.stamps_all(cuts) or (self.taken(cuts) > 0).all():
            return True
        return self.rounds >= LONGER_FOR_OTHERS * (self.known_at or least_rounds)

    def stamps_all(self, cuts: int) -> bool:
        """Whether each pass stamps all cuts."""
        return self.per_pass is None or self.per_pass >= cuts - 2

    def start_anew(self) -> None:
        """Forget stamped passes that turned out too dear, with what ran beside them."""
        self.plain, self.stamped, self.known_at, self.look_at = [], [], None, 0
        self._taken, self._counted = np.empty(0, dtype=np.int64), 0

    def give_up(self) -> None:
        """Out of memory: no times, no rounds, no inputs held."""
        self.plain, self.stamped, self.apart, self.inputs = [], [], {}, ()
        self.done = self.oom = True


class ExecutedRecord(Record):
    """What halves have said that were all really run, and no stamps.

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
        if self.oom:
            return nothing(self.batch_size, cuts)
        whole = np.array(self.plain[: self.rounds], dtype=np.int64)
        zeros = np.zeros_like(whole)
        inner = separate({cut: times[: self.rounds] for cut, times in self.apart.items()})
        ends = Separate(0, zeros, whole, whole), Separate(cuts - 1, whole, zeros, whole)
        none = np.empty((0, cuts), dtype=np.int64)
        return Passes(self.batch_size, none[:, 0], none, (ends[0], *inner, ends[1]))

    def take(self, earlier: Passes) -> None:
        """Go on from passes that an earlier run left."""
        if earlier.oom:
            self.give_up()
            return
        at_input, *inner, _ = earlier.separate
        self.plain, self.apart = at_input.tail_ns.tolist(), by_cut(inner)
        self.spent_ns = sum(self.plain)
        self.spent_ns += sum(map(sum, (times for runs in self.apart.values() for times in runs)))

    def look(self, first: NDArray[np.intp], halves: bool) -> bool:
        """Whether T and every half are known well enough."""
        return half_width(*self.arrays()) < HALF_WIDTH_BELOW

    def stamps_all(self, cuts: int) -> bool:
        """There are no stamps to wait for."""
        return True


def separate(apart: dict[int, list[Times]]) -> tuple[Separate, ...]:
    """Halves as they stand in a profile, by cut."""
    return tuple(
        Separate(cut, *np.array(times, dtype=np.int64).reshape(-1, 3).T)
        for cut, times in sorted(apart.items())
    )


def by_cut(halves: tuple[Separate, ...] | list[Separate]) -> dict[int, list[Times]]:
    """The reverse of `separate`."""
    return {one.cut: list(zip(*(t.tolist() for t in one.times()), strict=True)) for one in halves}


def nothing(batch_size: int, cuts: int) -> Passes:
    """What stands in a profile where memory ran out."""
    none = np.empty((0, cuts), dtype=np.int64)
    return Passes(batch_size, none[:, 0], none, oom=True)
