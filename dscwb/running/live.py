"""The controller at work: request after request, each beside what was predicted for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from dscwb.controller import Controller
from dscwb.running.client import Answer, SplitClient
from dscwb.running.prediction import codec_s, on_this_link, predicted
from dscwb.study.study import Study
from dscwb.units import NO_OFFLOADING


@dataclass(frozen=True)
class Step:
    """One request of a live run.

    Attributes:
        time_s: Seconds since the run began.
        data_rate_bps: What the link really had, bit/s.
        estimate_bps: What the controller took it for.
        server_load: What the controller took the server's load for.
        predicted_s: What the study says of this split at the link's real rate and an idle server.
        on_device_s: What it says of no offloading.
        switches: How often the controller has switched so far.
        answer: What happened.
    """

    time_s: float
    data_rate_bps: float
    estimate_bps: float
    server_load: float
    predicted_s: float
    on_device_s: float
    switches: int
    answer: Answer


def steps(
    client: SplitClient,
    study: Study,
    controller: Controller,
    inputs: Sequence[torch.Tensor],
    data_rate_bps: Callable[[float], float],
    *,
    batch_size: int = 1,
    every_s: float = 0.0,
) -> Iterator[Step]:
    """Run batch after batch for as long as somebody asks for the next one.

    A few requests before the first find out what a message costs on this link.

    Args:
        client: Connected to the server; the controller need not be its own.
        study: What is predicted.
        controller: Chooses, and learns from every answer.
        inputs: One batch.
        data_rate_bps: Gives the link's rate at a time in seconds since the run began, and sets it
            if that is wanted.
        batch_size: Of the inputs.
        every_s: Least time from one request to the next.
    """
    study = on_this_link(client, study, inputs, batch_size, data_rate_bps(0.0))
    codecs = {NO_OFFLOADING: 0.0}
    begun = time.monotonic()
    while True:
        now_s = time.monotonic() - begun
        rate = data_rate_bps(now_s)
        split = controller.choose(batch_size)
        if split not in codecs:
            codecs[split] = codec_s(client, inputs, split)
        estimate, load = controller.data_rate_bps, controller.server_load
        answer = client.run(*inputs, split=split)
        controller.observe(batch_size, answer)
        here, alone = (
            predicted(study, batch_size, rate, name, codecs[name])["predicted_total_s"]
            for name in (split, NO_OFFLOADING)
        )
        yield Step(now_s, rate, estimate, load, here, alone, controller.switches, answer)
        time.sleep(max(0.0, every_s - (time.monotonic() - begun - now_s)))
