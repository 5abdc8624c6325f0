"""Five linked views on the screen, at the speed of the hand: a study goes in, a widget comes out.

A study travels to the browser once, as a few words and arrays; of a slider that moves only the
state does. All of it stands in synchronised traits, so that after a reload of the page the picture
is that of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from dscwb.latency import NO_OFFLOADING
from dscwb.study.sweeps import Study
from dscwb.workbench.look import Look
from dscwb.workbench.scene import Doubt, Scene, scene_of

State = tuple[int, float]
"""Batch size, data rate in bit/s."""
Clicked = Callable[[float, int], None]
"""Called with data rate in bit/s and batch size."""

HERE = Path(__file__).parent
SCRIPTS = ("drawing.js", "canvas.js")
"""The browser's side, in the order in which it reads it: one module, for one file would be long."""


class CanvasWidget(anywidget.AnyWidget):
    """The browser's side of `CanvasView`.

    Attributes:
        scene: `Scene.summary`.
        lines: `Scene.lines`, float32.
        gain: `Scene.gain`, float32.
        probability: `Scene.probability`, float32.
        doubt: `Scene.doubt`, uint8.
        at: The state shown: ``batch_size``, ``data_rate_bps``, and ``answer``, what it means in
            words.
        clicked: What a person last pointed at in a map: ``batch_size``, ``data_rate_bps`` and a
            ``serial`` number, since one may point twice at the same place.
    """

    _esm = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)

    scene = traitlets.Dict().tag(sync=True)
    lines = traitlets.Bytes().tag(sync=True)
    gain = traitlets.Bytes().tag(sync=True)
    probability = traitlets.Bytes().tag(sync=True)
    doubt = traitlets.Bytes().tag(sync=True)
    at = traitlets.Dict().tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)


class CanvasView:
    """Map of splits, map of gains, latency over rate, its parts, and compression over depth.

    Made once and updated in place: `show` for another study or baseline, `move` for another state.

    Attributes:
        widget: What to put into a layout.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.widget = CanvasWidget()
        self._look: Look | None = None
        self._batch_sizes: tuple[int, ...] = ()
        self._handlers: list[Clicked] = []
        self.widget.observe(self._hear, "clicked")

    def show(
        self,
        study: Study,
        *,
        state: State,
        baseline: str = NO_OFFLOADING,
        confidence: Doubt | None = None,
        answer: str = "",
    ) -> None:
        """Draw a study, in one message.

        Args:
            study: What to draw.
            state: Batch size and data rate in bit/s to mark.
            baseline: What the gain is over, as in `States.baseline_split`.
            confidence: Of this study; undecided states are hatched, fragile ones dotted.
            answer: What the state means in words, for those who do not see the picture.

        Raises:
            ValueError: The baseline is not a candidate, the batch size is not one of the study's,
                or the confidence is of another grid. Then nothing changes.
        """
        study.row(state[0])
        look = self._look
        if look is None or not look.fits(study):
            look = Look.of(study.edge.graph, study.scenario.granularity)
        scene = scene_of(study, look, baseline, confidence)
        self._look, self._batch_sizes = look, study.batch_sizes
        with self.widget.hold_sync():
            self._send(scene)
            self.widget.at = _at(state, answer)

    def move(self, state: State, answer: str = "") -> None:
        """Mark another state of the same study, in a small message.

        Raises:
            ValueError: Nothing is shown yet, or the batch size is not one of the study's.
        """
        if state[0] not in self._batch_sizes:
            raise ValueError(
                f"Batch size {state[0]} is not shown: {list(self._batch_sizes)}; call show() with "
                "a study that has it."
            )
        self.widget.at = _at(state, answer)

    def on_click(self, handler: Clicked) -> None:
        """Call with the data rate in bit/s and the batch size that a person points at.

        A click, a drag and the arrow keys of a focused map all do; it is for the handler to call
        `move`.
        """
        self._handlers.append(handler)

    def _send(self, scene: Scene) -> None:
        self.widget.scene = scene.summary()
        self.widget.lines = _bytes(scene.lines)
        self.widget.gain = _bytes(scene.gain)
        self.widget.probability = _bytes(scene.probability)
        self.widget.doubt = _bytes(scene.doubt)

    def _hear(self, change: Any) -> None:
        wanted = change["new"]
        if wanted.get("batch_size") in self._batch_sizes:  # not from a study that is gone
            for handler in self._handlers:
                handler(float(wanted["data_rate_bps"]), int(wanted["batch_size"]))


def _at(state: State, answer: str) -> dict[str, Any]:
    return {"batch_size": int(state[0]), "data_rate_bps": float(state[1]), "answer": answer}


def _bytes(array: NDArray[Any]) -> bytes:
    """Little-endian, as every browser reads it."""
    return array.astype(np.dtype(array.dtype).newbyteorder("<")).tobytes()
