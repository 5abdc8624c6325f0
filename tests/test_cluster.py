"""A study on a real cluster: one of its two workers is killed, and nothing is lost or double."""

import logging
import os
import signal

import pandas as pd
import pytest
from distributed import Client, LocalCluster

import dscwb
from dscwb import grid
from dscwb.scaling import executors
from tests.cells import drawn, killed_once, times_run
from tests.tiny import profile_of, tiny_graph


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_a_worker_killed_in_the_middle_loses_nothing_and_doubles_nothing(client, tmp_path):
    runs, cells = tmp_path / "runs", tmp_path / "cells"
    runs.mkdir()
    before = set(client.scheduler_info()["workers"])
    axes = {"seed": range(12)}
    asked = {"at": 5, "runs": str(runs), "folder": cells}
    table = grid(killed_once, axes, executor=client, **asked)
    assert set(client.scheduler_info()["workers"]) != before  # one is gone
    alone = grid(drawn, axes)
    assert "error" not in table, table["error"].dropna().tolist()
    pd.testing.assert_frame_equal(table, alone, check_exact=True)
    assert len(list(cells.iterdir())) == 12
    assert times_run(runs)[5] == 2  # the killed one and the one that was done
    counts = times_run(runs)
    pd.testing.assert_frame_equal(
        grid(killed_once, axes, executor=client.get_executor(), **asked), alone, check_exact=True
    )
    assert times_run(runs) == counts  # all was there


def test_a_client_sends_records_once_and_functions_of_a_notebook(client):
    edge = profile_of(tiny_graph(), {1: [10**6] * 3})
    asked = {
        "edge": edge,
        "server": dscwb.scale_profile(edge, 10),
        "input_encoding": "float32",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e6],
    }
    links = {"near": dscwb.Link(0.001), "far": dscwb.Link(0.1)}

    def gain(link, **more):
        return {"gain": dscwb.sweep(link=link, **more).mean_gain()}

    table = grid(gain, {"link": links}, executor=client, **asked)
    pd.testing.assert_frame_equal(table, grid(gain, {"link": links}, **asked), check_exact=True)


class Noting(logging.Handler):
    """What is logged, and what is to be done then."""

    def __init__(self, then):
        super().__init__()
        self.then, self.words = then, []

    def emit(self, record):
        self.words.append(record.getMessage())
        if len(self.words) == 1:
            self.then()


def press_ctrl_c(cluster, client):
    os.kill(os.getpid(), signal.SIGINT)


def start_a_worker(cluster, client):
    cluster.scale(1)


def lose_the_connection(cluster, client):
    client.close()


def without_workers(then):
    """What a study gives on a cluster without workers, where this is done once it is told of."""
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(executors, "LOOK_S", 0.01)
        noting = Noting(lambda: then(cluster, client))
        logging.getLogger("dscwb").addHandler(noting)
        try:
            return grid(drawn, {"seed": range(3)}, executor=client)
        finally:
            logging.getLogger("dscwb").removeHandler(noting)
            words = "the cluster has no workers; 3 cells wait for one, an interrupt is safe"
            assert noting.words[0] == words


def test_a_cluster_without_workers_is_told_of_and_waited_for():
    alone = grid(drawn, {"seed": range(3)})
    pd.testing.assert_frame_equal(without_workers(start_a_worker), alone, check_exact=True)


def test_a_cluster_without_workers_can_be_left():
    with pytest.raises(KeyboardInterrupt):
        without_workers(press_ctrl_c)


def test_what_a_cluster_drops_is_told():
    told = ["RuntimeError: the executor dropped it; is it still there?"] * 3
    assert without_workers(lose_the_connection)["error"].tolist() == told
