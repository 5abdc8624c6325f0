"""A shelf of boards: each is a dask worker that its owner starts, and measures one job at a time.

A job names the kind of board, and dask gives it to no other. The profile comes back as the bytes
of its file. A dask cluster runs whatever its clients send: keep it in a network that you trust, or
behind TLS (dask's own means).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from dscwb.measuring.checkpoint import save_over
from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.records import Profile, ProfileError
from dscwb.scaling.digests import sources
from dscwb.scaling.plans import Job, checked, read_plan
from dscwb.units import format_seconds

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

_LOG = logging.getLogger("dscwb")
State = Literal["waiting", "running", "done", "failed", "given up", "cancelled"]
OPEN = ("waiting", "running")
SHOWN = ("board", "model", "image_size", "batch_sizes")
EVERYBODY = "all"  # the topic on which dask says that workers come and go
LOOK_S = 1.0  # how often a board asks whether its job is still wanted


def measured(
    plan: str | os.PathLike[str] | Sequence[Job],
    client: Client,
    folder: str | os.PathLike[str],
    *,
    patience_s: float | None = None,
    told: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Have a plan measured by the boards of a dask cluster, and keep their profiles in a folder.

    The owner of a board starts it as a worker that has one of a resource, under the name that the
    plan has for it: ``dask worker tcp://HOST:8786 --resources "orin-nano=1" --nthreads 1``. It
    measures in a process of its own, one job at a time, and nothing of another kind of board takes
    its jobs. A job whose board dies waits for it to come back, or for another of that kind.

    A file of the folder that holds a job's profile already is not measured again; one that holds
    anything else is set aside when the profile comes.

    An interrupt cancels what has not ended; boards leave what they measure within seconds.

    Args:
        plan: A file of `dscwb plan`, or jobs.
        client: Of the cluster.
        folder: For the profiles, one file a job.
        patience_s: Seconds without a sign of a board (it came, began a job or ended one) after
            which its jobs are given up, also one that runs: give more than the longest job takes.
            They wait for ever if left out.
        told: Is called with the table whenever something in it has changed. Without it a warning
            is logged where a board is not there.

    Returns:
        One row a job: ``board``, ``model``, ``image_size``, ``batch_sizes``; ``state`` (``waiting``
        for its board, ``running``, ``done``, ``failed``, ``given up``, or ``cancelled`` by an
        interrupt); ``seconds`` in it; ``why``; and its ``file``.

    Raises:
        ValueError: The plan cannot be used.
        OSError: A profile cannot be written.
    """
    jobs = read_plan(plan) if isinstance(plan, str | os.PathLike) else checked(plan)
    shelf = _Shelf(client, Path(folder), [_Entry(job) for job in jobs], patience_s, told)
    with suppress(KeyboardInterrupt):
        shelf.run()
    return shelf.table()


@dataclass
class _Entry:
    """Where a job stands, since when, on which worker, and why; dask's future of it, if any."""

    job: Job
    state: State = "waiting"
    since_s: float = 0.0
    took_s: float = 0.0
    where: str = ""
    why: str = ""
    future: Any = None

    def now(self, state: State, why: str = "", where: str = "") -> None:
        """Enter a state; the first time that it is over, how long the one before took is kept."""
        now_s = time.monotonic()
        self.took_s = now_s - self.since_s
        self.state, self.why, self.where, self.since_s = state, why, where, now_s


class _Shelf:
    """The jobs of a plan, the boards that are there, and the signs that they give."""

    def __init__(
        self,
        client: Client,
        folder: Path,
        entries: list[_Entry],
        patience_s: float | None,
        told: Callable[[pd.DataFrame], None] | None,
    ) -> None:
        self._client: Any = client  # whose methods have no types
        self._folder, self._entries = folder, entries
        self._patience_s, self._told, self._shown = patience_s, told, ""
        self._topic = f"dscwb-{uuid4()}"
        self._signs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        start_s = time.monotonic()
        self._seen_s = {one.job.board: start_s for one in entries}
        self._boards: dict[str, set[str]] = {one.job.board: set() for one in entries}
        self._missing: set[str] = set()
        for one in entries:
            one.since_s = start_s

    def run(self) -> None:
        """Until every job has ended; an interrupt cancels what has not, and goes on."""
        for one in self._entries:
            if self._is_there(one.job):
                one.now("done", "was there before")
        signs: dict[str, Callable[[Any], None]]
        signs = {self._topic: self._began, EVERYBODY: self._look}
        for topic, meant in signs.items():
            self._client.subscribe_topic(topic, partial(self._hear, meant))
        try:
            self._look()
            while any(one.state in OPEN for one in self._entries):
                self._submit()
                self._tell()
                with suppress(Empty):
                    self._signs.get(timeout=self._left_s())()
                self._give_up()
        finally:
            for topic in signs:
                self._client.unsubscribe_topic(topic)
            for one in self._entries:
                if one.state in OPEN:
                    self._drop(one, "cancelled", "interrupted")
            self._tell()

    def table(self) -> pd.DataFrame:
        """As `measured` gives it."""
        import pandas as pd

        now_s = time.monotonic()
        return pd.DataFrame(
            {
                **{name: asdict(one.job)[name] for name in SHOWN},
                "state": one.state,
                "seconds": now_s - one.since_s if one.state in OPEN else one.took_s,
                "why": one.why,
                "file": one.job.file,
            }
            for one in self._entries
        )

    def _hear(self, meant: Callable[[Any], None], event: tuple[float, Any]) -> None:
        """A sign comes on dask's own thread; what it means is done on that of `run`."""
        self._signs.put(partial(meant, event[1]))

    def _tell(self) -> None:
        shown = repr([(one.state, one.why, one.where) for one in self._entries])
        if self._told and shown != self._shown:
            self._shown = shown
            self._told(self.table())

    def _look(self, _: Any = None) -> None:
        """Which boards are there now; a job whose board has gone waits again."""
        found: dict[str, set[str]] = {name: set() for name in self._boards}
        for address, about in self._client.scheduler_info()["workers"].items():
            for name in {*found} & {*about["resources"]}:
                found[name].add(address)
        for name, addresses in found.items():
            if addresses - self._boards[name]:
                self._seen_s[name] = time.monotonic()
        missing = {name for name, addresses in found.items() if not addresses}
        if self._told is None:
            for name in sorted(missing - self._missing):
                _LOG.warning("no board %s is there; its jobs wait, an interrupt is safe", name)
        self._boards, self._missing = found, missing
        for one in self._entries:
            there = found[one.job.board]
            if one.state == "running" and one.where not in there:
                one.now("waiting", "its board went away while it ran")
            elif one.state == "waiting" and not there:
                one.why = one.why or f"no board {one.job.board} is there"
            elif one.state == "waiting":
                one.why = ""

    def _submit(self) -> None:
        """One job for each board, or for the first that comes; the others wait here.

        Of a worker that dies, dask suspects all the jobs that it was given.
        """
        for name, there in self._boards.items():
            own = [one for one in self._entries if one.job.board == name and one.state in OPEN]
            free = max(1, len(there)) - sum(one.future is not None for one in own)
            for one in [one for one in own if one.future is None][: max(0, free)]:
                one.future = self._client.submit(
                    _on_board,
                    one.job,
                    self._topic,
                    sources(),
                    key=f"{one.job.file}-{uuid4()}",
                    resources={name: 1},
                )
                ended = partial(self._ended, one)
                one.future.add_done_callback(lambda _, ended=ended: self._signs.put(ended))

    def _began(self, told: dict[str, str]) -> None:
        one = next(one for one in self._entries if one.job.file == told["file"])
        if one.state in OPEN:
            one.now("running", where=told["worker"])
            self._seen_s[one.job.board] = time.monotonic()

    def _ended(self, one: _Entry) -> None:
        if one.state not in OPEN or one.future is None:
            return
        self._seen_s[one.job.board] = time.monotonic()
        status = one.future.status
        if status == "finished":
            try:
                one.now("done", self._keep(one.job, one.future.result()))
            except ProfileError as error:
                one.now("failed", f"{error}")
        elif status == "error":
            one.now("failed", " ".join(f"{one.future.exception()}".split()))
        else:
            one.now("failed", "the cluster has dropped it; is its scheduler still there?")
        one.future = None  # dask forgets the bytes

    def _left_s(self) -> float | None:
        """How long to wait for a sign; None for ever."""
        if self._patience_s is None:
            return None
        seen = [self._seen_s[one.job.board] for one in self._entries if one.state in OPEN]
        return max(0.0, min(seen) + self._patience_s - time.monotonic())

    def _give_up(self) -> None:
        """Report the jobs of boards that have given no sign for too long."""
        for one in self._entries:
            silent_s = time.monotonic() - self._seen_s[one.job.board]
            if one.state in OPEN and self._patience_s is not None and silent_s > self._patience_s:
                what = one.why or f"board {one.job.board} is busy"
                if one.state == "running":
                    what = f"board {one.job.board} has run it"
                self._drop(one, "given up", f"{what} for {format_seconds(round(silent_s))}")

    def _drop(self, one: _Entry, state: State, why: str) -> None:
        if one.future is not None:
            one.future.cancel()
        one.now(state, why)

    def _is_there(self, job: Job) -> bool:
        """Whether the folder has the profile of this job; a damaged file is reported."""
        profile = self._loaded(job)
        if profile is None:
            return False
        told, inputs = profile.provenance, profile.graph.inputs
        known = {
            "model": (profile.graph.model, job.model),
            "board": (told.note.endswith(job.note()), True),
            "threads": (told.threads, job.threads or told.threads),
            "side": (inputs[0].shape[-1], job.image_size or inputs[0].shape[-1]),
            "sizes": ({*job.batch_sizes} <= {one.batch_size for one in profile.passes}, True),
        }
        return all(found == asked for found, asked in known.values())

    def _loaded(self, job: Job) -> Profile | None:
        path = self._folder / job.file
        try:
            return load_profile(path) if path.exists() else None
        except ProfileError as error:
            _LOG.warning("%s It is measured again.", error)
            return None

    def _keep(self, job: Job, data: bytes) -> str:
        """Write the profile that came, with its board's name, and lose no other; in words."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / job.file
            path.write_bytes(data)
            profile = load_profile(path)
        if profile.graph.model != job.model:
            raise ProfileError(f"a profile of {profile.graph.model} came; is its dscwb the same?")
        note = ", ".join(filter(None, (profile.provenance.note, job.note())))
        profile = replace(profile, provenance=replace(profile.provenance, note=note))
        return save_over(self._folder / job.file, profile, self._loaded(job))


def _on_board(job: Job, topic: str, ours: bytes) -> bytes:
    """Measure a job and give the bytes of its profile; runs on the board.

    In a process of its own, which none of dask's threads disturbs, and which ends with this one.
    """
    from distributed import get_worker

    worker: Any = get_worker()
    key = worker.get_current_task()
    if worker.state.total_resources.get(job.board) != 1:
        raise RuntimeError(
            f"a board measures one job at a time; start it with --resources '{job.board}=1'."
        )
    if sources() != ours:
        raise RuntimeError(f"board {job.board} has another dscwb; install the same one there.")
    with TemporaryDirectory() as folder:
        path, said = Path(folder) / f"profile{SUFFIX}", Path(folder) / "said"
        words = ["profile", *job.words(), "--until-input-ends", "-o", f"{path}"]
        with (
            said.open("wb") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "dscwb", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            ) as process,
        ):
            worker.log_event(topic, {"file": job.file, "worker": worker.address})
            while (status := process.poll()) is None:
                if worker.state.tasks[key].state == "cancelled":
                    process.communicate()  # its input ends, and so does it
                else:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(LOOK_S)
        if status:
            last = said.read_text(errors="replace").splitlines()[-1:] or [f"exit status {status}"]
            raise RuntimeError(last[0].removeprefix("dscwb: "))
        return path.read_bytes()
