"""Many cells: the same table whoever computes it, and nothing lost or double when one dies."""

import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dscwb
from dscwb import grid
from tests.cells import drawn, killed_once, picky, rows, times_run

ROOT = Path(__file__).parents[1]
SEEDS = {"seed": range(5), "scale": {"narrow": 1, "wide": 10.0}}


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def same(table, other):
    pd.testing.assert_frame_equal(table, other, check_exact=True)


# What comes back


def test_the_table_has_every_combination_in_the_order_of_the_axes():
    table = grid(drawn, SEEDS)
    assert list(table) == ["seed", "scale", "mean", "above", "name"]
    assert table["seed"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert table["scale"].tolist() == ["narrow", "wide"] * 5
    numbers = np.random.default_rng(3).normal(0, 10, 3)
    row = table[(table["seed"] == 3) & (table["scale"] == "wide")].iloc[0]
    assert (row["mean"], row["above"]) == (numbers.mean(), (numbers > 0).sum())


def test_it_makes_an_xarray_dataset():
    data = grid(drawn, SEEDS).set_index(["seed", "scale"]).to_xarray()
    assert dict(data.sizes) == {"seed": 5, "scale": 2}
    assert float(data["mean"].sel(seed=3, scale="narrow")) == drawn(3)["mean"]


def test_threads_and_processes_give_the_same_table(tmp_path):
    alone = grid(drawn, SEEDS)
    with ThreadPoolExecutor(3) as pool:
        same(grid(drawn, SEEDS, executor=pool), alone)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        same(grid(drawn, SEEDS, executor=pool), alone)
        same(grid(drawn, SEEDS, executor=pool, folder=tmp_path), alone)
    same(grid(drawn, SEEDS, folder=tmp_path), alone)


def test_an_answer_may_have_many_rows_or_none():
    table = grid(rows, {"count": [2, 0, 3]})
    assert table["count"].tolist() == [2, 2, 3, 3, 3]
    assert table["square"].tolist() == [0, 1, 0, 1, 4]


@pytest.fixture(scope="module")
def study():
    server = dscwb.scale_profile("mobilenetv3_large_100", 20)
    wire = {"input_encoding": "uint8", "feature_encoding": "int8"}
    return dscwb.sweep("mobilenetv3_large_100", server, batch_sizes=[1], **wire)


def test_sweeps_over_links(study):
    links = {"near": dscwb.Link(0.001), "far": dscwb.Link(0.1)}
    asked = {name: getattr(study.scenario, name) for name in ("input_encoding", "feature_encoding")}
    profiles = {"edge": study.edge, "server": study.server}
    table = grid(dscwb.sweep, {"link": links}, **profiles, **asked, batch_sizes=[1])
    for name, link in links.items():
        own = dscwb.sweep(**profiles, link=link, batch_sizes=[1], **asked).to_pandas()
        found = table[table["link"] == name].drop(columns="link").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, own, check_dtype=False)


def test_replays_over_traces(study):
    traces = {f"{mbps} Mbit/s": dscwb.Trace([0, 1], [mbps * 1e6, 1e6], 2) for mbps in (1, 50)}
    table = grid(dscwb.replay, {"trace": traces}, study=study, every_s=0.5)
    for name, trace in traces.items():
        own = dscwb.replay(study, trace, every_s=0.5).table()
        found = table[table["trace"] == name]
        assert found["mean_s"].tolist() == own["mean_s"].tolist()
        assert found.iloc[:, 1].tolist() == own.index.tolist()


def test_fleets_over_seeds_and_numbers_of_devices(study, tmp_path):
    trace = dscwb.Trace([0, 1], [5e6, 2e7], 2)
    arrivals = dscwb.Arrivals(2.0, poisson=True)
    many = {n: [dscwb.Devices("made up", study, n, trace, arrivals)] for n in (1, 3)}
    options = {"duration_s": 5, "strategies": ["full offloading"]}
    axes = {"devices": many, "seed": [0, 1]}
    table = grid(dscwb.fleet, axes, **options, folder=tmp_path)
    found = table.set_index(["devices", "seed", "strategy", "answer_devices"])["mean_s"]
    for number, seed in ((1, 0), (3, 0), (3, 1)):
        own = dscwb.fleet(many[number], seed=seed, **options).table()["mean_s"]
        assert found.loc[number, seed].tolist() == own.tolist()
    same(grid(dscwb.fleet, axes, **options, folder=tmp_path), table)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_answers_column_with_the_name_of_an_axis_is_told_apart():
    assert list(grid(lambda x: {"x": 2 * x, "error": 1}, {"x": [1]})) == [
        "x",
        "answer_x",
        "answer_error",
    ]


# What is kept


def test_what_is_done_is_not_done_again(tmp_path, runs):
    asked = partial(grid, drawn, runs=str(runs), folder=tmp_path / "cells")
    first = asked({"seed": range(3)})
    more = asked({"seed": [4, 2, 1, 0]})
    assert times_run(runs) == {0: 1, 1: 1, 2: 1, 4: 1}
    same(more.iloc[[3, 2, 1]].reset_index(drop=True), first)
    assert len(list((tmp_path / "cells").glob("*.parquet"))) == 4
    cell = pd.read_parquet(next((tmp_path / "cells").iterdir()))
    assert list(cell) == ["mean", "above", "name"]


def test_another_question_gets_its_own_answer(tmp_path, runs):
    asked = partial(grid, drawn, {"seed": [1]}, runs=str(runs), folder=tmp_path / "cells")
    narrow, wide = asked(scale=1.0), asked(scale=2.0)
    assert wide["mean"][0] == 2 * narrow["mean"][0]
    more = {"runs": str(runs), "scale": 1.0, "folder": tmp_path / "cells"}
    relabelled = grid(drawn, {"seed": {7: 1}}, **more)
    assert relabelled["seed"].tolist() == [7]
    assert times_run(runs) == {1: 3}


def test_a_file_under_anothers_name_and_a_broken_one_are_told_and_done_again(
    tmp_path, runs, caplog
):
    asked = partial(grid, drawn, {"seed": [1, 2]}, runs=str(runs), folder=tmp_path / "cells")
    before = asked()
    one, two = sorted((tmp_path / "cells").iterdir())
    one.write_bytes(two.read_bytes())
    two.write_bytes(two.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING, "dscwb"):
        same(asked(), before)
    assert f"{one} answers another question; it is computed again" in caplog.text
    assert f"{two} is damaged, or no cell; it is computed again" in caplog.text
    assert times_run(runs) == {1: 2, 2: 2}
    same(asked(), before)
    assert times_run(runs) == {1: 2, 2: 2}


def test_every_flipped_byte_of_a_cell_is_seen(tmp_path, caplog):
    before = grid(drawn, {"seed": [1]}, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[place] ^= 4
        path.write_bytes(broken)
        same(grid(drawn, {"seed": [1]}, folder=tmp_path), before)
        assert path.read_bytes() == whole
    assert caplog.text.count("is computed again") == len(range(0, len(whole), 97))


def test_a_study_whose_process_is_killed_goes_on_where_it_was(tmp_path, runs):
    program = (
        "import sys\nfrom dscwb import grid\nfrom tests.cells import killed_once\n"
        "print(grid(killed_once, {'seed': range(4)}, at=2, runs=sys.argv[1], folder=sys.argv[2]))"
    )
    words = [sys.executable, "-c", program, str(runs), str(tmp_path / "cells")]
    first = subprocess.run(words, cwd=ROOT, capture_output=True)
    assert first.returncode == -signal.SIGKILL
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert times_run(runs) == {0: 1, 1: 1, 2: 2, 3: 1}
    assert len(list((tmp_path / "cells").iterdir())) == 4


def test_a_pool_that_loses_a_process_keeps_what_it_had(tmp_path, runs, caplog):
    asked = partial(grid, killed_once, {"seed": range(6)}, at=3, runs=str(runs), folder=tmp_path)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        table = asked(executor=pool)
    assert table["error"][3].startswith("BrokenProcessPool: ")
    assert "6 cells have no answer; the column 'error' says why" in caplog.text
    done = table["error"].isna()
    assert done[:3].all()
    whole = asked()
    assert "error" not in whole
    same(whole, grid(drawn, {"seed": range(6)}))
    again = {seed for seed, count in times_run(runs).items() if count > 1}
    assert again.isdisjoint(table["seed"][done])


# What goes wrong


def test_a_cell_that_fails_is_a_row_and_tried_again(tmp_path, caplog):
    table = grid(picky, {"seed": range(3)}, bad=1, folder=tmp_path)
    assert table["error"][1] == "ValueError: 1 is bad"
    assert table["square"].tolist()[::2] == [0, 4]
    assert "1 of 3 cells have no answer; the column 'error' says why" in caplog.text
    assert len(list(tmp_path.iterdir())) == 2
    with ThreadPoolExecutor() as pool:
        same(grid(picky, {"seed": range(3)}, bad=1, executor=pool), table)


def test_an_interrupt_keeps_what_is_done():
    def asked(seed):
        if seed == 2:
            raise KeyboardInterrupt
        return drawn(seed)

    table = grid(asked, {"seed": range(4)})
    assert table["error"].tolist()[2:] == ["cancelled before it was done"] * 2
    same(table[:2].drop(columns="error").astype({"above": int}), grid(drawn, {"seed": range(2)}))
    with pytest.raises(KeyboardInterrupt):
        grid(asked, {"seed": [2, 3]})


def test_an_interrupt_cancels_what_has_not_begun():
    released, begun = threading.Event(), []

    def asked(seed):
        begun.append(seed)
        if seed == 2:
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C and the notebook's stop do
            released.wait()
        return drawn(seed)

    with ThreadPoolExecutor(1) as pool:
        table = grid(asked, {"seed": range(9)}, executor=pool)
        released.set()
    assert begun == [0, 1, 2]
    assert table["error"].isna().tolist() == [True, True] + [False] * 7


@pytest.mark.parametrize(
    ("axes", "more", "words"),
    [
        ({"seed": []}, {}, "axes['seed'] has no values"),
        ({"seed": "abc"}, {}, "axes['seed'] is 'abc'; give a list of values, or {label: value}"),
        ({"seed": [[1]]}, {}, "axes['seed'] holds a list, which makes no column; give each value"),
        ({"seed": [1, 1]}, {}, "axes['seed'] has a label twice: [1, 1]"),
        ({"seed": [1]}, {"seed": 2}, "seed is an axis and an argument of all cells"),
        ({"error": [1]}, {}, "give the axis another name"),
        (
            {"seed": [1]},
            {"scale": iter([1])},
            "scale can be read only once, by one cell; give",
        ),
        ({"seed": {"a": iter([1])}}, {}, "seed can be read only once"),
        ({"seed": [1]}, {"executor": 3}, "executor is 3; give a pool, or the client of a dask"),
    ],
)
def test_misuse_is_refused_with_a_remedy(axes, more, words):
    with pytest.raises((TypeError, ValueError)) as refused:
        grid(drawn, axes, **more)
    assert words in str(refused.value)


def test_answers_that_make_no_table_say_so(caplog):
    table = grid(lambda x: x, {"x": [1]})
    assert table["error"][0].startswith("TypeError: a cell's answer is a int; give a dictionary")
    assert grid(lambda x: {"y": object()}, {"x": [1]})["error"][0].startswith("Arrow")


def test_a_bar_shows_what_was_done_before(tmp_path, capsys):
    grid(drawn, {"seed": range(2)}, folder=tmp_path)
    grid(drawn, {"seed": range(4)}, folder=tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "2/4" in shown
    assert "4/4" in shown
