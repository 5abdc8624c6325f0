"""Every notebook runs from top to bottom, swallows no error, and is stored without outputs."""

import ast
import asyncio

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from tests.lab import ANSWER_MS, ROOT, chromium_page, copy_project

NOTEBOOKS = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 200_000
TIMEOUT_S = 180
PLOTLY = "application/vnd.plotly.v1+json"
# Figures with something in them.
DRAWN = """[...document.querySelectorAll('.dscwb-figure')].filter((one) =>
  one.querySelector('.hm image, .trace path, .points path, .scatterlayer path'))"""
AT_ONCE = 2  # kernels; each loads torch and waits for it


async def run(notebook, folder):
    """Execute as JupyterLab would, in the notebook's own folder; its widgets come back with it."""
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    await client.async_execute()
    return notebook


def swallowed_errors(notebook):
    """What failed inside widgets: nbclient lets an `interact` or Output that raises pass."""
    widgets = notebook.metadata.get("widgets", {})
    states = widgets.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    found = []
    for one in states.values():
        state = one["state"]
        for output in state.get("outputs", ()):
            if output["output_type"] == "error":
                found.append(f"{output['ename']}: {output['evalue']}")
    return found


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Every notebook as it ran, in a kernel and a project of its own; some at the same time."""

    async def execute(path, turn):
        async with turn:
            project = copy_project(tmp_path_factory.mktemp(path.stem) / "project")
            notebook = nbformat.read(project / path, as_version=4)
            return await run(notebook, (project / path).parent)

    async def all_of_them():
        turn = asyncio.Semaphore(AT_ONCE)
        tasks = (execute(path, turn) for path in NOTEBOOKS)
        return await asyncio.gather(*tasks, return_exceptions=True)

    return dict(zip(NOTEBOOKS, asyncio.run(all_of_them()), strict=True))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_runs_without_errors(path, executed):
    notebook = executed[path]
    if isinstance(notebook, BaseException):
        raise notebook
    assert swallowed_errors(notebook) == []
    if path.name == "01-explore.ipynb":  # the workbench is displayed
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        kinds = {kind for output in outputs for kind in output.get("data", {})}
        assert "application/vnd.jupyter.widget-view+json" in kinds


@pytest.mark.browser
@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_its_page_shows_every_figure_without_a_network(path, executed, chromium, tmp_path):
    outputs = [one for cell in executed[path].cells for one in cell.get("outputs", ())]
    figures = sum(PLOTLY in output.get("data", {}) for output in outputs)
    page_file = tmp_path / "page.html"
    page_file.write_text(HTMLExporter().from_notebook_node(executed[path])[0], encoding="utf-8")
    with chromium_page(chromium) as page:
        page.context.set_offline(True)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        page.wait_for_function(f"(n) => {DRAWN}.length === n", arg=figures, timeout=ANSWER_MS)
        for widget in range(page.locator("iframe").count()):  # the workbench, which lives on
            frame = page.frame_locator("iframe").nth(widget)
            frame.locator(".dscwb[data-draws]").wait_for(timeout=ANSWER_MS)
            assert frame.locator(".says").inner_text()
        assert (path.name == "01-explore.ipynb") == (page.locator("iframe").count() == 1)
        buttons = page.evaluate(
            "[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)"
        )
    assert errors == []
    assert page_file.read_text("utf-8").count('class="dscwb-plotly"') == (figures > 0)
    assert not [title for title in buttons if "share" in title.lower()]


def test_the_check_for_swallowed_errors_can_fail(tmp_path):
    sources = [
        "import ipywidgets\nipywidgets.interact(lambda n: 1 / n, n=ipywidgets.IntSlider(0))",
        "import ipywidgets\nwith ipywidgets.Output():\n    [][0]",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = asyncio.run(run(nbformat.v4.new_notebook(cells=cells), tmp_path))
    kinds = {error.partition(":")[0] for error in swallowed_errors(notebook)}
    assert kinds == {"ZeroDivisionError", "IndexError"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=str)
def test_is_stored_clean_and_defines_nothing(path):
    assert (ROOT / path).stat().st_size < MAX_BYTES
    notebook = nbformat.read(ROOT / path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            nodes = ast.walk(ast.parse(cell.source))
            assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)
