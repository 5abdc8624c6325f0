"""The README's picture, of the workbench in a real JupyterLab: `python -m tests.picture`."""

import sys
import tempfile
from pathlib import Path

from tests.browser import HOW_TO_GET_ONE, find_chromium
from tests.lab import FIRST_PAINT_MS, ROOT, chromium_page, copy_project, jupyterlab, run_cells

PICTURE = ROOT / "notebooks" / "images" / "explore.png"
WIDTH, SCALE = 1360, 1.5


def draw(path: Path, chromium: Path) -> None:
    """Open the notebook and photograph the workbench, once it says how sure every state is."""
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(copy_project(Path(folder, "project")), Path(folder)) as url,
        chromium_page(chromium, width=WIDTH, height=1700, scale=SCALE) as page,
    ):
        page.goto(url)
        run_cells(page)
        page.locator(".about.measured", has_text="of the replicates").first.wait_for(
            timeout=FIRST_PAINT_MS
        )
        path.parent.mkdir(exist_ok=True)
        page.locator(".dscwb").first.screenshot(path=path)


if __name__ == "__main__":
    found = find_chromium()
    if found is None:
        sys.exit(HOW_TO_GET_ONE)
    draw(PICTURE, found)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")
