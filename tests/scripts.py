"""The browser's scripts as the tests load them."""

from pathlib import Path

import dscwb.workbench

HERE = Path(dscwb.workbench.__file__).parent
ENGINE = "\n".join(
    (HERE / name).read_text("utf-8") for name in ("pair.js", "engine.js", "numbers.js", "words.js")
)
_VIEWS = ("pen", "plots", "maps", "gains", "curves", "bars", "model", "timeline")
VIEWS = "\n".join((HERE / f"{name}.js").read_text("utf-8") for name in _VIEWS)
