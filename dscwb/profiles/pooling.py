"""Several measurements of one model on one machine, taken at different times, as one profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dscwb.profiles.passes import Passes, Separate
from dscwb.profiles.records import Profile, ProfileError


def pooled(profiles: Sequence[Profile]) -> Profile:
    """All their passes, under the provenance of the first.

    A machine drifts within minutes; medians over passes of several times follow it less.

    Raises:
        ProfileError: They are of other models, batch sizes or idle gaps.
    """
    first = profiles[0]
    for other in profiles[1:]:
        sizes = [[one.batch_size for one in profile.passes] for profile in (first, other)]
        gaps = {first.provenance.gap_s, other.provenance.gap_s}
        if other.graph != first.graph or sizes[0] != sizes[1] or len(gaps) > 1:
            raise ProfileError(
                f"Profiles of {first.graph.model!r} and {other.graph.model!r} differ in model, "
                "batch sizes or idle gap; pool what was measured alike."
            )
    columns = zip(*(profile.passes for profile in profiles), strict=True)
    return replace(first, passes=tuple(_together(column) for column in columns))


def _together(several: Sequence[Passes]) -> Passes:
    """The passes of one batch size; out of memory where one of them was."""
    out = [one for one in several if one.oom]
    if out:
        return out[0]
    halves: dict[int, list[Separate]] = {}
    for one in (half for passes in several for half in passes.separate):
        halves.setdefault(one.cut, []).append(one)
    return replace(
        several[0],
        plain_ns=np.concatenate([one.plain_ns for one in several]),
        stamped_ns=np.concatenate([one.stamped_ns for one in several]),
        separate=tuple(
            Separate(cut, *map(np.concatenate, zip(*(one.times() for one in found), strict=True)))
            for cut, found in sorted(halves.items())
        ),
    )
