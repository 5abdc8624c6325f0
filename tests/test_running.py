"""Both ends in one process: bitwise round trips, who is refused and why, what is left behind."""

import contextlib
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from torch import nn

import dscwb
from dscwb.running import frames
from dscwb.running.ends import End
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING
from tests.independent import Client, frame, written
from tests.running import certificate, many, same, seeing, small, split_names

HEAD, TAIL = FULL_OFFLOADING, NO_OFFLOADING


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_cut_gives_the_whole_models_output_bit_by_bit(channels_last, compression):
    captured = many(channels_last)
    image, tokens = torch.randn(3, 3, 6, 6), torch.randint(0, 50, (3, 7))
    layouts = [image, image.to(memory_format=torch.channels_last), image[..., :1].expand_as(image)]
    with (
        dscwb.TailServer(captured) as server,
        dscwb.SplitClient(captured, server.address, compression=compression) as client,
    ):
        for x in layouts:
            whole = captured.module(x, tokens)
            for split in split_names(captured):
                answer = client.run(x, tokens, split=split)
                assert (answer.where, answer.why) == ("device" if split == TAIL else "server", "")
                assert same(answer.output, whole), split


def test_a_timm_model_at_every_block():
    captured = dscwb.capture("mobilenetv3_small_050", 64, check=False)
    [x] = captured.inputs(2)
    whole = captured.module(x)
    splits = [HEAD, *(block.name for block in captured.graph.blocks), TAIL]
    with (
        dscwb.TailServer(captured) as server,
        dscwb.SplitClient(captured, server.address, cuts=splits) as client,
        dscwb.SplitClient(captured, server.address, feature_encoding="int8") as lossy,
    ):
        for split in splits:
            assert same(client.run(x, split=split).output, whole)
        answer = lossy.run(x, split=splits[3])
        assert 0 < (answer.output - whole).abs().max() < 0.1 * whole.abs().max()
        parts = [getattr(answer, f"{part}_s") for part in ("head", "encode", "link", "queue")]
        parts += [getattr(answer, f"{part}_s") for part in ("decode", "tail", "reply")]
        assert min(parts) >= 0
        assert sum(parts) == pytest.approx(answer.total_s)
        assert len(f"{answer}".splitlines()) == 2


class Structured(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.return_types.topk:
        return (2 * x).topk(2)


def test_outputs_of_another_structure():
    captured = dscwb.capture(Structured().eval(), (5,), check=False)
    x = torch.randn(3, 5)
    with (
        dscwb.TailServer(captured) as server,
        dscwb.SplitClient(captured, server.address) as client,
    ):
        answer = client.run(x, split=HEAD)
        assert (answer.where, type(answer.output)) == ("server", type(captured.module(x)))
        assert torch.equal(answer.output[1], (2 * x).topk(2)[1])


class Masked(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + mask


def test_a_constant_input_other_than_the_captures_is_not_sent():
    mask = torch.arange(5.0)
    example = torch.randn(2, 5), mask
    captured = dscwb.capture(
        Masked().eval(), example_inputs=example, batch_axes={"mask": None}, check=False
    )
    x = torch.randn(3, 5)
    with (
        dscwb.TailServer(captured) as server,
        dscwb.SplitClient(captured, server.address) as client,
    ):
        answer = client.run(x, mask, split=HEAD)
        assert (answer.where, torch.equal(answer.output, x.relu() + mask)) == ("server", True)
        answer = client.run(x, mask + 1, split=HEAD)
        assert (answer.where, torch.equal(answer.output, x.relu() + mask + 1)) == ("device", True)
        assert answer.why.startswith("mask has no batch axis")


def test_what_the_server_cannot_do_is_done_here_with_the_reason():
    captured = many()
    inputs = torch.randn(3, 3, 6, 6), torch.randint(0, 50, (3, 7))
    wrong = inputs[0], torch.full((3, 7), 99)  # no such word
    with (
        dscwb.TailServer(captured, max_batch_size=3) as server,
        dscwb.SplitClient(captured, server.address) as client,
        dscwb.SplitClient(captured, server.address, feature_encoding="int8") as lossy,
    ):
        with pytest.raises(IndexError):
            client.run(*wrong, split=HEAD)  # on both ends
        answer = client.run(inputs[0].repeat(2, 1, 1, 1), inputs[1].repeat(2, 1), split=HEAD)
        assert (answer.where, answer.why) == (
            "device",
            "the server says: batch size 6 is over 3",
        )
        answer = lossy.run(inputs[0] * float("nan"), inputs[1], split="conv2d")
        assert answer.where == "device"
        assert "NaN" in answer.why
        with pytest.raises(ValueError, match="has no cut 'nowhere'"):
            client.run(*inputs, split="nowhere")
        with pytest.raises(ValueError, match="No split is given"):
            client.run(*inputs)
        assert client.run(*inputs, split=HEAD).where == "server"  # still connected


OTHERS = {
    "weights": (lambda: small(seed=2), "weights (SHA-256)"),
    "model": (lambda: small(width=17), "graph"),
    "element type": (lambda: small(dtype=torch.float64), "element type: float64, here float32"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model_is_refused_before_anything_is_sent(other):
    build, reason = OTHERS[other]
    with dscwb.TailServer(small()) as server, pytest.raises(dscwb.RefusedError) as refused:
        dscwb.SplitClient(build(), server.address)
    assert reason in str(refused.value)


@pytest.mark.parametrize("token", ["wrong", "", None])
def test_a_wrong_token_is_refused(token):
    captured = small()
    with dscwb.TailServer(captured, token="right") as server:
        with pytest.raises(dscwb.RefusedError, match="token is wrong or missing"):
            dscwb.SplitClient(captured, server.address, token=token)
        with dscwb.SplitClient(captured, server.address, token="right") as client:
            assert client.run(torch.ones(1, 8), split=HEAD).where == "server"


@pytest.mark.parametrize("update", [{"protocol": 2}, {"cuts": ("nowhere",)}])
def test_another_protocol_and_unknown_cuts_are_refused_with_the_reason(update, monkeypatch):
    captured = small()
    with dscwb.TailServer(captured) as server:
        link = frames.Link(socket.create_connection(server.address))
        frames.receive(link)
        hello = dscwb.running.ends.End(captured).hello
        frames.send(link, hello.model_copy(update=update))
        said, _ = frames.receive(link)
        assert said.kind == "refused"
        assert "protocol: 2, here 1" in said.reason or "no cut 'nowhere'" in said.reason
        link.socket.close()


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_beyond_loopback_only_with_a_token(bind):
    for token in (None, ""):
        with pytest.raises(ValueError, match="give token=, a secret"):
            dscwb.TailServer(small(), bind=bind, token=token)


def test_ipv6():
    captured = small()
    with (
        dscwb.TailServer(captured, bind="::1") as server,
        dscwb.SplitClient(captured, server.address) as client,
    ):
        assert server.address[0] == "::1"
        assert client.run(torch.ones(1, 8), split=HEAD).where == "server"


def test_tls(tmp_path):
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    captured = small()
    before = resources()
    with dscwb.TailServer(captured, tls=context) as server:
        trusting = ssl.create_default_context(cafile=cert)
        with dscwb.SplitClient(captured, server.address, tls=trusting) as client:
            x = torch.randn(2, 8)
            answer = client.run(x, split=HEAD)
            assert (answer.where, torch.equal(answer.output, captured.module(x))) == (
                "server",
                True,
            )
        with pytest.raises(ssl.SSLCertVerificationError):
            dscwb.SplitClient(captured, server.address, tls=ssl.create_default_context())
        with dscwb.SplitClient(captured, server.address, tls=trusting) as client:
            server.close()
            assert client.run(x, split=HEAD).where == "device"
    assert resources() == before


def resources() -> tuple[int, int]:
    return threading.active_count(), psutil.Process().num_fds()


def test_close_leaves_nothing_behind():
    captured = small()
    before = resources()
    server = dscwb.TailServer(captured)
    idle = socket.create_connection(server.address)
    clients = [dscwb.SplitClient(captured, server.address) for _ in range(5)]
    x = torch.randn(1, 8)
    assert {client.run(x, split=HEAD).where for client in clients} == {"server"}
    server.close()
    server.close()
    assert {client.run(x, split=HEAD).where for client in clients} == {"device"}
    for client in clients:
        client.close()
        client.close()
    idle.close()
    assert clients[0].run(x, split=HEAD).why == "no connection to the server (the client is closed)"
    assert resources() == before


def test_64_clients_at_once_are_all_served():
    captured, rounds = small(), 20
    with dscwb.TailServer(captured) as server:
        clients = [dscwb.SplitClient(captured, server.address, deadline_s=60) for _ in range(64)]
        together = threading.Barrier(64)

        def ask(i: int) -> list[int]:
            x = torch.full((1, 8), float(i))
            together.wait()
            right = []
            for k in range(rounds):
                answer = clients[i].run(x, split=["linear", HEAD][k % 2])
                assert (answer.where, answer.why) == ("server", "")
                right.append(torch.equal(answer.output, captured.module(x)))
            return right

        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(ask, range(64))) == [[True] * rounds] * 64
        for client in clients:
            client.close()


class Gate(nn.Module):
    """Waits in the middle of a tail until it is let through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.dscwb_tests.gate(x) + 1


inside, let_through = threading.Semaphore(0), threading.Semaphore(0)
served_in_order: list[float] = []


@torch.library.custom_op("dscwb_tests::gate", mutates_args=())
def gate(x: torch.Tensor) -> torch.Tensor:
    inside.release()
    let_through.acquire()
    served_in_order.append(x.flatten()[0].item())
    return x.clone()


@gate.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def test_requests_beyond_the_queue_are_refused_and_the_others_served_in_their_order():
    captured = dscwb.capture(Gate().eval(), (4,), check=False)
    let_through.release()  # for the device's own run of what is refused
    with dscwb.TailServer(captured, waiting=3) as server, ThreadPoolExecutor(8) as pool:
        clients = [dscwb.SplitClient(captured, server.address, deadline_s=60) for _ in range(5)]

        def ask(i: int) -> dscwb.Answer:
            return clients[i].run(torch.full((1, 4), float(i)), split=HEAD)

        let_through.acquire()
        answers = [pool.submit(ask, 0)]
        inside.acquire()
        for i in (1, 2, 3):
            answers.append(pool.submit(ask, i))
            while server.waiting < i:
                assert not answers[-1].done()
        refused = pool.submit(ask, 4)
        inside.acquire()  # the device itself
        for _ in range(5):
            let_through.release()
        assert [one.result().where for one in answers] == ["server"] * 4
        assert refused.result().where == "device"
        assert refused.result().why == "the server says: too many wait already"
        assert [x for x in served_in_order if x < 4] == [0, 1, 2, 3]
        assert answers[3].result().queue_s > 0
        for client in clients:
            client.close()


def test_clients_silent_in_mid_frame_hold_nobody_up():
    captured = seeing()
    told, data = written(np.ones((1, 3, 8, 8), np.float32))
    run = frame({"kind": "run", "request": 1, "cut": HEAD, "tensors": [told]}, data)
    said = End(captured).hello.model_dump(mode="json")
    x = torch.ones(1, 3, 8, 8)
    with dscwb.TailServer(captured, waiting=2) as server, contextlib.ExitStack() as stack:
        for size in (1, 15, 16, 100, len(run) - 1, len(run) - 1, len(run) - 1):
            silent = stack.enter_context(Client(server.address, said))
            silent.link.sendall(run[:size])
        with dscwb.SplitClient(captured, server.address) as client:
            assert {client.run(x, split=HEAD).where for _ in range(9)} == {"server"}


def test_more_clients_than_allowed_are_turned_away():
    captured = small()
    with (
        dscwb.TailServer(captured, clients=1) as server,
        dscwb.SplitClient(captured, server.address) as client,
    ):
        with pytest.raises((OSError, frames.FrameError)):
            dscwb.SplitClient(captured, server.address)
        assert client.run(torch.ones(1, 8), split=HEAD).where == "server"


def test_a_model_that_keeps_state_is_refused():
    class State(nn.Module):
        def forward(self, x: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + past, past * 2

    captured = dscwb.capture(
        State().eval(), example_inputs=(torch.ones(2, 3),) * 2, resident=("past", 1), check=False
    )
    with pytest.raises(ValueError, match="running it split is not built"):
        dscwb.TailServer(captured)
