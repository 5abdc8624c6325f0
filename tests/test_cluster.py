"""A study on a real cluster: one of its two workers is killed, and nothing is lost or double."""

import pandas as pd
import pytest
from distributed import Client, LocalCluster

import dscwb
from dscwb import grid
from tests.cells import drawn, killed_once, times_run
from tests.tiny import profile_of, tiny_graph


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
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
