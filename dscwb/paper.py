"""The paper, computed again: graphs and profiles go in, its tables come out beside its claims.

A. Bakhtiarnia, N. Milošević, Q. Zhang, D. Bajović, A. Iosifidis, Dynamic Split Computing for
Efficient Deep Edge Intelligence, doi 10.1109/ICASSP49357.2023.10096914, arXiv 2205.11269. What the
paper says is known here from a published summary and from a public copy of the authors' notebook,
not from its full text; which of its numbers come from which payload is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dscwb.cuts import bottlenecks
from dscwb.devices.roofline import model_profile
from dscwb.graph import ModelGraph
from dscwb.latency import FULL_OFFLOADING, NO_OFFLOADING
from dscwb.profiles.records import Profile
from dscwb.scenario import Link
from dscwb.study.states import BEST_STATIC, MINIMAX_STATIC
from dscwb.study.sweeps import Study, common_batch_sizes, sweep

if TYPE_CHECKING:
    import pandas as pd

DATA_RATES_BPS = np.arange(1, 128) * 8e6
"""The paper's rates, 1 to 127 MB/s in steps of 1 MB/s, in bit/s."""
BATCH_SIZES = tuple(range(1, 63))
"""The paper's batch sizes."""
CLAIMED_GAIN = (0.20, 0.30)
"""Mean gain "in most cases" over a static split or no offloading, as the summary has it."""
MAPS = ("efficientnet_b4", "tf_efficientnetv2_s", "tf_efficientnetv2_l")
"""The models of the paper's best-split maps."""

Reading = Literal["within", "below", "above"]


@dataclass(frozen=True)
class Published:
    """What the authors' rule gives on the authors' models.

    Attributes:
        model: timm's name.
        blocks: MBConv and Fused-MBConv blocks, the paper's layers.
        natural: Natural bottlenecks.
        compressive: Compressive bottlenecks.
    """

    model: str
    blocks: int
    natural: int
    compressive: int


# The authors' notebook run on its own models (TensorFlow); counts hold for every image size.
PUBLISHED = tuple(
    Published(f"efficientnet_b{i}", *counts)
    for i, counts in enumerate(
        [
            (16, 15, 4),
            (23, 21, 4),
            (23, 21, 4),
            (26, 24, 4),
            (32, 30, 4),
            (39, 36, 4),
            (45, 42, 4),
            (55, 44, 3),
        ]
    )
) + tuple(
    Published(f"tf_efficientnetv2_{size}", *counts)
    for size, counts in {
        "b0": (21, 20, 4),
        "b1": (27, 25, 4),
        "b2": (28, 26, 4),
        "b3": (32, 30, 4),
        "s": (40, 34, 3),
        "m": (57, 49, 3),
        "l": (79, 68, 3),
    }.items()
)


@dataclass(frozen=True)
class Convention:
    """How input and features are written, and who writes them so.

    Attributes:
        input_encoding: Of the image.
        feature_encoding: Of the intermediate tensors.
        source: Where it comes from.
    """

    input_encoding: str
    feature_encoding: str
    source: str


CONVENTIONS = (
    Convention("uint8", "float32", "the authors' notebook"),
    Convention("uint8", "int8", "features quantised to the image's size"),
    Convention("float32", "float32", "the formula read literally: D · c"),
)


@dataclass(frozen=True)
class Pair:
    """A device and a server; both modelled by name, or one measured profile a model.

    Attributes:
        name: What tables and figures call it.
        edge: A device of the catalogue; None where measured profiles are given.
        server: A device of the catalogue; None where measured profiles are given.
        profiles: Measured edge and server by model.
    """

    name: str
    edge: str | None = None
    server: str | None = None
    profiles: Mapping[str, tuple[Profile, Profile]] | None = None

    def of(self, graph: ModelGraph) -> tuple[Profile, Profile] | None:
        """Edge and server for a model; None where this pair has no profiles of it."""
        if self.edge is not None and self.server is not None:
            return (
                model_profile(graph, self.edge, BATCH_SIZES),
                model_profile(graph, self.server, BATCH_SIZES),
            )
        return (self.profiles or {}).get(graph.model)


PAPERS_PAIR = Pair("2080 Ti at 300 MHz → 2080 Ti", "RTX 2080 Ti at 300 MHz", "RTX 2080 Ti")
JETSON_PAIR = Pair("Jetson TX2 → A100", "Jetson TX2", "A100 SXM 80GB")


def measured_pair(profiles: Iterable[Profile]) -> Pair:
    """The measured profiles of two machines, or of one with fewer and with more threads.

    For each model the slowest measured profile is the device, the fastest the server; models with
    one measured profile are left out.
    """
    by_model: dict[str, list[Profile]] = {}
    for profile in profiles:
        if profile.provenance.origin == "measured" and profile.batch_sizes:
            by_model.setdefault(profile.graph.model, []).append(profile)
    pairs = {}
    for model, found in by_model.items():
        found.sort(key=lambda one: one.total_s(one.batch_sizes[0]) / one.batch_sizes[0])
        if len(found) > 1:
            pairs[model] = (found[-1], found[0])
    labels = sorted({" → ".join(map(_machine, pair)) for pair in pairs.values()})
    return Pair("; ".join(labels) or "no measured pair", profiles=pairs)


def _machine(profile: Profile) -> str:
    threads = profile.provenance.threads
    return profile.provenance.device + (
        f", {threads} thread{'s'[: threads > 1]}" if threads else ""
    )


def bottleneck_table(graphs: Iterable[ModelGraph]) -> pd.DataFrame:
    """The paper's table of bottlenecks, counted here and published, one row a model.

    Columns ``model``, then ``blocks``, ``natural`` and ``compressive`` as counted in the captured
    graph, the same with ``published_`` in front, the compressive ratios, and ``agrees``.
    """
    import pandas as pd

    by_name = {graph.model: graph for graph in graphs}
    rows = []
    for known in PUBLISHED:
        if known.model not in by_name:
            continue
        table = bottlenecks(by_name[known.model])
        counted = len(table), int(table.natural.sum()), int(table.compressive.sum())
        published = known.blocks, known.natural, known.compressive
        ratios = ", ".join(f"{ratio:.4f}" for ratio in table.ratio[table.compressive])
        rows.append((known.model, *counted, *published, ratios, counted == published))
    counts = ["blocks", "natural", "compressive"]
    names = ["model", *counts, *(f"published_{name}" for name in counts), "ratios", "agrees"]
    return pd.DataFrame(rows, columns=names)


def study_for(graph: ModelGraph, pair: Pair, convention: Convention) -> Study | None:
    """One model on one pair under one convention, over as much of the paper's grid as there is.

    No round trip, no downlink, no overhead, as in the authors' notebook. None where the pair has no
    profiles of the model.
    """
    machines = pair.of(graph)
    return None if machines is None else _study(*machines, convention)


def _study(edge: Profile, server: Profile, convention: Convention) -> Study:
    return sweep(
        edge,
        server,
        link=Link(),
        input_encoding=convention.input_encoding,
        feature_encoding=convention.feature_encoding,
        data_rates_bps=DATA_RATES_BPS,
        batch_sizes=[size for size in common_batch_sizes(edge, server) if size in BATCH_SIZES],
    )


def gain_table(
    graphs: Sequence[ModelGraph],
    pairs: Sequence[Pair] = (PAPERS_PAIR, JETSON_PAIR),
    conventions: Sequence[Convention] = CONVENTIONS,
) -> pd.DataFrame:
    """Mean gains of dynamic splitting for every model, pair and convention.

    Returns:
        One row each: ``model``, ``pair``, ``origin`` (of device and server), ``input``,
        ``features``, ``batch_sizes`` covered, ``usefulness`` (share of states whose best choice is
        a split), the mean gain over ``no_offloading``, ``full_offloading``, the ``best_static``
        split by mean, the ``minimax_static`` split, and ``static_low`` to ``static_high`` over the
        splits between the two ends; shares, not percent.
    """
    import pandas as pd

    rows = []
    for graph in graphs:
        for pair in pairs:
            machines = pair.of(graph)
            if machines is not None:
                rows += [_gains(_study(*machines, one), pair, one) for one in conventions]
    return pd.DataFrame(rows)


def _gains(study: Study, pair: Pair, convention: Convention) -> dict[str, object]:
    statics = study.static_splits()
    inner = statics.mean_gain[~statics.split.isin([NO_OFFLOADING, FULL_OFFLOADING])]
    sizes = study.batch_sizes
    return {
        "model": study.edge.graph.model,
        "pair": pair.name,
        "origin": " → ".join(one.provenance.origin for one in (study.edge, study.server)),
        "input": convention.input_encoding,
        "features": convention.feature_encoding,
        "batch_sizes": f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}",
        "usefulness": study.usefulness(),
        "no_offloading": study.mean_gain(NO_OFFLOADING),
        "full_offloading": study.mean_gain(FULL_OFFLOADING),
        "best_static": study.mean_gain(BEST_STATIC),
        "minimax_static": study.mean_gain(MINIMAX_STATIC),
        "static_low": float(inner.min()),
        "static_high": float(inner.max()),
    }


def claim(gain: float) -> Reading:
    """Where a mean gain lies against the 20 to 30 % that the summary states."""
    low, high = CLAIMED_GAIN
    # The summary gives whole percents.
    return "below" if round(gain, 2) < low else "above" if round(gain, 2) > high else "within"


def claim_table(gains: pd.DataFrame) -> pd.DataFrame:
    """How many models lie within, below and above the claimed 20 to 30 %.

    Args:
        gains: What `gain_table` gave.

    Returns:
        One row for each pair, convention and baseline: the lowest, median and highest mean gain
        over the models, and how many models are ``below``, ``within`` and ``above``.
    """
    import pandas as pd

    rows = []
    for (pair, given, features), part in gains.groupby(["pair", "input", "features"], sort=False):
        for baseline in ("no_offloading", "full_offloading", "best_static"):
            values = part[baseline].dropna()
            readings = [claim(value) for value in values]
            rows.append(
                {
                    "pair": pair,
                    "input": given,
                    "features": features,
                    "baseline": baseline.replace("_", " "),
                    "lowest": values.min(),
                    "median": values.median(),
                    "highest": values.max(),
                    **{name: readings.count(name) for name in ("below", "within", "above")},
                }
            )
    return pd.DataFrame(rows)
