"""What an idle gap changes: ``python -m benchmarks.gaps`` measures five models with and without.

A model that has just waited is slower than one that runs back to back, and in a split both halves
wait for each other. Profiles with and without a gap take turns, so that the machine's drift falls
on both.
"""

from __future__ import annotations

import statistics
import sys
from typing import NamedTuple

import numpy as np

import dscwb
from dscwb.cuts import all_cuts

MODELS = (
    ("mobilenetv3_small_100", 224),
    ("mobilenetv3_large_100", 224),
    ("efficientnet_b0", 224),
    ("resnet18", 224),
    ("vit_tiny_patch16_224", 224),
)
GAP_S = 0.02
TURNS = 3  # profiles of each kind
PASSES = 30


class Row(NamedTuple):
    """One model.

    Attributes:
        model: timm's name.
        back_to_back_s: T without a gap, median over the turns.
        after_gap_s: T after the gap.
        spread: Largest raw noise (interquartile range over T) of all these profiles.
        heads: By how much a head's share of T changes after the gap, at the cut after a block where
            it changes most.
    """

    model: str
    back_to_back_s: float
    after_gap_s: float
    spread: float
    heads: float


def measured(model: str, side: int, gap_s: float = GAP_S, turns: int = TURNS) -> Row:
    """Measure one model both ways on one thread, at batch size 1."""
    captured = dscwb.capture(model, side, check=False)
    both: dict[float, list[dscwb.Profile]] = {0.0: [], gap_s: []}
    for turn in range(turns):
        for gap, found in sorted(both.items(), reverse=bool(turn % 2)):
            found.append(
                dscwb.profile(
                    captured,
                    threads=1,
                    passes=PASSES,
                    budget_s=0,
                    verify=False,
                    gap_s=gap,
                    seed=turn,
                )
            )
    cuts = [cut.index for cut in all_cuts(captured.graph, "block")]
    without, after = (
        np.median([one.head_s(1)[cuts] / one.total_s(1) for one in found], axis=0)
        for found in both.values()
    )
    return Row(
        model,
        *(statistics.median(one.total_s(1) for one in found) for found in both.values()),
        max(one.spread(1) for found in both.values() for one in found),
        float(np.abs(after - without).max()),
    )


def main() -> None:
    """Print the table in Markdown."""
    sys.stdout.write(
        f"| model | T back to back | T after {1e3 * GAP_S:g} ms idle | longer by | a head's share "
        "changes by | raw noise up to |\n|---|---|---|---|---|---|\n"
    )
    for model, side in MODELS:
        row = measured(model, side)
        sys.stdout.write(
            f"| `{row.model}` | {1e3 * row.back_to_back_s:.2f} ms | {1e3 * row.after_gap_s:.2f} ms "
            f"| {row.after_gap_s / row.back_to_back_s - 1:+.0%} | {row.heads:.1%} of T "
            f"| {row.spread:.0%} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
