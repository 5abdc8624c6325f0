"""Small networks of kinds that neither timm nor torchvision holds: six transformers, a detector.

Written with torch.nn alone, in the ways in which such networks are written elsewhere; depths and
widths are chosen so that structure, not size, is as deployed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, DEPTH, TOKENS, WORDS = 128, 4, 6, 64, 1000


class Encoder(nn.Module):
    """Token ids to a class, by torch's own encoder layers (BERT's structure)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.classify = nn.Linear(WIDTH, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens)`` to ``(batch, 2)``."""
        classes: torch.Tensor = self.classify(self.encoder(self.embed(ids))[:, 0])
        return classes


class Decoder(nn.Module):
    """A stack of torch's decoder layers over a memory (a captioning model's second half)."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, DEPTH)
        self.words = nn.Linear(WIDTH, WORDS)

    def forward(self, target: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens, width)`` twice to ``(batch, tokens, words)``."""
        words: torch.Tensor = self.words(self.layers(target, memory))
        return words


class Translator(nn.Module):
    """torch's encoder-decoder between two embeddings and a vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, WIDTH), nn.Embedding(WORDS, WIDTH)
        self.transformer = nn.Transformer(
            WIDTH, HEADS, DEPTH // 2, DEPTH // 2, 4 * WIDTH, batch_first=True
        )
        self.words = nn.Linear(WIDTH, WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens)`` ids twice to ``(batch, tokens, words)``."""
        words: torch.Tensor = self.words(self.transformer(self.source(source), self.target(target)))
        return words


class Attention(nn.Module):
    """Self- or cross-attention as language models write it; normalises its own input if asked."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, y: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``(batch, tokens, width)`` each; the bias ``(heads, tokens, tokens)``."""
        y = x if y is None else y
        q, k, v = (
            a.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for a in (self.q(x), self.k(y), self.v(y))
        )
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, is_causal=self.causal
        )
        out: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


def mlp(width: int) -> nn.Sequential:
    """Four times as wide inside."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Vit(nn.Module):
    """A vision transformer whose layers are pairs in a list; the parent adds the shortcuts."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 16, 16)
        self.place = nn.Parameter(torch.zeros(1, 196, WIDTH))
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    nn.Sequential(nn.LayerNorm(WIDTH), Attention(WIDTH, HEADS)),
                    nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH)),
                )
            )
            for _ in range(DEPTH)
        )
        self.classify = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, 3, 224, 224)`` to ``(batch, 10)``."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for attention, feed_forward in self.layers:  # type: ignore[misc]
            x = x + attention(x)
            x = x + feed_forward(x)
        classes: torch.Tensor = self.classify(x.mean(1))
        return classes


class GptLayer(nn.Module):
    """Norms first, causal attention, MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.mlp = Attention(WIDTH, HEADS, causal=True), mlp(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        x = x + self.attention(self.norm1(x))
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out


class Gpt(nn.Module):
    """A causal language model."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList(GptLayer() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens)`` to logits ``(batch, tokens, words)``."""
        x = self.words(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x)
        logits: torch.Tensor = functional.linear(self.norm(x), self.words.weight)
        return logits


class T5Layer(nn.Module):
    """Self-attention with the stack's position bias, cross-attention where there is a memory."""

    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.RMSNorm(WIDTH), Attention(WIDTH, HEADS)
        self.norm2, self.cross = nn.RMSNorm(WIDTH), Attention(WIDTH, HEADS) if cross else None
        self.norm3, self.mlp = nn.RMSNorm(WIDTH), mlp(WIDTH)

    def forward(
        self, x: torch.Tensor, bias: torch.Tensor, memory: torch.Tensor | None
    ) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        x = x + self.attention(self.norm1(x), bias=bias)
        if self.cross is not None:
            x = x + self.cross(self.norm2(x), memory)
        out: torch.Tensor = x + self.mlp(self.norm3(x))
        return out


class T5Stack(nn.Module):
    """Encoder and decoder are of this one class; the first layer's position bias serves all."""

    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.bias = nn.Embedding(32, HEADS)
        self.layers = nn.ModuleList(T5Layer(cross) for _ in range(DEPTH // 2))

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """``(batch, tokens, width)`` to the same."""
        at = torch.arange(x.shape[1], device=x.device)
        bias = self.bias((at[:, None] - at).clamp(-16, 15) + 16).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias, memory)
        return x


class T5(nn.Module):
    """Encoder-decoder with one embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.encoder, self.decoder = T5Stack(cross=False), T5Stack(cross=True)
        self.out = nn.Linear(WIDTH, WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``(batch, tokens)`` ids twice to ``(batch, tokens, words)``."""
        memory = self.encoder(self.words(source))
        words: torch.Tensor = self.out(self.decoder(self.words(target), memory))
        return words


class Conv(nn.Sequential):
    """Convolution, norm, activation."""

    def __init__(self, inside: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(out),
            nn.SiLU(),
        )


class Bottleneck(nn.Module):
    """Two convolutions and a shortcut, a part of `C2f`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = Conv(width, width, 3), Conv(width, width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, h, w)`` to the same."""
        out: torch.Tensor = x + self.two(self.one(x))
        return out


class C2f(nn.Module):
    """Splits its channels; every part's result goes on into the last convolution."""

    def __init__(self, inside: int, out: int, depth: int) -> None:
        super().__init__()
        self.first, self.last = Conv(inside, out), Conv((2 + depth) * out // 2, out)
        self.parts = nn.ModuleList(Bottleneck(out // 2) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, inside, h, w)`` to ``(batch, out, h, w)``."""
        found = list(self.first(x).chunk(2, 1))
        for part in self.parts:
            found.append(part(found[-1]))
        out: torch.Tensor = self.last(torch.cat(found, 1))
        return out


class Sppf(nn.Module):
    """Three poolings of one another, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = Conv(width, width // 2), Conv(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, h, w)`` to the same."""
        found = [self.first(x)]
        for _ in range(3):
            found.append(self.pool(found[-1]))
        out: torch.Tensor = self.last(torch.cat(found, 1))
        return out


class Yolo(nn.Module):
    """Backbone, top-down and bottom-up neck, and a head on three levels."""

    def __init__(self, width: int = 16, classes: int = 80) -> None:
        super().__init__()
        a, b, c, d, e = (width * 2**k for k in range(5))
        self.backbone = nn.Sequential(
            Conv(3, a, 3, 2), Conv(a, b, 3, 2), C2f(b, b, 1), Conv(b, c, 3, 2), C2f(c, c, 2),
            Conv(c, d, 3, 2), C2f(d, d, 2), Conv(d, e, 3, 2), C2f(e, e, 1), Sppf(e),
        )  # fmt: skip
        self.up = nn.Upsample(scale_factor=2)
        self.down1, self.down2 = Conv(c, c, 3, 2), Conv(d, d, 3, 2)
        self.neck = nn.ModuleList(
            (C2f(d + e, d, 1), C2f(c + d, c, 1), C2f(c + d, d, 1), C2f(d + e, e, 1))
        )
        self.boxes, self.scores = (
            nn.ModuleList(
                nn.Sequential(Conv(w, 64, 3), Conv(64, 64, 3), nn.Conv2d(64, out, 1))
                for w in (c, d, e)
            )
            for out in (64, classes)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """``(batch, 3, h, w)`` to ``(batch, 64 + classes, h / s, w / s)`` for s in 8, 16, 32."""
        kept = []
        for k, layer in enumerate(self.backbone):
            x = layer(x)
            if k in (4, 6, 9):
                kept.append(x)
        p3, p4, p5 = kept
        t4 = self.neck[0](torch.cat((self.up(p5), p4), 1))
        n3 = self.neck[1](torch.cat((self.up(t4), p3), 1))
        n4 = self.neck[2](torch.cat((self.down1(n3), t4), 1))
        n5 = self.neck[3](torch.cat((self.down2(n4), p5), 1))
        levels = zip((n3, n4, n5), self.boxes, self.scores, strict=True)
        return [torch.cat((box(x), score(x)), 1) for x, box, score in levels]


def _ids(count: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: tuple(torch.zeros(2, TOKENS, dtype=torch.int64) for _ in range(count))


# Name: how to make it, and the inputs of a call with two samples.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]] = {
    "encoder": (Encoder, _ids(1)),
    "decoder": (Decoder, lambda: tuple(torch.zeros(2, TOKENS, WIDTH) for _ in range(2))),
    "translator": (Translator, _ids(2)),
    "vit": (Vit, lambda: (torch.zeros(2, 3, 224, 224),)),
    "gpt": (Gpt, _ids(1)),
    "t5": (T5, _ids(2)),
    "yolo": (Yolo, lambda: (torch.zeros(2, 3, 320, 320),)),
}
