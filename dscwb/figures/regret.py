"""What always using one split costs more than the best one in every state, as a map."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dscwb.figures.state_map import BAR, compared
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC
from dscwb.units import format_cost

REGRET_COLOURS = "YlOrRd"  # ColorBrewer, light for nothing lost
EXPONENTS = range(-4, 3)  # the scale of regrets, from 0.1 ms (or mJ) to 100 s (or J)


def plot_regret(
    study: Study,
    *,
    baseline: str = BEST_STATIC,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
) -> go.Figure:
    """What always using one split costs more than the best one, in seconds (or joules).

    Colours are logarithmic and the same in every figure, from 0.1 ms to 100 s (or mJ and J): what
    lies beyond has the colour of the end. Arguments and errors as in `plot_gain`.
    """
    least, most = EXPONENTS[0], EXPONENTS[-1]
    ends = {least: "≤ ", most: "≥ "}
    ticks = [f"{ends.get(k, '')}{format_cost(10.0**k, study.unit)}" for k in EXPONENTS]
    return compared(
        study,
        baseline,
        "regret",
        (batch_size, data_rate_bps),
        # Nothing is lost where the split is the best one, and zero has no logarithm.
        scale=lambda costs: np.log10(np.maximum(costs, 10.0**least)),
        zmin=least,
        zmax=most,
        colorscale=REGRET_COLOURS,
        colorbar=BAR | {"tickvals": list(EXPONENTS), "ticktext": ticks},
    )
