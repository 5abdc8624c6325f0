"""A study's exact switching rates as a policy, ready to be written to a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dscwb.policy import Choice, Interval, Origin, Policy, Thresholds
from dscwb.profiles.records import Profile
from dscwb.study.confidence import Confidence
from dscwb.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dscwb.study.study import Study

Intervals = Mapping[tuple[int, float], Interval]
"""How sure a threshold is, by batch size and data rate in bit/s."""


FEW_SIZES = 8  # thresholds of more batch sizes would fill screen and page


def few_batch_sizes(study: Study) -> tuple[int, ...]:
    """All batch sizes if they are few, or else those with times of their own, ascending."""
    both = list(zip(study.batch_sizes, study.lines.interpolated.tolist(), strict=True))
    own = sorted(size for size, between in both if not between)
    return tuple(own if own and len(both) > FEW_SIZES else sorted(study.batch_sizes))


def policy_of(study: Study, confidence: Confidence | None) -> Policy:
    """The policy of a study.

    Args:
        study: The study.
        confidence: What its bootstrap gave; None if it was not asked.

    Raises:
        ValueError: The confidence is of another study.
    """
    intervals, stamp = _intervals(study, confidence), study.stamp()
    origin = Origin(
        **{name: stamp[name] for name in ("model", "device", "server", "scenario")},
        objective=study.scenario.objective,
        device_profile=fingerprint(study.edge),
        server_profile=fingerprint(study.server),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        dscwb_version=stamp["dscwb_version"],
        confidence="" if confidence is None else confidence.label(),
    )
    rows = sorted(range(len(study.batch_sizes)), key=study.batch_sizes.__getitem__)
    return Policy(tuple(_thresholds(study, row, intervals) for row in rows), origin)


def _thresholds(study: Study, row: int, intervals: Intervals) -> Thresholds:
    envelope, lines, size = study.envelopes[row], study.lines, study.batch_sizes[row]
    rates = envelope.switching_rates_bps.tolist()
    sent = (lines.bits[row] / BITS_PER_BYTE).tolist()

    def choice(i: int) -> Choice:
        return Choice(study.splits[i], lines.splits[i].index, sent[i])

    down = int(study.at_rates(0.0).best[row, 0])
    return Thresholds(
        size,
        tuple(choice(i) for i in envelope.splits.tolist()),
        tuple(rates),
        tuple(intervals.get((size, rate)) for rate in rates),
        bool(lines.interpolated[row]),
        None if down == envelope.splits[0] else choice(down),
    )


def _intervals(study: Study, confidence: Confidence | None) -> Intervals:
    if confidence is None:
        return {}
    columns = ["batch_size", "data_rate_bps", "low_bps", "high_bps"]
    table = confidence.switching_rates()[columns]
    found = {
        (int(size), rate): Interval(low, high)
        for size, rate, low, high in table.itertuples(index=False)
    }
    both = zip(study.batch_sizes, study.envelopes, strict=True)
    if set(found) != {(size, rate) for size, e in both for rate in e.switching_rates_bps.tolist()}:
        raise ValueError("This confidence is of another study; take it from study.confidence().")
    return found


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
