"""Sources of a report: a study goes in, where it comes from and its recipe come out, as HTML."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from dscwb.profiles.records import Profile
from dscwb.reporting.markup import code, definitions, paragraph
from dscwb.study.confidence import Confidence
from dscwb.study.sweeps import Study
from dscwb.study.thresholds import fingerprint


def sources(study: Study, confidence: Confidence | None) -> str:
    """All that is known of both profiles."""
    sure = [] if confidence is None else [paragraph(f"Intervals: {confidence.label()}.")]
    return "".join(
        [
            "<h3>Device</h3>",
            _provenance(study.edge),
            "<h3>Server</h3>",
            _provenance(study.server),
            *sure,
        ]
    )


def _provenance(profile: Profile) -> str:
    source = profile.provenance
    return definitions(
        [
            ("Origin", source.origin),
            ("Device", source.device),
            ("Threads", source.threads),
            # An assumed machine has the clocks of none.
            ("Clocks", "" if source.origin == "assumed" else source.clocks),
            ("Element type", source.dtype),
            ("Batch sizes", ", ".join(map(str, profile.batch_sizes))),
            ("Date", source.date),
            ("Protocol", source.protocol),
            ("Versions", ", ".join(f"{name} {version}" for name, version in source.versions)),
            ("Note", source.note),
            ("Hash of its numbers", fingerprint(profile)),
        ]
    )


def again(study: Study, confidence: Confidence | None, command: str) -> str:
    """What to type to get the same page."""
    parts = [paragraph("On the command line:"), code(command)] if command else []
    lines = recipe(study, confidence)
    return "".join([*parts, paragraph("In Python, with the profiles named above:"), code(lines)])


def recipe(study: Study, confidence: Confidence | None = None) -> str:
    """Lines of Python that make the study again from its two profiles, and its report."""
    scenario = study.scenario
    given = [
        (one.name, getattr(scenario, one.name))
        for one in fields(scenario)
        if getattr(scenario, one.name) != one.default
    ]
    given.append(("batch_sizes", list(study.batch_sizes)))
    sure = (
        f", confidence=study.confidence({confidence.replicates}, {confidence.seed})"
        if confidence
        else ""
    )
    return "\n".join(
        [
            "import numpy as np",
            "import dscwb",
            "from dscwb import Encoding, Link, PowerModel",
            "",
            "edge = dscwb.load_profile(EDGE)",
            f"server = {_server(study)}",
            "study = dscwb.sweep(",
            "    edge,",
            "    server,",
            *(f"    {name}={value!r}," for name, value in given),
            f"    data_rates_bps={_rates(study.data_rates_bps)},",
            ")",
            f'dscwb.report(study, "report.html"{sure})',
        ]
    )


def _server(study: Study) -> str:
    edge, server = study.edge, study.server
    if server.provenance.origin == "assumed" and server.passes is edge.passes:
        return f"dscwb.scale_profile(edge, {edge.time_scale / server.time_scale:.12g})"
    return "dscwb.load_profile(SERVER)"


def _rates(rates_bps: NDArray[np.float64]) -> str:
    low, high, number = float(rates_bps[0]), float(rates_bps[-1]), len(rates_bps)
    if low > 0 and np.allclose(rates_bps, np.geomspace(low, high, number), rtol=1e-9):
        return f"np.geomspace({low!r}, {high!r}, {number})"
    return repr(rates_bps.tolist())
