"""Is the prediction true? What was executed, held against what a study said of it.

Predicted are head, codec, link and tail of each request (see `prediction`), executed is each of
them. All executed times are durations on one clock; no two clocks are subtracted.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dscwb.profiles.medians import IQR_OVER_SIGMA, MEDIAN_OVER_MEAN, NORMAL_95
from dscwb.running.ends import leaves_of
from dscwb.running.prediction import INSIDE, INTERVAL, PARTS
from dscwb.units import Told, format_percent, format_rate, shown_name
from dscwb.writing import atomically

STATE = ["batch_size", "data_rate_bps", "gap_s", "split"]
METADATA = b"dscwb validation"
WORST = 2  # states outside their intervals that are named


@dataclass(frozen=True, eq=False, repr=False)
class Validation(Told):
    """Executed requests beside their predictions.

    Attributes:
        requests: One row a request: batch size, data rate, idle gap, split; ``head_s``,
            ``codec_s``, ``link_s``, ``tail_s``, ``total_s`` as executed and each with
            ``predicted_`` in front; ``predicted_low_s`` and ``predicted_high_s``, between which the
            median of the state's requests lies in nine of ten cases, and ``model_error_s``, how
            much of either side is no noise; ``sent_bytes``, ``where`` it was finished, ``why`` the
            device had to (such a request counts in no median); ``same_class`` (share of samples
            whose first class is that of the whole model) and ``relative_error`` of the output.
        origin: Model, both machines, the link, the scenario, versions and date, in words. The
            provenance is ``executed``; a link in user space says ``emulated``.
    """

    requests: pd.DataFrame
    origin: dict[str, str]

    def states(self) -> pd.DataFrame:
        """One row for each batch size, data rate, gap and split.

        Returns:
            Medians of what was executed and predicted, by part and in total, the interval of the
            middle half of the executed totals (``low_s``, ``high_s``), and ``error``, executed over
            predicted minus 1: above zero where the prediction was too optimistic;
            ``median_error_s``, the standard error of the executed median, and ``inside``: whether
            that median lies in the interval that was stated.
        """
        done = self.requests[self.requests["why"] == ""]
        groups = done.groupby(STATE, sort=True)
        names = [f"{way}{part}_s" for way in ("", "predicted_") for part in (*PARTS, "total")]
        table = groups[[*names, *INTERVAL]].median()
        table["low_s"], table["high_s"] = (groups["total_s"].quantile(q) for q in (0.25, 0.75))
        table["requests"] = groups.size()
        table["error"] = table["total_s"] / table["predicted_total_s"] - 1
        sigma = (table["high_s"] - table["low_s"]) / IQR_OVER_SIGMA
        table["median_error_s"] = MEDIAN_OVER_MEAN * sigma / np.sqrt(table["requests"])
        low, high = table["predicted_low_s"], table["predicted_high_s"]
        table["inside"] = (low <= table["total_s"]) & (table["total_s"] <= high)
        return table.reset_index()

    def errors(self) -> pd.Series:
        """Absolute relative errors of the end-to-end time, one a state."""
        return self.states()["error"].abs()

    @property
    def median_error(self) -> float:
        """Median over the states of the relative error of the end-to-end time."""
        return float(self.errors().median())

    @property
    def p90_error(self) -> float:
        """Nine in ten states are predicted within this."""
        return float(self.errors().quantile(0.9))

    @property
    def noise(self) -> float:
        """How far the middle half of one state's requests reaches over their median; the median."""
        states = self.states()
        return float(((states["high_s"] - states["low_s"]) / states["total_s"]).median())

    @property
    def coverage(self) -> float:
        """Share of the states whose executed median lies in the interval that was stated."""
        return float(self.states()["inside"].mean())

    def choices(self) -> pd.DataFrame:
        """One row for each batch size, data rate and gap: was the right split chosen?

        Returns:
            ``predicted_best``, ``executed_best`` and ``regret``: what the predicted best took
            longer than the executed best, as a fraction. ``tie`` where the two medians differ by
            no more than their noise, 1.96 standard errors of the difference: then nobody can tell
            which of them is better.
        """
        rows = []
        for point, group in self.states().groupby(STATE[:-1]):
            chosen = group.sort_values("predicted_total_s").iloc[0]
            best = group.sort_values("total_s").iloc[0]
            later_s = chosen["total_s"] - best["total_s"]
            noise_s = NORMAL_95 * np.hypot(chosen["median_error_s"], best["median_error_s"])
            regret = later_s / best["total_s"]
            rows.append((*point, chosen["split"], best["split"], regret, later_s <= noise_s))
        columns = [*STATE[:-1], "predicted_best", "executed_best", "regret", "tie"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def mean_regret(self) -> float:
        """Mean regret of the predicted best among the executed splits."""
        return float(self.choices()["regret"].mean())

    @property
    def regret_beyond_noise(self) -> float:
        """The same, with no regret where predicted and executed best tie."""
        choices = self.choices()
        return float(choices["regret"].where(~choices["tie"], 0.0).mean())

    def parts(self) -> pd.DataFrame:
        """By part of the time: how far executed and predicted are apart, as shares of the total.

        Returns:
            One row a part, ``median``, ``low`` and ``high`` (nine in ten lie between) of
            (executed - predicted) / executed total.
        """
        states = self.states()
        rows = {}
        for part in PARTS:
            apart = (states[f"{part}_s"] - states[f"predicted_{part}_s"]) / states["total_s"]
            rows[part] = apart.quantile([0.5, 0.05, 0.95]).to_list()
        return pd.DataFrame.from_dict(rows, orient="index", columns=["median", "low", "high"])

    def summary(self) -> dict[str, str]:
        """The verdict, in a few words each."""
        states, found = self.states(), self.requests
        fell_back = (found["why"] != "").sum()
        told = (f"{part} {format_percent(x)}" for part, x in self.parts()["median"].items())
        same = found["same_class"].mean()
        return {
            "Model": f"{self.origin['model']}; {self.origin['link']}",
            "Error": f"median {format_percent(self.median_error)}, nine in ten states within "
            f"{format_percent(self.p90_error)} ({len(states)} states, {len(found)} requests"
            f"{f', {fell_back} of them finished on the device' * bool(fell_back)})",
            "Regret": f"{format_percent(self.mean_regret)} in the mean, worst "
            f"{format_percent(float(self.choices()['regret'].max()))}; "
            f"{format_percent(self.regret_beyond_noise)} where noise does not explain it",
            "Confidence": self._confidence(states),
            "Noise": f"requests of one state scatter by {format_percent(self.noise)} (middle half "
            "over median)",
            "Executed minus predicted": f"{', '.join(told)} of the total, medians",
            "Output": f"first class as the whole model's for {format_percent(same)} of samples"
            f"{self.origin['weights']}",
        }

    def _confidence(self, states: pd.DataFrame) -> str:
        """How many states lie in their intervals, how wide these are, which lie furthest out."""
        total_s = states["predicted_total_s"]
        wide = (states["predicted_high_s"] - states["predicted_low_s"]) / 2 / total_s
        model = states["model_error_s"] / total_s
        out = states[~states["inside"]]
        below, above = (
            sign * (out["total_s"] - out[f"predicted_{end}_s"]) / out["predicted_total_s"]
            for sign, end in ((-1, "low"), (1, "high"))
        )
        worst = out.assign(beyond=below.clip(lower=above)).nlargest(WORST, "beyond")
        named = (
            f"; outside {shown_name(row['split'])} at {format_rate(row['data_rate_bps'])}, batch "
            f"size {row['batch_size']}, by {format_percent(row['beyond'])}"
            for row in worst.to_dict("records")
        )
        return (
            f"{states['inside'].sum()} of {len(states)} states lie in their "
            f"{format_percent(INSIDE)} intervals "
            f"(± {format_percent(wide.median())} in the median, of it "
            f"{format_percent(model.median())} for errors of the model)"
        ) + "".join(named)

    def verdict(self) -> dict[str, Any]:
        """The numbers of the summary, for a machine to read; errors and regret as fractions."""
        return {
            "median_error": self.median_error,
            "p90_error": self.p90_error,
            "mean_regret": self.mean_regret,
            "regret_beyond_noise": self.regret_beyond_noise,
            "coverage": self.coverage,
            "noise": self.noise,
            "requests": len(self.requests),
            "fell_back": int((self.requests["why"] != "").sum()),
            "states": len(self.states()),
            "same_class": float(self.requests["same_class"].mean()),
            "relative_error": float(self.requests["relative_error"].max()),
            "parts": self.parts()["median"].to_dict(),
            "choices": self.choices().to_dict("records"),
            **self.origin,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as Parquet, whole or not at all; `load_validation` reads it back."""
        table = pa.Table.from_pandas(self.requests, preserve_index=False)
        told = json.dumps(self.origin).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA: told})
        with atomically(path) as file:
            pq.write_table(table, file)
        return Path(path)


def load_validation(path: str | os.PathLike[str]) -> Validation:
    """Read what `Validation.save` wrote.

    Raises:
        ValueError: It is no validation, or one without intervals, of an older dscwb.
    """
    try:
        table = pq.read_table(path)
        told = (table.schema.metadata or {})[METADATA]
        table.select(INTERVAL)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} is no validation that `dscwb validate` wrote: {error}") from None
    return Validation(table.to_pandas(), json.loads(told))


def agreement(output: Any, whole: Any) -> tuple[float, float]:
    """Share of samples with the same first class, and the largest error over the largest value."""
    same, error = [], 0.0
    for own, other in zip(leaves_of(output)[0], leaves_of(whole)[0], strict=True):
        if own.ndim >= 2 and own.is_floating_point():
            same.append((own.argmax(1) == other.argmax(1)).float().mean().item())
        wide = torch.complex128 if other.is_complex() else torch.float64  # bool has no distance
        apart, size = (x.to(wide).abs() for x in (own.to(wide) - other.to(wide), other))
        if size.numel() and size.max():
            error = max(error, float(apart.max() / size.max()))
    return float(np.mean(same)) if same else float("nan"), error
