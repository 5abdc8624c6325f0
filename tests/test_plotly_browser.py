"""The workbench on plotly's FigureWidget, the fallback: real JupyterLab, real Chromium."""

import pytest

from tests.lab import (
    ANSWER_MS,
    NOTEBOOK,
    chromium_page,
    click_map,
    copy_project,
    jupyterlab,
    run_all,
    wait_for_maps,
)

pytestmark = pytest.mark.browser

# What plotly holds now: the mark's place, what the maps show, how wide they are.
PICTURE = """() => {
  const plot = document.querySelector('.js-plotly-plot');
  const by = (name) => plot.data.find((trace) => trace.name === name);
  return {
    rate: by('state').x[0],
    row: by('state').y[0],
    splits: Array.from(by('best split').z, (row) => Array.from(row)).flat(),
    names: Array.from(by('best split').colorbar.ticktext),
    gains: Array.from(by('gain').z, (row) => Array.from(row)).flat(),
    caption: plot.layout.annotations.find((note) => note.name === 'caption').text
      .replaceAll('<br>', ' '),
    width: plot.getBoundingClientRect().width,
    drawn: plot.querySelector('.main-svg').getBoundingClientRect().width,
  };
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory, chromium):
    """01-explore with the other backend, after Run All."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    notebook = project / NOTEBOOK
    here, there = 'SplitWorkbench(model=\\"efficientnet_b0\\"', ', backend=\\"widget\\"'
    text = notebook.read_text()
    assert here in text
    notebook.write_text(text.replace(here, here + there))
    with (
        jupyterlab(project, tmp_path_factory.mktemp("home")) as url,
        chromium_page(chromium) as page,
    ):
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(url)
        run_all(page)
        yield page


def picture(page):
    return page.evaluate(PICTURE)


def wait_until(page, condition):
    """Until this holds of the picture `p`."""
    page.wait_for_function(
        f"() => {{ const p = ({PICTURE})(); return {condition}; }}", timeout=ANSWER_MS
    )
    return picture(page)


def rate_slider(page):
    return page.locator(".widget-hslider", has_text="Data rate").locator(".noUi-handle")


def shown_rate_bps(page):
    """What the number field beside the slider says."""
    field = page.locator(".widget-hbox", has=rate_slider(page)).locator("input[type=number]").last
    return float(field.input_value()) * 1e6


def test_arrow_keys_on_the_data_rate_move_the_mark_in_the_map(page):
    before = picture(page)
    rate_slider(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    # Five steps of 0.02 of the exponent are a factor of 1.26.
    after = wait_until(page, f"p.rate > {before['rate'] * 1.24}")
    assert after["rate"] == pytest.approx(before["rate"] * 10**0.1, rel=0.02)
    assert shown_rate_bps(page) == pytest.approx(after["rate"])
    assert after["gains"] == before["gains"]
    page.keyboard.press("Home")
    assert wait_until(page, "p.rate <= 10000")["rate"] == 1e4


def test_choices_from_the_keyboard_change_both_maps(page):
    before = picture(page)
    page.get_by_label("Features sent as").focus()
    page.keyboard.press("ArrowDown")
    after = wait_until(page, "p.caption.includes('features float16')")
    assert after["splits"] != before["splits"]
    assert after["gains"] != before["gains"]
    page.get_by_label("Assumed speed-up").focus()
    page.keyboard.press("ArrowUp")
    faster = wait_until(page, "p.caption.includes('assumed: 21 ×')")
    assert max(faster["gains"]) > max(after["gains"])


def test_a_click_on_the_map_sets_the_sliders(page):
    before = picture(page)
    click_map(page, 0.7, 0.2)
    after = wait_until(page, f"p.rate !== {before['rate']} && p.row !== {before['row']}")
    # 70 % of six decades from 10 kbit/s.
    assert after["rate"] == pytest.approx(10 ** (4 + 0.7 * 6), rel=0.1)
    page.wait_for_function(
        "(rate) => [...document.querySelectorAll('input[type=number]')]"
        ".some((field) => Math.abs(field.value * 1e6 / rate - 1) < 1e-6)",
        arg=after["rate"],
        timeout=ANSWER_MS,
    )


def test_the_maps_fill_their_place(page):
    now = wait_until(page, "Math.abs(p.drawn - p.width) < 2")
    assert now["width"] > 750


def test_after_a_reload_sliders_and_picture_agree(page):
    start = picture(page)
    rate_slider(page).focus()
    page.keyboard.press("PageUp")
    # The whole map's confidence comes once the hand rests.
    before = wait_until(page, f"p.rate !== {start['rate']} && p.caption.includes('bootstrap')")
    page.keyboard.press("Control+s")
    # Outputs that are not saved are gone after a reload, here as in every notebook.
    page.locator(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)").wait_for()
    page.reload()
    wait_for_maps(page)
    after = picture(page)
    for part in ("rate", "row", "splits", "names", "gains", "caption"):
        assert after[part] == before[part], part
    assert shown_rate_bps(page) == pytest.approx(after["rate"])
    assert page.get_by_label("Features sent as").input_value() == "float16"
    rate_slider(page).focus()
    page.keyboard.press("ArrowLeft")
    wait_until(page, f"p.rate < {after['rate']}")


def test_the_page_reported_no_errors(page):
    assert page.errors == []
