"""Views of the workbench by plotly: a study and a state go in, figures on the screen come out.

A figure on the screen is made once and updated in place: each one costs the browser seconds and
megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Protocol

import anywidget
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from dscwb.figures import (
    mark_state,
    plot_compression,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_maps,
)
from dscwb.figures.maps import GAIN, MAP
from dscwb.figures.page import CONFIG
from dscwb.study.confidence import Confidence
from dscwb.study.sweeps import Study

Position = tuple[int, float]
"""Batch size, data rate in bit/s."""
Clicked = Callable[[float, int], None]
"""Called with the data rate in bit/s and the batch size of a place in a map."""


class View(Protocol):
    """The pictures on the screen."""

    @property
    def widget(self) -> Any:
        """What to put into a layout."""

    def show(
        self,
        study: Study,
        *,
        state: Position,
        baseline: str,
        confidence: Confidence | None = None,
        answer: str = "",
    ) -> None:
        """Draw a study, with a state marked; `answer` says it in words."""

    def move(self, state: Position, answer: str = "") -> None:
        """Mark another state of the study shown."""

    def on_click(self, clicked: Clicked) -> None:
        """Call with the state of each place in a map that is clicked."""


class LiveFigure(go.FigureWidget):  # type: ignore[misc]
    """A FigureWidget whose full state is what it shows now.

    plotly sends updates as messages and leaves the synchronised traits as they were at the start,
    so that after a reload of the page the browser would draw the first figure again.
    """

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state that the browser asks for when it opens the page."""
        if key is None and hasattr(self, "_layout_obj"):  # not yet while being made
            # Behind traitlets' back: announcing it would send the whole figure to every view.
            self._trait_values["_widget_data"] = deepcopy(self._data)
            self._trait_values["_widget_layout"] = deepcopy(self._layout_obj._props)
        return super().get_state(key, drop_defaults)


class FrontEnd(anywidget.AnyWidget):
    """An empty element that mends two things in the browser.

    As an anywidget, a FigureWidget is drawn before it stands anywhere, 700 pixels wide, and hears
    only of changes of the whole window, not of a side bar that opens. And JupyterLab takes the
    arrow keys of a focused list of choices for itself and moves to another cell; Notebook 7 takes
    those of a slider as well.
    """

    _esm = """
    export default {
      render({ el }) {
        el.style.display = "none";
        const observer = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
        const known = new WeakSet();
        const look = () => document.querySelectorAll(".js-plotly-plot").forEach((plot) => {
          if (known.has(plot)) return;
          known.add(plot);
          observer.observe(plot);
        });
        // A plot may be drawn before this runs and stand in the page only after it.
        const arrivals = new MutationObserver(look);
        arrivals.observe(document.body, { childList: true, subtree: true });
        look();
        // Decided key by key, before JupyterLab looks: Ctrl+S is JupyterLab's own.
        const keep = ({ target, altKey, ctrlKey, metaKey }) => {
          if (!target.matches?.(".dscwb select, .dscwb .noUi-handle")) return;
          if (altKey || ctrlKey || metaKey) delete target.dataset.lmSuppressShortcuts;
          else target.dataset.lmSuppressShortcuts = "";
        };
        window.addEventListener("keydown", keep, true);
        return () => {
          observer.disconnect();
          arrivals.disconnect();
          window.removeEventListener("keydown", keep, true);
        };
      },
    };
    """


class PlotlyView:
    """Both maps as one FigureWidget, updated in place; the fallback where no canvas can be had."""

    def __init__(self) -> None:
        """Start empty: the figure is made with the first study, since nothing is added later."""
        self.widget = widgets.VBox()
        self._shown: go.Figure
        self._clicked: list[Clicked] = []

    def show(
        self,
        study: Study,
        *,
        state: Position,
        baseline: str,
        confidence: Confidence | None = None,
        answer: str = "",
    ) -> None:
        """Send what differs from the figure before, in one message.

        Only that: giving plotly the whole figure takes it three times as long, and would undo a
        zoom that has nothing to do with the change.
        """
        figure = plot_maps(study, baseline=baseline, state=state, confidence=confidence)
        self._study = study
        if not hasattr(self, "figure"):
            self._open(figure)
            return
        before, after = (one.layout.to_plotly_json() for one in (self._shown, figure))
        with self.figure.batch_update():
            for i, (old, new) in enumerate(zip(self._shown.data, figure.data, strict=True)):
                for path, value in differences(old.to_plotly_json(), new.to_plotly_json()):
                    self.figure.data[i][path] = value
            for path, value in differences(before, after):
                self.figure.layout[path] = value
        self._shown = figure

    def move(self, state: Position, answer: str = "") -> None:
        """Change a few values in one message."""
        with self.figure.batch_update():
            mark_state(self.figure, self._study, state)
        mark_state(self._shown, self._study, state)

    def on_click(self, clicked: Clicked) -> None:
        """Call with the state of each place in a map that is clicked."""
        self._clicked.append(clicked)

    def _open(self, figure: go.Figure) -> None:
        self.figure = LiveFigure(figure)
        self.figure._config = CONFIG
        self._shown = figure
        for name in (MAP, GAIN):
            for one in self.figure.select_traces({"name": name}):
                one.on_click(self._hear)
        self.widget.children = (self.figure,)

    def _hear(self, _: Any, points: Any, __: Any) -> None:
        if not points.xs:  # plotly tells every trace of every click
            return
        size = sorted(self._study.batch_sizes)[round(points.ys[0])]
        for clicked in self._clicked:
            clicked(points.xs[0], size)


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Where two figures' properties differ: paths as plotly writes them, and the new values."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key, value in new.items():
            yield from differences(old.get(key), value, f"{path}.{key}" if path else key)
    elif _records(old) and _records(new) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}[{i}]")
    elif not (old is new or np.array_equal(_comparable(old), _comparable(new))):
        yield path, new


def _records(value: Any) -> bool:
    """A list such as that of annotations."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


def _comparable(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=object)


class StaticView:
    """All figures drawn anew at each change, for front ends that have trouble with live ones.

    Clicks are not heard.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.widget = widgets.Output()

    def show(
        self,
        study: Study,
        *,
        state: Position,
        baseline: str,
        confidence: Confidence | None = None,
        answer: str = "",
    ) -> None:
        """Replace the figures."""
        self._study = study
        self._maps = plot_maps(study, baseline=baseline, state=state, confidence=confidence)
        self._compression = plot_compression(study.edge.graph)
        self._draw(state)

    def move(self, state: Position, answer: str = "") -> None:
        """Draw all of it again."""
        mark_state(self._maps, self._study, state)
        self._draw(state)

    def on_click(self, clicked: Clicked) -> None:
        """Nothing is heard here."""

    def _draw(self, state: Position) -> None:
        batch_size, data_rate_bps = state
        figures = (
            self._maps,
            plot_latency_vs_rate(self._study, batch_size, state=state),
            plot_latency_breakdown(self._study, batch_size, data_rate_bps),
            self._compression,
        )
        self.widget.outputs = tuple(_output(figure) for figure in figures)


def _output(figure: go.Figure) -> dict[str, Any]:
    data = {
        "application/vnd.plotly.v1+json": json.loads(str(figure.to_json())),
        # Colab knows only this one.
        "text/html": figure.to_html(full_html=False, include_plotlyjs="cdn", config=CONFIG),
    }
    return {"output_type": "display_data", "data": data, "metadata": {}}
