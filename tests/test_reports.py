"""A report opened in a real browser without a network, and what its page says."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

import dscwb
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.library import scale_profile
from dscwb.reporting.recipe import recipe
from dscwb.reporting.report import report
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from dscwb.study.sureness import about_models
from dscwb.study.worth import verdict
from tests.lab import ANSWER_MS, chromium_page
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
LAYERS_NS = {1: [10 * MS, 20 * MS, 30 * MS], 4: [40 * MS, 80 * MS, 120 * MS]}
POWER = PowerModel(5, 2, 1, "a guess")

# What plotly leaves of a figure: its picture, drawn in its place, with something in it.
DRAWN = """() => Array.from(document.querySelectorAll('.plotly-graph-div')).map((plot) => ({
  name: plot.id,
  marks: plot.querySelectorAll('.hm image, .trace path, .points path, .scatterlayer path').length,
  spare: plot.getBoundingClientRect().width
    - (plot.querySelector('.main-svg')?.getBoundingClientRect().width ?? 0),
}))"""


def study(profile=None, **changes):
    profile = profile or profile_of(tiny_graph(), LAYERS_NS)
    fields = {
        "link": Link(),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": np.geomspace(1e4, 1e6, 9),
    } | changes
    return sweep(profile, scale_profile(profile, 10), **fields)


def deep(cuts):
    """A chain of as many blocks, with names as long as those of real ones."""
    sizes = np.random.default_rng(0).integers(1_000, 200_000, cuts)
    specs = [TensorSpec("x", (1, 3, 224, 224), (0,), "float32")]
    specs += [
        TensorSpec(f"stages_{k % 4}_blocks_{k}_conv_dw", (1, int(n)), (0,), "float32")
        for k, n in enumerate(sizes)
    ]
    names = [f"stages.{k % 4}.blocks.{k}.conv_dw" for k in range(cuts)]
    layers = tuple(
        Layer("conv2d", name, (before.name,), (after,), flops=1000)
        for name, (before, after) in zip(names, pairwise(specs), strict=True)
    )
    blocks = tuple(Block(name, "Conv", k) for k, name in enumerate(names, start=1))
    return ModelGraph("deep", (specs[0],), layers, (specs[-1].name,), blocks)


def test_a_report_of_2500_cuts_stays_under_10_mb(tmp_path):
    """Extrapolated from two smaller ones, which is what the rest of CI has time for."""
    cuts, sizes = (600, 1_000), []
    for number in cuts:
        times = np.random.default_rng(1).integers(1_000, 100_000, number)
        profile = profile_of(deep(number), {1: times.tolist(), 8: (8 * times).tolist()})
        page = report(study(profile, input_encoding="uint8"), tmp_path / "deep.html")
        sizes.append(page.stat().st_size)
    each = (sizes[1] - sizes[0]) / (cuts[1] - cuts[0])
    assert sizes[1] + each * (2_500 - cuts[1]) < 10e6


class Page(HTMLParser):
    """Elements left open or closed twice, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.ids, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    found = study()
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    sure = found.confidence(40)
    return found, report(found, path, confidence=sure, command="dscwb report <again> & again")


@pytest.fixture(scope="module")
def page(written):
    return Page(written[1].read_text(encoding="utf-8"))


# In the browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "phone"])
def test_every_figure_is_drawn_without_a_network(chromium, written, width):
    _, path = written
    asked, errors = [], []
    with chromium_page(chromium, width=width) as page:
        page.context.set_offline(True)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        # plotly.js warns of its own hatched bars.
        page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_function(
            f"() => ({DRAWN})().every(({{marks, spare}}) => marks > 0 && Math.abs(spare) < 2)",
            timeout=ANSWER_MS,
        )
        drawn = page.evaluate(DRAWN)
        overhang = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert (asked, errors) == ([path.as_uri()], [])
    names = {one["name"].removeprefix("plot-") for one in drawn}
    assert names >= {"best", "gain-0", "gain-1", "gain-2", "regret", "rate-1", "rate-4"}
    assert names >= {"breakdown", "pareto", "compression", "device", "conventions"}
    assert overhang <= 0  # wide figures and tables scroll in their place, not the page


@pytest.mark.browser
def test_the_answer_takes_less_than_three_screens_and_the_rest_is_folded(chromium, written):
    _, path = written
    shown = "[...document.querySelectorAll('.plot')].filter((one) => one.checkVisibility()).length"
    with chromium_page(chromium, width=1280, height=800) as page:
        page.context.set_offline(True)
        page.goto(path.as_uri())
        page.wait_for_function("!document.querySelector('details[open]')", timeout=ANSWER_MS)
        answer = page.locator("#point figure").last.bounding_box()
        whole = page.evaluate("document.documentElement.scrollHeight")
        few = page.evaluate(shown)
        page.evaluate("location.hash = 'depth'")
        page.wait_for_function("document.querySelector('#depth').open", timeout=ANSWER_MS)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        printed = page.evaluate(shown)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        folds = page.evaluate("[...document.querySelectorAll('details[open]')].map(({id}) => id)")
    assert answer["y"] + answer["height"] < 3 * 800
    assert whole < 4 * 800
    assert (few, folds) == (3, ["depth"])
    assert printed == len(re.findall('class="plot"', path.read_text("utf-8")))


def test_no_figure_stands_twice(tmp_path):
    """Where a fixed choice is the best static one, a picture of the gain over it would be the same;
    an assumed server's profile is that of the device."""
    found = study()
    page = report(found, tmp_path / "report.html").read_text("utf-8")
    drawn = [found.baseline_split(name) for name in found_baselines(page)]
    assert len(drawn) == len(set(drawn)) >= 2
    assert 'id="plot-device"' in page
    assert 'id="plot-server"' not in page
    other = profile_of(tiny_graph(), {1: [MS, 2 * MS, 3 * MS]}, device="B")
    two = sweep(found.edge, other, found.scenario, data_rates_bps=[1e5, 1e6], batch_sizes=[1])
    assert 'id="plot-server"' in report(two, tmp_path / "two.html").read_text("utf-8")


def found_baselines(page):
    """What the pictures of gains are over, by their titles."""
    titles = re.findall(r'<figure aria-label="Gain over (?:the )?([^"]*)"', page)
    return [title.removesuffix(" split") for title in titles]


@pytest.mark.browser
def test_a_figure_that_is_not_drawn_is_found(chromium, written, tmp_path):
    text = written[1].read_text(encoding="utf-8")
    text, found = re.subn(r'Plotly\.newPlot\(\s*"plot-pareto"', 'void ("plot-pareto"', text)
    assert found == 1
    broken = tmp_path / "broken.html"
    broken.write_text(text, encoding="utf-8")
    with chromium_page(chromium) as page:
        page.goto(broken.as_uri())
        page.wait_for_function(
            f"() => ({DRAWN})().filter(({{marks}}) => marks > 0).length > 5", timeout=ANSWER_MS
        )
        marks = {one["name"]: one["marks"] for one in page.evaluate(DRAWN)}
    assert marks["plot-pareto"] == 0


# What it says


def test_the_page_is_whole_and_its_links_lead_somewhere(page):
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link for link in page.links if link.startswith("#")} <= {
        f"#{name}" for name in page.ids
    }


def test_verdict_sources_and_recipe_stand_on_it(written, page):
    found, _ = written
    text = " ".join(page.words)
    assert verdict(found) in text
    for words in found.stamp().values():
        assert words in text
    assert "dscwb report <again> & again" in text  # escaped on the page
    assert recipe(found, found.confidence(40)) in text
    assert "40 bootstrap replicates" in text
    assert text.count("Clocks") == 0  # empty values have no name on the page
    assert str(found.dominance()) in text
    assert about_models(found) in text
    assert "Sure: >99 % by the device's measurements, and the answer stays the same" in text


def test_switching_rates_have_their_intervals(page):
    # 35,556 and 177,778 bit/s (tests/test_study.py); without noise the intervals are points.
    cells = "|".join(word for word in page.words if word.strip())
    assert "|no offloading|0|0.0356|0.0356 to 0.0356|0|" in cells
    assert "|after a|0.0356|0.178|0.178 to 0.178|0.2|" in cells
    assert "|full offloading|0.178|∞|0.4|" in cells


def test_plotly_is_inside_once_and_nothing_is_fetched(written):
    text = written[1].read_text(encoding="utf-8")
    assert text.count("<script>/*") <= 1
    assert len(text) < 8e6
    assert not re.search(r'<(script|link|img|iframe)[^>]*\b(src|href)=["\']?http', text)
    assert "default-src 'none'" in text


def test_the_recipe_makes_the_same_study(monkeypatch):
    found = study(
        link=Link(0.001, 40, 1e6),
        objective="energy",
        power=POWER,
        server_load=2,
        input_encoding="jpeg 10:1",
        batch_sizes=[1, 3],
    )
    made = []
    monkeypatch.setattr(dscwb, "load_profile", lambda path: found.edge, raising=False)
    monkeypatch.setattr(dscwb, "report", lambda study, path: made.append(study), raising=False)
    exec(recipe(found), {"EDGE": "edge.parquet"})
    [again] = made
    assert again.scenario == found.scenario
    assert again.batch_sizes == found.batch_sizes
    np.testing.assert_allclose(again.data_rates_bps, found.data_rates_bps)
    np.testing.assert_array_equal(again.intercepts, found.intercepts)


def test_rates_that_are_not_spaced_evenly_are_listed():
    assert "data_rates_bps=[10000.0, 20000.0, 1000000.0]" in recipe(
        study(data_rates_bps=[1e4, 2e4, 1e6])
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"private_input": True},
        {"min_depth": 3},
        {"granularity": "op"},
        {"granularity": "compressive"},
        {"objective": "energy", "power": POWER},
        {"objective": "energy", "power": PowerModel(5, 0, 0, "sending and waiting are free")},
        {"objective": "energy", "power": PowerModel(0, 0, 0, "all is free")},
        {"arrival_rate_hz": 10, "link": Link(0.01, downlink_bps=1e6)},
        {"data_rates_bps": [1e5], "batch_sizes": [2]},
        {"memory_cap_bytes": 1800},
        {"server_load": 100},
    ],
    ids=str,
)
def test_every_scenario_has_a_report(tmp_path, changes):
    path = report(study(**changes), tmp_path / "report.html")
    assert Page(path.read_text(encoding="utf-8")).open == []


def test_names_from_elsewhere_do_no_harm(tmp_path):
    evil = '<img src=x onerror="alert(1)">'
    profile = profile_of(tiny_graph(evil), LAYERS_NS, device=evil)
    profile = replace(profile, provenance=replace(profile.provenance, note="</script><b>"))
    text = report(study(profile), tmp_path / "report.html").read_text(encoding="utf-8")
    assert evil not in text
    assert Page(text).open == []


def test_misuse_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"'report\.pdf': a report is written as \.html"):
        report(study(), tmp_path / "new" / "report.pdf")
    with pytest.raises(ValueError, match="Batch size 9 is not on this grid"):
        report(study(), tmp_path / "new" / "report.html", batch_size=9, data_rate_bps=1e6)
    other = study(profile_of(tiny_graph(), {1: [9 * MS] * 3}))
    with pytest.raises(ValueError, match="another study"):
        report(study(), tmp_path / "new" / "report.html", confidence=other.confidence(40))
    with pytest.raises(ValueError, match="together"):
        report(study(), tmp_path / "new" / "report.html", batch_size=1)
    assert not (tmp_path / "new").exists()


def test_a_study_with_a_thousand_batch_sizes_is_shown_at_those_with_times(tmp_path):
    wide = profile_of(tiny_graph(), {1: LAYERS_NS[1], 1024: [n * 1024 for n in LAYERS_NS[1]]})
    found = study(wide, data_rates_bps=np.geomspace(1e4, 1e10, 241))
    page = report(found, tmp_path / "wide.html", confidence=found.confidence(40))
    assert page.stat().st_size < 8e6
    text = " ".join(Page(page.read_text(encoding="utf-8")).words)
    assert "batch sizes 1, 1024" in text
    assert "40 bootstrap replicates" in text


def test_more_points_than_a_page_holds_are_refused_with_the_bound(tmp_path):
    found = study(data_rates_bps=np.geomspace(1e4, 1e10, 20_000))
    with pytest.raises(ValueError, match="more than the 20,000 points that a report can show"):
        report(found, tmp_path / "report.html")
