"""Five linked views on the screen, at the speed of the hand.

A study travels to the browser once, as a few words and arrays; of a slider that moves only the
point does. All of it stands in synchronised traits, so that after a reload of the page the picture
is that of the kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.workbench.picture import mark, model_picture, picture
from dscwb.workbench.state import State

HERE = Path(__file__).parent
SCRIPTS = ("study.js", "old_pen.js", "drawing.js", "canvas.js")
"""The browser's side, in the order in which it reads it: one module."""


class Canvas(anywidget.AnyWidget):
    """Map of splits, map of gains, latency over rate, its parts, and compression over depth.

    Attributes:
        scene: This and the arrays as `picture.picture` says.
        at: The point shown, as in `picture.mark`.
        clicked: What a person last pointed at in a map: ``batch_size``, ``data_rate_bps`` and a
            ``serial`` number, since one may point twice at the same place.
    """

    _esm = "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)
    _css = HERE / "canvas.css"

    scene = traitlets.Dict().tag(sync=True)
    lines = traitlets.Bytes().tag(sync=True)
    probability = traitlets.Bytes().tag(sync=True)
    doubt = traitlets.Bytes().tag(sync=True)
    at = traitlets.Dict().tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)

    _model: tuple[Any, ...] = (None, "", {})
    """Graph, granularity and picture of the model shown last."""

    def picture(
        self,
        study: Study,
        state: State,
        confidence: Confidence | None,
        answer: str,
        *,
        moved: bool = False,
    ) -> dict[str, Any]:
        """What the traits must be to show a state; they stay as they are.

        Confidence is that of the study: undecided states are hatched, fragile ones dotted. The
        answer is for those who do not see the picture. Where only the point has `moved`, the rest
        is shown already.

        Raises:
            ValueError: The baseline is not a candidate.
        """
        at = mark(study, state, answer)
        if moved:
            return {"at": at}
        graph, granularity = study.edge.graph, study.granularity
        if self._model[0] is not graph or self._model[1] != granularity:
            self._model = graph, granularity, model_picture(graph, granularity)
        return picture(study, self._model[2], state.baseline, confidence) | {"at": at}
