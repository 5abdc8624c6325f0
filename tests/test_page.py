"""The living page in a real browser, from a file and without a network."""

import io
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

import dscwb
from dscwb.profiles.files import load_profile
from dscwb.scenario import DATA_RATES_BPS
from dscwb.workbench.page import framed
from tests.lab import ANSWER_MS, ROOT, chromium_page
from tests.tiny import profile_of, tiny_graph

PROFILES = ROOT / "data" / "profiles"
PAIR = [PROFILES / f"efficientnet_b3-300-{one}-float32.parquet" for one in ("epyc-1t", "h200-40sm")]
DESK = "document.querySelector('.dscwb').dscwb.desk"
MS = 1_000_000


@pytest.fixture(scope="module")
def bench():
    return dscwb.SplitWorkbench(PAIR)


@pytest.fixture(scope="module")
def file(bench, tmp_path_factory):
    return bench.save_page(tmp_path_factory.mktemp("page") / "b3.html")


class Opened:
    """A page that has painted, and all that it asked for or complained of."""

    def __init__(self, page, path, hash=""):
        self.page, self.asked, self.errors = page, [], []
        page.context.set_offline(True)
        page.on("request", lambda request: self.asked.append(request.url.partition("#")[0]))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console", lambda said: self.errors.append(said.text) if said.type == "error" else None
        )
        page.goto(path.as_uri() + hash)
        self.until("document.querySelector('.dscwb')?.dataset.draws > 0")

    def until(self, condition):
        self.page.wait_for_function(f"() => {condition}", timeout=ANSWER_MS)

    def get(self, expression):
        return self.page.evaluate(f"() => {expression}")

    def state(self):
        return self.get(f"{DESK}.state")

    def says(self):
        return self.page.locator(".dscwb .says").inner_text()

    def download(self, name):
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=name, exact=True).click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.fixture
def opened(chromium, file):
    with chromium_page(chromium, width=1280, height=800) as page:
        yield Opened(page, file)


pytestmark = pytest.mark.browser


def study_of(state):
    """By `sweep`, from the files: nothing of the workbench."""
    edge, server = map(load_profile, PAIR)
    link = dscwb.Link(state["round_trip_s"], state["overhead_bytes"], state["downlink_bps"] or None)
    wire = {name: state[name] for name in ("input_encoding", "feature_encoding")}
    return dscwb.sweep(edge, server, link=link, data_rates_bps=DATA_RATES_BPS, **wire)


def test_a_page_of_a_pair_is_small_and_asks_for_nothing(opened, file):
    assert file.stat().st_size < 1e6
    assert opened.asked == [file.as_uri()]
    assert opened.errors == []
    assert opened.page.title() == "Where to split efficientnet_b3"
    assert opened.get("document.documentElement.lang") == "en"
    assert opened.page.get_by_role("main").count() == 1
    text = opened.page.locator("body").inner_text()
    assert "Where these numbers come from" in text


def test_its_numbers_are_those_of_a_study(opened):
    state = opened.state()
    study = study_of(state)
    found = opened.get(
        f"""(({{study}}) => ({{
          sizes: study.batchSizes, splits: study.candidates.map(({{name}}) => name),
          head: [...study.head], tail: [...study.tail], bits: [...study.bits],
          best: study.batchSizes.map((_, row) => study.bestAt(row, {state["data_rate_bps"]})),
        }}))({DESK})"""
    )
    lines = study.lines
    assert found["sizes"] == list(study.batch_sizes)
    assert found["splits"] == list(study.splits)
    for name, values in (("head", lines.head_s), ("tail", lines.tail_s), ("bits", lines.bits)):
        np.testing.assert_allclose(found[name], values.ravel(), rtol=1e-12)
    at = study.at_rates(state["data_rate_bps"])
    assert found["best"] == at.best[:, 0].tolist()


def test_a_slider_moves_the_answer_and_the_address_which_brings_it_back(opened, file):
    before, words = opened.state(), opened.says()
    slider = opened.page.get_by_role("slider", name=re.compile("^Data rate"))
    slider.focus()
    for _ in range(12):
        slider.press("PageUp")
    opened.until(f"{DESK}.state.data_rate_bps > {10 * before['data_rate_bps']}")
    opened.until(f"document.querySelector('.dscwb .says').textContent !== {words!r}")
    written = "new URLSearchParams(location.hash.slice(1)).get('data_rate_bps')"
    opened.until(f"Number({written}) === {DESK}.state.data_rate_bps")
    after, hash = opened.state(), opened.get("location.hash")
    assert parse_qs(hash[1:]) == {"data_rate_bps": [f"{after['data_rate_bps']:.15g}"]}
    opened.page.goto("about:blank")
    again = Opened(opened.page, file, hash)
    assert again.state() == after
    again.page.evaluate("() => { location.hash = 'batch_size=4&feature_encoding=float32'; }")
    again.until(f"{DESK}.state.batch_size === 4")
    assert again.state() == before | {"batch_size": 4, "feature_encoding": "float32"}
    assert opened.errors == again.errors == []


@pytest.mark.parametrize(
    "hash", ["#data_rate_bps=nonsense", "#__proto__=1", "#model=<b>", "#wrong=1"]
)
def test_an_address_that_says_nothing_sensible_changes_nothing(chromium, file, hash):
    with chromium_page(chromium) as page:
        found = Opened(page, file, hash)
        assert found.get(f"{DESK}.state.model") == "efficientnet_b3"
        assert found.state() == found.get(f"{DESK}.tables.start")
        assert found.errors == []
        assert page.locator("b", has_text="<").count() == 0


def test_the_table_that_it_gives_is_the_study(opened):
    name, data = opened.download("CSV")
    assert re.fullmatch(r"dscwb-efficientnet_b3-\w+\.csv", name)
    given = pd.read_csv(io.BytesIO(data))
    wanted = study_of(opened.state()).to_pandas()
    wanted = wanted.astype({"best_split": "str"})
    assert len(given) == len(wanted)
    for column in wanted:
        if wanted[column].dtype.kind == "f":
            np.testing.assert_allclose(given[column], wanted[column], rtol=1e-9, atol=1e-15)
        else:
            assert given[column].tolist() == wanted[column].tolist(), column
    assert "AMD EPYC" in given.device[0]


def test_the_pictures_that_it_gives_carry_the_answer(opened):
    name, data = opened.download("SVG")
    assert name.endswith(".svg")
    words = " ".join(re.findall(r">([^<>]+)</text>", data.decode()))
    assert opened.says()[:40] in words
    assert dscwb.__version__ in words
    _, data = opened.download("PNG")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"


def test_on_paper_it_is_a_figure_with_its_caption(opened):
    opened.page.emulate_media(media="print")
    opened.get("dispatchEvent(new Event('beforeprint'))")
    figure = opened.page.locator("figure.paper")
    assert figure.locator("svg").bounding_box()["height"] > 300
    assert "Made by dscwb" in figure.locator("figcaption").inner_text()
    assert not opened.page.get_by_role("main").is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 600)])
def test_axe_finds_nothing_to_mend(chromium, file, scheme, width):
    with chromium_page(chromium, width=width, height=800) as page:
        page.emulate_media(color_scheme=scheme)
        Opened(page, file)
        for folded in page.locator("summary").all():
            folded.click()
        found = Axe().run(page).response
    assert len(found["passes"]) > 20  # it has looked
    assert [one["help"] for one in found["violations"]] == []


def test_it_tells_how_to_make_it_again(opened, bench):
    opened.page.get_by_text("Make it again").click()
    code = opened.page.locator("pre").inner_text()
    text = re.search(r"load_state\('(.*)'\)", code)[1]
    again = dscwb.SplitWorkbench(PAIR, model="efficientnet_b3")
    again.load_state(text)
    assert again.state == bench.state


def test_names_from_elsewhere_stay_text(chromium, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>'\"&\u2028"
    graph = tiny_graph(evil)
    profile = profile_of(graph, {1: [9 * MS] * 3, 2: [9 * MS] * 3}, device=evil)
    profile = replace(profile, provenance=replace(profile.provenance, protocol=evil, note=evil))
    path = dscwb.SplitWorkbench([profile]).save_page(tmp_path / "evil.html")
    with chromium_page(chromium) as page:
        asked = []
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        found = Opened(page, path)
        assert (asked, found.errors) == ([], [])
        assert page.locator("img").count() == 0
        assert "onerror=alert(1)" in page.locator("body").inner_text()
        found.get("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".paper img, .paper script").count() == 0


def test_a_page_of_all_shipped_profiles_stays_under_5_mb_and_changes_its_model(chromium, tmp_path):
    bench = dscwb.SplitWorkbench(PROFILES)
    path = bench.save_page(tmp_path / "all.html", all_models=True)
    assert path.stat().st_size < 5e6
    with chromium_page(chromium) as page:
        found = Opened(page, path, "#model=resnet50&server=assumed speed-up")
        state = found.state()
        assert (state["model"], state["server"]) == ("resnet50", "assumed speed-up")
        assert found.errors == []
        assert found.get(f"{DESK}.study.candidates.length") > 10


def test_a_page_within_a_page_lives_too_and_hides_where_a_notebook_runs(
    chromium, bench, file, tmp_path
):
    inner = framed(file.read_text("utf-8"), bench.model_id)
    view = '<div><script type="application/vnd.jupyter.widget-view+json">{}</script>dead</div>'
    around = f"<!doctype html><body>{view.format(bench.model_id)}<div>{inner}</div></body>"
    exported, live = tmp_path / "exported.html", tmp_path / "live.html"
    exported.write_text(around, encoding="utf-8")
    live.write_text(around.replace("<body>", "<body><p id=jupyter-config-data>"), encoding="utf-8")
    with chromium_page(chromium) as opened:
        opened.context.set_offline(True)
        opened.goto(exported.as_uri())
        frame = opened.frame_locator("iframe")
        frame.locator(".dscwb[data-draws]").wait_for(timeout=ANSWER_MS)
        assert "efficientnet_b3" in frame.locator("h1").inner_text()
        assert not opened.get_by_text("dead").is_visible()
        opened.goto(live.as_uri())
        assert opened.get_by_text("dead").is_visible()
        assert opened.locator("iframe").count() == 0


def test_another_ending_is_refused(bench, tmp_path):
    with pytest.raises(ValueError, match=r"'a\.pdf': a page is written as \.html"):
        bench.save_page(tmp_path / "a.pdf")


def test_the_command_writes_the_same_page(run, chromium, tmp_path):
    words = ["--input-encoding", "uint8", "--feature-encoding", "int8", "--rtt-ms", 20, "--at", 30]
    status, out, error = run("page", *PAIR, "-o", tmp_path / "new" / "b3.html", *words)
    assert (status, error, out[-1]) == (0, "", f"saved {tmp_path / 'new' / 'b3.html'}")
    assert out[0].startswith("At 30 Mbit/s split after blocks.3.0")
    with chromium_page(chromium) as page:
        found = Opened(page, tmp_path / "new" / "b3.html")
        assert out[0].startswith(" ".join(found.says().split()))
        assert found.state()["server"].startswith("NVIDIA H200, 40 of 132")
    status, _, error = run("page", PAIR[0], "-o", tmp_path / "b3.pdf")
    assert (status, "a page is written as .html" in error) == (2, True)


def test_the_button_in_a_notebook_sends_the_page(bench, monkeypatch):
    sent = []
    monkeypatch.setattr(bench, "send", lambda content, buffers: sent.append((content, buffers)))
    bench._handle_custom_msg("page", [])
    ((content, (text,)),) = sent
    assert content == "page"
    assert text.decode().endswith("</html>")
