"""How far the roofline is off: ``python -m benchmarks.model_error`` predicts models left out.

For every machine in ``data/profiles``: fit to all models but one, predict that one, compare with
its measured profile. A slice of a GPU is predicted from the whole card, so that it is a device
left out too. Measured time is the measure of everything, so errors are shares of it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dscwb.cuts import all_cuts
from dscwb.devices.datasheets import Device, Efficiency, catalogue
from dscwb.devices.roofline import OP_CLASSES, fit_efficiency, model_profile, op_classes
from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.records import Profile

FOLDER = Path(__file__).parent.parent / "data" / "profiles"
FEWEST_MODELS = 3  # one left out and two to fit to
# What a fit scales stands in for a datasheet: predictions are the same whatever these are.
NOMINAL_FLOP_PER_S, NOMINAL_BYTES_PER_S, NOMINAL_OVERHEAD_S = 1e11, 2e10, 1e-5
MEMORY_BYTES = sys.float_info.max  # what was measured did fit
# A GPU of which only some multiprocessors were used: ``NVIDIA H200, 8 of 132 multiprocessors``.
SLICE = re.compile(r"(?P<card>.+), (?P<used>\d+) of (?P<all>\d+) \w+")
# Share of the whole card's bandwidth that so many of its multiprocessors reached when they copied
# memory: 0.69 and 3.71 of 4.23 TB/s. It isn't their share of the card, as FLOP/s are.
SLICE_BANDWIDTH = {8: 0.164, 40: 0.878}
NINE_IN_TEN = 0.9
MS = 1e3

Machine = tuple[str, int | None, str]
Rows = list[dict[str, object]]


def run(folder: Path = FOLDER) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict each measured model from the others on its machine, or on the card it is a slice of.

    Returns:
        One row a machine, model and batch size (milliseconds, modelled over measured T, errors of
        a head's share of its own T at block cuts, what was left out of the fit), and one row a
        machine, model, batch size and class of operations (share of the measured T, modelled over
        measured time).
    """
    totals, classes = [], []
    machines = measured_profiles(folder)
    for teacher, profiles in machines.items():
        pupils = [(m, p) for m, found in machines.items() if _whole(m) == teacher for p in found]
        for model in dict.fromkeys(p.graph.model for _, p in pupils):
            others = [p for p in profiles if p.graph.model != model]
            if len({p.graph.model for p in others}) < FEWEST_MODELS - 1:
                continue
            efficiency = fit_efficiency(others, device_of(teacher))
            for machine, measured in pupils:
                if measured.graph.model == model:
                    left_out = "model" if machine == teacher else "model and device"
                    new_totals, new_classes = _compare(measured, machine, efficiency)
                    totals += [row | {"left_out": left_out} for row in new_totals]
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


def _whole(machine: Machine) -> Machine:
    """The machine itself, or the card of which it is a slice."""
    name, threads, dtype = machine
    part = SLICE.fullmatch(name)
    return (part["card"] if part else name), threads, dtype


def device_of(machine: Machine) -> Device:
    """What to fit to and predict with: a card of the catalogue, a part of one, or nominal figures.

    ``NVIDIA H200`` is the H200 SXM.
    """
    name, threads, dtype = machine
    cards = (
        [] if threads else [known for known in catalogue() if known.name.split(" SXM")[0] in name]
    )
    if not cards:
        return Device(
            name=name,
            kind="cpu" if threads else "gpu",
            peak_flop_per_s={dtype: NOMINAL_FLOP_PER_S},
            bandwidth_bytes_per_s=NOMINAL_BYTES_PER_S,
            memory_bytes=MEMORY_BYTES,
            assumed_overhead_s=NOMINAL_OVERHEAD_S,
            source="nominal",
        )
    part = SLICE.fullmatch(name)
    return _slice(cards[0], int(part["used"]), int(part["all"])) if part else cards[0]


def _slice(card: Device, used: int, of: int) -> Device:
    """The same card with so many of its multiprocessors."""
    peaks = {dtype: peak * used / of for dtype, peak in card.peak_flop_per_s.items()}
    bandwidth = card.bandwidth_bytes_per_s * SLICE_BANDWIDTH[used]
    name = f"{card.name}, {used} of {of} multiprocessors"
    return replace(card, name=name, peak_flop_per_s=peaks, bandwidth_bytes_per_s=bandwidth)


def _compare(measured: Profile, machine: Machine, efficiency: Efficiency) -> tuple[Rows, Rows]:
    """Rows of both tables for one model that the fit has not seen."""
    graph, device = measured.graph, device_of(machine)
    sizes, dtype = measured.batch_sizes, machine[2]
    modelled = model_profile(graph, device, sizes, dtype=dtype, efficiency=efficiency)
    totals, classes = [], []
    for size in sizes:
        where = {"machine": _label(machine), "model": graph.model, "batch": size}
        totals.append({"kind": device.kind} | where | _errors(measured, modelled, size))
        classes += [where | row for row in _class_errors(measured, modelled, size)]
    return totals, classes


def _errors(measured: Profile, modelled: Profile, size: int) -> dict[str, object]:
    graph = measured.graph
    cuts = [cut.index for cut in all_cuts(graph, "block" if graph.blocks else "op")][1:-1]
    total, said = measured.total_s(size), modelled.total_s(size)
    heads = np.abs(modelled.head_s(size) / said - measured.head_s(size) / total)[cuts]
    return {
        "status": measured.status(size),
        "measured_ms": total * MS,
        "modelled_ms": said * MS,
        "t_ratio": said / total,
        "share_error_median": np.median(heads),
        "share_error_worst": heads.max(),
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


def error_of_ratio(ratios: pd.Series[float], quantile: float = 0.5) -> float:
    """Error e of modelled over measured T: so many lie between 1 / (1 + e) and 1 + e."""
    return float(np.expm1(np.log(ratios).abs().quantile(quantile)))


def main(folder: Path = FOLDER) -> None:
    """Print, for each machine: all rows, errors by batch size and class, the fit to all models."""
    totals, classes = run(folder)
    for machine, profiles in measured_profiles(folder).items():
        label, teacher = _label(machine), _whole(machine)
        print(f"\nRoofline of models left out of the fit: {label}")
        rows = totals[totals.machine == label] if len(totals) else totals
        if rows.empty:
            print(f"{len(profiles)} measured; with {FEWEST_MODELS} models the error can be told")
            continue
        print(_formatted(rows.drop(columns=["machine", "kind", "left_out"])))
        print(_by_batch(rows))
        print(_by_class(classes[classes.machine == label]))
        if teacher == machine:
            device = device_of(machine)
            print(f"Of {_peaks(device, machine[2])}: {fit_efficiency(profiles, device)}")
        else:
            print(f"Fitted to {_label(teacher)}")
    if len(totals):
        print("\nError of T, nine in ten (0.3: within a factor of 1.3 either way):")
        print(nine_in_ten(totals).to_string(float_format="{:.2f}".format))


def _peaks(device: Device, dtype: str) -> str:
    peak, bandwidth = device.peak_flop_per_s[dtype], device.bandwidth_bytes_per_s
    return f"{peak / 1e9:g} GFLOP/s and {bandwidth / 1e9:g} GB/s ({device.source})"


def _formatted(rows: pd.DataFrame) -> str:
    formats = {"t_ratio": "{:.2f}".format}
    formats |= dict.fromkeys(("share_error_median", "share_error_worst"), "{:.0%}".format)
    return rows.to_string(index=False, formatters=formats, float_format="{:.1f}".format)


def _by_batch(rows: pd.DataFrame) -> str:
    """Modelled over measured T and the worst error of a head's share, a line a batch size."""
    parts = [*rows.groupby("batch"), ("all", rows)]
    lines = [
        {
            "batch": batch,
            "models": part.model.nunique(),
            "t_lowest": f"{part.t_ratio.min():.2f}",
            "t_median": f"{part.t_ratio.median():.2f}",
            "t_highest": f"{part.t_ratio.max():.2f}",
            "error_median": f"{(part.t_ratio - 1).abs().median():.0%}",
            "error_worst": f"{(part.t_ratio - 1).abs().max():.0%}",
            "share_error_median": f"{part.share_error_worst.median():.0%}",
            "share_error_worst": f"{part.share_error_worst.max():.0%}",
        }
        for batch, part in parts
    ]
    return (
        "Modelled over measured T, and the largest error of a head's share of its own T at block "
        "cuts:\n" + pd.DataFrame(lines).to_string(index=False)
    )


def nine_in_ten(totals: pd.DataFrame) -> pd.Series[float]:
    """Ninth decile of the error of T by kind of device and what was left out of the fit.

    These stand in `dscwb.devices` as ``time_error``.
    """
    groups = totals.groupby(["kind", "left_out"]).t_ratio
    return groups.apply(error_of_ratio, NINE_IN_TEN)


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
    main(*map(Path, sys.argv[1:]))
