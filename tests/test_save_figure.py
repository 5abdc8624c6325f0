"""Figures as files: what opens without the net, what is refused, what a browser draws."""

import json
import re
import struct

import kaleido
import pytest

from dscwb.figures import FigureError, plot_best_split, plot_gain, plot_maps, save_figure
from tests.pictures import tiny_study


def test_html_stands_alone(tmp_path):
    path = save_figure(plot_maps(tiny_study()), tmp_path / "sub" / "maps.html")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", text)
    assert "Plotly.newPlot" in text
    assert "bench clock" in text


def test_unknown_ending_is_refused(tmp_path):
    for name in ("map.jpg", "map"):
        with pytest.raises(ValueError, match=r"choose one of \.png, \.svg, \.pdf, \.html"):
            save_figure(plot_gain(tiny_study()), tmp_path / name)


def test_without_a_browser_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-browser"))
    with pytest.raises(FigureError, match=r"install one.*camera.*\.html"):
        save_figure(plot_gain(tiny_study()), tmp_path / "gain.png")


@pytest.mark.browser
def test_png_and_svg_have_the_size_asked_for_and_the_whole_caption(tmp_path, chromium, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(chromium))
    figure = plot_best_split(tiny_study(batches=(1, 3)))
    before = json.loads(figure.to_json())
    png = save_figure(figure, tmp_path / "map.png", width=500, scale=1).read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert width == 500
    assert height > figure.layout.height  # the caption needs more lines than on the screen
    svg = save_figure(figure, tmp_path / "map.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "interpolated linearly." in svg
    assert json.loads(figure.to_json()) == before


def test_the_browser_asks_nobody_for_mathjax_and_a_failure_keeps_the_old_file(
    tmp_path, monkeypatch
):
    asked = []

    def fails(figure, **how):
        asked.append(how)
        raise OSError("no room")

    monkeypatch.setattr(kaleido, "calc_fig_sync", fails)
    (tmp_path / "gain.png").write_bytes(b"older")
    with pytest.raises(OSError, match="no room"):
        save_figure(plot_gain(tiny_study()), tmp_path / "gain.png", width=700, scale=1)
    assert asked[0]["kopts"] == {"mathjax": False}
    assert asked[0]["opts"]["width"] == 700
    assert (tmp_path / "gain.png").read_bytes() == b"older"
