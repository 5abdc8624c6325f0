"""What choosing the split in every state gains over a fixed choice, as a map."""

from __future__ import annotations

import plotly.graph_objects as go

from dscwb.figures.state_map import BAR, CELL_HOVER, compared, heading_against
from dscwb.study import Study
from dscwb.units import NO_OFFLOADING, format_percent

GAIN = "gain"  # name of the trace
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
    unit = study.unit
    return compared(
        study,
        baseline,
        lambda states, split: states.gain(split).to_numpy(),
        gain_heading(study, baseline),
        (batch_size, data_rate_bps),
        name=GAIN,
        zmin=0,
        zmax=1,
        colorscale=GAIN_COLOURS,
        colorbar={**BAR, "tickformat": ".0%"},
        hovertemplate=f"{CELL_HOVER}gain %{{z:.1%}}: %{{customdata[3]:.3~s}}{unit} instead of "
        f"%{{customdata[4]:.3~s}}{unit}<extra></extra>",
    )


def gain_heading(study: Study, baseline: str) -> tuple[str, str]:
    """Title and subtitle of the map."""
    gains = study.gain(baseline).to_numpy()
    return heading_against(study, baseline, gains, "Gain over", format_percent)
