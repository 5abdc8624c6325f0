"""The answer in words: what to do in a state, what it is worth, and how sure that is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dscwb.cost import Floats
from dscwb.study import Study
from dscwb.study.confidence import DECIDED_FROM, Confidence
from dscwb.study.decision import Decision
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC, identified
from dscwb.study.sureness import (
    capital,
    doubt,
    flips_of,
    if_off,
    in_percent,
    measured_by,
    model_errors,
)
from dscwb.units import (
    FULL_OFFLOADING,
    NO_OFFLOADING,
    as_choice,
    format_cost,
    format_number,
    format_percent,
    format_rate,
    format_seconds,
    shown_name,
)
from dscwb.workbench.state import State

ALIKE = 1e-9
"""Costs that differ by a smaller share are told as equal: at a switching rate roundings decide."""


class Answer(NamedTuple):
    """What to do in a state; each a few sentences, and the last three may be empty.

    Attributes:
        what: What to do, what that costs, where it stays best, and what is second best.
        measured: How sure that is by the measurements.
        modelled: Whether it stays if a machine that was not measured is off.
        cautions: What to know of the times behind it.
    """

    what: str
    measured: str
    modelled: str
    cautions: str

    def __str__(self) -> str:
        """All of it."""
        return " ".join(filter(None, self))


class Sure(NamedTuple):
    """How sure the best split of one state is by the measurements.

    Attributes:
        probability: Share of the bootstrap's replicates in which it wins.
        whose: Whose measurements these are, in words; empty where they have no spread.
    """

    probability: float
    whose: str


def sure_of(confidence: Confidence, batch_size: int, data_rate_bps: float) -> Sure:
    """What a bootstrap says of one state."""
    return Sure(confidence.at(batch_size, data_rate_bps), measured_by(confidence))


def answer(study: Study, state: State, sure: Sure | None = None) -> Answer:
    """The answer of a study in one state; ``words.js`` says the same to the letter.

    Args:
        study: The study of this state.
        state: Batch size, data rate and baseline.
        sure: By the measurements; None where that was not checked yet.
    """
    best = study.at(state.batch_size, state.data_rate_bps)
    errors = model_errors(study)
    flips = flips_of(study, best.batch_size, best.data_rate_bps, best.split, errors)
    if_wrong = if_off(errors, flips)
    return Answer(
        what=_advice(study, state, best),
        measured=_by_measurements(study, best, sure),
        modelled=f"{capital(if_wrong)}." if if_wrong else "",
        cautions=" ".join(study.cautions(best.batch_size)),
    )


def _advice(study: Study, state: State, best: Decision) -> str:
    size, costs = best.batch_size, study.cost_at(best.batch_size, best.data_rate_bps)[:, 0]
    at = f"At {format_rate(best.data_rate_bps, in_bytes=False)}"
    if not best.data_rate_bps:
        at = "While the link is down"
    if size > 1:
        at += f" and batch size {size}{' (interpolated)' if best.interpolated else ''}"
    cost = float(costs[study.splits.index(best.split)])
    if math.isinf(cost):
        return f"{at} nothing is possible: {NO_OFFLOADING} is not, and nothing can be sent."
    do = {
        NO_OFFLOADING: "don't split",
        FULL_OFFLOADING: "send the input and run all on the server",
    }.get(best.split, f"split {shown_name(best.split)}")
    time = _time(best)
    if study.unit == "J":
        time = f"{format_cost(cost, 'J')} of the device's energy, {time}"
    return (
        f"{at} {do}: {time}{_compared(study, state, best)}. {_where(study, best)}; "
        f"{_second(study, best, cost, costs)}."
    )


def _time(best: Decision) -> str:
    """Seconds, and how they add up."""
    parts = {
        "waiting": best.wait_s,
        "device": best.head_s,
        "link": best.transfer_s,
        "server": best.tail_s,
    }
    spent = [f"{name} {format_seconds(part)}" for name, part in parts.items() if part]
    time = format_seconds(best.latency_s)
    if len(spent) == 1 and best.head_s:
        return f"{time} on the device"
    return f"{time} ({' + '.join(spent)})" if spent else time


def _compared(study: Study, state: State, best: Decision) -> str:
    over = study.baseline_split(state.baseline)
    if over == best.split:
        return ""
    static = {BEST_STATIC: ", the best static choice", MINIMAX_STATIC: ", the minimax choice"}
    name = f"{as_choice(over)}{static.get(identified(state.baseline), '')}"
    gain = study.gain_at(best.batch_size, best.data_rate_bps, over)
    if math.isnan(gain):
        return f", while {name} is not possible here"
    if gain < ALIKE:
        return f", no better than {name}"
    return f", {format_percent(gain)} {'faster' if study.unit == 's' else 'less'} than {name}"


def _where(study: Study, best: Decision) -> str:
    """Where the best split stays the best, within the axis of data rates."""
    low, high = study.rate_range
    below, above = best.best_from_bps > low, best.best_to_bps < high
    start, end = (
        format_rate(rate, in_bytes=False) for rate in (best.best_from_bps, best.best_to_bps)
    )
    if best.split == NO_OFFLOADING and above and not below:
        line = study.envelopes[study.row(best.batch_size)]
        piece = np.searchsorted(line.switching_rates_bps, best.best_to_bps, side="right")
        then = study.splits[line.splits[piece]]
        return f"{'Full offloading' if then == FULL_OFFLOADING else 'Splitting'} pays from {end}"
    if below and above:
        number, unit = start.split(" ")
        return f"Best from {number if end.endswith(f' {unit}') else start} to {end}"
    if below or above:
        return f"Best from {start} up" if below else f"Best up to {end}"
    ends = (format_rate(rate, in_bytes=False) for rate in (low, high))
    return f"Best at every data rate from {' to '.join(ends)}"


def _second(study: Study, best: Decision, cost: float, costs: Floats) -> str:
    if not best.runner_up:
        return "nothing else is possible"
    other = float(costs[study.splits.index(best.runner_up)])
    more = other / cost - 1 if cost else math.inf
    words = f" ({format_number(1 + more)} ×)" if more < math.inf else ""
    if other == cost or more < ALIKE:
        words = " (no worse)"
    elif more < 0.0005:
        words = " (hardly more)"
    elif more < 2:
        words = f" (+{format_percent(more)})"
    return f"next best: {shown_name(best.runner_up)}, {format_cost(other, study.unit)}{words}"


def _by_measurements(study: Study, best: Decision, sure: Sure | None) -> str:
    if doubted := doubt(study, best.batch_size):
        return f"Not sure: {doubted}."
    if sure is None:
        return "How sure this is by the measurements is not checked yet."
    if not sure.whose:
        both = len(model_errors(study)) == 2
        return "" if both else "How sure this is, is not known: the times have no spread."
    share = f"{in_percent(sure.probability)} of the replicates"
    if sure.probability >= DECIDED_FROM:
        return f"Sure by {sure.whose}: best in {share}."
    rival = f", against {as_choice(best.runner_up)}" if best.runner_up else ""
    return f"Not sure by {sure.whose}: best in {share}{rival}."
