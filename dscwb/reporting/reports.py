"""Reports: a study goes in, one HTML page of its verdict, figures, tables and sources comes out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dscwb.cuts import Granularity
from dscwb.figures import (
    plot_best_split,
    plot_compression,
    plot_conventions,
    plot_gain,
    plot_latency_breakdown,
    plot_latency_vs_rate,
    plot_pareto,
    plot_profile,
)
from dscwb.figures.axes import short_rate
from dscwb.figures.maps import plot_regret
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.policy import Thresholds
from dscwb.reporting.markup import (
    contents,
    definitions,
    document,
    escaped,
    paragraph,
    plot,
    section,
    table,
)
from dscwb.reporting.sources import again, sources
from dscwb.study.confidence import Confidence
from dscwb.study.conventions import conventions, verdict
from dscwb.study.states import BEST_STATIC, MINIMAX_STATIC
from dscwb.study.sureness import about_models
from dscwb.study.sweeps import Study
from dscwb.study.thresholds import few_batch_sizes
from dscwb.units import format_number, format_percent, format_rate, format_seconds

State = tuple[int, float]
"""Batch size, data rate in bit/s."""

MOST_STRETCHES = 10  # of those slower on the server; the largest come first
ABOUT = (
    "A state is a batch size and a data rate; means weigh all states of the grid alike. Every "
    "figure and table is of this scenario, unless it says otherwise."
)
PARTS = ("model", "device", "server", "scenario")  # of a study's stamp
TEMPLATE = "plotly_white"  # prints without a grey ground


def report(
    study: Study,
    path: str | os.PathLike[str],
    *,
    confidence: Confidence | None = None,
    state: State | None = None,
    command: str = "",
) -> Path:
    """Write one standalone HTML page that says all that a study knows.

    It holds plotly once, asks the network for nothing, and prints.

    Args:
        study: What to tell.
        path: The file, ``.html``.
        confidence: What `Study.confidence` gave for this study; adds intervals.
        state: Batch size and data rate in bit/s to look at closely; the state in which a split
            gains most over the better of no and full offloading when left out.
        command: The command line that makes the page again, if there is one.

    Returns:
        The path written.

    Raises:
        ValueError: Another ending, or a batch size or rate that the study cannot answer for.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path.name!r}: a report is written as .html; choose that ending.")
    looked_at = _telling_state(study) if state is None else state
    study.at(*looked_at)  # refuses what it cannot answer for
    page = _page(study, looked_at, confidence, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _telling_state(study: Study) -> State:
    """Where a split gains most over the better end; the middle of the grid if none ever does."""
    ends = [name for name in (NO_OFFLOADING, FULL_OFFLOADING) if name in study.splits]
    gained = np.nan_to_num(np.fmin.reduce([study.gains(name) for name in ends]))
    row, column = divmod(int(np.argmax(gained)), gained.shape[1])
    if not gained.max() > 0:
        rates = study.data_rates_bps
        row, up = len(study.batch_sizes) // 2, np.flatnonzero(rates > 0)
        column = int(up[len(up) // 2]) if len(up) else 0
    return study.batch_sizes[row], float(study.data_rates_bps[column])


def _page(study: Study, state: State, confidence: Confidence | None, command: str) -> str:
    stamp = study.stamp()
    parts = [
        ("best", "The best split", _best(study, state, confidence)),
        ("gain", "What choosing it gains", _gains(study, state)),
        ("rate", "Latency over the data rate", _over_rates(study, state)),
        ("state", f"One state: {_words(state)}", _one_state(study, state, confidence)),
        ("depth", "Where the model can be split", _depth(study)),
        ("profiles", "What the two machines take", _profiles(study, state)),
        ("conventions", "Other payload conventions", _conventions(study)),
        ("premise", "Which splits can ever be best", _premise(study)),
        ("sources", "Where the numbers come from", sources(study, confidence)),
        ("again", "Make it again", again(study, confidence, command)),
    ]
    title = f"Where to split {study.edge.graph.model}"
    header = (
        f"<h1>{escaped(title)}</h1>"
        + paragraph(verdict(study), "verdict")
        + "".join(paragraph(caution) for caution in study.cautions())
        + definitions(
            [(name.capitalize(), stamp[name]) for name in PARTS] + [("Grid", _grid(study))]
        )
        + paragraph(ABOUT)
        + contents((identifier, heading) for identifier, heading, _ in parts)
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    footer = paragraph(
        f"Made by dscwb {stamp['dscwb_version']} on {date}. The method: A. Bakhtiarnia et al., "
        "Dynamic Split Computing for Efficient Deep Edge Intelligence, ICASSP 2023, doi "
        "10.1109/ICASSP49357.2023.10096914."
    )
    return document(title, header, "".join(section(*part) for part in parts), footer)


def _grid(study: Study) -> str:
    rates, sizes = study.data_rates_bps, study.batch_sizes
    own = "" if not study.lines.interpolated.any() else ", some of them interpolated"
    listed = ", ".join(map(str, sizes)) if len(sizes) <= 8 else f"{min(sizes)} to {max(sizes)}"
    return (
        f"{len(rates)} data rates from {format_rate(rates.min())} to {format_rate(rates.max())}, "
        f"batch size{'s'[: len(sizes) > 1]} {listed}{own}.{study.outages()}"
    )


def _best(study: Study, state: State, confidence: Confidence | None) -> str:
    models = about_models(study)
    return "".join(
        [
            _plot(study, "plot-best", plot_best_split, study, confidence, state=state),
            paragraph(models) if models else "",
            _switching(study, confidence),
        ]
    )


def _switching(study: Study, confidence: Confidence | None) -> str:
    """The exact thresholds, for all data rates."""
    policy, shown = study.policy(confidence), few_batch_sizes(study)
    rows = [
        (
            one.batch_size,
            choice.name,
            _mbps(low),
            _mbps(high),
            *([] if confidence is None else [_interval(one, k)]),
            format_number(choice.payload_bytes / 1e3),
        )
        for one in map(policy.at, shown)
        for k, (choice, low, high) in enumerate(
            zip(
                one.splits,
                (0.0, *one.switching_rates_bps),
                (*one.switching_rates_bps, math.inf),
                strict=True,
            )
        )
    ]
    sure = [] if confidence is None else ["95 % interval of that rate"]
    columns = ["Batch size", "Best split", "above Mbit/s", "up to Mbit/s", *sure, "sends kB"]
    caption = "Exact switching rates, whatever the grid"
    if len(shown) < len(study.batch_sizes):
        caption += "; of batch sizes with times of their own"
    return table(caption, columns, rows, words=2)


def _interval(one: Thresholds, k: int) -> str:
    sure = one.intervals[k] if k < len(one.intervals) else None
    return "" if sure is None else f"{_mbps(sure.low_bps)} to {_mbps(sure.high_bps)}"


def _mbps(rate_bps: float) -> str:
    return "∞" if rate_bps == math.inf else format_number(rate_bps / 1e6)


def _gains(study: Study, state: State) -> str:
    """Maps of the gain over each baseline, and of what the best static split loses."""
    baselines = _baselines(study)
    parts = [
        _plot(study, f"plot-gain-{i}", plot_gain, study, baseline=baseline, state=state)
        for i, baseline in enumerate(baselines)
    ]
    if BEST_STATIC in baselines:
        parts.append(_plot(study, "plot-regret", plot_regret, study, BEST_STATIC, state=state))
    return "".join(parts) + _statics(study)


def _baselines(study: Study) -> list[str]:
    """The baselines that this scenario allows."""
    found = [name for name in (NO_OFFLOADING, FULL_OFFLOADING) if name in study.splits]
    try:
        study.best_static()
    except ValueError:  # no split has a time at every batch size
        return found
    return [*found, BEST_STATIC]


def _statics(study: Study) -> str:
    marks: dict[str, str] = {}
    for baseline in (BEST_STATIC, MINIMAX_STATIC):
        try:
            split = study.baseline_split(baseline)
        except ValueError:
            continue
        marks[split] = ", ".join([*filter(None, [marks.get(split)]), baseline])
    rows = [
        (
            f"{split} ({marks[split]})" if split in marks else split,
            _percent(share),
            _percent(gained),
            _cost(study, mean),
            _cost(study, worst),
        )
        for split, gained, mean, worst, share in study.static_splits().itertuples(index=False)
    ]
    columns = ["Split", "best in", "mean gain over it", "mean regret", "largest regret"]
    return table("Each split if it were always used", columns, rows)


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else format_percent(share)


def _cost(study: Study, value: float) -> str:
    return "–" if math.isnan(value) else f"{format_seconds(value)[:-1]}{study.unit}"


def _words(state: State) -> str:
    return f"batch size {state[0]} at {short_rate(state[1])}"


def _over_rates(study: Study, state: State) -> str:
    """The lines of the smallest, the looked-at and the largest batch size."""
    sizes = sorted({min(study.batch_sizes), state[0], max(study.batch_sizes)})
    return "".join(
        _plot(study, f"plot-rate-{size}", plot_latency_vs_rate, study, size, state=state)
        for size in sizes
    )


def _one_state(study: Study, state: State, confidence: Confidence | None) -> str:
    decision = study.at(*state)
    words = (
        f"Best: {decision.split}, {format_seconds(decision.latency_s)} from input to result: "
        f"{format_seconds(decision.head_s)} on the device, {format_seconds(decision.transfer_s)} "
        f"on the link, {format_seconds(decision.tail_s)} on the server."
    )
    if decision.wait_s:
        words += f" {format_seconds(decision.wait_s)} of it the batch waits to fill."
    if decision.runner_up:
        words += f" Next: {decision.runner_up}, {_cost(study, decision.margin)} more."
    if why := study.how_sure(*state, confidence).why:
        words += f" {why}."
    return "".join(
        [
            paragraph(words),
            _plot(study, "plot-breakdown", plot_latency_breakdown, study, *state),
            _plot(study, "plot-pareto", plot_pareto, study, *state),
        ]
    )


def _profiles(study: Study, state: State) -> str:
    granularity: Granularity = "block" if study.edge.graph.blocks else "op"
    parts = []
    for name, profile in (("device", study.edge), ("server", study.server)):
        size = min(profile.batch_sizes, key=lambda own: abs(own - state[0]))
        parts.append(f"<h3>{name.capitalize()}</h3>")
        parts.append(
            _plot(study, f"plot-{name}", plot_profile, profile, size, granularity=granularity)
        )
    return "".join(parts)


def _depth(study: Study) -> str:
    graph = study.edge.graph
    return _plot(
        study,
        "plot-compression",
        plot_compression,
        graph,
        granularity="block" if graph.blocks else "op",
        feature_encoding=study.scenario.feature_encoding,
        input_encoding=study.scenario.input_encoding,
    )


def _conventions(study: Study) -> str:
    columns_of_shares = [
        "split_share",
        "over_better_end",
        "over_no_offloading",
        "over_full_offloading",
        "over_best_static",
    ]
    found = conventions(study)
    shares = found[columns_of_shares].map(_percent).to_numpy().tolist()
    names = zip(found["input"], found["own"], found["features"], found["best_static"], strict=True)
    rows = [
        (f"{given}{' (this study)' if own else ''}", features, *cells, static)
        for (given, own, features, static), cells in zip(names, shares, strict=True)
    ]
    columns = [
        "Input as",
        "features as",
        "a split is best in",
        "gain over the better end",
        "over no offloading",
        "over full offloading",
        "over best static",
        "best static",
    ]
    caption = "The same study under other payload conventions; gains are means over the states"
    return _plot(study, "plot-conventions", plot_conventions, study) + table(
        caption, columns, rows, words=2
    )


def _premise(study: Study) -> str:
    certificate = study.certificate()
    named = definitions(
        [
            ("Record-low cuts", ", ".join(certificate.record_low)),
            ("Needed beyond these", ", ".join(certificate.needed)),
            ("Best though not compressive", ", ".join(certificate.beyond_compressive)),
        ]
    )
    if certificate.holds:
        return paragraph(certificate) + named
    rows = [
        (one.batch_size, one.after, one.until, *map(format_seconds, (one.device_s, one.server_s)))
        for one in certificate.slower[:MOST_STRETCHES]
    ]
    shown = f"{len(rows)} of {len(certificate.slower)} stretches that are slower on the server"
    columns = ["Batch size", "from", "to", "device", "server"]
    return paragraph(certificate) + named + table(shown, columns, rows, words=3)


def _plot(
    study: Study, identifier: str, draw: Callable[..., go.Figure], *given: Any, **options: Any
) -> str:
    """A figure with the origins in its caption, where the page's header says the rest."""
    both = study.edge.provenance.origin, study.server.provenance.origin
    figure = draw(*given, **options, template=TEMPLATE)
    return plot(figure, identifier, study.label(), "Device {}, server {}.".format(*both))
