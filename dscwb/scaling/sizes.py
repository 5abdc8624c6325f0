"""How many devices a pool of servers holds: one fleet at several sizes, on any executor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from dscwb.fleets.fleet import NO_REQUESTS, SELFISH, Devices, fleet
from dscwb.fleets.histogram import Histogram
from dscwb.fleets.kinds import strategy_name
from dscwb.fleets.pools import Servers
from dscwb.profiles.library import PathLike
from dscwb.scaling.grids import ERROR, STOPPED, grid
from dscwb.units import (
    NO_OFFLOADING,
    Told,
    format_percent,
    format_rate,
    format_seconds,
)

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

SEEN = 10
"""Devices that `most_devices` looks at for each number at least, over several seeds."""


@dataclass(frozen=True, eq=False, repr=False)
class FleetSizes(Told):
    """What each strategy comes to at each number of devices.

    Attributes:
        devices: The kind of devices.
        deadline_s: Requests that take longer are late.
        options: Whatever else `fleet` was given.
        rows: One row a strategy and number of devices: as `Fleet.table` over all devices, and
            ``bound_s``, the mean latency that no strategy stays below in the long run.
        latencies: Of all requests, by strategy and number of devices.
    """

    devices: Devices
    deadline_s: float
    options: Mapping[str, Any]
    rows: pd.DataFrame
    latencies: Mapping[tuple[str, int], Histogram]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of devices, ascending."""
        return tuple(sorted(map(int, self.rows.index.unique("number"))))

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies, in the order they were given."""
        return tuple(map(str, self.rows.index.unique("strategy")))

    def table(self) -> pd.DataFrame:
        """Its rows."""
        return self.rows

    def label(self) -> str:
        """Devices, server, link and requests in words, for captions."""
        told = _told(self.devices, self.options)
        return " ".join(f"{name}: {words}." for name, words in told.items())

    def summary(self) -> dict[str, str]:
        """What was asked, and the mean latency of each strategy at the ends."""
        first, *_, last = self.numbers * 2
        means = {
            at: format_seconds(mean_s) if mean_s == mean_s else "no request"
            for at, mean_s in self.rows["mean_s"].items()
        }
        return {
            strategy_name(name): f"{means[name, first]} in the mean with {first}, "
            f"{means[name, last]} with {last} devices"
            for name in self.strategies
        } | _told(self.devices, self.options)


@dataclass(frozen=True, eq=False, repr=False)
class MostDevices(Told):
    """How many devices keep a deadline.

    Attributes:
        number: So many keep it, and one more does not; 0 where one alone does not keep it.
        devices: The kind of devices.
        deadline_s: The deadline, seconds.
        share: The share of requests that had to be answered within it.
        within: The share that was, by each number of devices that was run.
        strategy: Under which one.
        local: The share that was where all stayed local; NaN where they cannot.
        options: Whatever else `fleet` was given.
    """

    number: int
    devices: Devices
    deadline_s: float
    share: float
    within: Mapping[int, float]
    strategy: str
    local: float
    options: Mapping[str, Any]

    @property
    def open(self) -> bool:
        """Whether even the largest number that was run keeps it: there may be more."""
        return self.number == max(self.within)

    def summary(self) -> dict[str, str]:
        """The answer in a sentence, and for which machines and link."""
        goal = (
            f"{format_percent(self.share)} of their requests answered within "
            f"{format_seconds(self.deadline_s)}"
        )
        found = f"{self.number} have {goal}" if self.number else f"not even 1 has {goal}"
        found += f", {self._late(self.within[max(self.number, 1)])} late"
        if self.open:
            found += "; more were not tried"
        elif self.number:
            found += (
                f"; {self.number + 1} have not, {self._late(self.within[self.number + 1])} late"
            )
        found += f" (strategy: {strategy_name(self.strategy)})"
        if self.local >= self.share:
            found += "; they need no server for it"
        if self.local == self.local:
            found += f"; staying local, {self._late(self.local)} are late"
        return {"Devices": found} | _told(self.devices, self.options)

    def _late(self, within: float) -> str:
        """A share of late requests that never reads as what is allowed where it is more."""
        late = format_percent(1 - within)
        more = within < self.share and late == format_percent(1 - self.share)
        return f"just over {late}" if more else late


def fleet_sizes(
    devices: Devices,
    numbers: Iterable[int],
    *,
    deadline_s: float = 0.1,
    duration_s: float | None = None,
    executor: Executor | Client | None = None,
    folder: PathLike | None = None,
    progress: bool = False,
    **options: Any,
) -> FleetSizes:
    """Run one fleet at several numbers of devices, each on its own wherever the executor is.

    Args:
        devices: The kind; its own number does not count.
        numbers: Numbers of devices.
        deadline_s: Requests that take longer are late.
        duration_s: Seconds in which requests come; if left out, as long as the longest trace, so
            that each device's link goes through all of its own once.
        executor: As in `grid`.
        folder: As in `grid`: where sizes that are done are kept.
        progress: Show a bar.
        options: Of `fleet`: ``workers``, ``strategies``, ``seed`` and so on.

    Raises:
        ValueError: What `fleet` refuses, or no numbers.
        RuntimeError: A size has no answer.
        KeyboardInterrupt: It was interrupted; with a folder, the sizes that are done are kept.
    """
    rows: Any = grid(
        _size,
        {"number": sorted({*numbers})},
        executor=executor,
        folder=folder,
        progress=progress,
        devices=devices,
        deadline_s=deadline_s,
        duration_s=duration_s,
        options=dict(options),
    )
    if ERROR in rows:
        missing = rows[rows[ERROR].notna()]
        why = f"{list(missing['number'])} devices have no answer: {missing[ERROR].iloc[0]}"
        if STOPPED in set(missing[ERROR]):
            raise KeyboardInterrupt(why)
        kind, _, words = str(missing[ERROR].iloc[0]).partition(": ")
        raise ValueError(words) if kind == "ValueError" else RuntimeError(why)
    rows = rows.set_index(["strategy", "number"])
    counted = {
        at: Histogram.of({int(k): int(n) for k, n in bins}, mean_s)
        for at, bins, mean_s in zip(rows.index, rows.pop("counted"), rows["mean_s"], strict=True)
    }
    return FleetSizes(devices, deadline_s, options, rows, counted)


def most_devices(
    devices: Devices,
    *,
    deadline_s: float = 0.1,
    share: float = 0.95,
    strategy: str = SELFISH,
    at_most: int = 1000,
    duration_s: float | None = None,
    progress: bool = False,
    **options: Any,
) -> MostDevices:
    """How many devices keep this share of all requests within a deadline.

    The number is doubled until one does not keep it, then halved in between. With few devices
    chance counts, so that such fleets are run with several seeds, `SEEN` devices in all. More
    devices are not always worse: what is told is a number that keeps it and whose next one does
    not, both of them run; a larger one may keep it again where the share lies close to what is
    wanted, as another seed would tell.

    Args:
        devices: The kind; its own number does not count.
        deadline_s: Seconds from a request's coming to its answer.
        share: Of all requests, above 0 and up to 1.
        strategy: One of `fleet`'s.
        at_most: No more devices are tried.
        duration_s: As in `fleet_sizes`.
        progress: Show which number is being tried.
        options: Of `fleet`: ``workers``, ``seed`` and so on.

    Raises:
        ValueError: What `fleet` refuses, a share or number that makes no sense, or no request was
            counted.
    """
    if not 0 < share <= 1 or at_most < 1 or not deadline_s > 0:
        raise ValueError(
            f"share is {share}, at_most {at_most} and deadline_s {deadline_s}; give a share above "
            "0 and up to 1, one device at least, and seconds above zero."
        )
    if "strategies" in options:
        raise ValueError(f"strategies is {options['strategies']!r}; give one as strategy=....")
    within: dict[int, float] = {}
    first = options.get("seed", 0)
    bar = tqdm(bar_format="{desc} ({elapsed})", disable=not progress)

    def in_time(number: int, strategy: str) -> float:
        requests = late = 0.0
        for seed in range(first, first - (-SEEN // number)):
            asked = options | {"strategies": [strategy], "seed": seed}
            rows: Any = _size(devices, number, deadline_s, duration_s, asked)
            requests += rows["requests"].iloc[0]
            late += rows["requests"].iloc[0] * rows["late"].iloc[0]
        if not requests:
            raise ValueError(NO_REQUESTS)
        return float(1 - late / requests)

    def keeps(number: int) -> bool:
        bar.set_description_str(f"trying {number} devices; {good} keep the deadline")
        within[number] = in_time(number, strategy)
        return within[number] >= share

    good, bad = 0, 1
    with bar:
        while bad <= at_most and keeps(bad):
            good, bad = bad, min(2 * bad, at_most) if bad < at_most else at_most + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if keeps(middle) else (good, middle)
        local = in_time(1, NO_OFFLOADING) if NO_OFFLOADING in devices.splits() else np.nan
        bar.set_description_str(f"{good} devices keep the deadline")
    return MostDevices(good, devices, deadline_s, share, within, strategy, local, options)


def _size(
    devices: Devices,
    number: int,
    deadline_s: float,
    duration_s: float | None,
    options: Mapping[str, Any],
) -> pd.DataFrame:
    """One size's rows, a strategy each; ``counted``: pairs of a bin and how many lie in it."""
    lasts_s = max(one.duration_s for one in devices.links) if duration_s is None else duration_s
    kind = replace(devices, number=number)
    found = fleet([kind], duration_s=lasts_s, deadline_s=deadline_s, **options)
    rows: pd.DataFrame = found.table().xs("all", level="devices")  # type: ignore[assignment]
    bins = [found.runs[name].latencies[0].bins for name in rows.index]
    counted: list[Any] = [[*map(list, one.items())] for one in bins]
    return rows.reset_index().assign(bound_s=found.bound_s, counted=counted)


def _told(devices: Devices, options: Mapping[str, Any]) -> dict[str, str]:
    """What an answer rests on."""
    links, arrivals = devices.links, devices.arrivals
    idle = replace(devices.study.scenario, server_load=1.0, arrival_rate_hz=None)
    stamp = replace(devices.study, scenario=idle).stamp()
    pools = options.get("servers") or [
        Servers(**{name: options[name] for name in ("workers", "discipline") if name in options})
    ]
    used = next((one for one in pools if one.name == devices.servers), pools[0])
    come = "by chance" if arrivals.poisson else "evenly"
    requests = f"{arrivals.rate_hz:g} a second each, {come}"
    if arrivals.times_s:
        requests = "at given times"
    if devices.size > 1:
        requests += f", {devices.size} samples each"
    if devices.timeout_s < np.inf:
        waits = format_seconds(devices.timeout_s)
        requests += f", finished by the device after {waits} without an answer"
    if devices.one_at_a_time:
        requests += ", one at a time"
    rates = np.concatenate([one.data_rates_bps for one in links])
    mean_bps = float(np.mean([one.mean_bps for one in links]))
    ends = [format_rate(float(one), in_bytes=False) for one in (mean_bps, rates.min(), rates.max())]
    many = f"{len(links)} traces: " if len(links) > 1 else ""
    known = [
        float(one.round_trips_s @ one.lengths_s / one.duration_s)
        for one in links
        if one.round_trips_s is not None
    ]
    trips = f", round trip {format_seconds(float(np.mean(known)))} in the mean" if known else ""
    if 0 < len(known) < len(links):
        others = format_seconds(devices.round_trip_s)
        trips += f" of the {len(known)} that tell it, {others} in the others"
    source = many or (f"{links[0].source}: " if links[0].source else "")
    return {
        "Model": stamp["model"],
        "Device": stamp["device"],
        "Server": stamp["server"],
        "Pool": used.words(),
        "Requests": requests,
        "Links": "{}{} in the mean, {} to {}".format(source, *ends) + trips,
        "Scenario": stamp["scenario"],
    }
