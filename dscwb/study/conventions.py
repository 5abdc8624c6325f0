"""Payload conventions side by side: a study goes in, what each would have said comes out.

How input and features are written on the wire decides whether splitting pays. So the same profiles
and the same scenario are asked again under every convention, and nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dscwb.cuts import Cut
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.optimise import gain
from dscwb.study.states import Floats
from dscwb.study.sweeps import Study, sweep
from dscwb.units import Encoding, encoding, format_percent

if TYPE_CHECKING:
    import pandas as pd

INPUTS = ("float32", "uint8", "jpeg 10:1")
"""An image as the model takes it, as a camera gives it, and as it is usually sent."""
FEATURES = ("float32", "float16", "int8")
"""Tensors as they are, halved without much thought, and quantised."""
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
        f"{saved} on average against {_ends(study)}{static}."
    )


def _ends(study: Study) -> str:
    if FULL_OFFLOADING not in study.splits:
        return NO_OFFLOADING
    return "the better of no and full offloading"


def conventions(
    study: Study,
    *,
    input_encodings: Sequence[str | Encoding] | None = None,
    feature_encodings: Sequence[str | Encoding] | None = None,
) -> pd.DataFrame:
    """What the same study would say under other payload conventions.

    Profiles, grid and all of the scenario but the two encodings stay as they are.

    Args:
        study: The study; its own convention is always among the rows.
        input_encodings: How the input is sent when all layers are offloaded; those of `INPUTS`
            that can hold the model's input if left out.
        feature_encodings: How intermediate tensors are sent, likewise of `FEATURES`; every pair is
            looked at.

    Returns:
        One row a convention, in the order of the arguments: ``input``, ``features`` (how they are
        really written: tensors that an encoding cannot hold stay as they are, and are named),
        ``split_share`` (of states whose best choice is a split, neither no nor full offloading),
        mean gains ``over_no_offloading``, ``over_full_offloading``, ``over_better_end`` (the better
        of these two in every state) and ``over_best_static``, the ``best_static`` choice, and
        ``own`` (True for the study's own convention). A gain is NaN where its baseline is not
        possible in every state.

    Raises:
        ValueError: An encoding is unknown, or cannot hold the model's input.
    """
    import pandas as pd

    own = study.scenario.input_encoding, study.scenario.feature_encoding
    cuts = study.lines.splits
    if input_encodings is None:
        input_encodings = _applied(INPUTS, [cut for cut in cuts if cut.is_input], own[0])
    if feature_encodings is None:
        inner = [cut for cut in cuts if not (cut.is_input or cut.is_output)]
        feature_encodings = _applied(FEATURES, inner, own[1])
    pairs = [(encoding(a), encoding(b)) for a in input_encodings for b in feature_encodings]
    pairs = list(dict.fromkeys([*pairs, own]))
    return pd.DataFrame([_row(study, *pair) for pair in pairs])


def _applied(names: Sequence[str], cuts: Sequence[Cut], own: Encoding) -> Sequence[str | Encoding]:
    """Those that hold some tensor of these cuts; the study's own where none does."""
    kinds = {spec.dtype for cut in cuts for spec in cut.frontier}
    if not kinds:
        return names
    held = [name for name in names if any(encoding(name).bytes_of(k) is not None for k in kinds)]
    return held or [own]


def _row(study: Study, given: Encoding, features: Encoding) -> dict[str, object]:
    own = (given, features) == (study.scenario.input_encoding, study.scenario.feature_encoding)
    other = sweep(
        study.edge,
        study.server,
        study.scenario,
        data_rates_bps=study.data_rates_bps,
        batch_sizes=study.batch_sizes,
        input_encoding=given,
        feature_encoding=features,
    )
    value = worth(other)
    words = other.written
    return {
        # Where no input is sent, as with private inputs, what was asked for makes no difference.
        "input": words[0] or given.label(),
        "features": words[1] or features.label(),
        "split_share": value.split_share,
        "over_no_offloading": other.mean_gain(NO_OFFLOADING),
        "over_full_offloading": (
            other.mean_gain(FULL_OFFLOADING) if FULL_OFFLOADING in other.splits else float("nan")
        ),
        "over_better_end": value.over_ends,
        "over_best_static": value.over_static,
        "best_static": value.static,
        "own": own,
    }
