"""The answer in words: what to do in a state, what it is worth, and how sure that is."""

from __future__ import annotations

import math

from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.study.decision import Decision
from dscwb.units import (
    FULL_OFFLOADING,
    NO_OFFLOADING,
    format_bytes,
    format_cost,
    format_number,
    format_percent,
    format_seconds,
    shown_name,
)
from dscwb.workbench.state import State


def in_words(study: Study, state: State, confidence: Confidence | None = None) -> str:
    """The answer of a study in one state, in a few sentences.

    Args:
        study: The study of this state.
        state: Batch size, data rate and baseline.
        confidence: A bootstrap of a study that holds this batch size; None if nobody asked.
    """
    best = study.at(state.batch_size, state.data_rate_bps)
    sure = study.how_sure(state.batch_size, state.data_rate_bps, confidence).why
    words = [
        f"{_what(best, study)}: {_cost(study, best)}, {_compared(study, state, best)}; "
        f"stays best {_range(best)}.",
        f"{sure}." if sure else "",
        f"Batch size {best.batch_size} is interpolated, not measured." if best.interpolated else "",
        *study.cautions(best.batch_size),
        f"{study.edge.provenance.origin} → {study.server.provenance.origin}.".capitalize(),
    ]
    return " ".join(filter(None, words))


def _what(best: Decision, study: Study) -> str:
    if best.split == NO_OFFLOADING:
        return f"Run all on the device ({NO_OFFLOADING})"
    size = format_bytes(best.payload_bytes)
    given, features = study.written
    if best.split == FULL_OFFLOADING:
        return f"Send the input ({FULL_OFFLOADING}; {given}, {size})"
    return f"Send {shown_name(best.split)} ({features}, {size})"


def _cost(study: Study, best: Decision) -> str:
    parts = {
        "waiting": best.wait_s,
        "device": best.head_s,
        "transfer": best.transfer_s,
        "server": best.tail_s,
    }
    spent = " + ".join(f"{name} {format_seconds(part)}" for name, part in parts.items() if part)
    words = f"{format_seconds(best.latency_s)} ({spent})"
    if study.unit == "J":
        costs = study.cost_at(best.batch_size, best.data_rate_bps)[:, 0]
        return f"{format_cost(costs[study.splits.index(best.split)], study.unit)}, {words}"
    return words


def _compared(study: Study, state: State, best: Decision) -> str:
    split = study.baseline_split(state.baseline)
    name = shown_name(split)
    if split == best.split:
        return f"which is {name} itself"
    gain = study.gain_at(best.batch_size, best.data_rate_bps, split)
    if math.isnan(gain):
        return f"while {name} is not possible here"
    better = "faster" if study.unit == "s" else "less energy"
    return f"{format_percent(gain)} {better} than {name}"


def _range(best: Decision) -> str:
    low, high = (f"{format_number(end / 1e6)}" for end in (best.best_from_bps, best.best_to_bps))
    if math.isinf(best.best_to_bps):
        return f"from {low} Mbit/s up" if best.best_from_bps else "at every data rate"
    return f"from {low} to {high} Mbit/s" if best.best_from_bps else f"up to {high} Mbit/s"
