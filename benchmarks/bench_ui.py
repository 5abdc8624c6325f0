"""From a key press to the repainted picture, in a real browser: ``python -m benchmarks.bench_ui``.

One JupyterLab, one notebook, one kernel; three ways to show the same study:

* ours: the workbench, six linked views that the browser computes and draws;
* interact: the same views, drawn by plotly into an Output by `ipywidgets.interact`;
* interact with the two maps only, as a quick notebook would have it.

Blocks of key presses on each one take turns, so that whatever else the machine does falls on all.
A press counts from the browser's own time stamp of it until the frame is rendered in which the
picture has changed: in the workbench when another state is painted, in an Output when new figures
with the new state hold their traces. Of the workbench alone: another pair of profiles, that the
kernel has to send or that came while the hand rested, and how often it is repainted while a hand
drags over a map.

Times depend on the machine and are upper bounds where Chromium draws in software; their ratio
hardly does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
from playwright.sync_api import Page

import dscwb
from dscwb.profiles.files import save_profile
from dscwb.profiles.records import Profile
from tests.browser import HOW_TO_GET_ONE, find_chromium
from tests.lab import (
    FIRST_PAINT_MS,
    NOTEBOOK,
    ROOT,
    chromium_page,
    jupyterlab,
    open_notebook,
    run_cells,
    shut_down,
)

PRESSES, BLOCK = 60, 10
STUDY_PRESSES = 20  # of the round trip: each needs a new study
FIRST_PAINTS = 3
BATCH_SIZES, RATES = 62, 127  # the grid of the paper (arXiv 2205.11269)
WINDOW_PX = 900  # high: a laptop's screen
PAIRS = 12  # devices that the browser has not seen
DRAG_MOVES = 150  # of the mouse, as fast as the browser takes them
MEDIAN_MS, P95_MS, PAIR_MS, REPAINTS_A_SECOND = 33, 50, 60, 30  # what the workbench aims at

MODEL = "efficientnet_b4-380-epyc-1t-float32.parquet"

SETUP = f"""
import functools
import ipywidgets as widgets
import numpy as np
import plotly.io
import dscwb
import dscwb.figures as figures
from IPython.display import display

plotly.io.renderers.default = "plotly_mimetype"
RATES_BPS = np.geomspace(1e4, 1e10, {RATES})
edge = dscwb.load_profile("profile.parquet")
"""

OURS = "dscwb.SplitWorkbench(edge)"

INTERACT = """
@functools.lru_cache(maxsize=2)
def study_at(round_trip_ms):
    return dscwb.sweep(
        edge, dscwb.scale_profile(edge, 20), link=dscwb.Link(round_trip_ms / 1e3),
        input_encoding="float32", feature_encoding="float32", data_rates_bps=RATES_BPS)

def views_of(study, state):
    return (
        figures.plot_maps(study, **state), figures.plot_latency_vs_rate(study, **state),
        figures.plot_latency_breakdown(study, **state), figures.plot_compression(study.edge.graph))

def maps_of(study, state):
    return (figures.plot_maps(study, **state),)

def interact(pictures):
    def draw(rate, round_trip_ms):
        state = dict(batch_size=1, data_rate_bps=rate * 1e6)
        for figure in pictures(study_at(round_trip_ms), state):
            figure.update_layout(meta={"at": f"{rate} {round_trip_ms}"})
            display(figure)
    widgets.interact(
        draw,
        rate=widgets.FloatLogSlider(description="Data rate", min=-2, max=4, step=0.02, value=50),
        round_trip_ms=widgets.BoundedFloatText(description="Round trip (ms)", min=0, max=1e4))

interact(views_of)
"""

WATCH = Path(__file__).with_suffix(".js").read_text("utf-8")
"""See there."""


@dataclass(frozen=True)
class Way:
    """A way to show the study.

    Attributes:
        name: In the page's script.
        title: In the table.
        cell: Number of its cell.
    """

    name: str
    title: str
    cell: int


Press = Callable[[Page, Way, int], list[float]]
"""Presses keys on one way so many times; gives the milliseconds of each."""

WAYS = (
    Way("ours", "workbench, six views", 1),
    Way("interact", "interact + Output, the same views", 2),
    Way("maps", "interact + Output, two maps", 3),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_ui", description=__doc__)
    parser.add_argument("--presses", type=int, default=PRESSES, help="of the slider, each way")
    parser.add_argument("--study-presses", type=int, default=STUDY_PRESSES)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--first-paints", type=int, default=FIRST_PAINTS)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part, again for more")
    options = parser.parse_args(arguments)
    chromium = find_chromium()
    if chromium is None:
        sys.exit(HOW_TO_GET_ONE)
    with tempfile.TemporaryDirectory() as folder, jupyterlab(_project(folder), Path(folder)) as url:
        for name, part in PARTS.items():
            if name in (options.only or PARTS):
                part(chromium, url, options)


def beside(chromium: Path, url: str, options: argparse.Namespace) -> None:
    """The three ways in one notebook, in turns."""
    with chromium_page(chromium, height=2200) as page:
        open_notebook(page, url, NOTEBOOK.name)
        run_cells(page)
        page.evaluate(WATCH)
        for way in WAYS:
            _bring(page, way)
            page.wait_for_function(
                "(way) => window.bench.state[way]() !== null",
                arg=way.name,
                timeout=FIRST_PAINT_MS,
            )
        _wait_for_confidence(page)
        fresh = _blocks(page, options.study_presses, _press_round_trip)
        _wait_for_confidence(page)
        slid = _blocks(page, options.presses, _press_rate)
        shut_down(page)
    _report("key on the round trip (another study)", fresh)
    _report("key on the data rate (another state)", slid)


def alone(chromium: Path, url: str, options: argparse.Namespace) -> None:
    """The workbench in a notebook of its own, as it is used, held against its aims."""
    ours = WAYS[0]
    with chromium_page(chromium, height=WINDOW_PX) as page:
        open_notebook(page, url, "workbench.ipynb")
        run_cells(page)
        page.locator(".dscwb[data-draws]").wait_for(timeout=FIRST_PAINT_MS)
        page.evaluate(WATCH)
        _bring(page, ours)
        _press_rate(page, ours, BLOCK)  # warms up
        # From the end of the list, and faster than any of them could have come before.
        sent = _press_list(page, ours, "Device", ["End", *["ArrowUp"] * (options.pairs - 1)])
        page.wait_for_function(
            "() => { const { desk } = document.querySelector('.dscwb').dscwb;"
            " return desk.likely().every((key) => desk.pairs.has(key)); }",
            timeout=FIRST_PAINT_MS,
        )
        here = _press_list(page, ours, "Server", ["ArrowDown"] * options.pairs)
        _wait_for_confidence(page)
        fresh = _press_round_trip(page, ours, options.presses)
        slid = _press_rate(page, ours, options.presses)
        repaints = _drag(page)
        shut_down(page)
    print("the workbench alone:")
    for what, times in (("another study", fresh), ("slider", slid)):
        _against(f"{what}, key to paint, median", statistics.median(times), MEDIAN_MS, "ms")
        _against(f"{what}, key to paint, p95", _p95(times), P95_MS, "ms")
    _against("repaints while dragging", -repaints, -REPAINTS_A_SECOND, "a second")
    for what, times in (("that came before", here), ("from the kernel", sent)):
        _against(f"a pair {what}, median", statistics.median(times), PAIR_MS, "ms")
        print(f"  the slowest of {len(times)}: {max(times):.0f} ms")


def _project(folder: str) -> Path:
    """Notebooks to open, and a profile as large as the paper's grid."""
    project = Path(folder, "project")
    notebooks = project / "notebooks"
    notebooks.mkdir(parents=True)
    profile = dscwb.load_profile(ROOT / "data" / "profiles" / MODEL)
    save_profile(stretched(profile, BATCH_SIZES), notebooks / "profile.parquet")
    for name, cells in {
        NOTEBOOK.name: [SETUP, OURS, INTERACT, "interact(maps_of)"],
        "workbench.ipynb": ["import dscwb", "dscwb.SplitWorkbench('profile.parquet')"],
        "bare.ipynb": [
            "import plotly.graph_objects as go",
            "go.FigureWidget([go.Heatmap(z=[[1, 2], [3, 4]])])",
        ],
    }.items():
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
        nbformat.write(book, notebooks / name)
    return project


def stretched(profile: Profile, batch_size: int) -> Profile:
    """The profile with one more batch size, as if its times grew linearly: for its size only."""
    last = profile.passes[-1]
    factor = batch_size / last.batch_size
    longer = replace(
        last,
        batch_size=batch_size,
        plain_ns=(last.plain_ns * factor).astype(last.plain_ns.dtype),
        stamped_ns=(last.stamped_ns * factor).astype(last.stamped_ns.dtype),
        separate=(),
    )
    return replace(profile, passes=(*profile.passes, longer))


def _bring(page: Page, way: Way) -> None:
    page.locator(".jp-CodeCell").nth(way.cell).locator(".jp-OutputArea").first.evaluate(
        "(cell) => cell.scrollIntoView()"
    )


def _wait_for_confidence(page: Page) -> None:
    """Until the workbench has hatched undecided states, beside which nothing else runs."""
    page.wait_for_function(
        "() => document.querySelector('.dscwb').dscwb.desk.confidence !== null",
        timeout=FIRST_PAINT_MS,
    )


def _blocks(page: Page, presses: int, press: Press) -> dict[str, list[float]]:
    """Milliseconds of each press by way; ways take turns, the first block of each warms up."""
    taken: dict[str, list[float]] = {way.name: [] for way in WAYS}
    count = min(BLOCK, presses)
    for block in range(1 + -(-presses // count)):
        for way in WAYS if block % 2 else reversed(WAYS):
            _bring(page, way)
            times = press(page, way, count if block else 2)
            taken[way.name] += times if block else []
    return taken


def _press_rate(page: Page, way: Way, count: int) -> list[float]:
    cell = page.locator(".jp-CodeCell").nth(way.cell)
    theirs = cell.locator(".widget-hslider").filter(has_text="Data rate").locator(".noUi-handle")
    (cell.get_by_role("slider", name="Data rate") if way.name == "ours" else theirs).focus()
    return [_press(page, way, "ArrowRight") for _ in range(count)]


def _press_round_trip(page: Page, way: Way, count: int) -> list[float]:
    name = "Round trip" if way.name == "ours" else "Round trip (ms)"
    page.locator(".jp-CodeCell").nth(way.cell).get_by_label(name, exact=True).focus()
    return [_press(page, way, "ArrowUp") for _ in range(count)]


def _press_list(page: Page, way: Way, name: str, keys: Sequence[str]) -> list[float]:
    page.locator(".jp-CodeCell").nth(way.cell).get_by_label(name, exact=True).focus()
    return [_press(page, way, key) for key in keys]


def _drag(page: Page) -> float:
    """Repaints of the workbench in a second, while the mouse goes over a map and back."""
    box = page.locator("canvas.splits").first.bounding_box()
    assert box
    left, top, wide, high = (box[name] for name in ("x", "y", "width", "height"))
    state = "() => [Number(document.querySelector('.dscwb').dataset.draws), performance.now()]"
    page.mouse.move(left + 0.3 * wide, top + 0.4 * high)
    page.mouse.down()
    first, begun = page.evaluate(state)
    for x in (0.9, 0.3):
        page.mouse.move(left + x * wide, top + 0.5 * high, steps=DRAG_MOVES)
    last, ended = page.evaluate(state)
    page.mouse.up()
    return float(1000 * (last - first) / (ended - begun))


def _press(page: Page, way: Way, key: str) -> float:
    """Milliseconds from a key to the frame that shows what it did.

    Raises:
        RuntimeError: Nothing was painted.
    """
    page.evaluate("(way) => { window.bench.arm(way); }", way.name)
    page.keyboard.press(key)
    took = page.evaluate(
        "() => Promise.race([window.bench.took, new Promise((d) => setTimeout(d, 60000, null))])"
    )
    if took is None:
        raise RuntimeError(f"{way.title}: {key} changed nothing in a minute.")
    return float(took)


def first_paints(chromium: Path, url: str, options: argparse.Namespace) -> None:
    """Seconds from Run All to the first picture, the workbench and a FigureWidget in turn."""
    pictures = {
        "workbench.ipynb": "document.querySelector('.dscwb[data-draws]')",
        "bare.ipynb": "document.querySelector('.js-plotly-plot .hm image')",
    }
    taken: dict[str, list[float]] = {name: [] for name in pictures}
    for _ in range(options.first_paints):
        for name, there in pictures.items():
            with chromium_page(chromium) as page:
                open_notebook(page, url, name)
                # The last click before the picture is that on Run All Cells, if one was dropped.
                page.evaluate(
                    """(there) => {
                  document.addEventListener('click', () => { window.ran = performance.now(); },
                    { capture: true });
                  const look = () => (eval(there) ? requestAnimationFrame(() => {
                    window.first = performance.now(); }) : requestAnimationFrame(look));
                  look();
                }""",
                    there,
                )
                run_cells(page)
                page.wait_for_function("() => window.first", timeout=FIRST_PAINT_MS)
                taken[name].append(page.evaluate("() => (window.first - window.ran) / 1000"))
                shut_down(page)
    ours, bare = (statistics.median(taken[name]) for name in pictures)
    print(
        f"Run All to first picture, {options.first_paints} times each: workbench {ours:.1f} s, "
        f"bare FigureWidget {bare:.1f} s, ratio {ours / bare:.2f}"
    )


def _report(what: str, taken: dict[str, list[float]]) -> None:
    """A table of the ways."""
    print(f"{what}, {len(taken['ours'])} presses each:")
    theirs = statistics.median(taken["interact"])
    for way in WAYS:
        times = taken[way.name]
        median = statistics.median(times)
        print(
            f"  {way.title:<36} {median:5.0f} ms median {_p95(times):5.0f} ms p95"
            f"  {median / theirs:.2f} of interact"
        )


def _against(what: str, found: float, most: float, unit: str) -> None:
    """One number beside what it should be at most; negative ones are to be at least that."""
    word = "at most" if most > 0 else "at least"
    over = "" if found <= most else "  MISSED"
    print(f"{what}: {abs(found):.0f} {unit}, aim {word} {abs(most)} {unit}{over}")


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


PARTS = {"first": first_paints, "beside": beside, "alone": alone}


if __name__ == "__main__":
    main()
