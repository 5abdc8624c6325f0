"""A client written from ``dscwb/running/README.md`` alone: the standard library and NumPy."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LOWEST = {"int8": -128, "uint8": 0, "int4": 0}
HIGHEST = {"int8": 127, "uint8": 255, "int4": 15}
OWN = {"complex64": "<c8", "bool": "?"}


def frame(header: Mapping[str, Any] | bytes, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"DSCW" + struct.pack(">IQ", len(text), len(payload)) + text + payload


class Client:
    """One connection; `said` is the server's answer to the hello."""

    def __init__(self, address: tuple[str, int], hello: Mapping[str, Any], token: str = "") -> None:
        self.link = socket.create_connection(address, timeout=60)
        greeting, _ = self.receive()
        assert greeting["kind"] == "greeting"
        told = {"kind": "hello", **hello}
        if token:
            nonce = greeting["nonce"].encode("ascii")
            told["proof"] = hmac.new(token.encode(), nonce, hashlib.sha256).hexdigest()
        self.link.sendall(frame(told))
        self.said, _ = self.receive()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next frame; EOFError at the end of the connection."""
        magic, header, payload = struct.unpack(">4sIQ", self._read(16))
        assert magic == b"DSCW"
        assert 0 < header <= 65_536
        assert payload <= 268_435_456
        return json.loads(self._read(header)), self._read(payload)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.link.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def run(
        self, cut: str, values: Sequence[np.ndarray], wire: str = "raw", request: int = 1
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The header of the answer, and the output's tensors where there are some."""
        pairs = [written(x, wire) for x in values]
        tensors, payload = [one for one, _ in pairs], b"".join(data for _, data in pairs)
        told = {"kind": "run", "request": request, "cut": cut, "tensors": tensors}
        self.link.sendall(frame(told, payload))
        header, data = self.receive()
        assert header["request"] == request
        arrays = []
        for one in header.get("tensors", ()):
            arrays.append(read(one, data[: one["nbytes"]]))
            data = data[one["nbytes"] :]
        assert data == b""
        return header, arrays


def written(x: np.ndarray, wire: str = "raw") -> tuple[dict[str, Any], bytes]:
    """A float32 or int64 array row by row: what describes it, and its bytes."""
    told = {
        "dtype": x.dtype.name,
        "shape": list(x.shape),
        "stride": [step // x.itemsize for step in np.ascontiguousarray(x).strides],
        "wire": wire,
    }
    if wire in ("raw", "float32"):
        data = x.tobytes()
    elif wire == "float16":
        data = x.astype("<f2").tobytes()
    else:
        low, high = LOWEST[wire], HIGHEST[wire]
        told["minimum"] = float(x.min())
        told["scale"] = max((float(x.max()) - float(x.min())) / (high - low), 2.0**-126)
        steps = (x.ravel() - x.min()) / np.float32(told["scale"])
        q = np.clip(np.round(steps) + low, low, high)
        if wire == "int4":
            q = np.append(q, [0] * (x.size % 2)).astype(np.uint8)
            data = (q[::2] | q[1::2] << 4).tobytes()
        else:
            data = q.astype(wire).tobytes()
    return told | {"nbytes": len(data)}, data


def read(told: Mapping[str, Any], data: bytes) -> np.ndarray:
    """A raw tensor, whatever the order of its memory."""
    assert told["wire"] == "raw"
    flat = np.frombuffer(data, OWN.get(told["dtype"], told["dtype"]))
    shape, stride = told["shape"], told["stride"]
    order = sorted(range(len(shape)), key=lambda axis: -stride[axis])
    steps = np.zeros(len(shape), int)
    steps[order[::-1]] = np.cumprod([1, *(shape[axis] for axis in order[::-1])])[:-1]
    same = all(a == b for a, b, n in zip(steps, stride, shape, strict=True) if n > 1)
    if flat.size and same:  # dense: in the order of memory
        return np.lib.stride_tricks.as_strided(flat, shape, steps * flat.itemsize)
    return flat.reshape(shape)
