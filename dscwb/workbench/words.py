"""The answer in words: a study and a state go in, a sentence or three come out."""

from __future__ import annotations

import math

from dscwb.figures.page import FigureError
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.study.confidence import Confidence
from dscwb.study.states import Decision
from dscwb.study.sweeps import Study
from dscwb.units import format_bytes, format_number, format_percent, format_seconds
from dscwb.workbench.choices import State


def in_words(study: Study, state: State, confidence: Confidence | None = None) -> str:
    """What to do in this state, what it is worth, and how sure that is.

    Args:
        study: The study of this state.
        state: Batch size, data rate and baseline.
        confidence: A bootstrap of a study that holds this batch size; None if nobody asked.
    """
    best = study.at(*state.position)
    words = [
        f"{_what(best, study)}: {_cost(study, best)}, {_compared(study, state, best)}; "
        f"stays best {_range(best)}."
    ]
    if why := study.how_sure(*state.position, confidence).why:
        words.append(f"{why}.")
    if best.interpolated:
        words.append(f"Batch size {best.batch_size} is interpolated, not measured.")
    words += study.cautions(best.batch_size)
    origins = study.edge.provenance.origin, study.server.provenance.origin
    words.append("{} → {}.".format(*origins).capitalize())
    return " ".join(words)


def _what(best: Decision, study: Study) -> str:
    if best.split == NO_OFFLOADING:
        return f"Run all on the device ({NO_OFFLOADING})"
    size = format_bytes(best.payload_bytes)
    given, features = study.written
    if best.split == FULL_OFFLOADING:
        return f"Send the input ({FULL_OFFLOADING}; {given}, {size})"
    return f"Send after {best.split} ({features}, {size})"


def _cost(study: Study, best: Decision) -> str:
    parts = [
        ("waiting", best.wait_s),
        ("device", best.head_s),
        ("transfer", best.transfer_s),
        ("server", best.tail_s),
    ]
    spent = " + ".join(f"{name} {format_seconds(seconds)}" for name, seconds in parts if seconds)
    words = f"{format_seconds(best.latency_s)} ({spent})"
    if study.unit == "J":
        row = study.row(best.batch_size)
        split = study.splits.index(best.split)
        joules = study.intercepts[row, split] + study.slopes[row, split] / best.data_rate_bps
        return f"{joules:.3g} J, {words}"
    return words


def _compared(study: Study, state: State, best: Decision) -> str:
    name = study.baseline_split(state.baseline)
    if name == best.split:
        return f"which is {name} itself"
    gain = study.gain_at(*state.position, name)
    if math.isnan(gain):
        return f"while {name} is not possible here"
    better = "faster" if study.unit == "s" else "less energy"
    return f"{format_percent(gain)} {better} than {name}"


def _range(best: Decision) -> str:
    low, high = best.best_from_bps, best.best_to_bps
    if low == 0:
        return (
            "at every data rate"
            if math.isinf(high)
            else f"up to {format_number(high / 1e6)} Mbit/s"
        )
    if math.isinf(high):
        return f"from {format_number(low / 1e6)} Mbit/s up"
    return f"from {format_number(low / 1e6)} to {format_number(high / 1e6)} Mbit/s"


def one_line(error: Exception) -> str:
    """What went wrong, in one line; our own errors bring the remedy with them."""
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | FigureError):
        return text
    return f"{type(error).__name__}: {text}"
