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

SHOWN = 300  # requests in the picture
REDRAW_S = 0.4
SLOWEST, FASTEST = 5.0, 9.0  # powers of ten of the slider, bit/s
DEVICE, SERVER = "rgb(64, 64, 64)", "rgb(20, 100, 200)"


class LiveSplit(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A model that runs split on this machine, over a link whose rate one moves.

    Both ends are measured first, which takes some seconds; then the controller chooses before every
    request. The picture shows latencies executed and predicted, the data rate and what the
    controller took it for. `close` ends it; so does the end of the kernel.

    Example:
        In a notebook: ``live = dscwb.LiveSplit("mobilenetv3_small_100")``, then ``live``.
    """

    def __init__(
        self,
        model: str = "mobilenetv3_small_100",
        *,
        data_rate_bps: float = 20e6,
        round_trip_s: float = 0.01,
        trace: Trace | None = None,
        input_encoding: str = "uint8",
        feature_encoding: str = "int8",
        device_slowdown: float = 8.0,
        every_s: float = 0.1,
        deadline_s: float = 1.0,
        budget_s: float = 3.0,
    ) -> None:
        """Measure both ends, connect them, and begin.

        Args:
            model: A timm name or a ``.pt2`` file.
            data_rate_bps: Of the link at first, bit/s.
            round_trip_s: Of the link, seconds.
            trace: Played, over and over, until the slider is moved.
            input_encoding: How the input is sent.
            feature_encoding: How features are sent.
            device_slowdown: Emulates a device that is so many times slower than this machine.
            every_s: Seconds between two requests.
            deadline_s: After so long without an answer the device ends a request itself.
            budget_s: Seconds of measuring at each end.

        Raises:
            RuntimeError: The server did not start.
        """
        self.rig = Rig.measured(
            model,
            budget_s=budget_s,
            at_once=True,
            link=Link(round_trip_s=round_trip_s),
            device_slowdown=device_slowdown,
            input_encoding=input_encoding,
            feature_encoding=feature_encoding,
        )
        self.study = self.rig.study
        self.controller = self.rig.controller(data_rate_bps)
        self._deadline_s, self._trace, self._every_s = deadline_s, trace, every_s
        self.steps: deque[Step] = deque(maxlen=10_000)
        self.failed: BaseException | None = None
        self._stop, self._count = threading.Event(), 0
        self._rate = widgets.FloatLogSlider(
            value=data_rate_bps,
            min=SLOWEST,
            max=FASTEST,
            step=0.05,
            description="Link",
            readout=False,
            layout={"width": "60%"},
        )
        self._rate.observe(self._moved, "value")
        self._down = widgets.ToggleButton(description="Link down", tooltip="Cut the connection")
        self._words = widgets.HTML()
        self._figure = _figure()
        self._thread = threading.Thread(target=self._run, name="dscwb-live", daemon=True)
        super().__init__([widgets.HBox([self._rate, self._down]), self._words, self._figure])
        self._thread.start()

    def close(self) -> None:
        """End client, link and server; the picture stays."""
        self._stop.set()
        self._thread.join()
        self._rate.disabled = self._down.disabled = True

    def wait(self, requests: int, seconds: float = 60.0) -> None:
        """Come back once so many more requests were answered, or after so long.

        An interrupt of the cell ends the run.
        """
        aim, end_s = self._count + requests, time.monotonic() + seconds
        try:
            while self._count < aim and self._thread.is_alive() and time.monotonic() < end_s:
                self._thread.join(0.05)
        except KeyboardInterrupt:
            self.close()
            raise

    def figure(self) -> go.Figure:
        """What the picture shows now, as a plain figure that stays as it is."""
        use_in_notebooks()
        return go.Figure(self._figure)

    def _moved(self, _: Any) -> None:
        self._trace = None  # whoever takes the slider has the link

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
                    self._count += 1
                    if time.monotonic() - drawn_s > REDRAW_S:
                        self._draw()
                        drawn_s = time.monotonic()
                    if self._stop.is_set():
                        return
        except BaseException as error:
            self.failed = error
            self._words.value = f"<b>The run has ended:</b> {error}"

    def _draw(self) -> None:
        shown = list(self.steps)[-SHOWN:]
        last, answers = shown[-1], [step.answer for step in shown]
        times = [step.time_s for step in shown]
        back = sum(bool(answer.why) for answer in answers)
        apart = sorted(
            abs(step.answer.total_s / step.predicted_s - 1)
            for step in shown
            if not step.answer.why and math.isfinite(step.predicted_s)
        )
        slowdown = self.study.scenario.device_slowdown
        error = format_percent(apart[len(apart) // 2]) if apart else "–"
        self._words.value = (
            f"<b>{shown_name(last.answer.split)}</b> in {format_seconds(last.answer.total_s)}, "
            f"predicted {format_seconds(last.predicted_s)}; without the server "
            f"{format_seconds(last.on_device_s)}.<br>"
            f"Link {format_rate(last.data_rate_bps)}, taken for {format_rate(last.estimate_bps)}; "
            f"server load {last.server_load:.2f}; {last.switches} switches, {back} of the last "
            f"{len(shown)} finished on the device for want of an answer; median error {error}. "
            f"Emulated: server, link and device, {slowdown:g} × slower, on one machine."
        )
        executed, told, alone, real, taken = self._figure.data
        with self._figure.batch_update():
            executed.x = told.x = alone.x = real.x = taken.x = times
            executed.y = [1e3 * answer.total_s for answer in answers]
            executed.marker.color = [SERVER if x.where == "server" else DEVICE for x in answers]
            executed.text = [x.why or shown_name(x.split) for x in answers]
            told.y = [1e3 * step.predicted_s for step in shown]
            alone.y = [1e3 * step.on_device_s for step in shown]
            real.y = [step.data_rate_bps / 1e6 or None for step in shown]
            taken.y = [step.estimate_bps / 1e6 or None for step in shown]
            self._figure.layout.shapes = [
                {
                    "type": "line",
                    "x0": b.time_s,
                    "x1": b.time_s,
                    "y0": 0,
                    "y1": 1,
                    "yref": "y domain",
                    "line": {"color": "rgba(130, 130, 130, 0.5)", "width": 1},
                }
                for a, b in pairwise(shown)
                if a.answer.split != b.answer.split
            ]


def _figure() -> go.FigureWidget:
    """Latency above, data rate below, on one axis of time."""
    hover = "%{text}<br>%{y:.1f} ms<extra></extra>"
    traces = [
        go.Scatter(
            name="executed (blue: server, grey: device)",
            mode="markers",
            marker={"size": 5},
            hovertemplate=hover,
        ),
        go.Scatter(
            name="predicted", line={"color": "rgb(230, 130, 0)", "width": 1.5, "shape": "hv"}
        ),
        go.Scatter(name="no offloading, predicted", line={"color": DEVICE, "dash": "dot"}),
        go.Scatter(name="link", yaxis="y2", line={"color": "rgb(0, 130, 90)", "shape": "hv"}),
        go.Scatter(name="taken for", yaxis="y2", line={"color": "rgb(0, 130, 90)", "dash": "dot"}),
    ]
    return go.FigureWidget(
        traces,
        layout={
            "template": "plotly_white",
            "modebar": MODEBAR,
            "height": 460,
            "margin": {"l": 64, "r": 16, "t": 40, "b": 44},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "xaxis": {"title": {"text": "Time in s"}, "anchor": "y2"},
            "yaxis": {
                "title": {"text": "Latency in ms"},
                "domain": [0.42, 1],
                "rangemode": "tozero",
            },
            "yaxis2": {
                "title": {"text": "Data rate in Mbit/s"},
                "type": "log",
                "tickvals": [digit * 10.0**power for power in range(-1, 4) for digit in (1, 3)],
                "domain": [0, 0.32],
            },
        },
    )
