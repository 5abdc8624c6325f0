"""The recipe of a report: the lines of Python that make the same study again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields

import numpy as np

from dscwb.study import Study
from dscwb.study.confidence import Confidence
from dscwb.units import Encoding, encoding

RECIPE = """\
import numpy as np
import dscwb
from dscwb import Encoding, Link, PowerModel

edge = dscwb.load_profile(EDGE)
server = {server}
study = dscwb.sweep(
    edge,
    server,
    {given}
)
dscwb.report(study, "report.html"{sure})"""


def recipe(study: Study, confidence: Confidence | None = None) -> str:
    """Lines of Python that make the study again from its two profiles, and its report."""
    edge, server, rates = study.edge, study.server, study.data_rates_bps
    knobs = [(one, getattr(study.scenario, one.name)) for one in fields(study.scenario)]
    given = {one.name: _written(value) for one, value in knobs if value != one.default}
    given |= {"batch_sizes": f"{list(study.batch_sizes)}", "data_rates_bps": f"{rates.tolist()}"}
    low, high, number = float(rates[0]), float(rates[-1]), len(rates)
    if low > 0 and np.allclose(rates, np.geomspace(low, high, number), rtol=1e-9):
        given["data_rates_bps"] = f"np.geomspace({low!r}, {high!r}, {number})"
    source = "dscwb.load_profile(SERVER)"
    if server.provenance.origin == "assumed" and server.passes is edge.passes:
        source = f"dscwb.scale_profile(edge, {edge.time_scale / server.time_scale:.12g})"
    sure = ""
    if confidence:
        sure = f", confidence=study.confidence({confidence.replicates}, {confidence.seed})"
    lines = "\n    ".join(f"{name}={value}," for name, value in given.items())
    return RECIPE.format(server=source, given=lines, sure=sure)


def _written(value: object) -> str:
    """A value as one would write it: an encoding that has a name by its name."""
    if isinstance(value, Encoding):
        with suppress(ValueError):
            if encoding(value.name) == value:
                return repr(value.name)
    return repr(value)
