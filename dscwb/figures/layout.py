"""What all figures share: the look, names of splits, axes, hovers, and the page with its caption.

plotly neither wraps a caption nor keeps it clear of the axis above it, so these two are done here:
lines are wrapped by hand, and room for the axis is given in pixels. All other room plotly finds.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dscwb import units
from dscwb.study import Study
from dscwb.toolbar import MODEBAR

CAPTION = "caption"
"""Name of the annotation that holds a figure's caption."""
WIDTH = 800  # pixels assumed of a page as wide as its notebook: a cell in a narrow window
MARGIN_LEFT, MARGIN_TOP, MARGIN_RIGHT = 76, 68, 24
PLOT_WIDTH = WIDTH - MARGIN_LEFT - MARGIN_RIGHT
LEGEND_ROW, LEGEND_SYMBOL = 24, 42
PLAIN_AXIS = 58  # one line of tick labels and the title
NAME_CHARACTER, AXIS_TITLE = 6.7, 44  # upright names at an axis, its title below them
TEXT = 12  # pixels, of the smallest letters
CAPTION_LINE, CAPTION_LINES = 16, 3  # pixels of one, and how many stand below a figure
CAPTION_CHARACTER = 6.9  # mean width at TEXT in the widest of plotly's fallback fonts
MORE = " … [more]"  # the rest of a caption stands in its hover
HOVER_CHARACTERS = 90  # in a line of a hover
LABEL_HEIGHT = 14  # tick labels nearer than this would touch
LONGEST_NAME = 26  # characters; the whole name stands in the hover
GREY, RIM = "rgba(130, 130, 130, 0.6)", "rgb(110, 110, 110)"  # seen on light and on dark pages
STATE = "this state"
MARK: dict[str, Any] = {"name": STATE, "mode": "markers"}
"""The point that was asked for: a white disc with a black rim stands out on every colour."""
MARK["marker"] = {"size": 13, "color": "white", "line": {"color": "black", "width": 3}}
INTERPOLATED = "Times at this batch size are interpolated linearly."
AXIS = {"showgrid": False, "zeroline": False, "ticks": "outside"}
TOP_LEFT = {"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12, "t": 14}}
TOP_LEFT |= {"y": 1, "yref": "container", "yanchor": "top"}
LOOK: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"size": TEXT},
    "hoverlabel": {"align": "left"},
    "modebar": MODEBAR,
    "autosize": True,
    "legend": {"tracegroupgap": 0, "traceorder": "normal"},
}
LEGEND_ABOVE = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
"""A legend between title and plot."""

MIN_TICKS, MAX_TICKS = 4, 7
MANTISSAS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
"""Where ticks may lie within a decade, sparsest first."""


def full_name(split: str) -> str:
    """What people read for a split: ``after blocks.3.0``."""
    return units.plain_text(units.shown_name(split))


def label(split: str) -> str:
    """`full_name` short enough for an axis or a legend."""
    return full_name(shortened(split))


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits beside an axis: whole parts are left out at its front.

    ``features.denseblock2.denselayer10`` gives ``…denseblock2.denselayer10``.
    """
    whole = name[-longest:].partition(".")[2] or name[1 - longest :]
    return name if len(name) <= longest else f"…{whole}"


def best_in_words(study: Study, batch_size: int, data_rate_bps: float) -> str:
    """The best split at a point, and by how much: ``after a is best: 31 ms, 7 ms ahead of …``."""
    best, least = study.at(batch_size, data_rate_bps), study.cost_at(batch_size, data_rate_bps)
    cost, margin = (units.format_cost(one, study.unit) for one in (np.nanmin(least), best.margin))
    ahead = f", {margin} ahead of {units.shown_name(best.runner_up)}" if best.runner_up else ""
    return f"{units.shown_name(best.split)} is best: {cost}{ahead}"


def left_out(count: int) -> str:
    """What a caption says of candidates that are not drawn; empty if there are none."""
    return f"Left out, having no times or too large: {count} of the candidates." * (count > 0)


def percents(shares: Iterable[float]) -> str:
    """From the least to the greatest: ``2.3 to 45 %``."""
    low, *_, high = map(units.format_percent, sorted([*shares] * 2))
    return f"{low.removesuffix(' %')} to {high}"


def hover(told: Mapping[str, ArrayLike], head: str = "", tail: str = "") -> dict[str, Any]:
    """What a trace says under the mouse: numbers by the words around them, ``"T {:.3~s}s"``.

    They stay numbers, which plotly formats: as strings each cell of a map would cost time.
    """
    words = (text.replace("{:", f"%{{customdata[{i}]:") for i, text in enumerate(told))
    numbers = np.stack(np.broadcast_arrays(*told.values()), axis=-1)
    text = f"{head}{''.join(words)}{tail}<extra></extra>"
    return {"customdata": numbers, "hovertemplate": text}


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers from `low` to `high` for a logarithmic axis, as few as will do."""
    decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = decades[:0]
    for mantissas in MANTISSAS:
        ticks = np.outer(decades, mantissas).ravel()
        # Ends that differ from a round number by rounding only deserve their tick.
        inside = ticks[(low * (1 - 1e-9) <= ticks) & (ticks <= high * (1 + 1e-9))]
        if len(inside) >= MIN_TICKS:
            break
    some = inside[:: math.ceil(len(inside) / MAX_TICKS) or 1]
    return tuple(some.tolist()) or (math.sqrt(low * high),)


def linear_axis(unit: str, words: str) -> dict[str, Any]:
    """An axis whose ticks plotly finds, in SI prefixes."""
    ticks = {"tickformat": "~s", "ticksuffix": unit, "showgrid": True}
    return {**AXIS, **ticks, "title": {"text": f"{words} in {unit}" if unit else words}}


def log_axis(low: float, high: float, unit: str, words: str) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high`, with a few round ticks in SI prefixes."""
    ticks = log_ticks(low, high)
    return linear_axis(unit, words) | {
        "type": "log",
        "range": np.log10([low, high]).tolist(),
        "tickvals": ticks,
        "ticktext": [in_unit(tick, unit) for tick in ticks],
    }


def in_unit(value: float, unit: str) -> str:
    """A tick as plotly writes it, in ``s``, ``J``, ``B`` or no unit: ``10ms``."""
    if not unit:
        return units.format_number(value)
    text = units.format_bytes(value) if unit == "B" else units.format_cost(value, unit)
    return text.replace(" ", "")


def rate_axis(low_bps: float, high_bps: float) -> dict[str, Any]:
    """A logarithmic axis of data rates in bit/s, labelled in Mbit/s."""
    axis = log_axis(low_bps, high_bps, "", "Data rate in Mbit/s")
    names = [units.format_number(rate / 1e6) for rate in axis["tickvals"]]
    return axis | {"showgrid": False, "tickangle": 0, "ticktext": names}


def row_ticks(sizes: Sequence[int], preferred: Sequence[bool], row_px: float) -> tuple[int, ...]:
    """Rows to label so that no two labels touch: the preferred ones first, then round numbers."""
    gap = max(1, math.ceil(LABEL_HEIGHT / row_px))
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100) if gap <= s), 10**9)
    wanted = [0, len(sizes) - 1, *np.flatnonzero(preferred).tolist()]
    wanted += [row for row, size in enumerate(sizes) if size % step == 0]
    chosen: list[int] = []
    for row in wanted:
        if all(abs(row - other) >= gap for other in chosen):
            chosen.append(row)
    return tuple(sorted(chosen))


def depth_axis(names: Iterable[str], words: str) -> dict[str, Any]:
    """Names upright under their places, short ones; plotly leaves out those that have no room."""
    alias = {
        name: name.replace(own := name.removeprefix("after "), shortened(own)) for name in names
    }
    return {
        **AXIS,
        "type": "category",
        "categoryarray": list(alias),
        "range": [-0.6, len(alias) - 0.4],
        "tickangle": -90,
        "labelalias": alias,
        "title": {"text": words},
    }


def page(
    traces: go.Figure | Sequence[Any],
    title: tuple[str, str],
    caption: Iterable[str],
    *,
    plot_px: float,
    axis_px: float = PLAIN_AXIS,
    left_px: float = MARGIN_LEFT,
    **layout: Any,
) -> go.Figure:
    """A figure of traces, or one with panels, with its look, title and subtitle, and caption.

    The caption's empty sentences are left out. The plot is `plot_px` high, what stands under it
    `axis_px` (known for a `depth_axis`), and what stands beside it is `left_px` wide.
    """
    figure = traces if isinstance(traces, go.Figure) else go.Figure(traces)
    figure.update_layout(layout)
    if names := figure.layout.xaxis.labelalias:
        axis_px = NAME_CHARACTER * max(map(len, names.values())) + AXIS_TITLE
    heading, subtitle = map(units.plain_text, title)
    above = LEGEND_ROW * _legend_rows(figure, WIDTH - left_px - MARGIN_RIGHT)
    top, bottom = MARGIN_TOP + above, axis_px + CAPTION_LINE + 12
    below = {"xref": "paper", "x": 0, "xanchor": "left", "xshift": 12 - left_px, "align": "left"}
    below |= {"yref": "paper", "y": 0, "yanchor": "top", "yshift": -axis_px}
    text = units.plain_text(" ".join(filter(None, caption)))
    figure.add_annotation(name=CAPTION, text=text, showarrow=False, **below)
    figure.update_layout(
        height=top + plot_px + bottom,
        margin={"l": left_px, "t": top, "r": MARGIN_RIGHT, "b": bottom},
    )
    look = LOOK | {"title": {"text": heading, "subtitle": {"text": subtitle}, **TOP_LEFT}}
    return wrapped(figure, WIDTH).update_layout(look)  # the template last: it slows what follows


def _legend_rows(figure: go.Figure, width_px: float) -> int:
    """Rows of a legend above the plot: one, or columns that are as wide as the widest entry."""
    if figure.layout.legend.orientation != "h":
        return 0
    names = [str(one.name) for one in figure.data if one.name and one.showlegend is not False]
    wide = [LEGEND_SYMBOL + CAPTION_CHARACTER * len(name) for name in names]
    if sum(wide) <= width_px:
        return 1
    return -(-len(wide) // max(1, int(width_px / max(wide))))


def caption_of(figure: go.Figure) -> str:
    """The caption as one line of text; empty where a figure has none."""
    notes = (note for note in figure.layout.annotations if note.name == CAPTION)
    return " ".join(str(note.hovertext or note.text).replace("<br>", " ") for note in notes)


def wrapped(figure: go.Figure, width_px: float, most: int | None = CAPTION_LINES) -> go.Figure:
    """The figure itself, its caption in lines of this width, or none for 0, and room for them.

    Of a caption of more than `most` lines the whole stands in its hover.
    """
    text, wide = caption_of(figure), max(20, int((width_px - 24) / CAPTION_CHARACTER))
    lines = textwrap.wrap(text, wide, max_lines=most, placeholder=MORE) if width_px else []
    for note in figure.select_annotations({"name": CAPTION}):
        before = note.text.count("<br>") + bool(note.text)
        whole = "<br>".join(textwrap.wrap(text, HOVER_CHARACTERS))
        note.hovertext = whole if lines and lines[-1].endswith(MORE) else None
        note.text = "<br>".join(lines)
        more = CAPTION_LINE * (len(lines) - before)
        figure.layout.height += more
        figure.layout.margin.b += more
    return figure
