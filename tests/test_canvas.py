"""The widget of the canvas from Python's side: what it holds, what it sends, what it hears."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from dscwb.workbench.canvas import CanvasView
from dscwb.workbench.scene import LINES
from tests.test_scene import study

ROOT = Path(__file__).parents[1]


@pytest.fixture
def view():
    shown = CanvasView()
    shown.show(study(), state=(1, 1e5), answer="Split after a.")
    return shown


@pytest.fixture
def messages(view, monkeypatch):
    """What goes to the browser: names of the traits of each message."""
    sent = []

    def send(message, buffers=None):
        sent.append(set(message["state"]) | {path[0] for path in message["buffer_paths"]})

    monkeypatch.setattr(view.widget, "_send", send)
    return sent


def clicked(view, rate, size, serial=1):
    view.widget.clicked = {"data_rate_bps": rate, "batch_size": size, "serial": serial}


def test_it_holds_the_study_as_the_browser_reads_it(view):
    lines = np.frombuffer(view.widget.lines, "<f4").reshape(len(LINES), 4, 4)
    np.testing.assert_allclose(lines[LINES.index("intercept"), 0], [0.006, 0.015, 0.033, 0.06])
    assert len(view.widget.gain) == 4 * 4 * view.widget.scene["columns"]
    assert (view.widget.probability, view.widget.doubt) == (b"", b"")
    assert view.widget.at == {
        "batch_size": 1,
        "data_rate_bps": 1e5,
        "answer": "Split after a.",
    }


def test_a_study_is_one_message_and_a_move_a_small_one(view, messages):
    view.show(study(feature_encoding="int8"), state=(2, 1e5))
    assert messages == [{"scene", "lines", "gain", "at"}]
    messages.clear()
    view.move((4, 2e5), "Send the input.")
    assert messages == [{"at"}]
    assert view.widget.at["answer"] == "Send the input."


def test_another_baseline_sends_no_lines(view, messages):
    view.show(study(), state=(1, 1e5), baseline="full offloading")
    assert messages == [{"scene", "gain", "at"}]


def test_clicks_reach_every_handler(view):
    heard = []
    for _ in range(2):
        view.on_click(lambda rate, size: heard.append((rate, size)))
    clicked(view, 123456.0, 3)
    assert heard == [(123456.0, 3)] * 2
    clicked(view, 123456.0, 3, serial=2)  # the same place once more
    assert len(heard) == 4


def test_a_click_into_a_study_that_is_gone_is_not_heard(view):
    heard = []
    view.on_click(lambda *state: heard.append(state))
    view.show(study(batches=(1, 2)), state=(1, 1e5))
    clicked(view, 1e5, 4)
    assert heard == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"state": (9, 1e5)}, "Batch size 9 is not on this grid"),
        ({"baseline": "z"}, "'z' is not a candidate here"),
    ],
)
def test_misuse_changes_nothing(view, wrong, message):
    before = view.widget.get_state()
    with pytest.raises(ValueError, match=message):
        view.show(study(), **{"state": (1, 1e5)} | wrong)
    assert view.widget.get_state() == before


def test_a_move_out_of_the_study_is_refused(view):
    with pytest.raises(ValueError, match=r"Batch size 9 is not shown: \[1, 2, 3, 4\]; call show"):
        view.move((9, 1e5))
    with pytest.raises(ValueError, match="call show"):
        CanvasView().move((1, 1e5))


def test_the_script_needs_no_network_and_no_library(view):
    script = view.widget._esm
    assert "export default" in script
    assert not re.search(r"\bimport\b[^\n]*from|https?://|\bfetch\(|\beval\(", script)


def test_the_wheel_holds_the_script(tmp_path):
    """Editable installations find it anyway."""
    builder = WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"dscwb/workbench/canvas.js", "dscwb/workbench/drawing.js"} <= set(names)
