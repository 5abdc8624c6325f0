"""What a study says of itself in words: for captions, files and the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dscwb import cost
from dscwb.profiles.records import Profile
from dscwb.scenario import CANDIDATES
from dscwb.study.worth import verdict
from dscwb.units import format_percent, format_rate, format_seconds, shown_name

if TYPE_CHECKING:
    from dscwb.study.study import Study


def written(study: Study) -> tuple[str, str]:
    """How input and features really go over the wire, in words; empty where not sent."""
    given, features = cost.written(study.lines.splits, study.scenario)
    device, server = study.edge.provenance.dtype, study.server.provenance.dtype
    if features and device != server:
        features += f" (converted from the device's {device}, into the server's {server})"
    return given, features


def grid(study: Study) -> str:
    """The ranges that a mean is over: ``batch sizes 1 to 8``, then the rates."""
    sizes, rates = study.batch_sizes, study.data_rates_bps
    ends = [format_rate(rate, in_bytes=False) for rate in (rates.min(), rates.max())]
    words = "batch sizes" if len(sizes) > 1 else "batch size"
    return f"{words} {_span(str(min(sizes)), str(max(sizes)))} and {_span(*ends)}"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"


def stamp(study: Study) -> dict[str, str]:
    """Where the numbers come from, in words: what every file and figure must say."""
    from dscwb import __version__

    graph = study.edge.graph
    both = zip(("input", "features"), study.written, strict=True)
    payload = ", ".join(f"{what} {words}" for what, words in both if words)
    size = "×".join(str(n) for n in graph.inputs[0].shape[1:])
    return {
        "model": f"{graph.model} at {size}",
        "device": study.edge.provenance.label(),
        "server": study.server.provenance.label(),
        "scenario": study.scenario.label(payload, _candidates(study)),
        "dscwb_version": __version__,
    }


def _candidates(study: Study) -> str:
    """What was really offered, where the granularity alone does not say it; else empty."""
    graph, granularity = study.edge.graph, study.granularity
    if granularity != "block":
        return CANDIDATES[granularity]
    if not graph.blocks:
        return "record-low and single-tensor cuts, as the model has no blocks"
    narrow = any(place.name in study.splits for place in graph.narrow)
    return "block ends and narrow places" if narrow else "block ends"


def cautions(study: Study, batch_size: int | None = None) -> tuple[str, ...]:
    """What should be known before these numbers are believed, a sentence each; often none.

    Times that are noisy, unreliable or biased, with the remedy, and idle gaps that differ.

    Args:
        study: Whose numbers they are.
        batch_size: Only what stands behind this one; behind all of the study if left out.
    """
    sizes = study.batch_sizes if batch_size is None else (batch_size,)
    machines = {"device": study.edge, "server": study.server}
    if study.server.passes is study.edge.passes:
        del machines["server"]  # an assumed server is the device itself: once is enough
    found = []
    for who, profile in machines.items():
        near = sorted({size for wanted in sizes for size in profile.neighbours(wanted)})
        told = {size: profile.caution(size) for size in near}
        told = {size: words for size, words in told.items() if words}
        found += [f"The {who}'s times at batch size {n} are {words}." for n, words in told.items()]
    return (*found, *_gaps_differ(study.edge, study.server), *_types_differ(study))


def label(study: Study) -> str:
    """Model, machines and scenario in words: what every figure's caption must say."""
    stamp = study.stamp()
    return (
        f"{stamp['model']}. Device: {stamp['device']}. Server: {stamp['server']}. "
        f"{stamp['scenario']}.{outages(study)}"
    )


def outages(study: Study) -> str:
    """What is best where the link is down, which no logarithmic axis shows; often empty."""
    down = int((study.data_rates_bps == 0).sum())
    if not down:
        return ""
    best = " or ".join(np.array(study.splits)[np.unique(study.best[:, study.data_rates_bps == 0])])
    return f" The link is down at {down} of {len(study.data_rates_bps)} data rates: {best} there."


def _types_differ(study: Study) -> tuple[str, ...]:
    types = study.edge.provenance.dtype, study.server.provenance.dtype
    if types[0] == types[1]:
        return ()
    return (
        f"The head computes in {types[0]}, the tail in {types[1]}: features are converted, which "
        "takes time that is not counted.",
    )


def _gaps_differ(edge: Profile, server: Profile) -> tuple[str, ...]:
    gaps = edge.provenance.gap_s, server.provenance.gap_s
    told = all(one.provenance.origin != "imported" for one in (edge, server))
    if gaps[0] == gaps[1] or not told:
        return ()
    idle = [f"{format_seconds(gap)} of idling" if gap else "no idle gap" for gap in gaps]
    return (
        f"The device's times are with {idle[0]} before each pass, the server's with {idle[1]}: "
        "what has waited is slower; measure both alike (gap_s=, --gap-ms).",
    )


def summary(study: Study) -> dict[str, str]:
    """What a notebook shows of a study, a line each."""
    stamp = study.stamp()
    over = "no offloading" if "no offloading" in study.splits else study.splits[-1]
    machines = (one.provenance for one in (study.edge, study.server))
    device, server = (f"{one.machine()} ({one.origin})" for one in machines)
    return {
        "Study": stamp["model"],
        "Device": device,
        "Server": server,
        "Scenario": stamp["scenario"],
        "Verdict": verdict(study),
        "Mean gain": f"{format_percent(study.mean_gain(over))} over {shown_name(over)}, "
        f"mean over {study.grid_label}",
    }
