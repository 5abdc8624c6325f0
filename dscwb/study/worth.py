"""What splitting is worth in a study, in numbers and in one sentence."""

from __future__ import annotations

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


def gain_over_ends(study: Study) -> float:
    """Mean gain over the better of no and full offloading, chosen anew at every point.

    NaN where at some point neither is possible.
    """
    ends = [name for name in (FULL_OFFLOADING, NO_OFFLOADING) if name in study.splits]
    # fmin leaves out an end that is not possible; no offloading is always a candidate.
    better: Floats = np.fmin.reduce([study.static_cost(name) for name in ends])
    return float(gain(study.cost, better).mean())


def gain_over_static(study: Study) -> tuple[str, float]:
    """The one best static choice and the mean gain over it; no name and NaN where there is none."""
    try:
        static = study.best_static()
    except ValueError:  # no split has a time at every batch size
        return "", float("nan")
    return static, study.mean_gain(static)


def verdict(study: Study) -> str:
    """Whether splitting pays in this study, in one line that names the payload convention.

    The gain is over the better of no and full offloading, which a system without splits could
    reach; a mean over all states of the grid, those without a best split included.

    Example:
        Of the study in the example of `sweep`:

        >>> verdict(study).partition(":")[0]
        'Splitting pays with input uint8 and features int8'
    """
    both = zip(("input", "features"), study.written, strict=True)
    where = " and ".join(f"{what} {words}" for what, words in both if words) or "nothing to send"
    states = f"{study.best.size:,} state{'s' * (study.best.size != 1)}"
    ends = "the better of no and full offloading"
    if FULL_OFFLOADING not in study.splits:
        ends = NO_OFFLOADING
    share, saved = study.usefulness(), gain_over_ends(study)
    static, over_static = gain_over_static(study)
    if not share:
        return (
            f"Splitting does not pay with {where}: in none of {states} is a split better than "
            f"{ends}."
        )
    best = f"with {where}: a split is best in {format_percent(share)} of {states}"
    if np.isnan(saved):
        return (
            f"Splitting is needed {best}, and in some of them neither no nor full offloading is "
            "possible."
        )
    of = "latency" if study.unit == "s" else "device's energy"
    against = (
        f", and {format_percent(over_static)} against always choosing {static}, the best static "
        "choice"
    )
    return (
        f"Splitting {'pays' if saved >= HARDLY else 'hardly pays'} {best}, and choosing the best "
        f"in each saves {format_percent(saved)} of the {of} on average over {study.grid_label} "
        f"against {ends}{against if static else ''}."
    )


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
