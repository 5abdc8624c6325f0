"""Plans: which models are to be measured on which boards, as a small table that people edit."""

from __future__ import annotations

import csv
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dscwb.profiles.files import SUFFIX
from dscwb.writing import FORMULAS, write_csv

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Of a board, and of a file: it is a word in a command and a part of a path."""


@dataclass(frozen=True)
class Job:
    """One model to be measured on one kind of board; a line of a plan.

    Attributes:
        board: Name of the resource that such boards have, as their owners start them.
        model: A timm model.
        batch_sizes: Samples in one pass.
        image_size: Side of the image in pixels; the model's own if left out.
        threads: CPU threads; torch's own choice if left out.
        options: More options of ``dscwb profile``, as on its command line.
        file: Name of the profile's file.
    """

    board: str
    model: str
    batch_sizes: tuple[int, ...] = (1,)
    image_size: int | None = None
    threads: int | None = None
    options: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        """Refuse what makes no command or no file."""
        if not NAME.fullmatch(self.board):
            raise ValueError(f"board is {self.board!r}; give letters, digits, '.', '_' and '-'.")
        if not (NAME.fullmatch(self.file) and self.file.endswith(SUFFIX)):
            raise ValueError(f"file is {self.file!r}; give a name that ends in {SUFFIX}, no path.")

    def words(self) -> list[str]:
        """The arguments of ``dscwb profile``, but for the file."""
        given = {"--image-size": self.image_size, "--threads": self.threads}
        numbers = (word for name, one in given.items() if one for word in (name, f"{one}"))
        sizes = ",".join(map(str, self.batch_sizes))
        return [self.model, "--batch-sizes", sizes, *numbers, *shlex.split(self.options)]

    def note(self) -> str:
        """What the profile's provenance says of it: ``board orin-nano (--device cuda)``."""
        return f"board {self.board}" + (f" ({self.options})" if self.options else "")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _text(text: str) -> str:
    """Without the quote that `write_csv` puts before what a spreadsheet would run."""
    return text[1:] if text.startswith(tuple(f"'{sign}" for sign in FORMULAS)) else text


READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("board", "model"), _text),
    "batch_sizes": _sizes,
    **dict.fromkeys(("image_size", "threads"), int),
    **dict.fromkeys(("options", "file"), _text),
}
"""The columns of a plan, and what reads a value."""


def write_plan(jobs: Sequence[Job], path: str | os.PathLike[str]) -> None:
    """Write a plan as CSV, a line for each job."""
    import pandas as pd

    table = pd.DataFrame([asdict(job) for job in checked(jobs)], dtype=object)
    sizes = [",".join(map(str, job.batch_sizes)) for job in jobs]
    write_csv(table.assign(batch_sizes=sizes), path)


def read_plan(path: str | os.PathLike[str]) -> list[Job]:
    """Read a plan.

    Raises:
        ValueError: A column or a value that cannot be used; names the line.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        found = set(table.fieldnames or ())
        if not {"board", "model", "file"} <= found <= {*READ}:
            raise ValueError(
                f"{path} has the columns {', '.join(table.fieldnames or ()) or 'of no table'}; a "
                f"plan has {', '.join(READ)}, as `dscwb plan` writes them."
            )
        jobs = []
        for row in table:
            try:
                if None in row:
                    raise ValueError("it has more values than columns.")
                jobs.append(Job(**{name: READ[name](text) for name, text in row.items() if text}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {table.line_num}: {error}") from None
    return checked(jobs)


def checked(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, of which there is one at least, each with a file of its own."""
    if not jobs:
        raise ValueError("The plan has no jobs; give one model and one board at least.")
    names = [job.file for job in jobs]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"file is {twice!r} for two jobs; give each a file of its own.")
    return list(jobs)
