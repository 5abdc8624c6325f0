"""Malformed frames against a live server; `make soak` sends a million of them (DSCWB_FRAMES)."""

from __future__ import annotations

import io
import json
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
import zstandard
from PIL import Image

from dscwb.running.ends import End
from tests.independent import Client, frame, written
from tests.running import seeing, served

FRAMES = int(os.environ.get("DSCWB_FRAMES", "20000"))
A_GOOD_ONE_EVERY = 200
SPARE_BYTES = 150e6  # of the server, above what it takes before anybody attacks

FULL = "full offloading"
TOLD, DATA = written(np.ones((1, 3, 8, 8), np.float32))
SHORT = {"dtype": "float32", "shape": [1, 4], "stride": [4, 1], "wire": "raw", "nbytes": 16}
NUMBERS = (0, 1, -1, 2, 1.5, 2**31, 2**53 - 1, 2**53, 2**64, -(2**63), 1e308, 10**400)
WORDS = ("", "raw", "jpeg", "int4", "float64", "bool", "object", "zstd", "\0", "é" * 600)
ODD = (None, True, [], {}, [[]], *NUMBERS, *WORDS, float("nan"), float("inf"))


def request(**changes: Any) -> dict[str, Any]:
    return {"kind": "run", "request": 5, "cut": FULL, "tensors": [dict(TOLD)]} | changes


def flipped(draw: random.Random) -> bytes:
    """Some bytes of a good frame replaced."""
    data = bytearray(frame(request(), DATA))
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(draw.choice((16, 200, len(data))))] = draw.randrange(256)
    return bytes(data)


def shortened(draw: random.Random) -> bytes:
    data = frame(request(), DATA)
    return data[: draw.randrange(len(data))]


def claiming(draw: random.Random) -> bytes:
    """Lengths that nothing stands behind."""
    header, payload = draw.choice((2, 2**16, 2**16 + 1, 2**32 - 1)), draw.choice((0, 2**28, 2**63))
    return b"DSCW" + header.to_bytes(4, "big") + payload.to_bytes(8, "big") + draw.randbytes(40)


def nested(draw: random.Random) -> bytes:
    depth = draw.choice((100, 10_000, 30_000))
    text = draw.choice((b'{"kind":', b"[")) * (depth // 8)
    return frame(text[:65_536])


def another_value(draw: random.Random) -> bytes:
    """A field of the message or of its tensor is something else, gone, or new."""
    message, told = request(), dict(TOLD)
    message["tensors"] = [told]
    if draw.random() < 0.3:
        name = draw.choice(("shape", "stride"))
        told[name] = list(TOLD[name])
        told[name][draw.randrange(4)] = draw.choice(NUMBERS)
    place = draw.choice((message, told))
    key = draw.choice((*place, "scale", "minimum", "compression", "extra"))
    if draw.random() < 0.1:
        place.pop(key, None)
    else:
        place[key] = draw.choice(ODD)
    return frame(json.dumps(message).encode(), DATA)


def many_tensors(draw: random.Random) -> bytes:
    told = draw.choice((SHORT, SHORT | {"stride": [2**20, 2**18]}, SHORT | {"shape": [0, 2**52]}))
    count = draw.choice((0, 2, 200, 400))
    return frame(request(tensors=[told] * count), b"\0" * min(16 * count, 1000))


def zstd_bomb(draw: random.Random) -> bytes:
    size = draw.choice((768, 10**6, 10**8))
    packed = BOMBS[size][: draw.choice((None, None, -2))] + draw.choice((b"", b"more"))
    told = draw.choice((TOLD, LARGE))
    return frame(request(tensors=[told], compression="zstd"), packed)


def jpeg_bomb(draw: random.Random) -> bytes:
    image = bytearray(draw.choice(IMAGES))
    if draw.random() < 0.5:
        image[draw.randrange(len(image))] = draw.randrange(256)
    size = draw.choice((len(image), len(image), 0, 2**32 - 1))
    data = size.to_bytes(4, "big") + image
    return frame(request(tensors=[TOLD | {"wire": "jpeg", "nbytes": len(data)}]), data)


def jpeg(side: int, **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG", **how)
    return file.getvalue()


IMAGES = [jpeg(8), jpeg(8, progressive=True), jpeg(8, quality=100), jpeg(700)]
IMAGES.append(IMAGES[0].replace(b"\0\x08\0\x08\3", b"\xff\xf0\xff\xf0\3"))  # claims 65,520 squared
BOMBS = {size: zstandard.ZstdCompressor().compress(b"\0" * size) for size in (768, 10**6, 10**8)}
LARGE = {
    "dtype": "float32",
    "shape": [50_000, 3, 8, 8],
    "stride": [192, 64, 8, 1],
    "wire": "raw",
    "nbytes": 50_000 * 768,
}
KINDS: tuple[Callable[[random.Random], bytes], ...] = (
    *(flipped, shortened, claiming, nested, another_value, another_value),
    *(many_tensors, zstd_bomb, jpeg_bomb),
)


def answer_to(client: Client, data: bytes) -> str:
    """What kind of frame comes back; only the protocol's own words may."""
    try:
        client.link.sendall(data)
        client.link.shutdown(socket.SHUT_WR)  # nothing more will come to fill it up
        return str(client.receive()[0]["kind"])
    except (EOFError, ConnectionError):
        return "closed"


def test_only_the_protocols_own_errors_memory_bounded_and_the_next_request_served(capfd):
    captured, draw = seeing(), random.Random(12)
    hello = End(captured).hello.model_dump(mode="json")
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    with torch.inference_mode():
        whole = captured.module(torch.from_numpy(x)).numpy()
    seen: dict[str, int] = {}
    with served() as (process, port):
        address = "127.0.0.1", port
        server = psutil.Process(process.pid)
        with Client(address, hello) as good:
            good.run(FULL, [x])
            before, most = server.memory_info().rss, 0
            for k in range(FRAMES):
                if k % 10 == 0:  # one that has not said hello
                    with socket.create_connection(address) as link:
                        data = draw.choice((flipped, shortened, claiming, nested))(draw)
                        link.sendall(data)
                else:
                    with Client(address, hello) as attacker:
                        kind = answer_to(attacker, draw.choice(KINDS)(draw))
                        seen[kind] = seen.get(kind, 0) + 1
                if k % A_GOOD_ONE_EVERY == 0:
                    header, [output] = good.run(FULL, [x], request=k)
                    assert header["kind"] == "result"
                    assert np.array_equal(output, whole)
                    most = max(most, server.memory_info().rss)
            header, [output] = good.run(FULL, [x])
            assert np.array_equal(output, whole)
            assert most - before < SPARE_BYTES
            assert process.poll() is None
    assert set(seen) <= {"refused", "failed", "closed", "result"}
    assert min(seen.get(kind, 0) for kind in ("refused", "failed", "closed")) > FRAMES / 100
    assert capfd.readouterr().err == ""  # no traceback of the server
