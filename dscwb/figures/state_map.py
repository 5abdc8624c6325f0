"""What every map over data rate and batch size shares: its cells, axes, colour bar and hatches.

The cells of a map are not those of the study's grid. A map is cut at every rate at which a split
switches, so that it is exact wherever one looks and however far one zooms in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.layout import AXIS, MARK, full_name, rate_axis, row_ticks
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC
from dscwb.units import BITS_PER_BYTE, format_percent, shown_name

Floats = NDArray[np.float64]
Outlines: TypeAlias = tuple[Floats, Floats]
"""Lines to draw: rates in bit/s and rows, NaN between two lines."""

COLUMNS = 200  # cells of a map from left to right, beside those that the exact edges add
MIN_PLOT, MAX_PLOT, ROW = 120, 380, 50  # pixels: a map is ROW high a batch size, within bounds
STATE, IMPOSSIBLE = "state", "impossible"
IMPOSSIBLE_HATCH = {
    "shape": "x",
    "fgcolor": "rgb(105, 105, 105)",
    "bgcolor": "rgb(240, 240, 240)",
    "size": 10,
    "solidity": 0.2,
}
CELL_HOVER = (
    "<b>batch size %{customdata[0]:d}, "
    "%{customdata[1]:.3~s}bit/s</b> (%{customdata[2]:.3~s}B/s)<br>"
)


@dataclass(frozen=True)
class Panel:
    """Where a map stands in its figure: the suffix of its axes, its share of the width."""

    axis: str
    domain: tuple[float, float]


WHOLE = Panel("", (0.0, 1.0))
# Between the two stands the first map's colour bar.
LEFT, RIGHT = Panel("", (0.0, 0.4)), Panel("2", (0.6, 1.0))


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of all maps of a study.

    Attributes:
        study: The study that was asked for.
        shown: The same study at the middle of each cell.
        edges_bps: Data rates where one cell ends and the next begins, ascending, ``(rate + 1,)``:
            `COLUMNS` steps of equal ratio, and every rate at which a split switches.
        rows: Rows of the study in ascending order of batch size, ``(batch,)``; the i-th is drawn
            at y = i.
    """

    study: Study
    shown: Study
    edges_bps: Floats
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, study: Study) -> Cells:
        """From the study's lowest to its highest data rate."""
        low, high = study.rate_range
        switching = np.concatenate([row.switching_rates_bps for row in study.envelopes])
        inside = switching[(low < switching) & (switching < high)]
        edges = np.unique(np.concatenate((np.geomspace(low, high, COLUMNS + 1), inside)))
        shown = study.at_rates(np.sqrt(edges[:-1] * edges[1:]))
        return cls(study, shown, edges, np.argsort(study.batch_sizes, kind="stable"))

    @property
    def batch_sizes(self) -> list[int]:
        """In the order of the rows."""
        return sorted(self.study.batch_sizes)

    @property
    def measured(self) -> list[bool]:
        """Whether a batch size has times of its own, in the order of the rows."""
        own: list[bool] = (~self.study.lines.interpolated[self.rows]).tolist()
        return own

    def height(self, least: float = MIN_PLOT) -> float:
        """Pixels of the plot, so that rows can be told apart."""
        return max(min(MAX_PLOT, max(MIN_PLOT, ROW * len(self.rows))), least)

    def hover(self, *columns: Floats) -> Floats:
        """Batch size, bit/s and byte/s of every cell, and more columns: ``(batch, rate, column)``.

        Args:
            columns: ``(batch, rate)`` each, in the study's order of batch sizes.
        """
        sizes, rates = np.meshgrid(self.batch_sizes, self.shown.data_rates_bps, indexing="ij")
        more = (np.broadcast_to(column, self.shown.best.shape)[self.rows] for column in columns)
        return np.stack([sizes, rates, rates / BITS_PER_BYTE, *more], axis=-1)

    def outlines(self, where: NDArray[np.bool_]) -> Outlines:
        """Rectangles around the runs of marked cells in each row, NaN between two.

        Args:
            where: True in marked cells, ``(batch, rate)``, in the study's order of batch sizes.
        """
        steps = np.diff(where[self.rows].astype(np.int8), axis=1, prepend=0, append=0)
        row, first = np.nonzero(steps == 1)
        _, last = np.nonzero(steps == -1)
        left, right, gap = self.edges_bps[first], self.edges_bps[last], np.full(len(row), np.nan)
        x = np.stack([left, right, right, left, left, gap], axis=1)
        y = row[:, None] + np.array([-0.5, -0.5, 0.5, 0.5, -0.5, np.nan])
        return x.ravel()[:-1], y.ravel()[:-1]

    def place(self, panel: Panel, name: str) -> dict[str, Any]:
        """Name, columns and rows of a heatmap."""
        return {"name": name, "x": self.edges_bps, "y": np.arange(len(self.rows)), **_axes(panel)}

    def axes(self, panel: Panel, plot_px: float) -> dict[str, Any]:
        """Both axes of a map; side by side, the second has the rows of the first."""
        sizes, right = self.batch_sizes, panel is RIGHT
        ticks = row_ticks(sizes, self.measured, plot_px / len(sizes))
        return {
            f"xaxis{panel.axis}": {
                **rate_axis(self.edges_bps[0], self.edges_bps[-1]),
                "domain": panel.domain,
                "anchor": f"y{panel.axis}",
            },
            f"yaxis{panel.axis}": {
                **AXIS,
                "range": [-0.5, len(sizes) - 0.5],
                "anchor": f"x{panel.axis}",
                "tickvals": ticks,
                "ticktext": [self._row_label(row) for row in ticks],
                "showticklabels": not right,
                "title": {"text": "" if right else "Batch size"},
            },
        }

    def _row_label(self, row: int) -> str:
        size, measured = self.batch_sizes[row], self.measured
        if all(measured):
            return f"{size}"
        return f"<b>{size}</b>" if measured[row] else f"<i>≈ {size}</i>"

    def caption(self) -> str:
        """The study in words, and which batch sizes are interpolated."""
        pairs = list(zip(self.batch_sizes, self.measured, strict=True))
        if all(self.measured):
            return self.study.label()
        own = ", ".join(f"{size}" for size, measured in pairs if measured) or "none"
        return (
            f"{self.study.label()} Batch sizes with times of their own: {own} (bold); those "
            "between (≈) are interpolated linearly."
        )


def _axes(panel: Panel) -> dict[str, str]:
    return {"xaxis": f"x{panel.axis}", "yaxis": f"y{panel.axis}"}


def lines(name: str, where: Outlines, panel: Panel, **look: Any) -> go.Scatter:
    """Lines over a map, without a word under the mouse unless `look` says so."""
    quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return go.Scatter(name=name, x=where[0], y=where[1], **_axes(panel), **(quiet | look))


def hatch(
    name: str, around: Outlines, pattern: dict[str, Any], panel: Panel, **look: Any
) -> go.Scatter:
    """Hatched cells."""
    filled = {"line": {"width": 0}, "fill": "toself", "fillpattern": pattern}
    return lines(name, around, panel, **filled, **look)


def bar(panel: Panel, **ticks: Any) -> dict[str, Any]:
    """A colour bar at the right of its map."""
    place = {"x": panel.domain[1], "xanchor": "left", "y": 0.5, "len": 1, "thickness": 14}
    return {**place, "xpad": 8, "ypad": 0, "tickfont": {"size": 11}, "outlinewidth": 0, **ticks}


def marked(
    study: Study, batch_size: int | None, data_rate_bps: float | None, panel: Panel
) -> list[go.Scatter]:
    """The mark of a point, where both are given and the batch size is the study's."""
    if batch_size not in study.batch_sizes or data_rate_bps is None:
        return []
    at = np.array([data_rate_bps]), np.array([sorted(study.batch_sizes).index(batch_size)])
    return [lines(STATE, at, panel, mode="markers", marker=MARK, cliponaxis=False)]


@dataclass(frozen=True, eq=False)
class Against:
    """A study against one split that never changes.

    Attributes:
        baseline: What was asked for.
        split: The split that it stands for.
        values: Relative gain, or regret in seconds or joules, in every cell, ``(batch, rate)``, in
            ascending order of batch sizes; NaN where the baseline is impossible.
        mean: Mean over the states of the study in which it is possible; they need not be the cells.
        highest: Highest value of these states.
        impossible: Share of the study's states in which it is not possible.
        hatched: Those cells, with the reason under the mouse.
        hover: `Cells.hover` with the cost of the best split and of the baseline.
        why: Ending of a caption: why it is impossible; empty where it is not.
    """

    baseline: str
    split: str
    values: Floats
    mean: float
    highest: float
    impossible: float
    hatched: go.Scatter
    hover: Floats
    why: str

    @classmethod
    def of(
        cls, cells: Cells, baseline: str, values: Callable[[Study, str], Floats], panel: Panel
    ) -> Against:
        """Compare.

        Args:
            cells: Where.
            baseline: A split or what stands for one; the best static one is that of the study.
            values: The study's method that compares with a split.
            panel: Where the map stands.

        Raises:
            ValueError: The baseline is not a candidate of this study.
        """
        study, shown = cells.study, cells.shown
        split = study.baseline_split(baseline)
        own, drawn = values(study, split), values(shown, split)
        missing = np.isnan(own)
        large = study.lines.too_large[:, study.splits.index(split)].any()
        why = "its head is too large for the device" if large else "it was not measured"
        none = f"{full_name(split)} is impossible: {why}"
        look = {"hoverinfo": "text", "hoveron": "fills", "text": none}
        return cls(
            baseline,
            split,
            drawn[cells.rows],
            math.nan if missing.all() else float(np.nanmean(own)),
            math.nan if missing.all() else float(np.nanmax(own)),
            float(missing.mean()),
            hatch(IMPOSSIBLE, cells.outlines(np.isnan(drawn)), IMPOSSIBLE_HATCH, panel, **look),
            cells.hover(shown.cost, shown.static_cost(split)),
            f" Grey hatch: {shown_name(split)} is impossible, as {why}: "
            f"{format_percent(float(missing.mean()))} of the states."
            if missing.any()
            else "",
        )

    @property
    def name(self) -> str:
        """What it is compared with, for a heading."""
        chosen = self.baseline.replace("_", " ") not in (BEST_STATIC, MINIMAX_STATIC)
        return shown_name(self.split) if chosen else f"the {self.baseline.replace('_', ' ')} split"

    def subheading(self, shown: Callable[[float], str]) -> str:
        """Mean and highest value, where possible."""
        if self.impossible == 1:
            return "impossible in every state"
        chosen = f"{shown_name(self.split)}: " if self.name.startswith("the ") else ""
        where = " where possible" if self.impossible else ""
        return f"{chosen}mean {shown(self.mean)}, at most {shown(self.highest)}{where}"


def instead(unit: str) -> str:
    """Ending of a hover: the best split's cost and the baseline's."""
    return f"%{{customdata[3]:.3~s}}{unit} instead of %{{customdata[4]:.3~s}}{unit}<extra></extra>"
