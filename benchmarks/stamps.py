"""A clock whose every stamp is dear, as on a GPU that waits for launches, against a free one.

The CPU waits busily after each stamp. What is right is known from halves that are really run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import dscwb
from dscwb.measuring.measure import CpuClock

STAMP_NS = 25_000
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
        profile: Measured with the dear clock.
        took_s: Seconds of the profile with the dear clock, and with the free one.
        stamped_all: What stamping every cut would cost: its time over that of a plain pass.
    """

    model: str
    profile: dscwb.Profile
    took_s: tuple[float, float]
    stamped_all: float

    def errors(self) -> tuple[float, float, float]:
        """Heads less executed ones, in shares of T: median and worst over cuts, median of tails."""
        error = dscwb.model_error(self.profile, 1)
        return abs(error.head), error.head_worst, abs(error.tail)


def measured(stamp_ns: int = STAMP_NS, **options: object) -> Iterator[Found]:
    """Each model with both clocks, on one thread, as `dscwb.profile` does it by default."""
    for model, side in MODELS:
        captured = dscwb.capture(model, side, check=False)
        cuts = len(captured.graph.layers) + 1
        taken = []
        for clock in (DearClock(cuts, stamp_ns), CpuClock(cuts)):
            start = time.perf_counter()
            profile = dscwb.profile(captured, threads=1, clock=clock, **options)  # type: ignore[arg-type]
            taken.append((profile, time.perf_counter() - start))
        (dear, dear_s), (_, free_s) = taken
        stamped_all = 1 + (cuts - 2) * stamp_ns * 1e-9 / dear.total_s(1)
        yield Found(model, dear, (dear_s, free_s), stamped_all)
