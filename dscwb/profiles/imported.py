"""Profiles of numbers from elsewhere: a user's own table of heads and tails, or layer times.

TensorRT, TFLite, a power meter's log: whatever timed them, it becomes a table with one row a
measurement: `COLUMNS` in seconds, samples and bytes of the batch, and its ``place`` in the file.
"""

from __future__ import annotations

import csv
import math
import os
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.files import read_file
from dscwb.profiles.placing import INPUT, LARGEST, OUTPUT, splits
from dscwb.profiles.records import NS, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.tools import LayerTimes, layer_times, scission_models
from dscwb.units import AS_SENT, DTYPE_BYTES, NUMBER, plain_text

if TYPE_CHECKING:
    import pandas as pd

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
LARGEST_TABLE_BYTES = 10**8
COLUMNS = ("split", "batch_size", "head_s", "tail_s", "payload_bytes")
WIRE = "uint8"
"""Name by which people say that payloads are bytes as they went over the wire."""


def profile_from_csv(
    path: str | os.PathLike[str],
    *,
    device: str,
    graph: ModelGraph | None = None,
    model: str | None = None,
    dtype: str = "float32",
    batch_size: int = 1,
) -> Profile:
    """Read measurements made by other means; their origin is ``imported`` for ever.

    A table has a header and the columns ``split``, ``batch_size``, ``head_s``, ``tail_s`` and
    ``payload_bytes`` (for the whole batch, in `dtype`); times may also be ``head_ms``, ``tail_us``
    or in ``ns``, and further columns are left alone. Commas, semicolons, tabs or ``|`` part the
    values; except with commas, numbers may have decimal commas. Lines that begin with # are
    comments. Splits are listed from input to output; ``input`` is full offloading, ``output`` no
    offloading. Rows that repeat a split and batch size are repeats of one measurement. Heads may
    come from one machine and tails from another; they need not add up: nothing is adjusted, the
    note says by how much.

    Layer times are read too: trtexec ``--exportProfile``, TFLite's ``benchmark_model``, ONNX
    Runtime's profile, torch.profiler's chrome trace (CPU) and Scission's tables. Their sums are
    heads and tails. All but Scission need the `graph`, for the payloads.

    Args:
        path: The file, UTF-8.
        device: What measured it, for captions: ``Jetson Orin Nano, TensorRT 10``.
        graph: The captured model, if there is one; splits are then names of its blocks or layers
            and payloads must agree with it. Otherwise a graph is made from the file.
        model: Name of the model where there is no graph; the file's name if left out. In a file of
            several models, which one.
        dtype: Element type in which `payload_bytes` is counted, so that a study can ask for other
            encodings of it. Bytes as they really went over the wire (quantised, compressed, with
            headers) are ``uint8``: no encoding changes them, and the note says so.
        batch_size: Of layer times, which do not say it.

    Raises:
        ProfileError: Names the line and what is wrong with it.
    """
    path = Path(path)
    if dtype not in DTYPE_BYTES:
        raise ProfileError(f"Unknown dtype {dtype!r}; choose one of {', '.join(DTYPE_BYTES)}.")
    text = _text(path)
    try:
        layers = layer_times(text, model)
        rows, note = _of_layers(layers, graph, batch_size) if layers else (_table(text), "")
        if graph is None:
            graph = _graph(rows, plain_text(model or path.stem), dtype)
        rows["cut"] = _cuts(rows, graph)
    except (ValueError, csv.Error) as error:
        raise ProfileError(f"{path}: {error}.") from None
    provenance = Provenance(
        "imported",
        plain_text(device),
        dtype=dtype,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol="layers/1" if layers else "csv/1",
        note=note or _note(rows, dtype),
    )
    none = np.zeros((0, len(graph.layers) + 1), dtype=np.int64)
    repeats: dict[int, dict[int, list[tuple[float, float]]]] = {}
    for row in rows.sort_values(["batch_size", "cut"], kind="stable").to_dict("records"):
        cuts = repeats.setdefault(row["batch_size"], {})
        cuts.setdefault(row["cut"], []).append((row["head_s"], row["tail_s"]))
    passes = []
    for size, cuts in repeats.items():
        ns = {cut: np.rint(np.array(some).T / NS).astype(np.int64) for cut, some in cuts.items()}
        separate = tuple(Separate(cut, *times) for cut, times in ns.items())
        passes.append(Passes(size, none[:, 0], none, separate))
    return Profile(graph, provenance, tuple(passes))


def models_of(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the models in a file that holds tables of several, as Scission writes them.

    Raises:
        ProfileError: No such file, or not one of text.
    """
    return tuple(scission_models(_text(Path(path))))


def _text(path: Path) -> str:
    try:
        return read_file(path, LARGEST_TABLE_BYTES).decode("utf-8-sig")
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(
            f"{path} is not a readable CSV file ({error}); save it as UTF-8."
        ) from None


def _of_layers(
    layers: LayerTimes, graph: ModelGraph | None, batch_size: int
) -> tuple[pd.DataFrame, str]:
    """A row for each cut and run, and how the layers were found in the graph."""
    import pandas as pd

    layers, found, how = splits(layers, graph, batch_size)
    ends = np.insert(np.cumsum(layers.seconds, axis=1), 0, 0, axis=1)
    rows = [
        ("a layer", name, batch_size, run[i], run[-1] - run[i], payload)
        for name, i, payload in found
        for run in ends
    ]
    note = f"layer times of {layers.tool.split(' ', 1)[1]}, {how}"
    return pd.DataFrame(rows, columns=["place", *COLUMNS]), note


def _table(text: str) -> pd.DataFrame:
    """The rows of a user's own table, once every cell of theirs is known to make sense."""
    import pandas as pd

    lines = [
        (f"line {number}", line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(lines) < 2:
        raise ValueError("it has no rows below its header")
    # The header holds no numbers, so that whatever parts its names parts the values.
    part = max(";\t|,", key=lines[0][1].count)
    header, *records = csv.reader(
        (line for _, line in lines), delimiter=part, skipinitialspace=True
    )
    if len(records) < len(lines) - 1:
        raise ValueError("a quotation mark opens a cell of several lines; close it")
    places = [place for place, _ in lines[1:]]
    for place, record in zip(places, records, strict=True):
        if len(record) != len(header):
            hint = "numbers with decimal commas need semicolons between them" * (part == ",")
            raise ValueError(
                f"{place}: {len(record)} values for {len(header)} columns; "
                f"{hint or 'give one for each column'}"
            )
    rows = pd.DataFrame({"place": places})
    for name, (i, factor) in _columns(lines[0][0], header).items():
        cells = [record[i].strip() for record in records]
        what = [f"{place}: {header[i].strip()}" for place in places]
        if name == "split":
            rows[name] = [_split(*one) for one in zip(what, cells, strict=True)]
        else:
            rows[name] = [
                _number(*one, part != ",") * factor for one in zip(what, cells, strict=True)
            ]
    if (wrong := rows[(rows["batch_size"] < 1) | (rows["batch_size"] % 1 > 0)]).size:
        place, size = wrong.iloc[0][["place", "batch_size"]]
        raise ValueError(f"{place}: batch_size is {size:g}; give a whole number from 1")
    rows["batch_size"] = rows["batch_size"].astype(np.int64)
    ends = rows.loc[rows["split"] == OUTPUT, "batch_size"]
    if (without := rows.loc[~rows["batch_size"].isin(ends), "batch_size"]).size:
        raise ValueError(
            f"no row for split 'output' at batch size {without.iloc[0]}; add one whose head is the "
            "time of the whole model on the device, with tail and payload 0"
        )
    return rows


def _columns(place: str, header: list[str]) -> dict[str, tuple[int, float]]:
    """Position of each of `COLUMNS`, and the factor that brings its numbers to seconds."""
    found: dict[str, tuple[int, float]] = {}
    for i, title in enumerate(header):
        name, factor = re.sub(r"[^\wµμ]+", "_", title.strip().lower()).strip("_"), 1.0
        timed = re.fullmatch(r"(head|tail)_(\w+)", name)
        if timed and timed[2] in SECONDS:
            name, factor = f"{timed[1]}_s", SECONDS[timed[2]]
        if name in found:
            raise ValueError(f"{place}: {name} stands there twice; leave one of them out")
        if name in COLUMNS:
            found[name] = i, factor
    if missing := [name for name in COLUMNS if name not in found]:
        raise ValueError(
            f"{place}: no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}, "
            "and times may be head_ms and tail_ms, or in us or ns. Known tools' layer times are "
            "read as they are: trtexec --exportProfile, TFLite's benchmark_model, ONNX Runtime, "
            "torch.profiler, Scission"
        )
    return found


def _split(place: str, text: str) -> str:
    if not text:
        raise ValueError(f"{place} is empty; name the split")
    name = plain_text(text)
    return name.lower() if name.lower() in (INPUT, OUTPUT) else name


def _number(place: str, text: str, commas: bool) -> float:
    number = text.replace(",", ".", 1) if commas and "." not in text else text
    value = float(number) if NUMBER.fullmatch(number) else math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{place} is {text!r}; give a finite number, zero or more, such as 0.0125")
    if value > LARGEST:
        raise ValueError(f"{place} is {text!r}, more than anyone measures ({LARGEST:g})")
    return value


def _graph(rows: pd.DataFrame, model: str, dtype: str) -> ModelGraph:
    """A chain of one layer a split, with tensors of the stated payloads."""
    first = rows.drop_duplicates("split").set_index("split")
    if INPUT not in first.index:
        raise ValueError("no row for split 'input'; its payload is the model's input")
    first["elements"] = first["payload_bytes"] / first["batch_size"] / DTYPE_BYTES[dtype]
    sent = first[first.index != OUTPUT]
    if (wrong := sent[(sent["elements"] < 1) | (sent["elements"] % 1 > 0)]).size:
        place, size, payload = wrong.iloc[0][["place", "batch_size", "payload_bytes"]]
        raise ValueError(
            f"{place}: payload_bytes {payload:.12g} is not a whole number of {dtype} elements for "
            f"each of {size} samples; give the bytes of the tensors themselves, or uint8 as dtype "
            "where they are bytes on the wire"
        )
    kind = AS_SENT if dtype == WIRE else dtype
    names = [INPUT, *(name for name in first.index if name not in (INPUT, OUTPUT)), OUTPUT]
    specs = [TensorSpec(name, (1, int(first.loc[name, "elements"])), (0,), kind) for name in names]
    layers = tuple(
        Layer("imported", spec.name, (before.name,), (spec,)) for before, spec in pairwise(specs)
    )
    blocks = tuple(Block(name, "imported", k) for k, name in enumerate(names[1:], start=1))
    return ModelGraph(model, (specs[0],), layers, (OUTPUT,), blocks)


def _cuts(rows: pd.DataFrame, graph: ModelGraph) -> list[int]:
    """Index of the cut that each row's split means, with the payload that crosses it there."""
    known: dict[str, Cut] = {cut.name: cut for cut in all_cuts(graph)}
    if graph.blocks:
        known |= {cut.name: cut for cut in all_cuts(graph, "block")}
        known[graph.blocks[-1].name] = all_cuts(graph)[graph.blocks[-1].end]
    for row in rows.to_dict("records"):
        place, split, payload = row["place"], row["split"], row["payload_bytes"]
        if split not in known:
            raise ValueError(
                f"{place}: {graph.model!r} has no block or layer {split!r}; its blocks are "
                f"{', '.join(block.name for block in graph.blocks)}"
            )
        expected = sum(spec.nbytes(row["batch_size"]) for spec in known[split].frontier)
        if not known[split].is_output and payload != expected:
            raise ValueError(
                f"{place}: payload_bytes is {payload:g}, but {expected:g} bytes cross {split!r} "
                f"of {graph.model!r} in its own dtype"
            )
    return [known[split].index for split in rows["split"]]


def _note(rows: pd.DataFrame, dtype: str) -> str:
    """Whether payloads can be encoded otherwise; by how much heads and tails leave the whole."""
    notes = ["payloads as they were sent, whatever the encoding"] if dtype == WIRE else []
    whole = rows[rows["split"] == OUTPUT].drop_duplicates("batch_size", keep="last")
    inner = rows[~rows["split"].isin((INPUT, OUTPUT))]
    totals = inner["batch_size"].map(whole.set_index("batch_size")["head_s"])
    sums = ((inner["head_s"] + inner["tail_s"]) / totals)[totals > 0]
    if len(sums):
        low, high = sums.min(), sums.max()
        notes.append(f"head + tail = {low:.2f} to {high:.2f} × the whole on the device")
    return ", ".join(notes)
