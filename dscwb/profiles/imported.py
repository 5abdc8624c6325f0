"""Profiles of numbers from elsewhere: a user's own table of heads and tails, or layer times.

TensorRT, TFLite, a power meter's log: whatever timed them, one row a measurement.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.files import read_file
from dscwb.profiles.placing import INPUT, LARGEST, OUTPUT, splits
from dscwb.profiles.records import NS, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.tools import LayerTimes, layer_times, scission_models
from dscwb.units import AS_SENT, DTYPE_BYTES, NUMBER, plain_text

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
LARGEST_TABLE_BYTES = 10**8
COLUMNS = ("split", "batch_size", "head_s", "tail_s", "payload_bytes")
WIRE = "uint8"
"""Name by which people say that payloads are bytes as they went over the wire."""


class Row(NamedTuple):
    """A measurement and its place in the file; the payload is that of the whole batch."""

    place: str
    split: str
    batch_size: int
    head_s: float
    tail_s: float
    payload_bytes: float


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
        rows, note = _of_layers(layers, graph, batch_size) if layers else (list(_table(text)), "")
        whole = {row.batch_size for row in rows if row.split == OUTPUT}
        for size in (row.batch_size for row in rows if row.batch_size not in whole):
            raise ValueError(
                f"no row for split 'output' at batch size {size}; add one whose head is the time "
                "of the whole model on the device, with tail and payload 0"
            )
        if graph is None:
            graph = _graph(rows, plain_text(model or path.stem), dtype)
        cuts = _cuts(rows, graph)
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
    passes = []
    for size in sorted({row.batch_size for row in rows}):
        repeats: dict[int, list[tuple[float, float]]] = {}
        for row in rows:
            if row.batch_size == size:
                repeats.setdefault(cuts[row.split], []).append((row.head_s, row.tail_s))
        separate = (
            Separate(cut, *np.rint(np.array(times).T / NS).astype(np.int64))
            for cut, times in sorted(repeats.items())
        )
        passes.append(Passes(size, none[:, 0], none, tuple(separate)))
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
    except UnicodeDecodeError as error:
        raise ProfileError(
            f"{path} is not a readable CSV file ({error}); save it as UTF-8."
        ) from None


def _of_layers(
    layers: LayerTimes, graph: ModelGraph | None, batch_size: int
) -> tuple[list[Row], str]:
    """A row for each cut and run, and how the layers were found in the graph."""
    layers, found, how = splits(layers, graph, batch_size)
    ends = np.insert(np.cumsum(layers.seconds, axis=1), 0, 0, axis=1)
    rows = [
        Row("its layers", name, batch_size, float(run[i]), float(run[-1] - run[i]), payload)
        for name, i, payload in found
        for run in ends
    ]
    return rows, f"layer times of {layers.tool.split(' ', 1)[1]}, {how}"


def _table(text: str) -> Iterator[Row]:
    """The rows of a user's own table, each once its cells are known to make sense."""
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
    columns = _columns(lines[0][0], header)
    for (place, _), record in zip(lines[1:], records, strict=True):
        if len(record) != len(header):
            hint = "numbers with decimal commas need semicolons between them" * (part == ",")
            raise ValueError(
                f"{place}: {len(record)} values for {len(header)} columns; "
                f"{hint or 'give one for each column'}"
            )
        split = plain_text(record[columns["split"][0]].strip())
        if not split:
            raise ValueError(f"{place}: split is empty; name the split")
        size, head_s, tail_s, payload = (
            _number(f"{place}: {header[i].strip()}", record[i].strip(), factor, part != ",")
            for i, factor in (columns[name] for name in COLUMNS[1:])
        )
        if size < 1 or size % 1:
            raise ValueError(f"{place}: batch_size is {size:g}; give a whole number from 1")
        ends = split.lower() in (INPUT, OUTPUT)
        yield Row(place, split.lower() if ends else split, int(size), head_s, tail_s, payload)


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


def _number(place: str, text: str, factor: float, commas: bool) -> float:
    """A cell in seconds, bytes or samples."""
    number = text.replace(",", ".", 1) if commas and "." not in text else text
    value = float(number) * factor if NUMBER.fullmatch(number) else math.nan
    if not value >= 0:
        raise ValueError(f"{place} is {text!r}; give a finite number, zero or more, such as 0.0125")
    if value > LARGEST:
        raise ValueError(f"{place} is {text!r}, more than anyone measures ({LARGEST:g})")
    return value


def _graph(rows: list[Row], model: str, dtype: str) -> ModelGraph:
    """A chain of one layer a split, with tensors of the stated payloads."""
    first = {row.split: row for row in reversed(rows)}
    names = dict.fromkeys(row.split for row in rows)
    if INPUT not in first:
        raise ValueError("no row for split 'input'; its payload is the model's input")
    specs = []
    for name in (INPUT, *(name for name in names if name not in (INPUT, OUTPUT)), OUTPUT):
        row = first[name]
        count = row.payload_bytes / row.batch_size / DTYPE_BYTES[dtype]
        if name != OUTPUT and (count < 1 or count % 1):
            raise ValueError(
                f"{row.place}: payload_bytes {row.payload_bytes:.12g} is not a whole number of "
                f"{dtype} elements for each of {row.batch_size} samples; give the bytes of the "
                "tensors themselves, or uint8 as dtype where they are bytes on the wire"
            )
        kind = AS_SENT if dtype == WIRE else dtype
        specs.append(TensorSpec(name, (1, int(count)), (0,), kind))
    layers = tuple(
        Layer("imported", spec.name, (before.name,), (spec,)) for before, spec in pairwise(specs)
    )
    blocks = tuple(Block(x.name, "imported", k) for k, x in enumerate(layers, start=1))
    return ModelGraph(model, (specs[0],), layers, (OUTPUT,), blocks)


def _cuts(rows: list[Row], graph: ModelGraph) -> dict[str, int]:
    """Index of the cut that each split means, once rows and payloads are known to agree with it."""
    known: dict[str, Cut] = {cut.name: cut for cut in all_cuts(graph)}
    if graph.blocks:
        known |= {cut.name: cut for cut in all_cuts(graph, "block")}
        known[graph.blocks[-1].name] = all_cuts(graph)[graph.blocks[-1].end]
    for place, split, size, _, _, payload in rows:
        if split not in known:
            raise ValueError(
                f"{place}: {graph.model!r} has no block or layer {split!r}; its blocks are "
                f"{', '.join(block.name for block in graph.blocks)}"
            )
        expected = sum(spec.nbytes(size) for spec in known[split].frontier)
        if not known[split].is_output and payload != expected:
            raise ValueError(
                f"{place}: payload_bytes is {payload:g}, but {expected:g} bytes cross {split!r} "
                f"of {graph.model!r} in its own dtype"
            )
    return {name: cut.index for name, cut in known.items()}


def _note(rows: list[Row], dtype: str) -> str:
    """Whether payloads can be encoded otherwise; by how much heads and tails leave the whole."""
    notes = ["payloads as they were sent, whatever the encoding"] if dtype == WIRE else []
    whole = {row.batch_size: row.head_s for row in rows if row.split == OUTPUT}
    sums = [
        (row.head_s + row.tail_s) / whole[row.batch_size]
        for row in rows
        if row.split not in (INPUT, OUTPUT) and whole[row.batch_size]
    ]
    if sums:
        notes.append(f"head + tail = {min(sums):.2f} to {max(sums):.2f} × the whole on the device")
    return ", ".join(notes)
