"""The widget of the canvas from Python's side: what it holds, what it sends, what it hears."""

import re

import numpy as np
import pytest

from dscwb.workbench.canvas import Canvas
from dscwb.workbench.picture import LINES
from dscwb.workbench.session import SplitWorkbench
from dscwb.workbench.state import State
from tests.test_picture import study


def at(**more):
    return State("tiny", **{"batch_size": 1, "data_rate_bps": 1e5} | more)


def test_it_sends_the_study_as_the_browser_reads_it():
    sent = Canvas().picture(study(), at(), None, "Split after a.")
    lines = np.frombuffer(sent["lines"], "<f4").reshape(len(LINES), 4, 4)
    np.testing.assert_allclose(lines[LINES.index("intercept"), 0], [0.006, 0.015, 0.033, 0.06])
    assert (sent["probability"], sent["doubt"]) == (b"", b"")
    expected = {"batch_size": 1, "data_rate_bps": 1e5, "answer": "Split after a."}
    assert expected.items() <= sent["at"].items()
    assert set(sent) == set(Canvas().trait_names(sync=True)) & set(sent)


def test_a_study_is_one_message_and_a_move_a_small_one(monkeypatch):
    bench = SplitWorkbench(study().edge)
    messages = []

    def send(message, buffers=None):
        messages.append(set(message["state"]) | {path[0] for path in message["buffer_paths"]})

    monkeypatch.setattr(bench._view, "_send", send)
    bench.update(feature_encoding="int8")
    bench.update(data_rate_bps=2e5, batch_size=4)
    bench.update(baseline="full offloading")
    # Another baseline sends no lines.
    assert messages == [{"scene", "lines", "at"}, {"at"}, {"scene", "at"}]


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="'z' is not a candidate here"):
        Canvas().picture(study(), at(baseline="z"), None, "")


def test_the_script_needs_no_network_and_no_library():
    script = Canvas()._esm
    assert "export default" in script
    assert not re.search(r"\bimport\b[^\n]*from|https?://|\bfetch\(|\beval\(", script)
