"""A split that runs, to be watched in a notebook: the link has a slider, every request is a dot.

Server and link run in processes of their own, which end with this one; the client runs in a thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from itertools import pairwise
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from dscwb.running.live import Step, steps
from dscwb.running.rig import Rig
from dscwb.scenario import Link
from dscwb.showing import use_in_notebooks
from dscwb.toolbar import MODEBAR
from dscwb.traces import Trace
from dscwb.units import format_percent, format_rate, format_seconds, shown_name

DEFAULTS: dict[str, Any] = {
    "link": Link(round_trip_s=0.01),
    "input_encoding": "uint8",
    "feature_encoding": "int8",
    "device_slowdown": 8.0,
    "budget_s": 3.0,
    "at_once": True,
}
"""How `LiveSplit` measures: an image over a good radio link, a device much slower than the
computer that it is emulated on, and quickly."""
SHOWN = 300  # requests in the picture
REDRAW_S = 0.4
SLOWEST, FASTEST = 5.0, 9.0  # powers of ten of the slider, bit/s
DEVICE, SERVER, LINK = "rgb(64, 64, 64)", "rgb(20, 100, 200)", "rgb(0, 130, 90)"
SWITCH: dict[str, Any] = {
    "type": "line",
    "yref": "paper",
    "y0": 0,
    "y1": 1,
    "line": {"color": "rgba(130, 130, 130, 0.5)", "width": 1},
}


class LiveSplit(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A model that runs split on this machine, over a link whose rate one moves.

    Both ends are measured first, which takes some seconds; then the controller chooses before every
    request. The picture shows latencies executed and predicted, the data rate and what the
    controller took it for. `close` ends it; so does the end of the kernel.

    Example:
        In a notebook: ``live = dscwb.LiveSplit("mobilenetv3_small_100")``, then ``live``.
    """

    _thread: threading.Thread | None = None

    def __init__(
        self,
        model: str | Rig = "mobilenetv3_small_100",
        *,
        data_rate_bps: float = 20e6,
        trace: Trace | None = None,
        every_s: float = 0.1,
        deadline_s: float = 1.0,
        **measured: Any,
    ) -> None:
        """Measure both ends, connect them, and begin.

        Args:
            model: A timm name or a ``.pt2`` file; or a rig, which is measured already.
            data_rate_bps: Of the link at first, bit/s; the controller expects it too, at first and
                whenever it has heard nothing from the server for a while.
            trace: Played, over and over, until the slider is moved.
            every_s: Seconds between two requests.
            deadline_s: After so long without an answer the device ends a request itself.
            measured: For `Rig.measured`, in place of `DEFAULTS`.

        Raises:
            RuntimeError: A measurement failed; says why.
            TypeError: A rig, and how to measure one.
        """
        if isinstance(model, Rig) and measured:
            raise TypeError(f"the rig is measured already; leave out {', '.join(measured)}.")
        self.rig = model if isinstance(model, Rig) else Rig.measured(model, **DEFAULTS | measured)
        self.study = self.rig.study
        self.controller = self.rig.controller(data_rate_bps)
        self._deadline_s, self._trace, self._every_s = deadline_s, trace, every_s
        self.steps: deque[Step] = deque(maxlen=10_000)
        self.failed: BaseException | None = None
        self._stop, self._news = threading.Event(), threading.Condition()
        self._count, self._over = 0, False
        self._rate = widgets.FloatLogSlider(
            value=data_rate_bps,
            min=SLOWEST,
            max=FASTEST,
            step=0.05,
            description="Link",
            readout=False,
            layout={"width": "50%"},
        )
        self._shown = widgets.Label(layout={"width": "8em"})
        self._down = widgets.ToggleButton(description="Link down", tooltip="Cut the connection")
        self._words = widgets.HTML("Server, link and client start ...")
        self._figure = _figure()
        self._show_rate(data_rate_bps)
        self._rate.observe(self._moved, "value")
        self._thread = threading.Thread(target=self._run, name="dscwb-live", daemon=True)
        controls = widgets.HBox([self._rate, self._shown, self._down])
        super().__init__([controls, self._words, self._figure])
        self._thread.start()

    def close(self) -> None:
        """End client, link and server; the picture stays."""
        if self._thread is None:  # the measurement failed
            return
        self._stop.set()
        self._thread.join()
        self._rate.disabled = self._down.disabled = True

    def wait(self, requests: int, seconds: float = 60.0) -> None:
        """Come back once so many more requests were answered, or after so long.

        An interrupt of the cell ends the run.
        """
        aim = self._count + requests
        try:
            with self._news:  # not `join`, which in Python 3.11 takes an interrupt for the end
                self._news.wait_for(lambda: self._count >= aim or self._over, seconds)
        except KeyboardInterrupt:
            self.close()
            raise

    def figure(self) -> go.Figure:
        """What the picture shows now, as a plain figure that stays as it is."""
        use_in_notebooks()
        return go.Figure(self._figure)

    def _moved(self, _: Any) -> None:
        self._trace = None  # whoever takes the slider has the link
        self._show_rate(self._rate.value)

    def _show_rate(self, data_rate_bps: float) -> None:
        self._shown.value = format_rate(data_rate_bps, in_bytes=False)

    def _run(self) -> None:
        try:
            began_bps = self._rate.value
            with self.rig.running(began_bps, deadline_s=self._deadline_s) as (client, link):

                def rate(now_s: float) -> float:
                    if self._down.value:
                        link.cut()
                        return 0.0
                    link.restore()
                    wanted = self._trace.at(now_s, repeat=True) if self._trace else self._rate.value
                    link.set_rate(wanted)
                    return float(wanted)

                inputs = self.rig.captured.inputs(1)
                running = steps(
                    client, self.study, self.controller, inputs, rate, every_s=self._every_s
                )
                drawn_s = 0.0
                for step in running:
                    self.steps.append(step)
                    with self._news:
                        self._count += 1
                        self._news.notify_all()
                    if time.monotonic() - drawn_s > REDRAW_S:
                        self._draw()
                        drawn_s = time.monotonic()
                    if self._stop.is_set():
                        self._draw()
                        return
        except BaseException as error:
            self.failed = error
            self._words.value = f"<b>The run has ended:</b> {error}"
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()

    def _draw(self) -> None:
        shown = list(self.steps)[-SHOWN:]
        self._words.value = self._said(shown)
        times, server, device, told, alone, real, taken = _columns(shown)
        with self._figure.batch_update():
            columns = (server, device, told, alone, real, taken)
            for trace, values in zip(self._figure.data, columns, strict=True):
                trace.x, trace.y = times, values
            for trace in self._figure.data[:2]:
                trace.text = [step.answer.why or shown_name(step.answer.split) for step in shown]
            self._figure.layout.shapes = [
                SWITCH | {"x0": b.time_s, "x1": b.time_s}
                for a, b in pairwise(shown)
                if a.answer.split != b.answer.split
            ]
        if self._trace:
            self._show_rate(shown[-1].data_rate_bps)

    def _said(self, shown: list[Step]) -> str:
        """The last request, the controller's view, and how good the predictions were."""
        last, slowdown = shown[-1], self.study.scenario.device_slowdown
        apart = sorted(
            abs(step.answer.total_s / step.predicted_s - 1)
            for step in shown
            if not step.answer.why and math.isfinite(step.predicted_s)
        )
        error = format_percent(apart[len(apart) // 2]) if apart else "–"
        back = sum(bool(step.answer.why) for step in shown)
        link = format_rate(last.data_rate_bps, in_bytes=False) if last.data_rate_bps else "down"
        taken = format_rate(last.estimate_bps, in_bytes=False)
        return (
            f"<div style='line-height: 1.5'><b>{shown_name(last.answer.split)}</b>: "
            f"{format_seconds(last.answer.total_s)}, predicted {format_seconds(last.predicted_s)}, "
            f"without the server {format_seconds(last.on_device_s)}<br>"
            f"Link {link}, taken for {taken}; server load {last.server_load:.2f}; "
            f"{last.switches} switches (grey lines)<br>"
            f"Last {len(shown)} requests: median error {error}; {back} finished on the device for "
            f"want of an answer<br>"
            f"Emulated on one machine: server, link, and a device {slowdown:g} × slower</div>"
        )


def _columns(steps: list[Step]) -> tuple[list[Any], ...]:
    """Times, and what each line of the picture has there, None for nothing."""
    rows = (
        (
            step.time_s,
            1e3 * step.answer.total_s if step.answer.where == "server" else None,
            1e3 * step.answer.total_s if step.answer.where == "device" else None,
            1e3 * step.predicted_s if math.isfinite(step.predicted_s) else None,
            1e3 * step.on_device_s,
            step.data_rate_bps / 1e6 or None,
            step.estimate_bps / 1e6 or None,
        )
        for step in steps
    )
    return tuple(map(list, zip(*rows, strict=True)))


def _figure() -> go.FigureWidget:
    """Latency above, data rate below, on one axis of time."""
    executed = {"mode": "markers", "hovertemplate": "%{text}<br>%{y:.1f} ms<extra></extra>"}
    rates = {"yaxis": "y2", "legend": "legend2"}
    traces = [
        go.Scatter(name="by the server", marker={"size": 5, "color": SERVER}, **executed),
        go.Scatter(name="by the device", marker={"size": 5, "color": DEVICE}, **executed),
        go.Scatter(
            name="predicted", line={"color": "rgb(230, 130, 0)", "width": 1.5, "shape": "hv"}
        ),
        go.Scatter(name="no offloading, predicted", line={"color": DEVICE, "dash": "dot"}),
        go.Scatter(name="link", line={"color": LINK, "shape": "hv"}, **rates),
        go.Scatter(name="taken for", line={"color": LINK, "dash": "dot", "shape": "hv"}, **rates),
    ]
    legend = {"orientation": "h", "yanchor": "bottom", "x": 0}
    return go.FigureWidget(
        traces,
        layout={
            "template": "plotly_white",
            "autosize": True,
            "height": 440,
            "modebar": MODEBAR,
            "margin": {"l": 64, "r": 16, "t": 30, "b": 44},
            "legend": legend | {"y": 1.01},
            "legend2": legend | {"y": 0.33},
            "xaxis": {"title": {"text": "Time in s"}, "anchor": "y2", "rangemode": "tozero"},
            "yaxis": {
                "title": {"text": "Latency in ms"},
                "domain": [0.44, 1],
                "rangemode": "tozero",
            },
            "yaxis2": {
                "title": {"text": "Data rate in Mbit/s"},
                "type": "log",
                "range": [SLOWEST - 6.1, FASTEST - 5.9],
                "dtick": 1,
                "domain": [0, 0.32],
            },
        },
    )
