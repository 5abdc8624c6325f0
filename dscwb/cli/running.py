"""The commands that run a split: `dscwb serve` on the server, `dscwb run` on the device."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import dscwb
from dscwb.cli.options import (
    UNTIL_INPUT_ENDS,
    at_end_of_input,
    command,
    number,
    one_rate,
    option,
    say,
)
from dscwb.cli.torch_arm import DEVICE, DTYPE, IMAGE_SIZE, MODEL, THREADS, check_device, some
from dscwb.trace_files import KINDS
from dscwb.units import format_percent, format_seconds, shown_name

if TYPE_CHECKING:
    import torch

    from dscwb.capturing.captured import CapturedModel

ENDS = (signal.SIGINT, signal.SIGTERM)
WAKE_S = 0.5
"""A signal that another thread was given is seen when the main one wakes: so often."""
SENT = "input_encoding", "feature_encoding", "compression", "deadline_s"
RANDOM = "; random weights, so this says nothing about accuracy"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ArgumentTypeError(f"is {text!r}; give HOST:PORT, such as 127.0.0.1:4000.")
    return host.strip("[]"), int(port)


TOKEN_FILE = option("--token-file", "File with the secret that both ends know.", Path)
HOW = (
    IMAGE_SIZE,
    option("--weights", "A state dictionary, .safetensors or of torch.save; else random.", Path),
    option("--seed", "Seed of random weights; both ends need the same.", number(0, whole=True), 0),
    DEVICE,
    DTYPE,
    THREADS,
)


@command(
    MODEL,
    *HOW,
    option("--bind", "Address to listen at; beyond loopback with a token.", default="127.0.0.1"),
    option("--port", "Port; any free one if 0.", number(0, 65535, whole=True), 0),
    TOKEN_FILE,
    option("--tls-cert", "The server's certificate, PEM; switches TLS on.", Path),
    option("--tls-key", "Its private key, PEM.", Path),
    UNTIL_INPUT_ENDS,
)
def serve(
    model: str,
    bind: str,
    port: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    until_input_ends: bool,
    **how: Any,
) -> None:
    r"""Run tails for devices until Ctrl-C or SIGTERM.

    When it is ready, it prints one line that ends in HOST:PORT.

    Examples:
      dscwb serve efficientnet_b0 --port 4000
      dscwb serve resnet50 --device cuda --bind 0.0.0.0 --token-file secret.txt \
          --tls-cert cert.pem --tls-key key.pem
    """
    if (tls_cert is None) != (tls_key is None):
        raise ValueError("--tls-cert and --tls-key belong together; give both or none.")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls_cert else None
    if tls:
        _tls(tls.load_cert_chain, tls_cert, tls_key)
    token, ended = _token(token_file), threading.Event()
    captured = _built(model, **how)
    before = {one: signal.signal(one, lambda *_: ended.set()) for one in ENDS}
    try:
        with dscwb.TailServer(captured, bind=bind, port=port, token=token, tls=tls) as server:
            host, port = server.address
            shown = f"[{host}]" if ":" in host else host
            print(
                f"serving {captured.graph.model} on {captured.device} at {shown}:{port}", flush=True
            )
            if until_input_ends:
                at_end_of_input(ended.set)
            while not ended.wait(WAKE_S):
                pass
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@command(
    MODEL,
    option("--server", "HOST:PORT of dscwb serve.", _address),
    option("--split", "Block after which to split, or 'full offloading'."),
    option("--policy", "Policy by which a controller chooses before every batch.", Path),
    option("--rate", "Data rate expected at first, Mbit/s or with a unit.", one_rate),
    option("--emulate", "Without a server: both ends and a link on this machine.", bool, False),
    option("--trace", "With --emulate: data rates over time; else --rate all the time.", Path),
    option("--trace-kind", "Of a trace that may be read in two ways.", KINDS),
    option("--rtt-ms", "With --emulate: round trip, ms.", number(0, 10, unit=1e-3), "20"),
    option("--device-slowdown", "With --emulate: a slower device.", number(1, 1000), 1.0),
    *HOW,
    option("--input", "A .npy, .npz (inputs in order) or an image; else random.", Path),
    option("--batch-size", "Samples in one pass; else as many as the input holds, or 1.", some),
    option("--repeats", "Batches, after one that does not count.", some, 10),
    option("--input-encoding", "How the model's input is sent.", default="float32"),
    option("--feature-encoding", "How all else is sent.", default="float32"),
    option("--compression", "Lossless compression of both.", ("none", "zstd"), "none"),
    option("--deadline-s", "Seconds until the device finishes a batch itself.", number(0), 5.0),
    TOKEN_FILE,
    option("--tls-ca", "Certificates to trust, PEM; switches TLS on.", Path),
    option("--json", "Print one JSON object.", bool, False, dest="as_json"),
)
def run(
    model: str,
    server: tuple[str, int] | None,
    split: str | None,
    policy: Path | None,
    rate: float | None,
    emulate: bool,
    trace: Path | None,
    trace_kind: str | None,
    rtt_ms: float,
    device_slowdown: float,
    input: Path | None,
    batch_size: int | None,
    repeats: int,
    token_file: Path | None,
    tls_ca: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    r"""Run a model split between this device and a server, and say where the time went.

    Without an answer the device finishes the batch itself. With --emulate both ends are measured,
    and every batch is shown beside what was predicted for it.

    Examples:
      dscwb run efficientnet_b0 --server 127.0.0.1:4000 --split blocks.3.0
      dscwb run efficientnet_b0 --server 192.0.2.7:4000 --policy policy.json --rate 20 \
          --feature-encoding int8 --token-file secret.txt --input cat.jpg
    """
    if emulate == (server is not None):
        raise ValueError("give either --server HOST:PORT, or --emulate.")
    if emulate:
        given = rate if trace is None else dscwb.load_trace(trace, kind=trace_kind)
        if given is None:
            raise ValueError("--emulate needs --rate, or --trace with a file.")
        told = {name: how[name] for name in ("image_size", "weights", "seed", *SENT)}
        told |= {"threads": how["threads"] or 1, "device_slowdown": device_slowdown}
        _emulated(model, given, repeats, rtt_ms, **told)
        return
    assert server is not None
    if (split is None) == (policy is None) or (policy is None) != (rate is None):
        raise ValueError("give either --split, or --policy with --rate.")
    controller = policy and dscwb.Controller(dscwb.load_policy(policy), data_rate_bps=rate or 0.0)
    tls = tls_ca and _tls(lambda ca: ssl.create_default_context(cafile=ca), tls_ca)
    sent: dict[str, Any] = {name: how.pop(name) for name in SENT}
    sent |= {"token": _token(token_file), "tls": tls}
    captured = _built(model, **how)
    inputs, size = _inputs(captured, input, batch_size)
    if controller:
        cuts = [plane.choice.name for plane in controller.policy.planes(size)]
        sent |= {"choose": controller.choose, "seen": controller.observe}
    else:
        cuts = [f"{split}"]
    try:
        client = dscwb.SplitClient(captured, server, cuts=cuts, **sent)
    except OSError as gone:
        raise ValueError(f"no server at {server[0]}:{server[1]}: {gone}") from None
    with client:
        args, kwargs = captured.call.rebuilt(inputs)
        answers = [client.run(*args, split=split, **kwargs) for _ in range(1 + repeats)][1:]
    found = _summary(captured, inputs, answers)
    if as_json:
        head = {"model": captured.graph.model, "batch_size": size}
        print(json.dumps(head | found, indent=2))
        return
    say(f"{captured.graph.model}, {repeats} batches of {size}")
    for (name, where, why), count in Counter((x.split, x.where, x.why) for x in answers).items():
        say(f"{count} by {shown_name(name)}, finished on the {where}" + (f": {why}" if why else ""))
    parts = (f"{part} {format_seconds(x)}" for part, x in found["median_s"].items())
    say("in the median " + ", ".join(parts))
    same, error = found["same_class"], found["relative_error"]
    classes = "" if same is None else f"first class as in the whole model {format_percent(same)}, "
    random = "" if how["weights"] else RANDOM
    say(f"{classes}relative error at most {format_percent(error)}{random}")


def _emulated(
    model: str,
    given: float | dscwb.Trace,
    repeats: int,
    round_trip_s: float,
    *,
    compression: str,
    deadline_s: float,
    **how: Any,
) -> None:
    """Run batches over an emulated link, one line each."""
    from itertools import islice

    from dscwb.running.live import steps
    from dscwb.running.rig import Rig
    from dscwb.units import format_rate

    rig = Rig.measured(model, link=dscwb.Link(round_trip_s=round_trip_s), at_once=True, **how)
    first = float(given.at(0.0)) if isinstance(given, dscwb.Trace) else given
    controller = rig.controller(first)
    say("emulated: device, link and server on one machine")
    with rig.running(first, compression=compression, deadline_s=deadline_s) as (client, link):

        def rate(now_s: float) -> float:
            if isinstance(given, dscwb.Trace):
                link.set_rate(given.at(now_s, repeat=True))
                return given.at(now_s, repeat=True)
            return given

        inputs = rig.captured.inputs(1)
        running = steps(client, rig.study, controller, inputs, rate)
        for step in islice(running, repeats):
            answer = step.answer
            say(
                f"{step.time_s:7.2f} s  link {format_rate(step.data_rate_bps, in_bytes=False)}, "
                f"taken for {format_rate(step.estimate_bps, in_bytes=False)}: "
                f"{shown_name(answer.split)}, {format_seconds(answer.total_s)}, predicted "
                f"{format_seconds(step.predicted_s)}, by the {answer.where}"
                + (f": {answer.why}" if answer.why else "")
            )
    say(f"{controller.switches} switches")


def _summary(
    captured: CapturedModel, inputs: Sequence[torch.Tensor], answers: Sequence[dscwb.Answer]
) -> dict[str, Any]:
    """Every request, medians by part, and agreement with the whole model, in JSON's types."""
    import torch

    from dscwb.running.validation import agreement

    with torch.inference_mode():
        whole = captured.module(*inputs)
    agreed = [agreement(answer.output, whole) for answer in answers]
    names = [field.name for field in fields(dscwb.Answer) if field.name != "output"]
    times = [{"total": answer.total_s, **answer.parts()} for answer in answers]
    same = min(one for one, _ in agreed)
    return {
        "requests": [{name: getattr(answer, name) for name in names} for answer in answers],
        "median_s": {part: median(one[part] for one in times) for part in times[0]},
        "same_class": same if same == same else None,  # a model without classes
        "relative_error": max(error for _, error in agreed),
    }


def _built(
    model: str,
    image_size: int | None,
    weights: Path | None,
    seed: int,
    device: str,
    dtype: str,
    threads: int | None,
) -> CapturedModel:
    """The model as both ends build it."""
    import torch

    from dscwb.running.models import built

    check_device(device)
    if threads:
        torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    return built(model, image_size, weights=weights, seed=seed, device=device, dtype=kind)


def _inputs(
    captured: CapturedModel, path: Path | None, batch_size: int | None
) -> tuple[Sequence[torch.Tensor], int]:
    """The model's input tensors, and how many samples they are."""
    call = captured.call
    if path is None:
        return call.of_size(batch_size or 1), batch_size or 1
    given = _read(captured, path)
    graph = captured.graph
    fits = len(given) == len(call.tensors) and all(
        x.ndim == own.ndim
        and all(
            a == b or axis in spec.batch_axes
            for axis, (a, b) in enumerate(zip(x.shape, own.shape, strict=True))
        )
        for x, own, spec in zip(given, call.tensors, graph.inputs, strict=True)
    )
    if not fits:
        found = ", ".join(f"{tuple(x.shape)}" for x in given)
        raise ValueError(f"{path} holds {found}, and {graph.model} takes {call.shapes()}.")
    call = replace(
        call,
        tensors=tuple(
            x.to(own.device, own.dtype) for x, own in zip(given, call.tensors, strict=True)
        ),
    )
    size = batch_size or call.batch_size
    return call.of_size(size), size


def _read(captured: CapturedModel, path: Path) -> list[torch.Tensor]:
    """Arrays of a NumPy file, or an image as timm shows it to this model."""
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from timm import data

    try:
        if path.suffix in (".npy", ".npz"):
            found = np.load(path, allow_pickle=False)
            arrays = found.values() if path.suffix == ".npz" else [found]
            return [torch.from_numpy(np.ascontiguousarray(one)) for one in arrays]
        image = Image.open(path).convert("RGB")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} holds neither NumPy arrays nor an image: {error}") from None
    about: Any = timm.get_pretrained_cfg(captured.graph.model)
    if about is None:
        raise ValueError(f"{captured.graph.model} is no timm model; give its input as .npy.")
    shown: Any = data
    shape = tuple(captured.example_inputs[0].shape[1:])
    how = shown.resolve_data_config({"input_size": shape}, pretrained_cfg=about.to_dict())
    return [shown.create_transform(**how)(image)[None]]


def _token(path: Path | None) -> str | None:
    """The secret of a file, without the line's end."""
    if path is None:
        return None
    if token := path.read_text(encoding="utf-8").strip():
        return token
    raise ValueError(f"{path} is empty; write a long random word into it.")


def _tls(load: Callable[..., Any], *paths: Path | None) -> Any:
    """What reading PEM files gives."""
    try:
        return load(*paths)
    except ssl.SSLError as error:
        told = " and ".join(map(str, paths))
        raise ValueError(f"{told}: no PEM certificate or key: {error}") from None
