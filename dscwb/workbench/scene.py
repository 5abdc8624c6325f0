"""What the canvas shows: a study and a baseline go in, words and arrays for the browser come out.

All decisions are taken here. The browser draws them, and of the cost lines it only evaluates
T = a + s/r at the rate under the hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import plotly.colors
from numpy.typing import NDArray

from dscwb.figures.axes import prefixed, shortened
from dscwb.figures.breakdown import PARTS
from dscwb.figures.cells import COLUMNS
from dscwb.figures.curves import WORDS
from dscwb.figures.page import log_ticks, row_ticks
from dscwb.figures.traces import GAIN_COLOURS
from dscwb.optimise import Envelope, lower_envelope
from dscwb.study.sureness import about_models, about_times, robust, undecided
from dscwb.study.sweeps import Study
from dscwb.units import BITS_PER_BYTE, format_number, format_percent
from dscwb.workbench.look import Look, Place

Floats = NDArray[np.float64]

LINES = ("head", "tail", "link", "bits", "intercept", "slope")
"""What `Scene.lines` holds: seconds and bits, the last two in the objective's unit."""
UNDECIDED, FRAGILE = 1, 2  # in `Scene.doubt`
MAX_LINES = 96  # candidates: more thin lines and narrow bars than these cannot be told apart
MAP_PX = 300  # height of a map, always: a page must not jump while a slider changes the model
ABOVE_BEST = 4.0  # the axis of costs ends at so many times the dearest best split
BELOW_BEST = 1.5  # and starts so many times under the cheapest
ABOVE_LOCAL = 1.25  # bars up to so many times the time without offloading are shown whole


class Doubt(Protocol):
    """What is asked of `dscwb.study.confidence.Confidence`: both on the study's own grid."""

    @property
    def probability(self) -> Floats:
        """Share of the replicates in which the study's best split wins, ``(batch, rate)``."""

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """True where no split wins often enough, ``(batch, rate)``."""

    def label(self) -> str:
        """How it was found, for captions."""


@dataclass(frozen=True)
class Candidate:
    """A candidate as the browser knows it.

    Attributes:
        name: What figures and tables call it.
        short: The same, short enough for a legend.
        colour: The split's colour.
        cut: Layers in the head.
        depth: Blocks in the head, or layers in a model without blocks.
    """

    name: str
    short: str
    colour: str
    cut: int
    depth: int


@dataclass(frozen=True)
class Row:
    """A batch size.

    Attributes:
        batch_size: Samples in one pass.
        measured: False where its times are interpolated.
        wait_s: Mean seconds that a batch waits for its samples.
        splits: The best splits from the lowest to the highest rate, indices of candidates.
        rates_bps: Exact rates at which one gives way to the next.
        top_s: End of the axis of the breakdown; the data rate does not move it.
    """

    batch_size: int
    measured: bool
    wait_s: float
    splits: tuple[int, ...]
    rates_bps: tuple[float, ...]
    top_s: float


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis.

    Attributes:
        low: Lower end.
        high: Upper end.
        ticks: Where its labels stand.
        labels: Of each tick; a second one stands below the first.
        title: With units.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[tuple[str, ...], ...]
    title: str


@dataclass(frozen=True)
class Words:
    """Headings and caption.

    Attributes:
        model: The model's name.
        split_heading: Title and subtitle of the map of splits.
        gain_heading: Title and subtitle of the map of gains.
        gain_over: What the gain is over: the split that the baseline stands for.
        ratio_heading: Title and subtitle of the compression plot.
        cost: ``Latency`` or ``Device energy``.
        unit: ``s`` or ``J``.
        depth: ``blocks`` or ``layers``.
        depths: How many there are.
        origins: Where the times come from: ``device measured, server assumed``.
        caption: Scenario and provenance.
    """

    model: str
    split_heading: tuple[str, str]
    gain_heading: tuple[str, str]
    gain_over: str
    ratio_heading: tuple[str, str]
    cost: str
    unit: str
    depth: str
    depths: int
    origins: str
    caption: str


@dataclass(frozen=True, eq=False)
class Scene:
    """A study as five linked views show it; rows are batch sizes in ascending order.

    Attributes:
        words: Headings and caption.
        candidates: From full offloading to no offloading, ``(split,)``.
        rows: ``(batch,)``.
        row_ticks: Rows that have room for a label.
        baseline: Index of the candidate that the gain is over.
        chosen: Indices of the candidates that are best in a state of the grid.
        rates: Axis of data rates in bit/s.
        costs: Axis of seconds or joules.
        ratios: Axis of compression ratios.
        places: Of the compression plot.
        parts: Names and colours of the parts of a latency: waiting, head, payload, link, tail.
        gain_colours: From 0 to 100 %.
        doubt_edges_bps: Where one cell of `probability` ends and the next begins, ``(rate + 1,)``.
        lines: As `LINES` says, ``(6, batch, split)``; NaN where a candidate has no times.
        gain: Relative gain over the baseline, ``(batch, COLUMNS)`` of equal ratio from the lowest
            to the highest rate; NaN where the baseline is not possible.
        probability: That the best split is best, ``(batch, rate)``; no rates without confidence.
        doubt: `UNDECIDED` where it is too low, `FRAGILE` where it is not, but another split is best
            if a model is off, 0 elsewhere, ``(batch, rate)``.
    """

    words: Words
    candidates: tuple[Candidate, ...]
    rows: tuple[Row, ...]
    row_ticks: tuple[int, ...]
    baseline: int
    chosen: tuple[int, ...]
    rates: Axis
    costs: Axis
    ratios: Axis
    places: tuple[Place, ...]
    parts: Mapping[str, tuple[str, str]]
    gain_colours: tuple[str, ...]
    doubt_edges_bps: tuple[float, ...]
    lines: NDArray[np.float32]
    gain: NDArray[np.float32]
    probability: NDArray[np.float32]
    doubt: NDArray[np.uint8]

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, for JSON."""
        arrays = ("lines", "gain", "probability", "doubt")
        return {name: _plain(value) for name, value in vars(self).items() if name not in arrays} | {
            "columns": self.gain.shape[1]
        }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def scene_of(study: Study, look: Look, baseline: str, confidence: Doubt | None = None) -> Scene:
    """What the canvas shows of a study.

    Args:
        study: What to show.
        look: That of its graph and granularity.
        baseline: As in `States.baseline_split`.
        confidence: Of the same study.

    Raises:
        ValueError: The baseline is not a candidate, or the confidence is of another grid.
    """
    order = np.argsort(study.batch_sizes, kind="stable")
    columns = np.argsort(study.data_rates_bps, kind="stable")
    low, high = study.rate_range
    split = study.splits.index(study.baseline_split(baseline))
    kept = _kept(study, split)
    place = {index: i for i, index in enumerate(kept)}
    edges = np.geomspace(low, high, COLUMNS + 1)
    shown = study.at_rates(np.sqrt(edges[:-1] * edges[1:]))
    lines = study.lines
    arrays = (lines.head_s, lines.tail_s, lines.link_s, lines.bits, study.intercepts, study.slopes)
    rows = tuple(_row(study, row, place) for row in order.tolist())
    doubt = _doubt(study, confidence, order, columns)
    return Scene(
        _words(study, look, baseline, confidence, len(kept)),
        tuple(_candidate(study, look, index) for index in kept),
        rows,
        row_ticks(
            [row.batch_size for row in rows],
            [row.measured for row in rows],
            MAP_PX / len(rows),
        ),
        place[split],
        tuple(place[index] for index in np.unique(study.best).tolist()),
        _rate_axis(low, high),
        _cost_axis(study, low, high),
        _ratio_axis(look),
        look.places,
        PARTS,
        tuple(colour for _, colour in plotly.colors.get_colorscale(GAIN_COLOURS)),
        tuple(_edges(study.data_rates_bps[columns], low, high)) if confidence else (),
        np.stack([array[order][:, kept] for array in arrays]).astype(np.float32),
        shown.gains(study.splits[split])[order].astype(np.float32),
        *doubt,
    )


def _kept(study: Study, baseline: int) -> list[int]:
    """The candidates to draw: all, or where they are too many, those that matter.

    That is: both ends, the baseline, and what is best or second best in any state, so that all
    that is said of best split, gain and margin holds.
    """
    every = range(len(study.splits))
    if len(every) <= MAX_LINES:
        return list(every)
    kept = {every[0], every[-1], baseline}
    for envelope, a, s in zip(study.envelopes, study.intercepts, study.slopes, strict=True):
        kept.update(envelope.splits.tolist())
        for best in envelope.splits.tolist():
            kept.update(_without(a, s, best).splits.tolist())
    return sorted(kept)


def _without(intercepts: Floats, slopes: Floats, split: int) -> Envelope:
    others = intercepts.copy()
    others[split] = np.nan
    return lower_envelope(others, slopes)


def _candidate(study: Study, look: Look, index: int) -> Candidate:
    cut, name = study.lines.splits[index], study.splits[index]
    colour = look.colours[cut.index]
    return Candidate(name, shortened(name), colour, cut.index, look.depth(cut.index))


def _row(study: Study, row: int, place: Mapping[int, int]) -> Row:
    lines, envelope = study.lines, study.envelopes[row]
    usual = lines.intercept_s[row] - lines.link_s[row]
    # Without offloading nothing is sent, so that this end stays where it is while the rate moves.
    local = usual[-1] if np.isfinite(usual[-1]) else np.nanmax(usual)
    return Row(
        study.batch_sizes[row],
        not bool(lines.interpolated[row]),
        float(lines.wait_s[row]),
        tuple(place[split] for split in envelope.splits.tolist()),
        tuple(envelope.switching_rates_bps.tolist()),
        float(local) * ABOVE_LOCAL,
    )


def _rate_axis(low: float, high: float) -> Axis:
    ticks = log_ticks(low, high)
    labels = tuple(
        (format_number(tick / 1e6), format_number(tick / 1e6 / BITS_PER_BYTE)) for tick in ticks
    )
    return Axis(low, high, ticks, labels, "Data rate in Mbit/s, below in MB/s")


def _cost_axis(study: Study, low_bps: float, high_bps: float) -> Axis:
    """From under the cheapest to over the dearest best split of all batch sizes."""
    ends = study.at_rates((low_bps, high_bps)).cost
    high = float(ends.max()) * ABOVE_BEST or 1.0  # nothing may cost anything
    low = max(float(ends.min()) / BELOW_BEST, high * 1e-12)
    factor, name = prefixed(float(np.sqrt(low * high)), study.unit)
    ticks = log_ticks(low, high)
    labels = tuple((format_number(tick / factor),) for tick in ticks)
    return Axis(low, high, ticks, labels, f"{WORDS[study.unit]} in {name}")


def _ratio_axis(look: Look) -> Axis:
    low, high = look.ratio_range
    ticks = log_ticks(low, high)
    labels = tuple((format_number(tick),) for tick in ticks)
    return Axis(low, high, ticks, labels, "Compression ratio c")


def _edges(rates: Floats, low: float, high: float) -> list[float]:
    """Cell borders half way between neighbouring rates on a logarithmic axis, ``(rate + 1,)``."""
    return [low, *np.sqrt(rates[:-1] * rates[1:]).tolist(), high]


def _doubt(
    study: Study,
    confidence: Doubt | None,
    order: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    if confidence is None:
        nothing = (len(order), 0)
        return np.empty(nothing, dtype=np.float32), np.empty(nothing, dtype=np.uint8)
    if confidence.probability.shape != study.best.shape:
        raise ValueError(
            f"The confidence is of a grid of {confidence.probability.shape} states, the study of "
            f"{study.best.shape}; compute it for this study."
        )
    at = np.ix_(order, columns)
    hatched = undecided(study, confidence.undecided)
    marks = np.where(hatched, UNDECIDED, np.where(robust(study), 0, FRAGILE))
    return confidence.probability[at].astype(np.float32), marks[at].astype(np.uint8)


def _words(study: Study, look: Look, baseline: str, confidence: Doubt | None, drawn: int) -> Words:
    graph, kinds = look.graph, [place.kind for place in look.places]
    natural = len(kinds) - kinds.count("none")
    edge, server = study.edge.provenance.origin, study.server.provenance.origin
    return Words(
        graph.model,
        (
            f"Best split of {graph.model}",
            f"a split is best in {format_percent(study.usefulness())} of the states shown",
        ),
        _gain_heading(study, baseline),
        study.baseline_split(baseline),
        (
            "Compression ratio over depth",
            f"{natural} of {len(kinds)} natural, {kinds.count('compressive')} compressive",
        ),
        WORDS[study.unit],
        study.unit,
        "blocks" if look.in_blocks else "layers",
        look.depth(len(graph.layers)),
        f"device {edge}, server {server}",
        " ".join(_caption(study, confidence, drawn)),
    )


def _gain_heading(study: Study, baseline: str) -> tuple[str, str]:
    split, gains = study.baseline_split(baseline), study.gains(baseline)
    missing = int(np.isnan(gains).all(axis=1).sum())
    heading = f"Gain over {baseline}" + (f" ({shortened(split)})" if split != baseline else "")
    if missing == len(gains):
        return heading, "not possible at any batch size"
    mean, most = (format_percent(float(of(gains))) for of in (np.nanmean, np.nanmax))
    words = f"mean {mean}, at most {most}"
    if missing:
        words += f"; not possible at {missing} of {len(gains)} batch sizes"
    return heading, words


def _caption(study: Study, confidence: Doubt | None, drawn: int) -> Sequence[str]:
    parts = [study.label(), "White lines: the exact rates at which the best split changes."]
    between = study.lines.interpolated
    if between.any():
        sizes = zip(study.batch_sizes, between, strict=True)
        own = ", ".join(f"{size}" for size, mark in sorted(sizes) if not mark)
        parts.append(
            f"Batch sizes with times of their own: {own or 'none'} (bold); those between (≈) are "
            "interpolated linearly."
        )
    if drawn < len(study.splits):
        parts.append(
            f"Lines and bars: {drawn} of {len(study.splits)} candidates, among them all that are "
            "best or second best in any state."
        )
    if confidence is not None:
        doubted = about_times(study)
        parts.append(f"Undecided states from {confidence.label()}{doubted and f', or {doubted}'}.")
        parts += filter(None, [about_models(study)])
    parts.append("c: elements sent, over those of the input.")
    return parts
