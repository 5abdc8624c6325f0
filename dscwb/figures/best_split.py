"""The best split in every state, as a map over data rate and batch size."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dscwb.colours import split_colours
from dscwb.figures.layout import label
from dscwb.figures.load_map import load_map
from dscwb.figures.state_map import BAR, StateMap, lines
from dscwb.study import Study
from dscwb.study.confidence import DECIDED_FROM, Confidence
from dscwb.study.sureness import about_models, about_times, robust, undecided
from dscwb.units import format_percent

MAP, SWITCHING = "best split", "switching rate"  # names of the traces
UNDECIDED, FRAGILE = "undecided", "only if the model is right"
NAME_HEIGHT = 15  # pixels: names at a colour bar nearer than this would touch
TOLD = {
    "latency_s": "latency {:.3~s}s",
    "head_s": "<br>= device {:.3~s}s",
    "transfer_s": " + transfer {:.3~s}s",
    "tail_s": " + server {:.3~s}s",
    "wait_s": " + wait {:.3~s}s",
    "device_energy_j": "<br>the device spends {:.3~s}J",
    "payload_bytes": "<br>payload {:.3~s}B",
}
"""What a cell tells of these columns of `Study.to_pandas` and of the transfer."""
FEW_SPLITS = 12  # the lines around more splits are thin, or they would cover narrow ones
# The veil keeps the hatch readable on the lightest and the darkest colour; the lines are near to
# each other since most undecided regions are a few pixels wide.
UNDECIDED_HATCH = {"shape": "/", "fgcolor": "black", "size": 4, "solidity": 0.3}
UNDECIDED_HATCH |= {"bgcolor": "rgba(255, 255, 255, 0.5)"}
# A lesser doubt: a thinner veil, and dots that a few pixels show too.
FRAGILE_HATCH = UNDECIDED_HATCH | {"shape": ".", "bgcolor": "rgba(255, 255, 255, 0.25)"}


def plot_best_split(
    study: Study,
    *,
    confidence: Confidence | None = None,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    over: Literal["batch_size", "server_load"] = "batch_size",
) -> go.Figure:
    """The best split in every state, as a map over data rate and batch size or server load.

    A split has the same colour in every figure of its model, light near the input and dark near
    the output. Lines mark the exact switching rates, which the grid only samples.

    Args:
        study: What to draw.
        confidence: ``study.confidence()``, to hatch the states in which no split is sure, and to
            dot those in which one is sure only if a model is right.
        batch_size: A point to mark, together with its data rate.
        data_rate_bps: In bit/s.
        over: ``server_load`` draws one batch size (the given or the smallest one) for servers from
            idle to busy; confidence and point are not drawn there.

    Raises:
        ValueError: The confidence is that of another study, or `over` is neither.
    """
    if over == "server_load":
        return load_map(study, min(study.batch_sizes) if batch_size is None else batch_size)
    if over != "batch_size":
        raise ValueError(f"over is {over!r}; choose 'batch_size' or 'server_load'.")
    if confidence is not None and confidence.study.lines is not study.lines:
        raise ValueError("The confidence is that of another study; give study.confidence().")
    cells = StateMap.of(study)
    chosen, best = np.unique(cells.shown.best, return_inverse=True)
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in chosen])
    names, steps = [label(study.splits[i]) for i in chosen], len(chosen)
    sure = confidence and confidence.at_rates(cells.shown.data_rates_bps)
    heatmap = cells.heatmap(
        best.reshape(cells.shown.best.shape),
        _told(cells.shown, sure),
        name=MAP,
        zmin=-0.5,
        zmax=steps - 0.5,
        colorscale=[
            [(k + side) / steps, colour] for k, colour in enumerate(colours) for side in (0, 1)
        ],
        colorbar=BAR | {"tickvals": list(range(steps)), "ticktext": names},
    )
    traces: list[Any] = [heatmap]
    if sure is not None:
        unsure = undecided(cells.shown, sure.undecided)
        traces.append(cells.hatch(UNDECIDED, unsure, UNDECIDED_HATCH))
        traces.append(cells.hatch(FRAGILE, ~robust(cells.shown) & ~unsure, FRAGILE_HATCH))
    # A line through its row at every exact switching rate.
    rates = [study.envelopes[row].switching_rates_bps for row in cells.rows]
    x = np.repeat(np.concatenate(rates), 3)
    y = np.repeat(np.arange(len(rates)), [len(row) for row in rates])[:, None] + [-0.5, 0.5, np.nan]
    line = {"color": "white", "width": 1 if steps <= FEW_SPLITS else 0.5}
    return cells.figure(
        [*traces, lines(SWITCHING, x, y.ravel(), line=line)],
        best_split_heading(study),
        about_lines(confidence),
        (batch_size, data_rate_bps),
        least_px=NAME_HEIGHT * steps,
    )


def _told(shown: Study, sure: Confidence | None) -> dict[str, ArrayLike]:
    """What a cell says under the mouse: numbers by their words."""
    table, graph = shown.to_pandas(), shown.edge.graph
    parts = table["wait_s"] + table["head_s"] + table["tail_s"]
    table["transfer_s"] = table["latency_s"] - parts
    if shown.scenario.arrival_rate_hz is None:
        del table["wait_s"]
    told: dict[str, Any] = {
        words: table[name].to_numpy().reshape(shown.best.shape)
        for name, words in TOLD.items()
        if name in table
    }
    layers = np.array([cut.index for cut in shown.lines.splits])[shown.best]
    blocks = np.searchsorted([block.end for block in graph.blocks], layers, "right")
    told[f"<br>device runs {{:d}} of {len(graph.blocks)} blocks"] = blocks
    told[f", {{:d}} of {len(graph.layers)} layers"] = layers
    if sure is not None:
        told["<br>best in {:.1%} of the replicates"] = sure.probability
    return told


def best_split_heading(study: Study) -> tuple[str, str]:
    """Title and subtitle of the map."""
    model, share = study.edge.graph.model, format_percent(study.usefulness())
    return f"Best split of {model}", f"a split is best in {share} of the states shown"


def about_lines(confidence: Confidence | None) -> str:
    """What a caption says of lines, hatches and dots."""
    words = "White lines: the exact rates at which the best split changes."
    if confidence is None:
        return words
    study = confidence.study
    doubted, models = about_times(study), about_models(study)
    hatched = format_percent(float(undecided(study, confidence.undecided).mean()))
    return (
        f"{words} Hatched: no split is best in {format_percent(DECIDED_FROM)} of "
        f"{confidence.label()}{doubted and f', or {doubted}'}: {hatched} of the states."
        + (f" Dotted: {models}" if models else "")
    )
