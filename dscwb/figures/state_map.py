"""What every map over data rate and batch size shares: its cells, axes, hatches and point.

The cells of a map are not those of the study's grid. A map is cut at every rate at which a split
switches, so that it is exact wherever one looks and however far one zooms in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dscwb.figures.layout import AXIS, MARK, full_name, page, rate_axis, row_ticks
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC, identified
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
BAR = {"x": 1, "xanchor": "left", "y": 0.5, "len": 1, "thickness": 14, "outlinewidth": 0}
"""A colour bar at the right of its map."""
BAR |= {"xpad": 8, "ypad": 0, "tickfont": {"size": 11}}


@dataclass(frozen=True, eq=False)
class StateMap:
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
    def of(cls, study: Study) -> StateMap:
        """From the study's lowest to its highest data rate."""
        low, high = study.rate_range
        switching = np.concatenate([row.switching_rates_bps for row in study.envelopes])
        inside = switching[(low < switching) & (switching < high)]
        edges = np.unique(np.concatenate((np.geomspace(low, high, COLUMNS + 1), inside)))
        shown = study.at_rates(np.sqrt(edges[:-1] * edges[1:]))
        return cls(study, shown, edges, np.argsort(study.batch_sizes, kind="stable"))

    def heatmap(self, name: str, values: Any, told: list[Any], **look: Any) -> go.Heatmap:
        """The map itself.

        Args:
            name: Of the trace.
            values: What is coloured, ``(batch, rate)``, in the study's order of batch sizes.
            told: More numbers for the hover, each likewise, after those of `CELL_HOVER`.
            look: Colours and hover.
        """
        sizes, rates = np.meshgrid(self.study.batch_sizes, self.shown.data_rates_bps, indexing="ij")
        columns = [sizes, rates, rates / BITS_PER_BYTE, *told]
        columns = [np.broadcast_to(column, self.shown.best.shape)[self.rows] for column in columns]
        return go.Heatmap(
            name=name,
            x=self.edges_bps,
            y=np.arange(len(self.rows)),
            z=values[self.rows],
            customdata=np.stack(columns, axis=-1),
            **look,
        )

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

    def figure(
        self,
        traces: list[Any],
        heading: tuple[str, str],
        caption: str,
        point: tuple[int | None, float | None],
        *,
        least_px: float = MIN_PLOT,
    ) -> go.Figure:
        """A page with the traces and the point, where both parts of it are given and shown."""
        sizes, measured = sorted(self.study.batch_sizes), ~self.study.lines.interpolated[self.rows]
        plot_px = max(min(MAX_PLOT, max(MIN_PLOT, ROW * len(sizes))), least_px)
        figure = go.Figure(traces)
        if point[0] in sizes and point[1] is not None:
            at = np.array([point[1]]), np.array([float(sizes.index(point[0]))])
            figure.add_trace(lines(STATE, at, mode="markers", marker=MARK, cliponaxis=False))
        ticks = row_ticks(sizes, measured.tolist(), plot_px / len(sizes))
        labels = [f"{size}" for size in sizes]
        if not measured.all():
            labels = [
                f"<b>{size}</b>" if whole else f"<i>≈ {size}</i>"
                for size, whole in zip(sizes, measured, strict=True)
            ]
        rows = {
            **AXIS,
            "tickvals": ticks,
            "ticktext": [labels[row] for row in ticks],
            "range": [-0.5, len(sizes) - 0.5],
            "title": {"text": "Batch size"},
        }
        rates = rate_axis(self.edges_bps[0], self.edges_bps[-1])
        figure.update_layout(xaxis=rates, yaxis=rows)
        caption = f"{self.caption()} {caption}".strip()
        return page(figure, *heading, caption, plot_px=plot_px)

    def caption(self) -> str:
        """The study in words, and which batch sizes are interpolated."""
        between = self.study.lines.interpolated[self.rows]
        if not between.any():
            return self.study.label()
        sizes = np.array(sorted(self.study.batch_sizes))[~between]
        return (
            f"{self.study.label()} Batch sizes with times of their own: "
            f"{', '.join(map(str, sizes)) or 'none'} (bold); those between (≈) are interpolated "
            "linearly."
        )


def lines(name: str, where: Outlines, **look: Any) -> go.Scatter:
    """Lines over a map, without a word under the mouse unless `look` says so."""
    quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return go.Scatter(name=name, x=where[0], y=where[1], **(quiet | look))


def hatch(name: str, around: Outlines, pattern: dict[str, Any], **look: Any) -> go.Scatter:
    """Hatched cells."""
    return lines(name, around, line={"width": 0}, fill="toself", fillpattern=pattern, **look)


def compared(
    study: Study,
    baseline: str,
    values: Callable[[Study, str], Floats],
    heading: tuple[str, str],
    point: tuple[int | None, float | None],
    *,
    scale: Callable[[Floats], Floats] = lambda values: values,
    **look: Any,
) -> go.Figure:
    """The map of a study against one split that never changes; where that is impossible, hatched.

    Args:
        study: What to draw.
        baseline: The split or what stands for one; the best static one is that of the study.
        values: The study's method that compares with a split, NaN where it is impossible.
        heading: `heading_against` it.
        point: Batch size and data rate to mark.
        scale: What of a value is coloured.
        look: Name, colours and hover; columns 3 to 5 of the hover are the cost of the best split,
            that of the baseline, and the value.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    cells, split = StateMap.of(study), study.baseline_split(baseline)
    own, drawn = values(study, split), values(cells.shown, split)
    missing = np.isnan(own)
    told = [cells.shown.cost, cells.shown.static_cost(split), drawn]
    large = study.lines.too_large[:, study.splits.index(split)].any()
    why = "its head is too large for the device" if large else "it was not measured"
    none = f"{full_name(split)} is impossible: {why}"
    around = cells.outlines(np.isnan(drawn))
    heatmap = cells.heatmap(told=told, values=scale(drawn), hoverongaps=False, **look)
    hatched = hatch(
        IMPOSSIBLE, around, IMPOSSIBLE_HATCH, hoverinfo="text", hoveron="fills", text=none
    )
    caption = "" if missing.all() else f"Mean over {study.grid_label}."
    if missing.any():
        share = format_percent(float(missing.mean()))
        caption += f" Grey hatch: {none.replace(':', ', as')}: {share} of the states."
    return cells.figure([heatmap, hatched], heading, caption, point)


def heading_against(
    study: Study, baseline: str, values: Floats, words: str, shown: Callable[[float], str]
) -> tuple[str, str]:
    """Title, which begins with `words`, and subtitle of a map against a split that never changes.

    The mean is that of the study's own states in which it is possible; `shown` makes it a text.
    """
    name, chosen = shown_name(study.baseline_split(baseline)), ""
    if (spelt := identified(baseline)) in (BEST_STATIC, MINIMAX_STATIC):
        name, chosen = f"the {spelt} split", f"{name}: "
    if np.isnan(values).all():
        return f"{words} {name}", "impossible in every state"
    mean, most = shown(float(np.nanmean(values))), shown(float(np.nanmax(values)))
    where = " where possible" if np.isnan(values).any() else ""
    return f"{words} {name}", f"{chosen}mean {mean}, at most {most}{where}"
