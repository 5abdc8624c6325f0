"""What the browser is given of a pair of profiles, from which it computes every study of them.

A pair is ``{"models": {key: model}, "edge": machine, "server": machine}``, all of it JSON but for
the arrays, which are bytes: float64, little-endian. Whoever holds many pairs keeps each model and
each machine once: a machine names its model by the key, and has an ``id`` of its own, which stands
in its place in a pair for those who hold it.

A model, from `model_part`, holds for every batch size. ``kinds`` are the kinds of tensors that
cross a cut: their number of batch axes, bytes of an element as it is, and as every encoding writes
it, null where it cannot; an image's codec writes what is marked ``image``. ``frontiers`` are the
cuts, from the input to the output, each a row ``[kind, elements, kind, elements, …]`` of one
sample. Bytes that depend on the batch size are polynomials of it, ``{power: [bytes]}``: of the
``result``, and by layer of what it makes (``made``) and of constants and state that lie in memory
from it on (``held``). ``names`` are the layers', for cuts between all of them; ``places`` and
``place_names`` those where `all_cuts` cuts by blocks, ``flops`` what each part between two of them
computes for one sample, null where nobody knows. ``marks`` say by ``auto`` and ``op`` of every
cut listed there whether it is a natural (n) or a compressive (c) bottleneck or neither (-).
``colours`` holds six hexadecimal digits a cut.

A machine, from `machine_part`, holds the batch sizes that have times, ascending, and ``head_ns``,
medians ``(batch, known cut)``; ``known`` is null where all cuts are. ``tail_ns`` is null where the
tails are what is left of the whole, the last head. Seconds are these times 1e-9 times
``time_scale``. ``copies`` are sizes in bytes and median nanoseconds to the host and to the
accelerator, null where there are none. ``status`` and ``caution`` are words for each batch size.
``bound`` says of the parts between the model's places whether arithmetic (a) or memory (m) binds
them, or that this is not known (-), from `bound_by`. ``imagined`` is what stands before and after
the factor in the label of a machine that is assumed to be some times as fast.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np

from dscwb.colours import split_colours
from dscwb.cost import Floats, check_same_model, fitting
from dscwb.cuts import all_cuts, bottlenecks, byte_terms, memory_terms
from dscwb.devices.roofline import bound_by
from dscwb.graph import ModelGraph, TensorSpec
from dscwb.profiles.library import imagined
from dscwb.profiles.records import Profile
from dscwb.units import DTYPE_BYTES, ENCODINGS, encoding

Part = dict[str, Any]

CODEC = encoding("jpeg 10:1")
"""Any image's codec holds what this one does."""


def pair(
    edge: tuple[str, Profile], server: tuple[str, Profile] | None, held: Collection[str] = ()
) -> Part:
    """A device and a server, or the device alone where the server is assumed.

    Args:
        edge: A name that no other machine of the model has, and the profile.
        server: As `edge`, or None.
        held: Keys of models that are left out, and ids of machines that are only named.

    Raises:
        ProfileError: They are of different models.
    """
    machines = {"edge": edge} if server is None else {"edge": edge, "server": server}
    if server is not None:
        check_same_model(edge[1], server[1])
    models: Part = {}
    found: Part = {"models": models, "edge": None, "server": None}
    for role, (name, profile) in machines.items():
        key, part = _model(profile.graph)
        if key not in held:
            models[key] = part
        own = "\n".join((key, name, profile.provenance.dtype))
        found[role] = own if own in held else machine_part(profile, key) | {"id": own}
    return found


@lru_cache(maxsize=32)  # a hand goes back and forth between few models
def _model(graph: ModelGraph) -> tuple[str, Part]:
    part = model_part(graph)
    return model_key(part), part


def model_key(model: Part) -> str:
    """A short name for what a model's part holds."""
    return sha256(json.dumps(model).encode()).hexdigest()[:16]


def model_part(graph: ModelGraph) -> Part:
    """What is asked of a model, whatever the machine, as the module says."""
    cuts, places = all_cuts(graph, "op"), all_cuts(graph, "block")
    layers = graph.layers
    kinds: dict[tuple[str, int], int] = {}

    def row(specs: Iterable[TensorSpec]) -> list[int]:
        found = []
        for spec in specs:
            kind = kinds.setdefault((spec.dtype, len(spec.batch_axes)), len(kinds))
            found += [kind, spec.elements()]
        return found

    row(graph.sent)  # an input that nobody reads crosses no cut
    frontiers = [row(cut.frontier) for cut in cuts]
    results = {*graph.outputs} - {*graph.resident}
    back = [spec for spec in graph.tensors() if spec.name in results]
    _, made, held = memory_terms(graph)
    tables = {of: bottlenecks(graph, of) for of in ("auto", "op")}
    return {
        "name": graph.model,
        "label": graph.label(),
        "input_elements": graph.input_elements,
        "sent": [[spec.name, spec.dtype] for spec in graph.sent],
        "fits": fitting(graph, CODEC if graph.sent else ENCODINGS["float32"]).name,
        "blocks": [
            {"name": block.name, "kind": block.kind, "end": block.end} for block in graph.blocks
        ],
        "names": [layer.name for layer in layers],
        "places": [cut.index for cut in places],
        "place_names": [cut.name for cut in places],
        "flops": [graph.flops_between(start.index, cut.index) for start, cut in pairwise(places)],
        "frontiers": frontiers,
        "kinds": [_kind(dtype, axes) for dtype, axes in kinds],
        "result": _polynomials(byte_terms([back])),
        "weights": [layer.weight_bytes for layer in layers],
        "made": _polynomials(made),
        "held": _polynomials(held),
        "marks": {
            of: [
                table["cut"].tolist(),
                "".join(
                    "c" if c else "n" if n else "-"
                    for n, c in zip(table["natural"], table["compressive"], strict=True)
                ),
            ]
            for of, table in tables.items()
        },
        "colours": "".join(
            "".join(f"{int(part):02x}" for part in colour[4:-1].split(","))
            for colour in split_colours(graph, cuts)
        ),
    }


def _kind(dtype: str, axes: int) -> Part:
    return {
        "dtype": dtype,
        "axes": axes,
        "own": DTYPE_BYTES[dtype],
        "image": CODEC.bytes_of(dtype) is not None,
        "bytes": {name: one.bytes_of(dtype) for name, one in ENCODINGS.items()},
    }


def _polynomials(terms: Floats) -> dict[str, list[int]]:
    """Powers of the batch size that occur, and their whole numbers of bytes."""
    return {str(k): row.astype(int).tolist() for k, row in enumerate(terms) if row.any()}


def machine_part(profile: Profile, model: str) -> Part:
    """What is asked of a profile; `model` is the `model_key` of its graph's part."""
    source, sizes = profile.provenance, profile.batch_sizes
    heads, tails = np.array([profile.at(size).medians_ns for size in sizes]).transpose(1, 0, 2)
    rest = np.array_equal(heads[:, -1:] - heads, tails, equal_nan=True)
    known = np.flatnonzero(np.isfinite(heads).any(axis=0) | np.isfinite(tails).any(axis=0))
    copies = profile.transfers
    bounds = bound_by(profile, [cut.index for cut in all_cuts(profile.graph, "block")])
    factor = f"{1 / profile.time_scale:g} × as fast as "
    before, _, after = imagined(source, profile.time_scale).label().partition(factor)
    return {
        "model": model,
        "name": source.machine(),
        "label": source.label(),
        "imagined": [before, factor[factor.index(" ") :] + after],
        "origin": source.origin,
        "dtype": source.dtype,
        "gap_s": source.gap_s,
        "time_error": source.time_error,
        "time_scale": profile.time_scale,
        "batch_sizes": list(sizes),
        "bound": "".join((bound or "-")[0] for bound in bounds),
        "status": [profile.status(size) for size in sizes],
        "caution": [profile.caution(size) for size in sizes],
        "known": None if len(known) == profile.cuts else known.tolist(),
        "head_ns": heads[:, known].astype("<f8").tobytes(),
        "tail_ns": None if rest else tails[:, known].astype("<f8").tobytes(),
        "copies": None
        if copies is None
        else {
            "sizes_bytes": copies.sizes_bytes.tolist(),
            "to_host_ns": np.median(copies.to_host_ns, axis=1).tolist(),
            "to_device_ns": np.median(copies.to_device_ns, axis=1).tolist(),
        },
    }
