"""Every split that could be best is executed, in random order, beside what is predicted for it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.cost import cost_at
from dscwb.profiles.medians import IQR_OVER_SIGMA, MEDIAN_OVER_MEAN
from dscwb.profiles.pooling import pooled
from dscwb.profiles.records import Profile
from dscwb.running.client import Answer, SplitClient
from dscwb.running.prediction import codec_s, interval, on_this_link, predicted, with_
from dscwb.running.validation import STATE, Validation, agreement
from dscwb.study.study import Study
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

NEXT_BEST = 2
"""How many splits beside the best are tried at each rate."""
PIECES = 4
"""So often both ends are measured: before the run, twice within it, and after it."""
NOISE_BELOW = 0.01
"""Of a state's median, as a standard error; then it has enough requests."""
STATE_S = 4.0
"""Seconds for the requests of one state, unless these are too few."""
LEAST, FEW, MOST = 3, 6, 50
"""Requests of a state: least, those in spite of `STATE_S`, and most."""

Both = Sequence[Profile | None]
"""The device and the server, None for one that cannot be measured."""


def validate(
    client: SplitClient,
    captured: CapturedModel,
    study: Study,
    *,
    set_rate: Callable[[float], object] | None = None,
    measure: Callable[[], Both] | None = None,
    gaps_s: Sequence[float] = (0.0,),
    repeats: int | None = None,
    inputs: Sequence[torch.Tensor] | None = None,
    seed: int = 0,
    link: str = "the link as it is",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Validation:
    """Execute the candidates of a study at each of its points, in random order.

    Tried are every split that is best at some rate, no and full offloading, the next best two at
    each rate, and the one predicted to be worst. First a few requests find out what a message costs
    on this link. Requests of one state are spread over the whole run, and so are the measurements
    of both ends that predict it: a machine drifts, and so it does for both alike.

    Args:
        client: Connected to the server.
        captured: The model that the client runs.
        study: What is predicted: its batch sizes, data rates, link and encodings.
        set_rate: Makes the link as fast as this, bit/s; if left out the link is taken to be it.
        measure: Measures both ends anew, None for one that it cannot; called `PIECES` - 1 times.
            What it gives is pooled with the study's profiles; those alone predict if left out.
        gaps_s: Idle times before a request. Even without one most have waited: for the link of the
            request before.
        repeats: Requests of each state. If left out, so many that the scatter of the profiles'
            passes leaves 1 % of standard error in the median, `LEAST` to `MOST`, but not more than
            `STATE_S` seconds allow.
        inputs: One batch of the largest batch size; random numbers if left out.
        seed: Of the order.
        link: What the link is, in words.
        progress: Wraps the plan, such as `tqdm.tqdm`.
    """
    draw = random.Random(seed)
    wholes = {}
    for size in study.batch_sizes:
        batch = captured.inputs(size) if inputs is None else tuple(x[:size] for x in inputs)
        with torch.inference_mode():
            wholes[size] = batch, captured.module(*batch)
    size, fastest = study.batch_sizes[0], float(study.data_rates_bps.max())
    if set_rate:
        set_rate(fastest)
    study = on_this_link(client, study, wholes[size][0], size, fastest)
    states = [
        (size, rate, gap_s, split)
        for size in study.batch_sizes
        for rate in study.data_rates_bps.tolist()
        for split in tried(study, size, rate)
        for gap_s in gaps_s
    ]
    codecs = {
        (size, split): codec_s(client, wholes[size][0], split)
        for size, split in dict.fromkeys((size, split) for size, _, _, split in states)
    }

    def told(state: State) -> dict[str, float]:
        size, rate, _, split = state
        return predicted(study, size, rate, split, codecs[size, split])

    number = {state: repeats or requests_of(study, state[0], told(state)) for state in states}
    plan = spread(number, draw)
    for size, split in codecs:  # warm on both ends
        client.run(*wholes[size][0], split=split)
    again = [len(plan) * k // (PIECES - 1) for k in range(1, PIECES)] if measure else []
    measured: list[list[Profile]] = [[study.edge], [study.server]]
    rows = []
    for i, (size, rate, gap_s, split) in enumerate(progress(plan), start=1):
        batch, whole = wholes[size]
        if set_rate:
            set_rate(rate)
        if gap_s:
            time.sleep(gap_s)
        answer = client.run(*batch, split=split)
        same, error = agreement(answer.output, whole)
        rows.append(
            {
                **dict(zip(STATE, (size, rate, gap_s, split), strict=True)),
                **executed(answer),
                "sent_bytes": answer.sent_bytes,
                "where": answer.where,
                "why": answer.why,
                "same_class": same,
                "relative_error": error,
            }
        )
        for _ in range(again.count(i)):
            for known, one in zip(measured, measure() if measure else (), strict=True):
                known += [one] if one else []
    study = with_(study, pooled(measured[0]), pooled(measured[1]))
    expected = {}
    for state, requests in number.items():
        parts = told(state)
        expected[state] = parts | interval(study, state[0], parts, requests, seed)
    table = pd.DataFrame(rows)
    table = table.join(pd.DataFrame([expected[state] for state in plan]))
    own = "" if captured.own_weights else " (random weights: this says nothing about accuracy)"
    origin = {
        "provenance": "executed",
        "model": captured.graph.model,
        "device": study.edge.provenance.label(),
        "server": study.server.provenance.label(),
        "link": link,
        "scenario": study.scenario.label(),
        "weights": own,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "torch": torch.__version__,
    }
    return Validation(table, origin)


State = tuple[int, float, float, str]
"""Batch size, data rate, idle gap and split."""


def tried(study: Study, batch_size: int, data_rate_bps: float) -> list[str]:
    """The splits to be executed at a point, each once, the predicted best first."""
    row, names = study.row(batch_size), study.splits
    costs = cost_at(study.intercepts[row], study.slopes[row], data_rate_bps)
    order = [names[i] for i in np.argsort(costs, kind="stable") if np.isfinite(costs[i])]
    could_be_best = [names[i] for i in study.envelopes[row].splits]
    ends = [end for end in (NO_OFFLOADING, FULL_OFFLOADING) if end in order]
    return list(dict.fromkeys([*order[: 1 + NEXT_BEST], *could_be_best, *ends, order[-1]]))


def requests_of(study: Study, batch_size: int, told: dict[str, float]) -> int:
    """How many requests make a state's median known: more where computing, which scatters, is more.

    Args:
        study: Whose profiles say how passes scatter.
        batch_size: Of the requests.
        told: The parts of one, of `predicted`.
    """
    halves = (("head", study.edge), ("tail", study.server))
    spreads = [
        told[f"predicted_{half}_s"] * np.nan_to_num(one.spread(one.neighbours(batch_size)[0]))
        for half, one in halves
    ]
    total_s = told["predicted_total_s"]
    one_of_mean = MEDIAN_OVER_MEAN * math.hypot(*spreads) / IQR_OVER_SIGMA / total_s
    wanted = math.ceil((one_of_mean / NOISE_BELOW) ** 2)
    return max(LEAST, min(wanted, MOST, max(FEW, int(STATE_S / total_s))))


def spread(number: dict[State, int], draw: random.Random) -> list[State]:
    """All requests in random order, those of each state spread evenly over the run.

    States of one point that have as many requests come one after the other, in random order: what
    the machine does for some seconds is then the same for all between which is chosen.
    """
    turns: dict[tuple[object, ...], float] = {}
    places = []
    for state, requests in number.items():
        for k in range(requests):
            turn = turns.setdefault((*state[:-1], requests, k), draw.random())
            places.append(((k + turn) / requests, draw.random(), state))
    return [state for *_, state in sorted(places)]


def executed(answer: Answer) -> dict[str, float]:
    """What a request took, by part, in seconds."""
    return {
        "head_s": answer.head_s,
        "codec_s": answer.encode_s + answer.decode_s + answer.reply_s,
        "link_s": answer.link_s,
        "tail_s": answer.queue_s + answer.tail_s,
        "total_s": answer.total_s,
    }
