"""The numbers of a map over data rate and batch size: a study goes in, what to draw comes out.

The cells of a map are not the states of the study's grid. A map is cut at every rate at which a
split switches, so that it is exact wherever one looks and however far one zooms in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import Cut
from dscwb.study.confidence import Confidence
from dscwb.study.sureness import robust, undecided
from dscwb.study.sweeps import Study
from dscwb.units import BITS_PER_BYTE

Floats = NDArray[np.float64]
Outlines: TypeAlias = tuple[Floats, Floats]
"""Lines to draw: rates in bit/s and rows, NaN between two lines."""

COLUMNS = 200  # cells of a map from left to right, beside those that the exact edges add
COMMON = 10  # columns that every hover of a best split has
WAIT, ENERGY, PROBABILITY = "wait", "energy", "probability"


@dataclass(frozen=True, eq=False)
class MapCells:
    """What all maps over data rate and batch size share.

    Attributes:
        study: The study that was asked for.
        shown: The same study at the middle of each cell of the map.
        edges_bps: Data rates where one cell ends and the next begins, ascending, ``(rate + 1,)``:
            `COLUMNS` steps of equal ratio, and every rate at which a split switches.
        rows: Rows of the study in ascending order of batch size, ``(batch,)``.
        batch_sizes: The batch sizes in that order; the i-th is drawn at y = i.
        interpolated: True where a batch size has no times of its own, ``(batch,)``.
        confidence: How sure the decisions are at the middle of each cell, where that was asked.
    """

    study: Study
    shown: Study
    edges_bps: Floats
    rows: NDArray[np.intp]
    batch_sizes: tuple[int, ...]
    interpolated: tuple[bool, ...]
    confidence: Confidence | None


@dataclass(frozen=True, eq=False)
class SplitCells:
    """Numbers of the best-split map.

    Attributes:
        names: The splits that are best somewhere, from input to output.
        cuts: The same as cuts.
        index: Index into `names` in every cell, ``(batch, rate)``.
        hover: ``(batch, rate, 10 + extra)``: batch size; bit/s; byte/s; seconds in all, on the
            device, on the link, on the server; bytes sent; layers and whole blocks in the head.
        extra: What further columns `hover` has: `WAIT`, seconds until the batch is full; `ENERGY`,
            joules; `PROBABILITY`, share of the replicates in which the cell's best split wins.
        switching: Lines to draw, rates in bit/s and rows, NaN between two lines.
        usefulness: Share of the study's states whose best choice is a split.
        undecided: Outlines of the cells in which no split is sure to be best; without a
            `Confidence` there are none.
        fragile: The same of the other cells in which the best split is sure only if a model is
            right.
    """

    names: tuple[str, ...]
    cuts: tuple[Cut, ...]
    index: NDArray[np.intp]
    hover: Floats
    extra: tuple[str, ...]
    switching: Outlines
    usefulness: float
    undecided: Outlines
    fragile: Outlines


@dataclass(frozen=True, eq=False)
class StaticCells:
    """Numbers of a map that compares with one split that never changes, its gain or its regret.

    Attributes:
        baseline: What is compared with.
        split: The split that it stands for.
        values: Relative gain, or regret in seconds or joules, in every cell, ``(batch, rate)``;
            NaN where the baseline is impossible.
        mean: Mean over the states of the study in which it is possible; they need not be the cells.
        highest: Highest value of these states.
        hover: ``(batch, rate, 5)``: batch size; bit/s; byte/s; seconds or joules of the best split,
            of the baseline.
        impossible: Share of the study's states in which it is not possible.
        why: Why it is not, in words.
        outlines: Of the cells in which it is not.
    """

    baseline: str
    split: str
    values: Floats
    mean: float
    highest: float
    hover: Floats
    impossible: float
    why: str
    outlines: Outlines


def map_cells(study: Study, confidence: Confidence | None = None) -> MapCells:
    """The cells of a study's maps, from its lowest to its highest data rate.

    Raises:
        ValueError: The confidence is that of another study.
    """
    if confidence is not None and confidence.states.lines is not study.lines:
        raise ValueError("The confidence is that of another study; give study.confidence().")
    low, high = study.rate_range
    switching = np.concatenate([row.switching_rates_bps for row in study.envelopes])
    inside = switching[(low < switching) & (switching < high)]
    edges = np.unique(np.concatenate((np.geomspace(low, high, COLUMNS + 1), inside)))
    rows = np.argsort(study.batch_sizes, kind="stable")
    middles = np.sqrt(edges[:-1] * edges[1:])
    return MapCells(
        study,
        study.at_rates(middles),
        edges,
        rows,
        tuple(study.batch_sizes[row] for row in rows),
        tuple(study.lines.interpolated[rows].tolist()),
        confidence.at_rates(middles) if confidence else None,
    )


def split_cells(cells: MapCells) -> SplitCells:
    """The best split in every cell."""
    shown, lines, row = cells.shown, cells.shown.lines, cells.rows[:, None]
    best = shown.best[cells.rows]
    chosen, index = np.unique(best, return_inverse=True)
    head, tail = lines.head_s[row, best], lines.tail_s[row, best]
    latency = shown.latency_s[cells.rows]
    sent = lines.bits[row, best] / BITS_PER_BYTE
    layers = np.array([cut.index for cut in lines.splits])[best]
    blocks = np.searchsorted([block.end for block in shown.edge.graph.blocks], layers, "right")
    wait = np.broadcast_to(lines.wait_s[row], best.shape)
    times = [latency, head, latency - wait - head - tail, tail]
    extra = _extra_columns(cells, wait)
    hover = [*_state_columns(cells), *times, sent, layers, blocks, *extra.values()]
    return SplitCells(
        tuple(shown.splits[i] for i in chosen),
        tuple(lines.splits[i] for i in chosen),
        index.reshape(best.shape),
        np.stack(hover, axis=-1),
        tuple(extra),
        _switching_lines(cells),
        cells.study.usefulness(),
        *_doubts(cells),
    )


def _extra_columns(cells: MapCells, wait_s: Floats) -> dict[str, Floats]:
    """What the hover tells only where it matters: each column costs time on the screen."""
    columns = {}
    if cells.study.scenario.arrival_rate_hz is not None:
        columns[WAIT] = wait_s
    if cells.study.unit == "J":
        columns[ENERGY] = cells.shown.cost[cells.rows]
    if cells.confidence is not None:
        columns[PROBABILITY] = cells.confidence.probability[cells.rows]
    return columns


def _doubts(cells: MapCells) -> tuple[Outlines, Outlines]:
    """Outlines of undecided and of fragile cells."""
    if cells.confidence is None:
        nothing = np.empty(0), np.empty(0)
        return nothing, nothing
    hatched = undecided(cells.shown, cells.confidence.undecided)[cells.rows]
    fragile = ~robust(cells.shown)[cells.rows] & ~hatched
    return outlines(cells, hatched), outlines(cells, fragile)


def outlines(cells: MapCells, where: NDArray[np.bool_]) -> Outlines:
    """Rectangles around the runs of marked cells in each row, NaN between two.

    Args:
        cells: The cells.
        where: True in marked cells, ``(batch, rate)``.
    """
    steps = np.diff(where.astype(np.int8), axis=1, prepend=0, append=0)
    row, first = np.nonzero(steps == 1)
    _, last = np.nonzero(steps == -1)
    left, right, gap = cells.edges_bps[first], cells.edges_bps[last], np.full(len(row), np.nan)
    x = np.stack([left, right, right, left, left, gap], axis=1)
    y = row[:, None] + np.array([-0.5, -0.5, 0.5, 0.5, -0.5, np.nan])
    return x.ravel()[:-1], y.ravel()[:-1]


def _state_columns(cells: MapCells) -> tuple[Floats, Floats, Floats]:
    """Batch size and data rate in bit/s and byte/s of every cell, ``(batch, rate)`` each."""
    sizes, rates = np.meshgrid(cells.batch_sizes, cells.shown.data_rates_bps, indexing="ij")
    return sizes.astype(np.float64), rates, rates / BITS_PER_BYTE


def _switching_lines(cells: MapCells) -> Outlines:
    """Each change of split as a staircase through all rows in which it occurs."""
    x: list[float] = []
    y: list[float] = []
    table = cells.study.switching_rates()
    row_of = {size: row for row, size in enumerate(cells.batch_sizes)}
    for _, change in table.groupby(["below", "above"], sort=False):
        last = -math.inf
        points = zip(change["batch_size"].map(row_of), change["data_rate_bps"], strict=True)
        for row, rate in sorted(points):
            if row != last + 1:
                x.append(math.nan)
                y.append(math.nan)
            x += [rate, rate]
            y += [row - 0.5, row + 0.5]
            last = row
    return np.array(x[1:]), np.array(y[1:])


def gain_cells(cells: MapCells, baseline: str) -> StaticCells:
    """The gain over a baseline in every cell.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    return _static_cells(cells, baseline, lambda states, split: states.gains(split))


def regret_cells(cells: MapCells, static: str) -> StaticCells:
    """What always using one split costs more than the best one, in every cell.

    Raises:
        ValueError: It is not a candidate of this study.
    """
    return _static_cells(cells, static, lambda states, split: states.regrets(split))


def _static_cells(
    cells: MapCells, baseline: str, values: Callable[[Study, str], Floats]
) -> StaticCells:
    # The best static split is that of the study's own grid, not of the cells.
    study, shown = cells.study, cells.shown
    split = study.baseline_split(baseline)
    own, drawn = values(study, split), values(shown, split)[cells.rows]
    possible = ~np.isnan(own)
    spent = shown.cost[cells.rows], shown.static_cost(split)[cells.rows]
    large = study.lines.too_large[:, study.splits.index(split)].any()
    return StaticCells(
        baseline,
        split,
        drawn,
        float(own[possible].mean()) if possible.any() else math.nan,
        float(own[possible].max()) if possible.any() else math.nan,
        np.stack([*_state_columns(cells), *spent], axis=-1),
        float(1 - possible.mean()),
        "its head is too large for the device" if large else "it was not measured",
        outlines(cells, np.isnan(drawn)),
    )
