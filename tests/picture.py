"""The README's picture, of the workbench in a real JupyterLab: `python -m tests.picture`."""

import sys
import tempfile
from pathlib import Path

from tests.browser import HOW_TO_GET_ONE, find_chromium
from tests.lab import FIRST_PAINT_MS, ROOT, chromium_page, copy_project, jupyterlab, run_cells

PICTURE = ROOT / "notebooks" / "images" / "explore.png"
WIDTH, SCALE = 1360, 1.5
STATE = (0.54, 0.69)  # where to click in the canvas, in shares of its width and height
SETTLED_MS = 3_000


def draw(path: Path, chromium: Path) -> None:
    """Open the notebook, choose a state on the map, and photograph the workbench."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(copy_project(Path(folder, "project")), Path(folder)) as url,
        chromium_page(chromium, width=WIDTH, height=1700, scale=SCALE) as page,
    ):
        page.goto(url)
        run_cells(page)
        canvas = page.locator(".dscwb-canvas canvas.splits").first
        canvas.wait_for(timeout=FIRST_PAINT_MS)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box
        page.mouse.click(box["x"] + STATE[0] * box["width"], box["y"] + STATE[1] * box["height"])
        page.locator(".dscwb-canvas[data-at^='4 ']").first.wait_for()
        page.mouse.move(2, 2, steps=8)  # no hover label over the map
        page.wait_for_timeout(SETTLED_MS)
        path.parent.mkdir(exist_ok=True)
        page.locator(".dscwb").first.screenshot(path=path)


if __name__ == "__main__":
    found = find_chromium()
    if found is None:
        sys.exit(HOW_TO_GET_ONE)
    draw(PICTURE, found)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")
