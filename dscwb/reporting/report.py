"""The report of a study: its verdict, figures, tables and sources on one HTML page."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dscwb import figures, units
from dscwb.figures.layout import best_in_words, caption_of, wrapped
from dscwb.reporting.recipe import recipe
from dscwb.study import Study, captions, conventions, sureness, sweep, worth
from dscwb.study.confidence import Confidence
from dscwb.study.study import BASELINES, BEST_STATIC, MINIMAX_STATIC
from dscwb.study.thresholds import few_batch_sizes, fingerprint
from dscwb.toolbar import CONFIG
from dscwb.writing import atomically

MOST_POINTS = 20_000
"""A map has an element for each: with five maps that is a page of 15 MB."""


def report(
    study: Study,
    path: str | os.PathLike[str],
    *,
    confidence: Confidence | None = None,
    batch_size: int | None = None,
    data_rate_bps: float | None = None,
    command: str = "",
) -> Path:
    """Write one standalone HTML page that says all that a study knows.

    It holds plotly once, asks the network for nothing, and prints. The page is of at most 20,000
    points: of a larger study only the batch sizes with times of their own are shown.

    Args:
        study: What to tell.
        path: The file, ``.html``.
        confidence: What `Study.confidence` gave for this study; adds intervals.
        batch_size: Of the point to look at closely; the point at which a split gains most over the
            better of no and full offloading when left out.
        data_rate_bps: The same point's data rate in bit/s.
        command: The command line that makes the page again, if there is one.

    Returns:
        The path written.

    Raises:
        ValueError: Another ending, a batch size or rate that the study cannot answer for, only one
            of the two, or more points than a page can hold.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path.name!r}: a report is written as .html; choose that ending.")
    if (batch_size is None) != (data_rate_bps is None):
        raise ValueError("Give batch_size and data_rate_bps together, or leave both out.")
    shown = within_bounds(study)
    if shown is not study and confidence is not None:
        confidence = shown.confidence(confidence.replicates, confidence.seed)
    if batch_size is None or data_rate_bps is None:
        batch_size, data_rate_bps = _telling_point(shown)
    loader = PackageLoader("dscwb.reporting", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters |= _filters(shown)
    page = environment.get_template("report.html").render(
        _values(shown, batch_size, data_rate_bps, confidence),
        command=command,
        confidence=confidence,
    )
    with atomically(path) as file:
        file.write_text(page, encoding="utf-8")
    return path


def within_bounds(study: Study) -> Study:
    """The study itself, or that of its batch sizes with own times if it has too many points.

    Raises:
        ValueError: These are too many too.
    """
    if study.best.size <= MOST_POINTS:
        return study
    sizes, rates = few_batch_sizes(study), study.data_rates_bps
    if len(sizes) * len(rates) > MOST_POINTS:
        raise ValueError(
            f"{len(sizes)} batch sizes × {len(rates)} data rates are more than the {MOST_POINTS:,} "
            "points that a report can show; give fewer of them."
        )
    return sweep(study.edge, study.server, study.scenario, data_rates_bps=rates, batch_sizes=sizes)


def _telling_point(study: Study) -> tuple[int, float]:
    """Where a split gains most over the better end; the middle of the grid if none ever does."""
    ends = [name for name in (units.NO_OFFLOADING, units.FULL_OFFLOADING) if name in study.splits]
    gained = np.nan_to_num(np.fmin.reduce([study.gain(name) for name in ends]))
    row, column = divmod(int(np.argmax(gained)), gained.shape[1])
    if not gained.max() > 0:
        rates = study.data_rates_bps
        row, up = len(study.batch_sizes) // 2, np.flatnonzero(rates > 0)
        column = int(up[len(up) // 2]) if len(up) else 0
    return study.batch_sizes[row], float(study.data_rates_bps[column])


def _values(
    study: Study, batch_size: int, data_rate_bps: float, confidence: Confidence | None
) -> dict[str, Any]:
    """What `report.html` shows, by the names that it has there."""
    sizes, policy = few_batch_sizes(study), study.policy(confidence)
    at: dict[str, Any] = {"batch_size": batch_size, "data_rate_bps": data_rate_bps}
    chosen = {}
    for name in BASELINES:
        with suppress(ValueError):  # this scenario has none
            chosen[name] = study.baseline_split(name)
    ends = {size: {"batch_size": size} for size in (min(study.batch_sizes), max(study.batch_sizes))}
    return {
        "study": study,
        "stamp": study.stamp(),
        "verdict": worth.verdict(study),
        "outages": captions.outages(study),
        "plots": figures,
        "at": at,
        "rates": sorted((ends | {batch_size: at}).items()),
        "decision": study.at(**at),
        "best": best_in_words(study, **at),
        "why": study.how_sure(**at, confidence=confidence).why,
        "models": sureness.about_models(study),
        "thresholds": [policy.at(size) for size in sizes],
        "few": len(sizes) < len(study.batch_sizes),
        "chosen": chosen,
        "baselines": _telling_baselines(chosen),
        "conventions": conventions.conventions(study),
        "machines": {"Device": study.edge, "Server": study.server},
        "fingerprint": fingerprint,
        "recipe": recipe(study, confidence),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "plotly": Markup(get_plotlyjs()),
    }


def _telling_baselines(chosen: dict[str, str]) -> list[str]:
    """Baselines whose pictures differ, the hardest to beat first."""
    names = sorted(chosen, key=lambda name: name != BEST_STATIC)
    first = {chosen[name]: name for name in reversed(names) if name != MINIMAX_STATIC}
    return [name for name in names if name in first.values()]


def _filters(study: Study) -> dict[str, Callable[..., str]]:
    """How `report.html` writes numbers, names and figures."""

    def known(shown: Callable[[float], str]) -> Callable[[float], str]:
        return lambda value: "–" if math.isnan(value) else shown(value)

    def drawn(figure: go.Figure, identifier: str) -> Markup:
        """As plotly draws it; its caption becomes text of the page, which wraps on a phone."""
        page = wrapped(go.Figure(figure), 0)
        for trace in page.data:  # seven digits are more than a screen shows, and half the bytes
            for name in ("x", "y", "z", "customdata"):
                values = getattr(trace, name, None)
                if isinstance(values, np.ndarray) and values.dtype == np.float64:
                    trace[name] = values.astype(np.float32)
        how = {"config": CONFIG, "include_plotlyjs": False, "full_html": False}
        return Markup(page.to_html(div_id=f"plot-{identifier}", **how))

    def caption(figure: go.Figure) -> str:
        """Of what every caption begins with, the page's header says all but the origins."""
        origins = (one.provenance.origin for one in (study.edge, study.server))
        short = "Device {}, server {}.".format(*origins)
        return caption_of(figure).replace(study.label(), short, 1).strip()

    return {
        "drawn": drawn,
        "caption": caption,
        "shown": units.shown_name,
        "seconds": units.format_seconds,
        "percent": known(units.format_percent),
        "cost": known(partial(units.format_cost, unit=study.unit)),
        "rate": units.format_rate,
        "bits": partial(units.format_rate, in_bytes=False),
        "kB": lambda size: units.format_number(size / 1e3),
        "mbit": lambda rate: "∞" if rate == math.inf else units.format_number(rate / 1e6),
    }
