"""Many cells: one function at every combination of labels, here or on any executor.

A cell that is done is kept: as a file of its own where a folder is given, in the table in any case.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from dscwb.profiles.library import PathLike, file_of
from dscwb.scaling.digests import digest, sources
from dscwb.scaling.executors import run_on
from dscwb.writing import atomically, seal_holds, sealed_parquet

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

_LOG = logging.getLogger("dscwb")
SUFFIX = ".parquet"
ERROR = "error"
STOPPED = "cancelled before it was done"
CELL, LABELS = b"dscwb.cell", b"dscwb.cell.labels"
LONGEST_ERROR = 500  # characters

Label = str | int | float | bool | None
KINDS = (str, int, float, bool, type(None))
Axis = Iterable[Label] | Mapping[Any, Any]


def grid(
    function: Callable[..., Any],
    axes: Mapping[str, Axis],
    *,
    executor: Executor | Client | None = None,
    folder: PathLike | None = None,
    progress: bool = False,
    **same: Any,
) -> pd.DataFrame:
    """Ask one function at every combination of labels, and put the answers into one table.

    `sweep`, `replay`, `fleet` and functions of your own are such functions. The table is the same
    whoever computes it and in whichever order; chance has to come from a seed that is a label.

    A cell that raises an error does not stop the others: its row says why in the column ``error``.
    An interrupt (Ctrl-C, or the notebook's stop) cancels the cells that have not begun and gives
    what is done; the other rows say so. Where nothing is done yet, it goes on to the caller.
    Processes of a pool leave the cell that they are in; threads and a cluster's workers finish it.

    With a folder, each cell that is done is one Parquet file there, written whole or not at all,
    and is not computed again: a study that was interrupted, or grows by a label, goes on. The
    file's name is a digest of the function, its labels and its inputs, dscwb's own sources among
    them, so that the answer to another question is never taken for this one. What cannot be seen
    from outside does not count: files that the function opens by itself, random numbers without a
    seed. Errors are not kept.

    Args:
        function: Gives a row as a dictionary, rows as a DataFrame (whose index becomes columns), or
            a record with ``table()`` or ``to_pandas()``. Processes and clusters must be able to
            import it, or pickle it.
        axes: For each varied argument its values, or a label for each of them:
            ``{"seed": range(5), "link": {"wifi": dscwb.Link(0.005), "lte": dscwb.Link(0.05)}}``.
        executor: A thread or process pool, what `distributed.Client.get_executor` gives, or the
            client itself, which sends large inputs once; in this process if left out. A dask
            cluster runs whatever its clients send: keep it in a network that you trust, or behind
            TLS.
        folder: Where the cells are kept. Workers need not see it.
        progress: Show a bar.
        same: Arguments that are the same in every cell.

    Returns:
        One row for each row of an answer: the labels in the order of the axes, then the answer's
        columns (``answer_seed``, if an axis is called ``seed`` too), then ``error`` if there is
        one. ``table.set_index([...]).to_xarray()`` makes an
        xarray dataset of it.

    Raises:
        TypeError: An argument is given twice, a value needs a label, or, with a folder, an input
            has no content that a digest could be made of.
        ValueError: There are no cells.
        OSError: A file cannot be written; the files of other cells stay.

    Example:
        >>> from math import hypot
        >>> def length(x, y):
        ...     return {"length": hypot(x, y)}
        >>> grid(length, {"x": [3, 5], "y": {"short": 4, "long": 12}})
           x      y     length
        0  3  short   5.000000
        1  3   long  12.369317
        2  5  short   6.403124
        3  5   long  13.000000
    """
    cells = _cells(function, axes, same, named=folder is not None)
    kept = _Kept(None if folder is None else Path(folder))
    answers: dict[int, bytes | str] = {
        i: found for i, cell in enumerate(cells) if (found := kept.read(cell)) is not None
    }
    if answers:
        _LOG.info("%d of %d cells were done before", len(answers), len(cells))
    todo = {i: cell for i, cell in enumerate(cells) if i not in answers}
    with tqdm(
        total=len(cells), initial=len(answers), desc="cells", unit="cell", disable=not progress
    ) as bar:

        def take(i: int, answer: bytes | str | BaseException) -> None:
            if isinstance(answer, bytes):
                kept.keep(cells[i], answer)
            answers[i] = _words(answer) if isinstance(answer, BaseException) else answer
            bar.update(len(answers) - bar.n)

        work = partial(_answer, sources(), function)
        try:
            if executor is None:
                for i, cell in todo.items():
                    take(i, work(cell.question, *cell.values))
            else:
                asked = {i: (cell.question, cell.values) for i, cell in todo.items()}
                run_on(executor, work, asked, take)
        except KeyboardInterrupt:
            bar.set_description("cells, interrupted")
            if not answers:
                raise
    return _joined(cells, [answers.get(i, STOPPED) for i in range(len(cells))])


@dataclass(frozen=True)
class _Question:
    """One combination: its labels, the names of its arguments, and the digest of it all."""

    labels: dict[str, Label]
    names: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class _Cell:
    """A question and the values of its arguments."""

    question: _Question
    values: tuple[Any, ...]


def _cells(
    function: Callable[..., Any], axes: Mapping[str, Axis], same: Mapping[str, Any], *, named: bool
) -> list[_Cell]:
    if twice := sorted({*axes} & {*same}):
        raise TypeError(f"{twice[0]} is an axis and an argument of all cells; give it once.")
    if ERROR in axes:
        raise TypeError(f"{ERROR!r} is the column of what went wrong; give the axis another name.")
    if not callable(function):
        raise TypeError(f"function is {function!r}; give a function, such as dscwb.sweep.")
    labelled = {name: _labelled(name, axis) for name, axis in axes.items()}
    given = [*same.items(), *((name, one) for name, axis in labelled.items() for _, one in axis)]
    if once := [name for name, value in given if isinstance(value, Iterator)]:
        raise TypeError(f"{once[0]} can be read only once, by one cell; give list(...) of it.")

    def digested(value: Any) -> str:
        return digest((value, _file_content(value))) if named else ""

    common = digested((function, sorted(same)))
    of_same = [digested(same[name]) for name in sorted(same)]
    of_axes = {name: [digested(pair) for pair in axis] for name, axis in labelled.items()}
    names, cells = (*same, *axes), []
    for at in product(*(range(len(axis)) for axis in labelled.values())):
        chosen = dict(zip(labelled, at, strict=True))
        labels = {name: labelled[name][i][0] for name, i in chosen.items()}
        values = (*same.values(), *(labelled[name][i][1] for name, i in chosen.items()))
        parts = [(name, of_axes[name][i]) for name, i in sorted(chosen.items())]
        named_as = digest((common, of_same, parts)) if named else ""
        cells.append(_Cell(_Question(labels, names, named_as), values))
    if not cells:
        empty = next(name for name, axis in labelled.items() if not axis)
        raise ValueError(f"axes[{empty!r}] has no values and gives no cells; give one at least.")
    return cells


def _labelled(name: str, axis: Axis) -> list[tuple[Label, Any]]:
    """Pairs of a label and the value that it stands for."""
    if isinstance(axis, (str, bytes)) or not isinstance(axis, Iterable):
        raise TypeError(f"axes[{name!r}] is {axis!r}; give a list of values, or {{label: value}}.")
    pairs = list(axis.items()) if isinstance(axis, Mapping) else [(one, one) for one in axis]
    plain = [(getattr(label, "item", lambda one=label: one)(), value) for label, value in pairs]
    for label, _ in plain:
        if type(label) not in KINDS:
            raise TypeError(
                f"axes[{name!r}] holds a {type(label).__name__}, which makes no column; give each "
                "value a label: {'lte': value, ...}."
            )
    if len({label for label, _ in plain}) < len(plain):
        raise TypeError(f"axes[{name!r}] has a label twice: {[label for label, _ in plain]}.")
    return plain


def _file_content(value: Any) -> list[bytes]:
    """What is in the files that an argument names, as `as_profile` finds them."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    files = (file_of(one) for one in texts if isinstance(one, (str, os.PathLike)))
    return [file.read_bytes() for file in files if file]


def _answer(
    ours: bytes, function: Callable[..., Any], question: _Question, *values: Any
) -> bytes | str:
    """The cell as the bytes of its file, or why there are none; runs wherever the executor is.

    An error comes back in words: one that cannot be unpickled would break a pool of processes.
    """
    if sources() != ours:
        return "RuntimeError: this worker has another dscwb; install the same one there."
    try:
        table = _table(function(**dict(zip(question.names, values, strict=True))))
        labels = question.labels
        taken = {*labels, ERROR}
        table = table.rename(columns=lambda name: f"answer_{name}" if name in taken else name)
        import pyarrow as pa

        found = pa.Table.from_pandas(table, preserve_index=False)
        header = {CELL: question.digest.encode(), LABELS: json.dumps(labels).encode()}
        return sealed_parquet(
            found.replace_schema_metadata({**found.schema.metadata, **header}), compression="zstd"
        )
    except Exception as error:
        return _words(error)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(f'{error}'.split())}"[:LONGEST_ERROR]


def _table(answer: Any) -> pd.DataFrame:
    """What a function gave, as rows."""
    import pandas as pd

    found = answer
    for name in ("table", "to_pandas"):
        if callable(getattr(answer, name, None)):
            found = getattr(answer, name)()
    if isinstance(found, Mapping):
        found = pd.DataFrame([dict(found)])
    if not isinstance(found, pd.DataFrame):
        raise TypeError(
            f"a cell's answer is a {type(answer).__name__}; give a dictionary of numbers and "
            "texts, or a DataFrame."
        )
    plain = isinstance(found.index, pd.RangeIndex) and found.index.name is None
    return found if plain else found.reset_index()


def _read(data: bytes) -> tuple[pd.DataFrame, str]:
    """A cell's table, and the digest of its question."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(pa.BufferReader(data))
    return found.to_pandas(), (found.schema.metadata or {}).get(CELL, b"").decode()


@dataclass(frozen=True)
class _Kept:
    """The folder of the cells that are done; without one nothing is kept or found."""

    folder: Path | None

    def read(self, cell: _Cell) -> bytes | None:
        """The cell's file; one that is broken, or another's, is reported."""
        if self.folder is None:
            return None
        path = self._path(cell)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if not seal_holds(data):
            _LOG.warning("%s is damaged, or no cell; it is computed again", path)
            return None
        if _read(data)[1] != cell.question.digest:
            _LOG.warning("%s answers another question; it is computed again", path)
            return None
        return data

    def keep(self, cell: _Cell, answer: bytes) -> None:
        """Write the cell's file: it is there whole, or as before."""
        if self.folder is not None:
            with atomically(self._path(cell)) as file:
                file.write_bytes(answer)

    def _path(self, cell: _Cell) -> Path:
        assert self.folder is not None
        return self.folder / f"{cell.question.digest}{SUFFIX}"


def _joined(cells: list[_Cell], answers: list[bytes | str]) -> pd.DataFrame:
    """All cells as one table, in the order of the axes."""
    import pandas as pd

    tables = []
    for cell, answer in zip(cells, answers, strict=True):
        table = pd.DataFrame({ERROR: [answer]}) if isinstance(answer, str) else _read(answer)[0]
        for at, (name, label) in enumerate(cell.question.labels.items()):
            table.insert(at, name, [label] * len(table))
        tables.append(table)
    if failed := sum(isinstance(answer, str) for answer in answers):
        words = "%d of %d cells have no answer; the column %r says why"
        _LOG.warning(words, failed, len(cells), ERROR)
    whole = pd.concat(tables, ignore_index=True)
    if ERROR in whole:
        whole.insert(len(whole.columns) - 1, ERROR, whole.pop(ERROR))
    return whole
