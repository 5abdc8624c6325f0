"""Small models that write into memory: a random program for each seed, and some that people write.

Run as a program it is the second of two machines: it makes the models anew, loads their weights
from a file, and runs the tails of their cuts.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

SIDE = 4
CALLS = 2  # in a row, on different inputs
BATCH_SIZE = 3


class RandomWrites(nn.Module):
    """Sixteen random statements on (batch, 4, 4) tensors, many of them views of one memory.

    `names` are the live tensors, `memory` which of them share it; a write never reads the memory
    that it writes into (torch leaves that undefined).
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.mix = nn.Linear(SIDE, SIDE)
        self.register_buffer("table", torch.randn(SIDE, SIDE))
        self.seed = seed

    def forward(self, x):
        rng = random.Random(self.seed)
        names, memory = [x], [0]
        if rng.random() < 0.7:  # else it may write into its input
            names, memory = [x.sin()], [1]

        def new(value, owner=None):
            names.append(value)
            memory.append(max(memory) + 1 if owner is None else memory[owner])

        for _ in range(16):
            i, j = rng.randrange(len(names)), rng.randrange(len(names))
            row, value = rng.randrange(SIDE), names[j]
            if memory[i] == memory[j]:
                value = value.clone()
            kind = rng.randrange(14)
            if kind == 0:
                new(torch.zeros(x.shape[0], SIDE, SIDE))
            elif kind == 1:
                new(torch.zeros_like(names[i]))
            elif kind == 2:
                new(names[i].transpose(1, 2), i)
            elif kind == 3:
                new(names[i][:, [3, 1, 0, 2]])
            elif kind == 4:
                names[i][:, row] = value[:, row]
            elif kind == 5:
                names[i][:, :, row : row + 2] = value[:, :, row : row + 2].cos()
            elif kind == 6:
                names[i].relu_()
            elif kind == 7:
                names[i].add_(value)
            elif kind == 8:
                new(self.mix(names[i]))
            elif kind == 9:
                new(torch.stack([names[i], names[j]])[rng.randrange(2)])
            elif kind == 10:
                constant = torch.zeros(SIDE, SIDE)
                constant[row] = self.table[row]
                kept = constant.clone()
                constant[:, row] += 1
                new(names[i] @ constant + kept)
            elif kind == 11:
                names[i].select(1, row).mul_(0.5)
            elif kind == 12:
                upper, lower = names[i].chunk(2, dim=1)
                upper.add_(lower)
            else:
                canvas = torch.ones(x.shape[0], SIDE, SIDE)
                before = canvas * 2
                canvas[:, row].copy_(value[:, row])
                new(canvas.view(-1, SIDE, SIDE) + before)
        return names[-1], sum(names[1:], names[0])


class Pillars(nn.Module):
    """A canvas of zeros that points are scattered on (PointPillars)."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.backbone = nn.Linear(4, 8), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        canvas = torch.zeros(x.shape[0], 8, 64, dtype=x.dtype)
        canvas[:, :, :4] = self.points(x).transpose(1, 2)
        return self.backbone(canvas.view(-1, 8, 8, 8))


class Shift(nn.Module):
    """Temporal shift (TSM): zeros_like, then three slices."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        h = self.mix(x)
        out = torch.zeros_like(h)
        out[:, :-1, :1] = h[:, 1:, :1]
        out[:, 1:, 1:2] = h[:, :-1, 1:2]
        out[:, :, 2:] = h[:, :, 2:]
        return self.mix(out).tanh() + out


class Decoder(nn.Module):
    """Outputs written step by step into a tensor, the hidden state carried on (seq2seq)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(4, 4), nn.Linear(4, 6)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 4)
        outputs = torch.zeros(4, x.shape[0], 6)
        for t in range(4):
            h = self.cell(x[:, t], h)
            outputs[t] = self.out(h)
        return outputs.transpose(0, 1).softmax(-1)


class Normalised(nn.Module):
    """Normalises its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        x.sub_(0.5).div_(0.25)
        return self.mix(x) + x


class SkipAfterReLU(nn.Module):
    """A shortcut taken before a ReLU in place, which changes it too."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        h = self.mix(x)
        shortcut = h
        y = self.mix(nn.functional.relu(h, inplace=True))
        y.unsqueeze_(1)
        return y.squeeze(1) + shortcut


class Counter(nn.Module):
    """Counts its calls; no result depends on that."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(4, 4))

    def forward(self, x):
        self.calls += 1
        h = self.mix(x)
        self.last.copy_(h[0])
        return h.relu()


class Scaled(nn.Module):
    """A number read off a tensor's values."""

    def forward(self, x):
        most = x.abs().max(dim=-1).values.sum().item()
        return (x.sin() * most).cos() + most


class Numbers(nn.Module):
    """Tensors made of Python numbers in each call, one of them written to: no state."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        chosen, weight = torch.tensor([0, 2]), torch.tensor([1.0, 2.0])
        h = self.mix(x)
        out = torch.zeros_like(h).index_copy_(1, chosen, h[:, :2])
        weight.add_(1)
        kept = out.clone()
        out.add_(h[:, chosen].sum(1, keepdim=True))
        return self.mix(kept)[..., :2] * weight + self.mix(out)[..., :2]


NAMED = (Pillars, Shift, Decoder, Normalised, SkipAfterReLU, Counter, Scaled, Numbers)
SHARED: dict[str, Callable[[], nn.Module]] = {
    "Pillars": Pillars,
    "Counter": Counter,
    "random": lambda: RandomWrites(0),
}
"""Models that both machines hold: a canvas, a buffer that counts, and views of one memory."""


def inputs(call: int) -> torch.Tensor:
    """The input of a call, different each time."""
    generator = torch.Generator().manual_seed(100 + call)
    return torch.randn(BATCH_SIZE, 4, 4, generator=generator)


def run_halves(half: str, folder: Path) -> None:
    """Run the heads or the tails of all cuts of all models, each several times in a row."""
    from dscwb.capturing.captured import capture
    from dscwb.cuts import all_cuts

    weights = torch.load(folder / "weights.pt")
    sent: dict[str, Any] = {} if half == "head" else torch.load(folder / "head.pt")
    results: dict[str, Any] = {}
    for name, make in SHARED.items():
        model = make().eval()
        model.load_state_dict(weights[name])
        captured = capture(model, (4, 4), check=False)
        cuts = all_cuts(captured.graph)
        for cut in cuts[:: 1 + len(cuts) // 5]:
            key = f"{name}, cut {cut.index}"
            head, tail = captured.split(cut)
            with torch.inference_mode():
                if half == "head":
                    results[key] = [head(inputs(call)) for call in range(CALLS)]
                else:
                    results[key] = [tail(frontier) for frontier in sent[key]]
    torch.save(results, folder / f"{half}.pt")


if __name__ == "__main__":
    run_halves("tail", Path(sys.argv[1]))
