"""A page of figures and tables, with plotly.js on it once; it asks the network for nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dscwb import units
from dscwb.figures.layout import caption_of, wrapped
from dscwb.showing import NotebookRenderer
from dscwb.writing import atomically

if TYPE_CHECKING:
    import pandas as pd


def gallery(
    path: str | os.PathLike[str],
    title: str,
    words: str,
    figures: Iterable[go.Figure],
    tables: Mapping[str, pd.DataFrame],
) -> Path:
    """Write figures under each other, and tables folded, as one HTML page.

    Args:
        path: The file.
        title: Of the page.
        words: What it is about, a sentence or two.
        figures: As `dscwb.figures` makes them; their captions become text of the page.
        tables: By the name of the CSV file beside the page that holds the same.

    Returns:
        The path written.
    """
    loader = PackageLoader("dscwb.reporting", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    renderer, path = NotebookRenderer(), Path(path)

    def drawn(figure: go.Figure) -> Markup:
        bare = wrapped(go.Figure(figure), 0)
        return Markup(renderer.to_mimebundle(bare.to_dict())["text/html"])

    def listed(table: pd.DataFrame) -> Markup:
        return Markup(table.to_html(index=False, border=0, float_format=units.format_number))

    environment.filters |= {"drawn": drawn, "caption": caption_of, "listed": listed}
    page = environment.get_template("gallery.html").render(
        title=title, words=words, figures=list(figures), tables=tables
    )
    with atomically(path) as file:
        file.write_text(page, encoding="utf-8")
    return path
