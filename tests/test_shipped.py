"""`dscwb paper` on a folder of few shipped profiles, and on one of the user's own."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import dscwb
from dscwb import paper
from dscwb.figures import plot_best_split, plot_gain
from dscwb.figures.layout import caption_of
from dscwb.profiles.files import load_profile, save_profile
from dscwb.reporting.gallery import gallery
from tests.lab import ANSWER_MS, chromium_page
from tests.pictures import tiny_study
from tests.tiny import profile_of

PROFILES = Path(__file__).parents[1] / "data" / "profiles"
SLICES, THREADS = (paper.MEASURED[machines] for machines in (paper.SLICES, paper.THREADS))


def folder_of(folder, *stems):
    folder.mkdir()
    for stem in stems:
        shutil.copy(PROFILES / f"{stem}.parquet", folder)
    return folder


def test_the_pair_measured_on_slices_comes_first_in_tables_and_pages(run, tmp_path):
    shelf = folder_of(
        tmp_path / "profiles",
        *(f"efficientnet_b4-380-{machine}-float32" for machine in ("epyc-1t", "epyc-2t")),
        *(f"efficientnet_b4-380-{machine}-float32" for machine in ("h200-8sm", "h200-40sm")),
        "efficientnet_b0-224-epyc-1t-float32",
    )
    output = tmp_path / "new" / "paper"
    status, out, error = run("paper", "-o", output, "--profiles", shelf)
    assert (status, error, out[-1]) == (0, "", f"saved {output}; open {output / 'index.html'}")
    assert out[0] == "2 of 2 models agree in all counts of bottlenecks"
    gains = pd.read_csv(output / "gains.csv")
    pairs = [SLICES, paper.PAPERS_PAIR.name, paper.JETSON_PAIR.name, THREADS]
    assert list(dict.fromkeys(gains.pair)) == pairs
    assert list(dict.fromkeys(pd.read_csv(output / "claims.csv").pair)) == pairs
    first = gains[gains.pair == SLICES]
    assert set(first.model) == {"efficientnet_b4"}  # the other one was not measured on the slices
    assert (first.batch_sizes == "1, 2, 4, 8, 16, 32, 62").all()
    assert (first.origin == "measured → measured").all()
    assert list(dict.fromkeys(pd.read_csv(output / "static-splits.csv").pair)) == pairs[:2]
    assert pd.read_csv(output / "rates.csv").origin.tolist()[:2] == ["measured", "measured"]
    beside = pd.read_csv(output / "modelled-beside-measured.csv")
    assert beside.model.tolist() == ["efficientnet_b4"] * 3
    assert any(f"over T measured on {SLICES}" in line for line in out)
    page = (output / "index.html").read_text(encoding="utf-8")
    assert len(page) < 4e6
    assert "8 → 40 of 132 multiprocessors" in page
    assert "NVIDIA H200, 8 of 132 multiprocessors, float32 (measured" in page
    assert page.count('class="dscwb-figure"') == len(pairs) + 3  # and maps of one model
    assert page.count('class="dscwb-plotly"') == 1
    assert {path.suffix for path in output.iterdir()} == {".csv", ".html"}
    assert all(f"{path.name}, " in page for path in output.glob("*.csv"))


@pytest.mark.browser
def test_a_gallery_is_drawn_without_a_network(chromium, tmp_path):
    figures = [plot_gain(tiny_study()), plot_best_split(tiny_study())]
    table = pd.DataFrame({"model": ["<b>"], "gain": [0.123456]})
    path = gallery(tmp_path / "a.html", "<i>", "Words.", figures, {"gains": table})
    with chromium_page(chromium) as page:
        page.context.set_offline(True)
        page.goto(path.as_uri())
        page.wait_for_function(
            "document.querySelectorAll('.dscwb-figure .hm image').length === 2", timeout=ANSWER_MS
        )
        page.get_by_text("gains.csv").click()
        assert page.get_by_role("cell").all_inner_texts() == ["<b>", "0.123"]
        assert page.title() == "<i>"
        assert page.locator("i, b").count() == 0
        captions = page.locator(".caption").all_inner_texts()
    assert captions == [caption_of(figure) for figure in figures]


def test_devices_are_listed_as_server_device_takes_them(run):
    status, out, _ = run("devices")
    assert status == 0
    names = [one.name for one in dscwb.catalogue()]
    assert all(line.startswith(name) for line, name in zip(out[::2], names, strict=True))
    [t4] = [line for line in out if line.startswith("T4 ")]
    assert "16 GB at 320 GB/s; TFLOP/s: float32 8.1, float16 65" in t4


def test_two_machines_of_ones_own_are_named_and_then_come_first(run, tmp_path):
    graph = load_profile(PROFILES / "efficientnet_b0-224-epyc-1t-float32.parquet").graph
    folder, layers = tmp_path / "mine", len(graph.layers)
    for machine, nanoseconds in (("board", 90_000), ("card", 9_000)):
        profile = profile_of(graph, {1: [nanoseconds] * layers}, device=machine)
        save_profile(profile, folder / f"{machine}.parquet")
    command = ("paper", "-o", tmp_path / "out", "--profiles", folder)
    status, out, _ = run(*command)
    assert status == 0
    assert (
        "Only modelled pairs: to compare two machines measured here, name them with --edge and "
        "--server. Here are board; card."
    ) in out
    assert not (tmp_path / "out" / "modelled-beside-measured.csv").exists()
    status, out, _ = run(*command, "--edge", "board", "--server", "card")
    assert status == 0
    assert not any("Only modelled" in line for line in out)
    assert pd.read_csv(tmp_path / "out" / "gains.csv").pair[0] == "board → card"
    status, _, error = run(*command, "--edge", "board", "--server", "toaster")
    assert status == 2
    assert "Nothing was measured on 'toaster' in float32; machines here: board; card." in error


def test_a_folder_without_the_papers_models_is_refused(run, tmp_path):
    folder = folder_of(tmp_path / "profiles", "resnet50-224-epyc-1t-float32")
    status, _, error = run("paper", "-o", tmp_path / "out", "--profiles", folder)
    assert status == 2
    assert "No EfficientNet profiles in" in error
