"""Both ends on this machine, in real processes, and that none of them outlives its use."""

import os
import socket
import subprocess
import sys

import psutil
import pytest
import torch

import dscwb
from dscwb.running.local import served

MODEL = "resnet10t"
SERVED = (MODEL, "--image-size", "32", "--threads", "1")
HOLDS_A_SERVER = f"""
import psutil, sys
from dscwb.running.local import served
with served({SERVED!r}):
    print(*(one.pid for one in psutil.Process().children()), flush=True)
    sys.stdin.read()
"""


def test_what_was_predicted_runs_over_a_link_and_leaves_nothing_behind():
    captured = dscwb.capture(MODEL, 32, check=False)
    profile = dscwb.profile(captured, [1, 2], threads=1, passes=10, budget_s=0)
    rig = dscwb.Rig.measured(
        MODEL,
        32,
        seed=3,
        batch_sizes=[2],
        edge=profile,
        server=profile,
        link=dscwb.Link(round_trip_s=0.004),
        input_encoding="float32",
        feature_encoding="float32",
        device_slowdown=2,
    )
    assert rig.study.batch_sizes == (2,)
    assert rig.controller(0.0).choose(2) == "no offloading"
    before = torch.get_num_threads(), os.sched_getaffinity(0), psutil.Process().children()
    batch = rig.captured.inputs(2)
    with rig.running(1e9) as (client, link), torch.inference_mode():
        assert torch.get_num_threads() == 1
        answer = client.run(*batch, split="layer2.0")
        assert (answer.where, answer.why) == ("server", "")
        assert torch.equal(answer.output, rig.captured.module(*batch))
        assert answer.link_s >= 0.004
        assert link.counts().accepted == 1
    once_more = rig.measure(1, budget_s=0)
    assert (once_more.batch_sizes, once_more.provenance.gap_s) == ((2,), 0.02)
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == before[:2]
    assert psutil.Process().children() == before[2]
    assert "resnet10t, both ends on this machine" in repr(rig)


def test_a_server_that_says_much_does_not_wait_for_a_reader(monkeypatch, tmp_path):
    said = "import sys; sys.stderr.write('a warning of one line\\n' * 50_000)"
    (tmp_path / "sitecustomize.py").write_text(said)  # which Python runs first of all
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with served(SERVED) as address, socket.create_connection(address) as one:
        assert one.recv(4) == b"DSCW"
    why = r"did not start. (a warning.*\s)+.*no_such_model"
    with pytest.raises(RuntimeError, match=why), served(["no_such_model"]):
        pass


def test_a_server_ends_with_who_holds_it():
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        pids = [int(word) for word in holder.stdout.readline().split()]
        servers = [psutil.Process(pid) for pid in pids]
        assert [os.getpgid(pid) != os.getpgid(holder.pid) for pid in pids] == [True]  # no Ctrl-C
        holder.kill()
    assert not psutil.wait_procs(servers, timeout=60)[1]
