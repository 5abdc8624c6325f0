"""The paper, computed again: graphs and profiles go in, its tables come out beside its claims.

A. Bakhtiarnia, N. Milošević, Q. Zhang, D. Bajović, A. Iosifidis, Dynamic Split Computing for
Efficient Deep Edge Intelligence, doi 10.1109/ICASSP49357.2023.10096914, arXiv 2205.11269. What the
paper says is known here from a published summary and from a public copy of the authors' notebook,
not from its full text; which of its numbers come from which payload is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import bottlenecks
from dscwb.devices.roofline import model_profile
from dscwb.graph import ModelGraph
from dscwb.profiles.records import Profile
from dscwb.scenario import Link
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

Reading = Literal["within", "below", "above"]
Machines = tuple[Profile, Profile]
"""Profiles of one model on the device and on the server."""


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
    profiles: Mapping[str, Machines] | None = None

    def of(self, graph: ModelGraph, batch_sizes: Sequence[int] = BATCH_SIZES) -> Machines | None:
        """Edge and server for a model; None where this pair has no profiles of it.

        Args:
            graph: The model.
            batch_sizes: Of modelled profiles; measured ones have their own.
        """
        if self.edge is not None and self.server is not None:
            return (
                model_profile(graph, self.edge, batch_sizes),
                model_profile(graph, self.server, batch_sizes),
            )
        return (self.profiles or {}).get(graph.model)


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


def measured_machines(profiles: Iterable[Profile], dtype: str = "float32") -> tuple[str, ...]:
    """The machines on which these profiles were measured, as `measured_pair` takes them."""
    return tuple(sorted({one.provenance.machine() for one in _measured(profiles, dtype)}))


def measured_pair(
    profiles: Iterable[Profile], edge: str, server: str, *, name: str = "", dtype: str = "float32"
) -> Pair:
    """Two measured machines as device and server, for every model that was measured on both.

    Args:
        profiles: Where to look; what is not measured counts for nothing.
        edge: The device, one of `measured_machines`.
        server: The server, another one.
        name: What tables and figures call the pair; both machines when left out.
        dtype: Element type of both.

    Raises:
        ValueError: Nothing was measured on one of them, no model on both, or a model twice.
    """
    given = tuple(profiles)
    known = measured_machines(given, dtype)
    for machine in (edge, server):
        if machine not in known:
            raise ValueError(
                f"Nothing was measured on {machine!r} in {dtype}; machines here: "
                f"{'; '.join(known) or 'none'}."
            )
    on_edge, on_server = (_by_model(given, machine, dtype) for machine in (edge, server))
    both = {model: (one, on_server[model]) for model, one in on_edge.items() if model in on_server}
    if not both:
        raise ValueError(f"No model was measured on {edge!r} and on {server!r}; profile one there.")
    return Pair(name or f"{edge} → {server}", profiles=both)


def _by_model(profiles: Sequence[Profile], machine: str, dtype: str) -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    for one in _measured(profiles, dtype):
        model = one.graph.model
        if one.provenance.machine() == machine and found.setdefault(model, one) is not one:
            raise ValueError(f"{model} was measured twice on {machine}; leave one of them out.")
    return found


def _measured(profiles: Iterable[Profile], dtype: str) -> Iterator[Profile]:
    for one in profiles:
        source = one.provenance
        if (source.origin, source.dtype) == ("measured", dtype) and one.batch_sizes:
            yield one


def known_pairs(profiles: Iterable[Profile]) -> tuple[Pair, ...]:
    """The pairs of the paper's tables, the one that measures its setup first.

    Args:
        profiles: Those that come with dscwb; a measured pair is left out where no model was
            measured on both of its machines.
    """
    given = tuple(profiles)
    slices, threads = (
        [measured_pair(given, *machines, name=MEASURED[machines])]
        if set.intersection(*(set(_by_model(given, one, "float32")) for one in machines))
        else []
        for machines in (SLICES, THREADS)
    )
    return (*slices, PAPERS_PAIR, JETSON_PAIR, *threads)


@dataclass(frozen=True)
class Rates:
    """What one machine can do at best, beside the others.

    Attributes:
        machine: Its name.
        stands_for: ``device``, ``server``, or empty.
        flop_per_s: float32 matrix product.
        bytes_per_s: Copy within its memory; None where nobody says.
        origin: ``measured``, ``stated`` in the paper, or ``datasheet``.
    """

    machine: str
    stands_for: str
    flop_per_s: float
    bytes_per_s: float | None
    origin: str


# Measured on 2026-11-26 with torch 2.11.0+cu130, TF32 off, the slices in CUDA green contexts.
RATES = (
    Rates(SLICES[0], "device", 2.7e12, 0.69e12, "measured"),
    Rates(SLICES[1], "server", 15.4e12, 3.7e12, "measured"),
    Rates("NVIDIA H200, whole", "", 50e12, 4.2e12, "measured"),
    Rates("the paper's device", "device", 2.37e12, None, "stated"),
    Rates("RTX 2080 Ti", "server", 13.4e12, 0.616e12, "datasheet"),
)


def rate_table() -> pd.DataFrame:
    """The measured pair beside the paper's: TFLOP/s of float32 and TB/s of memory.

    Columns ``machine``, ``stands_for``, ``tflop_per_s``, ``tb_per_s`` (NaN where nobody says) and
    ``origin``.
    """
    import pandas as pd

    rows = [
        (
            one.machine,
            one.stands_for,
            one.flop_per_s / 1e12,
            np.nan if one.bytes_per_s is None else one.bytes_per_s / 1e12,
            one.origin,
        )
        for one in RATES
    ]
    return pd.DataFrame(
        rows, columns=["machine", "stands_for", "tflop_per_s", "tb_per_s", "origin"]
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


def study_for(
    graph: ModelGraph, pair: Pair, convention: Convention, *, interpolate: bool = False
) -> Study | None:
    """One model on one pair under one convention, over as much of the paper's grid as there is.

    No round trip, no downlink, no overhead, as in the authors' notebook. None where the pair has no
    profiles of the model, or no batch size in both.

    Args:
        graph: The model.
        pair: Device and server.
        convention: How input and features are written.
        interpolate: Whether batch sizes between those that both machines have times of count too.
    """
    machines = pair.of(graph)
    sizes = _sizes(*machines, interpolate) if machines else []
    return _study(*machines, convention, sizes) if machines and sizes else None


def _sizes(edge: Profile, server: Profile, interpolate: bool) -> list[int]:
    """Batch sizes of the paper's grid with times on both machines, or between such."""
    both = (
        common_batch_sizes(edge, server)
        if interpolate
        else sorted({*edge.batch_sizes} & {*server.batch_sizes})
    )
    return [size for size in both if size in BATCH_SIZES]


def _study(
    edge: Profile, server: Profile, convention: Convention, batch_sizes: Sequence[int]
) -> Study:
    return sweep(
        edge,
        server,
        link=Link(),
        input_encoding=convention.input_encoding,
        feature_encoding=convention.feature_encoding,
        data_rates_bps=DATA_RATES_BPS,
        batch_sizes=batch_sizes,
    )


def gain_table(
    graphs: Sequence[ModelGraph],
    pairs: Sequence[Pair] = (PAPERS_PAIR, JETSON_PAIR),
    conventions: Sequence[Convention] = CONVENTIONS,
    *,
    interpolate: bool = False,
) -> pd.DataFrame:
    """Mean gains of dynamic splitting for every model, pair and convention.

    Args:
        graphs: The models.
        pairs: Devices and servers; a model that a pair lacks is left out there.
        conventions: How input and features are written.
        interpolate: As in `study_for`. The mean is over batch sizes and rates alike, so it hangs
            on which batch sizes count.

    Returns:
        One row each: ``model``, ``pair``, ``origin`` (of device and server), ``input``,
        ``features``, ``batch_sizes`` that count, those of them whose times are ``not_ok`` on one
        machine, ``usefulness`` (share of states whose best choice is a split), the mean gain over
        ``no_offloading``, ``full_offloading``, the ``best_static`` split by mean, the
        ``minimax_static`` split, and over the splits between the two ends each always used:
        ``static_low`` to ``static_high`` and their mean, ``mean_static``; shares, not percent.
    """
    import pandas as pd

    rows = []
    for pair in pairs:
        for graph in graphs:
            machines = pair.of(graph)
            if machines is not None and (sizes := _sizes(*machines, interpolate)):
                studies = [(_study(*machines, one, sizes), one) for one in conventions]
                rows += [_gains(study, pair, one) for study, one in studies]
    return pd.DataFrame(rows)


def _gains(study: Study, pair: Pair, convention: Convention) -> dict[str, object]:
    statics = study.static_splits()
    inner = statics.mean_gain[~statics.split.isin([NO_OFFLOADING, FULL_OFFLOADING])]
    return {
        "model": study.edge.graph.model,
        "pair": pair.name,
        "origin": " → ".join(one.provenance.origin for one in (study.edge, study.server)),
        "input": convention.input_encoding,
        "features": convention.feature_encoding,
        "batch_sizes": _listed(study.batch_sizes),
        "not_ok": _listed([size for size in study.batch_sizes if _not_ok(study, size)]),
        **_means(study),
        "minimax_static": study.mean_gain(MINIMAX_STATIC),
        "static_low": float(inner.min()),
        "mean_static": float(inner.mean()),
        "static_high": float(inner.max()),
    }


def _means(study: Study) -> dict[str, float]:
    """What the paper tells of a model: usefulness and three mean gains."""
    return {
        "usefulness": study.usefulness(),
        "no_offloading": study.mean_gain(NO_OFFLOADING),
        "full_offloading": study.mean_gain(FULL_OFFLOADING),
        "best_static": study.mean_gain(BEST_STATIC),
    }


def _not_ok(study: Study, batch_size: int) -> bool:
    """Whether one of the machines was measured at this batch size, but not well."""
    return any(
        batch_size in one.batch_sizes and one.status(batch_size) != "ok"
        for one in (study.edge, study.server)
    )


def _listed(sizes: Sequence[int]) -> str:
    """Batch sizes in words: the first and the last where none between is missing, else all."""
    if len(sizes) > 2 and sizes[-1] - sizes[0] == len(sizes) - 1:
        return f"{sizes[0]}–{sizes[-1]}"
    return ", ".join(map(str, sizes))


def modelled_beside_measured(
    graphs: Sequence[ModelGraph],
    measured: Pair,
    modelled: Pair = PAPERS_PAIR,
    conventions: Sequence[Convention] = CONVENTIONS,
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

    rows = []
    for graph in graphs:
        machines = measured.of(graph)
        sizes = _sizes(*machines, interpolate=False) if machines else []
        others = modelled.of(graph, sizes) if sizes else None
        if machines and others:
            rows += [_beside(machines, others, one, sizes) for one in conventions]
    return pd.DataFrame(rows)


def _beside(
    measured: Machines, modelled: Machines, convention: Convention, sizes: Sequence[int]
) -> dict[str, object]:
    (took, took_server), (said, said_server) = (
        _totals(pair, sizes) for pair in (measured, modelled)
    )
    numbers, model_s = (
        {"speedup": float(np.median(device / server))} | _means(_study(*pair, convention, sizes))
        for pair, device, server in (
            (measured, took, took_server),
            (modelled, said, said_server),
        )
    )
    return {
        "model": measured[0].graph.model,
        "input": convention.input_encoding,
        "features": convention.feature_encoding,
        "batch_sizes": _listed(sizes),
        "device": float(np.median(said / took)),
        "server": float(np.median(said_server / took_server)),
        **{
            key: value
            for name, number in numbers.items()
            for key, value in ((name, number), (f"modelled_{name}", model_s[name]))
        },
    }


def _totals(machines: Machines, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Seconds of whole passes, ``(2, batch)``."""
    return np.array([[one.total_s(size) for size in sizes] for one in machines])


def claim(gain: float) -> Reading:
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

    rows = []
    by = ["pair", "origin", "input", "features"]
    for (pair, origin, given, features), part in gains.groupby(by, sort=False):
        for baseline in ("no_offloading", "full_offloading", "best_static", "mean_static"):
            values = part[baseline].dropna()
            readings = [claim(value) for value in values]
            rows.append(
                {
                    "pair": pair,
                    "origin": origin,
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
