"""The paper, computed again: its tables from graphs and profiles, beside what it claims.

A. Bakhtiarnia, N. Milošević, Q. Zhang, D. Bajović, A. Iosifidis, Dynamic Split Computing for
Efficient Deep Edge Intelligence, doi 10.1109/ICASSP49357.2023.10096914, arXiv 2205.11269. What the
paper says is known here from a published summary and from a public copy of the authors' notebook,
not from its full text; which of its numbers come from which payload is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from dscwb.cuts import bottlenecks
from dscwb.devices.roofline import model_profile
from dscwb.graph import ModelGraph
from dscwb.profiles.records import Profile
from dscwb.scenario import Scenario
from dscwb.study import Study, sweep
from dscwb.study.study import BEST_STATIC, MINIMAX_STATIC
from dscwb.study.sweeps import common_batch_sizes
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

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

PUBLISHED = {
    "efficientnet_b0": (16, 15, 4),
    "efficientnet_b1": (23, 21, 4),
    "efficientnet_b2": (23, 21, 4),
    "efficientnet_b3": (26, 24, 4),
    "efficientnet_b4": (32, 30, 4),
    "efficientnet_b5": (39, 36, 4),
    "efficientnet_b6": (45, 42, 4),
    "efficientnet_b7": (55, 44, 3),
    "tf_efficientnetv2_b0": (21, 20, 4),
    "tf_efficientnetv2_b1": (27, 25, 4),
    "tf_efficientnetv2_b2": (28, 26, 4),
    "tf_efficientnetv2_b3": (32, 30, 4),
    "tf_efficientnetv2_s": (40, 34, 3),
    "tf_efficientnetv2_m": (57, 49, 3),
    "tf_efficientnetv2_l": (79, 68, 3),
}
"""Blocks, natural and compressive bottlenecks of the paper's models, by timm's name: the authors'
notebook run on its own models (TensorFlow). The counts hold for every image size."""

CONVENTIONS = (
    Scenario(input_encoding="uint8", feature_encoding="float32"),  # the authors' notebook
    Scenario(input_encoding="uint8", feature_encoding="int8"),  # quantised to the image's size
    Scenario(input_encoding="float32", feature_encoding="float32"),  # the formula read literally
)
"""Ways to write input and features. No round trip, no downlink, no overhead, as in the authors'
notebook."""

Machines = tuple[Profile, Profile]
"""Profiles of one model on the device and on the server."""


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
    profiles: Mapping[str, Machines] | None = None

    def of(self, graph: ModelGraph, batch_sizes: Sequence[int] = BATCH_SIZES) -> Machines | None:
        """Edge and server for a model; None where this pair has no profiles of it.

        The batch sizes are those of modelled profiles; measured ones have their own.
        """
        if self.edge is None or self.server is None:
            return (self.profiles or {}).get(graph.model)
        edge, server = (model_profile(graph, one, batch_sizes) for one in (self.edge, self.server))
        return edge, server


PAPERS_PAIR = Pair("2080 Ti at 300 MHz → 2080 Ti", "RTX 2080 Ti at 300 MHz", "RTX 2080 Ti")
JETSON_PAIR = Pair("Jetson TX2 → A100", "Jetson TX2", "A100 SXM 80GB")
SLICES = ("NVIDIA H200, 8 of 132 multiprocessors", "NVIDIA H200, 40 of 132 multiprocessors")
"""The paper's setup, measured: one card, its slower part as the device, its faster as the server.

As the paper takes one card at two clocks, this takes two shares of one card at one clock.
"""
THREADS = ("AMD EPYC, 1 thread", "AMD EPYC, 2 threads")
MEASURED = {
    SLICES: "the paper's setup, measured: 8 → 40 of 132 multiprocessors of one H200",
    THREADS: "AMD EPYC, 1 → 2 threads",
}
"""The measured pairs that come with dscwb: device and server, and what tables call them."""


def _by_machine(profiles: Iterable[Profile], dtype: str) -> dict[str, list[Profile]]:
    """What was measured on each machine."""
    found: dict[str, list[Profile]] = {}
    for one in profiles:
        if one.batch_sizes and (one.provenance.origin, one.provenance.dtype) == ("measured", dtype):
            found.setdefault(one.provenance.machine(), []).append(one)
    return found


def _on_both(known: Mapping[str, list[Profile]], *machines: str) -> dict[str, Machines]:
    """Device's and server's profile of every model that was measured on these two machines."""
    edge, server = ({one.graph.model: one for one in known.get(name, ())} for name in machines)
    for name in machines:
        models = [one.graph.model for one in known.get(name, ())]
        if twice := [model for model in models if models.count(model) > 1]:
            raise ValueError(f"{twice[0]} was measured twice on {name}; leave one of them out.")
    return {model: (edge[model], server[model]) for model in sorted(edge.keys() & server.keys())}


def measured_machines(profiles: Iterable[Profile], dtype: str = "float32") -> tuple[str, ...]:
    """The machines on which these profiles were measured, as `measured_pair` takes them."""
    return tuple(sorted(_by_machine(profiles, dtype)))


def measured_pair(
    profiles: Iterable[Profile], edge: str, server: str, dtype: str = "float32"
) -> Pair:
    """Two measured machines as device and server, for every model that was measured on both.

    Args:
        profiles: Where to look; what is not measured counts for nothing.
        edge: The device, one of `measured_machines`.
        server: The server, another one.
        dtype: Element type of both.

    Raises:
        ValueError: Nothing was measured on one of them, no model on both, or a model twice.
    """
    known = _by_machine(profiles, dtype)
    for machine in (edge, server):
        if machine not in known:
            raise ValueError(
                f"Nothing was measured on {machine!r} in {dtype}; machines here: "
                f"{'; '.join(sorted(known)) or 'none'}."
            )
    both = _on_both(known, edge, server)
    if not both:
        raise ValueError(f"No model was measured on {edge!r} and on {server!r}; profile one there.")
    return Pair(f"{edge} → {server}", profiles=both)


def known_pairs(profiles: Iterable[Profile]) -> tuple[Pair, ...]:
    """The pairs of the paper's tables, the one that measures its setup first.

    A measured pair is left out where no model was measured on both of its machines.
    """
    known = _by_machine(profiles, "float32")
    slices, threads = (
        Pair(name, profiles=_on_both(known, *machines)) for machines, name in MEASURED.items()
    )
    pairs = (slices, PAPERS_PAIR, JETSON_PAIR, threads)
    return tuple(pair for pair in pairs if pair.edge or pair.profiles)


# Measured on 2026-11-26 with torch 2.11.0+cu130, TF32 off, the slices in CUDA green contexts.
RATES = (
    (SLICES[0], "device", 2.7, 0.69, "measured"),
    (SLICES[1], "server", 15.4, 3.7, "measured"),
    ("NVIDIA H200, whole", "", 50.0, 4.2, "measured"),
    ("the paper's device", "device", 2.37, np.nan, "stated"),
    ("RTX 2080 Ti", "server", 13.4, 0.616, "datasheet"),
)


def rate_table() -> pd.DataFrame:
    """What each machine can do at best, the measured pair beside the paper's.

    Columns ``machine``; ``stands_for``, ``device`` or ``server``; ``tflop_per_s`` of a float32
    matrix product; ``tb_per_s`` of a copy within its memory, NaN where nobody says; and ``origin``,
    ``measured``, ``stated`` in the paper, or ``datasheet``.
    """
    import pandas as pd

    columns = ["machine", "stands_for", "tflop_per_s", "tb_per_s", "origin"]
    return pd.DataFrame(RATES, columns=columns)


def bottleneck_table(graphs: Iterable[ModelGraph]) -> pd.DataFrame:
    """The paper's table of bottlenecks, counted here and published, one row a model.

    Columns ``model``, then ``blocks``, ``natural`` and ``compressive`` as counted in the captured
    graph, the same with ``published_`` in front, the compressive ratios, and ``agrees``.
    """
    import pandas as pd

    by_name = {graph.model: graph for graph in graphs}
    counts = ["blocks", "natural", "compressive"]
    rows = []
    for model, published in PUBLISHED.items():
        if model in by_name:
            table = bottlenecks(by_name[model])
            counted = len(table), int(table.natural.sum()), int(table.compressive.sum())
            ratios = ", ".join(f"{ratio:.4f}" for ratio in table.ratio[table.compressive])
            rows.append((model, *counted, *published, ratios, counted == published))
    names = ["model", *counts, *(f"published_{name}" for name in counts), "ratios", "agrees"]
    return pd.DataFrame(rows, columns=names)


def _sizes(machines: Machines | None, interpolate: bool = False) -> list[int]:
    """Batch sizes of the paper's grid with times on both machines, or between such."""
    if machines is None:
        return []
    own = set.intersection(*(set(one.batch_sizes) for one in machines))
    both = common_batch_sizes(*machines) if interpolate else own
    return [size for size in BATCH_SIZES if size in both]


def study_for(
    graph: ModelGraph, pair: Pair, convention: Scenario, *, interpolate: bool = False
) -> Study | None:
    """One model on one pair under one convention, over as much of the paper's grid as there is.

    None where the pair has no profiles of the model, or no batch size in both. With `interpolate`
    batch sizes between those that both machines have times of count too.
    """
    machines = pair.of(graph)
    if machines is None or not (sizes := _sizes(machines, interpolate)):
        return None
    return sweep(*machines, convention, data_rates_bps=DATA_RATES_BPS, batch_sizes=sizes)


def gain_table(
    graphs: Sequence[ModelGraph],
    pairs: Sequence[Pair] = (PAPERS_PAIR, JETSON_PAIR),
    conventions: Sequence[Scenario] = CONVENTIONS,
    *,
    interpolate: bool = False,
) -> pd.DataFrame:
    """Mean gains of dynamic splitting for every model, pair and convention.

    Args:
        graphs: The models.
        pairs: Devices and servers; a model that a pair lacks is left out there.
        conventions: How input and features are written.
        interpolate: As in `study_for`; a mean hangs on which batch sizes count.

    Returns:
        One row each: ``model``, ``pair``, ``origin`` (of device and server), ``input``,
        ``features``, ``batch_sizes`` that count, those of them whose times are ``not_ok`` on one
        machine, ``usefulness`` (share of points whose best choice is a split), the mean gain over
        ``no_offloading``, ``full_offloading``, the ``best_static`` split by mean, the
        ``minimax_static`` split, and over the splits between the two ends each always used:
        ``static_low`` to ``static_high`` and their mean, ``mean_static``; shares, not percent.
    """
    import pandas as pd

    rows = []
    for pair, graph in product(pairs, graphs):
        known = Pair(pair.name, profiles={graph.model: both} if (both := pair.of(graph)) else {})
        for convention in conventions:
            study = study_for(graph, known, convention, interpolate=interpolate)
            if study is None:
                continue
            machines, sizes = (study.edge, study.server), study.batch_sizes
            bad = {n for one in machines for n in one.batch_sizes if one.status(n) != "ok"}
            statics = study.static_splits().set_index("split").mean_gain
            inner = statics.drop([NO_OFFLOADING, FULL_OFFLOADING], errors="ignore")
            row = {
                "model": graph.model,
                "pair": pair.name,
                "origin": " → ".join(one.provenance.origin for one in machines),
                "input": convention.input_encoding.name,
                "features": convention.feature_encoding.name,
                "batch_sizes": _listed(sizes),
                "not_ok": _listed([size for size in sizes if size in bad]),
                "usefulness": study.usefulness(),
                "no_offloading": study.mean_gain(NO_OFFLOADING),
                "full_offloading": study.mean_gain(FULL_OFFLOADING),
                "best_static": study.mean_gain(BEST_STATIC),
                "minimax_static": study.mean_gain(MINIMAX_STATIC),
                "static_low": float(inner.min()),
                "mean_static": float(inner.mean()),
                "static_high": float(inner.max()),
            }
            rows.append(row)
    return pd.DataFrame(rows)


def _listed(sizes: Sequence[int]) -> str:
    """Batch sizes in words: the first and the last where none between is missing, else all."""
    if len(sizes) > 2 and sizes[-1] - sizes[0] == len(sizes) - 1:
        return f"{sizes[0]}–{sizes[-1]}"
    return ", ".join(map(str, sizes))


def modelled_beside_measured(
    graphs: Sequence[ModelGraph],
    measured: Pair,
    modelled: Pair = PAPERS_PAIR,
    conventions: Sequence[Scenario] = CONVENTIONS,
) -> pd.DataFrame:
    """What a modelled pair says where a measured one says it too: at the same batch sizes.

    Args:
        graphs: The models; those that were not measured are left out.
        measured: The pair to be held against.
        modelled: The other one.
        conventions: How input and features are written.

    Returns:
        One row a model and convention: ``model``, ``input``, ``features``, ``batch_sizes``; the
        median over them of modelled over measured T on the ``device`` and on the ``server``, and of
        T on the device over T on the server, ``speedup``; ``usefulness`` and mean gains as in
        `gain_table`. Of these each column is what was measured, with ``modelled_`` in front what
        the model says.
    """
    import pandas as pd

    means = ["speedup", "usefulness", "no_offloading", "full_offloading", "best_static"]
    found = []
    for graph in graphs:
        pairs: list[Pair] = []
        totals = []  # seconds of whole passes, (device and server, batch) for each pair
        sizes = _sizes(measured.of(graph))
        for pair in (measured, modelled) if sizes else ():
            if machines := pair.of(graph, sizes):
                edge, server = (
                    replace(one, passes=tuple(p for p in one.passes if p.batch_size in sizes))
                    for one in machines
                )
                pairs.append(Pair(pair.name, profiles={graph.model: (edge, server)}))
                totals.append(np.array([[one.total_s(n) for n in sizes] for one in machines]))
        if len(pairs) < 2:
            continue
        device, server = np.median(totals[1] / totals[0], axis=1)
        own, other = (
            gain_table([graph], [pair], conventions).assign(speedup=np.median(s[0] / s[1]))
            for pair, s in zip(pairs, totals, strict=True)
        )
        table = own[["model", "input", "features", "batch_sizes"]]
        table = table.assign(device=device, server=server)
        found.append(table.join(own[means]).join(other[means].add_prefix("modelled_")))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def claim(gain: float) -> Literal["within", "below", "above"]:
    """Where a mean gain lies against the 20 to 30 % that the summary states."""
    low, high = CLAIMED_GAIN
    # The summary gives whole percents.
    return "below" if round(gain, 2) < low else "above" if round(gain, 2) > high else "within"


def claim_table(gains: pd.DataFrame) -> pd.DataFrame:
    """How many models lie within, below and above the claimed 20 to 30 %.

    The claim names "a static split": not the best one alone, so its mean over all of them is a
    baseline too.

    Args:
        gains: What `gain_table` gave.

    Returns:
        One row for each pair, convention and baseline: the lowest, median and highest mean gain
        over the models, and how many models are ``below``, ``within`` and ``above``.
    """
    import pandas as pd

    by = ["pair", "origin", "input", "features"]
    rows = []
    for key, part in gains.groupby(by, sort=False):
        for baseline in ("no_offloading", "full_offloading", "best_static", "mean_static"):
            values = part[baseline].dropna()
            readings = [claim(value) for value in values]
            counts = [readings.count(name) for name in ("below", "within", "above")]
            name = baseline.replace("_", " ")
            rows.append((*key, name, values.min(), values.median(), values.max(), *counts))
    columns = ["baseline", "lowest", "median", "highest", "below", "within", "above"]
    return pd.DataFrame(rows, columns=[*by, *columns])
