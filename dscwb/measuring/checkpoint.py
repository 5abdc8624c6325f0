"""What an earlier measurement left: passes so far go into a file, and come back out of it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dscwb.graph import ModelGraph
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import Passes, Profile, ProfileError, Provenance

UNFINISHED, INTERRUPTED = "unfinished", "interrupted"
DIGITS = 12  # of a hash, enough to tell two apart
SECONDS = 14  # digits of a date to the second


class Found(NamedTuple):
    """What an unfinished measurement left.

    Attributes:
        passes: Its rounds; empty where there are none, or where the conditions have changed.
        words: What was found, for the log; empty where there was no file.
        throttled: What held the clocks down while these rounds ran.
    """

    passes: tuple[Passes, ...] = ()
    words: str = ""
    throttled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """The file of one measurement in progress.

    Attributes:
        path: The file; there until whoever saves the profile removes it.
        graph: The model that is measured.
        here: The conditions under which it is measured now.
    """

    path: Path
    graph: ModelGraph
    here: Provenance

    def resume(self) -> Found:
        """Passes of an unfinished measurement under these conditions, and in words what was found.

        Where there is none, or conditions have changed, there are no passes.
        """
        if not self.path.exists():
            return Found()
        try:
            earlier = load_profile(self.path)
        except ProfileError as error:
            return Found(words=f"measuring from the start: {error}")
        words = earlier.provenance.note.split(", ")
        note = ", ".join(word for word in words if word not in (UNFINISHED, INTERRUPTED))
        changed = changes(replace(earlier, provenance=replace(earlier.provenance, note=note)), self)
        if changed:
            reasons = "; ".join(changed)
            return Found(words=f"measuring from the start, for there has changed: {reasons}")
        rounds = sum(passes.rounds for passes in earlier.passes)
        found = f"going on after {rounds} rounds of an earlier measurement"
        return Found(earlier.passes, found, earlier.provenance.throttled)

    def keep(self, passes: Sequence[Passes], throttled: tuple[str, ...] = ()) -> None:
        """Write what has been measured so far; the file before stays whole until this one is."""
        if not passes:
            return
        note = ", ".join(part for part in (self.here.note, UNFINISHED) if part)
        here = replace(self.here, note=note, throttled=throttled)
        save_profile(Profile(self.graph, here, tuple(passes)), self.path)


def take_up(path: Path, unfinished: Path) -> Profile | None:
    """The profile that stands in a file already; measuring goes on from it.

    Args:
        path: The file that is to be written.
        unfinished: Its checkpoint, made from it where there is none.

    Raises:
        ProfileError: The file is not a profile, or a damaged one; it stays as it is.
    """
    if not path.exists():
        return None
    try:
        earlier = load_profile(path)
    except ProfileError as error:
        raise ProfileError(f"{error} Remove it, or write to another file.") from None
    if not unfinished.exists():
        save_profile(earlier, unfinished)
    return earlier


def within(earlier: Profile, later: Profile) -> bool:
    """Whether a profile has every pass of an earlier one."""
    known = {passes.batch_size: passes for passes in later.passes}
    return earlier.graph == later.graph and all(
        one.batch_size in known and _begins(known[one.batch_size], one) for one in earlier.passes
    )


def _begins(later: Passes, earlier: Passes) -> bool:
    """Whether the later passes start with all of the earlier ones."""
    heads = {one.cut: one.head_ns for one in later.separate}
    pairs = [(later.plain_ns, earlier.plain_ns), (later.stamped_ns, earlier.stamped_ns)]
    pairs += [(heads.get(one.cut, one.head_ns[:0]), one.head_ns) for one in earlier.separate]
    same = (np.array_equal(long[: len(short)], short) for long, short in pairs)
    return later.oom == earlier.oom and all(same)


def set_aside(path: Path, earlier: Profile) -> Path:
    """Give the file of an earlier profile another name, by its date, and return that."""
    date = re.sub(r"\D", "", earlier.provenance.date)[:SECONDS]
    aside = path.with_name(f"{path.stem}-{date or 'before'}{path.suffix}")
    while aside.exists():
        aside = aside.with_name(f"{aside.stem}+{aside.suffix}")
    os.replace(path, aside)
    return aside


def save_over(path: Path, measured: Profile, earlier: Profile | None) -> str:
    """Write a profile and lose nothing that stood in its file before; in words what was done.

    Args:
        path: The file.
        measured: What is to be written.
        earlier: What stands there, as `take_up` found it.
    """
    if earlier and within(measured, earlier):
        return f"{path} has all of this already; to measure it anew, give another file"
    moved = earlier and not within(earlier, measured) and set_aside(path, earlier)
    save_profile(measured, path)
    return f"saved {path}" + (f"; what was there before is now in {moved}" if moved else "")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from measuring into this file; one that is killed lets go of it.

    They could overwrite each other's rounds, and would disturb each other's times anyhow. Where
    the system has no such locks, all go ahead.

    Raises:
        ProfileError: Another process is at it.
    """
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _locked(lock)
    if handle is None:
        raise ProfileError(
            f"another process is measuring into {path}; wait for it, or give another file and run "
            "them one after the other, since two at a time slow each other down."
        )
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is still held, so that nobody else's is removed
        os.close(handle)


def _locked(lock: Path) -> int | None:
    """The lock's file descriptor; None where another process holds it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _take(handle) and os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        os.close(handle)  # its last holder has removed it meanwhile: make another


def _take(handle: int) -> bool:
    """Lock an open file.

    Raises:
        BlockingIOError: It is locked.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def changes(earlier: Profile, now: Checkpoint) -> list[str]:
    """What differs between the conditions of a profile and those of now, in words; dates may."""
    if earlier.graph.fingerprint() != now.graph.fingerprint() or earlier.graph != now.graph:
        return [f"the model ({earlier.graph.model}, now {now.graph.model})"]
    a, b = earlier.provenance, now.here
    pairs = [
        ("device", a.device, b.device),
        ("threads", a.threads, b.threads),
        ("dtype", a.dtype, b.dtype),
        ("protocol", a.protocol, b.protocol),
        ("idle gap in seconds", a.gap_s, b.gap_s),
        ("settings", a.note, b.note),
        ("weights", a.weights_sha256[:DIGITS], b.weights_sha256[:DIGITS]),
    ]
    before, after = dict(a.versions), dict(b.versions)
    pairs += [(name, before.get(name), after.get(name)) for name in {**before, **after}]
    return [f"{name} ({old}, now {new})" for name, old, new in pairs if old != new]
