"""How figures get into a notebook, and with it into the HTML page that is made of the notebook.

JupyterLab draws plotly's own kind of output; nbconvert does not know it and leaves the figure out
without a word. So every figure carries HTML as well, which draws it in any browser without a
network. plotly.js itself, two megabytes when compressed, is carried by one figure for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer
from plotly.offline import get_plotlyjs

from dscwb.packing import UNPACKED, packed
from dscwb.toolbar import CONFIG

NAME = "dscwb"
"""Of the renderer: ``plotly.io.renderers.default = "dscwb+png"`` adds a picture to every figure,
for places where no script runs, such as GitHub."""
PLAIN = ("plotly_mimetype", "jupyterlab", "nteract", "vscode")
"""plotly's defaults that write its own kind of output and nothing else."""
MIME = "application/vnd.plotly.v1+json"
TEMPLATE = """\
<figure class="dscwb-figure" style="margin: 0; min-height: {height}px" aria-label="{title}">
<p>{title}</p></figure>
<script type="text/plain" class="dscwb-figure-data">{data}</script>{library}
<script>{script}</script>"""
LIBRARY = '<script type="text/plain" class="dscwb-plotly">{}</script>'


class NotebookRenderer(MimetypeRenderer):  # type: ignore[misc]  # plotly has no types
    """plotly's own output for JupyterLab, and HTML for what is made of the notebook."""

    def __init__(self) -> None:
        """No figure has been shown yet."""
        self.carriers: dict[str, int] = {}

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
        """The figure in both forms."""
        text = pio.to_json(fig_dict | {"config": CONFIG}, validate=False, remove_uids=False)
        return {MIME: json.loads(text), "text/html": self._html(text, fig_dict["layout"])}

    def _html(self, text: str, layout: Mapping[str, Any]) -> str:
        title = layout.get("title", {}).get("text") or "A figure"
        return TEMPLATE.format(
            title=escape(title),
            height=int(layout.get("height") or 450),
            data=packed(text.encode()),
            library=LIBRARY.format(_library()) if self._carries() else "",
            script=_script(),
        )

    def _carries(self) -> bool:
        """Whether this figure brings plotly.js: the first one, and the same cell when run again."""
        cell, run = _cell()
        if not self.carriers or (cell in self.carriers and self.carriers[cell] != run):
            self.carriers[cell] = run
            return True
        return False


def use_in_notebooks() -> None:
    """Show figures so from now on, unless another way was chosen."""
    if NAME not in pio.renderers:
        pio.renderers[NAME] = NotebookRenderer()
    if pio.renderers.default in PLAIN:
        pio.renderers.default = NAME


def _cell() -> tuple[str, int]:
    """The cell that runs, as far as the front end names it, and which run of all cells this is."""
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        return "", 0
    run = shell.execution_count
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return parent.get("metadata", {}).get("cellId", f"run {run}"), run


@cache
def _library() -> str:
    return packed(get_plotlyjs().encode())


@cache
def _script() -> str:
    script = (Path(__file__).parent / "showing.js").read_text("utf-8")
    return f"(() => {{\n{UNPACKED}{script}}})();"
