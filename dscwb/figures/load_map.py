"""The best split over data rate and server load, at one batch size."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dscwb.colours import split_colours
from dscwb.cost import cost_at
from dscwb.figures.layout import AXIS, hover, label, page, rate_axis
from dscwb.figures.state_map import BAR, MAX_PLOT, StateMap
from dscwb.study import Study

LOADS = np.geomspace(1, 32, 121)
"""Server loads in the middle of each row, from an idle server to one 32 times as slow."""


def load_map(study: Study, batch_size: int) -> go.Figure:
    """What `plot_best_split` draws over the server's load.

    T = head + link + load · tail + s / r is a plane for each split; a cell has the colour of the
    one that is lowest in its middle.
    """
    row, load = study.row(batch_size), study.scenario.server_load
    cells = StateMap.of(study)
    rates = cells.shown.data_rates_bps
    tails = study.scenario.second_costs[1] * study.lines.tail_s[row] / load
    bases = study.intercepts[row] - load * tails
    intercepts = bases + LOADS[:, None] * tails
    costs = cost_at(intercepts[:, None, :], study.slopes[row], rates[:, None])
    costs = np.where(np.isnan(costs), np.inf, costs)
    chosen, best = np.unique(costs.argmin(axis=2), return_inverse=True)
    best = best.reshape(costs.shape[:2])
    colours = split_colours(study.edge.graph, [study.lines.splits[i] for i in chosen])
    steps = len(chosen)
    told = hover(
        {
            "<b>server load {:.2f}": np.broadcast_to(LOADS[:, None], best.shape),
            ", {:.3~s}bit/s</b>": np.broadcast_to(rates, best.shape),
            f"<br>{study.scenario.objective} {{:.3~s}}{study.unit}": costs.min(axis=2),
        }
    )
    heatmap = go.Heatmap(
        x=cells.edges_bps,
        y=LOADS,
        z=best,
        zmin=-0.5,
        zmax=steps - 0.5,
        colorscale=[
            [(k + side) / steps, colour] for k, colour in enumerate(colours) for side in (0, 1)
        ],
        colorbar=BAR
        | {
            "tickvals": list(range(steps)),
            "ticktext": [label(study.splits[i]) for i in chosen],
        },
        **told,
    )
    return page(
        [heatmap],
        (
            f"Best split of {study.edge.graph.model}",
            f"over data rate and server load, at batch size {batch_size}",
        ),
        [
            study.label(),
            "A server load of 2: the server takes twice as long as an idle one, because requests "
            "wait or because it works slower.",
        ],
        plot_px=MAX_PLOT,
        xaxis=rate_axis(cells.edges_bps[0], cells.edges_bps[-1]),
        yaxis={
            **AXIS,
            "type": "log",
            "title": {"text": "Server load"},
            "tickvals": [1, 2, 4, 8, 16, 32],
        },
    )
