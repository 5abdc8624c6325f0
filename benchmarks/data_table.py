"""Rewrite the table in ``data/README.md`` from the files: ``python -m benchmarks.data_table``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dscwb.profiles.files import SUFFIX, load_profile
from dscwb.profiles.library import calibration, model_error
from dscwb.profiles.records import Profile
from dscwb.units import format_seconds
from dscwb.writing import atomically

DATA = Path(__file__).parent.parent / "data"
README = DATA / "README.md"
BEGIN = "<!-- table: python -m benchmarks.data_table -->\n"
END = "<!-- end of table -->\n"
HEAD = (
    "| file | origin | batch sizes | not `ok` | T | IQR/T "
    "| stamps | model error | date | SHA-256 |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


def table(folder: Path = DATA / "profiles") -> str:
    """One line a file, in Markdown."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    return HEAD + "".join(_line(path, load_profile(path)) for path in paths)


def _line(path: Path, profile: Profile) -> str:
    sizes = profile.batch_sizes
    spreads = [profile.spread(size) for size in sizes]
    cells = (
        f"`{path.name}`",
        profile.provenance.origin,
        ", ".join(map(str, sizes)),
        _not_ok(profile),
        f"{format_seconds(profile.total_s(sizes[0]))} at {sizes[0]}",
        f"{min(spreads):.0%} to {max(spreads):.0%}",
        f"{100 * max(calibration(profile, size)[0] - 1 for size in sizes):+z.0f} %",
        _worst_error(profile),
        profile.provenance.date[:10],
        f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`",
    )
    return f"| {' | '.join(cells)} |\n"


def _not_ok(profile: Profile) -> str:
    """Batch sizes by their verdict: ``biased 1, 4; noisy 2``; a dash where all are ok."""
    by_status: dict[str, list[int]] = {}
    for size in profile.batch_sizes:
        if (status := profile.status(size)) != "ok":
            by_status.setdefault(status, []).append(size)
    found = (f"{status} {', '.join(map(str, sizes))}" for status, sizes in by_status.items())
    return "; ".join(found) or "–"


def _worst_error(profile: Profile) -> str:
    """Where heads or tails disagree most with those really run; a dash where none were."""
    errors = [model_error(profile, size) for size in profile.batch_sizes]
    found = [(e.head, e.head_half_width) for e in errors if e.cuts]
    found += [(e.tail, e.tail_half_width) for e in errors if e.cuts]
    if not found:
        return "–"
    worst, give_or_take = max(found, key=lambda pair: abs(pair[0]))
    return f"{100 * worst:+z.1f} ± {100 * give_or_take:.1f} %"


def main() -> None:
    """Replace what stands between the two marks."""
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with atomically(README) as file:
        file.write_text(before + BEGIN + "\n" + table() + "\n" + END + after)


if __name__ == "__main__":
    main()
