"""The controller: which split to take now, learnt from what the batches before took.

It sends no probes. Each batch that goes over the link says how long its bytes took and how long the
server needed; from these the data rate and the server's load are estimated, and a policy says what
is best there. It needs `policy.py` beside it and nothing else but Python's standard library, so
both files may be copied to a device alone. A replay of a trace runs this same code.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

try:
    from dscwb.policy import Plane, Policy, PolicyError
except ImportError:  # copied to a device
    from policy import Plane, Policy, PolicyError  # type: ignore[import-not-found,no-redef]

BITS_PER_BYTE = 8
MOST_PATIENCE = 4
Estimate = Literal["mean", "quantile"]


class Seen(Protocol):
    """What a controller reads of an answer; `running.Answer` is one.

    Attributes:
        split: The split that was tried.
        why: Why the device finished it alone; empty where it did not.
        sent_bytes: Bytes that went over the link.
        link_s: Seconds on the link.
        queue_s: Seconds of waiting on the server.
        tail_s: Seconds of the tail on the server.
    """

    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def sent_bytes(self) -> int: ...  # noqa: D102
    @property
    def link_s(self) -> float: ...  # noqa: D102
    @property
    def queue_s(self) -> float: ...  # noqa: D102
    @property
    def tail_s(self) -> float: ...  # noqa: D102


class Controller:
    """Chooses the split before every batch.

    Example:
        >>> import dscwb
        >>> edge = dscwb.shipped_profile("efficientnet_b0")
        >>> study = dscwb.sweep(edge, dscwb.scale_profile(edge, 20), batch_sizes=[1],
        ...     input_encoding="uint8", feature_encoding="int8")
        >>> dscwb.Controller(study.policy(), data_rate_bps=2e7).choose(1)
        'blocks.3.0'
    """

    def __init__(
        self,
        policy: Policy,
        *,
        data_rate_bps: float,
        round_trip_s: float = 0.0,
        estimate: Estimate = "mean",
        window: int = 8,
        weight: float = 0.5,
        quantile: float = 0.25,
        hysteresis: float = 0.05,
        dwell_s: float = 0.0,
        retry_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what is expected.

        Args:
            policy: What is best at a data rate and load; of a dscwb that writes planes.
            data_rate_bps: What is expected before anything was sent, and after long silence.
            round_trip_s: The same of the link's round trip.
            estimate: ``mean`` weighs later batches more, ``quantile`` takes a low one of them.
            window: Batches that are looked at.
            weight: Of the latest batch in the mean, from 0 to 1; also for the server's load.
            quantile: Share of the window's rates that lie below the estimate.
            hysteresis: Another split is taken only if it costs less by this share.
            dwell_s: Seconds that a split is kept at least.
            retry_s: Seconds without news after which the link is tried as expected. Each time that
                this did not pay, the next trial waits twice as long, up to `MOST_PATIENCE` times.
            clock: Seconds, such as `time.monotonic`.

        Raises:
            PolicyError: The policy is of an older dscwb, or a parameter lies outside its range.
        """
        for batch_size in policy.batch_sizes:
            policy.planes(batch_size)
        for name, value, low, high in (
            ("data_rate_bps", data_rate_bps, 0, math.inf),
            ("round_trip_s", round_trip_s, 0, 10),
            ("window", window, 1, 10_000),
            ("weight", weight, 0, 1),
            ("quantile", quantile, 0, 1),
            ("hysteresis", hysteresis, 0, 1),
        ):
            if not (low <= value <= high and value < math.inf):
                raise PolicyError(f"{name} is {value}; give a number from {low} to {high}.")
        if estimate not in ("mean", "quantile"):
            raise PolicyError(f"estimate is {estimate!r}; choose 'mean' or 'quantile'.")
        self.policy = policy
        self._expected = data_rate_bps, round_trip_s
        self._estimate, self._weight, self._quantile = estimate, weight, quantile
        self._hysteresis, self._dwell_s, self._retry_s = hysteresis, dwell_s, retry_s
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=window)
        self._forget()
        self._news_s = self._switched_s = -math.inf
        self._down, self._patience_s = False, retry_s
        self._last: dict[int, Plane] = {}
        self._terms: dict[int, tuple[tuple[Plane, ...], list[tuple[float, float, float]]]] = {}
        self.switches = 0

    @property
    def data_rate_bps(self) -> float:
        """The estimate, bit/s; 0 while the link is taken to be down."""
        return 0.0 if self._down else self._rate

    @property
    def round_trip_s(self) -> float:
        """The estimate of what a message costs beside its bytes."""
        return self._fixed_s

    @property
    def server_load(self) -> float:
        """The estimate: by how much the server takes longer than an idle one."""
        return self._load

    def choose(self, batch_size: int) -> str:
        """Name of the split for the next batch.

        Raises:
            PolicyError: The policy does not hold this batch size.
        """
        now = self._clock()
        if (self._samples or self._down) and now - self._news_s > self._patience_s:
            self._forget()
        best, least = self._best(batch_size)
        last = self._last.get(batch_size)
        if last is not None and last is not best:
            held = last.cost(self.data_rate_bps, self._load)
            hold = least > held * (1 - self._hysteresis) or now - self._switched_s < self._dwell_s
            if hold and held < math.inf:
                return last.choice.name
            self.switches += 1
            self._switched_s = now
        self._last[batch_size] = best
        return best.choice.name

    def _best(self, batch_size: int) -> tuple[Plane, float]:
        """The best plane by what is known now, and its cost."""
        rate, load = self.data_rate_bps, self._load
        if batch_size not in self._terms:
            planes = self.policy.planes(batch_size)
            self._terms[batch_size] = planes, [(x.base, x.tail, x.bits) for x in planes]
        planes, terms = self._terms[batch_size]
        if rate:
            per_bit = 1 / rate
            costs = [base + load * tail + bits * per_bit for base, tail, bits in terms]
        else:
            costs = [plane.cost(rate, load) for plane in planes]
        least = min(costs)
        return planes[costs.index(least)], least

    def observe(self, batch_size: int, answer: Seen) -> None:
        """Learn from one batch."""
        if answer.why:
            self._down, self._news_s = True, self._clock()
            self._patience_s = min(2 * self._patience_s, MOST_PATIENCE * self._retry_s)
            return
        if not answer.sent_bytes:
            return
        self._down, self._news_s = False, self._clock()
        self._samples.append((answer.sent_bytes * BITS_PER_BYTE, answer.link_s))
        self._fixed_s = self._fitted()
        rates = [bits / max(seconds - self._fixed_s, 1e-9) for bits, seconds in self._samples]
        if self._estimate == "quantile":
            self._rate = sorted(rates)[int(self._quantile * (len(rates) - 1))]
        else:  # of the seconds a bit takes, which add up
            slowness = 1 / rates[0]
            for rate in rates[1:]:
                slowness += self._weight * (1 / rate - slowness)
            self._rate = 1 / slowness
        for plane in self.policy.planes(batch_size):
            if plane.choice.name == answer.split and plane.tail:
                load = max(1.0, (answer.queue_s + answer.tail_s) / plane.tail)
                self._load += self._weight * (load - self._load)
        pays = self._best(batch_size)[0].bits > 0
        doubled = min(2 * self._patience_s, MOST_PATIENCE * self._retry_s)
        self._patience_s = self._retry_s if pays else doubled

    def _forget(self) -> None:
        """Expect what was expected at first."""
        self._samples.clear()
        self._down, self._load = False, 1.0
        self._rate, self._fixed_s = self._expected

    def _fitted(self) -> float:
        """A of time = a + b · bits by least squares, where payloads differ and it makes sense."""
        n = len(self._samples)
        mean_x = sum(x for x, _ in self._samples) / n
        mean_y = sum(y for _, y in self._samples) / n
        spread = sum((x - mean_x) ** 2 for x, _ in self._samples)
        if spread < 0.01 * n * mean_x**2:
            return min(self._fixed_s, 0.9 * min(y for _, y in self._samples))
        slope = sum((x - mean_x) * (y - mean_y) for x, y in self._samples) / spread
        fixed_s = mean_y - slope * mean_x
        if slope > 0 and 0 <= fixed_s < min(y for _, y in self._samples):
            return fixed_s
        return min(self._fixed_s, 0.9 * min(y for _, y in self._samples))
