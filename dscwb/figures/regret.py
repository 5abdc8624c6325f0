"""What always using one split costs more than the best one in every state, as a map."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dscwb.figures.layout import page
from dscwb.figures.state_map import CELL_HOVER, WHOLE, Against, Cells, bar, instead, marked
from dscwb.study import Study
from dscwb.study.study import BEST_STATIC
from dscwb.units import format_cost

REGRET = "regret"  # name of the trace
REGRET_COLOURS = "YlOrRd"  # ColorBrewer, light for nothing lost
LEAST_REGRET, DECADES = -4, 6  # the scale of regrets, from 0.1 ms (or mJ) to 100 s (or J)


def plot_regret(
    study: Study,
    *,
    baseline: str = BEST_STATIC,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    width: int | None = None,
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
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    cells, unit = Cells.of(study), study.unit
    lost = Against.of(cells, baseline, lambda study, split: study.regret(split).to_numpy(), WHOLE)
    exponents = range(LEAST_REGRET, LEAST_REGRET + DECADES + 1)
    ends = {exponents[0]: "≤ ", exponents[-1]: "≥ "}
    ticks = [f"{ends.get(k, '')}{format_cost(10.0**k, unit)}" for k in exponents]
    figure = go.Figure(
        [
            go.Heatmap(
                **cells.place(WHOLE, REGRET),
                # Nothing is lost where the split is the best one, and zero has no logarithm.
                z=np.log10(np.maximum(lost.values, 10.0 ** exponents[0])),
                zmin=exponents[0],
                zmax=exponents[-1],
                colorscale=REGRET_COLOURS,
                colorbar=bar(WHOLE, tickvals=list(exponents), ticktext=ticks),
                customdata=np.dstack([lost.hover, lost.values]),
                hoverongaps=False,
                hovertemplate=f"{CELL_HOVER}regret %{{customdata[5]:.3~s}}{unit}: {instead(unit)}",
            ),
            lost.hatched,
            *marked(study, batch_size, data_rate_bps, WHOLE),
        ]
    )
    figure.update_layout(cells.axes(WHOLE, cells.height()))
    return page(
        figure,
        f"Regret of {lost.name}",
        lost.subheading(lambda value: format_cost(value, unit)),
        f"{cells.caption()}{lost.why}",
        plot_px=cells.height(),
        width=width,
    )
