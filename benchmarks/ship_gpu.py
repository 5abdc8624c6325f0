"""Ship what can be trusted of GPU profiles: ``python -m benchmarks.ship_gpu SOURCE [FOLDER]``.

A stamp takes time on a GPU that waits for its next launch, and what it adds to a pass it adds to
heads and tails too. So a batch size is left out where stamped passes took more than 10 % longer
than plain ones. It is left out too where a larger batch took over 10 % less time: such a batch
waits for launches, so its time is the host's, and the host was slowed down meanwhile. All others
stay as they were measured, raw passes and provenance; only the short "SMs" of a device's name is
spelled out. Files that were set aside by a later measurement, with their date in the name, stay
where they are. A file that is there already stays if it has more batch sizes by these rules. All
go into ``data/profiles`` where no FOLDER is given.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dscwb
from dscwb.profiles.files import SUFFIX
from dscwb.profiles.records import Profile

FOLDER = Path(__file__).parent.parent / "data" / "profiles"
DEAREST = 1.10  # stamped over plain, median of the rounds: what one in ten costs is kept
SET_ASIDE = re.compile(r"-\d{14}\+*$")  # the end of a name, as measuring gives it
SHORT, SPELLED_OUT = " SMs", " multiprocessors"
SLOWED = 1.10  # a batch's time over that of a larger one
HEAD = f"{'file':<56} {'left out':>8} {'stamped / plain':>16} {'over a larger':>14}  stays"


@dataclass(frozen=True)
class Row:
    """What became of one file: batch sizes left out with both ratios, and those kept."""

    path: Path
    left_out: dict[int, tuple[float, float]]
    kept: tuple[int, ...]

    def lines(self) -> Iterator[str]:
        """One line for each batch size left out."""
        stays = ", ".join(map(str, self.kept)) or "nothing, no file"
        for size, (cost, over) in self.left_out.items():
            yield f"{self.path.stem:<56} {size:>8} {cost:>16.3f} {over:>14.2f}  {stays}"


def ship(source: Path, folder: Path) -> list[Row]:
    """Save the batch sizes whose stamps are cheap, of every profile in a folder.

    Raises:
        FileNotFoundError: No profiles in the source.
    """
    found = sorted(source.glob(f"*{SUFFIX}"))
    paths = [path for path in found if not SET_ASIDE.search(path.stem)]
    if not paths:
        raise FileNotFoundError(f"No *{SUFFIX} in {source}; name the folder of the raw profiles.")
    return [_ship(path, folder) for path in paths]


def _ship(path: Path, folder: Path) -> Row:
    profile = dscwb.load_profile(path)
    left_out = _distrusted(profile)
    kept = tuple(size for size in profile.batch_sizes if size not in left_out)
    if kept and len(kept) >= _trusted(folder / path.name):
        source = profile.provenance
        named = replace(
            source,
            device=source.device.replace(SHORT, SPELLED_OUT),
            note=source.note.replace(SHORT, SPELLED_OUT),
        )
        passes = tuple(one for one in profile.passes if one.batch_size not in left_out)
        dscwb.save_profile(replace(profile, provenance=named, passes=passes), folder / path.name)
    return Row(path, left_out, kept)


def _distrusted(profile: Profile) -> dict[int, tuple[float, float]]:
    """Stamped over plain, and time over that of a larger batch, where one is too much."""
    totals = {size: profile.total_s(size) for size in profile.batch_sizes}
    ratios = {
        size: (
            dscwb.calibration(profile, size)[0],
            total / min(other for larger, other in totals.items() if larger >= size),
        )
        for size, total in totals.items()
    }
    return {n: both for n, both in ratios.items() if both[0] > DEAREST or both[1] > SLOWED}


def _trusted(path: Path) -> int:
    """How many batch sizes of a file would be shipped; 0 where there is none."""
    if not path.exists():
        return 0
    profile = dscwb.load_profile(path)
    return len(profile.batch_sizes) - len(_distrusted(profile))


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
    print(f"{sum(len(row.left_out) for row in rows)} batch sizes are left out.")


if __name__ == "__main__":
    main()
