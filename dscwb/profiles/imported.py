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
from dscwb.profiles.records import NS, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.tools import INPUT, LARGEST, OUTPUT, LayerTimes, layer_times, scission_models
from dscwb.units import AS_SENT, DTYPE_BYTES, plain_text

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
LARGEST_TABLE_BYTES = 10**8
NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
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
        given = layers and _rows_of_layers(str(path), layers, graph, batch_size)
    except ValueError as error:
        raise ProfileError(f"{path}: {error}.") from None
    rows, note = given or (_rows(path, text), "")
    if graph is None:
        graph = _graph(path, rows, plain_text(model or path.stem), dtype)
    cuts = _cuts(rows, graph)
    sizes = sorted({row.batch_size for row in rows})
    passes = tuple(_passes(n, rows, cuts, len(graph.layers) + 1) for n in sizes)
    provenance = Provenance(
        "imported",
        plain_text(device),
        dtype=dtype,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol="layers/1" if given else "csv/1",
        note=note or _note(rows, dtype),
    )
    return Profile(graph, provenance, passes)


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


def _rows_of_layers(
    place: str, layers: LayerTimes, graph: ModelGraph | None, batch_size: int
) -> tuple[list[Row], str]:
    """A row for each cut and run, and how the layers were found in the graph."""
    layers, splits, how = layers.splits(graph, batch_size)
    ends = np.insert(np.cumsum(layers.seconds, axis=1), 0, 0, axis=1)
    rows = [
        Row(place, name, batch_size, float(run[i]), float(run[-1] - run[i]), size)
        for name, i, size in splits
        for run in ends
    ]
    return rows, f"layer times of {layers.tool.split(' ', 1)[1]}, {how}"


def _rows(path: Path, text: str) -> list[Row]:
    try:
        rows = list(_read(path, text))
    except csv.Error as error:
        raise ProfileError(f"{path} is not a readable CSV file ({error}).") from None
    if not rows:
        raise ProfileError(f"{path} has no rows below its header.")
    ends = {row.batch_size for row in rows if row.split == OUTPUT}
    for row in rows:
        if row.batch_size not in ends:
            raise ProfileError(
                f"{path}: no row for split 'output' at batch size {row.batch_size}; add one whose "
                "head is the time of the whole model on the device, with tail and payload 0."
            )
    return rows


def _read(path: Path, text: str) -> Iterator[Row]:
    lines = [
        (f"{path}, line {number}", line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return
    # The header holds no numbers, so that whatever parts its names parts the values.
    part = max(";\t|,", key=lines[0][1].count)
    header, *records = csv.reader(
        (line for _, line in lines), delimiter=part, skipinitialspace=True
    )
    if len(records) < len(lines) - 1:
        raise ProfileError(f"{path}: a quotation mark opens a cell of several lines; close it.")
    columns = _columns(lines[0][0], header)
    for (place, _), record in zip(lines[1:], records, strict=True):
        if len(record) != len(header):
            hint = "numbers with decimal commas need semicolons between them" * (part == ",")
            raise ProfileError(
                f"{place}: {len(record)} values for {len(header)} columns; "
                f"{hint or 'give one for each column'}."
            )
        split = plain_text(record[columns["split"][0]].strip())
        if not split:
            raise ProfileError(f"{place}: split is empty; name the split.")
        size, head, tail, payload = (
            _number(f"{place}: {header[i].strip()}", record[i].strip(), factor, part != ",")
            for i, factor in (columns[name] for name in COLUMNS[1:])
        )
        if size < 1 or size != int(size):
            raise ProfileError(f"{place}: batch_size is {size:g}; give a whole number from 1.")
        ends = split.lower() in (INPUT, OUTPUT)
        yield Row(place, split.lower() if ends else split, int(size), head, tail, payload)


def _columns(place: str, header: list[str]) -> dict[str, tuple[int, float]]:
    """Position of each of `COLUMNS`, and the factor that brings its numbers to seconds."""
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in COLUMNS}
    for i, title in enumerate(header):
        name, factor = re.sub(r"[^\wµμ]+", "_", title.strip().lower()).strip("_"), 1.0
        timed = re.fullmatch(r"(head|tail)_(\w+)", name)
        if timed and timed[2] in SECONDS:
            name, factor = f"{timed[1]}_s", SECONDS[timed[2]]
        if name in found:
            found[name].append((i, factor))
    if missing := [name for name in COLUMNS if not found[name]]:
        raise ProfileError(
            f"{place}: no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}, "
            "and times may be head_ms and tail_ms, or in us or ns. Known tools' layer times are "
            "read as they are: trtexec --exportProfile, TFLite's benchmark_model, ONNX Runtime, "
            "torch.profiler, Scission."
        )
    for name, places in found.items():
        if len(places) > 1:
            raise ProfileError(f"{place}: {name} stands there twice; leave one of them out.")
    return {name: places[0] for name, places in found.items()}


def _number(place: str, text: str, factor: float, commas: bool) -> float:
    """A cell in seconds, bytes or samples; `float` also reads ``1_000`` and other scripts."""
    if commas and "." not in text:
        text = text.replace(",", ".", 1)
    value = float(text) * factor if NUMBER.fullmatch(text) else math.nan
    if not value >= 0:
        raise ProfileError(
            f"{place} is {text!r}; give a finite number, zero or more, such as 0.0125."
        )
    if value > LARGEST:
        raise ProfileError(f"{place} is {text!r}, more than anyone measures ({LARGEST:g}).")
    return value


def _graph(path: Path, rows: list[Row], model: str, dtype: str) -> ModelGraph:
    """A chain of one layer a split, with tensors of the stated payloads."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.split, row)
    if INPUT not in first:
        raise ProfileError(f"{path}: no row for split 'input'; its payload is the model's input.")
    inner = [name for name in first if name not in (INPUT, OUTPUT)]
    kind = AS_SENT if dtype == WIRE else dtype
    specs = [
        TensorSpec(name, (1, _elements(first[name], dtype)), (0,), kind)
        for name in (INPUT, *inner, OUTPUT)
    ]
    layers = tuple(
        Layer("imported", spec.name, (before.name,), (spec,)) for before, spec in pairwise(specs)
    )
    blocks = tuple(Block(name, "imported", k) for k, name in enumerate((*inner, OUTPUT), start=1))
    return ModelGraph(model, (specs[0],), layers, (OUTPUT,), blocks)


def _elements(row: Row, dtype: str) -> int:
    """Elements of one sample that cross the split."""
    count = row.payload_bytes / row.batch_size / DTYPE_BYTES[dtype]
    if row.split != OUTPUT and (count < 1 or count != int(count)):
        raise ProfileError(
            f"{row.place}: payload_bytes {row.payload_bytes:.12g} is not a whole number of {dtype} "
            f"elements for each of {row.batch_size} samples; give the bytes of the tensors "
            "themselves, or uint8 as dtype where they are bytes on the wire."
        )
    return int(count)


def _cuts(rows: list[Row], graph: ModelGraph) -> dict[str, int]:
    """Index of the cut that each split's name means."""
    known: dict[str, Cut] = {cut.name: cut for cut in all_cuts(graph)}
    if graph.blocks:
        known |= {cut.name: cut for cut in all_cuts(graph, "block")}
        known[graph.blocks[-1].name] = all_cuts(graph)[graph.blocks[-1].end]
    for row in rows:
        if row.split not in known:
            raise ProfileError(
                f"{row.place}: {graph.model!r} has no block or layer {row.split!r}; its blocks are "
                f"{', '.join(block.name for block in graph.blocks)}."
            )
        cut = known[row.split]
        expected = sum(spec.nbytes(row.batch_size) for spec in cut.frontier)
        if not cut.is_output and row.payload_bytes != expected:
            raise ProfileError(
                f"{row.place}: payload_bytes is {row.payload_bytes:g}, but {expected:g} bytes "
                f"cross {row.split!r} of {graph.model!r} in its own dtype."
            )
    return {name: cut.index for name, cut in known.items()}


def _passes(batch_size: int, rows: list[Row], cuts: dict[str, int], number: int) -> Passes:
    repeats: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row.batch_size == batch_size:
            repeats.setdefault(cuts[row.split], []).append((row.head_s, row.tail_s))
    separate = tuple(
        Separate(cut, *np.rint(np.array(times).T / NS).astype(np.int64))
        for cut, times in sorted(repeats.items())
    )
    none = np.zeros((0, number), dtype=np.int64)
    return Passes(batch_size, none[:, 0], none, separate)


def _note(rows: list[Row], dtype: str) -> str:
    """Whether payloads can be encoded otherwise; by how much heads and tails leave the whole."""
    notes = ["payloads as they were sent, whatever the encoding"] if dtype == WIRE else []
    whole = {row.batch_size: row.head_s for row in rows if row.split == OUTPUT}
    sums = [
        (row.head_s + row.tail_s) / whole[row.batch_size]
        for row in rows
        if row.split not in (INPUT, OUTPUT) and whole.get(row.batch_size)
    ]
    if sums:
        notes.append(f"head + tail = {min(sums):.2f} to {max(sums):.2f} × the whole on the device")
    return ", ".join(notes)
