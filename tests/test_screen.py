"""The screen as a hand meets it, in a page without a kernel: values and words, not pixels."""

import csv
import io
import json
import struct

import pytest

from dscwb.workbench import SplitWorkbench
from tests.screens import shown_page, state_of, wait_for_state, write_page
from tests.test_workbench import MODELS

pytestmark = pytest.mark.browser

SETTLED_MS = 2_000
USUAL = {"width": 1280, "height": 1400}


@pytest.fixture(scope="module")
def bench():
    """Two models of one family, and a modelled server; see `tests.test_workbench.profile`."""
    return SplitWorkbench(MODELS, model="tiny")


@pytest.fixture(scope="module")
def path(bench, tmp_path_factory):
    """A page with three pairs: an assumed server for both models, a modelled one for the first."""
    folder = tmp_path_factory.mktemp("screen")
    others = {"model": "tiny_2"}, {"model": "tiny", "server": "T4 (modelled)"}
    return write_page(folder / "page.html", bench, *others)


@pytest.fixture(scope="module")
def first(chromium, path):
    """The page in one browser for all tests."""
    with shown_page(chromium, path, **USUAL) as page:
        yield page


@pytest.fixture
def page(first):
    """The page as it is when it is opened."""
    first.reload()
    first.locator(".dscwb[data-draws]").wait_for()
    return first


def rate(page):
    return page.get_by_role("slider", name="Data rate")


def number(page, name):
    return page.get_by_role("spinbutton", name=name, exact=True)


def box_of(page, name):
    """A map's plot in the page: x, y, width, height."""
    return page.evaluate(
        """(name) => {
          const { boxes } = document.querySelector('.dscwb').dscwb;
          const { canvas, panel: { plot } } = boxes.find(({ view }) => view.name === name);
          const { left, top } = canvas.getBoundingClientRect();
          return [left + plot.x, top + plot.y, plot.w, plot.h];
        }""",
        name,
    )


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


# --- controls ----------------------------------------------------------------------------------


def test_keys_on_the_slider_move_rate_number_words_and_answer(page):
    said = page.locator(".says").inner_text()
    rate(page).focus()
    for _ in range(50):
        page.keyboard.press("ArrowLeft")
    wait_for_state(page, data_rate_bps=5.01e6)  # a factor of ten; three digits are enough
    assert number(page, "Data rate").input_value() == "5.01"
    assert rate(page).get_attribute("aria-valuetext") == "5.01 Mbit/s"
    page.keyboard.press("Home")
    wait_for_state(page, data_rate_bps=1e4)
    assert page.locator(".says").inner_text() != said


def test_a_number_that_is_typed_moves_the_slider(page):
    number(page, "Data rate").fill("0.1")
    wait_for_state(page, data_rate_bps=1e5)
    assert rate(page).input_value() == "250"  # fifty steps in a factor of ten
    number(page, "Round trip").fill("50")
    wait_for_state(page, round_trip_s=0.05)


@pytest.mark.parametrize(
    ("name", "typed", "allowed"),
    [
        ("Data rate", "0", "From 0.01 to 10000 Mbit/s"),
        ("Data rate", "", "From 0.01 to 10000 Mbit/s"),
        ("Round trip", "-1", "From 0 to 10000 ms"),
        ("Server load", "0.5", "From 1 to 1000 ×"),
        ("Blocks on device ≥", "1.5", "a whole number"),
        ("Device memory", "0", "leave it empty for none"),
    ],
)
def test_an_impossible_value_says_at_the_field_what_is_allowed(page, name, typed, allowed):
    page.locator("details.fold summary").first.click()
    before = page.locator(".dscwb textarea").input_value()
    field = number(page, name)
    field.fill(typed)
    assert field.get_attribute("aria-invalid") == "true"
    note = page.locator(f"[id='{field.get_attribute('aria-describedby')}']")
    assert allowed in note.inner_text()
    assert note.get_attribute("role") == "alert"
    assert page.locator(".dscwb textarea").input_value() == before
    field.blur()
    assert field.get_attribute("aria-invalid") is None
    assert note.inner_text() == ""


def test_a_scenario_without_an_answer_is_refused_at_the_field_and_changes_nothing(page):
    page.locator("details.fold summary").first.click()
    before = state_of(page, "min_depth", "private_input")
    number(page, "Blocks on device ≥").fill("9")
    note = page.locator(".field.min_depth .note")
    note.filter(has_text="min_depth is 9, but 'tiny' has 3 blocks").wait_for()
    assert state_of(page, "min_depth", "private_input") == before
    number(page, "Blocks on device ≥").fill("1")
    wait_for_state(page, min_depth=1)
    assert note.inner_text() == ""
    assert state_of(page, "baseline") == "no offloading"


def test_what_is_not_counted_is_an_empty_field(page):
    page.locator("details.fold summary").first.click()
    memory = number(page, "Device memory")
    assert memory.input_value() == ""
    assert memory.get_attribute("placeholder") == "none"
    memory.fill("0.002")
    wait_for_state(page, memory_cap_bytes=2000)
    memory.fill("")
    wait_for_state(page, memory_cap_bytes=0)


def test_a_kind_of_link_stays_chosen_until_its_values_are_changed(page):
    link = page.get_by_label("Link", exact=True)
    link.select_option(label="4G: 6 Mbit/s, 50 ms")
    wait_for_state(page, data_rate_bps=6e6, round_trip_s=0.05)
    chosen = "(list) => list.selectedOptions[0].textContent"
    assert link.evaluate(chosen) == "4G: 6 Mbit/s, 50 ms"
    rate(page).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "document.querySelector('.preset select').selectedOptions[0].textContent === 'own values'"
    )


def test_fields_without_effect_are_out_of_use_and_say_why(page):
    page.locator("details.fold summary").first.click()
    assert number(page, "Speed-up").is_enabled()
    assert number(page, "Computing").is_disabled()
    assert "energy" in page.locator(".field.compute_w .note").inner_text()
    page.get_by_label("Best in").select_option(label="device energy")
    wait_for_state(page, objective="energy")
    assert number(page, "Computing").is_enabled()
    page.get_by_label("Server", exact=True).select_option("T4 (modelled)")
    wait_for_state(page, server="T4 (modelled)")
    assert number(page, "Speed-up").is_disabled()
    assert "assumed" in page.locator(".field.server_speedup .note").inner_text()


def test_another_model_brings_its_batch_sizes(page):
    batch = page.get_by_role("slider", name="Batch size")
    batch.focus()
    page.keyboard.press("End")
    wait_for_state(page, batch_size=4)
    variant = page.get_by_role("slider", name="Variant")
    variant.focus()
    page.keyboard.press("ArrowRight")
    wait_for_state(page, model="tiny_2", batch_size=2)
    assert batch.get_attribute("max") == "1"


def test_a_page_offers_only_what_it_holds(page):
    texts = page.get_by_label("Server", exact=True).locator("option").all_inner_texts()
    assert texts == ["assumed speed-up", "T4 (modelled)"]
    page.get_by_label("Server", exact=True).select_option("T4 (modelled)")
    wait_for_state(page, server="T4 (modelled)")
    page.get_by_role("slider", name="Variant").focus()
    page.keyboard.press("ArrowRight")  # which is here with an assumed server only
    wait_for_state(page, model="tiny_2", server="assumed speed-up")


def test_moves_of_one_slider_are_one_step_to_undo_and_choices_one_each(page):
    assert page.get_by_role("button", name="Undo").is_disabled()
    start = state_of(page, "data_rate_bps", "feature_encoding")
    rate(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    for encoding in ("float16", "int8"):
        page.get_by_label("Features sent as").select_option(encoding)
        wait_for_state(page, feature_encoding=encoding)
    moved = state_of(page, "data_rate_bps")
    press(page, "Undo")
    wait_for_state(page, feature_encoding="float16")
    press(page, "Undo")
    wait_for_state(page, feature_encoding="float32", data_rate_bps=moved)
    press(page, "Undo")
    wait_for_state(page, data_rate_bps=start[0], feature_encoding=start[1])
    assert page.get_by_role("button", name="Undo").is_disabled()
    press(page, "Redo")
    wait_for_state(page, data_rate_bps=moved)
    press(page, "Reset")
    assert state_of(page, "data_rate_bps", "feature_encoding") == start


def test_what_the_kernel_sent_is_bounded_and_what_is_shown_stays(page):
    held = page.evaluate(
        """() => {
          const { desk } = document.querySelector('.dscwb').dscwb, { pairs, state } = desk;
          const shown = [state.model, state.edge, state.server].join('\\n');
          const head_ns = new Float64Array(1.9e6);
          const machine = (id) => ({ id, model: "m", head_ns, tail_ns: null });
          for (const id of ["1", "2", "3", "4"]) { // 15 MB each; at most 32 are held
            pairs.add(id, { models: {}, edge: machine(id), server: null });
            pairs.trim(shown);
          }
          pairs.add("5", { models: {}, edge: "1", server: "4" }); // the first was forgotten
          return [shown, ...pairs.keys(), pairs.has("5")];
        }"""
    )
    shown, *held, fifth = held
    assert (sorted(held), fifth) == (sorted(["3", "4", shown]), False)
    number(page, "Round trip").fill("50")  # another study of the pair that is shown
    wait_for_state(page, round_trip_s=0.05)


# --- maps, keys and words ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["splits", "gains"])
def test_a_click_and_a_drag_on_a_map_set_rate_and_batch_size(page, name):
    x, y, width, height = box_of(page, name)
    page.mouse.click(x + 0.25 * width, y + 0.1 * height)
    page.wait_for_function("document.querySelector('.dscwb').dataset.at.startsWith('4 ')")
    assert state_of(page, "data_rate_bps") == pytest.approx(10 ** (4 + 6 * 0.25), rel=0.05)
    page.mouse.down()
    page.mouse.move(x + 0.75 * width, y + 0.9 * height, steps=20)
    page.mouse.up()
    page.wait_for_function("document.querySelector('.dscwb').dataset.at.startsWith('1 ')")
    assert state_of(page, "data_rate_bps") == pytest.approx(10 ** (4 + 6 * 0.75), rel=0.05)


def test_keys_on_a_map_move_the_state_and_pin_the_best_split(page):
    page.locator("canvas.splits").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
    wait_for_state(page, batch_size=3, data_rate_bps=52.4e6)
    page.keyboard.press("Home")
    wait_for_state(page, data_rate_bps=1e4)
    page.keyboard.press("Enter")
    page.locator(".key [data-split][aria-pressed=true]").wait_for()


def test_the_answer_is_spoken_once_when_the_hand_rests(page):
    spoken = page.locator(".spoken[role=status]")
    spoken.filter(has_text=page.locator(".says").text_content()).wait_for(state="attached")
    page.evaluate(
        """() => {
          window.said = [];
          const spoken = document.querySelector('.spoken');
          new MutationObserver(() => window.said.push(spoken.textContent))
            .observe(spoken, { childList: true });
        }"""
    )
    rate(page).focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => window.said.length > 0", timeout=SETTLED_MS)
    assert page.evaluate("window.said") == [page.locator(".says").text_content()]


@pytest.mark.parametrize("name", ["bars", "model", "timeline"])
def test_keys_go_from_split_to_split_speak_of_it_and_pin_it(page, name):
    page.locator(f"canvas.{name}").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".spoken", has_text="After a").wait_for(state="attached")
    page.keyboard.press("Enter")
    page.locator(".splits .key [aria-pressed=true]", has_text="after a").wait_for()


def test_a_hand_over_a_split_lights_it_and_a_click_pins_it(page):
    chip = page.locator(".splits .key [data-split]").first
    chip.hover()
    page.locator(".splits .key .lit").wait_for()
    chip.click()
    page.locator(".splits .key [aria-pressed=true]").wait_for()
    chip.click()
    page.locator(".splits .key [aria-pressed=true]").wait_for(state="detached")


def test_a_label_under_the_hand_explains_the_place(page):
    x, y, width, height = box_of(page, "splits")
    page.mouse.move(x + 0.9 * width, y + 0.9 * height)
    tip = page.locator(".tip:not([hidden])")
    tip.wait_for()
    assert "atch size 1" in tip.inner_text()
    page.mouse.move(2, 2)
    tip.wait_for(state="detached")


# --- comparing and taking along ----------------------------------------------------------------


def test_two_scenarios_stand_side_by_side(page):
    assert not page.locator(".comparison").is_visible()
    press(page, "Pin scenario")
    page.get_by_label("Features sent as").select_option("int8")
    wait_for_state(page, feature_encoding="int8")
    table = page.locator(".comparison")
    assert "Features sent as\tfloat32\tint8" in table.inner_text()
    assert "latency" in table.inner_text()
    press(page, "Unpin scenario")
    table.wait_for(state="hidden")


def downloaded(page, name):
    with page.expect_download() as found:
        press(page, name)
    return found.value.suggested_filename, found.value.path()


def test_the_picture_of_all_views_is_downloaded(page):
    name, path = downloaded(page, "PNG")
    assert name.startswith("dscwb-tiny-")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20]) == (2 * 1280,)


def test_the_drawing_says_the_answer_the_scenario_and_the_version(page, bench):
    _, path = downloaded(page, "SVG")
    text = path.read_text(encoding="utf-8")
    page.set_content(text)
    words = " ".join(page.locator("svg text").all_text_contents())
    assert bench.state.model in words
    assert "features sent as float32" in words
    assert f"dscwb {bench.tables['version']}" in words
    assert "Best split" in words
    assert "bench clock" in words


def test_the_grid_is_downloaded_as_python_would_write_it(page, bench):
    _, path = downloaded(page, "CSV")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    table = bench.study.to_pandas()
    assert [row["best_split"] for row in rows] == table["best_split"].tolist()
    columns = [name for name in table if name not in ("best_split", "interpolated")]
    for name in columns:
        found = [float(row[name]) for row in rows]
        assert found == pytest.approx(table[name].tolist(), rel=1e-9, nan_ok=True)
    assert "bench clock" in rows[0]["device"]


def test_the_state_is_a_text_that_can_be_replaced(page):
    page.get_by_text("Share: this text").click()
    text = page.locator(".dscwb textarea")
    state = json.loads(text.input_value())
    assert state["model"] == "tiny"
    text.fill(json.dumps({**state, "data_rate_bps": 2e6, "feature_encoding": "int8"}))
    press(page, "Load")
    wait_for_state(page, data_rate_bps=2e6, feature_encoding="int8")
    for wrong, words in (
        ("{", "This is no state of a workbench"),
        ('{"schema": "dscwb.state/2"}', "it must say 'dscwb.state/1'"),
        (json.dumps({**state, "speed": 1}), "Unknown field 'speed'"),
        (json.dumps({**state, "server_load": 0}), "server_load is 0"),
        (json.dumps({**state, "model": "big"}), "No profile 'big' here"),
    ):
        text.fill(wrong)
        press(page, "Load")
        page.locator(".dscwb [role=alert]").filter(has_text=words).first.wait_for()
        assert state_of(page, "data_rate_bps") == 2e6


# --- sizes, and those who do not see it --------------------------------------------------------


@pytest.fixture
def sized(page):
    """Gives the page another size, as of JupyterLab's output, and takes it back at the end."""

    def resize(width, height):
        draws = page.locator(".dscwb").get_attribute("data-draws")
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            "(draws) => document.querySelector('.dscwb').dataset.draws !== draws", arg=draws
        )

    yield resize
    page.set_viewport_size(USUAL)


@pytest.mark.parametrize(("width", "height"), [(830, 480), (1560, 900)])
def test_answer_controls_and_maps_are_in_view_at_once(page, sized, width, height):
    sized(width, height)
    wanted = [".says", ".controls .main", "canvas.splits", "canvas.gains"]
    if height > 800:
        wanted += ["canvas.curves", "canvas.bars", "canvas.model", "canvas.timeline"]
    for name in wanted:
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= height, name
        assert box["x"] + box["width"] <= width, name


@pytest.mark.parametrize("width", [390, 560, 700])
def test_in_a_narrow_place_nothing_is_cut_off(page, sized, width):
    sized(width, 900)
    page.locator("details.fold summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for slider in page.get_by_role("slider").all():
        assert slider.bounding_box()["width"] >= 200


def test_what_folds_out_moves_no_picture(page):
    def places():
        return [box_of(page, name) for name in ("splits", "gains", "curves", "bars")]

    before = places()
    page.locator("details.fold summary").first.click()
    page.locator("details.fold[open]").first.wait_for()
    assert places() == before


def test_everything_that_takes_the_focus_has_a_name_and_a_role(page):
    page.locator("details.fold summary").first.click()
    page.get_by_text("Share: this text").click()
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", ()))
    ]
    assert len(focusable) > 30
    nameless = [
        node["role"]["value"]
        for node in focusable
        if not node.get("name", {}).get("value") and node["role"]["value"] != "RootWebArea"
    ]
    assert nameless == []
    assert "generic" not in [node["role"]["value"] for node in focusable]
    sliders = [node for node in nodes if node["role"]["value"] == "slider"]
    words = [
        p["value"]["value"] for s in sliders for p in s["properties"] if p["name"] == "valuetext"
    ]
    assert any("Mbit/s" in text for text in words)
