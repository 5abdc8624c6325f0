"""Ship what can be trusted of GPU profiles: ``python -m benchmarks.ship_gpu SOURCE [FOLDER]``.

A stamp takes time on a GPU that waits for its next launch, and what it adds to a pass it adds to
heads and tails too. So a batch size is left out where stamped passes took more than 10 % longer
than plain ones. All others stay as they were measured, raw passes and provenance; only the short
"SMs" of a device's name is spelled out. They go into ``data/profiles`` where no FOLDER is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dscwb
from dscwb.profiles.files import SUFFIX

FOLDER = Path(__file__).parent.parent / "data" / "profiles"
DEAREST = 1.10  # stamped over plain, median of the rounds: what one in ten costs is kept
SHORT, SPELLED_OUT = " SMs", " multiprocessors"
HEAD = f"{'file':<56} {'left out':>8} {'stamped / plain':>16}  stays"


@dataclass(frozen=True)
class Row:
    """What became of one file: batch sizes left out with stamped over plain, and those kept."""

    path: Path
    left_out: dict[int, float]
    kept: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        """One line for each batch size left out."""
        stays = ", ".join(map(str, self.kept)) or "nothing, no file"
        for size, cost in self.left_out.items():
            yield f"{self.path.stem:<56} {size:>8} {cost:>16.3f}  {stays}"


def ship(source: Path, folder: Path) -> list[Row]:
    """Save the batch sizes whose stamps are cheap, of every profile in a folder.

    Raises:
        FileNotFoundError: No profiles in the source.
    """
    paths = sorted(source.glob(f"*{SUFFIX}"))
    if not paths:
        raise FileNotFoundError(f"No *{SUFFIX} in {source}; name the folder of the raw profiles.")
    return [_ship(path, folder) for path in paths]


def _ship(path: Path, folder: Path) -> Row:
    profile = dscwb.load_profile(path)
    costs = {size: dscwb.calibration(profile, size)[0] for size in profile.batch_sizes}
    left_out = {size: cost for size, cost in costs.items() if cost > DEAREST}
    kept = tuple(size for size in costs if size not in left_out)
    if kept:
        source = profile.provenance
        named = replace(
            source,
            device=source.device.replace(SHORT, SPELLED_OUT),
            note=source.note.replace(SHORT, SPELLED_OUT),
        )
        passes = tuple(one for one in profile.passes if one.batch_size not in left_out)
        dscwb.save_profile(replace(profile, provenance=named, passes=passes), folder / path.name)
    return Row(path, left_out, kept)


def main() -> None:
    """Ship, and say what was left out and why."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ship_gpu", description=__doc__)
    parser.add_argument("source", type=Path, help="folder of raw profiles")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    options = parser.parse_args()
    rows = ship(options.source, options.folder)
    print(HEAD)
    for row in rows:
        for line in row.lines():
            print(line)
    sizes = sum(len(row.kept) for row in rows)
    print(f"{sum(bool(row.kept) for row in rows)} files with {sizes} batch sizes are shipped,")
    print(f"{sum(len(row.left_out) for row in rows)} batch sizes cost more than {DEAREST - 1:.0%}.")


if __name__ == "__main__":
    main()
