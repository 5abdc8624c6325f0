"""How far the roofline is off: ``python -m benchmarks.model_error`` predicts models left out.

For every machine in ``data/profiles``: fit to all models but one, predict that one, compare with
its measured profile. Measured time is the measure of everything, so errors are shares of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dscwb.cuts import all_cuts
from dscwb.devices.datasheets import Device, catalogue
from dscwb.devices.roofline import OP_CLASSES, fit_efficiency, model_profile, op_classes
from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.records import Profile

FOLDER = Path(__file__).parent.parent / "data" / "profiles"
FEWEST_MODELS = 3  # one left out and two to fit to
# What a fit scales stands in for a datasheet: predictions are the same whatever these are.
NOMINAL_FLOP_PER_S, NOMINAL_BYTES_PER_S, NOMINAL_OVERHEAD_S = 1e11, 2e10, 1e-5
MEMORY_BYTES = sys.float_info.max  # what was measured did fit
MS = 1e3

Machine = tuple[str, int | None, str]
Rows = list[dict[str, object]]


def run(folder: Path = FOLDER) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict each measured model from the others on its machine.

    Returns:
        One row a machine, model and batch size (milliseconds, errors of T and of heads at block
        cuts as shares of the measured T; beside it the error of T with the rough default shares
        where the catalogue has the machine), and one row a machine, model, batch size and class
        of operations (share of the measured T, modelled over measured time).
    """
    totals, classes = [], []
    for machine, profiles in measured_profiles(folder).items():
        names = {p.graph.model for p in profiles}
        for left_out in profiles if len(names) >= FEWEST_MODELS else ():
            others = [p for p in profiles if p.graph.model != left_out.graph.model]
            new_totals, new_classes = _compare(left_out, others, machine)
            totals += new_totals
            classes += new_classes
    return pd.DataFrame(totals), pd.DataFrame(classes)


def measured_profiles(folder: Path = FOLDER) -> dict[Machine, list[Profile]]:
    """What was measured, by machine: device, CPU threads and element type."""
    machines: dict[Machine, list[Profile]] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        profile = load_profile(path)
        source = profile.provenance
        if source.origin == "measured":
            key = (source.device, source.threads, source.dtype)
            machines.setdefault(key, []).append(profile)
    return machines


def _catalogued(machine: Machine) -> Device | None:
    """The catalogue's record of a whole GPU: ``NVIDIA H200`` is the H200 SXM, a slice is not."""
    name, threads, _ = machine
    if "multiprocessors" in name:
        return None
    found = (known for known in catalogue() if known.name.split(" SXM")[0] in name)
    return next(found, None) if threads is None else None


def _nominal(machine: Machine) -> Device:
    name, threads, dtype = machine
    return Device(
        name=name,
        kind="gpu" if threads is None else "cpu",
        peak_flop_per_s={dtype: NOMINAL_FLOP_PER_S},
        bandwidth_bytes_per_s=NOMINAL_BYTES_PER_S,
        memory_bytes=MEMORY_BYTES,
        assumed_overhead_s=NOMINAL_OVERHEAD_S,
        source="nominal",
    )


def _compare(measured: Profile, others: Sequence[Profile], machine: Machine) -> tuple[Rows, Rows]:
    """Rows of both tables for one model that the fit has not seen."""
    graph, sizes, dtype = measured.graph, measured.batch_sizes, machine[2]
    known = _catalogued(machine)
    device = known or _nominal(machine)
    fitted = model_profile(
        graph, device, sizes, dtype=dtype, efficiency=fit_efficiency(others, device)
    )
    rough = model_profile(graph, known, sizes, dtype=dtype) if known else None
    totals, classes = [], []
    for size in sizes:
        where = {"machine": _label(machine), "model": graph.model, "batch": size}
        off = rough.total_s(size) / measured.total_s(size) - 1 if rough else np.nan
        totals.append(where | _errors(measured, fitted, size) | {"t_error_unfitted": off})
        classes += [where | row for row in _class_errors(measured, fitted, size)]
    return totals, classes


def _errors(measured: Profile, modelled: Profile, size: int) -> dict[str, object]:
    graph = measured.graph
    cuts = [cut.index for cut in all_cuts(graph, "block" if graph.blocks else "op")][1:-1]
    total, said = measured.total_s(size), modelled.total_s(size)
    heads = np.abs(modelled.head_s(size) - measured.head_s(size))[cuts] / total
    return {
        "status": measured.status(size),
        "measured_ms": total * MS,
        "modelled_ms": said * MS,
        "t_error": said / total - 1,
        "head_error_median": np.median(heads),
        "head_error_worst": heads.max(),
    }


def _class_errors(measured: Profile, modelled: Profile, size: int) -> Rows:
    number = [OP_CLASSES.index(name) for name in op_classes(measured.graph)]
    took, said = (np.bincount(number, np.diff(p.head_s(size))) for p in (measured, modelled))
    return [
        {"class": name, "share": t / took.sum(), "ratio": s / t}
        for name, t, s in zip(OP_CLASSES, took, said, strict=False)
        if t > 0
    ]


def _label(machine: Machine) -> str:
    device, threads, dtype = machine
    return f"{device}, {f'{threads} thread(s), ' if threads else ''}{dtype}"


def main() -> None:
    """Print both tables and, for each machine, the median, the worst and the fit to all models."""
    totals, classes = run()
    for machine, profiles in measured_profiles().items():
        label = _label(machine)
        print(f"\nRoofline of models left out of the fit: {label}")
        rows = totals[totals.machine == label] if len(totals) else totals
        if rows.empty:
            print(f"{len(profiles)} measured; with {FEWEST_MODELS} models the error can be told")
            continue
        print(_formatted(rows.drop(columns="machine")))
        print(
            f"T: median error {rows.t_error.abs().median():.0%}, worst "
            f"{rows.t_error.abs().max():.0%}; heads at block cuts, as shares of T: median "
            f"{rows.head_error_median.median():.0%}, worst {rows.head_error_worst.max():.0%}"
        )
        print(_by_class(classes[classes.machine == label]))
        device = _catalogued(machine) or _nominal(machine)
        print(f"Of {_peaks(device, machine[2])}: {fit_efficiency(profiles, device)}")


def _peaks(device: Device, dtype: str) -> str:
    peak, bandwidth = device.peak_flop_per_s[dtype], device.bandwidth_bytes_per_s
    return f"{peak / 1e9:g} GFLOP/s and {bandwidth / 1e9:g} GB/s ({device.source})"


def _formatted(rows: pd.DataFrame) -> str:
    percent = dict.fromkeys(("t_error", "t_error_unfitted"), "{:+.0%}".format)
    percent |= dict.fromkeys(("head_error_median", "head_error_worst"), "{:.0%}".format)
    rows = rows.dropna(axis="columns", how="all")
    return rows.to_string(index=False, formatters=percent, float_format="{:.1f}".format)


def _by_class(rows: pd.DataFrame) -> str:
    """Where the time goes and how far each class is off: modelled over measured."""
    table = rows.groupby("class", sort=False).agg(
        share_of_time=("share", "mean"),
        ratio_lowest=("ratio", "min"),
        ratio_median=("ratio", "median"),
        ratio_highest=("ratio", "max"),
    )
    worst = rows.assign(off=np.log(rows.ratio).abs()).sort_values("off").groupby("class").last()
    table["worst_in"] = worst["model"]
    percent = {"share_of_time": "{:.0%}".format}
    return "By class of operations, modelled over measured time:\n" + table.to_string(
        formatters=percent, float_format="{:.2f}".format
    )


if __name__ == "__main__":
    main()
