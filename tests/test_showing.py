"""Figures in a notebook and in the HTML made of it; none offers to upload itself."""

import inspect
import re

import plotly.graph_objects as go
import plotly.io as pio
import pytest

import dscwb
from dscwb import figures
from dscwb.showing import LIBRARY, MIME, NAME, NotebookRenderer, use_in_notebooks
from dscwb.toolbar import CLOUD, CONFIG
from tests.lab import ANSWER_MS, ROOT, chromium_page
from tests.pictures import POINT, tiny_study

CARRIER = LIBRARY.partition("{}")[0]


@pytest.fixture
def cell(monkeypatch):
    """Which cell runs, as IPython would say it, and a renderer that has drawn nothing yet."""
    before = pio.renderers.default
    monkeypatch.setitem(pio.renderers._renderers, NAME, NotebookRenderer())

    class Shell:
        execution_count = 0

        def get_parent(self):
            return {"metadata": {"cellId": self.cell} if self.cell else {}}

    shell = Shell()

    def run(cell, figure=None):
        shell.cell = cell
        shell.execution_count += 1
        return pio.renderers[NAME].to_mimebundle((figure or go.Figure(go.Bar(y=[1]))).to_dict())

    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    yield run
    pio.renderers.default = before


def page_of(*bundles):
    return "".join(f"<div>{one['text/html']}</div>" for one in bundles)


def test_one_figure_carries_plotly_and_goes_on_when_its_cell_runs_again(cell):
    runs = [cell(name)["text/html"] for name in ("a", "b", "a", "b")]
    assert [CARRIER in html for html in runs] == [True, False, True, False]


def test_where_cells_have_no_names_the_first_figure_carries_it(cell):
    runs = [cell("")["text/html"] for _ in range(3)]
    assert [CARRIER in html for html in runs] == [True, False, False]


def test_jupyterlab_gets_the_figure_as_it_is(cell):
    figure = dscwb.plot_gain(tiny_study())
    bundle = cell("a", figure)
    assert set(bundle) == {MIME, "text/html"}
    assert bundle[MIME]["config"] == CONFIG
    assert len(bundle[MIME]["data"]) == len(figure.data)


def test_another_renderer_that_was_chosen_stays(monkeypatch):
    for chosen, then in (("png", "png"), ("plotly_mimetype", NAME), ("vscode", NAME)):
        monkeypatch.setattr(pio.renderers, "_default_name", chosen)
        use_in_notebooks()
        assert pio.renderers.default == then


@pytest.mark.browser
def test_a_figure_is_drawn_or_says_why_not(cell, chromium, tmp_path):
    evil = go.Figure(go.Bar(y=[1]), {"title": {"text": "</script><img src=x onerror=alert(1)>"}})
    first, second = cell("a", evil), cell("b")
    for name, bundles in {"both": (second, first), "alone": (second,)}.items():
        (tmp_path / f"{name}.html").write_text(page_of(*bundles), encoding="utf-8")
    with chromium_page(chromium) as page:
        page.context.set_offline(True)
        page.goto((tmp_path / "both.html").as_uri())
        page.wait_for_function(
            "document.querySelectorAll('.dscwb-figure .bars path').length === 2", timeout=ANSWER_MS
        )
        assert page.locator(".dscwb-figure img").count() == 0
        page.goto((tmp_path / "alone.html").as_uri())
        page.get_by_text("run all cells of the notebook").wait_for()


# --- nothing is uploaded -----------------------------------------------------------------------


def drawn():
    """Every figure that dscwb can draw of a study, by the name of its function."""
    study = tiny_study()
    for name, plot in vars(figures).items():
        others = "plot_gains", "plot_validation", "plot_fleet", "plot_split_shares"
        if not name.startswith("plot_") or name in others:
            continue  # these are in notebooks 03, 06 and 07
        asked = set(inspect.signature(plot).parameters)
        given = {"study": study, "graph": study.edge.graph, "profile": study.edge} | POINT
        yield name, plot(**{word: given[word] for word in asked & given.keys()})


def test_no_figure_offers_to_upload_itself():
    found = dict(drawn())
    assert len(found) > 8
    for name, figure in found.items():
        assert CLOUD in figure.layout.modebar.remove, name
    assert CONFIG["showSendToCloud"] is False


def test_every_figure_made_elsewhere_has_the_same_toolbar():
    """FigureWidget has no configuration; its layout must say it."""
    for path in (ROOT / "dscwb").rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(re.findall(r"go\.FigureWidget\(", text)) <= text.count('"modebar": MODEBAR'), (
            path
        )


@pytest.mark.browser
def test_a_saved_figure_has_no_share_button_and_the_check_can_fail(chromium, tmp_path):
    figure = dscwb.plot_gain(tiny_study())
    dscwb.save_figure(figure, tmp_path / "saved.html")
    figure.write_html(tmp_path / "written.html")
    go.Figure(go.Bar(y=[1])).write_html(tmp_path / "bare.html")
    found = {}
    with chromium_page(chromium) as page:
        page.context.set_offline(True)
        for name in ("saved", "written", "bare"):
            page.goto((tmp_path / f"{name}.html").as_uri())
            page.wait_for_function("document.querySelector('.modebar-btn')", timeout=ANSWER_MS)
            found[name] = page.locator(".modebar-btn[data-title*='Share']").count()
    assert found == {"saved": 0, "written": 0, "bare": 1}
