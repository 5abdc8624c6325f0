"""A plan measured by real workers of different resources, one of which is killed in the middle."""

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

import dscwb
from dscwb import measured
from dscwb.profiles.records import Provenance
from dscwb.scaling.boards import _Shelf
from dscwb.scaling.plans import Job, write_plan
from tests.tiny import profile_of, tiny_graph

SMALL = "test_efficientnet"  # of timm's smallest and quickest
HERE = Provenance("measured", "bench clock", threads=1)
QUICK = "--passes 10 --budget 0 --no-check"


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def board(cluster, name):
    """A board, as its owner starts it."""
    words = ["--resources", f"{name}=1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    command = [sys.executable, "-m", "dask", "worker", cluster.scheduler_address, *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def job(board, file, **more):
    return Job(board, SMALL, file=file, **{"image_size": 32, "threads": 1, "options": QUICK} | more)


def test_a_board_that_dies_is_seen_and_its_job_waits_for_it(cluster, client, tmp_path):
    jobs = [job("orin", "a.parquet"), job("orin", "b.parquet", options="--passes 0")]
    jobs += [job("pi", "c.parquet")]
    seen, measuring = [], []
    with ExitStack() as held:
        boards = {name: held.enter_context(board(cluster, name)) for name in ("orin", "pi")}

        def told(table):
            state, why = table.set_index("file")["state"], table["why"][0]
            seen.append(state)
            if state["a.parquet"] == "running" and not measuring:  # the middle
                own = psutil.Process(boards["orin"].pid)
                measuring.extend(own.children())
                os.kill(own.pid, signal.SIGKILL)
            elif why == "its board went away while it ran" and len(boards) == 2:
                boards["again"] = held.enter_context(board(cluster, "orin"))

        table = measured(jobs, client, tmp_path, told=told)
    assert table["state"].tolist() == ["done", "failed", "done"]
    assert table["why"][1] == "--passes is '0'; give a whole number from 1 up."
    assert len(boards) == 3
    # Its measuring process ended with it.
    assert len(measuring) == 1
    assert psutil.wait_procs(measuring, timeout=60)[1] == []
    # One job at a time on a board, and profiles that name it.
    assert all((state[["a.parquet", "b.parquet"]] == "running").sum() < 2 for state in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "c.parquet"]
    for file, name in (("a.parquet", "orin"), ("c.parquet", "pi")):
        profile = dscwb.load_profile(tmp_path / file)
        assert (profile.graph.model, profile.batch_sizes) == (SMALL, (1,))
        assert profile.provenance.note.endswith(f"board {name} ({QUICK})")
    # What is there is not measured again: no board is there any more.
    again = measured([jobs[0], jobs[2]], client, tmp_path)
    assert again["why"].tolist() == ["was there before"] * 2


def test_a_job_waits_for_its_own_kind_of_board_and_is_reported(cluster, run, tmp_path):
    jobs = [job("orin", "a.parquet"), job("t4", "b.parquet", threads=None)]
    write_plan(jobs, tmp_path / "plan.csv")
    command = ("measure", tmp_path / "plan.csv", "--scheduler", cluster.scheduler_address)
    with (
        board(cluster, "pi"),
        board(cluster, "t4"),
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        status, out, error = run(*command, "-o", tmp_path / "out", "--patience", 0.2)
    assert status == 1, error
    assert out[0] == (
        f"a board is started there with: dask worker {cluster.scheduler_address} --resources "
        "'orin=1' --nthreads 1"
    )
    assert f"orin: {SMALL} is waiting: no board orin is there" in out
    assert any(line.startswith(f"orin: {SMALL} is given up: no board orin") for line in out)
    assert any(line.startswith(f"t4: {SMALL} is given up: board t4 ") for line in out)
    assert out[-3].split() == ["board", "model", "state", "seconds", "why"]
    assert not (tmp_path / "out").exists()


def test_a_worker_that_would_take_two_jobs_at_a_time_is_refused(cluster, client, tmp_path):
    words = [cluster.scheduler_address, "--resources", "pi=2", "--no-nanny", "--no-dashboard"]
    command = [sys.executable, "-m", "dask", "worker", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        table = measured([job("pi", "a.parquet")], client, tmp_path)
        process.kill()
    assert table["state"][0] == "failed"
    assert table["why"][0].endswith("one job at a time; start it with --resources 'pi=1'.")


def test_an_interrupt_cancels_what_is_not_done_and_the_board_leaves_it(cluster, client, tmp_path):
    measuring = []
    with board(cluster, "pi") as process:

        def told(table):
            if table["state"][0] == "running" and not measuring:
                measuring.extend(psutil.Process(process.pid).children())
                os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C and the notebook's stop do

        jobs = [job("pi", f"{name}.parquet", options="--passes 100000") for name in "ab"]
        table = measured(jobs, client, tmp_path, told=told)
        assert table["state"].tolist() == ["cancelled"] * 2
        assert len(measuring) == 1
        assert psutil.wait_procs(measuring, timeout=60)[1] == []
        assert process.poll() is None  # the board itself is there for the next plan


def test_who_is_not_told_is_warned_of_a_board_that_is_not_there(client, tmp_path):
    said = []

    def press(record):
        said.append(record.getMessage())
        os.kill(os.getpid(), signal.SIGINT)
        return True

    log = logging.getLogger("dscwb")
    log.addFilter(press)
    try:
        table = measured([job("orin", "a.parquet")], client, tmp_path)
    finally:
        log.removeFilter(press)
    assert table["state"].tolist() == ["cancelled"]
    assert said == ["no board orin is there; its jobs wait, an interrupt is safe"]


def test_a_file_of_another_job_is_set_aside_when_the_profile_comes(tmp_path, caplog):
    """What the folder holds, asked without a board."""
    shelf = _Shelf(None, tmp_path, [], None, None)
    mine = replace(profile_of(tiny_graph(), {1: [1, 2, 3]}), provenance=HERE)
    asked = Job("pi", "tiny", file="a.parquet", threads=1)
    path = tmp_path / "a.parquet"
    for kept, is_it in [
        ("measured, board pi", True),
        ("board pi", True),
        ("board pi (--gap-ms 20)", False),
        ("board pi-old", False),
        ("", False),
    ]:
        dscwb.save_profile(replace(mine, provenance=replace(HERE, note=kept)), path)
        assert shelf._is_there(asked) == is_it
    assert not shelf._is_there(replace(asked, batch_sizes=(1, 2)))
    whole = path.read_bytes()
    more = profile_of(tiny_graph(), {1: [3, 2, 1]})
    dscwb.save_profile(more, tmp_path / "sent")
    words = shelf._keep(asked, (tmp_path / "sent").read_bytes())
    aside = tmp_path / "a-before.parquet"
    assert words == f"saved {path}; what was there before is now in {aside}"
    assert aside.read_bytes() == whole
    assert shelf._is_there(replace(asked, threads=None))
    path.write_bytes(whole[:-9])
    assert not shelf._is_there(asked)
    assert "It is measured again." in caplog.text


def test_no_cluster_is_one_line(run, tmp_path):
    write_plan([job("pi", "a.parquet")], tmp_path / "plan.csv")
    with socket.socket() as held, dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        held.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        given = ("--scheduler", address, "-o", tmp_path / "out")
        assert address in last_line(run("measure", tmp_path / "plan.csv", *given))


def last_line(result):
    status, _, error = result
    assert status == 2
    return error.splitlines()[-1]
