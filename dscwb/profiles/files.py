"""Profile files: a `Profile` goes in or comes out of one self-describing, checksummed Parquet file.

A file is written whole or not at all, and opens with ``pandas.read_parquet``: one row a pass.
"""

from __future__ import annotations

import base64
import hashlib
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
from dscwb.profiles.records import (
    NOT_STAMPED,
    Nanoseconds,
    Passes,
    Profile,
    ProfileError,
    Provenance,
    Separate,
)
from dscwb.profiles.transfers import Transfers
from dscwb.units import AS_SENT
from dscwb.writing import atomically

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1
SUFFIX = ".parquet"


# The seal is the SHA-256 of the file with the seal's own digits as zeros. It is checked before
# anything parses the file, so that a damaged one never reaches the Parquet reader.
_SEAL = re.compile(rb"sha256:([0-9a-f]{64})")
_UNSEALED = b"sha256:" + b"0" * 64


def save_profile(profile: Profile, path: str | os.PathLike[str]) -> Path:
    """Write a profile to one Parquet file: it is there whole, or as before.

    Returns:
        The path written.
    """
    path = Path(path)
    with atomically(path) as file:
        file.write_bytes(_sealed(_parquet(_table(profile))))
    return path


def load_profile(path: str | os.PathLike[str]) -> Profile:
    """Read a profile back, exactly as it was saved.

    Raises:
        ProfileError: No such file, not a profile, damaged, or written by a newer dscwb.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        data = path.read_bytes()
        _check_seal(data)
        return _profile(pq.ParquetFile(pa.BufferReader(data)).read())
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ProfileError(f"{path}: no such file; `dscwb profile` makes one.") from None
    except (pa.ArrowException, OSError) as error:
        raise ProfileError(f"{path} cannot be read: {_first_line(error)}; copy it anew.") from None


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression="zstd",
        compression_level=9,
        use_dictionary=["kind"],
        # Differences of successive stamps are small; two bytes a stamp instead of eight.
        column_encoding={
            "time_ns": "DELTA_BINARY_PACKED",
            "stamps_ns.list.element": "DELTA_BINARY_PACKED",
        },
        # The Arrow schema would repeat the metadata in base64.
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**table.schema.metadata, b"dscwb.seal": _UNSEALED})
    data: bytes = buffer.getvalue().to_pybytes()
    return data


def _sealed(data: bytes) -> bytes:
    return data.replace(_UNSEALED, b"sha256:" + hashlib.sha256(data).hexdigest().encode())


def _check_seal(data: bytes) -> None:
    seals = _SEAL.findall(data)
    if len(seals) != 1:
        raise ProfileError(
            "not a dscwb profile, or only a part of one; `dscwb profile MODEL -o FILE` makes one, "
            "`dscwb import` reads other formats."
        )
    if hashlib.sha256(_SEAL.sub(_UNSEALED, data)).hexdigest().encode() != seals[0]:
        raise ProfileError("checksum does not match, the file is damaged; copy it anew.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _header(profile: Profile) -> dict[bytes, bytes]:
    about: dict[str, Any] = {
        "format": "dscwb profile: one row a pass; stamps_ns[k] is the time from the pass's start "
        "to the end of its k-th layer, -1 where not taken; kind is plain, stamped, oom, or for a "
        "head and tail run apart head, tail, whole (the model next to them)",
        "schema": SCHEMA_VERSION,
        "model": profile.graph.model,
        "fingerprint": profile.graph.fingerprint(),
        "time_scale": profile.time_scale,
        "provenance": asdict(profile.provenance),
    }
    if profile.transfers is not None:
        about["transfers"] = _copies(profile.transfers)
    graph = json.dumps(asdict(profile.graph), separators=(",", ":")).encode()
    return {
        b"dscwb": json.dumps(about).encode(),
        b"dscwb.graph.json.zlib.base64": base64.b64encode(zlib.compress(graph, 9)),
    }


def _copies(transfers: Transfers) -> dict[str, Any]:
    """Raw times of the copies to and from an accelerator, few beside those of the passes."""
    return {
        "format": "copies between accelerator and host: times in ns by size and repeat",
        "sizes_bytes": transfers.sizes_bytes.tolist(),
        "to_host_ns": transfers.to_host_ns.tolist(),
        "to_device_ns": transfers.to_device_ns.tolist(),
        "host_memory": transfers.host_memory,
    }


def _transfers(about: dict[str, Any]) -> Transfers | None:
    copies = about.get("transfers")
    if copies is None:
        return None
    sizes, to_host, to_device = (
        np.array(copies[name], dtype=np.int64)
        for name in ("sizes_bytes", "to_host_ns", "to_device_ns")
    )
    return Transfers(sizes, to_host, to_device, copies["host_memory"])


def _columns() -> dict[str, pa.DataType]:
    import pyarrow as pa

    integer = pa.int64()
    return {
        "batch_size": integer,
        "round": integer,
        "kind": pa.string(),
        "cut": integer,
        "time_ns": integer,
        "stamps_ns": pa.list_(integer),
    }


def _table(profile: Profile) -> pa.Table:
    """One row a pass."""
    import pyarrow as pa

    rows: list[tuple[int, int, str, int | None, int | None, Nanoseconds | None]] = []
    for p in profile.passes:
        if p.oom:
            rows.append((p.batch_size, 0, "oom", None, None, None))
        for i, plain in enumerate(p.plain_ns):
            rows.append((p.batch_size, i, "plain", None, int(plain), None))
            rows.append(
                (p.batch_size, i, "stamped", None, int(p.stamped_ns[i, -1]), p.stamped_ns[i])
            )
        for one in p.separate:
            separate = (("head", one.head_ns), ("tail", one.tail_ns), ("whole", one.whole_ns))
            for kind, times in separate:
                rows += [
                    (p.batch_size, i, kind, one.cut, int(t), None) for i, t in enumerate(times)
                ]
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [[] for _ in range(6)]
    kinds = _columns()
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds.values(), strict=True)]
    return pa.table(arrays, names=list(kinds)).replace_schema_metadata(_header(profile))


def _integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of integers, `NOT_STAMPED` for null."""
    column = table.column(name).combine_chunks().fill_null(NOT_STAMPED)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype="<i8")


def _lists(table: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A column of lists as their lengths (0 for null) and all their elements in a row."""
    column = table.column(name).combine_chunks()
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    elements = column.flatten().fill_null(NOT_STAMPED).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, dtype="<i8"), np.asarray(elements, dtype="<i8")


def _profile(table: pa.Table) -> Profile:
    """A profile from its table."""
    header = dict(table.schema.metadata or {})
    schema = _schema(header.get(b"dscwb", b""))
    if schema > SCHEMA_VERSION:
        raise ProfileError(
            f"written with schema {schema}, this dscwb reads up to {SCHEMA_VERSION}; upgrade dscwb."
        )
    return _decoded(header, table)


def _schema(about: bytes) -> int:
    try:
        schema = json.loads(about)["schema"]
    except (ValueError, KeyError, TypeError):
        schema = None
    if not isinstance(schema, int) or schema < 1:
        raise ProfileError("its header is damaged; copy it anew or measure it again.")
    return schema


def _check_columns(table: pa.Table) -> None:
    """Refuse what NumPy would turn into other numbers without a word: NaN, fractions, dates."""
    for name, wanted in _columns().items():
        found = table.schema.field(name).type if name in table.column_names else None
        if found is None or not found.equals(wanted):
            raise ProfileError(
                f"its column {name} is {found or 'missing'}, not {wanted}; measure it again."
            )


def _decoded(header: dict[bytes, bytes], table: pa.Table) -> Profile:
    """Header and rows as records, types checked by pydantic."""
    from pydantic import ValidationError

    _check_columns(table)
    try:
        about = json.loads(header[b"dscwb"])
        graph = _graph(header[b"dscwb.graph.json.zlib.base64"])
        provenance = _checked(Provenance).validate_python(about["provenance"])
        passes = _passes(table, len(graph.layers) + 1)
        return Profile(graph, provenance, passes, about["time_scale"], _transfers(about))
    except ProfileError:
        raise
    except (ValidationError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise ProfileError(f"its content is not a profile ({_first_line(error)}).") from None


@cache  # pydantic takes as long to make one as to check a graph with it
def _checked(record: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(record)


@lru_cache(maxsize=64)  # files of one model on several machines hold the same graph, to the byte
def _graph(packed: bytes) -> ModelGraph:
    text = zlib.decompress(base64.b64decode(packed))
    graph: ModelGraph = _checked(ModelGraph).validate_json(text)
    if graph.layers and graph.layers[0].op == "imported" and graph.inputs[0].dtype == "uint8":
        # Until 0.1 payloads measured on the wire had the element type of camera frames.
        again = text.replace(b'"dtype":"uint8"', f'"dtype":"{AS_SENT}"'.encode())
        graph = _checked(ModelGraph).validate_json(again)
    return graph


def _passes(table: pa.Table, cuts: int) -> tuple[Passes, ...]:
    """The rows of each batch size as one record."""
    sizes, cut, time_ns = (_integers(table, name) for name in ("batch_size", "cut", "time_ns"))
    kind = np.array(table.column("kind").to_pylist())
    lengths, elements = _lists(table, "stamps_ns")
    if np.any(lengths[kind == "stamped"] != cuts) or lengths.sum() != elements.size:
        raise ProfileError(f"a pass without one stamp for each of the {cuts} cuts.")
    stamps = np.zeros((len(kind), cuts), dtype=np.int64)
    stamps[kind == "stamped"] = elements.reshape(-1, cuts)

    def one_size(batch_size: int) -> Passes:
        here = sizes == batch_size
        heads, tails, wholes = (here & (kind == name) for name in ("head", "tail", "whole"))
        return Passes(
            batch_size,
            time_ns[here & (kind == "plain")],
            stamps[here & (kind == "stamped")],
            tuple(
                Separate(int(k), *(time_ns[part & (cut == k)] for part in (heads, tails, wholes)))
                for k in dict.fromkeys(cut[heads])
            ),
            oom=bool(np.any(here & (kind == "oom"))),
        )

    return tuple(one_size(int(size)) for size in np.unique(sizes))
