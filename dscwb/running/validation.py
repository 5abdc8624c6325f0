"""Is the prediction true? Every candidate is executed and held against what a study says of it.

A request's time has five parts: head, codec (tensors to bytes and back, on both ends), link, queue
and tail. Each is predicted from the two profiles, the link and the codec's own times, and each is
executed. All executed times are durations on one clock; no two clocks are subtracted.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.cost import cost_at
from dscwb.running.client import Answer, SplitClient
from dscwb.running.encodings import decode, encode
from dscwb.running.ends import leaves_of
from dscwb.study.study import Study
from dscwb.units import (
    BITS_PER_BYTE,
    FULL_OFFLOADING,
    NO_OFFLOADING,
    Told,
    format_percent,
)
from dscwb.writing import atomically

PARTS = ("head", "codec", "link", "tail")
"""Of which a request's time consists; a queue, which no study predicts, counts to the tail."""
STATE = ["batch_size", "data_rate_bps", "gap_s", "split"]
NEXT_BEST = 2
"""How many splits beside the best are tried at each rate."""
CODEC_RUNS = 9
CODEC_GAP_S = 0.02
"""Tensors are written and read by ends that have waited; back to back it takes a tenth of that."""
MESSAGE_S = 0.8e-3
"""What a request costs beside its bytes, on two idle x86 cores over loopback: both ends are woken,
and both read a header (`python -m benchmarks.bench --only overhead` has the part of the code)."""
MESSAGE_BYTES = 350
"""Of one header, request or reply."""
METADATA = b"dscwb validation"


@dataclass(frozen=True, eq=False, repr=False)
class Validation(Told):
    """Executed requests beside their predictions.

    Attributes:
        requests: One row a request: batch size, data rate, idle gap, split; ``head_s``,
            ``codec_s``, ``link_s``, ``tail_s``, ``total_s`` as executed and each with
            ``predicted_`` in front; ``sent_bytes``, ``where`` it was finished, ``why`` the device
            had to (such a request counts in no median); ``same_class`` (share of
            samples whose first class is that of the whole model) and ``relative_error`` of the
            output.
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
            predicted minus 1: above zero where the prediction was too optimistic.
        """
        done = self.requests[self.requests["why"] == ""]
        groups = done.groupby(STATE, sort=True)
        names = [f"{way}{part}_s" for way in ("", "predicted_") for part in (*PARTS, "total")]
        table = groups[names].median()
        table["low_s"], table["high_s"] = (groups["total_s"].quantile(q) for q in (0.25, 0.75))
        table["requests"] = groups.size()
        table["error"] = table["total_s"] / table["predicted_total_s"] - 1
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

    def choices(self) -> pd.DataFrame:
        """One row for each batch size, data rate and gap: was the right split chosen?

        Returns:
            ``predicted_best``, ``executed_best`` and ``regret``: what the predicted best took
            longer than the executed best, as a fraction.
        """
        rows = []
        for point, group in self.states().groupby(STATE[:-1]):
            chosen = group.sort_values("predicted_total_s").iloc[0]
            best = group.sort_values("total_s").iloc[0]
            regret = chosen["total_s"] / best["total_s"] - 1
            rows.append((*point, chosen["split"], best["split"], regret))
        columns = [*STATE[:-1], "predicted_best", "executed_best", "regret"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def mean_regret(self) -> float:
        """Mean regret of the predicted best among the executed splits."""
        return float(self.choices()["regret"].mean())

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
            f"{format_percent(float(self.choices()['regret'].max()))}",
            "Noise": f"requests of one state scatter by {format_percent(self.noise)} (middle half "
            "over median)",
            "Executed minus predicted": f"{', '.join(told)} of the total, medians",
            "Output": f"first class as the whole model's for {format_percent(same)} of samples"
            f"{self.origin['weights']}",
        }

    def verdict(self) -> dict[str, Any]:
        """The numbers of the summary, for a machine to read; errors and regret as fractions."""
        return {
            "median_error": self.median_error,
            "p90_error": self.p90_error,
            "mean_regret": self.mean_regret,
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
        ValueError: It is no validation.
    """
    try:
        table = pq.read_table(path)
        told = (table.schema.metadata or {})[METADATA]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} is no validation that `dscwb validate` wrote: {error}") from None
    return Validation(table.to_pandas(), json.loads(told))


def validate(
    client: SplitClient,
    captured: CapturedModel,
    study: Study,
    *,
    set_rate: Callable[[float], object] | None = None,
    gaps_s: Sequence[float] = (0.0,),
    repeats: int = 10,
    inputs: Sequence[torch.Tensor] | None = None,
    seed: int = 0,
    link: str = "the link as it is",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Validation:
    """Execute the candidates of a study at each of its points, in random order.

    Tried are every split that is best at some rate, no and full offloading, the next best two at
    each rate, and the one predicted to be worst.

    Args:
        client: Connected to the server.
        captured: The model that the client runs.
        study: What is predicted: its batch sizes, data rates, link and encodings.
        set_rate: Makes the link as fast as this, bit/s; if left out the link is taken to be it.
        gaps_s: Idle times before a request.
        repeats: Requests of each state.
        inputs: One batch of the largest batch size; random numbers if left out.
        seed: Of the order.
        link: What the link is, in words.
        progress: Wraps the plan, such as `tqdm.tqdm`.
    """
    draw = random.Random(seed)
    wholes = {}
    for size in study.batch_sizes:
        batch = captured.inputs(size) if inputs is None else tuple(x[:size] for x in inputs)
        with torch.inference_mode():
            wholes[size] = batch, captured.module(*batch)
    plan = [
        (size, rate, gap_s, split)
        for size in study.batch_sizes
        for rate in study.data_rates_bps.tolist()
        for split in tried(study, size, rate)
        for gap_s in gaps_s
    ]
    codecs = {
        (size, split): codec_s(client, wholes[size][0], split)
        for size, split in {(size, split) for size, _, _, split in plan}
    }
    for size, split in codecs:  # warm on both ends
        client.run(*wholes[size][0], split=split)
    rounds = [state for _ in range(repeats) for state in draw.sample(plan, len(plan))]
    rows = []
    for size, rate, gap_s, split in progress(rounds):
        batch, whole = wholes[size]
        if set_rate:
            set_rate(rate)
        if gap_s:
            time.sleep(gap_s)
        answer = client.run(*batch, split=split)
        same, error = agreement(answer.output, whole)
        rows.append(
            {
                "batch_size": size,
                "data_rate_bps": rate,
                "gap_s": gap_s,
                "split": split,
                **executed(answer),
                **predicted(study, size, rate, split, codecs[size, split]),
                "sent_bytes": answer.sent_bytes,
                "where": answer.where,
                "why": answer.why,
                "same_class": same,
                "relative_error": error,
            }
        )
    own = "" if captured.own_weights else " (random weights: this says nothing about accuracy)"
    origin = {
        "provenance": "executed",
        "model": captured.graph.model,
        "device": study.edge.provenance.label(),
        "server": study.server.provenance.label(),
        "link": link,
        "scenario": study.scenario.label(),
        "weights": own,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "torch": torch.__version__,
    }
    return Validation(pd.DataFrame(rows), origin)


def tried(study: Study, batch_size: int, data_rate_bps: float) -> list[str]:
    """The splits to be executed at a point, each once, the predicted best first."""
    row, names = study.row(batch_size), study.splits
    costs = cost_at(study.intercepts[row], study.slopes[row], data_rate_bps)
    order = [names[i] for i in np.argsort(costs, kind="stable") if np.isfinite(costs[i])]
    could_be_best = [names[i] for i in study.envelopes[row].splits]
    ends = [end for end in (NO_OFFLOADING, FULL_OFFLOADING) if end in order]
    return list(dict.fromkeys([*order[: 1 + NEXT_BEST], *could_be_best, *ends, order[-1]]))


def predicted(
    study: Study, batch_size: int, data_rate_bps: float, split: str, codec_s: float
) -> dict[str, float]:
    """What a study says of a request, by part, in seconds.

    To the study's own link come what a message costs beside its bytes, and headers and the result's
    way back at the same data rate.
    """
    row, lines = study.row(batch_size), study.lines
    i = study.splits.index(split)
    sent = split != NO_OFFLOADING
    back = set(study.edge.graph.outputs)
    result_bytes = sum(x.nbytes(batch_size) for x in study.edge.graph.tensors() if x.name in back)
    bits = lines.bits[row, i] + sent * (2 * MESSAGE_BYTES + result_bytes) * BITS_PER_BYTE
    link_s = float(lines.link_s[row, i] + sent * MESSAGE_S + cost_at(0, bits, data_rate_bps))
    parts = {
        "head": float(lines.head_s[row, i]),
        "codec": codec_s,
        "link": link_s,
        "tail": float(lines.tail_s[row, i]),
    }
    told = {f"predicted_{part}_s": seconds for part, seconds in parts.items()}
    return {**told, "predicted_total_s": sum(parts.values())}


def executed(answer: Answer) -> dict[str, float]:
    """What a request took, by part, in seconds."""
    return {
        "head_s": answer.head_s,
        "codec_s": answer.encode_s + answer.decode_s + answer.reply_s,
        "link_s": answer.link_s,
        "tail_s": answer.queue_s + answer.tail_s,
        "total_s": answer.total_s,
    }


def codec_s(client: SplitClient, inputs: Sequence[torch.Tensor], split: str) -> float:
    """Median seconds that it takes here to write and read what crosses a cut, and the output."""
    if split == NO_OFFLOADING:
        return 0.0
    with torch.inference_mode():
        head, tail = client.halves(split)
        sent = head(*inputs)
        output, _ = leaves_of(tail(sent))
        times = []
        for _ in range(CODEC_RUNS):
            spent = 0.0
            for tensors, how in ((sent, client.encoding_of(split)), (output, None)):
                compression = client.compression if how else "none"
                time.sleep(CODEC_GAP_S)
                begun = time.perf_counter()
                headers, parts = encode(tensors, how, compression)
                spent += time.perf_counter() - begun
                payload = memoryview(b"".join(parts))  # arrives in one piece
                time.sleep(CODEC_GAP_S)
                begun = time.perf_counter()
                decode(headers, payload, compression)
                spent += time.perf_counter() - begun
            times.append(spent)
    return float(np.median(times))


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
