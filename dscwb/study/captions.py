"""What a study says of itself in words: for captions, files and the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dscwb.scenario import CANDIDATES
from dscwb.study.worth import verdict
from dscwb.units import format_percent, format_rate, format_seconds, shown_name, written_as

if TYPE_CHECKING:
    from dscwb.study.study import Study


def written(study: Study) -> tuple[str, str]:
    """How input and features really go over the wire, in words; empty where not sent."""
    cuts, scenario = study.lines.splits, study.scenario
    inputs = [spec.dtype for cut in cuts if cut.is_input for spec in cut.frontier]
    inner = [cut for cut in cuts if not (cut.is_input or cut.is_output)]
    sent = [spec.dtype for cut in inner for spec in cut.frontier]
    given = written_as(inputs, scenario.input_encoding) if inputs else ""
    features = written_as(sent, scenario.feature_encoding) if sent else ""
    device, server = study.edge.provenance.dtype, study.server.provenance.dtype
    if features and device != server:
        features += f" (converted from the device's {device}, into the server's {server})"
    return given, features


def grid(study: Study) -> str:
    """The ranges that a mean is over: batch sizes and data rates."""
    sizes, rates = study.batch_sizes, study.data_rates_bps
    ends = [format_rate(rate, in_bytes=False) for rate in (rates.min(), rates.max())]
    ranges = ("–".join(dict.fromkeys(two)) for two in ((str(min(sizes)), str(max(sizes))), ends))
    return f"batch size{'s' * (len(sizes) > 1)} {' and '.join(ranges)}"


def stamp(study: Study) -> dict[str, str]:
    """Where the numbers come from, in words: what every file and figure must say."""
    from dscwb import __version__

    graph, granularity = study.edge.graph, study.granularity
    both = zip(("input", "features"), study.written, strict=True)
    payload = ", ".join(f"{what} {words}" for what, words in both if words)
    candidates = CANDIDATES[granularity]
    if granularity == "block" and not graph.blocks:
        candidates = "record-low and single-tensor cuts, as the model has no blocks"
    elif granularity == "block" and any(place.name in study.splits for place in graph.narrow):
        candidates += " and narrow places"
    return {
        "model": graph.label(),
        "device": study.edge.provenance.label(),
        "server": study.server.provenance.label(),
        "scenario": study.scenario.label(payload, candidates),
        "dscwb_version": __version__,
    }


def cautions(study: Study, batch_size: int | None = None) -> tuple[str, ...]:
    """What should be known before these numbers are believed, a sentence each; often none.

    Times that are noisy, unreliable or biased, with the remedy, and machines that were measured
    unlike each other.

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
        for near in sorted({size for wanted in sizes for size in profile.neighbours(wanted)}):
            if words := profile.caution(near):
                found.append(f"The {who}'s times at batch size {near} are {words}.")
    device, server = study.edge.provenance, study.server.provenance
    if device.gap_s != server.gap_s and "imported" not in (device.origin, server.origin):
        gaps = (
            f"{format_seconds(one.gap_s)} of idling" if one.gap_s else "no idle gap"
            for one in (device, server)
        )
        found.append(
            "The device's times are with {} before each pass, the server's with {}: what has "
            "waited is slower; measure both alike (gap_s=, --gap-ms).".format(*gaps)
        )
    if device.dtype != server.dtype:
        found.append(
            f"The head computes in {device.dtype}, the tail in {server.dtype}: features are "
            "converted, which takes time that is not counted."
        )
    return tuple(found)


def label(study: Study) -> str:
    """Model, machines and scenario in words: what every figure's caption must say."""
    stamp = study.stamp()
    return (
        f"{stamp['model']}. Device: {stamp['device']}. Server: {stamp['server']}. "
        f"{stamp['scenario']}.{outages(study)}"
    )


def outages(study: Study) -> str:
    """What is best where the link is down, which no logarithmic axis shows; often empty."""
    down = study.data_rates_bps == 0
    if not down.any():
        return ""
    best = " or ".join(np.array(study.splits)[np.unique(study.best[:, down])])
    return f" The link is down at {down.sum()} of {len(down)} data rates: {best} there."


def summary(study: Study) -> dict[str, str]:
    """What a notebook shows of a study, a line each."""
    stamp = study.stamp()
    over = study.splits[-1]
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
