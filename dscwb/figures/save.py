"""Figures as files: PNG, SVG, PDF, or a page of HTML that stands alone."""

from __future__ import annotations

import os
from pathlib import Path

import plotly.graph_objects as go

from dscwb.figures.layout import wrapped
from dscwb.toolbar import CONFIG
from dscwb.writing import atomically

EXPORT_WIDTH = 1000
EXPORT_SCALE = 2.0  # pixels of a PNG for each pixel on the screen: sharp in print at half a page
ENDINGS = (".png", ".svg", ".pdf", ".html")
HOW_TO_GET_A_BROWSER = (
    "PNG, SVG and PDF are drawn by a Chromium or Chrome, and none could be started: install one "
    "(`plotly_get_chrome` fetches one), or name yours in BROWSER_PATH. Without one, use the camera "
    "button in the figure's corner, or save as .html."
)


class FigureError(RuntimeError):
    """A figure that cannot be written: says why and what to do."""


def save_figure(
    figure: go.Figure,
    path: str | os.PathLike[str],
    *,
    width: int | None = None,
    height: int | None = None,
    scale: float = EXPORT_SCALE,
) -> Path:
    """Write a figure to a file: ``.png``, ``.svg``, ``.pdf``, or a standalone ``.html``.

    The file is written whole, or left as it was. Nothing is loaded from the net for it.

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
    if kind not in ENDINGS:
        raise ValueError(f"{path.name!r} is no figure; choose one of {', '.join(ENDINGS)}.")
    with atomically(path) as file:
        if kind == ".html":
            figure.write_html(file, include_plotlyjs=True, config=CONFIG)
            return path
        import kaleido

        width = width or figure.layout.width or EXPORT_WIDTH
        page = wrapped(go.Figure(figure), width, most=None)  # nobody can point at a picture
        page.update_layout(width=width, height=height or page.layout.height)
        size = {"width": width, "height": page.layout.height, "scale": scale}
        try:
            # Not by plotly, which lets the browser ask the net for MathJax; nothing here needs it.
            image = kaleido.calc_fig_sync(
                page.to_dict(), opts={"format": kind[1:], **size}, kopts={"mathjax": False}
            )
        except (RuntimeError, OSError) as error:
            if "chrome" in f"{type(error).__name__} {error}".lower():
                raise FigureError(HOW_TO_GET_A_BROWSER) from error
            raise
        file.write_bytes(image)
    return path
