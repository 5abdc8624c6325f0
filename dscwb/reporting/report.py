"""The report of a study: its verdict, figures, tables and sources on one HTML page."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dscwb.figures import (
    plot_best_split,
    plot_compression,
    plot_conventions,
    plot_gain,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_pareto,
    plot_profile,
    plot_regret,
)
from dscwb.figures.layout import CONFIG, best_in_words, caption_of, recaptioned
from dscwb.policy import Thresholds
from dscwb.reporting.recipe import recipe
from dscwb.study import Study, sweep
from dscwb.study.captions import outages
from dscwb.study.confidence import Confidence
from dscwb.study.conventions import conventions
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC
from dscwb.study.sureness import about_models
from dscwb.study.thresholds import few_batch_sizes, fingerprint
from dscwb.study.worth import verdict
from dscwb.units import (
    FULL_OFFLOADING,
    NO_OFFLOADING,
    format_cost,
    format_number,
    format_percent,
    format_rate,
    format_seconds,
    shown_name,
)
from dscwb.writing import atomically

MOST_POINTS = 20_000
"""A map has an element for each: with five maps that is a page of 15 MB."""


@dataclass(frozen=True)
class Drawn:
    """A figure as it stands on the page.

    Attributes:
        title: Its heading, for those who cannot see it.
        drawn: The HTML in which plotly draws it.
        caption: What must be known to read it, where the page's header does not say it already.
    """

    title: str
    drawn: Markup
    caption: str


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
    point = (
        _telling_point(shown)
        if batch_size is None or data_rate_bps is None
        else (batch_size, data_rate_bps)
    )
    shown.at(*point)  # refuses what it cannot answer for
    loader = PackageLoader("dscwb.reporting", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["seconds"] = format_seconds
    environment.filters["shown"] = shown_name
    page = environment.get_template("report.html").render(
        _values(shown, point, confidence), command=command
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
    ends = [name for name in (NO_OFFLOADING, FULL_OFFLOADING) if name in study.splits]
    gained = np.nan_to_num(np.fmin.reduce([study.gain(name) for name in ends]))
    row, column = divmod(int(np.argmax(gained)), gained.shape[1])
    if not gained.max() > 0:
        rates = study.data_rates_bps
        row, up = len(study.batch_sizes) // 2, np.flatnonzero(rates > 0)
        column = int(up[len(up) // 2]) if len(up) else 0
    return study.batch_sizes[row], float(study.data_rates_bps[column])


def _values(
    study: Study, point: tuple[int, float], confidence: Confidence | None
) -> dict[str, Any]:
    """What `report.html` shows, by the names that it has there."""
    return {
        "study": study,
        "stamp": study.stamp(),
        "verdict": verdict(study),
        "grid": _grid(study),
        "point": f"batch size {point[0]} at {format_rate(point[1], in_bytes=False)}",
        "figures": _figures(study, point, confidence),
        "models": about_models(study),
        "switching": _switching(study, confidence),
        "few": len(few_batch_sizes(study)) < len(study.batch_sizes),
        "statics": _statics(study),
        "decision": _decision(study, point, confidence),
        "conventions": _conventions(study),
        "dominance": study.dominance(),
        "machines": {"Device": study.edge, "Server": study.server},
        "fingerprint": fingerprint,
        "confidence": confidence,
        "recipe": recipe(study, confidence),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "plotly": Markup(get_plotlyjs()),
    }


def _grid(study: Study) -> str:
    rates, sizes = study.data_rates_bps, study.batch_sizes
    own = "" if not study.lines.interpolated.any() else ", some of them interpolated"
    listed = ", ".join(map(str, sizes)) if len(sizes) <= 8 else f"{min(sizes)} to {max(sizes)}"
    return (
        f"{len(rates)} data rates from {format_rate(rates.min())} to {format_rate(rates.max())}, "
        f"batch size{'s'[: len(sizes) > 1]} {listed}{own}.{outages(study)}"
    )


def _figures(
    study: Study, point: tuple[int, float], confidence: Confidence | None
) -> dict[str, Drawn | list[Drawn]]:
    """All figures of the page, drawn, by the names that they have in `report.html`."""
    graph, scenario = study.edge.graph, study.scenario
    at: dict[str, Any] = dict(zip(("batch_size", "data_rate_bps"), point, strict=True))
    baselines = [name for name in (NO_OFFLOADING, FULL_OFFLOADING) if name in study.splits]
    baselines += [BEST_STATIC] * bool(_split_of(study, BEST_STATIC))
    maps = {f"gain-{i}": plot_gain(study, baseline=name, **at) for i, name in enumerate(baselines)}
    if BEST_STATIC in baselines:
        maps["regret"] = plot_regret(study, baseline=BEST_STATIC, **at)
    rates = {min(study.batch_sizes): None, max(study.batch_sizes): None, point[0]: point[1]}
    compression = plot_compression(
        graph,
        feature_encoding=scenario.feature_encoding,
        input_encoding=scenario.input_encoding,
    )
    profiles = [
        plot_profile(one, batch_size=min(one.batch_sizes, key=lambda own: abs(own - point[0])))
        for one in (study.edge, study.server)
    ]
    drawn = {
        "best": plot_best_split(study, confidence=confidence, **at),
        "breakdown": plot_latency_breakdown(study, **at),
        "pareto": plot_pareto(study, **at),
        "compression": compression,
        "device": profiles[0],
        "server": profiles[1],
        "conventions": plot_conventions(study),
    }
    return {name: _drawn(study, f"plot-{name}", figure) for name, figure in drawn.items()} | {
        "gains": [_drawn(study, f"plot-{name}", one) for name, one in maps.items()],
        "rates": [
            _drawn(
                study,
                f"plot-rate-{size}",
                plot_latency_vs_rate(study, batch_size=size, data_rate_bps=rate),
            )
            for size, rate in sorted(rates.items())
        ],
    }


def _drawn(study: Study, identifier: str, figure: go.Figure) -> Drawn:
    """A figure whose caption becomes text of the page, which wraps on a phone."""
    page, caption = recaptioned(figure, ""), caption_of(figure)
    for trace in page.data:  # seven digits are more than a screen shows, and half the bytes
        for name in ("x", "y", "z", "customdata"):
            values = getattr(trace, name, None)
            if isinstance(values, np.ndarray) and values.dtype == np.float64:
                trace[name] = values.astype(np.float32)
    drawn = page.to_html(config=CONFIG, include_plotlyjs=False, full_html=False, div_id=identifier)
    # Of what every caption begins with, the page's header says all but the origins.
    origins = (one.provenance.origin for one in (study.edge, study.server))
    words = caption.replace(study.label(), "Device {}, server {}.".format(*origins), 1).strip()
    title = " ".join(str(page.layout.title.text or identifier).split("<br>"))
    return Drawn(title, Markup(drawn), words)


def _switching(study: Study, confidence: Confidence | None) -> pd.DataFrame:
    """The exact thresholds, for all data rates."""
    policy = study.policy(confidence)
    rows = [
        {
            "Batch size": one.batch_size,
            "Best split": shown_name(choice.name),
            "above Mbit/s": _mbps(low),
            "up to Mbit/s": _mbps(high),
            "95 % interval of that rate": _interval(one, k),
            "sends kB": format_number(choice.payload_bytes / 1e3),
        }
        for one in map(policy.at, few_batch_sizes(study))
        for k, (choice, low, high) in enumerate(one.stretches())
    ]
    table = pd.DataFrame(rows)
    return table if confidence else table.drop(columns="95 % interval of that rate")


def _interval(one: Thresholds, k: int) -> str:
    sure = one.intervals[k] if k < len(one.intervals) else None
    return "" if sure is None else f"{_mbps(sure.low_bps)} to {_mbps(sure.high_bps)}"


def _mbps(rate_bps: float) -> str:
    return "∞" if rate_bps == math.inf else format_number(rate_bps / 1e6)


def _split_of(study: Study, baseline: str) -> str:
    """The split that a baseline stands for; empty where this scenario has none."""
    try:
        return study.baseline_split(baseline)
    except ValueError:
        return ""


def _statics(study: Study) -> pd.DataFrame:
    """Each split if it were always used; the two chosen over the whole grid are marked."""
    chosen = {name: _split_of(study, name) for name in (BEST_STATIC, MINIMAX_STATIC)}
    table = study.static_splits()
    marks = [", ".join(name for name in chosen if chosen[name] == split) for split in table.split]
    named = zip(map(shown_name, table.split), marks, strict=True)
    return pd.DataFrame(
        {
            "Split": [f"{split} ({mark})" if mark else split for split, mark in named],
            "best in": _percents(table.share),
            "mean gain over it": _percents(table.mean_gain),
            "mean regret": [_cost(study, value) for value in table.mean_regret],
            "largest regret": [_cost(study, value) for value in table.max_regret],
        }
    )


def _percents(shares: Iterable[float]) -> list[str]:
    return ["–" if math.isnan(share) else format_percent(share) for share in shares]


def _cost(study: Study, value: float) -> str:
    return "–" if math.isnan(value) else format_cost(value, study.unit)


def _decision(study: Study, point: tuple[int, float], confidence: Confidence | None) -> str:
    decision = study.at(*point)
    head, transfer, tail, wait = map(
        format_seconds, (decision.head_s, decision.transfer_s, decision.tail_s, decision.wait_s)
    )
    where = f"{head} on the device, {transfer} on the link, {tail} on the server"
    waits = f"; {wait} the batch waits to fill" if decision.wait_s else ""
    why = study.how_sure(*point, confidence).why
    return f"{best_in_words(study, *point)}. {where}{waits}.{f' {why}.' if why else ''}"


def _conventions(study: Study) -> pd.DataFrame:
    found = conventions(study)
    both = zip(found["input"], found["own"], strict=True)
    return pd.DataFrame(
        {
            "Input as": [f"{given}{' (this study)' if own else ''}" for given, own in both],
            "features as": found["features"],
            "a split is best in": _percents(found["split_share"]),
            "gain over the better end": _percents(found["over_better_end"]),
            "over no offloading": _percents(found["over_no_offloading"]),
            "over full offloading": _percents(found["over_full_offloading"]),
            "over best static": _percents(found["over_best_static"]),
            "best static": [name and shown_name(name) for name in found["best_static"]],
        }
    )
