"""The HTML of a report: words, rows and figures go in, elements of one page come out.

Everything that comes from elsewhere is escaped here, and nothing on the page asks the network.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dscwb.figures.page import CAPTION, CAPTION_LINE, CONFIG, caption_of

# Stated to the browser too: a page that is handed on must not call home.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " + (
    "img-src data: blob:"
)
STYLE = """
:root { color-scheme: light; }
body { font: 1rem/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 54rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.3rem; border-bottom: 1px solid #bbb; margin-top: 3rem; }
.verdict { font-size: 1.15rem; border-left: .3rem solid #2c7fb8; padding-left: .8rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0; }
figure { margin: 1.5rem 0 2.5rem; }
.scroll { overflow-x: auto; }
.plot { min-width: 40rem; }
figcaption { font-size: .85rem; color: #555; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
  margin: 1.5rem 0; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
tbody tr { border-bottom: 1px solid #ddd; }
.number { text-align: right; }
td { white-space: nowrap; }
pre { background: #f4f4f4; padding: .8rem; white-space: pre-wrap; }
footer { font-size: .85rem; color: #555; border-top: 1px solid #bbb; margin-top: 3rem; }
@media (max-width: 40rem) { dl { display: block; } dd { margin-bottom: .6rem; } }
@page { margin: 14mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  .plot { zoom: .8; }
  figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
"""


def escaped(text: object) -> str:
    """Any value as text that a browser shows as it is."""
    return html.escape(str(text))


def paragraph(text: object, kind: str = "") -> str:
    """A paragraph, of a CSS class where one is given."""
    shown = f' class="{kind}"' if kind else ""
    return f"<p{shown}>{escaped(text)}</p>"


def code(text: str) -> str:
    """Lines to copy."""
    return f"<pre><code>{escaped(text)}</code></pre>"


def items(lines: Iterable[object]) -> str:
    """A list with bullets."""
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>"


def definitions(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and what they stand for; empty ones are left out."""
    rows = [f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in pairs if value]
    return f"<dl>{''.join(rows)}</dl>"


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1
) -> str:
    """A table whose first column names the rows.

    Args:
        caption: What it shows.
        columns: Their titles, with units.
        rows: Cells, as they are to be shown.
        words: How many of the first columns hold words; numbers stand at the right.
    """

    def kind(column: int) -> str:
        return "" if column < words else ' class="number"'

    head = [f'<th scope="col"{kind(i)}>{escaped(name)}</th>' for i, name in enumerate(columns)]
    body = []
    for first, *others in rows:
        cells = [f"<td{kind(i)}>{escaped(cell)}</td>" for i, cell in enumerate(others, start=1)]
        body.append(f'<tr><th scope="row">{escaped(first)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def plot(figure: go.Figure, identifier: str, shared: str, about: str) -> str:
    """A figure; its caption becomes text of the page, which wraps on a phone.

    Args:
        figure: It stays as it is.
        identifier: Of its element on the page.
        shared: What begins the caption of every figure on the page.
        about: What stands in its place.
    """
    page, caption = go.Figure(figure), caption_of(figure)
    page.layout.annotations = [note for note in page.layout.annotations if note.name != CAPTION]
    lines = sum(
        note.text.count("<br>") + 1 for note in figure.layout.annotations if note.name == CAPTION
    )
    page.layout.height -= CAPTION_LINE * lines
    page.layout.margin.b -= CAPTION_LINE * lines
    for trace in page.data:  # seven digits are more than a screen shows, and half the bytes
        for name in ("x", "y", "z", "customdata"):
            values = getattr(trace, name, None)
            if isinstance(values, np.ndarray) and values.dtype == np.float64:
                trace[name] = values.astype(np.float32)
    drawn = page.to_html(config=CONFIG, include_plotlyjs=False, full_html=False, div_id=identifier)
    words = caption.replace(shared, about, 1).strip()
    title = " ".join(str(page.layout.title.text or identifier).split("<br>"))
    return (
        f'<figure aria-label="{escaped(title)}"><div class="scroll"><div class="plot">{drawn}'
        f"</div></div><figcaption>{escaped(words)}</figcaption></figure>"
    )


def section(identifier: str, heading: str, *parts: str) -> str:
    """A section with a heading, to which the page's contents lead."""
    return f'<section id="{identifier}"><h2>{escaped(heading)}</h2>{"".join(parts)}</section>'


def contents(headings: Iterable[tuple[str, str]]) -> str:
    """Links to sections, by identifier and heading."""
    links = "".join(f'<li><a href="#{to}">{escaped(name)}</a></li>' for to, name in headings)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def document(title: str, header: str, main: str, footer: str) -> str:
    """The page: standalone, plotly once inside."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escaped(title)}</title>
<style>{STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<header>{header}</header>
<main>{main}</main>
<footer>{footer}</footer>
</body>
</html>
"""
