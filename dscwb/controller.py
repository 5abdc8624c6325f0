"""The controller: which split to take now, learnt from what the batches before took.

It sends no probes. Each batch that goes over the link says how long its bytes took and how long the
server needed; from these the data rate and the server's load are estimated, and a policy says what
is best there. It needs `policy.py` beside it and nothing else but Python's standard library, so
both files may be copied to a device alone. A replay of a trace runs this same code.
"""

from __future__ import annotations

import builtins
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

try:
    from dscwb.policy import Plane, Policy, PolicyError
except ImportError:  # copied to a device
    from policy import Plane, Policy, PolicyError  # type: ignore[import-not-found,no-redef]

BITS_PER_BYTE = 8
MOST_PATIENCE = 4
LEAST_S = 1e-9  # on the link, whatever a clock says
FASTEST_BPS = 1e15
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
        planes_of = {size: policy.planes(size) for size in policy.batch_sizes}
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
        self._hysteresis, self._dwell_s, self.retry_s = hysteresis, dwell_s, retry_s
        self._clock, self.window = clock, window
        self._bits: deque[float] = deque(maxlen=window)
        self._seconds: deque[float] = deque(maxlen=window)
        self._loads: deque[float] = deque(maxlen=window)
        self._last: dict[int, int] = {}
        self._best_now: dict[int, tuple[int, list[float]]] = {}
        self._planes = planes_of
        self._terms = {
            size: [(x.base, x.tail, x.bits) for x in planes]
            for size, planes in self._planes.items()
        }
        self._tails_s = {
            size: {plane.choice.name: plane.server_s for plane in planes}
            for size, planes in self._planes.items()
        }
        self._news_s = self._switched_s = -math.inf
        self._patience_s, self._answered = retry_s, False
        self._alike, self._latest = 0, (0.0, 0.0, 0.0)
        self._forget()
        self.switches = 0

    @property
    def data_rate_bps(self) -> float:
        """The estimate, bit/s; 0 while the link is taken to be down."""
        self._estimate_anew()
        return 0.0 if self._down else self._rate

    @property
    def round_trip_s(self) -> float:
        """The estimate of what a message costs beside its bytes."""
        self._estimate_anew()
        return self._fixed_s

    @property
    def server_load(self) -> float:
        """The estimate: by how much the server takes longer than an idle one."""
        self._estimate_anew()
        return self._load

    def choose(self, batch_size: int) -> str:
        """Name of the split for the next batch.

        Raises:
            PolicyError: The policy does not hold this batch size.
        """
        now = self._clock()
        best, costs = self._best(batch_size)
        planes = self._planes[batch_size]
        if self._answered:
            self._answered = False
            sends = planes[best].choice.payload_bytes
            self._patience_s = self.retry_s if sends else self._longer_s()
        if now - self._news_s > self._patience_s and (self._down or self._bits):
            self._forget()
            best, costs = self._best(batch_size)
        last = self._last.get(batch_size)
        if last != best:
            if last is not None:
                if now < self._kept_until(costs[last], costs[best]):
                    return planes[last].choice.name
                self.switches += 1
                self._switched_s = now
            self._last[batch_size] = best
        return planes[best].choice.name

    def observe(self, batch_size: int, answer: Seen) -> None:
        """Learn from one batch."""
        if answer.why:
            self._down, self._news_s, self._patience_s = True, self._clock(), self._longer_s()
            self._best_now.clear()
            return
        if not answer.sent_bytes:
            return
        if self._down:
            self._down = False
            self._best_now.clear()
        self._news_s, self._answered = self._clock(), True
        tail_s = self._tails_s[batch_size].get(answer.split)
        seconds, load = self._told(tail_s, answer.link_s, answer.queue_s + answer.tail_s)
        sample = float(answer.sent_bytes * BITS_PER_BYTE), seconds, load
        self._alike = self._alike + 1 if self._alike and sample == self._latest else 1
        if self._alike <= self.window:  # else the window holds nothing else
            self._latest = sample
            self._bits.append(sample[0])
            self._seconds.append(seconds)
            self._loads.append(load)
            self._stale = True
            self._best_now.clear()

    def quiet_until(self, batch_size: int) -> float:
        """Until when, by the clock, `choose` answers as it just did if nothing is observed."""
        best, costs = self._best(batch_size)
        last = self._last[batch_size]
        until_s = math.inf if last == best else self._kept_until(costs[last], costs[best])
        waits = self._down or self._bits
        return min(until_s, self._news_s + self._patience_s) if waits else until_s

    def steady(self, batch_size: int) -> bool:
        """Whether the window is full of payloads alike and the split last chosen tells the load.

        More answers to it then leave the fitted round trip as it is.
        """
        full = len(self._bits) == self.window == self._bits.count(self._bits[-1])
        return full and not self._down and self._held(batch_size).server_s > 0

    def keeps(self, batch_size: int, link_s: Any, server_s: Any, by: Any) -> Any:
        """Whether `choose` would keep the split last chosen, asked of many windows at once.

        Args:
            batch_size: That of the last batch; `steady`.
            link_s: Seconds on the link, an array ``(batch of the window, window)``, oldest first.
            server_s: Seconds on the server, alike.
            by: `min` and `max` of arrays and `sorted` of a list of them, by element; for the
                same arithmetic is done with arrays that `choose` does with numbers.

        Returns:
            ``(window,)``; False also where only the dwell time would keep it.
        """
        seconds, loads = self._told(self._held(batch_size).server_s, link_s, server_s, by)
        _, rate, load = self._estimated(self._bits, seconds, loads, by)
        costs = self._costs(batch_size, rate, load)
        held = costs.pop(self._last[batch_size])
        return by.min(math.inf, *costs) > held * (1 - self._hysteresis)

    def _held(self, batch_size: int) -> Plane:
        return self._planes[batch_size][self._last[batch_size]]

    def _told(
        self, tail_s: float | None, link_s: Any, server_s: Any, by: Any = builtins
    ) -> tuple[Any, Any]:
        """Seconds on the link and the server's load, where an idle one's tail takes this long."""
        load = by.max(1.0, server_s / tail_s) if tail_s else self.server_load
        return by.max(link_s, LEAST_S), load

    def _longer_s(self) -> float:
        return min(2 * self._patience_s, MOST_PATIENCE * self.retry_s)

    def _best(self, batch_size: int) -> tuple[int, list[float]]:
        """The best plane by what is known now, and what each costs."""
        if found := self._best_now.get(batch_size):
            return found
        if rate := self.data_rate_bps:
            costs = self._costs(batch_size, rate, self._load)
        else:
            costs = [plane.cost(rate, self._load) for plane in self._planes[batch_size]]
        found = self._best_now[batch_size] = costs.index(min(costs)), costs
        return found

    def _costs(self, batch_size: int, rate: Any, load: Any) -> list[Any]:
        per_bit = 1 / rate
        terms = self._terms[batch_size]
        return [base + load * tail + bits * per_bit for base, tail, bits in terms]

    def _kept_until(self, held: float, least: float) -> float:
        """Until when a split is kept that costs so much, though another costs only so much."""
        if held == math.inf:
            return -math.inf
        if least > held * (1 - self._hysteresis):
            return math.inf
        return self._switched_s + self._dwell_s

    def _forget(self) -> None:
        """Expect what was expected at first."""
        for values in (self._bits, self._seconds, self._loads, self._best_now):
            values.clear()
        self._alike = 0
        self._down, self._stale, self._load = False, False, 1.0
        self._rate, self._fixed_s = self._expected
        self._fitted_s = self._fixed_s

    def _estimate_anew(self) -> None:
        """Round trip, data rate and load by the batches of the window, if there are new ones."""
        if not self._stale:
            return
        self._stale = False
        window = self._bits, self._seconds, self._loads
        self._fixed_s, self._rate, self._load = self._estimated(*window)

    def _estimated(
        self,
        bits: Sequence[float],
        seconds: Sequence[Any],
        loads: Sequence[Any],
        by: Any = builtins,
    ) -> tuple[Any, Any, Any]:
        """Round trip, data rate and load by a window."""
        weight, load = self._weight, loads[0]
        fixed_s = self._fitted(bits, seconds, by)
        slowness = (seconds[0] - fixed_s) / bits[0]  # seconds a bit, which add up
        for sent, took, one in zip(bits, seconds, loads, strict=True):
            slowness = slowness + weight * ((took - fixed_s) / sent - slowness)
            load = load + weight * (one - load)
        rate = 1 / by.max(slowness, 1 / FASTEST_BPS)
        if self._estimate == "quantile":
            both = zip(bits, seconds, strict=True)
            rates = by.sorted([sent / (took - fixed_s) for sent, took in both])
            rate = rates[int(self._quantile * (len(rates) - 1))]
        return fixed_s, rate, load

    def _fitted(self, bits: Sequence[float], seconds: Sequence[Any], by: Any) -> Any:
        """A of time = a + b · bits by least squares, where payloads differ and it makes sense.

        Else what it was when they last did, as far as the window leaves room for it.
        """
        n, least = len(bits), by.min(math.inf, *seconds)
        if bits.count(bits[-1]) < n:
            mean_x, mean_y = sum(bits) / n, sum(seconds) / n
            spread = sum((x - mean_x) ** 2 for x in bits)
            both = zip(bits, seconds, strict=True)
            slope = sum((x - mean_x) * (y - mean_y) for x, y in both) / spread
            fixed_s = mean_y - slope * mean_x
            if spread >= 0.01 * n * mean_x**2 and slope > 0 and 0 <= fixed_s <= least - LEAST_S:
                self._fitted_s = fixed_s
                return fixed_s
        return by.min(self._fitted_s, 0.9 * least)
