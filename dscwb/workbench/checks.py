"""How sure every state is, found beside other work: a study goes in, its confidence comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dscwb.study.confidence import Confidence
from dscwb.study.sweeps import Study
from dscwb.workbench.controls import Progress

REPLICATES = 400  # of the bootstrap: a share of 95 % is then known to about 1 %
REST_S = 0.5  # a hand rests that long before the whole grid is bootstrapped
PATIENCE_S = 0.5  # work that is over sooner shows no progress, which would only flicker


class _StoppedError(Exception):
    """The confidence of a study that is wanted no more."""


class Check:
    """The bootstrap of a whole grid, once a hand rests; a newer study ends that of an older one.

    Attributes:
        progress: How far it is, with a button that ends it.
    """

    def __init__(
        self, found: Callable[[Study, Confidence], None], stopped: Callable[[], None]
    ) -> None:
        """Wait for a study.

        Args:
            found: Called with each study whose check came to its end.
            stopped: Called when a person ended one.
        """
        self._found, self._stopped = found, stopped
        self._study: Study | None = None  # the one that is wanted
        self._unwanted: Study | None = None  # the one that a person stopped
        self.progress = Progress("How sure is every state?", self._stop)
        self.task: asyncio.Task[None] | None = None

    def begin(self, study: Study) -> None:
        """Check this study when the hand rests, unless a person stopped that before."""
        if self.task is not None:
            self.task.cancel()
        if study is self._unwanted:
            return
        self._study = study
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no notebook
            return
        self.task = loop.create_task(self._run(study))

    async def _run(self, study: Study) -> None:
        await asyncio.sleep(REST_S)
        loop, own = asyncio.get_running_loop(), asyncio.current_task()

        def progress(done: int, steps: int) -> None:
            # Cancelling a task does not end the thread that it waits for.
            if self.task is not own or study is self._unwanted:
                raise _StoppedError
            loop.call_soon_threadsafe(self.progress.say, done, steps)

        late = loop.call_later(PATIENCE_S, self.progress.show)
        try:
            found = await asyncio.to_thread(study.confidence, REPLICATES, progress=progress)
        except _StoppedError:
            return
        finally:
            late.cancel()
            if self.task is own:
                self.progress.show(False)
        self._found(study, found)

    def _stop(self) -> None:
        self._unwanted = self._study
        self._stopped()
