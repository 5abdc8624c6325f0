"""What commands have in common: how they are declared, how values are read, how lines are shown.

A reader that refuses a value says what follows the option's name: ``is '0'; give ...``.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import threading
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    BooleanOptionalAction,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from dscwb.scenario import DATA_RATES_BPS

MBPS = 1e6  # bit/s
UNITS_BPS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
MOST = 10_000  # rates or batch sizes in one range: more would fill the memory, not the picture

Option = tuple[list[str], dict[str, Any]]
Command = Callable[..., int | None]


class _Parser(ArgumentParser):
    def __init__(self, *names: Any, **how: Any) -> None:
        how |= {"formatter_class": RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(*names, **how)

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ").removeprefix("-o/")
        raise ValueError(message.replace(": is ", " is ", 1))


ABOUT = "Where should this network be split between my device and my server?"
PARSER = _Parser("dscwb", description=ABOUT)
COMMANDS = PARSER.add_subparsers(metavar="COMMAND", required=True)


def option(names: str, words: str, kind: Any = str, default: Any = None, **more: Any) -> Option:
    """An option of a command, or without dashes an argument.

    Args:
        names: One or several, with a space between.
        words: What it means, with its unit.
        kind: What reads its value, `bool` for a switch, or the values to choose from.
        default: Its value if left out; of a switch that can be set to both, None or True.
        more: Further arguments of `argparse.ArgumentParser.add_argument`.
    """
    shown = f" [default: {default}]" if isinstance(default, (str, int, float)) and default else ""
    how = {"help": f"{words}{shown}".replace("%", "%%"), "default": default}
    if kind is bool:
        how["action"] = "store_true" if default is False else BooleanOptionalAction
        return names.split(), how | more
    how["type" if callable(kind) else "choices"] = kind
    if callable(kind):
        how["metavar"] = names.split()[-1].strip("-").replace("-", "_").upper()
    return names.split(), how | more


UNTIL_INPUT_ENDS = option(
    "--until-input-ends", "End with standard input, so with who holds it.", bool, False
)


def at_end_of_input(then: Callable[[], object]) -> None:
    """Call something once standard input has ended; returns at once."""

    def wait() -> None:
        # Not through `sys.stdin`, whose lock Python would wait for when it ends.
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        then()

    threading.Thread(target=wait, daemon=True).start()


def command(*options: Option) -> Callable[[Command], Command]:
    """Declare a function as a command with these options, which become its arguments.

    It gives the exit status, None for 0.
    """

    def declare(run: Command) -> Command:
        name, about = run.__name__.strip("_"), inspect.cleandoc(run.__doc__ or "")
        one = COMMANDS.add_parser(name, description=about, help=about.partition("\n")[0])
        actions = [one.add_argument(*names, **how) for names, how in options]
        given = [(a.metavar, a.nargs) for a in actions if not a.option_strings]
        words = " ".join(f"[{name}]" if nargs else f"{name}" for name, nargs in given)
        one.usage = f"dscwb {name} [OPTIONS] {words}".rstrip()
        flags = {a.dest: a.option_strings[-1] for a in actions if a.option_strings}
        one.set_defaults(run=run, flags=flags)
        return run

    return declare


def say(*lines: object) -> None:
    """Print lines; control characters in a name from elsewhere are written out, not obeyed."""
    for line in lines:
        print(printable(f"{line}"))


def printable(text: str) -> str:
    r"""Text that moves no cursor and turns no line around: an escape becomes ``\x1b``."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def number(
    low: float, high: float = math.inf, *, unit: float = 1.0, whole: bool = False
) -> Callable[[str], float]:
    """Reads a number within limits; what 1 is in the option is `unit` in the result and limits."""

    def read(text: str) -> float:
        try:
            value = int(text) if whole else float(text) * unit
        except ValueError:
            value = math.nan
        if not (low <= value <= high and math.isfinite(value)):
            kind, top = "whole number" if whole else "number", f"to {high / unit:,.15g}"
            ends = f"{low / unit:g} {'up' if high == math.inf else top}"
            raise ArgumentTypeError(f"is {text!r}; give a {kind} from {ends}.")
        return value

    return read


def whole_numbers(text: str) -> list[int]:
    """``1,2,8`` and ranges with both ends, ``1:8``, of batch sizes."""
    sizes: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        try:
            found = range(int(first), int(last or first) + 1)
        except ValueError:
            found = range(0)
        if not found or found[0] < 1 or len(sizes) + len(found) > MOST:
            raise ArgumentTypeError(
                f"is {text!r}; give 1,2,4 or 1:8, whole numbers from 1, {MOST:,} of them at most."
            )
        sizes += found
    return sorted(set(sizes))


def one_rate(text: str) -> float:
    """``4``, ``4Mbit/s``, ``500 kbit/s``, ``0.5 MB/s`` in bit/s; a bare number is Mbit/s."""
    parts = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(?:([kMG]?)(bit/s|bps|B/s))?\s*", text)
    try:
        value = float(parts[1]) if parts else math.nan
    except ValueError:
        value = math.nan
    if not parts or not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(
            f"is {text!r}; give Mbit/s, such as 4, or with a unit: 500kbit/s, 1Gbit/s, 2MB/s; 0 "
            "for a link that is down."
        )
    if parts[3] is None:
        return value * MBPS
    return value * UNITS_BPS[parts[2]] * (8 if parts[3] == "B/s" else 1)


def many_rates(text: str) -> list[float]:
    """A list with commas; ``LOW:HIGH`` or ``LOW:HIGH:NUMBER`` as rates of equal ratio; in bit/s."""
    parts = text.split(":")
    low, high, steps = [*parts, f"{len(DATA_RATES_BPS)}"][:3] if len(parts) in (2, 3) else "---"
    try:
        if "," in text:
            return [one_rate(part) for part in text.split(",")]
        ends = one_rate(low), one_rate(high)
    except ArgumentTypeError:
        ends = math.nan, math.nan
    count = int(steps) if steps.isdecimal() else 0
    if not (0 < ends[0] < ends[1] and 2 <= count <= MOST):
        raise ArgumentTypeError(
            f"is {text!r}; give LOW:HIGH or LOW:HIGH:NUMBER in Mbit/s, such as 0.1:1000, with 2 to "
            f"{MOST:,} rates, or a trace's rates with commas, 0 for a link that is down: "
            "31,900,0,12."
        )
    return [float(rate) for rate in np.geomspace(*ends, count)]


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows under their columns, for the screen."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns)).to_string(index=False)
