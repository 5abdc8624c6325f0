"""What no strategy can beat: a lower bound on the mean latency of a fleet in the long run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from dscwb.cost import Floats
from dscwb.fleets.engine import Split
from dscwb.study.sending import Carrier

PLACES = 4096  # of a trace at which a request may begin


def alone_s(splits: dict[str, Split], carrier: Carrier, trip_s: float | None = None) -> Floats:
    """What each split takes that waits for nobody, in seconds, ``(split, place)``.

    Requests begin at `PLACES` places of the trace, evenly; round trips are the trace's, or this.
    """
    starts_s = (np.arange(PLACES) + 0.5) * carrier.period_s / PLACES
    rows = []
    for one in splits.values():
        row, sent_s = np.full(PLACES, one.head_s + one.tail_s), starts_s + one.head_s
        if one.bits:
            trips_s = carrier.trips_at(sent_s) if trip_s is None else trip_s
            row += one.link_s + trips_s + carrier.sending_s(sent_s, one.bits)
        rows.append(row)
    return np.stack(rows)


def least_mean_s(
    kinds: Sequence[tuple[float, dict[str, Split], Carrier]],
    workers: float,
) -> float:
    """A mean latency in seconds that no strategy stays below, whatever it knows.

    Let c(i, t) be what a request that begins at t takes with split i if it waits for nobody: no
    real one takes less, as waiting only adds (a payload that is sent later never arrives earlier;
    as a round trip may be shorter then, c holds the least of the trace), nor one that its device
    finishes in the end: that takes no less than the whole model there.
    The tails that come in a second cannot take more than `workers` seconds, or the queue grows for
    ever. For any price m >= 0 a second of a worker therefore, where E is the mean over requests, of
    which L come in a second, and i whatever the strategy takes at t:

        mean >= E c(i, t) >= E [c(i, t) + m tail(i)] - m workers / L
             >= E min_i [c(i, t) + m tail(i)] - m workers / L.

    Each m gives a bound; the largest is the value of the linear programme that lets a coordinator
    mix splits at every place of the traces. Requests begin anywhere in the trace alike, which is
    where each device's link begins at random; t runs over `PLACES` places of it.

    Args:
        kinds: Of each kind of devices and each trace of theirs: requests a second of all that have
            it, splits, link.
        workers: Tails that run at the same time; infinite where requests do not go on for ever at
            these rates, so that a queue may outlast them: only m = 0 is true then.
    """
    total_hz = sum(rate_hz for rate_hz, *_ in kinds)
    alone: list[tuple[float, Floats, Floats]] = []
    for rate_hz, splits, carrier in kinds:
        tails = np.array([one.tail_s * (one.bits > 0) for one in splits.values()])
        costs = alone_s(splits, carrier, float(carrier.trips_s.min()))
        alone.append((rate_hz / total_hz, costs, tails[:, None]))

    def bound(price: float) -> float:
        means = (
            share * (costs + price * tails).min(axis=0).mean() for share, costs, tails in alone
        )
        return float(sum(means)) - (price * workers / total_hz if price else 0.0)

    if workers == math.inf:
        return bound(0.0)
    # Concave in the price, and at this one nobody who need not use a server does.
    worth = [
        np.ptp(costs, axis=0).max() / tails[tails > 0].min(initial=1) for _, costs, tails in alone
    ]
    found = minimize_scalar(lambda m: -bound(m), bounds=(0.0, 1e-9 + max(worth)), method="bounded")
    return max(bound(0.0), -float(found.fun))
