"""`dscwb serve` and `dscwb run` as processes, and what they say to mistakes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import dscwb
from dscwb.cli.options import one_rate
from dscwb.running.rig import Rig
from tests.command import refused
from tests.running import certificate

MODEL = ("resnet10t", "--image-size", "32")
DSCWB = (sys.executable, "-m", "dscwb")


@contextmanager
def serving(*options: object, end: int = signal.SIGTERM) -> Iterator[str]:
    """A server in a process of its own: its HOST:PORT; it ends with status 0 and says no more."""
    command = [*DSCWB, "serve", *MODEL, "--threads", "1", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    try:
        yield line.split()[-1]
        process.send_signal(end)
        assert process.communicate() == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server():
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with weights, a token and TLS at an IPv6 address; and what a client needs for it."""
    import timm
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("guarded")
    torch.manual_seed(9)
    state = timm.create_model(MODEL[0]).state_dict()
    save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pt")
    cert, key = certificate(folder)
    (folder / "token").write_text("a secret\n")
    secret = "--token-file", folder / "token"
    options = "--bind", "::1", "--weights", folder / "w.safetensors", *secret
    with serving(*options, "--tls-cert", cert, "--tls-key", key, end=signal.SIGINT) as address:
        assert address.startswith("[::1]:")
        asked = ("run", *MODEL, "--server", address, "--split", "layer1.0", "--repeats", "1")
        yield asked, ("--weights", folder / "w.pt"), secret, ("--tls-ca", cert)


def test_a_split_run_by_two_processes_agrees_with_the_whole_model(server):
    command = [*DSCWB, "run", *MODEL, "--server", server, "--split", "layer2.0"]
    command += ["--threads", "1", "--batch-size", "2", "--repeats", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, where, times, agreement = done.stdout.splitlines()
    assert first == "resnet10t, 3 batches of 2"
    assert where == "3 by after layer2.0, finished on the server"
    for part in ("total", "head", "encoding", "link", "queue", "tail"):
        assert f"{part} " in times
    assert agreement == (
        "first class as in the whole model 100 %, relative error at most 0 %; "
        "random weights, so this says nothing about accuracy"
    )
    assert done.stderr == ""


def test_json_has_every_request(run, server):
    status, out, _ = run(
        *("run", *MODEL, "--server", server, "--split", "full offloading", "--repeats", "2"),
        *("--feature-encoding", "int8", "--input-encoding", "int8", "--compression", "zstd"),
        "--json",
    )
    told = json.loads("\n".join(out))
    assert status == 0
    assert (told["model"], told["batch_size"]) == ("resnet10t", 1)
    ran = [(one["split"], one["where"]) for one in told["requests"]]
    assert ran == [("full offloading", "server")] * 2
    assert set(told["median_s"]) == {"total", "head", "encoding", "link", "queue", "tail"}
    assert 0 < told["relative_error"] < 0.2
    assert told["same_class"] in (0, 1)


def test_a_controller_chooses_by_the_policy(run, server, tmp_path):
    captured = dscwb.capture(MODEL[0], 32, check=False)
    server_profile = dscwb.profile(captured, [1], threads=1, passes=10, budget_s=0)
    study = dscwb.sweep(
        dscwb.scale_profile(server_profile, 0.001),  # a device a thousand times slower
        server_profile,
        link=dscwb.Link(),
        input_encoding="float32",
        feature_encoding="float32",
    )
    path = study.policy().save(tmp_path / "policy.json")
    for rate in ("0", "1Gbit/s"):
        _, out, _ = run(
            *("run", *MODEL, "--server", server, "--policy", path, "--rate", rate, "--json")
        )
        ran = {(one["split"], one["where"]) for one in json.loads("\n".join(out))["requests"]}
        if rate == "0":
            assert ran == {("no offloading", "device")}
        else:
            assert {where for _, where in ran} == {"server"}
            assert study.policy().best_split(1, one_rate(rate)) != "no offloading"


def test_both_ends_run_on_this_machine_along_a_trace(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Rig, "measured", partial(Rig.measured, budget_s=0))
    path = tmp_path / "trace.csv"
    path.write_text("time_s,data_rate_bps\n0,50000000\n1,1000000\n")
    status, out, _ = run(
        *("run", *MODEL, "--emulate", "--trace", path, "--repeats", "3"),
        *("--input-encoding", "uint8", "--feature-encoding", "int8", "--device-slowdown", "10"),
    )
    assert status == 0
    assert out[0].startswith("emulated: ")
    assert len(out) == 5
    assert all("predicted" in line and "taken for" in line for line in out[1:4])
    assert out[-1].endswith(" switches")


def test_inputs_from_files(run, server, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float64)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    np.save(tmp_path / "wrong.npy", x[:, :2])
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    asked = ("run", *MODEL, "--server", server, "--split", "layer1.0", "--repeats", "1", "--json")
    for name, size in (("x.npy", 3), ("x.npz", 3), ("red.png", 1)):
        status, out, error = run(*asked, "--input", tmp_path / name)
        assert (status, error) == (0, "")
        told = json.loads("\n".join(out))
        assert (told["batch_size"], told["relative_error"]) == (size, 0)
    for name in ("x.jpg", "objects.npy", "none.npy"):
        assert "neither NumPy arrays nor an image" in refused(
            run(*asked, "--input", tmp_path / name)
        )
    told = refused(run(*asked, "--input", tmp_path / "wrong.npy"))
    assert "holds (3, 2, 32, 32), and resnet10t takes x" in told


def test_weights_of_a_file(run, guarded, tmp_path):
    asked, weights, *known = guarded
    asked += tuple(word for words in known for word in words)
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    status, out, _ = run(*asked, *weights)
    assert (status, out[1]) == (0, "1 by after layer1.0, finished on the server")
    assert "random weights" not in out[3]
    assert "weights (SHA-256)" in refused(run(*asked))
    told = refused(run(*asked, "--weights", tmp_path / "bad.pt"))
    assert "bad.pt holds no weights of resnet10t" in told


def test_mistakes_are_one_line(run, server, tmp_path):
    asked = ("run", *MODEL, "--server", server)
    both = "give either --split, or --policy with --rate"
    assert "give either --server HOST:PORT, or --emulate" in refused(run("run", "resnet10t"))
    assert "--emulate needs --rate, or --trace" in refused(run("run", "resnet10t", "--emulate"))
    (tmp_path / "empty").write_text("\n")
    assert both in refused(run(*asked))
    assert both in refused(run(*asked, "--split", "layer1.0", "--rate", "5"))
    assert "has no cut 'nowhere'" in refused(run(*asked, "--split", "nowhere"))
    assert "another model" in refused(run(*asked, "--split", "layer1.0", "--seed", "1"))
    assert "HOST:PORT" in refused(run("run", *MODEL, "--server", "here", "--split", "layer1.0"))
    assert "no server at 127.0.0.1:1: " in refused(
        run("run", *MODEL, "--server", "127.0.0.1:1", "--split", "layer1.0")
    )
    assert "belong together" in refused(run("serve", *MODEL, "--tls-cert", "c.pem"))
    assert "--bind is '0.0.0.0'" in refused(run("serve", *MODEL, "--bind", "0.0.0.0"))
    assert "is empty" in refused(run("serve", *MODEL, "--token-file", tmp_path / "empty"))
    assert "no such file" in refused(run("serve", *MODEL, "--token-file", "none")).lower()
    assert "--device is 'tpu'" in refused(run("serve", *MODEL, "--device", "tpu"))
    told = refused(run("serve", *MODEL, *("--tls-cert", __file__, "--tls-key", __file__)))
    assert "no PEM certificate or key" in told


def test_token_and_tls(run, guarded):
    asked, weights, secret, tls = guarded
    status, out, _ = run(*asked, *weights, *secret, *tls)
    assert (status, out[1]) == (0, "1 by after layer1.0, finished on the server")
    assert "token is wrong or missing" in refused(run(*asked, *weights, *tls))
    assert "no server at" in refused(run(*asked, *weights, *secret))
