"""The workbench in a real JupyterLab: keys it gets, a kernel it tells, and life without one."""

import nbformat
import pytest

from dscwb.profiles.files import save_profile
from tests.lab import (
    ANSWER_MS,
    FIRST_PAINT_MS,
    NOTEBOOK,
    notebook_page,
    open_notebook,
    run_cells,
    shown,
    wait_until,
)
from tests.test_workbench import profile

pytestmark = pytest.mark.browser

SETUP = """
import json
import ipywidgets as widgets
import dscwb

bench = dscwb.SplitWorkbench(["tiny.parquet", "tiny_2.parquet"], model="tiny")
told = widgets.Label()
bench.observe(lambda _: setattr(told, "value", json.dumps(bench.state.values())), "shown")
rate = widgets.FloatText(description="linked rate")
widgets.link((bench, "data_rate_bps"), (rate, "value"))
size = widgets.IntText(description="linked size")
widgets.jslink((bench, "batch_size"), (size, "value"))
update = widgets.Button(description="Update")
update.on_click(lambda _: bench.update(feature_encoding="int8", server="T4 (modelled)"))
again = widgets.Button(description="Again")
again.on_click(lambda _: [bench.update(batch_size=1 + k % 4, data_rate_bps=1e4 * 1.015**k)
                          for k in range(301)])
widgets.VBox([told, rate, size, update, again])
"""


@pytest.fixture(scope="module")
def page(lab, chromium):
    """A notebook of three cells: a label of the kernel's state, the workbench, and it once more."""
    url, folder = lab
    for model, batches in (("tiny", (1, 4)), ("tiny_2", (1, 2))):
        save_profile(profile(model, batches), folder / f"{model}.parquet")
    cells = [nbformat.v4.new_code_cell(text) for text in (SETUP, "bench", "bench")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "screen.ipynb")
    with notebook_page(chromium, url, "screen.ipynb", height=2600) as (page, errors):
        page.errors = errors
        wait_for_views(page, 2)
        yield page


def wait_for_views(page, count, *, more=""):
    page.wait_for_function(
        f"(count) => document.querySelectorAll('.dscwb[data-draws]{more}').length === count",
        arg=count,
        timeout=FIRST_PAINT_MS,
    )


def wait_for_kernel(page, **wanted):
    """Until the kernel holds a state with these fields."""
    page.wait_for_function(
        """(wanted) => [...document.querySelectorAll('.widget-label')].some((label) => {
          if (!label.textContent.startsWith('{')) return false;
          const state = JSON.parse(label.textContent);
          return Object.entries(wanted).every(([name, value]) => state[name] === value);
        })""",
        arg=wanted,
        timeout=ANSWER_MS,
    )


def slider(page, name):
    return page.get_by_role("slider", name=name).first


def linked(page, name):
    return page.get_by_label(name)


def test_keys_reach_the_slider_and_the_kernel_hears_of_it(page):
    _, before = shown(page)
    slider(page, "Data rate").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    _, after = wait_until(page, f"rate > {before * 10**0.099}")
    assert after == pytest.approx(before * 10**0.1, rel=0.01)
    wait_for_kernel(page, data_rate_bps=after)
    page.wait_for_function(
        "(rate) => [...document.querySelectorAll('input[type=number]')]"
        ".filter((one) => Number(one.value) === rate).length === 1",  # the linked widget
        arg=after,
        timeout=ANSWER_MS,
    )


def test_keys_reach_lists_and_the_map_and_jupyterlab_keeps_its_own(page):
    cells = page.locator(".jp-CodeCell").count()
    page.get_by_label("Features sent as").first.focus()
    page.keyboard.press("ArrowDown")
    wait_until(page, "state.feature_encoding === 'float16'")
    page.locator("canvas.splits").first.focus()
    size, _ = shown(page)
    page.keyboard.press("ArrowUp")
    wait_until(page, f"size === {size + 1}")
    page.keyboard.press("b")  # in JupyterLab's hands a new cell
    page.get_by_role("spinbutton", name="Round trip").first.fill("12")
    wait_until(page, "state.round_trip_s === 0.012")
    wait_for_kernel(page, round_trip_s=0.012, feature_encoding="float16")
    assert page.locator(".jp-CodeCell").count() == cells
    page.keyboard.press("Control+s")
    page.locator(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)").wait_for()


def test_python_and_linked_widgets_move_the_picture(page):
    page.get_by_role("button", name="Update").click()
    wait_until(page, "state.feature_encoding === 'int8' && state.server === 'T4 (modelled)'")
    linked(page, "linked rate").fill("3000000")
    linked(page, "linked rate").blur()
    wait_until(page, "rate === 3e6")
    linked(page, "linked size").fill("2")  # in the browser alone
    linked(page, "linked size").blur()
    wait_until(page, "size === 2")
    wait_for_kernel(page, batch_size=2, data_rate_bps=3e6, feature_encoding="int8")


def test_another_pair_comes_from_the_kernel(page):
    variant = slider(page, "Variant")
    variant.focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "state.model === 'tiny_2'")
    wait_for_kernel(page, model="tiny_2")
    page.keyboard.press("ArrowLeft")
    wait_until(page, "state.model === 'tiny'")
    page.get_by_label("Device", exact=True).first.select_option("Raspberry Pi 5 (modelled)")
    wait_until(page, "state.edge === 'Raspberry Pi 5 (modelled)'")
    page.get_by_role("button", name="Undo").first.click()
    wait_until(page, "state.edge === 'bench clock (measured)'")


def test_while_the_hand_rests_what_it_may_choose_next_comes(page):
    here = "({ desk }) => desk.likely().every((key) => desk.pairs.has(key))"
    page.wait_for_function(
        f"() => ({here})(document.querySelector('.dscwb').dscwb)", timeout=ANSWER_MS
    )
    shown = page.evaluate(
        """() => {
          const { desk } = document.querySelector('.dscwb').dscwb, { machines } = desk.tables;
          return machines[desk.state.model].map((edge) => {
            desk.change({ edge });
            return desk.state.edge; // at once: nothing is asked for
          });
        }"""
    )
    assert len(shown) > 10
    assert len({*shown}) == len(shown)
    wait_for_kernel(page, edge=shown[-1])
    page.get_by_label("Device", exact=True).first.select_option("bench clock (measured)")
    wait_until(page, "state.edge === 'bench clock (measured)'")


def test_how_sure_every_state_is_comes_from_the_kernel(page):
    page.locator(".about.measured", has_text="of the replicates").first.wait_for()


def test_many_moves_leave_nothing_behind(page):
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def counts():
        for _ in range(2):
            session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in metrics}

    def move():
        draws = int(page.locator(".dscwb").first.get_attribute("data-draws"))
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


def test_the_theme_is_followed(page):
    paper = "getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    drawn = "Number(document.querySelector('.dscwb').dataset.draws)"
    before = page.evaluate(f"[{paper}, {drawn}]")
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()
    page.wait_for_function(
        f"([paper, draws]) => {paper} !== paper && {drawn} > draws", arg=before, timeout=ANSWER_MS
    )
    # The row of axis labels: light on dark now.
    page.wait_for_function(
        """() => {
          const canvas = document.querySelector('canvas.splits');
          const foot = canvas.height - 18 * devicePixelRatio;
          const { data } = canvas.getContext('2d').getImageData(0, foot, canvas.width, 17);
          const ink = [...data.keys()].filter((k) => k % 4 === 3 && data[k] > 100);
          return ink.length > 0 && ink.every((k) => data[k - 1] > 128);
        }""",
        timeout=ANSWER_MS,
    )


def test_after_a_reload_everything_is_as_it_was(page):
    slider(page, "Data rate").focus()
    page.keyboard.press("PageDown")
    page.get_by_label("Device", exact=True).first.select_option("Raspberry Pi 5 (modelled)")
    before = wait_until(page, "state.edge === 'Raspberry Pi 5 (modelled)'")
    wait_for_kernel(page, edge="Raspberry Pi 5 (modelled)", data_rate_bps=before[1])
    page.keyboard.press("Control+s")
    # Outputs that are not saved are gone after a reload, here as in every notebook.
    page.locator(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)").wait_for()
    page.reload()
    wait_for_views(page, 2)
    assert wait_until(page, "state.edge === 'Raspberry Pi 5 (modelled)'") == before
    assert (
        page.get_by_label("Device", exact=True).first.input_value() == "Raspberry Pi 5 (modelled)"
    )
    page.get_by_role("button", name="Undo").first.click()
    wait_until(page, "state.edge === 'bench clock (measured)'")


def test_without_its_kernel_the_page_goes_on_and_says_so(page):
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Restart Kernel…").first.click()
    page.locator("dialog.jp-Dialog button.jp-mod-accept").last.click()
    page.locator("dialog.jp-Dialog").wait_for(state="detached")
    page.locator(".dscwb .lost", has_text="kernel").first.wait_for()
    _, before = shown(page)
    slider(page, "Data rate").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, f"rate > {before}")
    undone = page.get_by_label("Server", exact=True).first.locator("option:disabled")
    assert "needs the kernel" in undone.first.inner_text()
    # And all of it comes back.
    page.evaluate(
        "document.querySelectorAll('.dscwb').forEach((one) => { one.dataset.old = 'yes'; })"
    )
    run_cells(page)
    wait_for_views(page, 2, more=":not([data-old])")
    assert not page.locator(".dscwb .lost").first.is_visible()
    wait_until(page, "rate === 5e7")


def test_on_a_laptop_answer_controls_and_maps_are_in_view_after_run_all(page, lab):
    context = page.context.browser.new_context(viewport={"width": 1280, "height": 800})
    laptop = context.new_page()
    laptop.set_default_timeout(ANSWER_MS)
    open_notebook(laptop, lab[0], NOTEBOOK.name)
    run_cells(laptop)
    wait_for_views(laptop, 1)
    laptop.locator(".dscwb").evaluate("(root) => root.scrollIntoView()")
    for name in (".says", ".controls .main", "canvas.splits", "canvas.gains"):
        box = laptop.locator(name).bounding_box()
        assert box["y"] >= 0, name
        assert box["y"] + box["height"] <= 800, name
        assert box["x"] + box["width"] <= 1280, name
    context.close()


def test_the_page_reported_no_errors(page):
    assert page.errors == []
