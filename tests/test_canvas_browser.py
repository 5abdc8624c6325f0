"""The canvas as a hand meets it: real JupyterLab, real Chromium; values, not pixels."""

import json

import nbformat
import numpy as np
import pytest

import dscwb
from dscwb.profiles.files import save_profile
from tests.lab import (
    ANSWER_MS,
    FIRST_PAINT_MS,
    notebook_page,
    run_cells,
    shown,
    wait_for_caption,
    wait_until,
)
from tests.test_picture import study
from tests.tiny import profile_of, tiny_graph

pytestmark = pytest.mark.browser

MS = 1_000_000
# Three measured batch sizes of five, so that some are interpolated; a cap that some heads exceed.
BATCHES = (1, 3, 5)
CAP = 1700.0

SETUP = """
import ipywidgets as widgets
import numpy as np
from dataclasses import replace
import dscwb
from dscwb.workbench.canvas import Canvas
from dscwb.workbench.controls import KeepKeys
from dscwb.workbench.state import State

edge = dscwb.load_profile("edge.parquet")
options = {"link": dscwb.Link(0.002), "input_encoding": "float32", "memory_cap_bytes": 1700.0}

def sweep(encoding):
    return dscwb.sweep(
        edge, dscwb.scale_profile(edge, 10), feature_encoding=encoding,
        data_rates_bps=np.geomspace(1e4, 1e6, 61), arrival_rate_hz=50.0, **options)

view, state = Canvas(), State("tiny", batch_size=1, data_rate_bps=1e5)
study = sweep("float32")

def show(traits):
    with view.hold_sync():
        for name, value in traits.items():
            setattr(view, name, value)

def place(batch_size, rate):
    global state
    state = replace(state, batch_size=batch_size, data_rate_bps=rate)
    answer = f"answer for {batch_size} and {rate:g}"
    show(view.picture(study, state, None, answer, moved=True))

def move(batch_size, rate):
    place(batch_size, rate)
    slider.value = rate

def click(change):
    # The browser moves a slider that stands between two steps to one of them.
    rate = float(10 ** (round(np.log10(change["new"]["data_rate_bps"]) * 50) / 50))
    move(change["new"]["batch_size"], rate)

def choose(change):
    global study
    study = sweep(change["new"])
    show(view.picture(study, state, None, "int8"))

show(view.picture(study, state, study.confidence(40), "first answer"))
view.observe(click, "clicked")
slider = widgets.FloatLogSlider(description="Data rate", min=4, max=6, step=0.02, value=1e5)
slider.observe(lambda change: place(state.batch_size, change["new"]), "value")
choice = widgets.Dropdown(description="Features", options=["float32", "int8"])
choice.observe(choose, "value")
again = widgets.Button(description="Again")
again.on_click(lambda _: [place(1 + k % 5, 1e4 * 1.015**k) for k in range(301)])
widgets.VBox([KeepKeys(), slider, choice, again]).add_class("dscwb")
"""


def the_study(encoding="float32"):
    """The notebook's."""
    return study(
        batches=BATCHES,
        feature_encoding=encoding,
        data_rates_bps=np.geomspace(1e4, 1e6, 61),
        memory_cap_bytes=CAP,
        arrival_rate_hz=50.0,
        link=dscwb.Link(0.002),
    )


@pytest.fixture(scope="module")
def page(lab, chromium):
    """A notebook of three cells: controls, the canvas, the canvas once more."""
    url, folder = lab
    layers = {size: [size * ns * MS for ns in (10, 20, 30)] for size in BATCHES}
    save_profile(profile_of(tiny_graph(), layers), folder / "edge.parquet")
    cells = [nbformat.v4.new_code_cell(text) for text in (SETUP, "view", "view")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "canvas.ipynb")
    with notebook_page(chromium, url, "canvas.ipynb") as (page, errors):
        page.errors = errors
        wait_for_views(page, 2)
        yield page


def wait_for_views(page, count):
    page.wait_for_function(
        "(count) => document.querySelectorAll('.dscwb-canvas[data-draws]').length === count",
        arg=count,
        timeout=FIRST_PAINT_MS,
    )


def handle(page):
    return page.locator(".widget-hslider", has_text="Data rate").locator(".noUi-handle")


def reading(page, size, rate):
    """What JavaScript says of a state; NaN and infinity come as words."""
    told = page.evaluate(
        """([size, rate]) => {
          const { study } = document.querySelector('.dscwb-canvas').dscwb;
          const row = study.rowOf(size), best = study.bestAt(row, rate);
          const { second, margin } = study.runnerUp(row, rate);
          return JSON.stringify(
            { best: study.candidates[best].name, parts: study.partsAt(row, best, rate), margin,
              latency: study.latencyAt(row, best, rate), gain: study.gainAt(row, rate),
              runnerUp: study.candidates[second]?.name ?? '',
              latencies: study.candidates.map((_, split) => study.latencyAt(row, split, rate)) },
            (_, value) => typeof value === 'number' && !isFinite(value) ? `${value}` : value);
        }""",
        [size, rate],
    )
    return json.loads(told)


def map_box(page, name):
    """A map's plot in the page, from its left and lower edge: x, y, width, height."""
    canvas = page.locator(f"canvas.{name}").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, right = (60, 140) if name == "splits" else (20, 68)
    return box["x"] + left, box["y"] + 6, box["width"] - left - right, 300


def click(page, name, x, y):
    """Click at these shares of a map's width and height, once nothing lies over it."""
    canvas = page.locator(f"canvas.{name}").first
    left, top, width, height = map_box(page, name)
    box = canvas.bounding_box()
    at = {"x": left - box["x"] + x * width, "y": top - box["y"] + (1 - y) * height}
    canvas.click(position=at)


def test_key_presses_on_the_slider_move_the_state(page):
    size, before = shown(page)
    handle(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    _, after = wait_until(page, f"rate > {before * 10**0.099}")
    assert after == pytest.approx(before * 10**0.1)
    label = page.locator("canvas.splits").first.get_attribute("aria-label")
    assert label.endswith(f"answer for {size} and {after:g}")
    assert page.locator("canvas[role=img][aria-label]").count() == 10


@pytest.mark.parametrize(("name", "x", "row"), [("splits", 0.25, 3), ("gains", 0.7, 1)])
def test_a_click_on_a_map_sets_rate_and_batch_size(page, name, x, row):
    click(page, name, x, (row + 0.5) / 5)
    size, rate = wait_until(page, f"size === {row + 1}")
    assert rate == pytest.approx(10 ** (4 + 2 * x), rel=0.03)
    assert size == row + 1


def test_a_drag_ends_where_the_hand_does(page):
    left, top, width, height = map_box(page, "splits")
    page.mouse.move(left + 0.1 * width, top + 0.1 * height)
    page.mouse.down()
    page.mouse.move(left + 0.8 * width, top + 0.9 * height, steps=25)
    page.mouse.up()
    _, rate = wait_until(page, "size === 1 && rate > 3.8e5")
    assert rate == pytest.approx(10**5.6, rel=0.03)


def test_arrow_keys_on_a_focused_map_are_all_counted(page):
    click(page, "splits", 0.5, 0.5)
    size, before = wait_until(page, "size === 3 && rate < 2e5")
    page.locator("canvas.splits").first.focus()
    for key in ("ArrowRight",) * 6 + ("ArrowUp",):
        page.keyboard.press(key)
    size, after = wait_until(page, f"size === 4 && rate > {before * 10**0.11}")
    assert after == pytest.approx(before * 10**0.12, rel=0.03)
    page.keyboard.press("Home")
    assert wait_until(page, "rate === 1e4")[0] == size


def test_an_arrow_key_goes_on_from_what_the_slider_said_last(page):
    click(page, "splits", 0.5, 0.5)
    _, clicked = wait_until(page, "size === 3 && rate < 2e5")
    handle(page).focus()
    page.keyboard.press("PageUp")
    _, moved = wait_until(page, f"rate > {clicked * 10**0.05}")
    page.locator("canvas.splits").first.focus()
    page.keyboard.press("ArrowRight")
    _, after = wait_until(page, f"rate !== {moved}")
    assert after == pytest.approx(moved * 10**0.02, rel=0.01)


@pytest.mark.parametrize("encoding", ["float32", "int8"])
def test_javascript_agrees_with_python(page, encoding):
    page.get_by_label("Features").select_option(encoding)
    wait_for_caption(page, f"features {encoding}")
    wanted = the_study(encoding)
    rng = np.random.default_rng(5)
    for _ in range(40):
        size, rate = int(rng.integers(1, 6)), float(10 ** rng.uniform(4, 6))
        told, decision = reading(page, size, rate), wanted.at(size, rate)
        assert told["best"] == decision.split
        assert told["runnerUp"] == decision.runner_up
        near = {"rel": 1e-5, "abs": 1e-9}
        assert told["latency"] == pytest.approx(decision.latency_s, **near)
        assert float(told["margin"]) == pytest.approx(decision.margin, rel=1e-4, abs=1e-7)
        parts = told["parts"]
        assert parts["head"] == pytest.approx(decision.head_s, **near)
        assert parts["transfer"] + parts["link"] == pytest.approx(decision.transfer_s, **near)
        assert parts["tail"] == pytest.approx(decision.tail_s, **near)
        assert parts["wait"] == pytest.approx(decision.wait_s, **near)
        gain = wanted.gain_at(size, rate)
        assert float(told["gain"]) == pytest.approx(gain, abs=1e-5, nan_ok=True)
        assert len(told["latencies"]) == len(wanted.splits)


def test_at_a_switching_rate_javascript_chooses_as_python_does(page):
    page.get_by_label("Features").select_option("float32")
    wait_for_caption(page, "features float32")
    wanted = the_study()
    for change in wanted.switching_rates().itertuples():
        told = reading(page, change.batch_size, change.data_rate_bps)
        assert told["best"] == change.below
        assert reading(page, change.batch_size, change.data_rate_bps * 1.001)["best"] != (
            change.below
        )


def test_hover_explains_the_cell(page):
    left, top, width, height = map_box(page, "splits")
    page.mouse.move(left + 0.9 * width, top + 0.9 * height)
    page.locator(".dscwb-canvas .tip:not([hidden])").first.wait_for()
    words = page.locator(".dscwb-canvas .tip").first.inner_text()
    assert words.startswith("Batch size 1, ")
    for part in ("kB/s", " ms = ", "payload", "second best", "device measured, server assumed"):
        assert part in words, part
    page.mouse.move(2, 2)
    page.locator(".dscwb-canvas .tip:not([hidden])").first.wait_for(state="detached")


def test_three_hundred_moves_leave_nothing_behind(page):
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def counts():
        for _ in range(2):
            session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in metrics}

    def move():
        draws = int(page.locator(".dscwb-canvas").first.get_attribute("data-draws"))
        page.get_by_role("button", name="Again").click()
        wait_until(
            page,
            "Math.abs(rate / (1e4 * 1.015 ** 300) - 1) < 1e-9"
            f" && Number(view.dataset.draws) > {draws}",
        )

    move()  # JupyterLab itself makes some things late
    before = counts()
    move()
    after = counts()
    # A listener or a node that each move left behind would be three hundred.
    assert after["JSEventListeners"] < before["JSEventListeners"] + 150
    assert after["Nodes"] < before["Nodes"] + 150
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 2e6


def test_a_view_that_is_shown_again_replaces_the_old_one(page):
    page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
    page.evaluate("document.querySelectorAll('.dscwb-canvas')[1].dataset.old = 'yes'")
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "document.querySelectorAll('.dscwb-canvas[data-draws]:not([data-old])').length === 2"
        " && !document.querySelector('.dscwb-canvas[data-old]')",
        timeout=ANSWER_MS,
    )
    click(page, "splits", 0.3, 0.5)
    wait_until(page, "size === 3")


def test_the_theme_is_followed(page):
    paper = "getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    drawn = "Number(document.querySelector('.dscwb-canvas').dataset.draws)"
    before = page.evaluate(f"[{paper}, {drawn}]")
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()
    page.wait_for_function(
        f"([paper, draws]) => {paper} !== paper && {drawn} > draws", arg=before, timeout=ANSWER_MS
    )
    # The corner of the axis labels: light on dark now.
    bright = page.wait_for_function(
        """() => {
          const canvas = document.querySelector('canvas.splits');
          const foot = canvas.height - 12 * devicePixelRatio;
          const { data } = canvas.getContext('2d').getImageData(0, foot, canvas.width, 10);
          const ink = [...data.keys()].filter((k) => k % 4 === 3 && data[k] > 200);
          return ink.length > 0 && ink.every((k) => data[k - 1] > 128);
        }""",
        timeout=ANSWER_MS,
    )
    assert bright


def test_after_a_reload_picture_and_slider_agree(page):
    click(page, "splits", 0.6, 0.7)
    before = wait_until(page, "size === 4")
    page.keyboard.press("Control+s")
    page.locator(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)").wait_for()
    page.reload()
    wait_for_views(page, 2)
    assert shown(page) == before
    readout = page.locator(".widget-hslider", has_text="Data rate").locator(".widget-readout")
    assert float(readout.inner_text().replace(",", "")) == pytest.approx(before[1], rel=0.06)
    handle(page).focus()
    page.keyboard.press("ArrowLeft")
    wait_until(page, f"rate < {before[1]}")


def test_a_kernel_that_starts_anew_leaves_a_picture_that_says_so(page):
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Restart Kernel…").first.click()
    page.locator("dialog.jp-Dialog button.jp-mod-accept").last.click()
    page.locator("dialog.jp-Dialog").wait_for(state="detached")
    page.locator(".dscwb-canvas .lost").first.wait_for()
    click(page, "splits", 0.2, 0.2)
    page.locator("canvas.splits").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".dscwb-canvas .lost").first.is_visible()
    assert page.locator(".dscwb-canvas").count() == 2
    # And all of it comes back: pictures that were there are not drawn on any more.
    page.evaluate(
        "document.querySelectorAll('.dscwb-canvas').forEach((one) => { one.dataset.old = 'yes'; })"
    )
    run_cells(page)
    page.wait_for_function(
        "document.querySelectorAll('.dscwb-canvas[data-draws]:not([data-old])').length === 2",
        timeout=FIRST_PAINT_MS,
    )
    wait_until(page, "size === 1 && rate === 1e5")
    assert not page.locator(".dscwb-canvas .lost").first.is_visible()


def test_the_page_reported_no_errors(page):
    assert page.errors == []
