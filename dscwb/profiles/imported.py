"""Numbers from elsewhere: a CSV of a user's own measurements goes in, a `Profile` comes out.

TensorRT, TFLite, a power meter's log: whatever timed heads and tails, one row a measurement.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.files import read_file
from dscwb.profiles.records import NS, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.tools import LayerTimes, layer_times, of_one_run, places, scission_models
from dscwb.units import AS_SENT, DTYPE_BYTES, plain_text

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
LARGEST_TABLE_BYTES = 10**8
LARGEST = 9e9
"""Of seconds, samples and bytes of one sample's payload: 285 years in nanoseconds fit 64 bits."""
NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
COLUMNS = ("split", "batch_size", "head_s", "tail_s", "payload_bytes")
INPUT, OUTPUT = "input", "output"
"""Names of the rows for full offloading (nothing in the head) and no offloading."""
WIRE = "uint8"
"""Name by which people say that payloads are bytes as they went over the wire."""


@dataclass(frozen=True)
class _Row:
    """One line of the file; times in seconds, payload in bytes for the whole batch."""

    line: int
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
        protocol, notes = "csv/1", ""
        if layers is None:
            rows = _read(path, text)
        else:
            rows, notes = _of_layers(layers, graph, batch_size)
            protocol = "layers/1"
    except ProfileError:
        raise
    except ValueError as error:
        raise ProfileError(f"{path}: {error}.") from None
    if all(row.split != OUTPUT for row in rows):
        _check_ends(path, rows)
    if graph is None:
        graph = _graph(path, rows, plain_text(model or path.stem), dtype)
    cuts = _cuts(path, rows, graph)
    _check_ends(path, rows)
    passes = tuple(
        _passes(size, [row for row in rows if row.batch_size == size], cuts, len(graph.layers) + 1)
        for size in sorted({row.batch_size for row in rows})
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    note = notes or _note(rows, dtype)
    provenance = Provenance(
        "imported", plain_text(device), dtype=dtype, date=date, protocol=protocol, note=note
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


def _of_layers(
    layers: LayerTimes, graph: ModelGraph | None, batch_size: int
) -> tuple[list[_Row], str]:
    """Rows of a cut each, and what to know of them.

    Raises:
        ValueError: The payloads are known to nobody, or the graph is of another model.
    """
    if graph is not None:
        layers = of_one_run(layers, graph)
    if not layers.names or not (layers.seconds.sum(axis=1) > 0).all():
        raise ValueError(f"it is {layers.tool} without layers; switch the profiling of layers on")
    ends = np.concatenate(
        (np.zeros((len(layers.seconds), 1)), np.cumsum(layers.seconds, axis=1)), axis=1
    )
    if layers.payload_bytes is not None:
        # The first layer hands the input on. Sizes in MB with few digits are rounded to elements.
        element = DTYPE_BYTES["float32"] * batch_size
        sent = [float(element * max(1, round(size / element))) for size in layers.payload_bytes]
        number = len(layers.names)
        at: list[tuple[str, int, float]] = [(INPUT, 0, sent[0])] + [
            (layers.names[i], i + 1, sent[i]) for i in range(1, number - 1)
        ]
        at.append((OUTPUT, number, 0.0))
        how = layers.note
    elif graph is None:
        raise ValueError(
            f"it is {layers.tool}, without payloads: name the model whose graph knows them, with "
            "--model NAME, or graph=dscwb.capture(model, ...).graph"
        )
    else:
        found, how = places(layers, graph, batch_size)
        cuts = all_cuts(graph)
        at = [
            (cuts[k].name, i, float(sum(s.nbytes(batch_size) for s in cuts[k].frontier)))
            for k, i in sorted(found.items())
        ]
        if len(at) < 3:
            raise ValueError(
                f"it is {layers.tool}, and no cut of {graph.model!r} lies between its layers"
            )
    rows = [
        _Row(0, name, batch_size, float(run[i]), float(run[-1] - run[i]), size)
        for name, i, size in at
        for run in ends
    ]
    return rows, f"layer times of {layers.tool.split(' ', 1)[1]}, {how}"


def _read(path: Path, text: str) -> list[_Row]:
    try:
        rows = list(_rows(path, text))
    except csv.Error as error:
        raise ProfileError(f"{path} is not a readable CSV file ({error}).") from None
    if not rows:
        raise ProfileError(f"{path} has no rows below its header.")
    return rows


def _check_ends(path: Path, rows: list[_Row]) -> None:
    ends = {row.batch_size for row in rows if row.split == OUTPUT}
    for row in rows:
        if row.batch_size not in ends:
            raise ProfileError(
                f"{path}: no row for split 'output' at batch size {row.batch_size}; add one whose "
                "head is the time of the whole model on the device, with tail and payload 0."
            )


def _rows(path: Path, text: str) -> Iterator[_Row]:
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        return
    # The header holds no numbers, so that whatever parts its names parts the values.
    part = max(";\t|,", key=lines[0][1].count)
    records = csv.reader((line for _, line in lines), delimiter=part, skipinitialspace=True)
    header = next(records)
    columns = _columns(f"{path}, line {lines[0][0]}", header)
    for (line, _), record in zip(lines[1:], records, strict=True):
        place = f"{path}, line {line}"
        if len(record) != len(header):
            raise ProfileError(
                f"{place}: {len(record)} values for {len(header)} columns"
                + "; numbers with decimal commas need semicolons between them." * (part == ",")
                + "; give one for each column." * (part != ",")
            )
        cells = {name: record[i].strip() for name, (i, _) in columns.items()}
        split = plain_text(cells["split"])
        if not split:
            raise ProfileError(f"{place}: split is empty; name the split.")
        if split.lower() in (INPUT, OUTPUT):
            split = split.lower()
        head, tail, payload, size = (
            _number(place, header[columns[name][0]].strip(), cells[name], part, columns[name][1])
            for name in ("head_s", "tail_s", "payload_bytes", "batch_size")
        )
        if size < 1 or size != int(size):
            raise ProfileError(f"{place}: batch_size is {size:g}; give a whole number from 1.")
        yield _Row(line, split, int(size), head, tail, payload)


def _columns(place: str, header: list[str]) -> dict[str, tuple[int, float]]:
    """Position of each of `COLUMNS`, and the factor that brings its numbers to seconds."""
    names = [re.sub(r"[^\wµμ]+", "_", name.strip().lower()).strip("_") for name in header]
    found: dict[str, list[tuple[int, float]]] = {}
    for i, name in enumerate(names):
        timed = re.fullmatch(r"(head|tail)_(s|ms|us|µs|μs|ns)", name)
        column, factor = (f"{timed[1]}_s", SECONDS[timed[2]]) if timed else (name, 1.0)
        found.setdefault(column, []).append((i, factor))
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise ProfileError(
            f"{place}: no column {', '.join(missing)}; the header must name {', '.join(COLUMNS)}, "
            "and times may be head_ms and tail_ms, or in us or ns. Known tools' layer times are "
            "read as they are: trtexec --exportProfile, TFLite's benchmark_model, ONNX Runtime, "
            "torch.profiler, Scission."
        )
    for name in COLUMNS:
        if len(found[name]) > 1:
            raise ProfileError(f"{place}: {name} stands there twice; leave one of them out.")
    return {name: found[name][0] for name in COLUMNS}


def _number(place: str, name: str, text: str, part: str, factor: float) -> float:
    """A cell in seconds, bytes or samples; `float` also reads ``1_000`` and other scripts."""
    if part != "," and "." not in text:
        text = text.replace(",", ".", 1)
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not value >= 0:
        raise ProfileError(
            f"{place}: {name} is {text!r}; give a finite number, zero or more, such as 0.0125."
        )
    if value * factor > LARGEST:
        raise ProfileError(f"{place}: {name} is {text!r}, more than anyone measures ({LARGEST:g}).")
    return value * factor


def _graph(path: Path, rows: list[_Row], model: str, dtype: str) -> ModelGraph:
    """A chain of one layer a split, with tensors of the stated payloads."""
    elements: dict[str, int] = {}
    for row in rows:
        count = row.payload_bytes / row.batch_size / DTYPE_BYTES[dtype]
        if row.split != OUTPUT and (count < 1 or count != int(count)):
            raise ProfileError(
                f"{path}, line {row.line}: payload_bytes {row.payload_bytes:.12g} is not a whole "
                f"number of {dtype} elements for each of {row.batch_size} samples; give the bytes "
                "of the tensors themselves, or uint8 as dtype where they are bytes on the wire."
            )
        if elements.setdefault(row.split, int(count)) != int(count) and row.split != OUTPUT:
            raise ProfileError(
                f"{path}, line {row.line}: {row.split!r} has {int(count)} elements a sample here "
                f"and {elements[row.split]} further up."
            )
    if INPUT not in elements:
        raise ProfileError(f"{path}: no row for split 'input'; its payload is the model's input.")
    names = [name for name in elements if name not in (INPUT, OUTPUT)] + [OUTPUT]
    kind = AS_SENT if dtype == WIRE else dtype
    specs = [TensorSpec(name, (1, elements.get(name, 1)), (0,), kind) for name in (INPUT, *names)]
    layers = tuple(
        Layer("imported", spec.name, (before.name,), (spec,)) for before, spec in pairwise(specs)
    )
    blocks = tuple(Block(name, "imported", k) for k, name in enumerate(names, start=1))
    return ModelGraph(model, (specs[0],), layers, (OUTPUT,), blocks)


def _cuts(path: Path, rows: list[_Row], graph: ModelGraph) -> dict[str, int]:
    """Index of the cut that each split's name means."""
    known: dict[str, Cut] = {cut.name: cut for cut in all_cuts(graph)}
    if graph.blocks:
        known |= {cut.name: cut for cut in all_cuts(graph, "block")}
        known[graph.blocks[-1].name] = all_cuts(graph)[graph.blocks[-1].end]
    for row in rows:
        if row.split not in known:
            raise ProfileError(
                f"{path}, line {row.line}: {graph.model!r} has no block or layer {row.split!r}; "
                f"its blocks are {', '.join(block.name for block in graph.blocks)}."
            )
        cut = known[row.split]
        expected = sum(spec.nbytes(row.batch_size) for spec in cut.frontier)
        if not cut.is_output and row.payload_bytes != expected:
            raise ProfileError(
                f"{path}, line {row.line}: payload_bytes is {row.payload_bytes:g}, but "
                f"{expected:g} bytes cross {row.split!r} of {graph.model!r} in its own dtype."
            )
    return {name: cut.index for name, cut in known.items()}


def _passes(batch_size: int, rows: list[_Row], cuts: dict[str, int], number: int) -> Passes:
    repeats: dict[int, list[_Row]] = {}
    for row in rows:
        repeats.setdefault(cuts[row.split], []).append(row)
    separate = tuple(
        Separate(
            cut,
            np.array([round(row.head_s / NS) for row in repeats[cut]], dtype=np.int64),
            np.array([round(row.tail_s / NS) for row in repeats[cut]], dtype=np.int64),
        )
        for cut in sorted(repeats)
    )
    none = np.zeros((0, number), dtype=np.int64)
    return Passes(batch_size, none[:, 0], none, separate)


def _note(rows: list[_Row], dtype: str) -> str:
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
