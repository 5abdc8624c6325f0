"""How sure every state is, found beside other work, so that undecided states can be hatched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dscwb.study import Study
from dscwb.study.confidence import Confidence

REPLICATES = 400  # of the bootstrap: a share of 95 % is then known to about 1 %
REST_S = 0.5  # a hand rests that long before the whole grid is bootstrapped
PATIENCE_S = 0.5  # work that is over sooner shows no progress, which would only flicker


class _StoppedError(Exception):
    """The confidence of a study that is wanted no more."""


class Hatching:
    """The bootstrap of a whole grid, once a hand rests; a newer study ends that of an older one.

    Attributes:
        task: What runs in the notebook's loop, if anything does.
    """

    def __init__(
        self, found: Callable[[Study, Confidence], None], told: Callable[[float], None]
    ) -> None:
        """Call `found` after a bootstrap that came to its end.

        `told` hears which share is done, and -1 when nobody works any more.
        """
        self._found, self._told = found, told
        self._stopped = False
        self.task: asyncio.Task[None] | None = None

    def begin(self, study: Callable[[], Study]) -> None:
        """Bootstrap this study when the hand rests."""
        if self.task is not None:
            self.task.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no notebook
            return
        self._stopped = False
        self.task = loop.create_task(self._run(study))

    def stop(self) -> None:
        """End it; the next study is asked about again."""
        self._stopped = True

    async def _run(self, asked: Callable[[], Study]) -> None:
        await asyncio.sleep(REST_S)
        loop, own, share = asyncio.get_running_loop(), asyncio.current_task(), 0.0
        study, patience = asked(), loop.time() + PATIENCE_S

        def progress(done: int, steps: int) -> None:
            nonlocal share
            # Cancelling a task does not end the thread that it waits for.
            if self.task is not own or self._stopped:
                raise _StoppedError
            now = round(done / steps, 2)
            if now != share and loop.time() >= patience:
                share = now
                loop.call_soon_threadsafe(self._told, share)

        try:
            found = await asyncio.to_thread(study.confidence, REPLICATES, progress=progress)
        except _StoppedError:
            return
        finally:
            if self.task is own:
                self._told(-1.0)
        self._found(study, found)
