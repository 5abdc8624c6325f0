"""What an earlier measurement left is gone on from, and nothing of it is lost."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dscwb.graph import ModelGraph
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import Passes, Profile, ProfileError, Provenance

_LOG = logging.getLogger("dscwb")
UNFINISHED, INTERRUPTED = "unfinished", "interrupted"
CONDITIONS = ("device", "threads", "dtype", "protocol")
DIGITS = 12  # of a hash, enough to tell two apart
SECONDS = 14  # digits of a date to the second


@dataclass(frozen=True)
class Checkpoint:
    """The file of one measurement in progress; without a path nothing is kept or found.

    Attributes:
        path: The file; there until whoever saves the profile removes it.
        graph: The model that is measured.
    """

    path: Path | None
    graph: ModelGraph

    def resume(self, here: Provenance) -> Profile | None:
        """The unfinished measurement under these conditions; None where there is none.

        What was found is logged. A measurement under other conditions is set aside.

        Raises:
            ProfileError: The file is not one of dscwb, or a damaged one; it stays as it is.
        """
        if self.path is None or not self.path.exists():
            return None
        earlier = _loaded(self.path)
        changed = _changes(earlier, self.graph, here)
        if not changed:
            rounds = sum(passes.rounds for passes in earlier.passes)
            _LOG.info("%s: going on after %d rounds of an earlier measurement", self.path, rounds)
            return earlier
        # A mere copy of a finished file (see `take_up`) is not needed twice.
        own = UNFINISHED in earlier.provenance.note.split(", ")
        moved = f"; what was there is now in {set_aside(self.path, earlier)}" if own else ""
        words = "%s: measuring from the start, for there has changed: %s%s"
        _LOG.info(words, self.path, "; ".join(changed), moved)
        return None

    def keep(self, passes: Sequence[Passes], here: Provenance) -> None:
        """Write what has been measured so far; the file before stays whole until this one is."""
        if self.path is None or not passes:
            return
        note = ", ".join(filter(None, (here.note, UNFINISHED)))
        save_profile(Profile(self.graph, replace(here, note=note), tuple(passes)), self.path)


def _loaded(path: Path) -> Profile:
    try:
        return load_profile(path)
    except ProfileError as error:
        raise ProfileError(f"{error} Remove it, or write to another file.") from None


def _changes(earlier: Profile, graph: ModelGraph, here: Provenance) -> list[str]:
    """What differs between the conditions of a profile and those of now, in words; dates may."""
    if earlier.graph != graph:
        return [f"the model ({earlier.graph.model}, now {graph.model})"]
    old, note = earlier.provenance, earlier.provenance.note.split(", ")
    settings = [word for word in note if word not in (UNFINISHED, INTERRUPTED)]
    before, after = dict(old.versions), dict(here.versions)
    pairs = {
        **{name: (getattr(old, name), getattr(here, name)) for name in CONDITIONS},
        "idle gap in seconds": (old.gap_s, here.gap_s),
        "settings": (", ".join(settings), here.note),
        "weights": (old.weights_sha256[:DIGITS], here.weights_sha256[:DIGITS]),
        **{name: (before.get(name), after.get(name)) for name in before | after},
    }
    return [f"{name} ({was}, now {now})" for name, (was, now) in pairs.items() if was != now]


def take_up(path: Path, unfinished: Path) -> Profile | None:
    """The profile in the file that is to be written; its checkpoint is made of it if there is none.

    Raises:
        ProfileError: The file is not a profile, or a damaged one; it stays as it is.
    """
    if not path.exists():
        return None
    earlier = _loaded(path)
    if not unfinished.exists():
        save_profile(earlier, unfinished)
    return earlier


def save_over(path: Path, measured: Profile, earlier: Profile | None) -> str:
    """Write a profile and lose nothing of the `earlier` one in its file; in words what was done."""
    if earlier and within(measured, earlier):
        return f"{path} has all of this already; to measure it anew, give another file"
    moved = earlier and not within(earlier, measured) and set_aside(path, earlier)
    save_profile(measured, path)
    return f"saved {path}" + (f"; what was there before is now in {moved}" if moved else "")


def set_aside(path: Path, earlier: Profile) -> Path:
    """Give the file of an earlier profile another name, by its date, and return that.

    A link stays, and the file that it points to gets the name.
    """
    path = path.resolve()
    date = re.sub(r"\D", "", earlier.provenance.date)[:SECONDS]
    aside = path.with_name(f"{path.stem}-{date or 'before'}{path.suffix}")
    while aside.exists():
        aside = aside.with_name(f"{aside.stem}+{aside.suffix}")
    os.replace(path, aside)
    return aside


def within(earlier: Profile, later: Profile) -> bool:
    """Whether a profile has every pass of an earlier one: its own start with them."""
    known = {passes.batch_size: passes for passes in later.passes}
    return earlier.graph == later.graph and all(
        one.batch_size in known
        and one.oom == known[one.batch_size].oom
        and all(
            np.array_equal(known[one.batch_size].times().get(kind, short[:0])[: len(short)], short)
            for kind, short in one.times().items()
        )
        for one in earlier.passes
    )


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Keep other processes from measuring into this file; one that is killed lets go of it.

    They could overwrite each other's rounds, and would disturb each other's times anyhow. Where
    the system has no such locks, all go ahead.

    Raises:
        ProfileError: Another process is at it.
    """
    if path is None:
        yield
        return
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with lock.open("a") as file:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ProfileError(
                        f"another process is measuring into {path}; wait for it, or give another "
                        "file and run them one after the other, since two at a time slow each "
                        "other down."
                    ) from None
            if not os.fstat(file.fileno()).st_nlink:
                continue  # its last holder has removed it meanwhile: make another
            try:
                yield
            finally:
                # While it is held, so that nobody else's is removed; a foreign file stays.
                if not os.fstat(file.fileno()).st_size:
                    lock.unlink(missing_ok=True)
            return
