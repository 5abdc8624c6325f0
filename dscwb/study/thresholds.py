"""A study's exact switching rates as a policy, ready to be written to a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from dscwb.cost import Floats
from dscwb.policy import Choice, Interval, Origin, Plane, Policy, Thresholds
from dscwb.profiles.records import Profile
from dscwb.study.confidence import OTHER_STUDY, Confidence
from dscwb.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dscwb.study.study import Study

DIRECTIONS = 48  # of rates, and of loads, at which the few most likely splits are looked for
FEW_SIZES = 8  # thresholds of more batch sizes would fill screen and page


def few_batch_sizes(study: Study) -> tuple[int, ...]:
    """All batch sizes if they are few, or else those with times of their own, ascending."""
    both = list(zip(study.batch_sizes, study.lines.interpolated.tolist(), strict=True))
    own = sorted(size for size, between in both if not between)
    return tuple(own if own and len(both) > FEW_SIZES else sorted(study.batch_sizes))


def policy_of(study: Study, confidence: Confidence | None = None) -> Policy:
    """The best splits as exact thresholds, in a small file for the device itself.

    They hold for every rate, not only for those of this grid; batch sizes are this grid's.

    Args:
        study: The study.
        confidence: What its bootstrap gave, for a 95 % interval of each threshold.

    Raises:
        ValueError: The confidence is of another study.

    Example:
        Of the study in the example of `sweep`:

        >>> study.policy().best_split(batch_size=1, data_rate_bps=1e9)
        'full offloading'
    """
    lines, envelopes = study.lines, dict(zip(study.batch_sizes, study.envelopes, strict=True))
    intervals: dict[tuple[int, float], Interval] = {}
    if confidence is not None:
        table = confidence.switching_rates()[["batch_size", "data_rate_bps", "low_bps", "high_bps"]]
        intervals = {(int(n), rate): Interval(*ends) for n, rate, *ends in table.to_numpy()}
        own = {(n, rate) for n, one in envelopes.items() for rate in one.switching_rates_bps}
        if set(intervals) != own:
            raise ValueError(OTHER_STUDY)
    batches = []
    for size in sorted(envelopes):
        row, best = study.row(size), envelopes[size].splits.tolist()
        rates = envelopes[size].switching_rates_bps.tolist()
        down = int(study.at_rates(0.0).best[row, 0])
        sent = (lines.bits[row] / BITS_PER_BYTE).tolist()
        indices = [cut.index for cut in lines.splits]
        choices = [Choice(*one) for one in zip(study.splits, indices, sent, strict=True)]
        thresholds = Thresholds(
            size,
            tuple(choices[i] for i in best),
            tuple(rates),
            tuple(intervals.get((size, rate)) for rate in rates),
            bool(lines.interpolated[row]),
            None if down == best[0] else choices[down],
            _planes(study, row, choices),
        )
        batches.append(thresholds)
    stamp = study.stamp()
    origin = Origin(
        **{name: stamp[name] for name in ("model", "device", "server", "scenario")},
        objective=study.scenario.objective,
        device_profile=fingerprint(study.edge),
        server_profile=fingerprint(study.server),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        dscwb_version=stamp["dscwb_version"],
        confidence="" if confidence is None else confidence.label(),
    )
    return Policy(tuple(batches), origin)


def _planes(study: Study, row: int, choices: Sequence[Choice]) -> tuple[Plane, ...]:
    """Every split that some data rate and load may make the best, the payload rising.

    One that another undercuts, or equals, in all three of base, tail and bits never is, nor is one
    that two others undercut so in a mixture of them. What sends nothing stays for a link that is
    down.
    """
    lines, load = study.lines, study.scenario.server_load
    tails_s, energy = lines.tail_s[row] / load, study.scenario.objective == "energy"
    tails = study.scenario.second_costs[1] * tails_s
    bases = study.intercepts[row] - load * tails
    sends = lines.bits[row] > 0
    terms = np.stack([study.slopes[row], bases, tails], axis=1)
    kept: list[int] = []
    for i in np.lexsort(terms.T[::-1]).tolist():  # what is undercut comes after what undercuts it
        lower = not sends[i] or not (terms[kept] <= terms[i]).all(axis=1).any()
        if np.isfinite(terms[i]).all() and lower:
            kept.append(i)
    few = [kept[k] for k in _best_somewhere(terms[kept])]
    kept = [i for i in kept if i in few or not sends[i] or not _undercut(terms[i], terms[few])]
    for i in kept[::-1]:
        others = [j for j in kept if j != i]
        if sends[i] and _undercut(terms[i], terms[others]):
            kept = others
    return tuple(
        Plane(
            choices[i],
            max(0.0, float(bases[i])),
            float(tails[i]),
            float(terms[i, 0]),
            float(tails_s[i]) if energy else None,
        )
        for i in kept
    )


def _best_somewhere(terms: Floats) -> list[int]:
    """Which of these, ``(split, 3)``, are the best somewhere on a grid of rates and loads."""
    spread = np.ptp(terms, axis=0)
    steps = np.geomspace(1e-4, 1e4, DIRECTIONS) * (spread[1] or 1.0)
    by_rate, by_load = (np.concatenate(([0.0], steps / (spread[k] or 1.0))) for k in (0, 2))
    weights = np.array([(x, 1.0, y) for x in by_rate for y in by_load])
    return sorted({*(weights @ terms.T).argmin(axis=1).tolist()})


def _undercut(one: Floats, others: Floats) -> bool:
    """Whether a mixture of two of these, ``(other, 3)``, is nowhere above this one, ``(3,)``.

    A share x of p and 1 - x of q fits where x (p - q) <= one - q in each of the three.
    """
    rises, room = others[:, None] - others, one - others  # (p, q, 3), (q, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = room / rises
    high = np.where(rises > 0, bounds, 1.0).min(axis=2)
    low = np.where(rises < 0, bounds, 0.0).max(axis=2)
    possible = ((rises != 0) | (room >= 0)).all(axis=2)
    return bool((possible & (np.maximum(low, 0) <= np.minimum(high, 1))).any())


def fingerprint(profile: Profile) -> str:
    """Hash of a profile's numbers, by which a file of results names it."""
    source, copies = profile.provenance, profile.transfers
    parts = [profile.graph.fingerprint(), source.device, source.date, repr(profile.time_scale)]
    arrays = [copies.sizes_bytes, copies.to_host_ns, copies.to_device_ns] if copies else []
    for passes in profile.passes:
        parts.append(f"{passes.batch_size}")
        arrays += [passes.plain_ns, passes.stamped_ns]
        arrays += [times for one in passes.separate for times in one.times()]
    parts += [array.tobytes().hex() for array in arrays]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
