"""Latency over the number of devices that share a server, a line for each strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dscwb.colours import FULL_OFFLOADING_COLOUR, NO_OFFLOADING_COLOUR
from dscwb.figures import layout
from dscwb.fleets.fleet import BEST_STATIC, BOUND, NO_REQUESTS, SELFISH
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

if TYPE_CHECKING:
    from dscwb.scaling.sizes import FleetSizes

LOOKS = {  # Okabe and Ito's, beside the two greys that these splits have in all figures
    SELFISH: ("rgb(0, 114, 178)", "solid", "circle"),
    NO_OFFLOADING: (NO_OFFLOADING_COLOUR, "solid", "square"),
    FULL_OFFLOADING: (FULL_OFFLOADING_COLOUR, "solid", "triangle-up"),
    BEST_STATIC: ("rgb(204, 121, 167)", "dash", "diamond"),
    BOUND: ("rgb(0, 158, 115)", "dot", "line-ew"),
}
OTHERS = ("rgb(230, 159, 0)", "rgb(86, 180, 233)", "rgb(240, 228, 66)")
DEADLINE = "rgb(213, 94, 0)"
NAMES = {
    SELFISH: "each its own controller (selfish)",
    NO_OFFLOADING: "all stay local",
    FULL_OFFLOADING: "all offload everything",
    BEST_STATIC: "best static split",
    BOUND: "no strategy stays below",
}
PANELS = {"mean_s": "Mean latency in s", "p99_s": "99th percentile of latency in s"}
PLOT, RIM_PX = 360, 1.6  # pixels; how much wider a line's rim is on each side
ABOVE = 15.0  # times the deadline: lines of a queue that grows for ever leave the plot there


def paying(sizes: FleetSizes, strategy: str, column: str = "mean_s") -> tuple[int, int]:
    """Between which numbers of devices a strategy stops being better than staying local.

    Returns:
        The number before which it is better throughout, itself the last (0 where it never is), and
        the next one of those that were run (0 where there is none). Numbers with which no request
        was counted do not count.
    """
    values: Any = sizes.table()[column]
    last = 0
    for number in sizes.numbers:
        own, local = values[strategy, number], values[NO_OFFLOADING, number]
        if own >= local:
            return last, number
        if own < local:
            last = number
    return last, 0


def looks(sizes: FleetSizes) -> dict[str, tuple[str, str, str, str]]:
    """Words, colour, dash and symbol of each strategy and of the bound."""
    others = iter(OTHERS * len(sizes.strategies))
    found = {}
    for name in (*sizes.strategies, BOUND):
        words = NAMES.get(name, layout.label(name))
        found[name] = (words, *(LOOKS.get(name) or (next(others), "solid", "cross")))
    return found


def heading(sizes: FleetSizes) -> str:
    """Which model, devices and server."""
    study = sizes.devices.study
    server = f"{study.server.provenance.machine()} ({study.server.provenance.origin})"
    return f"{study.edge.graph.model}: N × {sizes.devices.name} on {server}"


def plot_fleet(sizes: FleetSizes) -> go.Figure:
    """Mean and 99th percentile of latency over the number of devices, for each strategy.

    The vertical line stands at the first number at which offloading no longer pays: the mean of
    controllers (of full offloading, where there are none) is not below that of staying local.

    Args:
        sizes: What `fleet_sizes` gave.

    Raises:
        ValueError: No request was counted.
    """
    table: Any = sizes.table()
    if not table["requests"].any():
        raise ValueError(NO_REQUESTS)
    numbers = list(sizes.numbers)
    figure = make_subplots(cols=2, horizontal_spacing=0.13)
    drawn = [
        (name, column, table.loc[name].loc[numbers, value])
        for column, value in enumerate(PANELS, start=1)
        for name in sizes.strategies
    ]
    bound = table["bound_s"].groupby("number").first().loc[numbers]
    drawn.append((BOUND, 1, bound))
    look = looks(sizes)
    for name, column, seconds in drawn:
        words, colour, dash, symbol = look[name]
        line = {"x": numbers, "y": seconds, "legendgroup": name}
        rim = {"color": layout.RIM, "width": 2 + 2 * RIM_PX}
        if name == FULL_OFFLOADING:  # light grey on white would vanish
            quiet = {"hoverinfo": "skip", "showlegend": False, "mode": "lines", "meta": "rim"}
            figure.add_scatter(**line, **quiet, line=rim, row=1, col=column)
        told = f"<b>{words}</b>, %{{x}} devices<br>%{{y:.3~s}}s<extra></extra>"
        figure.add_scatter(
            **line,
            name=words,
            meta=name,
            mode="lines+markers",
            line={"color": colour, "width": 3 if name == SELFISH else 2, "dash": dash},
            marker={"symbol": symbol, "size": 8, "line": {"color": layout.RIM, "width": 1}},
            showlegend=column == 1,
            hovertemplate=told,
            row=1,
            col=column,
        )
    calm = [float(one[one <= ABOVE * sizes.deadline_s].max()) for *_, one in drawn if len(one)]
    top = max([sizes.deadline_s, *(one for one in calm if one == one)]) * 1.3
    low = min([sizes.deadline_s, *(float(one.min()) for *_, one in drawn)]) / 1.3
    for column, words in enumerate(PANELS.values(), start=1):
        figure.update_yaxes(layout.log_axis(low, top, "s", words.rpartition(" in ")[0]), col=column)
        figure.update_yaxes(title={"text": words, "standoff": 6}, col=column)
    figure.update_xaxes(layout.AXIS, title_text="Devices that share the server")
    figure.add_hline(sizes.deadline_s, line={"color": DEADLINE, "width": 1.5})
    gone = any((one > top).any() for *_, one in drawn)
    notes = ["Red: the deadline.", " What is cut off, or not seen, lies above." * gone]
    words, stop = _verdict(sizes)
    notes.append(" Dashed: offloading no longer pays." * bool(stop))
    if stop:
        figure.add_vline(stop, line={"color": layout.RIM, "width": 1.5, "dash": "dash"}, col=1)
    return layout.page(
        figure,
        (heading(sizes), words),
        ["".join(notes), sizes.label()],
        plot_px=PLOT,
        legend=layout.LEGEND_ABOVE,
        hovermode="closest",
    )


def _verdict(sizes: FleetSizes) -> tuple[str, int]:
    """The second line of the title, and the number that is marked; 0 where there is none."""
    who = next((one for one in (SELFISH, FULL_OFFLOADING) if one in sizes.strategies), None)
    if who is None or NO_OFFLOADING not in sizes.strategies:
        return f"{sizes.numbers[0]} to {sizes.numbers[-1]} devices", 0
    last, stop = paying(sizes, who)
    if not last:
        return f"offloading does not pay in the mean, not even with {stop}", stop
    if not stop:
        return f"offloading pays in the mean with up to {last} devices, the most that were run", 0
    return f"offloading pays in the mean with up to {last} devices, no longer with {stop}", stop
