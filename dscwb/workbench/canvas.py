"""Five linked views on the screen, at the speed of the hand.

A study travels to the browser once, as a few words and arrays; of a slider that moves only the
state does. All of it stands in synchronised traits, so that after a reload of the page the picture
is that of the kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from dscwb.study.confidence import Confidence
from dscwb.study.sweeps import Study
from dscwb.workbench.look import Look
from dscwb.workbench.scene import scene_of
from dscwb.workbench.state import State

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

    Attributes:
        widget: What to put into a layout.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.widget = CanvasWidget()
        self._look: Look | None = None

    def picture(
        self,
        study: Study,
        state: State,
        confidence: Confidence | None,
        answer: str,
        *,
        moved: bool = False,
    ) -> dict[str, Any]:
        """What the widget's traits must be to show a state; the widget stays as it is.

        Args:
            study: What to draw.
            state: Batch size and data rate to mark, and what the gain is over.
            confidence: Of this study; undecided states are hatched, fragile ones dotted.
            answer: What the state means in words, for those who do not see the picture.
            moved: Whether the study is shown already, with this baseline and confidence.

        Raises:
            ValueError: The baseline is not a candidate, or the confidence is of another grid.
        """
        at = {
            "batch_size": state.batch_size,
            "data_rate_bps": float(state.data_rate_bps),
            "answer": answer,
        }
        if moved:
            return {"at": at}
        if self._look is None or not self._look.fits(study):
            self._look = Look.of(study.edge.graph, study.scenario.granularity)
        scene = scene_of(study, self._look, state.baseline, confidence)
        arrays = {name: getattr(scene, name) for name in ("lines", "gain", "probability", "doubt")}
        return {
            "scene": scene.summary(),
            # Little-endian, as every browser reads it.
            **{
                k: a.astype(np.dtype(a.dtype).newbyteorder("<")).tobytes()
                for k, a in arrays.items()
            },
            "at": at,
        }
