"""Other processes of this machine: a server, or a measurement, on a processor of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO

from dscwb.profiles.files import load_profile
from dscwb.profiles.records import Profile

LINES_KEPT = 20
"""Of what a server says; more would fill the memory of whoever runs one for days."""
ENDS_WITHIN_S = 10.0


def processors() -> tuple[int | None, int | None]:
    """Two processors to use, for device and server; None where that cannot be told."""
    if not hasattr(os, "sched_getaffinity"):  # macOS, Windows
        return None, None
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


@contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Run this process on one processor for a while; on all where that is None."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def served(words: Sequence[str], processor: int | None = None) -> Iterator[tuple[str, int]]:
    """Run ``dscwb serve`` as a process; gives its address. It ends with this process, too.

    Args:
        words: The command's own, the model first.
        processor: The one to run on.

    Raises:
        RuntimeError: It ended before it was ready; says why.
    """
    with _started(["serve", *words, "--until-input-ends"], processor, alone=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said, saying = _heard(process.stderr)
        try:
            line = process.stdout.readline().split()
            if not line:
                saying.join()
                raise RuntimeError(f"the server did not start. {''.join(said).strip()}")
            _heard(process.stdout)
            host, _, port = line[-1].rpartition(":")
            yield host.strip("[]"), int(port)
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def profiled(
    model: str,
    batch_sizes: Sequence[int],
    options: Sequence[str],
    processors: Sequence[int | None],
    *,
    at_once: bool = False,
) -> list[Profile]:
    """Run ``dscwb profile`` on each of these processors, in processes of their own.

    Args:
        model: As the command takes it.
        batch_sizes: To measure.
        options: More of the command's options.
        processors: None for all.
        at_once: All at the same time; else one after the other.

    Raises:
        RuntimeError: One failed; says why.
    """
    sizes = ",".join(map(str, batch_sizes))

    def one(path: Path, processor: int | None) -> Profile:
        words = ["profile", model, "--batch-sizes", sizes, "-o", f"{path}", *options]
        with _started(words, processor) as process:
            _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"measuring {model} failed. {errors.strip().splitlines()[-1]}")
        return load_profile(path)

    with TemporaryDirectory() as folder, ThreadPoolExecutor(2 if at_once else 1) as pool:
        paths = (Path(folder) / f"{i}.parquet" for i in range(len(processors)))
        return list(pool.map(one, paths, processors))


def _started(
    words: Sequence[str], processor: int | None, *, alone: bool = False
) -> subprocess.Popen[str]:
    """A process of this command line, which has none of the threads of this one.

    Its input is open as long as this process lives. An interrupt of a terminal or a notebook is for
    all processes there, but not for one that is alone.
    """
    with pinned(processor):  # which a child takes over
        return subprocess.Popen(
            [sys.executable, "-m", "dscwb", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=alone,
        )


def _heard(pipe: IO[str]) -> tuple[deque[str], Thread]:
    """The last lines that come, read at once: a full pipe would stop whoever writes into it."""
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    thread = Thread(target=lines.extend, args=(pipe,), daemon=True)
    thread.start()
    return lines, thread
