"""Numbers from elsewhere: a CSV of a user's own measurements goes in, a `Profile` comes out.

TensorRT, TFLite, a power meter's log: whatever timed heads and tails, one row a measurement.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.records import NS, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.units import AS_SENT, DTYPE_BYTES

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
) -> Profile:
    """Read measurements made by other means; their origin is ``imported`` for ever.

    The file has a header and the columns ``split``, ``batch_size``, ``head_s``, ``tail_s`` and
    ``payload_bytes`` (for the whole batch, in `dtype`); further columns are left alone. Splits are
    listed from input to output; ``input`` is full offloading, ``output`` no offloading. Rows that
    repeat a split and batch size are repeats of one measurement. Heads may come from one machine
    and tails from another; they need not add up: nothing is adjusted, the note says by how much.

    Args:
        path: The CSV file, UTF-8.
        device: What measured it, for captions: ``Jetson Orin Nano, TensorRT 10``.
        graph: The captured model, if there is one; splits are then names of its blocks or layers
            and payloads must agree with it. Otherwise a graph is made from the file.
        model: Name of the model where there is no graph; the file's name if left out.
        dtype: Element type in which `payload_bytes` is counted, so that a study can ask for other
            encodings of it. Bytes as they really went over the wire (quantised, compressed, with
            headers) are ``uint8``: no encoding changes them, and the note says so.

    Raises:
        ProfileError: Names the line and what is wrong with it.
    """
    path = Path(path)
    rows = _read(path)
    if dtype not in DTYPE_BYTES:
        raise ProfileError(f"Unknown dtype {dtype!r}; choose one of {', '.join(DTYPE_BYTES)}.")
    if graph is None:
        graph = _graph(path, rows, model or path.stem, dtype)
    cuts = _cuts(path, rows, graph)
    passes = tuple(
        _passes(size, [row for row in rows if row.batch_size == size], cuts, len(graph.layers) + 1)
        for size in sorted({row.batch_size for row in rows})
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = Provenance(
        "imported", device, dtype=dtype, date=date, protocol="csv/1", note=_note(rows, dtype)
    )
    return Profile(graph, provenance, passes)


def _read(path: Path) -> list[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(path, file))
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(
            f"{path} is not a readable CSV file ({error}); save it as UTF-8."
        ) from None
    if not rows:
        raise ProfileError(f"{path} has no rows below its header.")
    return rows


def _rows(path: Path, file: TextIO) -> Iterator[_Row]:
    reader = csv.DictReader(file, skipinitialspace=True)
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ProfileError(
            f"{path}, line 1: no column {', '.join(missing)}; the header must name "
            f"{', '.join(COLUMNS)}."
        )
    for record in reader:
        place = f"{path}, line {reader.line_num}"
        split = (record["split"] or "").strip()
        if not split:
            raise ProfileError(f"{place}: split is empty; name the split.")
        size = _number(place, "batch_size", record["batch_size"])
        if size < 1 or size != int(size):
            raise ProfileError(f"{place}: batch_size is {size:g}; give a whole number from 1.")
        times = [_number(place, name, record[name]) for name in ("head_s", "tail_s")]
        payload = _number(place, "payload_bytes", record["payload_bytes"])
        yield _Row(reader.line_num, split, int(size), times[0], times[1], payload)


def _number(place: str, name: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ProfileError(f"{place}: {name} is {text!r}; give a finite number, zero or more.")
    return value


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
