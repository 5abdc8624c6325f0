"""Work on any executor: sent there, taken as it ends, and cancelled by an interrupt.

Ctrl-C and a notebook's stop reach every process of their group: the pool's processes and the
workers of a cluster on this machine as well. The work they do may end so, but not they.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dscwb.scaling.digests import PLAIN

if TYPE_CHECKING:
    from distributed import Client

_LOG = logging.getLogger("dscwb")
LOOK_S = 10.0
"""Seconds without an answer after which a cluster is asked whether it has workers."""
DROPPED = "the executor dropped it; is it still there?"

_over: set[str] = set()  # runs that an interrupt has ended in this process


def run_on(
    executor: Executor | Client,
    work: Callable[..., Any],
    todo: Mapping[int, tuple[Any, Sequence[Any]]],
    take: Callable[[int, Any], None],
) -> None:
    """Have a function called for each of several things, and take each answer as it comes.

    An interrupt cancels what has not begun, and goes on to the caller.

    Args:
        executor: A pool, or the client of a dask cluster.
        work: Is given what is first, then the values; of these a client sends each one once.
        todo: What to call it with.
        take: Is given each answer, or the error in its place.
    """
    pool: Any = executor  # of both kinds a future says when it has ended, and what it came to
    is_pool = isinstance(executor, Executor)
    client = getattr(executor, "_client", None) if is_pool else executor
    if not hasattr(client or pool, "submit"):
        raise TypeError(f"executor is {executor!r}; give a pool, or the client of a dask cluster.")
    if client is not None:
        _guard(client)
    options = {} if is_pool else {"pure": False}
    sent: dict[int, Any] = {}

    def once(value: Any) -> Any:
        """On a cluster, a value that its workers fetch; elsewhere the value."""
        if is_pool or type(value) in PLAIN:
            return value
        if id(value) not in sent:
            sent[id(value)] = pool.submit(_itself, value, **options)
        return sent[id(value)]

    run = f"{uuid4()}"
    futures: dict[Any, int] = {}

    def took(future: Any) -> None:
        try:
            answer = future.result()
        except KeyboardInterrupt:  # of this process, or of one in a pool
            raise
        except BaseException as error:
            answer = RuntimeError(DROPPED) if future.cancelled() else error
        take(futures[future], answer)
        del futures[future]

    def cancel() -> None:
        left = [future for future in futures if not future.done()]
        if is_pool:
            for future in left:
                future.cancel()
        else:
            with suppress(Exception):  # the cluster is not there any more
                pool.cancel(left)

    try:
        for i, (first, values) in todo.items():
            given = [once(value) for value in values]
            try:
                future = pool.submit(cell, run, work, first, *given, **options)
            except BrokenExecutor as error:  # a process of the pool was killed
                take(i, error)
            else:
                futures[future] = i
        for future in _as_they_end([*futures], client):
            took(future)
    finally:
        try:
            cancel()
        except KeyboardInterrupt:  # pressed twice: a cluster would do what nobody waits for
            cancel()
            raise
        for future in [*futures]:
            if future.done() and not future.cancelled():
                with suppress(KeyboardInterrupt):
                    took(future)


def cell(run: str, work: Callable[..., Any], *given: Any) -> Any:
    """What an executor runs; its name is what a cluster's own pages show."""
    with _interruptible(run):
        return work(*given)


@contextmanager
def _interruptible(run: str) -> Iterator[None]:
    """In a process of a pool an interrupt ends the work, and what is left of its run, at once.

    The process lives on: one that dies while it waits for work breaks the pool for ever.
    """
    if parent_process() is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    if run in _over:
        raise KeyboardInterrupt
    works = True

    def interrupted(*_: object) -> None:
        _over.add(run)
        if works:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        works = False


def _guard(client: Any) -> None:
    """Let the workers of a cluster in this process outlive an interrupt.

    They would end for good, with a page of dask's own words, and nobody would do the rest.
    """
    from distributed import LocalCluster

    if isinstance(client.cluster, LocalCluster):
        client.run(_outlive_interrupts, on_error="ignore")


def _outlive_interrupts() -> None:
    """Runs in a worker; one in a process of its own is ended by the cluster."""
    if parent_process() is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_they_end(futures: Sequence[Any], client: Any) -> Iterator[Any]:
    """Each future when it has ended; a cluster that has no workers is told of."""
    ended: SimpleQueue[Any] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    told = False
    left = len(futures)
    while left:
        try:
            future = ended.get(timeout=LOOK_S)
        except Empty:
            if client is not None and told < (told := _has_no_workers(client)):
                words = "the cluster has no workers; %d cells wait for one, an interrupt is safe"
                _LOG.warning(words, left)
        else:
            left -= 1
            yield future


def _has_no_workers(client: Any) -> bool:
    with suppress(OSError):  # it is about to lose its scheduler, and its futures
        return not client.scheduler_info()["workers"]
    return False


def _itself(value: Any) -> Any:
    return value
