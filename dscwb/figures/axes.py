"""Axes that are no map's: names, or bytes, seconds, joules go in, axes with units come out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dscwb.figures.page import (
    AXIS,
    CAPTION,
    MARGIN_LEFT,
    MARGIN_RIGHT,
    MARGIN_TOP,
    log_ticks,
    row_ticks,
)
from dscwb.units import format_bytes, format_number, format_rate, format_seconds

NAME_CHARACTER, AXIS_TITLE = 6.7, 44  # pixels: upright names at the axis, its title below them
LONGEST_NAME = 26  # characters; the whole name stands in the hover
LINEAR_TICKS = 6
LEGEND_SYMBOL, LEGEND_CHARACTER, LEGEND_ROW = 42, 5.6, 20  # pixels
NARROW = 640  # pixels of a page of unknown width, on the safe side
PREFIXES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}
"""Factor and name of each unit's prefixes, largest first."""


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits beside an axis: whole parts are left out at its front.

    ``features.denseblock2.denselayer10`` gives ``…denseblock2.denselayer10``.
    """
    if len(name) <= longest:
        return name
    parts = name.split(".")
    while len(parts) > 1 and len(".".join(parts)) >= longest:
        parts.pop(0)
    return "…" + ".".join(parts)[1 - longest :]


def formatted(value: float, unit: str) -> str:
    """A cost for people, ``s``, ``J`` or ``B``: ``12.3 ms``."""
    if unit == "B":
        return format_bytes(value)
    return f"{format_seconds(value).removesuffix('s')}{unit}"


def left_out(count: int) -> str:
    """What a caption says of candidates that are not drawn."""
    if count == 1:
        return "One candidate that has no times or does not fit is left out."
    return f"{count} candidates that have no times or do not fit are left out."


def short_rate(rate_bps: float) -> str:
    """A data rate for people, in bit/s only: ``12.3 Mbit/s``."""
    return format_rate(rate_bps).split(" (", maxsplit=1)[0]


def depth_axis(
    names: Sequence[str], preferred: Sequence[bool], width_px: float, words: str
) -> dict[str, Any]:
    """Names upright under their places; as many as fit, the preferred ones first.

    Args:
        names: What stands at 0, 1, 2, …
        preferred: Which of them a reader looks for.
        width_px: Width of the page.
        words: Title of the axis.
    """
    place_px = (width_px - MARGIN_LEFT - MARGIN_RIGHT) / len(names)
    labelled = row_ticks(range(len(names)), preferred, place_px)
    return {
        **AXIS,
        "range": [-0.6, len(names) - 0.4],
        "tickvals": labelled,
        "ticktext": [shortened(names[i]) for i in labelled],
        "tickangle": -90,
        "title": {"text": words},
    }


def depth_axis_px(axis: dict[str, Any]) -> float:
    """Height of a `depth_axis`, names and title."""
    names = (re.sub("<[^>]*>", "", name) for name in axis["ticktext"])
    return NAME_CHARACTER * max(map(len, names)) + AXIS_TITLE


def prefixed(value: float, unit: str) -> tuple[float, str]:
    """Factor and name of the largest prefix not above a value: ``0.02`` s gives ``1e-3, ms``."""
    prefixes = PREFIXES[unit]
    return next((one for one in prefixes if abs(value) >= one[0]), prefixes[-1])


def log_axis(low: float, high: float, unit: str, words: str) -> dict[str, Any]:
    """A logarithmic axis in SI units, labelled in the prefix that suits the last decade but one.

    Args:
        low: Its lower end, above zero.
        high: Its upper end.
        unit: ``s``, ``J`` or ``B``.
        words: What is shown; the unit is added.
    """
    factor, name = prefixed(2 * max(low, high / 10), unit)
    ticks = log_ticks(low, high)
    return {
        **AXIS,
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [format_number(tick / factor) for tick in ticks],
        "showgrid": True,
        "title": {"text": f"{words} in {name}"},
    }


def linear_axis(high: float, unit: str, words: str) -> dict[str, Any]:
    """An axis from zero in SI units, labelled in the prefix that suits its end."""
    factor, name = prefixed(high, unit)
    ticks = linear_ticks(high)
    return {
        **AXIS,
        "range": [0, high],
        "tickvals": ticks,
        "ticktext": [format_number(tick / factor) for tick in ticks],
        "showgrid": True,
        "title": {"text": f"{words} in {name}"},
    }


def linear_ticks(high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten from zero to `high`, at most six steps."""
    if not high > 0:
        return (0.0,)
    decade = 10.0 ** math.floor(math.log10(high / LINEAR_TICKS))
    step = next(m * decade for m in (1, 2, 5, 10) if high / (m * decade) <= LINEAR_TICKS)
    return tuple(k * step for k in range(int(high / step * (1 + 1e-9)) + 1))


def name_px(names: Sequence[str]) -> float:
    """Width of the longest of these names."""
    return NAME_CHARACTER * max((len(shortened(name)) for name in names), default=0)


def legend_rows(names: Sequence[str], heading: str, plot_px: float) -> int:
    """How many rows plotly needs for a horizontal legend: wrapped, all columns are as wide."""
    widths = [LEGEND_SYMBOL + LEGEND_CHARACTER * len(name) for name in names]
    if sum(widths) + LEGEND_CHARACTER * len(heading) <= plot_px:
        return 1
    return max(2, math.ceil(len(widths) / max(1, int(plot_px / max(widths)))))


def legend_above(figure: go.Figure, width: int | None, clear_px: float = 0) -> None:
    """After `page.set_page`: a horizontal legend between the title and the plot, in its own rows.

    Above the plot at its right it would run into the title of a narrow page.

    Args:
        figure: Changed in place.
        width: Pixels; as wide as the notebook where None.
        clear_px: Room between legend and plot, for the titles of panels.
    """
    layout = figure.layout
    shown = [one.name for one in figure.data if one.showlegend is not False]
    plot_px = (width or NARROW) - layout.margin.l - layout.margin.r
    more_px = LEGEND_ROW * legend_rows(shown, layout.legend.title.text or "", plot_px) + clear_px
    above = clear_px / (layout.height - layout.margin.t - layout.margin.b)
    layout.margin.t += more_px
    layout.height += more_px
    # Without a place of its own the title would follow the middle of the margin.
    layout.title.update(y=1 - MARGIN_TOP / 2 / layout.height, yanchor="bottom")
    layout.legend.update(orientation="h", x=0, xanchor="left", y=1 + above, yanchor="bottom")
    layout.legend.font.size = 11


def widen_left(figure: go.Figure, more_px: float) -> None:
    """Give long row labels room after `page.set_page`; the caption stays at the page's edge."""
    figure.layout.margin.l += more_px
    for note in figure.layout.annotations:
        if note.name == CAPTION:
            note.xshift -= more_px
