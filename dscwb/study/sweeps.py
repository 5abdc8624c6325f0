"""Sweeps: two profiles and a scenario are asked at every batch size and data rate of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from dscwb.cost import cost_lines
from dscwb.profiles.library import ProfileLike, as_profile
from dscwb.profiles.records import Profile
from dscwb.scenario import DATA_RATES_BPS, Scenario
from dscwb.study.study import Study


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
    if not isinstance(scenario, Scenario | None):
        raise ValueError(
            f"scenario is {scenario!r}; give dscwb.Scenario(...), or its fields by name."
        )
    scenario = Scenario(**knobs) if scenario is None else replace(scenario, **knobs)
    rates = DATA_RATES_BPS if data_rates_bps is None else data_rates_bps
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
