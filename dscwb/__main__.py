"""The command `dscwb`: its commands stand in `dscwb.cli`, here a failure becomes one sentence."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, cast

import typer

import dscwb
from dscwb.cli import shipped, study, torch_arm
from dscwb.cli.options import printable
from dscwb.cli.torch_arm import INTERRUPTED

MISUSE = 2  # exit status: wrong options, unknown model, unusable file
BUG = 70  # exit status: dscwb itself is wrong, as sysexits.h has it
OUT_OF_MEMORY = (
    "there is not enough memory for this; give fewer batch sizes or data rates, or a smaller model."
)
REPORT_IT = (
    "dscwb: this is a fault of dscwb itself. Please report it, with the lines above and your "
    "command, where you got dscwb from."
)

# Unknown option, missing argument, ...: typer has no public name for what they have in common.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])

app = typer.Typer(
    help="Where should this network be split between my device and my server?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take a tenth of a second and reflow the examples
)
for room in (torch_arm, study, shipped):
    app.add_typer(room.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what may go wrong becomes one line on stderr.

    A bug keeps its traceback, and a line after it says where to report it.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = int(app(words, prog_name="dscwb", standalone_mode=False, obj=words) or 0)
        return _fail("interrupted", INTERRUPTED) if status == INTERRUPTED else status
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except UsageError as error:
        return _fail(error.format_message())
    except Exception as error:
        if reason := _reason(error):
            return _fail(reason)
        traceback.print_exc()
        print(REPORT_IT, file=sys.stderr)
        return BUG


def _reason(error: Exception) -> str:
    """What went wrong, in a sentence; empty if it should not have happened."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, ModuleNotFoundError) and not f"{error.name}".startswith("dscwb"):
        return f"{error.name} is not installed here; run: pip install 'dscwb[lab]'"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # The errors of dscwb itself say what to do, whatever they derive from.
    own = type(error).__module__.startswith("dscwb.")
    return str(error) if own or isinstance(error, (OSError, ValueError)) else ""


def _fail(reason: str, status: int = MISUSE) -> int:
    print(f"dscwb: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return status


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dscwb {dscwb.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
