"""What splitting is worth in a study, in numbers and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dscwb.cost import Floats, gain
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, format_percent

if TYPE_CHECKING:
    from dscwb.study.study import Study

HARDLY = 0.01
"""Mean gain below which splitting `hardly pays`: measuring stops at a half-width of 1 % of T, so
less cannot be told from the profiles' own noise."""


@dataclass(frozen=True)
class Worth:
    """What splitting is worth over one grid of states.

    Attributes:
        states: Number of states.
        split_share: Share of states whose best choice is a split, neither no nor full offloading.
        over_ends: Mean gain over the better of no and full offloading, chosen anew in every state;
            NaN where in some state neither is possible.
        over_static: Mean gain over the one best static choice; NaN where there is none.
        static: Name of that choice; empty where there is none.
    """

    states: int
    split_share: float
    over_ends: float
    over_static: float
    static: str


def worth(study: Study) -> Worth:
    """What splitting is worth in this study."""
    gained = gain(study.cost, _better_end(study))
    try:
        static = study.best_static()
    except ValueError:  # no split has a time at every batch size
        static = ""
    return Worth(
        study.best.size,
        study.usefulness(),
        float(gained.mean()),
        study.mean_gain(static) if static else float("nan"),
        static,
    )


def _better_end(study: Study) -> Floats:
    """Cost of the better of no and full offloading in every state, ``(batch, rate)``."""
    ends = [name for name in (FULL_OFFLOADING, NO_OFFLOADING) if name in study.splits]
    # fmin leaves out an end that is not possible; no offloading is always a candidate.
    better: Floats = np.fmin.reduce([study.static_cost(name) for name in ends])
    return better


def verdict(study: Study) -> str:
    """Whether splitting pays in this study, in one line that names the payload convention.

    The gain is over the better of no and full offloading, which a system without splits could
    reach; a mean over all states of the grid, those without a best split included.

    Example:
        Of the study in the example of `sweep`:

        >>> verdict(study).partition(":")[0]
        'Splitting pays with input uint8 and features int8'
    """
    value = worth(study)
    both = zip(("input", "features"), study.written, strict=True)
    where = "with " + (
        " and ".join(f"{what} {words}" for what, words in both if words) or "nothing to send"
    )
    states = f"{value.states:,} state{'s' * (value.states != 1)}"
    if not value.split_share:
        return (
            f"Splitting does not pay {where}: in none of {states} is a split better than "
            f"{_ends(study)}."
        )
    if np.isnan(value.over_ends):
        return (
            f"Splitting is needed {where}: a split is best in "
            f"{format_percent(value.split_share)} of {states}, and in some of them neither no nor "
            "full offloading is possible."
        )
    saved = "latency" if study.unit == "s" else "device's energy"
    mean = f"on average over {study.grid_label}"
    pays = "pays" if value.over_ends >= HARDLY else "hardly pays"
    static = (
        f", and {format_percent(value.over_static)} against always choosing {value.static}, "
        "the best static choice"
        if value.static
        else ""
    )
    return (
        f"Splitting {pays} {where}: a split is best in {format_percent(value.split_share)} of "
        f"{states}, and choosing the best in each saves {format_percent(value.over_ends)} of the "
        f"{saved} {mean} against {_ends(study)}{static}."
    )


def _ends(study: Study) -> str:
    if FULL_OFFLOADING not in study.splits:
        return NO_OFFLOADING
    return "the better of no and full offloading"


def weighted_mean(values: Floats, weights: ArrayLike | None) -> float:
    """Mean over a grid, all points alike, or each as often as its weight says.

    Raises:
        ValueError: The weights do not broadcast to the grid, or are no distribution.
    """
    if weights is None:
        return float(values.mean())
    try:
        shares = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
    except ValueError:
        raise ValueError(
            f"weights have shape {np.shape(weights)}; the grid is {values.shape} (batch, rate)."
        ) from None
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise ValueError("weights must be finite, not negative, and not all zero.")
    some = shares > 0  # a cost may be infinite where the link is down
    return float(np.average(values[some], weights=shares[some]))
