"""A small GPT: prefill and one step of decoding, its key-value cache lying where its layers run."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

import dscwb
from dscwb.capturing.halves import Sent


@dataclass(frozen=True)
class Config:
    words: int = 60
    length: int = 32
    layers: int = 3
    heads: int = 2
    width: int = 16


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.before, self.after = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x, past):
        batch, length, width = x.shape
        qkv = self.qkv(self.before(x)).view(batch, length, 3 * self.heads, -1).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=1)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.after(x)))), (k, v)


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = nn.Embedding(config.words, config.width)
        self.places = nn.Embedding(config.length, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, config.words)

    def forward(self, tokens, past=None):
        start = 0 if past is None else past[0][0].shape[2]
        places = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        x, present = self.words(tokens) + self.places(places), []
        for i, block in enumerate(self.blocks):
            x, new = block(x, None if past is None else past[i])
            present.append(new)
        return self.head(x[:, -1:]), present


CONFIG = Config()
PROMPT = 12


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    return Gpt(CONFIG).eval()


def prefill_of(gpt):
    tokens = torch.randint(CONFIG.words, (2, PROMPT))
    return dscwb.capture(gpt, example_inputs=tokens, resident=1)


def step_of(gpt):
    with torch.inference_mode():
        _, past = gpt(torch.randint(CONFIG.words, (2, PROMPT)))
    token = torch.randint(CONFIG.words, (2, 1))
    return dscwb.capture(gpt, example_inputs=(token, past), resident=("past", 1))


@pytest.mark.parametrize("make", [prefill_of, step_of])
def test_the_cache_is_no_part_of_a_payload_after_a_block(gpt, make):
    captured = make(gpt)
    rows = PROMPT if make is prefill_of else 1
    cuts = {cut.name: cut for cut in dscwb.all_cuts(captured.graph, "block")}
    assert cuts["input"].elements() == rows  # token ids
    for i in range(CONFIG.layers):
        assert cuts[f"blocks.{i}"].elements() == rows * CONFIG.width
    assert dscwb.verify(captured, dscwb.all_cuts(captured.graph)) == []


def test_without_marking_it_the_cache_is_sent(gpt):
    tokens = torch.randint(CONFIG.words, (2, PROMPT))
    graph = dscwb.capture(gpt, example_inputs=tokens).graph
    cut = dscwb.all_cuts(graph, "block")[2]
    assert cut.elements() == PROMPT * CONFIG.width * (1 + 2 * 2)  # keys and values of two layers


def test_two_machines_keep_a_cache_each(gpt):
    """Prefill, then a step, the halves sharing nothing but what crosses the cut."""
    captured = {make: make(gpt) for make in (prefill_of, step_of)}
    after = [
        {cut.name: cut for cut in dscwb.all_cuts(one.graph, "block")}["blocks.1"]
        for one in captured.values()
    ]
    prompt = torch.randint(CONFIG.words, (4, PROMPT))
    token = torch.randint(CONFIG.words, (4, 1))
    with torch.inference_mode():
        head, tail = captured[prefill_of].split(after[0])
        sent = head(prompt)
        assert len(sent) == 1
        on_device = dict(sent.stays)
        _, of_server = tail(tuple(sent))
        assert of_server[:2] == [(None, None), (None, None)]  # these lie on the device
        _, past = gpt(prompt)
        assert torch.equal(of_server[2][0], past[2][0])
        made = [on_device[name] for name in captured[prefill_of].graph.resident[:4]]
        assert all(torch.equal(a, b) for a, b in zip(made, [*past[0], *past[1]], strict=True))

        head, tail = captured[step_of].split(after[1])
        empty = [torch.empty_like(x) for x in past[2]]
        sent = head(token, *made, *empty)
        names = captured[step_of].graph.resident[4:6]
        with pytest.raises(ValueError, match="The tail reads past_2_0, which is resident"):
            tail(tuple(sent))
        logits, _ = tail(Sent(tuple(sent), dict(zip(names, of_server[2], strict=True))))
        assert torch.equal(logits, gpt(token, past)[0])


def test_prefill_and_a_step_have_a_profile_and_a_map_each(gpt):
    for make, rows in ((prefill_of, PROMPT), (step_of, 1)):
        edge = dscwb.profile(make(gpt), [1, 2], threads=1, passes=10, budget_s=0)
        study = dscwb.sweep(
            edge,
            dscwb.scale_profile(edge, 20),
            link=dscwb.Link(),
            input_encoding="int64",
            feature_encoding="float16",
            data_rates_bps=[1e5, 1e7, 1e9],
        )
        assert study.at(batch_size=1, data_rate_bps=1e9).payload_bytes in (
            0,
            8 * rows,
            2 * rows * CONFIG.width,
        )
        assert dscwb.plot_best_split(study).data


def test_a_head_s_memory_holds_its_own_cache_only(gpt):
    from dscwb.cuts import head_memory_bytes

    graph = step_of(gpt).graph
    needed = head_memory_bytes(graph, 1)
    weights = [sum(x.weight_bytes for x in graph.layers[:k]) for k in range(len(needed))]
    ends = {block.name: block.end for block in graph.blocks}
    beside = [needed[k] - weights[k] for k in (ends["blocks.0"], ends["blocks.1"])]
    cache = 2 * 4 * CONFIG.width * (PROMPT + PROMPT + 1)  # keys and values, as they were and are
    assert beside[1] - beside[0] == pytest.approx(cache, rel=0.3)
    assert beside[0] >= cache


def test_a_cache_that_is_written_in_place_is_refused():
    class Writes(nn.Module):
        def forward(self, x, cache):
            cache[:, 0] = x
            return cache.sum(1)

    with pytest.raises(dscwb.CaptureError, match="writes into its input cache at `cache"):
        dscwb.capture(
            Writes().eval(),
            example_inputs=(torch.rand(2, 4), torch.rand(2, 5, 4)),
            resident="cache",
        )
