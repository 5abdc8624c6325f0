"""The page of a figure: numbers and words go in, its axes, margins, caption and file come out.

plotly neither wraps text nor keeps a caption clear of the plot. So margins here are fixed numbers
of pixels that add up, and captions are wrapped by hand, anew when a figure is saved.
"""

from __future__ import annotations

import html
import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import plotly.graph_objects as go

from dscwb.units import BITS_PER_BYTE, format_number
from dscwb.writing import atomically

Template: TypeAlias = str | Any | None

CAPTION = "caption"
"""Name of the annotation that holds a figure's caption."""

MARGIN_LEFT, MARGIN_TOP, MARGIN_RIGHT = 76, 72, 24
RATE_AXIS = 74  # two lines of tick labels and the title
CAPTION_LINE, CAPTION_SIZE = 15, 11
CHARACTER = 6.3  # mean width at CAPTION_SIZE in the widest of plotly's fallback fonts
LABEL_HEIGHT = 14  # tick labels nearer than this would touch
# A cell in a narrow JupyterLab window; in a wider one the caption leaves some room at its right.
ASSUMED_WIDTH = 800
EXPORT_WIDTH = 1000

IMAGES = (".png", ".svg", ".pdf")
EXPORT_SCALE = 2.0  # pixels of a PNG for each pixel on the screen: sharp in print at half a page
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "responsive": True,
    "toImageButtonOptions": {"format": "svg", "scale": 2},
}
HOW_TO_GET_A_BROWSER = (
    "PNG, SVG and PDF are drawn by a Chromium or Chrome, and none could be started: install one "
    "(`plotly_get_chrome` fetches one), or name yours in BROWSER_PATH. Without one, use the camera "
    "button in the figure's corner, or save as .html."
)

MIN_TICKS, MAX_TICKS = 4, 7
MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3))
"""Where ticks may lie within a decade, sparsest first."""


AXIS = {"showgrid": False, "zeroline": False, "ticks": "outside", "automargin": False}


class FigureError(RuntimeError):
    """A figure that cannot be written: says why and what to do."""


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
    ends = [0, len(sizes) - 1]
    wanted = ends + [row for row, first in enumerate(preferred) if first]
    wanted += [row for row, size in enumerate(sizes) if size % step == 0]
    chosen: list[int] = []
    for row in wanted:
        if all(abs(row - other) >= gap for other in chosen):
            chosen.append(row)
    return tuple(sorted(chosen))


def title(heading: str, subheading: str) -> dict[str, Any]:
    """A figure's title, for `update_layout`."""
    return {"text": heading, "subtitle": {"text": subheading}}


def panel_title(heading: str, subheading: str, x: float) -> dict[str, Any]:
    """The title of one of several panels, for `add_annotation`; `x` in shares of the width."""
    return {
        "text": f"{heading}<br><span style='font-size:12px'>{subheading}</span>",
        "xref": "paper",
        "x": x,
        "xanchor": "left",
        "yref": "paper",
        "y": 1,
        "yanchor": "bottom",
        "yshift": 6,
        "align": "left",
        "font": {"size": 16},
        "showarrow": False,
    }


def wrapped(text: str, width_px: float) -> str:
    """A caption as lines that fit, for plotly's little HTML."""
    characters = max(20, int((width_px - 24) / CHARACTER))
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, characters))


def caption_of(figure: go.Figure) -> str:
    """The caption as one line of text; empty where a figure has none."""
    for note in figure.layout.annotations:
        if note.name == CAPTION:
            return html.unescape(str(note.text).replace("<br>", " "))
    return ""


def set_page(
    figure: go.Figure,
    caption: str,
    *,
    plot_px: float,
    right_px: float = 0,
    axis_px: float = RATE_AXIS,
    lines: int = 1,
    template: Template,
    width: int | None,
) -> None:
    """Give a figure its margins, its height and its caption.

    Args:
        figure: Changed in place.
        caption: One line, wrapped here.
        plot_px: Height of the plot itself.
        right_px: Width of what stands at the right of the plot.
        axis_px: Height of tick labels and title under the plot.
        lines: Lines to keep for the caption at least, where it may grow while the figure is shown.
        template: plotly's template; its default where None.
        width: Pixels; as wide as the notebook where None.
    """
    if template is not None:
        figure.update_layout(template=template)
    text = wrapped(caption, width or ASSUMED_WIDTH)
    bottom = axis_px + CAPTION_LINE * max(lines, text.count("<br>") + 1) + 12
    figure.update_layout(
        width=width,
        autosize=width is None,
        height=MARGIN_TOP + plot_px + bottom,
        margin={
            "l": MARGIN_LEFT,
            "t": MARGIN_TOP,
            "r": MARGIN_RIGHT + right_px,
            "b": bottom,
            "autoexpand": False,
        },
        title={"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12}},
        hoverlabel={"align": "left"},
    )
    figure.add_annotation(
        name=CAPTION,
        text=text,
        align="left",
        showarrow=False,
        font={"size": CAPTION_SIZE},
        **_below(axis_px),
    )


def _below(axis_px: float) -> dict[str, Any]:
    """At the page's left edge, under the title of the horizontal axis."""
    return {
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "xshift": 12 - MARGIN_LEFT,
        "yref": "paper",
        "y": 0,
        "yanchor": "top",
        "yshift": -axis_px,
    }


def save_figure(
    figure: go.Figure,
    path: str | os.PathLike[str],
    *,
    width: int | None = None,
    height: int | None = None,
    scale: float = EXPORT_SCALE,
) -> Path:
    """Write a figure to a file: ``.png``, ``.svg``, ``.pdf``, or a standalone ``.html``.

    Args:
        figure: The figure; it stays as it is.
        path: The file's name decides the format.
        width: Pixels; the figure's own or 1000 when left out. The caption is wrapped to it.
        height: Pixels; the figure's own when left out.
        scale: Pixels of a PNG for each pixel of `width`.

    Returns:
        The path written.

    Raises:
        ValueError: An ending that is none of the four.
        FigureError: No browser to draw an image with.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (*IMAGES, ".html"):
        raise ValueError(
            f"{path.name!r}: cannot write a figure as {kind or 'a file without ending'}; "
            f"choose one of {', '.join(IMAGES)}, .html."
        )
    with atomically(path) as file:
        if kind == ".html":
            figure.write_html(file, include_plotlyjs=True, config=CONFIG)
        else:
            page = _rewrapped(figure, width or figure.layout.width or EXPORT_WIDTH)
            height = height or page.layout.height
            _write_image(page, file, format=kind[1:], height=height, scale=scale)
    return path


def _rewrapped(figure: go.Figure, width: int) -> go.Figure:
    """A copy at this width, its caption wrapped anew and its height adapted."""
    page = go.Figure(figure)
    page.layout.width = width
    for note in page.layout.annotations:
        if note.name == CAPTION:
            before = str(note.text).count("<br>")
            note.text = wrapped(caption_of(figure), width)
            more = CAPTION_LINE * (note.text.count("<br>") - before)
            page.layout.height += more
            page.layout.margin.b += more
    return page


def _write_image(page: go.Figure, file: Path, **how: Any) -> None:
    """Draw with a browser, or say how to get one."""
    try:
        page.write_image(file, **how)
    except (RuntimeError, OSError) as error:
        if "chrome" in f"{type(error).__name__} {error}".lower():
            raise FigureError(HOW_TO_GET_A_BROWSER) from error
        raise
