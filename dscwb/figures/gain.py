"""What choosing the split in every state gains over a fixed choice, as a map."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dscwb.figures.layout import page
from dscwb.figures.state_map import (
    CELL_HOVER,
    WHOLE,
    Against,
    Cells,
    Panel,
    bar,
    instead,
    marked,
)
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
    width: int | None = None,
) -> go.Figure:
    """What choosing the split in every state gains over a fixed choice, from 0 to 100 %.

    Args:
        study: What to draw.
        baseline: As in `Study.gain`; states in which it is impossible are hatched in grey.
        batch_size: A point to mark, together with its data rate.
        data_rate_bps: In bit/s.
        width: Pixels; as wide as the notebook when left out.

    Raises:
        ValueError: The baseline is not a candidate of this study.
    """
    cells = Cells.of(study)
    gained = gain_over(cells, baseline, WHOLE)
    figure = go.Figure(gain_traces(cells, gained, WHOLE))
    figure.add_traces(marked(study, batch_size, data_rate_bps, WHOLE))
    figure.update_layout(cells.axes(WHOLE, cells.height()))
    return page(
        figure,
        *gain_heading(gained),
        f"{cells.caption()}{gained.why}",
        plot_px=cells.height(),
        width=width,
    )


def gain_over(cells: Cells, baseline: str, panel: Panel) -> Against:
    """The gain over a baseline in every cell."""
    return Against.of(cells, baseline, lambda study, split: study.gain(split).to_numpy(), panel)


def gain_heading(gained: Against) -> tuple[str, str]:
    """Title and subtitle of the map."""
    return f"Gain over {gained.name}", gained.subheading(format_percent)


def gain_traces(cells: Cells, gained: Against, panel: Panel) -> list[Any]:
    """The gains, and the hatch where the baseline is impossible."""
    return [
        go.Heatmap(
            **cells.place(panel, GAIN),
            z=gained.values,
            zmin=0,
            zmax=1,
            colorscale=GAIN_COLOURS,
            colorbar=bar(panel, tickformat=".0%"),
            customdata=gained.hover,
            hoverongaps=False,  # it would tell of NaN; the hatch tells why
            hovertemplate=f"{CELL_HOVER}gain %{{z:.1%}}: {instead(cells.study.unit)}",
        ),
        gained.hatched,
    ]
