"""The first notebook as a newcomer sees it: real JupyterLab, real Chromium, keyboard and mouse."""

import json
import re
import struct

import pandas as pd
import pytest

from dscwb.policy import Policy
from tests.lab import (
    ANSWER_MS,
    FIRST_PAINT_MS,
    NOTEBOOK,
    notebook_page,
    shown,
    wait_for_caption,
    wait_until,
)

pytestmark = pytest.mark.browser

CANVAS = ".dscwb-canvas"


@pytest.fixture(scope="module")
def page(lab, chromium):
    """01-explore after Run All."""
    with notebook_page(chromium, lab[0], NOTEBOOK.name) as (page, errors):
        page.errors = errors
        wait_for_canvas(page)
        yield page


def wait_for_canvas(page):
    page.locator(f"{CANVAS}[data-draws]").first.wait_for(timeout=FIRST_PAINT_MS)


def gains(page):
    """What JavaScript reads off the gain map at batch size 1, over all decades."""
    return page.evaluate(
        f"""() => [1e5, 1e6, 1e7, 1e8, 1e9].map(
          (rate) => document.querySelector('{CANVAS}').dscwb.study.gainAt(0, rate))"""
    )


def rate_slider(page):
    return page.locator(".widget-hslider", has_text="Data rate").locator(".noUi-handle")


def answer(page):
    return page.locator(".dscwb .widget-html", has_text="→").first.inner_text()


def test_arrow_keys_on_the_data_rate_move_the_mark_and_the_answer(page):
    _, before = shown(page)
    rate_slider(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    # Five steps of 0.02 of the exponent are a factor of 1.26.
    _, after = wait_until(page, f"rate > {before * 1.24}")
    assert after == pytest.approx(before * 10**0.1, rel=0.02)
    page.keyboard.press("Home")
    wait_until(page, "rate <= 10000")
    page.wait_for_function(
        "document.querySelector('.dscwb').innerText.includes('Run all on the device')"
    )
    assert "Sure" in answer(page)


def test_choices_from_the_keyboard_change_the_maps(page):
    before = gains(page)
    page.get_by_label("Features sent as").focus()
    page.keyboard.press("ArrowDown")
    wait_for_caption(page, "features float16")
    assert gains(page) != before
    page.get_by_label("Assumed speed-up").focus()
    page.keyboard.press("ArrowUp")
    wait_for_caption(page, "21 × as fast")


def test_a_modelled_server_is_named_so(page):
    page.get_by_label("Server", exact=True).select_option("T4 (modelled)")
    wait_for_caption(page, "T4")
    page.wait_for_function(
        "document.querySelector('.dscwb').innerText.includes('Measured → modelled')"
    )
    page.get_by_role("button", name="Undo").click()
    wait_for_caption(page, "imagined machine")


def test_another_variant_brings_another_model(page):
    variant = page.locator(".widget-hslider", has_text="Variant").locator(".noUi-handle")
    variant.focus()
    page.keyboard.press("ArrowRight")
    wait_for_caption(page, "efficientnet_b1")
    page.keyboard.press("ArrowLeft")
    wait_for_caption(page, "efficientnet_b0")


def test_a_click_on_the_map_sets_the_controls(page):
    canvas = page.locator("canvas.splits").first
    canvas.scroll_into_view_if_needed()
    width = canvas.bounding_box()["width"]
    _, before = shown(page)
    # Playwright waits until the map stands still and nothing lies over it.
    canvas.click(position={"x": 60 + 0.7 * (width - 60 - 140), "y": 100})
    size, rate = wait_until(page, f"rate !== {before} && size > 1")
    # 70 % of six decades from 10 kbit/s.
    assert rate == pytest.approx(10 ** (4 + 0.7 * 6), rel=0.1)
    page.wait_for_function(
        "(rate) => [...document.querySelectorAll('input[type=number]')]"
        ".some((field) => Math.abs(field.value * 1e6 / rate - 1) < 1e-6)",
        arg=rate,
        timeout=ANSWER_MS,
    )
    readout = page.locator(".widget-hslider", has_text="Batch size").locator(".widget-readout")
    readout.filter(has_text=re.compile(rf"^\D*{size}$")).wait_for()


@pytest.mark.parametrize("kind", ["PNG", "SVG", "PDF", "HTML", "CSV", "Parquet", "Policy"])
def test_each_export_button_yields_a_file_that_opens(page, lab, kind):
    folder = lab[1]
    ending = "json" if kind == "Policy" else kind.lower()
    known = set(folder.glob(f"dscwb-*.{ending}"))
    page.get_by_role("button", name=kind, exact=True).click()
    page.wait_for_function(
        "(ending) => new RegExp(`Saved .*\\\\.${ending}`).test("
        "document.querySelector('.dscwb').innerText)",
        arg=ending,
        timeout=ANSWER_MS,
    )
    (path,) = set(folder.glob(f"dscwb-*.{ending}")) - known
    CHECKS[kind](path, page)


def check_png(path, _):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20]) == (2 * 1280,)


def check_svg(path, _):
    assert "Best split of efficientnet_b0" in path.read_text(encoding="utf-8")


def check_pdf(path, _):
    assert path.read_bytes()[:5] == b"%PDF-"


def check_html(path, page):
    context = page.context.browser.new_context(offline=True)
    try:
        alone = context.new_page()
        alone.goto(path.as_uri())
        alone.locator(".js-plotly-plot .hm image").first.wait_for(timeout=FIRST_PAINT_MS)
    finally:
        context.close()


def check_csv(path, _):
    table = pd.read_csv(path)
    assert table["device"].str.contains("measured").all()
    assert set(table["batch_size"]) == set(range(1, 17))


def check_parquet(path, _):
    assert "features float16" in pd.read_parquet(path).attrs["scenario"]


def check_policy(path, _):
    assert Policy.load(path).best_split(1, 1e4) == "no offloading"


CHECKS = {
    "PNG": check_png,
    "SVG": check_svg,
    "PDF": check_pdf,
    "HTML": check_html,
    "CSV": check_csv,
    "Parquet": check_parquet,
    "Policy": check_policy,
}


def test_an_error_stands_beside_the_controls(page):
    page.get_by_text(re.compile("^Share: this text")).click()
    text = page.locator(".dscwb textarea")
    good = text.input_value()
    assert json.loads(good)["model"] == "efficientnet_b0"
    text.fill(good.replace("efficientnet_b0", "nonsense"))
    text.blur()
    page.get_by_role("button", name="Load", exact=True).click()
    alert = page.locator(".dscwb [role=alert]")
    alert.wait_for()
    assert "No profile 'nonsense' here; choose one of" in alert.inner_text()


def test_after_a_reload_sliders_and_picture_agree(page):
    _, start = shown(page)
    rate_slider(page).focus()
    page.keyboard.press("PageUp")
    before = wait_until(page, f"rate !== {start}")
    page.keyboard.press("Control+s")
    # Outputs that are not saved are gone after a reload, here as in every notebook.
    page.locator(".lm-DockPanel-tabBar .lm-mod-current:not(.jp-mod-dirty)").wait_for()
    page.reload()
    wait_for_canvas(page)
    assert shown(page) == before
    wait_for_caption(page, "features float16")
    assert page.get_by_label("Features sent as").input_value() == "float16"
    rate_slider(page).focus()
    page.keyboard.press("ArrowLeft")
    wait_until(page, f"rate < {before[1]}")


def test_the_page_reported_no_errors(page):
    assert page.errors == []
