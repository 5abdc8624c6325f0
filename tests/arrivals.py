"""Streams of requests in a word."""

from collections.abc import Sequence

from dscwb import Arrivals


def evenly(every_s: float) -> Arrivals:
    """One every so many seconds."""
    return Arrivals(1 / every_s if every_s > 0 else 0.0)


def poisson(rate_hz: float) -> Arrivals:
    """So many a second in the mean, each independent of all others."""
    return Arrivals(rate_hz, poisson=True)


def at_times(times_s: Sequence[float]) -> Arrivals:
    """At these times; ValueError where there are none."""
    return Arrivals(times_s=times_s)
