"""What each candidate costs whom at one point: latency, bytes, the server's time, energy.

Latency is not all that counts: bytes on the link, seconds of a shared server and the device's
energy may each ask for another split. No sum of them is taken; a candidate is on the front where no
other one is at least as good in everything and better in something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cost import checked_rates, cost_at
from dscwb.scenario import PowerModel
from dscwb.study.study import Study
from dscwb.units import BITS_PER_BYTE

if TYPE_CHECKING:
    import pandas as pd

ENERGY = "device_energy_j"
COLUMNS = ("latency_s", "payload_bytes", "server_s", ENERGY)


def tradeoffs(
    study: Study,
    batch_size: int,
    data_rate_bps: float,
    *,
    power: PowerModel | None = None,
    objectives: Sequence[str] | None = None,
) -> pd.DataFrame:
    """What every candidate costs in one state, and which of them no other one beats.

    Args:
        study: Profiles and scenario; its own objective plays no part here.
        batch_size: One of the study's.
        data_rate_bps: In bit/s; 0 for a link that is down.
        power: What the device draws; the scenario's when left out.
        objectives: Columns that count for ``pareto``; all when left out.

    Returns:
        One row a candidate, from input to output: ``split``, ``latency_s``, ``payload_bytes``
        (overhead included), ``server_s`` (seconds that the server computes), ``device_energy_j``
        (only with a power model, see `PowerModel`), and ``pareto``: True where no other candidate
        is at least as small in all objectives and smaller in one. Candidates with equal numbers
        beat neither each other. Without times, where the head does not fit or where the link is
        down (rate 0), all is NaN but the payload, and ``pareto`` is False.

    Raises:
        ValueError: The batch size is not on the grid, the rate below zero, a column unknown.

    Example:
        Of the study in the example of `sweep`; nothing sends less than no offloading:

        >>> table = tradeoffs(study, batch_size=1, data_rate_bps=2e7)
        >>> table.loc[table["pareto"], "split"].tolist()[-1]
        'no offloading'
    """
    import pandas as pd

    row, lines = study.row(batch_size), study.lines
    rate = float(checked_rates(data_rate_bps)[0])
    latency = study.latency_at(batch_size, rate)[:, 0]
    latency[np.isposinf(latency)] = np.nan  # the link is down
    timed = ~np.isnan(latency)
    columns = {
        "latency_s": latency,
        "payload_bytes": lines.bits[row] / BITS_PER_BYTE,
        "server_s": np.where(timed, lines.tail_s[row], np.nan),
    }
    if used := power or study.scenario.power:
        joules, per_rate = lines.costs(replace(study.scenario, objective="energy", power=used))
        columns[ENERGY] = np.where(timed, cost_at(joules[row], per_rate[row], rate), np.nan)
    counted = list(columns if objectives is None else objectives)
    if not counted:
        raise ValueError(f"objectives is empty; give one or more of {', '.join(columns)}.")
    for name in counted:
        if name == ENERGY and name not in columns:
            raise ValueError(
                f"{ENERGY!r} needs the device's power; give power=dscwb.PowerModel(compute_w, "
                "send_w, wait_w, source)."
            )
        if name not in columns:
            raise ValueError(f"Unknown column {name!r}; choose from {', '.join(columns)}.")
    table = pd.DataFrame({"split": study.splits, **columns, "pareto": False})
    table.loc[timed, "pareto"] = not_dominated(table.loc[timed, counted])
    return table


def not_dominated(values: ArrayLike) -> NDArray[np.bool_]:
    """The Pareto front of rows whose every column should be small.

    Row j dominates row i if it is nowhere larger and somewhere smaller. Equal rows do not dominate
    each other, so either all of them are on the front or none is.

    Args:
        values: ``(point, objective)``, without NaN.

    Returns:
        True for rows that no other one dominates, ``(point,)``.
    """
    points = np.asarray(values, dtype=np.float64)
    no_larger = (points[:, None] <= points).all(axis=-1)
    smaller = (points[:, None] < points).any(axis=-1)
    front: NDArray[np.bool_] = np.logical_not((no_larger & smaller).any(axis=0))
    return front
