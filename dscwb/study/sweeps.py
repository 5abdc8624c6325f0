"""Scenario and sweep: two profiles go in, labelled best splits, gains, switching rates come out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cuts import Granularity, resolved
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING, cost_lines
from dscwb.optimise import checked_rates
from dscwb.policy import Policy
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import Profile
from dscwb.scenario import CANDIDATES, DATA_RATES_BPS, Scenario
from dscwb.study.confidence import Confidence, bootstrap
from dscwb.study.states import States
from dscwb.study.sureness import HowSure, how_sure
from dscwb.study.thresholds import policy_of
from dscwb.units import BITS_PER_BYTE, format_rate, format_seconds
from dscwb.writing import atomically, write_csv

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FORMATS = (".csv", ".parquet", ".nc")


class Study(States):
    """Best splits over a grid of states, with names: tables, and files of them.

    Made by `sweep`. The arrays behind it are those of `States`.
    """

    @property
    def granularity(self) -> Granularity:
        """Where the model may be split, ``auto`` resolved: ``block``, ``op`` or ``compressive``."""
        return resolved(self.edge.graph, self.scenario.granularity)

    @property
    def grid_label(self) -> str:
        """What a mean is over, in words: the range of batch sizes and that of data rates."""
        sizes, rates = self.batch_sizes, self.data_rates_bps
        ends = [format_rate(rate, in_bytes=False) for rate in (rates.min(), rates.max())]
        words = "batch sizes" if len(sizes) > 1 else "batch size"
        return f"{words} {_span(str(min(sizes)), str(max(sizes)))} and {_span(*ends)}"

    def best_split(self) -> pd.DataFrame:
        """Name of the best split: rows are batch sizes, columns data rates in bit/s."""
        return self._frame(np.array(self.splits, dtype=object)[self.best])

    def gain(self, baseline: str = NO_OFFLOADING) -> pd.DataFrame:
        """Relative gain (C_baseline - C_best) / C_baseline of choosing the split in every state.

        C is the latency, or the device's energy where that is the objective.

        Args:
            baseline: ``no offloading``, ``full offloading``, ``best static`` (by mean),
                ``minimax-regret static`` or a split's name.

        Returns:
            Rows are batch sizes, columns data rates in bit/s; never negative, never clipped; NaN
            where the baseline is not possible.

        Raises:
            ValueError: The baseline is not a candidate.
        """
        return self._frame(self.gains(baseline))

    def regret(self, static: str) -> pd.DataFrame:
        """What always using one split costs more than the best one, in seconds (or joules).

        Args:
            static: A split's name or a baseline, as in `gain`.

        Returns:
            Rows are batch sizes, columns data rates in bit/s.

        Raises:
            ValueError: It is not a candidate.
        """
        return self._frame(self.regrets(static))

    def switching_rates(self) -> pd.DataFrame:
        """Exact data rates at which the best split changes.

        Returns:
            One row a change: ``batch_size``, ``data_rate_bps``, the split that is best at and
            ``below`` that rate and the one ``above`` it.
        """
        import pandas as pd

        names = self.splits
        rows = [
            (size, rate, names[low], names[high])
            for size, e in zip(self.batch_sizes, self.envelopes, strict=True)
            for rate, low, high in zip(
                e.switching_rates_bps, e.splits[:-1], e.splits[1:], strict=True
            )
        ]
        return pd.DataFrame(rows, columns=["batch_size", "data_rate_bps", "below", "above"])

    def static_splits(self) -> pd.DataFrame:
        """Every split if it were always used, over the grid.

        Returns:
            One row a candidate, from input to output: ``split``, ``mean_gain`` of choosing
            dynamically instead, ``mean_regret`` and ``max_regret`` in seconds (or joules), and the
            ``share`` of states in which it is the best one. NaN where it is not possible in every
            state.
        """
        import pandas as pd

        regrets = [self.regrets(name) for name in self.splits]
        return pd.DataFrame(
            {
                "split": self.splits,
                "mean_gain": [self.mean_gain(name) for name in self.splits],
                "mean_regret": [float(regret.mean()) for regret in regrets],
                "max_regret": [float(regret.max()) for regret in regrets],
                "share": [float((self.best == i).mean()) for i in range(len(self.splits))],
            }
        )

    def confidence(
        self,
        replicates: int = 1000,
        seed: int = 0,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Confidence:
        """How sure the decisions are: a bootstrap over the raw passes, see `confidence.bootstrap`.

        Args:
            replicates: How often all passes are drawn anew, from 40 up.
            seed: The same seed gives the same numbers.
            progress: Called with steps done and steps in all; what it raises ends the work.

        Raises:
            ValueError: Too few replicates, or a negative seed.
        """
        return bootstrap(self, replicates, seed, progress)

    def how_sure(
        self, batch_size: int, data_rate_bps: float, confidence: Confidence | None = None
    ) -> HowSure:
        """How sure the best split of one state is: by the measurements, and if a model is off.

        Args:
            batch_size: Samples in one pass.
            data_rate_bps: Data rate in bit/s; it need not lie on the grid.
            confidence: What `confidence` gave; without it only models and assumptions are asked.

        Raises:
            ValueError: The confidence is of another study, the batch size is not on the grid, or
                the rate is below zero.

        Example:
            Of the study in the example of `sweep`:

            >>> study.how_sure(1, 2e7).flips[0].split
            'no offloading'
        """
        return how_sure(self, batch_size, data_rate_bps, confidence)

    def policy(self, confidence: Confidence | None = None) -> Policy:
        """The best split of every state as thresholds, for a small file on the device itself.

        The thresholds are the exact switching rates: they hold for every rate, not only
        for those of this grid. Batch sizes are those of this grid.

        Args:
            confidence: What `confidence` gave; each threshold then carries its 95 % interval.

        Raises:
            ValueError: The confidence is of another study.

        Example:
            Of the study in the example of `sweep`:

            >>> study.policy().best_split(batch_size=1, data_rate_bps=1e9)
            'full offloading'
        """
        return policy_of(self, self.stamp(), confidence)

    def to_pandas(self) -> pd.DataFrame:
        """The grid as a long table, one row a state, with latency and gains."""
        import pandas as pd

        rows, columns = np.indices(self.best.shape).reshape(2, -1)
        split = self.best.ravel()
        lines = self.lines
        table = {
            "batch_size": np.array(self.batch_sizes)[rows],
            "data_rate_bps": self.data_rates_bps[columns],
            "best_split": np.array(self.splits, dtype=object)[split],
            "latency_s": self.latency_s.ravel(),
            "wait_s": lines.wait_s[rows],
            "head_s": lines.head_s[rows, split],
            "tail_s": lines.tail_s[rows, split],
            "payload_bytes": lines.bits[rows, split] / BITS_PER_BYTE,
            "interpolated": lines.interpolated[rows],
        }
        if self.unit == "J":
            table["device_energy_j"] = self.cost.ravel()
        for baseline in (NO_OFFLOADING, FULL_OFFLOADING):
            if baseline in self.splits:
                name = f"gain_over_{baseline.replace(' ', '_')}"
                table[name] = self.gains(baseline).ravel()
        return pd.DataFrame(table)

    def to_xarray(self) -> xr.Dataset:
        """The grid as a labelled dataset; needs xarray.

        Dimensions ``batch_size``, ``data_rate_bps`` (bit/s) and ``split``. Over batch size and
        rate: ``best_split`` (name), ``latency_s``, gains over no and full offloading. Over batch
        size and split: ``head_s``, ``tail_s``, ``link_s``, ``payload_bytes``. Over batch size:
        ``wait_s``, ``interpolated``. Attributes say model, machines, scenario and version.
        """
        import xarray as xr

        states, candidates = ("batch_size", "data_rate_bps"), ("batch_size", "split")
        lines = self.lines
        values: dict[str, Any] = {
            "best_split": (states, np.array(self.splits)[self.best]),
            "latency_s": (states, self.latency_s, {"units": "s"}),
            "head_s": (candidates, lines.head_s, {"units": "s"}),
            "tail_s": (candidates, lines.tail_s, {"units": "s"}),
            "link_s": (candidates, lines.link_s, {"units": "s"}),
            "payload_bytes": (candidates, lines.bits / BITS_PER_BYTE, {"units": "byte"}),
            "wait_s": (("batch_size",), lines.wait_s, {"units": "s"}),
            "interpolated": (("batch_size",), lines.interpolated.astype(np.int8)),
        }
        if self.unit == "J":
            values["device_energy_j"] = (states, self.cost, {"units": "J"})
        for baseline in (NO_OFFLOADING, FULL_OFFLOADING):
            if baseline in self.splits:
                values[f"gain_over_{baseline.replace(' ', '_')}"] = (states, self.gains(baseline))
        places = {
            "batch_size": np.array(self.batch_sizes, dtype=np.int32),
            "data_rate_bps": ("data_rate_bps", self.data_rates_bps, {"units": "bit/s"}),
            "split": np.array(self.splits),
        }
        return xr.Dataset(values, places, attrs=self.stamp())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the grid to a file: ``.csv`` and ``.parquet`` as `to_pandas`, ``.nc`` as NetCDF.

        Every file says of which model, machines and scenario it is: a CSV in its last columns, a
        Parquet file in the table's ``attrs``, NetCDF in its attributes. NetCDF is of version 3,
        which needs no library beyond xarray and scipy.

        Returns:
            The path written.

        Raises:
            ValueError: Another ending.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in FORMATS:
            raise ValueError(
                f"{path.name!r}: cannot write a study as {kind or 'a file without ending'}; "
                f"choose one of {', '.join(FORMATS)}."
            )
        if kind == ".csv":
            write_csv(self.to_pandas().assign(**self.stamp()), path)
            return path
        with atomically(path) as file:
            if kind == ".nc":
                self.to_xarray().to_netcdf(file, engine="scipy")
            else:
                table = self.to_pandas()
                table.attrs.update(self.stamp())
                table.to_parquet(file, index=False)
        return path

    def stamp(self) -> dict[str, str]:
        """Where the numbers come from, in words: what every file and figure must say."""
        from dscwb import __version__

        graph = self.edge.graph
        both = zip(("input", "features"), self.written, strict=True)
        payload = ", ".join(f"{what} {words}" for what, words in both if words)
        size = "×".join(str(n) for n in graph.inputs[0].shape[1:])
        return {
            "model": f"{graph.model} at {size}",
            "device": self.edge.provenance.label(),
            "server": self.server.provenance.label(),
            "scenario": self.scenario.label(payload, self._candidates()),
            "dscwb_version": __version__,
        }

    def _candidates(self) -> str:
        """What was really offered, where the granularity alone does not say it; else empty."""
        graph, granularity = self.edge.graph, self.granularity
        if granularity != "block":
            return CANDIDATES[granularity]
        if not graph.blocks:
            return "record-low and single-tensor cuts, as the model has no blocks"
        narrow = any(place.name in self.splits for place in graph.narrow)
        return "block ends and narrow places" if narrow else "block ends"

    def cautions(self, batch_size: int | None = None) -> tuple[str, ...]:
        """What should be known before these numbers are believed, a sentence each; often none.

        Times that are noisy, unreliable or biased, with the remedy, and idle gaps that differ.

        Args:
            batch_size: Only what stands behind this one; behind all of the study if left out.
        """
        sizes = self.batch_sizes if batch_size is None else (batch_size,)
        found = []
        for who, profile in (("device", self.edge), ("server", self.server)):
            if who == "server" and profile.passes is self.edge.passes:
                continue  # an assumed server is the device itself: once is enough
            near = sorted({size for wanted in sizes for size in profile.neighbours(wanted)})
            told = {size: profile.caution(size) for size in near}
            found += [
                f"The {who}'s times at batch size {size} are {words}."
                for size, words in told.items()
                if words
            ]
        return (*found, *_gaps_differ(self.edge, self.server), *_types_differ(self))

    def label(self) -> str:
        """Model, machines and scenario in words: what every figure's caption must say."""
        stamp = self.stamp()
        return (
            f"{stamp['model']}. Device: {stamp['device']}. Server: {stamp['server']}. "
            f"{stamp['scenario']}.{self.outages()}"
        )

    def outages(self) -> str:
        """What is best where the link is down, which no logarithmic axis shows; often empty."""
        down = int((self.data_rates_bps == 0).sum())
        if not down:
            return ""
        best = " or ".join(np.array(self.splits)[np.unique(self.best[:, self.data_rates_bps == 0])])
        return (
            f" The link is down at {down} of {len(self.data_rates_bps)} data rates: {best} there."
        )

    def _frame(self, values: NDArray[Any]) -> pd.DataFrame:
        import pandas as pd

        index = pd.Index(self.batch_sizes, name="batch_size")
        columns = pd.Index(self.data_rates_bps, name="data_rate_bps")
        return pd.DataFrame(values, index=index, columns=columns)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"


def _types_differ(study: Study) -> tuple[str, ...]:
    types = study.edge.provenance.dtype, study.server.provenance.dtype
    if types[0] == types[1]:
        return ()
    return (
        f"The head computes in {types[0]}, the tail in {types[1]}: features are converted, which "
        "takes time that is not counted.",
    )


def _gaps_differ(edge: Profile, server: Profile) -> tuple[str, ...]:
    gaps = edge.provenance.gap_s, server.provenance.gap_s
    told = all(one.provenance.origin != "imported" for one in (edge, server))
    if gaps[0] == gaps[1] or not told:
        return ()
    idle = [f"{format_seconds(gap)} of idling" if gap else "no idle gap" for gap in gaps]
    return (
        f"The device's times are with {idle[0]} before each pass, the server's with {idle[1]}: "
        "what has waited is slower; measure both alike (gap_s=, --gap-ms).",
    )


def sweep(
    edge: ProfileLike,
    server: ProfileLike,
    scenario: Scenario | None = None,
    *,
    data_rates_bps: ArrayLike | None = None,
    batch_sizes: Sequence[int] | None = None,
    **knobs: Any,
) -> Study:
    """Find the best split at every batch size and data rate.

    Args:
        edge: Profile of the device, or its file, or the name of a model that comes with dscwb.
        server: Profile of the same model on the server.
        scenario: Link, encodings and all else that moves the answer.
        data_rates_bps: Data rates in bit/s, ``(rate,)``, in any order; 0 for a link that is down;
            `DATA_RATES_BPS` when left out.
        batch_sizes: Batch sizes, ``(batch,)``; those between measured ones are interpolated. All
            from the smallest to the largest that both profiles cover when left out.
        knobs: Fields of `Scenario`, in place of the record or of what stands in it.

    Raises:
        TypeError: A knob that `Scenario` does not have.
        ValueError: A rate, encoding, load or batch size that cannot be used.
        ProfileError: The profiles do not fit each other, the batch sizes or the memory cap.

    Example:
        >>> import dscwb
        >>> edge = dscwb.shipped_profile("efficientnet_b0")
        >>> study = dscwb.sweep(
        ...     edge,
        ...     dscwb.scale_profile(edge, speedup=20),
        ...     link=dscwb.Link(round_trip_s=0.005),
        ...     input_encoding="uint8",
        ...     feature_encoding="int8",
        ...     data_rates_bps=[1e6, 2e7, 1e9],
        ... )
        >>> study.best_split().loc[1].tolist()
        ['no offloading', 'blocks.3.0', 'full offloading']
    """
    edge, server = as_profile(edge), as_profile(server)
    scenario = Scenario(**knobs) if scenario is None else replace(scenario, **knobs)
    rates = checked_rates(DATA_RATES_BPS if data_rates_bps is None else data_rates_bps)
    sizes = common_batch_sizes(edge, server) if batch_sizes is None else tuple(batch_sizes)
    if len(set(sizes)) < len(sizes) or any(size != int(size) for size in sizes):
        raise ValueError(f"batch_sizes is {list(sizes)}; give whole numbers, each once.")
    if not sizes:
        raise ValueError("No batch size is covered by both profiles; profile a common one.")
    return Study.of(edge, server, scenario, cost_lines(edge, server, scenario, sizes), rates)


def common_batch_sizes(edge: Profile, server: Profile) -> tuple[int, ...]:
    """Every batch size that both profiles cover, measured or in between."""
    low = max(min(edge.batch_sizes, default=1), min(server.batch_sizes, default=1))
    high = min(max(edge.batch_sizes, default=0), max(server.batch_sizes, default=0))
    return tuple(range(low, high + 1))
