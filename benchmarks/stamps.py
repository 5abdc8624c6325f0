"""A clock whose every stamp is dear, as on a GPU that waits for launches, against a free one.

The CPU waits busily after each stamp. What is right is known from halves that are really run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dscwb
from dscwb.measuring.clocks import CpuClock

STAMP_NS = 25_000
TURNS = 3  # profiles with either clock
# Name, side of the image: EfficientNet-B0 has 240 cuts, V2-S 516.
MODELS = (("efficientnet_b0", 224), ("tf_efficientnetv2_s", 224))


class DearClock(CpuClock):
    """Waits so many nanoseconds at every stamp that is taken."""

    def __init__(self, cuts: int, stamp_ns: int = STAMP_NS) -> None:
        super().__init__(cuts)
        self._stamp_ns = stamp_ns

    def stamp(self, cut: int) -> None:
        super().stamp(cut)
        until = time.perf_counter_ns() + self._stamp_ns
        while time.perf_counter_ns() < until:
            pass


@dataclass(frozen=True)
class Found:
    """One model measured with both clocks.

    Attributes:
        model: timm's name.
        profiles: Measured with the dear clock.
        took_s: Seconds of each of these, and of the one with a free clock that ran next to it.
        stamped_all: What stamping every cut would cost: its time over that of a plain pass.
    """

    model: str
    profiles: tuple[dscwb.Profile, ...]
    took_s: tuple[tuple[float, float], ...]
    stamped_all: float

    def errors(self) -> tuple[float, float, float]:
        """Heads less executed ones, in shares of T: median and worst over cuts, median of tails.

        Of these the medians over the profiles.
        """
        found = [dscwb.model_error(profile, 1) for profile in self.profiles]
        each = [(abs(one.head), one.head_worst, abs(one.tail)) for one in found]
        head, worst, tail = (statistics.median(values) for values in zip(*each, strict=True))
        return head, worst, tail


def measured(stamp_ns: int = STAMP_NS, turns: int = TURNS, **options: Any) -> Iterator[Found]:
    """Each model with both clocks, on one thread, as `dscwb.profile` does it by default."""
    for model, side in MODELS:
        captured = dscwb.capture(model, side, check=False)
        cuts = len(captured.graph.layers) + 1
        clocks = DearClock(cuts, stamp_ns), CpuClock(cuts)
        profiles, taken = [], []
        for turn in range(turns):
            both = [_profile(captured, clock, turn, options) for clock in clocks]
            profiles.append(both[0][0])
            taken.append((both[0][1], both[1][1]))
        stamped_all = 1 + (cuts - 2) * stamp_ns * 1e-9 / profiles[0].total_s(1)
        yield Found(model, tuple(profiles), tuple(taken), stamped_all)


def _profile(
    captured: dscwb.CapturedModel, clock: CpuClock, seed: int, options: dict[str, Any]
) -> tuple[dscwb.Profile, float]:
    start = time.perf_counter()
    profile = dscwb.profile(captured, threads=1, clock=clock, seed=seed, **options)
    return profile, time.perf_counter() - start
