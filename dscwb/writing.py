"""How every file is written: whole, or left as it was before; a Parquet file may be sealed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# The seal is the SHA-256 of the file with the seal's own digits as zeros. It is checked before
# anything parses the file, so that a damaged one never reaches the Parquet reader.
_SEAL = re.compile(rb"sha256:([0-9a-f]{64})")
UNSEALED = b"sha256:" + b"0" * 64
"""What stands in a file where its seal will be."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that a spreadsheet takes for a formula."""


@contextmanager
def atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new file beside `path` to write into; it takes the path's place once all went well.

    A full disk, an error or a killed process leaves the old file as it was. A link is followed, so
    that the file it points to is replaced. The old file's permissions are kept, and missing folders
    are made. What is no ordinary file, such as a pipe, cannot be replaced: it is written directly.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> with atomically("/dev/null") as file:
        ...     characters = file.write_text("all of it")
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file.")
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{path} is write-protected; give another file.")
    target.parent.mkdir(parents=True, exist_ok=True)
    # No ending of a kind of file: a killed process's rest is taken for no profile or table.
    temporary = target.with_name(f".dscwb-{secrets.token_hex(8)}.part")
    try:
        temporary.touch(exist_ok=False)
        if target.exists():
            shutil.copymode(target, temporary)
            with suppress(OSError):  # only root may give a file away
                shutil.chown(temporary, target.stat().st_uid, target.stat().st_gid)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, without its index; text that a spreadsheet would run gets a quote.

    ``=1+1`` as the name of a model is written ``'=1+1``, which a spreadsheet shows as text.
    """
    safe = table.copy(deep=False)
    for name in table.columns:
        texts = [one for one in table[name].unique() if isinstance(one, str)]
        if formulas := {text: f"'{text}" for text in texts if text.startswith(FORMULAS)}:
            safe[name] = table[name].astype(object).replace(formulas)
    with atomically(path) as file:
        safe.to_csv(file, index=False)


def sealed_parquet(table: pa.Table, **how: Any) -> bytes:
    """A table as one Parquet file that holds a checksum of itself; `seal_holds` checks it.

    Args:
        table: The table, with its metadata.
        how: Options of pyarrow's ParquetWriter.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    # The Arrow schema would repeat the metadata in base64.
    with pq.ParquetWriter(buffer, table.schema, store_schema=False, **how) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**table.schema.metadata, b"dscwb.seal": UNSEALED})
    return sealed(buffer.getvalue().to_pybytes())


def sealed(data: bytes) -> bytes:
    """The same file with its checksum in place of `UNSEALED`."""
    return data.replace(UNSEALED, b"sha256:" + hashlib.sha256(data).hexdigest().encode())


def seal_holds(data: bytes) -> bool | None:
    """Whether a file is as it was written; None where it has no seal, or more than one."""
    seals = _SEAL.findall(data)
    if len(seals) != 1:
        return None
    found: bytes = seals[0]
    return hashlib.sha256(_SEAL.sub(UNSEALED, data)).hexdigest().encode() == found
