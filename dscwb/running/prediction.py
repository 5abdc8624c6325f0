"""What a study says of one request, by part, and how far the request may lie from that.

A request's time has four parts: head, codec (tensors to bytes and back, on both ends), link and
tail. Heads and tails come from the two profiles; what a message costs on this pair of ends, and how
long its codecs take, is measured by requests and runs that are not judged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from dscwb.cost import cost_at
from dscwb.profiles.passes import error_of_passes
from dscwb.profiles.records import Profile
from dscwb.running.client import SplitClient
from dscwb.running.encodings import decode, encode
from dscwb.running.ends import leaves_of
from dscwb.scenario import Link
from dscwb.study.study import Study
from dscwb.study.sureness import model_errors
from dscwb.study.sweeps import sweep
from dscwb.units import BITS_PER_BYTE, NO_OFFLOADING

PARTS = ("head", "codec", "link", "tail")
"""Of which a request's time consists; a queue, which no study predicts, counts to the tail."""
INTERVAL = ["predicted_low_s", "predicted_high_s", "model_error_s"]
"""What `interval` gives."""
CODEC_RUNS = 9
CODEC_GAP_S = 0.02
"""Tensors are written and read by ends that have waited; back to back it takes a tenth of that."""
PROBES = 8
"""Requests that measure what a message costs, after one that does not count."""
REPLICATES = 400
INSIDE = 0.9
"""Share of executed medians that shall lie in their interval."""
RUN_SPLIT_ERROR, RUN_LINK_ERROR = 0.03, 0.01
"""How far medians of what runs lie from what is predicted, beyond all noise, as seen with
`python -m benchmarks.validated`: as a share of heads and tails, which run between Python code and
waits for the other end, and of the link's time."""


def on_this_link(
    client: SplitClient,
    study: Study,
    inputs: Sequence[torch.Tensor],
    batch_size: int,
    data_rate_bps: float,
) -> Study:
    """The study over the link as these two ends find it: round trip and bytes of a message.

    A few requests are sent at the split that sends least. What they take on the link beside their
    bytes is the round trip, both ends' work for a message in it; what they send beside the payload
    are headers, of which the reply has one too.

    Args:
        client: Connected to the server.
        study: Of the candidates; unchanged comes back what offers no split, or has no answer.
        inputs: One batch.
        batch_size: Of the inputs.
        data_rate_bps: That of the link now, bit/s.
    """
    bits, asked = study.lines.bits[study.row(batch_size)], study.scenario.link
    sending = [i for i, name in enumerate(study.splits) if name != NO_OFFLOADING]
    if not sending:
        return study
    least = min(sending, key=bits.__getitem__)
    answers = [client.run(*inputs, split=study.splits[least]) for _ in range(PROBES + 1)][1:]
    answers = [answer for answer in answers if answer.where == "server"]
    if not answers:
        return study
    payload = bits[least] / BITS_PER_BYTE - asked.overhead_bytes
    header = max(0.0, answers[0].sent_bytes - payload)
    down_bps = asked.downlink_bps or data_rate_bps
    up_s, down_s = (
        BITS_PER_BYTE * size / rate_bps
        for size, rate_bps in (
            (answers[0].sent_bytes, data_rate_bps),
            (answers[0].received_bytes + header, down_bps),
        )
    )
    round_trip_s = float(np.median([answer.link_s for answer in answers])) - up_s - down_s
    link = replace(asked, round_trip_s=max(0.0, round_trip_s), overhead_bytes=2 * header)
    return with_(study, link=link)


def with_(
    study: Study,
    edge: Profile | None = None,
    server: Profile | None = None,
    link: Link | None = None,
) -> Study:
    """The same study of other profiles, or over another link."""
    return sweep(
        edge or study.edge,
        server or study.server,
        replace(study.scenario, link=link or study.scenario.link),
        data_rates_bps=study.data_rates_bps,
        batch_sizes=study.batch_sizes,
    )


def predicted(
    study: Study, batch_size: int, data_rate_bps: float, split: str, codec_s: float
) -> dict[str, float]:
    """What a study says of a request, by part, in seconds.

    The result's way back, where the scenario names no downlink, is at the same data rate.
    """
    row, lines = study.row(batch_size), study.lines
    i = study.splits.index(split)
    bits = lines.bits[row, i]
    if split != NO_OFFLOADING and study.scenario.link.downlink_bps is None:
        graph = study.edge.graph
        back = [x for x in graph.tensors() if x.name in {*graph.outputs}]
        bits += BITS_PER_BYTE * sum(x.nbytes(batch_size) for x in back)
    parts = {
        "head": float(lines.head_s[row, i]),
        "codec": codec_s,
        "link": float(lines.link_s[row, i] + cost_at(0, bits, data_rate_bps)),
        "tail": float(lines.tail_s[row, i]),
    }
    told = {f"predicted_{part}_s": seconds for part, seconds in parts.items()}
    return {**told, "predicted_total_s": sum(parts.values())}


def interval(
    study: Study, batch_size: int, told: dict[str, float], requests: int, seed: int = 0
) -> dict[str, float]:
    """Where the median of so many executed requests lies in nine of ten cases.

    By noise: requests scatter as the raw whole passes of each end do, and the profile's medians are
    those of passes that happened to be drawn (a bootstrap of both). By the model: halves really run
    beside the passes, splits executed earlier, and machines modelled or assumed, lay so far off;
    that is added on either side.

    Args:
        study: What predicts.
        batch_size: Of the requests.
        told: Their parts, of `predicted`.
        requests: How many there are.
        seed: Of the draws.

    Returns:
        ``predicted_low_s`` and ``predicted_high_s``, and how much of either side is the model's:
        ``model_error_s``.
    """
    draw, scenario = np.random.default_rng(seed), study.scenario
    model_s = RUN_LINK_ERROR * told["predicted_link_s"]
    varying = np.zeros((REPLICATES, requests))
    machines = {one.machine: one.factor - 1 for one in model_errors(study)}
    for half, machine, profile, factor in (
        ("head", "device", study.edge, scenario.device_slowdown),
        ("tail", "server", study.server, scenario.server_load),
    ):
        seconds, size = told[f"predicted_{half}_s"], profile.neighbours(batch_size)[0]
        passes = profile.at(size)
        ratios = passes.whole_ns / np.median(passes.whole_ns) if passes.rounds else np.ones(1)
        of_requests = draw.choice(ratios, varying.shape)
        of_profile = np.median(draw.choice(ratios, (REPLICATES, len(ratios))), axis=1)
        varying += seconds * of_requests / of_profile[:, None]
        error = error_of_passes(passes)
        off = abs(getattr(error, half)) + getattr(error, f"{half}_half_width")
        off_s = float(np.nan_to_num(off)) * profile.total_s(size) * factor
        share = RUN_SPLIT_ERROR + machines.get(machine, 0.0)
        model_s += (seconds > 0) * off_s + share * seconds
    fixed = told["predicted_codec_s"] + told["predicted_link_s"]
    medians = fixed + np.median(varying, axis=1)
    low, high = np.quantile(medians, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    found = float(low) - model_s, float(high) + model_s, model_s
    return dict(zip(INTERVAL, found, strict=True))


def codec_s(client: SplitClient, inputs: Sequence[torch.Tensor], split: str) -> float:
    """Median seconds that it takes here to write and read what crosses a cut, and the output."""
    if split == NO_OFFLOADING:
        return 0.0
    with torch.inference_mode():
        head, tail = client.halves(split)
        sent = head(*inputs)
        output, _ = leaves_of(tail(sent))
        times = []
        for _ in range(CODEC_RUNS):
            spent = 0.0
            for tensors, how in ((sent, client.encoding_of(split)), (output, None)):
                compression = client.compression if how else "none"
                time.sleep(CODEC_GAP_S)
                begun = time.perf_counter()
                headers, parts = encode(tensors, how, compression)
                spent += time.perf_counter() - begun
                payload = memoryview(b"".join(parts))  # arrives in one piece
                time.sleep(CODEC_GAP_S)
                begun = time.perf_counter()
                decode(headers, payload, compression)
                spent += time.perf_counter() - begun
            times.append(spent)
    return float(np.median(times))
