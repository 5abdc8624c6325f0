"""What deciding costs: 200 cuts by 64 batch sizes by 1,000 rates, beside other ways to do the same.

Random lines, so that no way profits from their shape; the answers of all ways are compared.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import dscwb
from dscwb.scenario import Link
from dscwb.study import sweep

CUTS, BATCHES, RATES = 200, 64, 1000
Floats = NDArray[np.float64]


def lines() -> tuple[Floats, Floats, Floats]:
    """Intercepts ``(batch, split)`` in seconds, bits ``(split,)``, rates ``(rate,)`` in bit/s."""
    rng = np.random.default_rng(0)
    a = np.sort(rng.uniform(0.001, 1, (BATCHES, CUTS)), axis=1)
    bits = np.sort(rng.uniform(1e3, 1e7, CUTS))[::-1].copy()
    return a, bits, np.geomspace(1e5, 1e9, RATES)


def per_batch(a: Floats, bits: Floats, rates: Floats) -> NDArray[np.intp]:
    """Brute force in NumPy, a batch size at a time, so that memory stays small."""
    sent = bits[:, None] / rates
    return np.stack([np.argmin(row[:, None] + sent, axis=0) for row in a])


def loops(a: Floats, bits: Floats, rates: Floats) -> NDArray[np.intp]:
    """Brute force in Python, for one batch size only."""
    row, sent = a[0].tolist(), bits.tolist()
    best = [
        min(range(len(row)), key=lambda i, x=1 / rate: row[i] + sent[i] * x)
        for rate in rates.tolist()
    ]
    return np.array([best])


def groupby(a: Floats, bits: Floats, rates: Floats) -> NDArray[np.intp]:
    """A long table grouped by state, as analysts write it, for one batch size only."""
    split, rate = np.meshgrid(np.arange(len(bits)), rates, indexing="ij")
    table = pd.DataFrame({"split": split.ravel(), "rate": rate.ravel()})
    table["latency"] = a[0][table.split] + bits[table.split] / table.rate
    chosen = table.loc[table.groupby("rate").latency.idxmin()]
    return np.array([chosen.sort_values("rate").split.to_numpy()])


def peak_bytes(action: Callable[[], object]) -> int:
    """Most memory that an action has taken at one time, what it returns included."""
    gc.collect()
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def real_study() -> Callable[[], dscwb.Study]:
    """A sweep of EfficientNet-B0 at every operation, on modelled machines with 64 batch sizes."""
    graph = dscwb.shipped_profile("efficientnet_b0").graph
    machines = [
        dscwb.model_profile(graph, name, range(1, BATCHES + 1)) for name in ("Jetson TX2", "T4")
    ]
    study = sweep(
        *machines,
        link=Link(),
        input_encoding="uint8",
        feature_encoding="float32",
        data_rates_bps=np.geomspace(1e5, 1e9, RATES),
        granularity="op",
    )
    return lambda: sweep(
        *machines,
        study.scenario,
        data_rates_bps=study.data_rates_bps,
        batch_sizes=study.batch_sizes,
    )
