"""The workbench's screen alone in a browser, as in a living page: no JupyterLab, no kernel."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, TimeoutError

from dscwb.workbench import SplitWorkbench
from tests.lab import chromium_page

ANSWER_MS = 5_000  # of a page that computes in milliseconds, on a busy machine

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Workbench</title>
<style>body { margin: 0; } STYLE</style></head><body><main id="at"></main><script type="module">
SCRIPT
const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const source = JSON.parse(document.getElementById("source").textContent,
  (_, value) => (value?.base64 === undefined ? value : bytes(value.base64)));
mount(document.getElementById("at"), source);
</script><script type="application/json" id="source">SOURCE</script></body></html>"""


def source_of(bench: SplitWorkbench, *others: dict[str, Any]) -> dict[str, Any]:
    """What a page needs of a workbench; `others` are fields of states whose pairs go along."""
    names = ("tables", "shown", "pairs", "confidence", "past", "future", "message")
    told = {name: bench.get_state()[name] for name in names}
    shown = bench.state.values()
    for change in others:
        bench.update(**change)
        told["pairs"] = told["pairs"] | bench.get_state()["pairs"]
    bench.update(**shown)
    return told


def _coded(value: Any) -> dict[str, str]:
    return {"base64": b64encode(value).decode()}


def write_page(path: Path, bench: SplitWorkbench, *others: dict[str, Any]) -> Path:
    """A page of this workbench; see `source_of`."""
    source = json.dumps(source_of(bench, *others), default=_coded).replace("</", "<\\/")
    style = Path(bench._css.path if hasattr(bench._css, "path") else bench._css)
    css = style.read_text("utf-8") if style.suffix == ".css" else str(bench._css)
    text = PAGE.replace("STYLE", css).replace("SCRIPT", str(bench._esm)).replace("SOURCE", source)
    path.write_text(text, "utf-8")
    return path


@contextmanager
def shown_page(chromium: Path, path: Path, **size: Any) -> Iterator[Page]:
    """The page once it is painted; errors of its scripts are raised at the end."""
    with chromium_page(chromium, **size) as page:
        page.set_default_timeout(ANSWER_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.context.set_offline(True)
        page.goto(path.as_uri())
        try:
            page.locator(".dscwb[data-draws]").wait_for()
        except TimeoutError:
            raise AssertionError(errors) from None
        yield page
        assert errors == []


def state_of(page: Page, *names: str) -> Any:
    """Fields of the state that the page shows, as its script holds them."""
    found = page.evaluate(
        "(names) => { const { state } = document.querySelector('.dscwb').dscwb.desk;"
        " return names.map((name) => state[name]); }",
        list(names),
    )
    return found if len(names) > 1 else found[0]


def wait_for_state(page: Page, **wanted: Any) -> None:
    """Until the page has painted a state with these fields."""
    page.wait_for_function(
        "(wanted) => { const { painted } = document.querySelector('.dscwb').dscwb;"
        " return Object.entries(wanted).every(([name, value]) => painted[name] === value); }",
        arg=wanted,
    )
