"""Both ends on one machine: a server in its own process, pinned to a processor of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dscwb.capturing.captured import CapturedModel
from dscwb.profiles.files import load_profile
from dscwb.profiles.records import Profile
from dscwb.running.client import SplitClient
from dscwb.running.emulated import EmulatedLink


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
def served(
    model: str, options: Sequence[str] = (), processor: int | None = None
) -> Iterator[tuple[str, int]]:
    """Run ``dscwb serve`` as a process; gives its address.

    Args:
        model: As the command takes it.
        options: More of the command's options.
        processor: The one to run on.

    Raises:
        RuntimeError: It ended before it was ready; says why.
    """
    process = _started(["serve", model, *options], processor)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().split()
        if not line:
            assert process.stderr is not None
            raise RuntimeError(f"the server did not start. {process.stderr.read().strip()}")
        host, _, port = line[-1].rpartition(":")
        yield host.strip("[]"), int(port)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        if process.stderr:
            process.stderr.close()


@contextmanager
def both_ends(
    model: str,
    captured: CapturedModel,
    *,
    data_rate_bps: float,
    round_trip_s: float,
    options: Sequence[str] = (),
    **client: Any,
) -> Iterator[tuple[SplitClient, EmulatedLink]]:
    """A client in this process, a server in another, and an emulated link between them.

    Args:
        model: As ``dscwb serve`` takes it; with these options it must give the captured model.
        captured: What the client runs.
        data_rate_bps: Of the link at first, bit/s.
        round_trip_s: Of the link, seconds.
        options: Options of ``dscwb serve``.
        client: Arguments of `SplitClient`.

    Raises:
        RuntimeError: The server did not start.
        RefusedError: The server holds another model.
    """
    here, there = processors()
    with (
        served(model, options, there) as address,
        EmulatedLink(address, data_rate_bps=data_rate_bps, round_trip_s=round_trip_s) as link,
        pinned(here),
        SplitClient(captured, link.address, **client) as own,
    ):
        yield own, link


def profiled(
    model: str, batch_sizes: Sequence[int], options: Sequence[str], processor: int | None
) -> Profile:
    """Run ``dscwb profile`` as a process of its own on one processor.

    Raises:
        RuntimeError: It failed; says why.
    """
    sizes = ",".join(map(str, batch_sizes))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "profile.parquet"
        words = ["profile", model, "--batch-sizes", sizes, "-o", str(path), *options]
        process = _started(words, processor)
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"measuring {model} failed. {errors.strip().splitlines()[-1]}")
        return load_profile(path)


def both_profiled(
    model: str, batch_sizes: Sequence[int], options: Sequence[str]
) -> tuple[Profile, Profile]:
    """Device and server measured at the same time, each on its own processor; see `profiled`."""
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(profiled, model, batch_sizes, options, one) for one in processors()]
        edge, server = (one.result() for one in asked)
    return edge, server


def _started(words: Sequence[str], processor: int | None) -> subprocess.Popen[str]:
    """A process of this command line, which has none of the threads of this one."""
    with pinned(processor):  # which a child takes over
        return subprocess.Popen(
            [sys.executable, "-m", "dscwb", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
