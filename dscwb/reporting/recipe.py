"""The recipe of a report: the lines of Python that make the same study again."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from dscwb.study import Study
from dscwb.study.confidence import Confidence


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
