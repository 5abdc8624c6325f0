"""Two objectives at once: the trade-offs of one state go in, a figure of their front comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.axes import NAME_CHARACTER, formatted, left_out, log_axis, short_rate, shortened
from dscwb.figures.colours import split_colours
from dscwb.figures.page import ASSUMED_WIDTH, MARGIN_LEFT, MARGIN_RIGHT, Template, set_page, title
from dscwb.scenario import PowerModel
from dscwb.study.sweeps import Study
from dscwb.study.tradeoffs import COLUMNS, ENERGY, tradeoffs

Floats = NDArray[np.float64]

PLOT = 380  # pixels
FRONT, OTHERS, STAIRCASE = "not dominated", "dominated", "front"
GREY, RIM = "rgba(130, 130, 130, 0.7)", "rgb(110, 110, 110)"
LABEL_LINE, CLEAR = 15, 8  # pixels: height of a label, and its distance from its point
ZERO_GAP = 0.5  # decades below the smallest number above zero at which zero is drawn
WORDS = {
    "latency_s": ("Latency", "s"),
    "payload_bytes": ("Payload", "B"),
    "server_s": ("Server time", "s"),
    ENERGY: ("Device energy", "J"),
}
"""Axis title and unit of each objective."""
SIDES = {
    "top right": (0.0, 1.0),
    "top left": (-1.0, 1.0),
    "bottom right": (0.0, -1.0),
    "bottom left": (-1.0, -1.0),
    "top center": (-0.5, 1.0),
    "bottom center": (-0.5, -1.0),
}
"""Where a label may stand: left edge in its widths, and side, seen from its point."""


@dataclass(frozen=True, eq=False)
class ParetoNumbers:
    """Numbers of `plot_pareto`, one entry a candidate with times, from input to output.

    Attributes:
        splits: Indices into the study's candidates.
        names: Their names.
        x: The first objective in SI units.
        y: The second one.
        front: True where no other candidate dominates in these two.
        drawn_x: x with zeros moved to where they are drawn on a logarithmic axis.
        drawn_y: y in the same way.
        words: All numbers of each, for its hover.
    """

    splits: tuple[int, ...]
    names: tuple[str, ...]
    x: Floats
    y: Floats
    front: NDArray[np.bool_]
    drawn_x: Floats
    drawn_y: Floats
    words: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """A name beside its point: box in pixels from the plot's lower left corner.

    Attributes:
        index: Which point.
        side: plotly's word for the place.
        left: Left edge.
        bottom: Lower edge.
        width: Width of the box.
    """

    index: int
    side: str
    left: float
    bottom: float
    width: float

    def touches(self, other: Label) -> bool:
        """Whether two boxes overlap."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and abs(self.bottom - other.bottom) < LABEL_LINE
        )

    def covers(self, x: float, y: float) -> bool:
        """Whether a point lies in or near the box."""
        return (
            self.left - 4 < x < self.left + self.width + 4
            and self.bottom - 4 < y < self.bottom + LABEL_LINE + 4
        )


def plot_pareto(
    study: Study,
    batch_size: int,
    data_rate_bps: float,
    *,
    x: str = "payload_bytes",
    y: str = "latency_s",
    power: PowerModel | None = None,
    template: Template = None,
    width: int | None = None,
) -> go.Figure:
    """Every candidate in two objectives, the front of those that no other one beats in both.

    Args:
        study: What to draw.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.
        x: Objective on the horizontal axis, a column of `tradeoffs`: ``latency_s``,
            ``payload_bytes``, ``server_s`` or, with a power model, ``device_energy_j``.
        y: Objective on the vertical axis.
        power: What the device draws; the scenario's when left out.
        template: plotly's template; its default when left out.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: An unknown column, twice the same one, a batch size off the grid, a rate not
            above zero.
    """
    info = pareto_numbers(study, batch_size, data_rate_bps, x, y, power)
    across, up = _axis(info.x, x), _axis(info.y, y)
    plot_width = (width or ASSUMED_WIDTH) - MARGIN_LEFT - MARGIN_RIGHT
    placed = labels(info, across["range"], up["range"], plot_width)
    figure = go.Figure([_staircase(info), _others(info), _front(study, info, placed)])
    heading = f"{WORDS[y][0]} against {WORDS[x][0].lower()}: {study.edge.graph.model}"
    figure.update_layout(
        xaxis=across,
        yaxis=up,
        title=title(
            heading,
            f"batch size {batch_size}, {short_rate(data_rate_bps)}: "
            f"{int(info.front.sum())} of {len(info.names)} candidates on the front",
        ),
        showlegend=False,
    )
    set_page(
        figure,
        _caption(study, info, power, int(info.front.sum()) - len(placed)),
        plot_px=PLOT,
        axis_px=AXIS_PX,
        template=template,
        width=width,
    )
    return figure


AXIS_PX = 58  # one line of tick labels and the title


def pareto_numbers(
    study: Study,
    batch_size: int,
    data_rate_bps: float,
    x: str,
    y: str,
    power: PowerModel | None = None,
) -> ParetoNumbers:
    """Two objectives of all candidates with times, and where to draw them; raises as the figure."""
    if x == y:
        raise ValueError(f"x and y are both {x!r}; give two of {', '.join(COLUMNS)}.")
    table = tradeoffs(study, batch_size, data_rate_bps, power, objectives=(x, y))
    table = table[table["latency_s"].notna()]
    used = [name for name in COLUMNS if name in table]
    words = [
        "<br>".join(
            f"{WORDS[name][0].lower()} {formatted(value, WORDS[name][1])}"
            for name, value in zip(used, row, strict=True)
        )
        for row in table[used].to_numpy(np.float64).tolist()
    ]
    across, up = table[x].to_numpy(np.float64), table[y].to_numpy(np.float64)
    return ParetoNumbers(
        tuple(table.index.tolist()),
        tuple(table["split"]),
        across,
        up,
        table["pareto"].to_numpy(np.bool_),
        _drawn(across),
        _drawn(up),
        tuple(words),
    )


def _zero_place(values: Floats) -> float:
    """Where zero stands on a logarithmic axis: left of all else."""
    above = values[values > 0]
    return float(above.min()) / 10**ZERO_GAP if len(above) else 1.0


def _drawn(values: Floats) -> Floats:
    return np.where(values > 0, values, _zero_place(values))


def _axis(values: Floats, name: str) -> dict[str, Any]:
    """Logarithmic; a zero gets its own tick left of all others."""
    words, unit = WORDS[name]
    drawn = _drawn(values)
    room = (float(drawn.max()) / float(drawn.min())) ** 0.06 * 1.05
    low, high = float(drawn.min()) / room, float(drawn.max()) * room
    above = values[values > 0]
    axis = log_axis(float(above.min()) / 1.05 if len(above) else low, high, unit, words)
    if (values == 0).any():
        axis["tickvals"] = (_zero_place(values), *axis["tickvals"])
        axis["ticktext"] = ["0", *axis["ticktext"]]
    axis["range"] = [math.log10(low), math.log10(high)]
    return axis


def labels(
    info: ParetoNumbers, x_range: list[float], y_range: list[float], plot_width: float
) -> tuple[Label, ...]:
    """A place for the name of each front point; none where it would cover another name or point."""
    across = (np.log10(info.drawn_x) - x_range[0]) / (x_range[1] - x_range[0]) * plot_width
    up = (np.log10(info.drawn_y) - y_range[0]) / (y_range[1] - y_range[0]) * PLOT
    front = np.flatnonzero(info.front).tolist()
    placed: list[Label] = []
    for i in front:
        points = [(across[k], up[k]) for k in range(len(across)) if k != i]
        for side in SIDES:
            label = _label(i, info.names[i], side, across[i], up[i])
            inside = label.left >= 0 and label.left + label.width <= plot_width
            inside = inside and label.bottom >= 0 and label.bottom + LABEL_LINE <= PLOT
            free = not any(label.touches(other) for other in placed)
            if inside and free and not any(label.covers(*point) for point in points):
                placed.append(label)
                break
    return tuple(placed)


def _label(index: int, name: str, side: str, x: float, y: float) -> Label:
    width = NAME_CHARACTER * len(shortened(name)) + CLEAR
    in_widths, up = SIDES[side]
    bottom = y + CLEAR if up > 0 else y - CLEAR - LABEL_LINE
    return Label(index, side, x + in_widths * width, bottom, width)


def _staircase(info: ParetoNumbers) -> go.Scatter:
    """What can be had: to its upper right lies a front point that is at least as good in both."""
    front = np.flatnonzero(info.front)
    front = front[np.argsort(info.drawn_x[front], kind="stable")]
    return go.Scatter(
        name=STAIRCASE,
        x=info.drawn_x[front],
        y=info.drawn_y[front],
        mode="lines",
        line={"shape": "hv", "color": GREY, "width": 1.5},
        hoverinfo="skip",
    )


def _others(info: ParetoNumbers) -> go.Scatter:
    here = np.flatnonzero(~info.front)
    return go.Scatter(
        name=OTHERS,
        x=info.drawn_x[here],
        y=info.drawn_y[here],
        mode="markers",
        marker={"size": 6, "color": GREY},
        hovertext=[f"<b>{info.names[i]}</b><br>{info.words[i]}<br>dominated" for i in here],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _front(study: Study, info: ParetoNumbers, placed: tuple[Label, ...]) -> go.Scatter:
    here = np.flatnonzero(info.front).tolist()
    cuts = [study.lines.splits[info.splits[i]] for i in here]
    sides = {label.index: label.side for label in placed}
    return go.Scatter(
        name=FRONT,
        x=info.drawn_x[here],
        y=info.drawn_y[here],
        mode="markers+text",
        text=[shortened(info.names[i]) if i in sides else "" for i in here],
        textposition=[sides.get(i, "top right") for i in here],
        cliponaxis=False,
        marker={
            "size": 12,
            "color": list(split_colours(study.edge.graph, cuts)),
            "line": {"color": RIM, "width": 2},
        },
        hovertext=[f"<b>{info.names[i]}</b><br>{info.words[i]}<br>not dominated" for i in here],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _caption(study: Study, info: ParetoNumbers, power: PowerModel | None, unnamed: int) -> str:
    parts = [study.label()]
    if power is not None and power != study.scenario.power:
        parts.append(f"Here the {power.label()}.")
    parts.append("Grey: another candidate is at least as good in both and better in one.")
    if unnamed:
        parts.append(f"{unnamed} names on the front that would overlap stand in the hover only.")
    if (info.x == 0).any() or (info.y == 0).any():
        parts.append("Logarithmic axes; zero is drawn below the smallest number.")
    if len(study.splits) > len(info.splits):
        parts.append(left_out(len(study.splits) - len(info.splits)))
    return " ".join(parts)
