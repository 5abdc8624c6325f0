"""Profile files: one self-describing, checksummed Parquet file holds a `Profile`, one row a pass.

It opens with ``pandas.read_parquet`` too. What is read is checked before it is believed.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from dataclasses import asdict
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dscwb.graph import ModelGraph
from dscwb.profiles.checks import faults_of_graph
from dscwb.profiles.passes import HALVES, NOT_STAMPED, Passes, Separate
from dscwb.profiles.records import Profile, ProfileError, Provenance
from dscwb.profiles.transfers import Transfers
from dscwb.units import AS_SENT, format_bytes, plain_text
from dscwb.writing import atomically, seal_holds, sealed_parquet

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1
SUFFIX = ".parquet"
LARGEST_FILE_BYTES = 10**9
LARGEST_CONTENT_BYTES = 10**9
"""Of what a file unpacks to, eight bytes a number; the largest shipped profile has 5 MB."""
LARGEST_GRAPH_BYTES = 10**8
"""Of a graph as JSON; 1,023 layers of tf_efficientnetv2_l take 0.3 MB."""

COPIES = ("sizes_bytes", "to_host_ns", "to_device_ns")
ABOUT, GRAPH = b"dscwb", b"dscwb.graph.json.zlib.base64"
FORMAT = (
    "dscwb profile: one row a pass; stamps_ns[k] is the time from the pass's start to the end of "
    "its k-th layer, -1 where not taken; kind is plain, stamped, oom, or for a head and tail run "
    "apart head, tail, whole (the model next to them)"
)
FORMAT_OF_COPIES = "copies between accelerator and host: times in ns by size and repeat"


def save_profile(profile: Profile, path: str | os.PathLike[str]) -> Path:
    """Write a profile to one Parquet file: it is there whole, or as before.

    Returns:
        The path written.
    """
    path = Path(path)
    with atomically(path) as file:
        file.write_bytes(_parquet(_table(profile)))
    return path


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile back, exactly as it was saved.

    Only control characters in names are escaped, and ``<`` and ``>`` replaced, as they would reach
    terminals and figures.

    Raises:
        ProfileError: No such file, not a profile, damaged, or written by a newer dscwb.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    data = read_file(path)
    try:
        _check_seal(data)
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_size(file.metadata)
        return _profile(file.read(columns=list(_columns())))
    except (pa.ArrowException, OSError) as error:
        raise ProfileError(f"{path} cannot be read: {_first_line(error)}; copy it anew.") from None
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None


def read_file(path: Path, at_most: int = LARGEST_FILE_BYTES) -> bytes:
    """All of a file, which is refused before it is read where it is too large, or never ends.

    Raises:
        ProfileError: No such file, a folder, a pipe or a device, more than `at_most` bytes.
    """
    try:
        if path.is_dir():
            raise ProfileError(f"{path}: is a folder; name one of its files.")
        if path.exists() and not path.is_file():
            raise ProfileError(
                f"{path}: is no ordinary file, such as a pipe; write its content to a file."
            )
        with path.open("rb") as file:  # what the system makes as it is read has no size beforehand
            data = file.read(at_most + 1) if path.stat().st_size <= at_most else None
    except FileNotFoundError:
        raise ProfileError(
            f"{path}: no such file; look at its name, or make a profile with `dscwb profile`."
        ) from None
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {_first_line(error)}; copy it anew.") from None
    if data is None or len(data) > at_most:
        raise ProfileError(f"{path}: has more than {format_bytes(at_most)}, the most that is read.")
    return data


def _parquet(table: pa.Table) -> bytes:
    return sealed_parquet(
        table,
        compression="zstd",
        compression_level=9,
        use_dictionary=["kind"],
        # Differences of successive stamps are small; two bytes a stamp instead of eight.
        column_encoding={
            "time_ns": "DELTA_BINARY_PACKED",
            "stamps_ns.list.element": "DELTA_BINARY_PACKED",
        },
    )


def _check_seal(data: bytes) -> None:
    holds = seal_holds(data)
    if holds is None:
        raise ProfileError(
            "not a dscwb profile, or only a part of one; `dscwb profile MODEL -o FILE` makes one, "
            "`dscwb import` reads other formats."
        )
    if not holds:
        raise ProfileError("checksum does not match, the file is damaged; copy it anew.")


def _check_size(metadata: pa.FileMetaData) -> None:
    """Refuse a small file that unpacks to gigabytes."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(metadata.num_columns)]
    size = sum(max(one.total_uncompressed_size, 8 * one.num_values) for one in columns)
    if size > LARGEST_CONTENT_BYTES:
        raise ProfileError(
            f"unpacks to {format_bytes(size)}; at most {format_bytes(LARGEST_CONTENT_BYTES)} are "
            "read."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _columns() -> dict[str, pa.DataType]:
    import pyarrow as pa

    kinds = dict.fromkeys(("batch_size", "round", "kind", "cut", "time_ns"), pa.int64())
    return kinds | {"kind": pa.string(), "stamps_ns": pa.list_(pa.int64())}


def _table(profile: Profile) -> pa.Table:
    """One row a pass, with the rest of the profile in the header."""
    import pyarrow as pa

    about: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "model": profile.graph.model,
        "fingerprint": profile.graph.fingerprint(),
        "time_scale": profile.time_scale,
        "provenance": asdict(profile.provenance),
    }
    if (copies := profile.transfers) is not None:
        about["transfers"] = {name: getattr(copies, name).tolist() for name in COPIES}
        about["transfers"] |= {"format": FORMAT_OF_COPIES, "host_memory": copies.host_memory}
    graph = json.dumps(asdict(profile.graph), separators=(",", ":")).encode()
    header = {
        ABOUT: json.dumps(about).encode(),
        GRAPH: base64.b64encode(zlib.compress(graph, 9)),
    }
    rows: list[tuple[Any, ...]] = []
    for p in profile.passes:
        rows += [(p.batch_size, 0, "oom")] * p.oom
        for (kind, cut), times in p.times().items():
            for i, time in enumerate(times):
                ns = (time[-1], time) if kind == "stamped" else (time,)
                rows.append((p.batch_size, i, kind, cut, *ns))
    columns = _columns()
    records = [dict(zip(columns, row, strict=False)) for row in rows]  # null in what is left
    return pa.Table.from_pylist(records, schema=pa.schema(list(columns.items()), metadata=header))


def _profile(table: pa.Table) -> Profile:
    """Header and rows become records, their types checked."""
    from pydantic import PositiveInt

    try:
        for name, kind in _columns().items():
            # NumPy would turn NaN, fractions and dates into other numbers without a word.
            found = table.schema.field(name).type if name in table.column_names else "missing"
            if found != kind:
                raise ProfileError(f"its column {name} is {found}, not {kind}; measure it again.")
        header = table.schema.metadata
        about = _plain(json.loads(header[ABOUT]))
        if (schema := _checked(PositiveInt).validate_python(about["schema"])) > SCHEMA_VERSION:
            raise ProfileError(
                f"written with schema {schema}, this dscwb reads up to {SCHEMA_VERSION}; upgrade "
                "dscwb."
            )
        graph = _graph(header[GRAPH])
        provenance = _checked(Provenance).validate_python(about["provenance"])
        copies = None
        if (found := about.get("transfers")) is not None:
            times = {name: np.array(found[name], dtype=np.int64) for name in COPIES}
            copies = Transfers(**times, host_memory=found["host_memory"])
        passes = _passes(table, graph, waited=provenance.gap_s > 0)
        return Profile(graph, provenance, passes, about["time_scale"], copies)
    except ProfileError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise ProfileError(
            f"its content is not a profile ({_first_line(error)}); copy it anew or measure again."
        ) from None


@cache  # pydantic takes as long to make one as to check a graph with it
def _checked(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    """The same with every name fit to be shown."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return plain_text(value) if isinstance(value, str) else value


@lru_cache(maxsize=64)  # files of one model on several machines hold the same graph, to the byte
def _graph(packed: bytes) -> ModelGraph:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(base64.b64decode(packed), LARGEST_GRAPH_BYTES)
    if unpacker.unconsumed_tail:
        raise ProfileError(
            f"its graph unpacks to more than {format_bytes(LARGEST_GRAPH_BYTES)}, the most that is "
            "read."
        )
    if re.search(rb"[\\<>\x7f-\xff]", text):  # seldom, and it takes longer than the rest
        text = json.dumps(_plain(json.loads(text))).encode()
    graph: ModelGraph = _checked(ModelGraph).validate_json(text)
    if graph.layers and graph.layers[0].op == "imported" and graph.inputs[0].dtype == "uint8":
        # Until 0.1 payloads measured on the wire had the element type of camera frames.
        again = text.replace(b'"dtype":"uint8"', f'"dtype":"{AS_SENT}"'.encode())
        graph = _checked(ModelGraph).validate_json(again)
    for reason in faults_of_graph(graph):
        raise ProfileError(f"its graph makes no sense: {reason}; capture and measure again.")
    return graph


def _passes(table: pa.Table, graph: ModelGraph, waited: bool) -> tuple[Passes, ...]:
    """The rows of each batch size as one record."""
    sizes, cut, time_ns = (_integers(table.column(n)) for n in ("batch_size", "cut", "time_ns"))
    kind = table.column("kind").to_numpy()
    if unknown := {*kind} - {"plain", "stamped", "oom", *HALVES}:
        raise ProfileError(
            f"a pass of the kind {unknown.pop()!r}, which is none; measure it again."
        )
    cuts, column = len(graph.layers) + 1, table.column("stamps_ns").combine_chunks()
    lengths, elements = _integers(column.value_lengths(), 0), _integers(column.flatten())
    if np.any(lengths[kind == "stamped"] != cuts) or lengths.sum() != elements.size:
        raise ProfileError(f"a pass without one stamp for each of the {cuts} cuts.")
    stamps = np.zeros((len(kind), cuts), dtype=np.int64)
    stamps[kind == "stamped"] = elements.reshape(-1, cuts)
    passes = []
    for size in np.unique(sizes):
        rows = {name: (sizes == size) & (kind == name) for name in ("plain", "stamped", *HALVES)}
        separate = (
            Separate(int(k), *(time_ns[rows[name] & (cut == k)] for name in HALVES))
            for k in dict.fromkeys(cut[rows["head"]])
        )
        oom = bool(np.any((sizes == size) & (kind == "oom")))
        plain_ns, stamped_ns = time_ns[rows["plain"]], stamps[rows["stamped"]]
        passes.append(Passes(int(size), plain_ns, stamped_ns, tuple(separate), oom, waited))
    return tuple(passes)


def _integers(column: Any, missing: int = NOT_STAMPED) -> NDArray[np.int64]:
    """Integers of an Arrow column, with another in place of null."""
    return np.asarray(column.fill_null(missing).to_numpy(), dtype="<i8")
