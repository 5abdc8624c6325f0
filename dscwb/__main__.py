"""The command `dscwb`: its commands stand in `dscwb.cli`, here a failure becomes one sentence."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping, Sequence

import dscwb
from dscwb.cli import (  # noqa: F401  # every room declares its commands
    boards,
    running,
    shipped,
    study,
    validating,
)
from dscwb.cli.options import PARSER, printable
from dscwb.cli.torch_arm import INTERRUPTED

PARSER.add_argument("--version", action="version", version=f"dscwb {dscwb.__version__}")
NEEDED_TO_CAPTURE = ("torch", "torchvision", "timm")  # the extra `torch`
MISUSE = 2  # exit status: wrong options, unknown model, unusable file
BUG = 70  # exit status: dscwb itself is wrong, as sysexits.h has it
OUT_OF_MEMORY = (
    "there is not enough memory for this; give fewer batch sizes or data rates, or a smaller model."
)
REPORT_IT = (
    "dscwb: this is a fault of dscwb itself. Please report it, with the lines above and your "
    "command, where you got dscwb from."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what may go wrong becomes one line on stderr.

    A bug keeps its traceback, and a line after it says where to report it.

    Returns:
        The exit status.
    """
    words, flags = list(sys.argv[1:] if arguments is None else arguments) or ["--help"], {}
    try:
        known, unknown = PARSER.parse_known_args(words)
        options = vars(known)
        run, flags = options.pop("run"), options.pop("flags")
        if unknown and run is not shipped.lab:
            PARSER.error(f"unrecognized arguments: {' '.join(unknown)}")
        more = {shipped.lab: {"flags": unknown}, study.report: {"words": words}}.get(run, {})
        status = run(**options, **more) or 0
        return _fail("interrupted", INTERRUPTED) if status == INTERRUPTED else int(status)
    except SystemExit as end:  # after --help or --version
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if reason := _reason(error, flags):
            return _fail(reason)
        traceback.print_exc()
        print(REPORT_IT, file=sys.stderr)
        return BUG


def _reason(error: Exception, flags: Mapping[str, str]) -> str:
    """What went wrong, in a sentence; empty if it should not have happened.

    Where a sentence names an argument, it shall name the option that sets it.
    """
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, ModuleNotFoundError) and not f"{error.name}".startswith("dscwb"):
        extra = "torch" if error.name in NEEDED_TO_CAPTURE else "lab"
        extra = "dask" if error.name == "distributed" else extra
        return f"{error.name} is not installed here; run: pip install 'dscwb[{extra}]'"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # The errors of dscwb itself say what to do, whatever they derive from.
    own = type(error).__module__.startswith("dscwb.")
    if not (own or isinstance(error, (OSError, ValueError))):
        return ""
    named = rf"(?:\w+: )?\b(?<!-)({'|'.join(flags) or '(?!)'})(?= is\b|=)"
    return re.sub(named, lambda at: flags[at[1]], str(error))


def _fail(reason: str, status: int = MISUSE) -> int:
    print(f"dscwb: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
