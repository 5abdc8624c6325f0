"""How sure every state is, found beside other work, so that undecided states can be hatched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import ipywidgets as widgets

from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.workbench.controls import button

REPLICATES = 400  # of the bootstrap: a share of 95 % is then known to about 1 %
REST_S = 0.5  # a hand rests that long before the whole grid is bootstrapped
PATIENCE_S = 0.5  # work that is over sooner shows no progress, which would only flicker


class _StoppedError(Exception):
    """The confidence of a study that is wanted no more."""


class Hatching:
    """The bootstrap of a whole grid, once a hand rests; a newer study ends that of an older one.

    Attributes:
        widget: How far it is, with a button that ends it; out of sight between times.
        task: What runs in the notebook's loop, if anything does.
    """

    def __init__(
        self, found: Callable[[Study, Confidence], None], stopped: Callable[[], None]
    ) -> None:
        """Call `found` after a bootstrap that came to its end, `stopped` if a person ended it."""
        self._found, self._stopped = found, stopped
        self._wanted: Study | None = None
        self._unwanted: Study | None = None  # a person stopped it
        self.task: asyncio.Task[None] | None = None
        self._bar = widgets.FloatProgress(max=1.0, layout={"width": "120px"})
        label = widgets.Label("How sure is every state?")
        # Hidden, it keeps its place, so that nothing below jumps when it comes.
        self.widget = widgets.HBox([label, self._bar, button("Stop", "Leave it", self._stop)])
        self._show(False)

    def begin(self, study: Study) -> None:
        """Bootstrap this study when the hand rests, unless a person stopped that before."""
        if self.task is not None:
            self.task.cancel()
        if study is self._unwanted:
            return
        self._wanted = study
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
            loop.call_soon_threadsafe(setattr, self._bar, "value", done / steps)

        late = loop.call_later(PATIENCE_S, self._show)
        try:
            found = await asyncio.to_thread(study.confidence, REPLICATES, progress=progress)
        except _StoppedError:
            return
        finally:
            late.cancel()
            if self.task is own:
                self._show(False)
        self._found(study, found)

    def _show(self, visible: bool = True) -> None:
        self.widget.layout.visibility = "visible" if visible else "hidden"

    def _stop(self) -> None:
        self._unwanted = self._wanted
        self._stopped()
