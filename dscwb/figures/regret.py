"""What always using one split costs more than the best one in every state, as a map."""

from __future__ import annotations

from functools import partial

import numpy as np
import plotly.graph_objects as go

from dscwb.figures.state_map import BAR, CELL_HOVER, compared, heading_against
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC
from dscwb.units import format_cost

REGRET = "regret"  # name of the trace
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
    lies beyond has the colour of the end.

    Args:
        study: What to draw.
        baseline: A split's name or a baseline, as in `Study.gain`; states in which it is impossible
            are hatched in grey.
        batch_size: A point to mark, together with its data rate.
        data_rate_bps: In bit/s.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    unit, lost = study.unit, study.regret(baseline).to_numpy()
    shown = partial(format_cost, unit=unit)
    heading = heading_against(study, baseline, lost, "Regret of", shown)
    ends = {EXPONENTS[0]: "≤ ", EXPONENTS[-1]: "≥ "}
    ticks = [f"{ends.get(k, '')}{shown(10.0**k)}" for k in EXPONENTS]
    return compared(
        study,
        baseline,
        lambda states, split: states.regret(split).to_numpy(),
        heading,
        (batch_size, data_rate_bps),
        # Nothing is lost where the split is the best one, and zero has no logarithm.
        scale=lambda costs: np.log10(np.maximum(costs, 10.0 ** EXPONENTS[0])),
        name=REGRET,
        zmin=EXPONENTS[0],
        zmax=EXPONENTS[-1],
        colorscale=REGRET_COLOURS,
        colorbar={**BAR, "tickvals": list(EXPONENTS), "ticktext": ticks},
        hovertemplate=f"{CELL_HOVER}regret %{{customdata[5]:.3~s}}{unit}: "
        f"%{{customdata[3]:.3~s}}{unit} instead of %{{customdata[4]:.3~s}}{unit}<extra></extra>",
    )
