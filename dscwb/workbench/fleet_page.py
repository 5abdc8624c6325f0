"""One HTML file in which a reader asks a fleet that was run at several sizes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dscwb import __version__
from dscwb.figures.fleet import ABOVE, DEADLINE, heading, looks
from dscwb.fleets.fleet import BOUND, SELFISH
from dscwb.fleets.histogram import GROWTH, RELATIVE_ERROR
from dscwb.packing import packed
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING, format_seconds
from dscwb.workbench.page import checked, rendered
from dscwb.writing import atomically

if TYPE_CHECKING:
    from dscwb.scaling.sizes import FleetSizes

SCRIPTS = (
    *("numbers.js", "pen.js", "svg.js", "plots.js", "controls.js", "sheet.js", "fleet.js"),
    "fleet_screen.js",
)
"""Those of the workbench that need no study of a pair, and its own."""


def save_fleet_page(sizes: FleetSizes, path: str | os.PathLike[str]) -> Path:
    """Write one HTML file in which a deadline and a share are moved: no kernel, no network.

    It says how many devices have this share of their requests answered within the deadline under
    each strategy, and draws latency and the share over the number of devices. It holds all
    latencies as they were counted: a share is exact at the deadline of the run, and at all others
    that its slider offers.

    Args:
        sizes: What `fleet_sizes` gave.
        path: The file, ``.html``.

    Returns:
        The path written.

    Raises:
        ValueError: Another ending, or fleets of some size had no request.
    """
    path = checked(path)
    text = rendered(
        "fleet.html",
        title=heading(sizes),
        held=packed(json.dumps(_held(sizes), separators=(",", ":")).encode(), level=9),
        scripts=SCRIPTS,
        deadline=format_seconds(sizes.deadline_s),
        told=sizes.summary(),
    )
    with atomically(path) as file:
        file.write_text(text, encoding="utf-8")
    return path


def _held(sizes: FleetSizes) -> dict[str, Any]:
    """What the browser is given."""
    look, rows = looks(sizes), sizes.table()
    names, numbers = sizes.strategies, sizes.numbers
    cells = {name: [_cell(sizes, name, number) for number in numbers] for name in names}
    first = [names.index(one) for one in (SELFISH, FULL_OFFLOADING) if one in names]
    return {
        "numbers": numbers,
        "deadline_s": sizes.deadline_s,
        "strategies": [_look(*look[name]) | {"cells": cells[name]} for name in names],
        "local": names.index(NO_OFFLOADING) if NO_OFFLOADING in names else -1,
        "start": first[0] if first else 0,
        "bound_s": rows["bound_s"].groupby("number").first().tolist(),
        "bound_look": _look(*look[BOUND]),
        "goal_colour": DEADLINE,
        "growth": GROWTH,
        "error": RELATIVE_ERROR,
        "above": ABOVE,
        "device": sizes.devices.name,
        "model": sizes.devices.study.edge.graph.model,
        "about": f"{sizes.label()} Made with dscwb {__version__}.",
    }


def _look(words: str, colour: str, dash: str, symbol: str) -> dict[str, str]:
    return {"words": words, "colour": colour, "dash": dash, "symbol": symbol}


def _cell(sizes: FleetSizes, name: str, number: int) -> dict[str, Any]:
    """What a strategy came to at a number of devices."""
    counted, late = sizes.latencies[name, number], cast("Any", sizes.table()["late"])
    if not counted.count:
        raise ValueError(f"No request of {number} devices came; give a longer duration_s.")
    bins = sorted(counted.bins)
    return {
        "requests": counted.count,
        "late": round(late[name, number] * counted.count),
        "mean_s": counted.mean_s,
        "bins": bins,
        "counts": [counted.bins[at] for at in bins],
    }
