"""A study that is stopped in its middle, as a terminal and a notebook do it: they tell all of the
processes that it has started, too.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.cells import times_run

ROOT = Path(__file__).parents[1]
WAIT_S = 180  # for a busy machine

STUDY = """
from dscwb import grid
from tests.cells import held

def study(seeds, folder, pool):
    cells = f"{folder}/cells"
    table = grid(held, {"seed": range(seeds)}, at=1, pipes=folder, folder=cells, executor=pool,
                 progress=True)
    print(f"{table.get('error', table['mean'] * float('nan')).isna().sum()} of {len(table)}")
"""
TERMINAL = f"""{STUDY}
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for seeds in (1, 4, 4):
            study(seeds, sys.argv[1], pool)
"""
NOTEBOOK = f"""{STUDY}
from distributed import Client, LocalCluster

local = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
client = Client(local)
"""
END = """
import psutil

client.close()
local.close()
left = [one.cmdline() for one in psutil.Process().children(recursive=True)]
print(sum("spawn_main" in " ".join(words) for words in left), "workers left")
"""
STOPPED = 2  # the cell


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("begun", "go"):
        os.mkfifo(tmp_path / name)
    return tmp_path


def test_a_terminals_interrupt_ends_what_runs_and_the_pool_goes_on(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TERMINAL)
    with subprocess.Popen(
        [sys.executable, script, folder],
        env=os.environ | {"PYTHONPATH": f"{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        (folder / "begun").read_text()
        os.killpg(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=WAIT_S)
    assert out.splitlines() == ["1 of 1", "1 of 4", "4 of 4"], errors
    assert "cells, interrupted:  25%" in errors
    assert "Traceback" not in errors
    assert times_run(folder / "runs") == {0: 1, 1: 2, 2: 1, 3: 1}


def test_a_notebooks_stop_leaves_the_cluster_whole_and_the_next_cell_goes_on(folder):
    study = [f"study({seeds}, {f'{folder}'!r}, client)" for seeds in (1, 4, 4)]
    cells = [nbformat.v4.new_code_cell(text) for text in (NOTEBOOK, *study, END)]
    notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=WAIT_S)

    async def stop():
        await asyncio.to_thread((folder / "begun").read_text)
        await notebook.km.interrupt_kernel()

    async def execute():
        async with notebook.async_setup_kernel(cwd=f"{ROOT}"):
            for k, one in enumerate(cells):
                beside = [stop()] if k == STOPPED else []
                await asyncio.gather(notebook.async_execute_cell(one, k), *beside)
                if k == STOPPED:
                    (folder / "go").write_text("go")

    asyncio.run(execute())
    said = ["".join(out.get("text", "") for out in one.outputs) for one in cells]
    assert "1 of 4\n" in said[STOPPED]
    assert "3 of 4 cells have no answer" in said[STOPPED]
    assert "Traceback" not in said[STOPPED]
    assert "4 of 4\n" in said[STOPPED + 1]
    assert said[-1] == "0 workers left\n"
    assert times_run(folder / "runs") == {0: 1, 1: 2, 2: 1, 3: 1}
    states = notebook.widget_state.values()
    styles = [state["bar_style"] for state in states if "bar_style" in state]
    assert styles == ["success", "danger", "success"]
    words = {f"{state.get('value')}".replace("\u2007", " ") for state in states}
    assert "cells, interrupted:  25%" in words
