"""What a study would say under other payload conventions.

How input and features are written on the wire decides whether splitting pays. So the same profiles
and the same scenario are asked again under every convention, and nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from dscwb.cuts import Cut
from dscwb.study.study import Study
from dscwb.study.sweeps import sweep
from dscwb.study.worth import gain_over_ends, gain_over_static
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, Encoding, encoding

if TYPE_CHECKING:
    import pandas as pd

INPUTS = ("float32", "uint8", "jpeg 10:1")
"""An image as the model takes it, as a camera gives it, and as it is usually sent."""
FEATURES = ("float32", "float16", "int8")
"""Tensors as they are, halved without much thought, and quantised."""


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
    ends = [cut for cut in study.lines.splits if cut.is_input]
    inner = [cut for cut in study.lines.splits if not (cut.is_input or cut.is_output)]
    given = (
        _applied(INPUTS, ends, own[0]) if input_encodings is None else input_encodings,
        _applied(FEATURES, inner, own[1]) if feature_encodings is None else feature_encodings,
    )
    pairs = [(encoding(a), encoding(b)) for a, b in product(*given)]
    return pd.DataFrame([_row(study, *pair) for pair in dict.fromkeys([*pairs, own])])


def _applied(names: Sequence[str], cuts: Sequence[Cut], own: Encoding) -> Sequence[str | Encoding]:
    """Those that hold some tensor of these cuts; the study's own where none does."""
    kinds = {spec.dtype for cut in cuts for spec in cut.frontier}
    held = [name for name in names if any(encoding(name).bytes_of(k) is not None for k in kinds)]
    return held or ([own] if kinds else names)


def _row(study: Study, given: Encoding, features: Encoding) -> dict[str, object]:
    scenario = study.scenario
    other = sweep(
        study.edge,
        study.server,
        scenario,
        data_rates_bps=study.data_rates_bps,
        batch_sizes=study.batch_sizes,
        input_encoding=given,
        feature_encoding=features,
    )
    words, (static, over_static) = other.written, gain_over_static(other)
    possible = FULL_OFFLOADING in other.splits
    return {
        # Where no input is sent, as with private inputs, what was asked for makes no difference.
        "input": words[0] or given.label(),
        "features": words[1] or features.label(),
        "split_share": other.usefulness(),
        "over_no_offloading": other.mean_gain(NO_OFFLOADING),
        "over_full_offloading": other.mean_gain(FULL_OFFLOADING) if possible else float("nan"),
        "over_better_end": gain_over_ends(other),
        "over_best_static": over_static,
        "best_static": static,
        "own": (given, features) == (scenario.input_encoding, scenario.feature_encoding),
    }
