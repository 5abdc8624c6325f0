"""What choosing the split in every state gains over a fixed choice, as a map."""

from __future__ import annotations

import plotly.graph_objects as go

from dscwb.figures.state_map import BAR, compared
from dscwb.study import Study
from dscwb.units import NO_OFFLOADING

GAIN_COLOURS = "YlGnBu"  # ColorBrewer, light for no gain; readable by the colour-blind


def plot_gain(
    study: Study,
    *,
    baseline: str = NO_OFFLOADING,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
) -> go.Figure:
    """What choosing the split in every state gains over a fixed choice, from 0 to 100 %.

    Args:
        study: What to draw.
        baseline: As in `Study.gain`; states in which it is impossible are hatched in grey.
        batch_size: A point to mark, together with its data rate.
        data_rate_bps: In bit/s.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    look = {"zmin": 0, "zmax": 1, "colorscale": GAIN_COLOURS}
    look["colorbar"] = BAR | {"tickformat": ".0%"}
    return compared(study, baseline, "gain", (batch_size, data_rate_bps), **look)
