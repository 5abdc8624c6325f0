"""What the controller costs: a decision on a device, and a step of a trace that is replayed.

Random traces with known seeds: a day of 1 s samples, as phones log them, whose rate wanders within
20 s and jumps by some percent each second; and an hour whose rate changes at each of its steps.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np

import dscwb
from dscwb.study import playing

EVERY_S = 0.01
DECISIONS = 20_000


@dataclass
class Answer:
    """What a device is told."""

    split: str
    link_s: float
    sent_bytes: int
    tail_s: float
    why: str = ""
    queue_s: float = 0.0


def real_study() -> dscwb.Study:
    """EfficientNet-B4 on the shipped core, with a server assumed 20 times as fast."""
    edge = dscwb.shipped_profile("efficientnet_b4")
    return dscwb.sweep(
        edge,
        dscwb.scale_profile(edge, 20),
        link=dscwb.Link(round_trip_s=0.02),
        input_encoding="uint8",
        feature_encoding="int8",
        batch_sizes=[1],
    )


def day() -> dscwb.Trace:
    rng, seconds = np.random.default_rng(0), np.arange(86_400)
    slow = np.interp(seconds, seconds[::20], rng.normal(size=len(seconds[::20])))
    rates = 15e6 * np.exp(0.6 * slow + 0.15 * rng.normal(size=len(seconds)))
    return dscwb.Trace(seconds, rates, len(seconds))


def part(trace: dscwb.Trace, seconds: int) -> dscwb.Trace:
    """The first of the samples, 1 s each."""
    return dscwb.Trace(trace.times_s[:seconds], trace.data_rates_bps[:seconds], seconds)


def packets() -> dscwb.Trace:
    """An hour in steps of 10 ms, each with as many packets as chance gives it."""
    steps = 360_000
    rates = np.random.default_rng(0).poisson(12.5, steps) * 1504 * 8 / EVERY_S
    return dscwb.Trace(np.arange(steps) * EVERY_S, rates, steps * EVERY_S)


def decision_s(study: dscwb.Study) -> float:
    """Seconds of one `choose` and one `observe`, where each batch takes a time of its own."""
    rng = np.random.default_rng(0)
    planes = {plane.choice.name: plane for plane in study.policy().planes(1)}
    times = rng.uniform(0.9, 1.1, (DECISIONS, 2)).tolist()
    ticks = itertools.count()
    own = dscwb.Controller(study.policy(), data_rate_bps=15e6, clock=lambda: 0.1 * next(ticks))
    taken = 0.0
    for link, tail in times:
        start = time.perf_counter()
        plane = planes[own.choose(1)]
        taken += time.perf_counter() - start
        bits = 8 * plane.choice.payload_bytes
        told = Answer(plane.choice.name, link * (0.02 + bits / 15e6), int(bits / 8), plane.tail)
        told.tail_s *= tail
        start = time.perf_counter()
        own.observe(1, told)
        taken += time.perf_counter() - start
    return taken / DECISIONS


def step_s(study: dscwb.Study, trace: dscwb.Trace, *, jump: bool = True) -> tuple[float, list[int]]:
    """Seconds a step of the controller's replay, and what it took."""
    requests = playing.Requests.of(study, 0, trace, EVERY_S, 5.0, 1.0)
    clock = playing.Clock()
    own = dscwb.Controller(study.policy(), data_rate_bps=15e6, round_trip_s=0.02, clock=clock)
    start = time.perf_counter()
    taken = playing.played(own, clock, requests, 1, jump=jump)
    return (time.perf_counter() - start) / len(taken), taken.tolist()


def table_s(study: dscwb.Study, trace: dscwb.Trace) -> float:
    """Seconds a step and strategy of everything else: the oracle, every fixed split, the table."""
    found = dscwb.replay(study, trace, {}, every_s=EVERY_S)
    start = time.perf_counter()
    found.table()
    return (time.perf_counter() - start) / len(found.times_s) / len(found.strategies)
