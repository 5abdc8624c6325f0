"""What several commands have in common: options, how their values are read, how lines are shown."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

MBPS = 1e6  # bit/s
UNITS_BPS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
MOST = 10_000  # rates or batch sizes in one range: more would fill the memory, not the picture

Model = Annotated[
    str,
    typer.Argument(help="A timm model, such as efficientnet_b0, or a .pt2 file of torch.export."),
]
ImageSize = Annotated[
    int | None,
    typer.Option(min=1, help="Side of the square image in pixels; the model's own if left out."),
]
Output = Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="File to write.")]
OptionalOutput = Annotated[Path | None, Output.__metadata__[0]]


@dataclass(frozen=True)
class Knob:
    """A row in a table of options: an option that sets one argument of the package.

    Attributes:
        name: The argument's.
        help: What it means, with its unit.
        kind: Type of the option's value.
        flag: The option's name; made of the argument's if empty.
        read: Makes the argument's value of the option's.
        least: Least value of the option.
        most: Largest value of the option.
        default: Its value if left out; None leaves the argument out.
    """

    name: str
    help: str
    kind: Any = float
    flag: str = ""
    read: Callable[[Any], Any] = lambda value: value
    least: float | None = None
    most: float | None = None
    default: Any = None

    @property
    def option(self) -> str:
        """The option's name, of a switch with two also the other one."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    def parameter(self) -> inspect.Parameter:
        """The option, for a command's signature."""
        option = typer.Option(self.option, min=self.least, max=self.most, help=self.help)
        kind: Any = Annotated[self.kind if self.default is not None else self.kind | None, option]
        by_name = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(self.name, by_name, default=self.default, annotation=kind)


def read(knobs: Iterable[Knob], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that these options set; those left out are left out."""
    given = ((knob, options[knob.name]) for knob in knobs)
    return {knob.name: knob.read(value) for knob, value in given if value is not None}


def parameters(function: Callable[..., Any], knobs: Iterable[Knob]) -> list[inspect.Parameter]:
    """The parameters of a function, by keyword, with options in place of its ``**``."""
    hints = get_type_hints(function, localns={"Study": object}, include_extras=True)
    named = [
        one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(function).parameters.values()
        if one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    return named + [knob.parameter() for knob in knobs]


def command(
    run: Callable[..., None], like: Callable[..., Any], every: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """Let typer see a function as a command with these parameters and the help of another one."""
    named = {one.name: one for one in every}
    run.__name__, run.__doc__ = like.__name__, like.__doc__
    run.__annotations__ = {name: one.annotation for name, one in named.items()}
    run.__signature__ = inspect.Signature(list(named.values()))  # type: ignore[attr-defined]
    return run


def say(*lines: object) -> None:
    """Print lines; control characters in a name from elsewhere are written out, not obeyed."""
    for line in lines:
        print(printable(f"{line}"))


def printable(text: str) -> str:
    r"""Text that moves no cursor and turns no line around: an escape becomes ``\x1b``."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


@contextmanager
def naming_flags(knobs: Iterable[Knob], **others: str) -> Iterator[None]:
    """Let a refusal name the option where it names an argument.

    Args:
        knobs: Options with their arguments.
        others: Option of other arguments, such as ``min_depth="--min-depth"``.
    """
    flags = {knob.name: knob.option.split("/")[0] for knob in knobs} | others
    named = "|".join(flags)
    try:
        yield
    except ValueError as error:
        told = re.sub(rf"(?:\w+: )?\b({named})(?= is\b|=)", lambda at: flags[at[1]], str(error))
        raise ValueError(told) from error


def whole_numbers(text: str) -> list[int]:
    """``1,2,8`` and ranges with both ends, ``1:8``, of batch sizes.

    Raises:
        ValueError: Not such a list, a number below 1, or more than 10,000 of them.
    """
    sizes: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        try:
            found = range(int(first), int(last or first) + 1)
        except ValueError:
            found = range(0)
        if not found or found[0] < 1 or len(sizes) + len(found) > MOST:
            raise ValueError(
                f"--batch-sizes is {text!r}; give 1,2,4 or 1:8, whole numbers from 1, {MOST:,} of "
                "them at most."
            )
        sizes += found
    return sizes


def one_rate(text: str, flag: str) -> float:
    """``4``, ``4Mbit/s``, ``500 kbit/s``, ``0.5 MB/s`` in bit/s; a bare number is Mbit/s.

    Raises:
        ValueError: Not such a rate.
    """
    parts = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(?:([kMG]?)(bit/s|bps|B/s))?\s*", text)
    try:
        number = float(parts[1]) if parts else math.nan
    except ValueError:
        number = math.nan
    if not parts or not (math.isfinite(number) and number >= 0):
        raise ValueError(
            f"{flag} is {text!r}; give Mbit/s, such as 4, or with a unit: 500kbit/s, 1Gbit/s, "
            "2MB/s; 0 for a link that is down."
        )
    if parts[3] is None:
        return number * MBPS
    return number * UNITS_BPS[parts[2]] * (8 if parts[3] == "B/s" else 1)


def many_rates(text: str, default: Sequence[float]) -> Sequence[float]:
    """A list with commas; ``LOW:HIGH`` or ``LOW:HIGH:NUMBER`` as rates of equal ratio; in bit/s.

    Args:
        text: What was given; the default if empty.
        default: Rates in bit/s; ``LOW:HIGH`` gives as many.

    Raises:
        ValueError: Neither, or more than 10,000 rates.
    """
    if not text:
        return default
    ends = text.split(":")
    steps = ends[2] if len(ends) == 3 else f"{len(default)}"
    try:
        if "," in text:
            return [one_rate(part, "--rates") for part in text.split(",")]
        low, high = (one_rate(part, "--rates") for part in (ends[0], ends[min(1, len(ends) - 1)]))
    except ValueError:
        low, high = math.nan, math.nan
    number = int(steps) if steps.isdecimal() else 0
    if not (len(ends) in (2, 3) and 0 < low < high and 2 <= number <= MOST):
        raise ValueError(
            f"--rates is {text!r}; give LOW:HIGH or LOW:HIGH:NUMBER in Mbit/s, such as 0.1:1000, "
            f"with 2 to {MOST:,} rates, or a trace's rates with commas, 0 for a link that is down: "
            "31,900,0,12."
        )
    return [low * (high / low) ** (k / (number - 1)) for k in range(number - 1)] + [high]
