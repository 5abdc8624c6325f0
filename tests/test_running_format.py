"""The frame format as its README has it: an independent client against the real server."""

import json
import socket

import numpy as np
import pytest
import torch

import dscwb
from dscwb.cost import split_name
from dscwb.cuts import all_cuts
from dscwb.running.ends import End
from tests.independent import Client, frame, read, written
from tests.running import many, same, seeing, small

FULL = "full offloading"


def hello_of(captured: dscwb.capture) -> dict[str, str]:
    told = End(captured).hello
    return {name: getattr(told, name) for name in ("model", "graph", "weights", "dtype")}


@pytest.fixture(scope="module")
def server():
    with dscwb.TailServer(seeing()) as one:
        yield one


@pytest.fixture(scope="module")
def hello():
    return hello_of(seeing())


def test_it_reads_every_output_bit_by_bit():
    captured = many()
    image, tokens = torch.randn(3, 3, 6, 6), torch.randint(0, 50, (3, 7))
    whole = captured.module(image, tokens)
    with dscwb.TailServer(captured) as one, Client(one.address, hello_of(captured)) as client:
        assert client.said == {"kind": "welcome", "device": "cpu"}
        header, arrays = client.run(FULL, [image.numpy(), tokens.numpy()])
    assert header["leaves"] == [*["tensor"] * 4, "constant", "constant", "constant", 3]
    classes, sums, numbers, positive = map(torch.from_numpy, map(np.array, arrays))
    told = {"classes": classes, "parts": (sums, [numbers, positive])}
    assert same(told, {name: whole[name] for name in told})
    assert set(header) - {"compression"} == {
        *("kind", "request", "tensors", "leaves", "queue_s", "decode_s", "tail_s", "encode_s")
    }


@pytest.mark.parametrize("wire", ["raw", "float32", "float16", "int8", "uint8", "int4"])
def test_every_cut_in_every_encoding(server, hello, wire):
    captured = seeing()
    x = torch.randn(2, 3, 8, 8)
    with Client(server.address, hello) as client, torch.inference_mode():
        whole = captured.module(x).numpy()
        for request, cut in enumerate(all_cuts(captured.graph)[:-1]):
            sent = [one.contiguous().numpy() for one in captured.split(cut)[0](x)]
            _, [output] = client.run(split_name(cut), sent, wire, request)
            error = np.abs(output - whole).max()
            lossless = wire in ("raw", "float32")
            assert error == 0 if lossless else error < {"int4": 0.5}.get(wire, 0.05), cut.name


def test_what_it_writes_is_what_the_package_writes(server, hello):
    x = torch.randn(5, 3)
    for wire in ("int8", "uint8", "int4", "float16"):
        [told], parts = dscwb.running.encodings.encode([x], dscwb.units.encoding(wire))
        own, data = written(x.numpy(), wire)
        assert {key: own[key] for key in own} == json.loads(told.model_dump_json(include=set(own)))
        steps = np.frombuffer(data, np.int8).astype(int) - np.frombuffer(b"".join(parts), np.int8)
        assert np.count_nonzero(steps) <= 1  # a tie


def test_memory_order_is_that_of_the_readme():
    x = torch.arange(60.0).reshape(1, 3, 4, 5)
    for layout in (x, x.to(memory_format=torch.channels_last), x.transpose(1, 3), x[:, :, ::2]):
        [told], parts = dscwb.running.encodings.encode([layout])
        assert np.array_equal(read(json.loads(told.model_dump_json()), parts[0]), layout)
        if layout.is_contiguous(memory_format=torch.channels_last):
            assert told.stride == (60, 1, 15, 3)


def test_the_token_is_proved_not_sent(hello):
    with dscwb.TailServer(seeing(), token="pssst") as one:
        for token, kind in (("pssst", "welcome"), ("", "refused"), ("wrong", "refused")):
            with Client(one.address, hello, token) as client:
                assert client.said["kind"] == kind


WRONG_HELLO = {
    "protocol": {"protocol": 2},
    "model": {"model": "other"},
    "graph": {"graph": "00"},
    "weights": {"weights": "00"},
    "element type": {"dtype": "float16"},
    "cut": {"cuts": ["nowhere"]},
    "extra": {"extra": 1},
    "valid string": {"model": 3},
}


@pytest.mark.parametrize("what", WRONG_HELLO)
def test_another_hello_is_refused_with_what_differs(server, hello, what):
    with Client(server.address, hello | WRONG_HELLO[what]) as client:
        assert client.said["kind"] == "refused"
        assert what in client.said["reason"]
        with pytest.raises(EOFError):
            client.receive()


def ones(**changes: object) -> tuple[dict[str, object], bytes]:
    told, data = written(np.ones((1, 3, 8, 8), np.float32))
    return told | changes, data


def asked(tensors: list[object], cut: str = FULL, **changes: object) -> dict[str, object]:
    return {"kind": "run", "request": 7, "cut": cut, "tensors": tensors} | changes


TOLD, DATA = ones()
FAILED = {
    "no such cut": (asked([TOLD], "nowhere"), DATA, "has no cut 'nowhere'"),
    "nothing to do": (asked([TOLD], "no offloading"), DATA, "leaves nothing to do"),
    "no tensors": (asked([]), b"", "0 tensors for a cut that 1 cross"),
    "another shape": (
        asked([TOLD | {"shape": [1, 3, 4, 16], "stride": [192, 64, 16, 1]}]),
        DATA,
        "where the cut has",
    ),
    "another type": (asked([TOLD | {"dtype": "int32"}]), DATA, "where the cut has"),
    "no zstd": (asked([TOLD], compression="zstd"), DATA, "no zstd data"),
    "no jpeg": (asked([TOLD | {"wire": "jpeg"}]), DATA, "no JPEG"),
}


@pytest.mark.parametrize("what", FAILED)
def test_requests_that_fail_leave_the_connection(server, hello, what):
    header, payload, reason = FAILED[what]
    with Client(server.address, hello) as client:
        client.link.sendall(frame(header, payload))
        told, _ = client.receive()
        assert (told["kind"], told["request"], told["busy"]) == ("failed", 7, False)
        assert reason in told["reason"]
        assert client.run(FULL, [np.ones((1, 3, 8, 8), np.float32)])[0]["kind"] == "result"


REFUSED = {
    "not DSCW": (b"GET / HTTP/1.1\r\n\r\n", "begins with b'GET '"),
    "no header": (frame(b""), "over the limits"),
    "a long header": (frame(b" " * 65_537), "over the limits"),
    "a long payload": (b"DSCW" + b"\0\0\0\2" + b"\0\0\0\0\x10\0\0\1" + b"{}", "over the limits"),
    "no JSON": (frame(b"\xff{"), "none of protocol 1"),
    "deep JSON": (frame(b"[" * 60_000), "none of protocol 1"),
    "another kind": (frame({"kind": "pickle"}), "none of protocol 1"),
    "hello again": (frame({"kind": "welcome", "device": "x"}), "a welcome where a request was due"),
    "a short payload": (frame(asked([TOLD]), DATA[:-1]), "bytes for tensors of"),
    "a long one": (frame(asked([TOLD]), DATA + b"\0"), "bytes for tensors of"),
    "NaN": (frame(asked([TOLD | {"scale": float("nan")}]), DATA), "scale"),
    "back to front": (frame(asked([TOLD | {"stride": [192, 64, -8, 1]}]), DATA), "stride"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_frame_ends_the_connection_with_the_reason(server, hello, what):
    data, reason = REFUSED[what]
    with Client(server.address, hello) as client:
        client.link.sendall(data)
        told, _ = client.receive()
        assert told["kind"] == "refused"
        assert reason in told["reason"]
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive()


def test_images_as_jpeg_and_whole_numbers_narrowed(hello):
    """Row by row whatever the strides; and tokens in two bytes."""
    captured = many()
    image, tokens = np.ones((2, 3, 6, 6), np.float32), np.arange(14).reshape(2, 7)
    [told], parts = dscwb.running.encodings.encode(
        [torch.from_numpy(image)], dscwb.units.encoding("jpeg 10:1")
    )
    own = json.loads(told.model_dump_json())
    words = {"dtype": "int64", "shape": [2, 7], "stride": [7, 1], "wire": "uint16", "nbytes": 28}
    with dscwb.TailServer(captured) as one, Client(one.address, hello_of(captured)) as client:
        payload = bytes(parts[0]) + tokens.astype("<u2").tobytes()
        client.link.sendall(frame(asked([own, words]), payload))
        header, data = client.receive()
    assert header["kind"] == "result"
    numbers = header["tensors"][2]
    start = sum(told["nbytes"] for told in header["tensors"][:2])
    assert np.array_equal(read(numbers, data[start : start + numbers["nbytes"]]), tokens + 1)


def test_half_a_hello_says_nothing(server):
    with socket.create_connection(server.address) as link:
        link.sendall(b"DSCW\0\0")
        link.shutdown(socket.SHUT_WR)
        data = b""
        while part := link.recv(1024):
            data += part
        assert data.count(b"DSCW") == 1  # the greeting alone


def test_small_is_another_model_than_seeing():
    assert hello_of(small())["graph"] != hello_of(seeing())["graph"]
