"""What all figures share: the look, names of splits, axes, and the page with title and caption.

plotly neither wraps a caption nor keeps it clear of the axis above it, so these two are done here:
lines are wrapped by hand, and room for the axis is given in pixels. All other room plotly finds.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from dscwb.graph import ModelGraph
from dscwb.study import Study
from dscwb.units import (
    BITS_PER_BYTE,
    format_bytes,
    format_cost,
    format_number,
    format_percent,
    shown_name,
)

CAPTION = "caption"
"""Name of the annotation that holds a figure's caption."""
WIDTH = 800  # pixels assumed of a page as wide as its notebook: a cell in a narrow window
MARGIN_LEFT, MARGIN_TOP, MARGIN_RIGHT = 76, 68, 24
PLOT_WIDTH = WIDTH - MARGIN_LEFT - MARGIN_RIGHT
LEGEND_ROW = 24
RATE_AXIS = 74  # two lines of tick labels and the title
PLAIN_AXIS = 58  # one line of them
NAME_CHARACTER, AXIS_TITLE = 6.7, 44  # upright names at an axis, its title below them
CAPTION_LINE, CAPTION_SIZE = 15, 11
CAPTION_CHARACTER = 6.3  # mean width at CAPTION_SIZE in the widest of plotly's fallback fonts
LABEL_HEIGHT = 14  # tick labels nearer than this would touch
LONGEST_NAME = 26  # characters; the whole name stands in the hover
GREY, RIM = "rgba(130, 130, 130, 0.6)", "rgb(110, 110, 110)"  # seen on light and on dark pages
MARK = {"size": 13, "color": "white", "line": {"color": "black", "width": 3}}
"""The point that was asked for: a white disc with a black rim stands out on every colour."""
INTERPOLATED = "Times at this batch size are interpolated linearly."
CLOUD = "sendChartToCloud"  # plotly's button that would upload a figure
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "toImageButtonOptions": {"format": "svg", "scale": 2},
}
AXIS = {"showgrid": False, "zeroline": False, "ticks": "outside"}
LOOK: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"size": 12},
    "hoverlabel": {"align": "left"},
    "modebar": {"remove": [CLOUD]},
    "autosize": True,
    "title": {
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"l": 12, "t": 14},
    },
    "legend": {
        "font": {"size": 11},
        "title": {"font": {"size": 11}},
        "tracegroupgap": 0,
        "traceorder": "normal",
    },
}
LEGEND_ABOVE = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container"}
"""A legend between title and plot; `page` says how high."""

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
    """What people read for a split, safe in plotly's little HTML: ``after blocks.3.0``."""
    return html.escape(shown_name(split), quote=False)


def label(split: str) -> str:
    """`full_name` short enough for an axis or a legend."""
    end = split == shown_name(split)  # full or no offloading
    return full_name(split if end else shortened(split))


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


def model_and_size(graph: ModelGraph) -> str:
    """A model and the size of its input, for captions."""
    return f"{graph.model} at {'×'.join(str(n) for n in graph.inputs[0].shape[1:])}"


def best_in_words(study: Study, batch_size: int, data_rate_bps: float) -> str:
    """The best split at a point, and by how much: ``after a is best: 31 ms, 7 ms ahead of …``."""
    best, unit = study.at(batch_size, data_rate_bps), study.unit
    cost = float(study.at_rates(data_rate_bps).cost[study.row(batch_size), 0])
    words = f"{shown_name(best.split)} is best: {format_cost(cost, unit)}"
    if best.runner_up:
        words += f", {format_cost(best.margin, unit)} ahead of {shown_name(best.runner_up)}"
    return words


def left_out(count: int) -> str:
    """What a caption says of candidates that are not drawn; empty if there are none."""
    if count == 1:
        return "One candidate that has no times or does not fit is left out."
    return f"{count} candidates that have no times or do not fit are left out." if count else ""


def percents(shares: Iterable[float]) -> str:
    """From the least to the greatest: ``2.3 to 45 %``."""
    numbers = list(shares)
    low, high = (format_percent(end(numbers)) for end in (min, max))
    return f"{low.removesuffix(' %')} to {high}"


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers from `low` to `high` for a logarithmic axis, as few as will do."""
    inside: list[float] = []
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for mantissas in MANTISSAS:
        ticks = [m * 10.0**decade for decade in range(first, last + 1) for m in mantissas]
        # Ends that differ from a round number by rounding only deserve their tick.
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= MIN_TICKS:
            return tuple(inside[:: math.ceil(len(inside) / MAX_TICKS)])
    return tuple(inside) or (math.sqrt(low * high),)


def log_axis(low: float, high: float, unit: str, words: str) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high`, with a few round ticks in SI prefixes."""
    ticks = log_ticks(low, high)
    return linear_axis(unit, words) | {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [in_unit(tick, unit) for tick in ticks],
    }


def linear_axis(unit: str, words: str) -> dict[str, Any]:
    """An axis whose ticks plotly finds, in SI prefixes."""
    title = {"text": f"{words} in {unit}" if unit else words}
    return {**AXIS, "title": title, "showgrid": True, "tickformat": "~s", "ticksuffix": unit}


def in_unit(value: float, unit: str) -> str:
    """A tick as plotly writes it, in ``s``, ``J``, ``B`` or no unit: ``10ms``."""
    if not unit:
        return format_number(value)
    text = format_bytes(value) if unit == "B" else format_cost(value, unit)
    return text.replace(" ", "")


def rate_axis(low_bps: float, high_bps: float) -> dict[str, Any]:
    """A logarithmic axis of data rates in bit/s, labelled in Mbit/s and below it in MB/s."""
    rates = log_ticks(low_bps, high_bps)
    return {
        **AXIS,
        "type": "log",
        "range": [math.log10(low_bps), math.log10(high_bps)],
        "tickvals": rates,
        "ticktext": [
            f"{format_number(rate / 1e6)}<br>{_small(format_number(rate / 1e6 / BITS_PER_BYTE))}"
            for rate in rates
        ],
        "tickangle": 0,
        "title": {"text": f"Data rate in Mbit/s{_small(', below in MB/s')}"},
    }


def _small(text: str) -> str:
    # Seven decades side by side in half of a narrow window leave 36 pixels to "0.00125".
    return f"<span style='font-size:9px'>{text}</span>"


def row_ticks(sizes: Sequence[int], preferred: Sequence[bool], row_px: float) -> tuple[int, ...]:
    """Rows to label so that no two labels touch: the preferred ones first, then round numbers."""
    gap = max(1, math.ceil(LABEL_HEIGHT / row_px))
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**9) if gap <= s or s == 10**9)
    wanted = [0, len(sizes) - 1, *(row for row, first in enumerate(preferred) if first)]
    wanted += [row for row, size in enumerate(sizes) if size % step == 0]
    chosen: list[int] = []
    for row in wanted:
        if all(abs(row - other) >= gap for other in chosen):
            chosen.append(row)
    return tuple(sorted(chosen))


def depth_axis(names: Sequence[str], shown: Sequence[str], words: str) -> dict[str, Any]:
    """Names upright under their places; plotly leaves out those that have no room.

    Args:
        names: What stands there from left to right, each once.
        shown: The same for people.
        words: Title of the axis.
    """
    return {
        **AXIS,
        "type": "category",
        "categoryarray": list(names),
        "range": [-0.6, len(names) - 0.4],
        "tickangle": -90,
        "labelalias": dict(zip(names, shown, strict=True)),
        "title": {"text": words},
    }


def depth_px(shown: Sequence[str]) -> float:
    """Height of a `depth_axis` with these names."""
    return NAME_CHARACTER * max(map(len, shown)) + AXIS_TITLE


def page(
    figure: go.Figure,
    heading: str,
    subheading: str,
    caption: str,
    *,
    plot_px: float,
    axis_px: float = RATE_AXIS,
    left_px: float = MARGIN_LEFT,
) -> go.Figure:
    """Give a figure its look, title, margins, height and caption.

    Args:
        figure: Changed in place.
        heading: Title.
        subheading: A line below it; both as plain text.
        caption: One line, wrapped here.
        plot_px: Height of the plot itself.
        axis_px: Height of tick labels and title under the plot.
        left_px: Width of tick labels and title beside it.
    """
    text = wrapped(caption, WIDTH)
    top = MARGIN_TOP + LEGEND_ROW * (figure.layout.legend.orientation == "h")
    bottom = axis_px + CAPTION_LINE * (text.count("<br>") + 1) + 12
    title, subtitle = (html.escape(words, quote=False) for words in (heading, subheading))
    figure.update_layout(LOOK, title={"text": title, "subtitle": {"text": subtitle}})
    figure.update_layout(
        height=top + plot_px + bottom,
        margin={"l": left_px, "t": top, "r": MARGIN_RIGHT, "b": bottom},
    )
    place_legend(figure)
    below = {"xref": "paper", "x": 0, "xanchor": "left", "xshift": 12 - left_px, "align": "left"}
    below |= {"yref": "paper", "y": 0, "yanchor": "top", "yshift": -axis_px}
    font = {"size": CAPTION_SIZE}
    return figure.add_annotation(name=CAPTION, text=text, font=font, showarrow=False, **below)


def place_legend(figure: go.Figure) -> None:
    """Put a `LEGEND_ABOVE` under the title; anew at another height."""
    if figure.layout.legend.orientation == "h":
        above = 1 - MARGIN_TOP / figure.layout.height
        figure.update_layout(legend={"y": above, "yanchor": "top"})


def wrapped(text: str, width_px: float) -> str:
    """A caption as lines that fit, for plotly's little HTML."""
    characters = max(20, int((width_px - 24) / CAPTION_CHARACTER))
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, characters))


def caption_of(figure: go.Figure) -> str:
    """The caption as one line of text; empty where a figure has none."""
    notes = (note for note in figure.layout.annotations if note.name == CAPTION)
    return html.unescape(" ".join(str(note.text).replace("<br>", " ") for note in notes))


def recaptioned(figure: go.Figure, text: str) -> go.Figure:
    """A copy with another caption, `wrapped` already or empty, and with the room for it."""
    page = go.Figure(figure)
    for note in page.select_annotations({"name": CAPTION}):
        before, after = (one.count("<br>") + bool(one) for one in (note.text, text))
        note.text = text
        page.layout.height += CAPTION_LINE * (after - before)
        page.layout.margin.b += CAPTION_LINE * (after - before)
    place_legend(page)
    return page
