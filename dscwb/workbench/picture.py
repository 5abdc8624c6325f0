"""What the canvas is sent of a study: words and numbers as JSON, and arrays.

All decisions are taken here. The browser draws them, and of the cost lines it only evaluates
T = a + s/r at the rate under the hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from dscwb.cuts import Granularity, all_cuts, bottlenecks
from dscwb.envelope import lower_envelope
from dscwb.figures.best_split import about_lines, best_split_heading
from dscwb.figures.colours import split_colours
from dscwb.figures.compression import MARKS, MAX_LABELS
from dscwb.figures.gain import GAIN_COLOURS
from dscwb.figures.latency_breakdown import PARTS
from dscwb.figures.latency_vs_rate import WORDS
from dscwb.figures.layout import in_unit, log_ticks, row_ticks, shortened
from dscwb.figures.state_map import about_rows, heading_against
from dscwb.graph import ModelGraph
from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.study.sureness import robust, undecided
from dscwb.units import BITS_PER_BYTE, format_number, format_rate, shown_name
from dscwb.workbench.state import State

LINES = ("head", "tail", "link", "bits", "intercept", "slope")
"""What ``lines`` holds: seconds and bits, the last two in the objective's unit."""
UNDECIDED, FRAGILE = 1, 2
MAX_LINES = 96  # candidates: more thin lines and narrow bars than these cannot be told apart
MAP_PX = 300  # height of a map, always: a page must not jump while a slider changes the model
ABOVE_BEST = 4.0  # the axis of costs ends at so many times the dearest best split
BELOW_BEST = 1.5  # and starts so many times under the cheapest
ABOVE_LOCAL = 1.25  # bars up to so many times the time without offloading are shown whole
LINEAR_TICKS = 6
BESIDE_BAR = 15  # characters of a split's name that fit beside the bar of colours


def model_picture(graph: ModelGraph, granularity: Granularity) -> dict[str, Any]:
    """What no scenario changes in the picture of a model: it takes longer to find than a study.

    ``places`` of the compression plot are the input, where the model can be split, and the output;
    ``cuts``, by their number of layers in the head, are what can be a candidate.
    """
    shown: Granularity = "auto" if granularity == "compressive" else granularity
    cuts = {cut.index: cut for cut in (*all_cuts(graph, shown), *all_cuts(graph, granularity))}
    colours = dict(zip(cuts, split_colours(graph, list(cuts.values())), strict=True))
    table = bottlenecks(graph, shown)
    labelled = table["compressive"].sum() <= MAX_LABELS
    full = "input\nfull offloading: c = 1 by definition"
    places: list[dict[str, Any]] = [{"cut": 0, "ratio": 1.0, "words": full}]
    columns = ["cut", "name", "ratio", "natural", "compressive"]
    for cut, name, ratio, natural, compressive in table[columns].to_numpy(object).tolist():
        kind = "compressive" if compressive else "natural" if natural else "none"
        words = f"{shown_name(name)}\nc = {format_number(ratio)}\n{MARKS[kind][-1]}"
        label = f"{ratio:.2g}" if labelled else ""
        look = {"kind": kind, "colour": colours[cut], "words": words, "label": label}
        places.append({"cut": cut, "ratio": ratio, **look})
    places.append({"cut": -1, "words": "output\nno offloading: nothing is sent"})
    place = {one["cut"]: i for i, one in enumerate(places)}
    layers, blocks = len(graph.layers), [block.end for block in graph.blocks]
    in_blocks = bool(blocks) and granularity != "op"
    found = {}
    for index, cut in cuts.items():
        done = sum(end <= index for end in blocks)
        of_blocks = f"{done} of {len(blocks)} blocks, " if in_blocks else ""
        found[index] = {
            "colour": colours[index],
            "place": place[-1] if cut.is_output else place.get(index, place[-1]),
            "depth_label": "all" if cut.is_output else f"{done if in_blocks else index}",
            "runs": f"{of_blocks}{index} of {layers} layers",
        }
    depth = f"{'Blocks' if in_blocks else 'Layers'} on the device"
    return {"places": places, "cuts": found, "depth_title": depth}


def _candidate(name: str, cut: Mapping[str, Any]) -> dict[str, Any]:
    short = shown_name(shortened(name, BESIDE_BAR))
    return {"name": name, "shown": shown_name(name), "short": short, **cut}


def mark(study: Study, state: State, answer: str) -> dict[str, Any]:
    """The state shown: its point, the answer in words, and the axis of the breakdown.

    The best bar is always whole. Where the device can do it all alone, the axis never moves; else
    it moves in steps while the rate falls.
    """
    row, rate, lines = study.row(state.batch_size), float(state.data_rate_bps), study.lines
    usual = lines.intercept_s[row] - lines.link_s[row]  # nothing is sent without offloading
    high = ABOVE_LOCAL * float(usual[-1] if np.isfinite(usual[-1]) else np.nanmax(usual))
    best = study.envelopes[row].best_split(np.array([rate]))[0]
    needed = 1.1 * float(study.latency_at(state.batch_size, rate)[best, 0])
    if needed > high:
        decade = 10.0 ** math.floor(math.log10(needed))
        high = next(m * decade for m in (1, 1.5, 2, 3, 5, 7, 10) if m * decade >= needed)
    high = high or 1.0  # nothing may take any time
    return {
        "batch_size": state.batch_size,
        "data_rate_bps": rate,
        "rate_words": format_rate(rate, in_bytes=False),
        "answer": answer,
        "bars": _axis(0.0, high, "Latency", "s", _linear_ticks(high)),
    }


def picture(
    study: Study, model: Mapping[str, Any], baseline: str, confidence: Confidence | None
) -> dict[str, Any]:
    """A study as five linked views show it: traits of the canvas.

    ``scene`` holds words and numbers, rows in the study's order. Arrays are little-endian, as every
    browser reads them: ``lines``, as `LINES` says, ``(6, batch, split)``, NaN where a candidate has
    no times; ``probability`` that the best split is best, ``(batch, rate)``; ``doubt``, `UNDECIDED`
    where that is too low, `FRAGILE` where it is not, but another split is best if a model is off.
    The last two are empty without confidence.

    Raises:
        ValueError: The baseline is not a candidate.
    """
    (low, high), lines = study.rate_range, study.lines
    split = study.splits.index(study.baseline_split(baseline))
    kept = _kept(study, split)
    place = {index: i for i, index in enumerate(kept)}
    arrays = (lines.head_s, lines.tail_s, lines.link_s, lines.bits, study.intercepts, study.slopes)
    measured = (~lines.interpolated).tolist()
    kinds = [one["kind"] for one in model["places"][1:-1]]
    natural = len(kinds) - kinds.count("none")
    unused = {"wait": not lines.wait_s.any(), "link": not lines.link_s.any()}
    probability, doubt, doubt_edges = _doubt(study, confidence)
    ratios = [one["ratio"] for one in model["places"][:-1]]
    costs = study.at_rates((low, high)).cost  # of the best splits of all batch sizes
    dearest = float(costs.max()) * ABOVE_BEST or 1.0  # nothing may cost anything
    cheapest = max(float(costs.min()) / BELOW_BEST, dearest * 1e-12)
    rates = _axis(low, high, "Data rate in Mbit/s, below in MB/s", "")
    heading, gains = heading_against(study, baseline, "gain")
    # A mean hangs on the range of rates, which stands beside it.
    ends = " to ".join(format_rate(rate, in_bytes=False) for rate in (low, high))
    few = (
        f"Lines and bars: {len(kept)} of {len(study.splits)} candidates, among them all that are "
        "best or second best in any state. "
    )
    scene = {
        "split_heading": best_split_heading(study),
        "gain_heading": (heading, f"{gains}, from {ends}"),
        "ratio_heading": (
            "Compression ratio over depth",
            f"{natural} of {len(kinds)} natural, {kinds.count('compressive')} compressive",
        ),
        "gain_over": shown_name(study.splits[split]),
        "cost": WORDS[study.unit],
        "unit": study.unit,
        "depth_title": model["depth_title"],
        "origins": (
            f"device {study.edge.provenance.origin}, server {study.server.provenance.origin}"
        ),
        "caption": (
            f"{about_rows(study)} {about_lines(confidence)} "
            f"{few if len(kept) < len(study.splits) else ''}c: elements sent, over those of the "
            "input."
        ),
        "candidates": [
            _candidate(study.splits[i], model["cuts"][lines.splits[i].index]) for i in kept
        ],
        "rows": [_row(study, row, place) for row in range(len(measured))],
        "row_ticks": row_ticks(study.batch_sizes, measured, MAP_PX / len(measured)),
        "baseline": place[split],
        "chosen": [place[index] for index in np.unique(study.best).tolist()],
        "rates": rates
        | {
            "labels": [format_number(tick / 1e6) for tick in rates["ticks"]],
            "below": [format_number(tick / 1e6 / BITS_PER_BYTE) for tick in rates["ticks"]],
        },
        "costs": _axis(cheapest, dearest, WORDS[study.unit], study.unit),
        "ratios": _axis(min(ratios) / 1.8, max(ratios) * 1.3, "Compression ratio c", ""),
        "places": model["places"],
        "parts": {name: PARTS[name] for name in PARTS if not unused.get(name)},
        "gain_colours": GAIN_SHADES,
        "doubt_edges_bps": doubt_edges,
    }
    return {
        "scene": scene,
        "lines": np.stack([array[:, kept] for array in arrays]).astype("<f4").tobytes(),
        "probability": probability.astype("<f4").tobytes(),
        "doubt": doubt.astype(np.uint8).tobytes(),
    }


GAIN_SHADES = sample_colorscale(GAIN_COLOURS, np.linspace(0, 1, 256).tolist())
"""From 0 to 100 %."""


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
            others = np.where(np.arange(len(a)) == best, np.nan, a)
            kept.update(lower_envelope(others, s).splits.tolist())
    return sorted(kept)


def _row(study: Study, row: int, place: Mapping[int, int]) -> dict[str, Any]:
    """A batch size: its best splits from the lowest rate to the highest, and where they change."""
    envelope, between = study.envelopes[row], bool(study.lines.interpolated[row])
    size = study.batch_sizes[row]
    return {
        "batch_size": size,
        "label": f"≈ {size}" if between else f"{size}",
        "measured": not between,
        "wait_s": float(study.lines.wait_s[row]),
        "missing": bool(np.isnan(study.intercepts[row]).any()),
        "splits": [place[split] for split in envelope.splits.tolist()],
        "rates_bps": envelope.switching_rates_bps.tolist(),
    }


def _axis(
    low: float, high: float, title: str, unit: str, ticks: tuple[float, ...] = ()
) -> dict[str, Any]:
    """An axis that is logarithmic unless it starts from zero; then its ticks are given."""
    ticks = ticks or log_ticks(low, high)
    labels = [in_unit(tick, unit) for tick in ticks]
    return {"low": low, "high": high, "ticks": ticks, "labels": labels, "title": title}


def _linear_ticks(high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten from zero to `high`, at most six steps."""
    decade = 10.0 ** math.floor(math.log10(high / LINEAR_TICKS))
    step = next(m * decade for m in (1, 2, 5, 10) if high / (m * decade) <= LINEAR_TICKS)
    return tuple(k * step for k in range(int(high / step * (1 + 1e-9)) + 1))


def _doubt(
    study: Study, confidence: Confidence | None
) -> tuple[NDArray[np.float64], NDArray[np.int_], list[float]]:
    """Probabilities, marks, and the borders of their cells, half way between two rates."""
    if confidence is None:
        return np.empty(0), np.empty(0, dtype=np.int_), []
    hatched = undecided(study, confidence.undecided)
    marks = np.where(hatched, UNDECIDED, np.where(robust(study), 0, FRAGILE))
    (low, high), rates = study.rate_range, study.data_rates_bps
    return confidence.probability, marks, [low, *np.sqrt(rates[:-1] * rates[1:]).tolist(), high]
