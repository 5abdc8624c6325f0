"""What every map over data rate and batch size shares: its cells, axes, hatches and point.

The cells of a map are not those of the study's grid. A map is cut at every rate at which a split
switches, so that it is exact wherever one looks and however far one zooms in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from dscwb.figures.layout import AXIS, MARK, TEXT, full_name, hover, page, rate_axis, row_ticks
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC, identified
from dscwb.units import BITS_PER_BYTE, format_cost, format_percent, shown_name

Floats = NDArray[np.float64]
Point: TypeAlias = tuple[int | None, float | None]
"""Batch size and data rate to mark."""

COLUMNS = 200  # cells of a map from left to right, beside those that the exact edges add
MIN_PLOT, MAX_PLOT, ROW = 120, 380, 50  # pixels: a map is ROW high a batch size, within bounds
IMPOSSIBLE = "impossible"
IMPOSSIBLE_HATCH = {"shape": "x", "size": 10, "solidity": 0.2}
IMPOSSIBLE_HATCH |= {"fgcolor": "rgb(105, 105, 105)", "bgcolor": "rgb(240, 240, 240)"}
BAR = {"x": 1, "xanchor": "left", "y": 0.5, "len": 1, "thickness": 14, "outlinewidth": 0}
"""A colour bar at the right of its map."""
BAR |= {"xpad": 8, "ypad": 0, "tickfont": {"size": TEXT}}


@dataclass(frozen=True, eq=False)
class StateMap:
    """The cells of all maps of a study.

    Attributes:
        study: The study that was asked for.
        shown: The same study at the middle of each cell.
        edges_bps: Data rates where one cell ends and the next begins, ascending, ``(rate + 1,)``:
            `COLUMNS` steps of equal ratio, and every rate at which a split switches.
        rows: Rows of the study, ascending in batch size; the i-th is drawn at y = i.
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

    def heatmap(
        self, values: NDArray[Any], told: Mapping[str, ArrayLike], **look: Any
    ) -> go.Heatmap:
        """The map itself: what is coloured, and what its `hover` tells, ``(batch, rate)``."""
        rates = self.shown.data_rates_bps
        cell: dict[str, ArrayLike] = {
            "<b>batch size {:d}": np.array(self.study.batch_sizes)[:, None],
            ", {:.3~s}bit/s</b>": rates,
            " ({:.3~s}B/s)<br>": rates / BITS_PER_BYTE,
        }
        told = hover(cell | dict(told))
        told["customdata"] = told["customdata"][self.rows]
        return go.Heatmap(
            x=self.edges_bps, y=np.arange(len(self.rows)), z=values[self.rows], **told, **look
        )

    def hatch(
        self, name: str, where: NDArray[np.bool_], pattern: dict[str, Any], **look: Any
    ) -> go.Scatter:
        """Hatched cells, ``(batch, rate)``: a rectangle around each run of them in a row."""
        steps = np.diff(where[self.rows].astype(np.int8), axis=1, prepend=0, append=0)
        row, first = np.nonzero(steps == 1)
        left, right = self.edges_bps[first], self.edges_bps[np.nonzero(steps == -1)[1]]
        x = np.stack([left, right, right, left, left, np.full(len(row), np.nan)], axis=1)
        y = row[:, None] + np.array([-0.5, -0.5, 0.5, 0.5, -0.5, np.nan])
        look = {"line": {"width": 0}, "fill": "toself", "fillpattern": pattern} | look
        return lines(name, x.ravel()[:-1], y.ravel()[:-1], **look)

    def figure(
        self,
        traces: list[Any],
        title: tuple[str, str],
        caption: str,
        point: Point,
        *,
        least_px: float = MIN_PLOT,
    ) -> go.Figure:
        """A page with the traces and the point, where both parts of it are given and shown."""
        sizes, measured = sorted(self.study.batch_sizes), ~self.study.lines.interpolated[self.rows]
        plot_px = max(min(MAX_PLOT, max(MIN_PLOT, ROW * len(sizes))), least_px)
        if point[0] in sizes and point[1] is not None:
            mark = MARK | {"cliponaxis": False}
            traces.append(lines(x=[point[1]], y=[sizes.index(point[0])], **mark))
        ticks = row_ticks(sizes, measured.tolist(), plot_px / len(sizes))
        words = ("<i>≈ {}</i>", "{}" if measured.all() else "<b>{}</b>")
        labels = [words[int(measured[row])].format(sizes[row]) for row in ticks]
        rows = {"tickvals": ticks, "ticktext": labels, "range": [-0.5, len(sizes) - 0.5]}
        return page(
            traces,
            title,
            [about_rows(self.study), caption],
            plot_px=plot_px,
            xaxis=rate_axis(self.edges_bps[0], self.edges_bps[-1]),
            yaxis={**AXIS, **rows, "title": {"text": "Batch size"}},
        )


def about_rows(study: Study) -> str:
    """The study in words, and which batch sizes are interpolated."""
    if not study.lines.interpolated.any():
        return study.label()
    own = sorted(np.array(study.batch_sizes)[~study.lines.interpolated])
    return (
        f"{study.label()} Batch sizes with times of their own: {', '.join(map(str, own)) or 'none'}"
        " (bold); those between (≈) are interpolated linearly."
    )


def lines(name: str, x: ArrayLike, y: ArrayLike, **look: Any) -> go.Scatter:
    """Lines over a map, without a word under the mouse unless `look` says so."""
    quiet = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return go.Scatter(name=name, x=x, y=y, **(quiet | look))


def compared(
    study: Study, baseline: str, name: str, point: Point, *, scale: Any = np.asarray, **look: Any
) -> go.Figure:
    """The map of `Study.gain` or `Study.regret`, by its name; hatched where that is impossible.

    The best static split is that of the study; `scale` gives what of a value is coloured.
    """
    cells, split, unit = StateMap.of(study), study.baseline_split(baseline), study.unit
    own, drawn = (getattr(one, name)(split).to_numpy() for one in (study, cells.shown))
    told = {
        f"{name} {{:.1%}}: " if name == "gain" else f"{name} {{:.3~s}}{unit}: ": drawn,
        f"{{:.3~s}}{unit} instead of ": cells.shown.cost,
        f"{{:.3~s}}{unit}": cells.shown.static_cost(split),
    }
    large = study.lines.too_large[:, study.splits.index(split)].any()
    why = "its head is too large for the device" if large else "it was not measured"
    none = f"{full_name(split)} is impossible: {why}"
    area = {"hoverinfo": "text", "hoveron": "fills", "text": none}
    traces = [
        cells.heatmap(scale(drawn), told, name=name, hoverongaps=False, **look),
        cells.hatch(IMPOSSIBLE, np.isnan(drawn), IMPOSSIBLE_HATCH, **area),
    ]
    missing = np.isnan(own)
    caption = "" if missing.all() else f"Mean over {study.grid_label}."
    if missing.any():
        share = format_percent(float(missing.mean()))
        caption += f" Grey hatch: {none.replace(':', ', as')}: {share} of the states."
    return cells.figure(traces, heading_against(study, baseline, name), caption, point)


def heading_against(study: Study, baseline: str, name: str) -> tuple[str, str]:
    """Title and subtitle of such a map; the mean is over the study's states in which it can be."""
    split, values = study.baseline_split(baseline), getattr(study, name)(baseline).to_numpy()
    shown = format_percent if name == "gain" else partial(format_cost, unit=study.unit)
    title, chosen = shown_name(split), ""
    if (spelt := identified(baseline)) in (BEST_STATIC, MINIMAX_STATIC):
        title, chosen = f"the {spelt} split", f"{title}: "
    title = f"{'Gain over' if name == 'gain' else 'Regret of'} {title}"
    possible = values[~np.isnan(values)]
    if not possible.size:
        return title, "impossible in every state"
    where = "" if possible.size == values.size else " where possible"
    return title, f"{chosen}mean {shown(possible.mean())}, at most {shown(possible.max())}{where}"
