"""What tests of the split at work share: a small model of every trait, and a server of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dscwb
from dscwb.capturing.captured import CapturedModel
from dscwb.cost import split_name
from dscwb.cuts import all_cuts


class Many(nn.Module):
    """Convolutions with a residual, gaps and repeats in memory, whole numbers; many outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(5, 5, 3, padding=1)
        self.words = nn.Embedding(50, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> dict[str, Any]:
        x = self.first(image)
        gaps = x[:, :5]
        gaps = self.second(gaps) + gaps
        mean = x.mean((2, 3))
        repeated = mean[:, :, None].expand(-1, -1, 6)
        words = self.words(tokens).sum(1)
        inside = torch.fft.fft(mean)  # complex
        positive = mean > 0
        h = self.last(words + mean + repeated.sum(-1) + inside.real * positive)
        return {
            "classes": h,
            "parts": (gaps.sum((1, 2, 3)), [tokens + 1, positive]),
            "never": float("inf"),
            "nothing": None,
            "minus": -3,
            "samples": image.shape[0],
        }


@cache
def many(channels_last: bool = False) -> CapturedModel:
    torch.manual_seed(1)
    image, tokens = torch.randn(2, 3, 6, 6), torch.randint(0, 50, (2, 7))
    return dscwb.capture(
        Many().eval(), example_inputs=(image, tokens), channels_last=channels_last, check=False
    )


@cache
def seeing() -> CapturedModel:
    """Two layers that see an image; `python -m tests.running` serves it."""
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    return dscwb.capture(nn.Sequential(*layers).eval(), (3, 8, 8), check=False)


def small(seed: int = 1, width: int = 16, dtype: torch.dtype | None = None) -> CapturedModel:
    """Two layers."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4)).eval()
    return dscwb.capture(module, (8,), dtype=dtype, check=False)


def split_names(captured: CapturedModel) -> list[str]:
    """Every place where it can be cut, both ends too."""
    return [split_name(cut) for cut in all_cuts(captured.graph)]


def same(a: Any, b: Any) -> bool:
    """Whether two outputs agree in structure, types, element types and every bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of this machine and its key, made by openssl."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=dscwb"
    options += " -addext subjectAltName=IP:127.0.0.1,IP:::1"
    command = ["openssl", "req", *options.split(), "-out", cert, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of `seeing()` in a process of its own, and its port."""
    process = start(*arguments)
    try:
        yield process, port_of(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()  # type: ignore[union-attr]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.running", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def port_of(process: subprocess.Popen[str]) -> int:
    """Its port, once it listens."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def serve(port: str = "0") -> None:
    torch.set_num_threads(1)
    with dscwb.TailServer(seeing(), port=int(port)) as server:
        print(server.address[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(*sys.argv[1:])
