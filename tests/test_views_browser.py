"""The views as they are drawn: a real Chromium, pixels at places that are known by hand.

Of the tiny model (see `tests.tiny`) with a server ten times as fast, nothing but float32 sent and
no round trip, all costs are in proportion to the batch size: at every batch size no offloading is
best up to 1600 bits / 45 ms = 35,556 bit/s, then ``after a`` up to 1600 bits / 9 ms = 177,778
bit/s, then full offloading.
"""

import math
from base64 import b64encode

import numpy as np
import pytest

from dscwb.devices.machines import Library
from dscwb.profiles.library import scale_profile
from dscwb.scenario import DATA_RATES_BPS
from dscwb.study import sweep
from dscwb.study.sureness import robust
from dscwb.workbench.pair import pair
from dscwb.workbench.state import ASSUMED, State
from tests.lab import chromium_page
from tests.scripts import ENGINE, VIEWS
from tests.tiny import profile_of, tiny_graph

pytestmark = pytest.mark.browser

MS = 1_000_000
LOW, HIGH = 1e4, 1e6
NONE, A, B, FULL = 3, 1, 2, 0  # places of the candidates
DEVICE, PAYLOAD, SERVER = [0, 114, 178], [230, 159, 0], [0, 158, 115]
TO_A, TO_FULL = 1600 / 0.045, 1600 / 0.009
# A map of 290 by 250 pixels: its plot without ticks, and the middle of the second of five rows.
X, Y, W, H = 38, 25, 238, 189
ROW_1 = Y + H * (1 - 1.5 / 5)

PAGE = """
const decoded = ({ base64 }) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
const machine = (raw) => raw && { ...raw, head_ns: decoded(raw.head_ns),
  tail_ns: raw.tail_ns && decoded(raw.tail_ns) };
const views = { splits: bestSplitMap, gains: gainMap, curves: costCurves, bars: partBars,
  model: modelGraph, timeline: inferenceTimeline };
const panels = {};

window.give = (data, state, range) => {
  window.pair = new Pair({ ...data, edge: machine(data.edge), server: machine(data.server) });
  window.study = new Study(pair, state, range);
  return study.candidates.map((one) => one.name);
};

window.ctxOf = (changes = {}) => {
  const row = Math.min(changes.row ?? 0, study.batchSizes.length - 1), rate = changes.rate ?? 1e5;
  return { study, state: study.state, row, rate, best: study.bestAt(row, rate),
    baseline: study.baseline(), pinned: null, lit: null, confidence: null, theme: ON_PAPER,
    ...changes, row };
};

window.show = (name, [width, height], changes) => {
  if (!panels[name]) {
    const canvas = document.createElement("canvas"), key = document.createElement("div");
    document.body.append(canvas, key);
    panels[name] = Object.assign(new Panel(views[name], canvas), { key });
  }
  const panel = panels[name], ctx = ctxOf(changes);
  panel.size(width, height, 1);
  panel.paint(ctx);
  fillKey(panel.key, views[name], ctx);
  return panel;
};

window.pixel = (name, x, y) => [...panels[name].canvas.getContext("2d")
  .getImageData(Math.floor(x), Math.floor(y), 1, 1).data];
window.colour = (split) => study.candidates[split].colour.match(/[0-9a-f]{2}/g)
  .map((two) => parseInt(two, 16));
window.at = (name, x, y, changes) => panels[name].at(ctxOf(changes), x, y);
window.keyed = (key, changes) => bestSplitMap.keyed(ctxOf(changes), key);
window.tip = (name, x, y, changes) =>
  views[name].tip(ctxOf(changes), panels[name].at(ctxOf(changes), x, y));
window.curvesAxis = () => curveAxis(study);
window.inks = () => ({ inkOn, contrast, BLACK, WHITE });

// Words that touch others or leave the canvas.
window.misplaced = (name, size, changes) => {
  const { words } = show(name, size, changes), [width, height] = size, found = [];
  words.forEach((one, k) => {
    if (one.left < -0.5 || one.top < -0.5 || one.right > width + 0.5 || one.foot > height + 0.5) {
      found.push(`${one.words} leaves the canvas`);
    }
    for (const other of words.slice(k + 1)) {
      if (touch(one, other)) found.push(`${one.words} touches ${other.words}`);
    }
  });
  return found;
};
"""


def plain(data):
    """Bytes as JSON can hold them."""
    if isinstance(data, bytes):
        return {"base64": b64encode(data).decode()}
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    return [plain(one) for one in data] if isinstance(data, list | tuple) else data


def give(page, edge, server=None, span=(1e4, 1e10), **changes):
    """Show a pair in one state; the names of its candidates."""
    state = State("", server=ASSUMED, server_speedup=10).changed(changes).values()
    return page.evaluate(
        "([data, state, range]) => window.give(data, state, range)",
        [plain(pair(("edge", edge), server and ("server", server))), state, span],
    )


@pytest.fixture(scope="module")
def browser(chromium):
    with chromium_page(chromium) as page:
        page.add_script_tag(content=ENGINE + VIEWS + PAGE, type="module")
        yield page


@pytest.fixture
def page(browser):
    """With the tiny pair: batch sizes 1 to 5, of which 2 and 4 are interpolated."""
    edge, server = (
        profile_of(tiny_graph(), {n: [n * ns * MS for ns in layers] for n in (1, 3, 5)})
        for layers in ((10, 20, 30), (1, 2, 3))
    )
    names = give(browser, edge, server, span=(LOW, HIGH))
    assert names == ["full offloading", "a", "b", "no offloading"]
    return browser


def x_of(rate):
    return X + W * math.log(rate / LOW) / math.log(HIGH / LOW)


def show(page, name, size=(290, 250), **changes):
    page.evaluate("([name, size, c]) => void show(name, size, c)", [name, size, changes])


def pixel(page, name, x, y):
    red, green, blue, alpha = page.evaluate("([name, x, y]) => pixel(name, x, y)", [name, x, y])
    assert alpha == 255
    return [red, green, blue]


def at(page, name, x, y, **changes):
    return page.evaluate("([name, x, y, c]) => at(name, x, y, c)", [name, x, y, changes])


def test_a_map_shows_the_best_split_up_to_its_switching_rate(page):
    show(page, "splits", row=4, rate=HIGH)
    for rate, split in (
        (2e4, NONE),
        (TO_A / 1.06, NONE),
        (TO_A * 1.06, A),
        (TO_FULL / 1.06, A),
        (TO_FULL * 1.06, FULL),
        (9e5, FULL),
    ):
        assert pixel(page, "splits", x_of(rate), ROW_1) == page.evaluate(f"colour({split})")


def test_regions_have_borders_that_are_seen(page):
    show(page, "splits", row=4, rate=HIGH)
    contrast = "(two) => inks().contrast(...two.map((one) => `rgb(${one})`))"
    for rate, below, above in ((TO_A, NONE, A), (TO_FULL, A, FULL)):
        border = pixel(page, "splits", x_of(rate), ROW_1)
        left, right = page.evaluate(f"[colour({below}), colour({above})]")
        by_line = min(page.evaluate(contrast, [border, one]) for one in (left, right))
        assert max(by_line, page.evaluate(contrast, [left, right])) >= 3


def test_black_or_white_is_read_on_every_colour(page):
    for grey in range(0, 256, 5):
        found = page.evaluate(
            "(c) => { const { inkOn, contrast } = inks(); return contrast(inkOn(c), c); }",
            f"rgb({grey}, {grey}, {grey})",
        )
        assert found >= 4.5
    assert page.evaluate("inks().contrast('#ffffff', 'rgb(0, 0, 0)')") == pytest.approx(21)
    # (0.2158605 + 0.05) / 0.05 for the grey of 128.
    assert page.evaluate("inks().contrast('#808080', '#000000')") == pytest.approx(5.317, abs=1e-3)


@pytest.mark.parametrize(
    ("rate", "gain"),
    # In ms: 60 without offloading, 15 and 1600 bits / r after a, 6 and 3200 bits / r for the input.
    [(2e4, 0.0), (6e4, 1 - (15 + 1600 / 60) / 60), (9e5, 1 - (6 + 3200 / 900) / 60)],
)
def test_a_gain_has_the_shade_of_its_share(page, rate, gain):
    show(page, "gains", row=4, rate=HIGH)
    anchors = [(255, 255, 217), (237, 248, 177), (199, 233, 180), (127, 205, 187), (65, 182, 196)]
    anchors += [(29, 145, 192), (34, 94, 168), (37, 52, 148), (8, 29, 88)]
    k, share = int(gain * 8), gain * 8 % 1
    ends = zip(anchors[k], anchors[min(8, k + 1)], strict=True)
    wanted = [low + share * (high - low) for low, high in ends]
    half_a_pixel = 8  # of 255
    assert pixel(page, "gains", x_of(rate), ROW_1) == pytest.approx(wanted, abs=half_a_pixel)


def test_a_gain_over_what_is_not_possible_is_hatched(browser, page):
    edge = profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]})
    # While the first block runs, its 400 bytes of input and 200 of output live at once.
    give(browser, edge, span=(LOW, HIGH), memory_cap_bytes=500.0)
    show(browser, "gains")
    alphas = browser.evaluate(
        "Array.from({ length: 12 }, (_, k) => pixel('gains', 60 + k, 200)[3])"
    )
    assert min(alphas) < 60 < max(alphas)
    assert "no offloading is not possible" in browser.inner_text("body")


def test_a_hand_on_a_map_points_at_rate_batch_size_and_split(page):
    show(page, "splits")
    place = at(page, "splits", X + W / 2, Y + H * 0.5)
    assert place == {"row": 2, "rate": pytest.approx(1e5), "split": A}
    assert at(page, "splits", X + 1, Y + 1)["row"] == 4
    assert at(page, "splits", X + 1, Y + H - 1)["split"] == NONE
    assert at(page, "splits", X - 5, Y + 5) is None
    assert at(page, "splits", X + 5, Y + H + 5) is None


@pytest.mark.parametrize(
    ("key", "row", "rate"),
    [
        ("ArrowRight", 2, 1e5 * 10**0.02),
        ("ArrowLeft", 2, 1e5 / 10**0.02),
        ("ArrowUp", 3, 1e5),
        ("ArrowDown", 1, 1e5),
        ("PageUp", 2, 1e5 * 10**0.2),
        ("PageDown", 2, 1e5 / 10**0.2),
        ("Home", 2, LOW),
        ("End", 2, HIGH),
    ],
)
def test_keys_move_the_state(page, key, row, rate):
    found = page.evaluate("([key, c]) => keyed(key, c)", [key, {"row": 2}])
    assert found == {"row": row, "rate": pytest.approx(rate)}


def test_keys_stop_at_the_edges_pin_and_leave_others_alone(page):
    press = "([key, c]) => keyed(key, c)"
    assert page.evaluate(press, ["ArrowUp", {"row": 4}])["row"] == 4
    assert page.evaluate(press, ["ArrowDown", {"row": 0}])["row"] == 0
    assert page.evaluate(press, ["PageUp", {"rate": 9e5}])["rate"] == HIGH
    assert page.evaluate(press, ["Enter", {}]) == {"pin": A}
    assert page.evaluate(press, ["s", {}]) is None


def test_what_is_lit_and_what_is_pinned_is_outlined_in_every_view(page):
    """Outlines are black and white, whatever lies under them."""
    pale = [255, 255, 255]
    show(page, "splits", lit=A, row=4, rate=HIGH)
    assert pixel(page, "splits", x_of(TO_A), ROW_1) == pale
    show(page, "gains", pinned=A, row=4, rate=HIGH)
    sides = [pixel(page, "gains", x_of(TO_A), ROW_1 - 6 + k) for k in range(12)]
    assert pale in sides  # it is dashed
    assert [0, 0, 0] in sides
    show(page, "curves", (300, 230), lit=B, rate=HIGH)
    assert pixel(page, "curves", *place_of_b(page)) == page.evaluate(f"colour({B})")
    # The bars of 4 splits: plot 52 to 286, slots of 58.5, bars of 48; outlines 2 pixels outside.
    show(page, "bars", (300, 230), lit=A)
    assert pixel(page, "bars", 52 + 58.5 + 5.27 - 2, 190) == pale
    # The cut of the graph: plot 52 to 304, three parts of 84.
    show(page, "model", (320, 250), lit=B)
    assert pixel(page, "model", 52 + 2 * 84, 160) == pale


def test_a_bar_is_as_high_as_its_cost(page):
    """After a at 100 kbit/s: 10 ms device, 16 ms payload, 5 ms server; the axis ends at 75 ms."""
    show(page, "bars", (300, 230))
    foot, height, x = 230 - 36, 230 - 36 - 25, 52 + 58.5 * 1.5
    for ms, colour in ((5, DEVICE), (18, PAYLOAD), (28, SERVER)):
        assert pixel(page, "bars", x, foot - height * ms / 75) == colour
    assert pixel(page, "bars", x + 58.5, foot - height * 20 / 75) == DEVICE  # after b
    assert at(page, "bars", x, 100)["split"] == A
    assert at(page, "bars", 285, 100)["split"] == NONE


def place_of_b(page):
    """Pixels of after b at 900 kbit/s in a picture of 300 by 230: 33 ms and 2560 bits / r."""
    share = page.evaluate("curvesAxis().share(0.033 + 2560 / 9e5)")
    return 52 + 234 * math.log10(90) / 2, 25 + 169 * (1 - share)


def test_a_hand_near_a_line_means_it(page):
    show(page, "curves", (300, 230))
    # Where no line is near, the best split at that rate.
    assert at(page, "curves", 52 + 234 * 0.5, 230 - 40)["split"] == A
    assert at(page, "curves", *place_of_b(page))["split"] == B


def test_the_model_is_cut_where_the_best_split_is(page):
    show(page, "model", (320, 250))
    strip = 250 - 74 + 6 + 12  # the middle of the blocks under the plot, three of 84 pixels
    for k, colour in enumerate((DEVICE, SERVER, SERVER)):
        shown = page.evaluate(f"pixel('model', {52 + 84 * k + 40}, {strip})")
        assert shown[:3] == pytest.approx(colour, abs=3)
    assert at(page, "model", 52 + 80, 100)["split"] == A
    found = at(page, "model", 52 + 124, strip)["part"]
    assert (found["name"], found["start"], found["end"]) == ("b", 1, 2)


def test_a_timeline_shows_who_works_when(page):
    """After a: device 10 ms, link 16 ms, server 5 ms; held against 60 ms of no offloading."""
    show(page, "timeline", (320, 200))  # the axis ends at 70 ms, a lane is 17 pixels high

    def place(ms, lane, inference=0):
        return 56 + (320 - 56 - 16) * ms / 70, 6 + 20 + 17 * lane + 8 + 79 * inference

    for ms, lane, colour in ((1.5, 0, DEVICE), (11.5, 1, PAYLOAD), (29.5, 2, SERVER)):
        assert pixel(page, "timeline", *place(ms, lane)) == colour
    assert pixel(page, "timeline", *place(50, 0, 1)) == DEVICE
    assert at(page, "timeline", *place(20, 0, 1))["split"] == NONE
    words = page.evaluate("show('timeline', [320, 200]).words.map((one) => one.words)")
    assert "best: after a" in words
    assert "60 ms (+94 %)" in words  # (60 - 31) / 31
    show_words = "(c) => show('timeline', [320, 200], c).words.map((one) => one.words)"
    assert "pointed at: after b" in page.evaluate(show_words, {"lit": B})
    assert "pinned: after b" in page.evaluate(show_words, {"lit": FULL, "pinned": B})


def test_splits_in_a_key_are_buttons_that_say_what_is_pinned(page):
    show(page, "splits", pinned=A)
    chips = page.locator("button[data-split]")
    assert [chips.nth(k).inner_text() for k in range(3)] == [
        "full offloading",
        "after a",
        "no offloading",
    ]
    assert chips.nth(1).get_attribute("aria-pressed") == "true"
    page.evaluate("document.querySelectorAll('button[data-split]')[1].dataset.same = 'yes'")
    show(page, "splits", lit=A, rate=2e5)
    same = page.locator("button[data-same]")
    assert same.count() == 1
    assert same.get_attribute("aria-pressed") == "false"
    assert "lit" in same.get_attribute("class")


def test_what_hangs_on_a_model_and_how_often_a_split_is_best_agree_with_python(browser):
    """Of a measured device and a server that is assumed to be ten times as fast."""
    edge = Library("data/profiles").profile("efficientnet_b0")
    give(browser, edge, round_trip_s=0.02)
    study = sweep(
        edge,
        scale_profile(edge, 10),
        State("").changed({"round_trip_s": 0.02}).counted,
        data_rates_bps=DATA_RATES_BPS,
    )
    found = browser.evaluate(
        """study.batchSizes.map((_, row) => [...study.rates].map((rate) =>
          study.fragile(row).some(([from, to]) => from < rate && rate <= to)))"""
    )
    fragile = ~robust(study)
    assert fragile.any()
    assert not fragile.all()
    np.testing.assert_array_equal(found, fragile)
    assert browser.evaluate("study.usefulness") == pytest.approx(study.usefulness())


SIZES = {
    "splits": [(270, 250), (700, 400)],
    "gains": [(270, 250), (700, 400)],
    "curves": [(290, 230), (640, 300)],
    "bars": [(290, 230), (640, 300)],
    "model": [(290, 250), (640, 280)],
    "timeline": [(290, 200), (640, 220)],
}
SCENARIOS = (
    {},
    {"granularity": "op", "feature_encoding": "int8", "input_encoding": "uint8"},
    {"granularity": "compressive", "objective": "energy", "round_trip_s": 0.05},
    {"private_input": True, "arrival_rate_hz": 20.0, "baseline": "best static"},
)


def test_no_words_touch_and_none_leave_the_picture(browser):
    """All shipped models, several sizes and scenarios, with a split pinned and another one lit."""
    library, wrong = Library("data/profiles"), []
    for model in library.models:
        edge = library.profile(model)
        for scenario in SCENARIOS:
            give(browser, edge, **scenario)
            wrong += browser.evaluate(
                """(sizes) => {
                  const found = [], last = study.candidates.length - 1;
                  for (const [name, some] of Object.entries(sizes)) for (const size of some) {
                    for (const [rate, pinned] of [[1e5, 1], [2e7, last >> 1], [5e9, last]]) {
                      const changes = { rate, pinned, lit: last >> 2, row: 3 };
                      found.push(...misplaced(name, size, changes).map((one) =>
                        `${study.pair.model.name} ${name} ${size} ${rate}: ${one}`));
                    }
                  }
                  return found;
                }""",
                SIZES,
            )
    assert wrong == []
