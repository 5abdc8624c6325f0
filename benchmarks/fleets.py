"""What a request of a fleet costs, beside simpy doing the same work: its mean latency must agree.

40 devices of one kind, each with Poisson requests and its own place in a day of 1 s samples, share
four workers. simpy keeps no quantiles and decides nothing: it is given one fixed split.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import simpy

import dscwb
from benchmarks.playing import day, real_study
from dscwb.study.sending import Carrier

DEVICES, WORKERS, RATE_HZ, DURATION_S = 40, 4, 2.0, 600.0
SPLIT = "blocks.3.0"


def kind() -> dscwb.Devices:
    return dscwb.Devices(
        "shipped core", real_study(), DEVICES, day(), dscwb.Arrivals(RATE_HZ, poisson=True)
    )


def ours(strategy: str, seconds: float = DURATION_S) -> tuple[float, float, float]:
    """Seconds a request, all counted, and the mean latency; the record's set-up included."""
    start = time.perf_counter()
    found = dscwb.fleet(
        [kind()], workers=WORKERS, duration_s=seconds, strategies=[strategy], deadline_s=0.2
    )
    took = time.perf_counter() - start
    row = found.table().loc[(strategy, "all")]
    return took / row.requests, float(row.requests), float(row.mean_s)


def with_simpy() -> tuple[float, float]:
    """Seconds a request, and the mean latency, of the same fleet with one fixed split."""
    own = kind()
    split, carrier = own.splits()[SPLIT], Carrier(own.links[0], own.round_trip_s)
    start = time.perf_counter()
    world = simpy.Environment()
    pool = simpy.Resource(world, WORKERS)
    latencies: list[float] = []

    def request(cpu: simpy.Resource, link: simpy.Resource, offset_s: float):  # type: ignore[no-untyped-def]
        begun = world.now
        with cpu.request() as turn:
            yield turn
            yield world.timeout(split.head_s)
        with link.request() as turn:
            yield turn
            within = (world.now + offset_s) % carrier.period_s
            way_s = (split.link_s + carrier.trip_s(within)) / 2
            yield world.timeout(carrier.sent(within, split.bits))
        yield world.timeout(way_s)
        with pool.request() as turn:
            yield turn
            yield world.timeout(split.tail_s)
        yield world.timeout(way_s)
        latencies.append(world.now - begun)

    def device(number: int):  # type: ignore[no-untyped-def]
        cpu, link = simpy.Resource(world), simpy.Resource(world)
        offset_s = np.random.default_rng([0, 0, number, 1]).uniform(0, own.links[0].duration_s)
        for now in own.arrivals.until(DURATION_S, [0, 0, number, 0]):
            yield world.timeout(now - world.now)
            world.process(request(cpu, link, offset_s))

    for number in range(DEVICES):
        world.process(device(number))
    world.run()
    return (time.perf_counter() - start) / len(latencies), float(np.mean(latencies))


def peak_bytes(seconds: float) -> int:
    """Most memory that a fleet has taken at one time, the trace and the study not counted."""
    from benchmarks.decide import peak_bytes as peak

    one = replace(kind(), traces=dscwb.Trace([0], [15e6], duration_s=1))
    one.study.policy()
    return peak(lambda: dscwb.fleet([one], duration_s=seconds, workers=WORKERS))
