"""Times of a model on a device that nobody measured, marked *modelled* for ever.

Per operation a roofline (Williams, Waterman, Patterson, CACM 2009, doi 10.1145/1498765.1498785)
with the share of the peak that its class of operations reaches, rough or fitted to measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

from dscwb.cuts import all_cuts, byte_terms
from dscwb.devices.datasheets import DEFAULT_EFFICIENCY, Device, Efficiency
from dscwb.devices.datasheets import device as device_named
from dscwb.graph import Layer, ModelGraph, TensorSpec
from dscwb.profiles.library import ProfileLike, as_profile, calibration
from dscwb.profiles.records import NS, Passes, Profile, Provenance, Seconds
from dscwb.units import COMPLEX_DTYPES, DTYPE_BYTES, FLOAT_DTYPES, encoding

Floats = NDArray[np.float64]
OpClass = Literal["dense", "depthwise", "product", "other"]
OP_CLASSES: tuple[OpClass, ...] = ("dense", "depthwise", "product", "other")
Bound = Literal["arithmetic", "memory"]
PROTOCOL = "roofline/2"
# These read as many bytes of their table as they write, not all of it.
_LOOKUPS = ("embedding", "index", "index_select", "gather")
# On a CPU an output above 32 MiB gets new pages every time: glibc's malloc maps it anew
# (DEFAULT_MMAP_THRESHOLD_MAX), and the first write to each page interrupts the program. A GPU's
# caching allocator keeps its memory.
_FRESH_ABOVE_BYTES = 32 * 2**20
# What launching a view costs the host of a GPU, as a share of any other operation: about 4 of 16 µs
# beside an H200, read off Swin and ConvNeXt at batch size 1.
_VIEW_LAUNCH = 0.25
# Of the fit, in the order of `_reached`; wide enough that only nonsense lies outside.
_BOUNDS = np.array([*[(1e-4, 1e2)] * 4, (1e-9, 1e-2), (1e7, 1e13), (1e-9, 1e-2)]).T
# Of models left out of a fit to their own machine: one and two threads of a server's CPU, and an
# NVIDIA H200 (`python -m benchmarks.model_error`).
FITTED_TIME_ERROR = {"cpu": 0.27, "gpu": 0.18}
_NOTICEABLE = 1e-3  # of a pass: layers that take less are timed too roughly to tell what they reach
_STAMPS_AT_MOST = 1.1  # stamped over plain passes; dearer stamps moved what they measured
_ODD_ABOVE = 0.3  # log ratio, about a third; classes off by more count less and less
_PULL = 1e-5  # towards the default: too weak to bias what the profiles show; holds what they do not


def op_classes(graph: ModelGraph) -> tuple[OpClass, ...]:
    """Class of each layer, which decides what share of the peak it reaches.

    A layer without FLOPs is ``other``; one with FLOPs that is no convolution a ``product``. A
    convolution does m = C_in / groups · k² multiply-adds for an element of its output, so it is
    ``dense`` where C_in divides m and ``depthwise`` (that is, grouped) where not. A depthwise
    kernel whose area is a multiple of C_in (3 by 3 over 9 channels) passes for dense; a
    transposed convolution is judged by its input's elements and C_out in place of C_in.
    """
    specs = {spec.name: spec for spec in graph.tensors()}

    def op_class(layer: Layer) -> OpClass:
        if not layer.flops:
            return "other"
        if "conv" not in layer.op or not layer.inputs:
            return "product"
        given, made = specs[layer.inputs[0]], layer.outputs[0]
        if "transpose" in layer.op:
            given, made = made, given
        dense = layer.flops % (2 * made.elements() * given.shape[1]) == 0
        return "dense" if dense else "depthwise"

    return tuple(map(op_class, graph.layers))


def queued(launch_s: Floats, kernel_s: Floats) -> Seconds:
    """Seconds that each layer adds to the time at which a GPU has finished it, ``(layer,)``.

    A host launches one kernel after the other and runs ahead; the GPU works them off in order:

        host_k = host_(k-1) + launch_k,    gpu_k = max(gpu_(k-1), host_k) + kernel_k
               = max over j ≤ k of (host_j + kernel_j + … + kernel_k)

    (a queue with one server: Lindley, Proc. Camb. Phil. Soc. 48, 1952). Launches of no time give
    the sum of the kernels, kernels of no time that of the launches; where the GPU gets ready just
    when the next launch arrives, either term gives the same.
    """
    launched, worked = np.cumsum(launch_s), np.cumsum(kernel_s)
    finished = np.maximum.accumulate(launched - (worked - kernel_s)) + worked
    added: Seconds = np.diff(finished, prepend=0.0)
    return added


class _Ideal(NamedTuple):
    """What layers would cost if they reached the whole peak; arrays are ``(layer,)``."""

    op_class: NDArray[np.int64]  # index into `OP_CLASSES`
    compute_s: Floats  # FLOPs over peak
    memory_s: Floats  # bytes moved over bandwidth
    launches: Floats  # operations launched: 1, on a GPU less for a view
    fresh_bytes: Floats  # bytes of outputs that get new pages
    # At the worst moment: all weights, what is alive before a layer, and its outputs. An upper
    # estimate: shared weights and what is written in place count twice.
    in_use_bytes: float
    gpu: bool  # which works off what a host launches

    def seconds(self, reached: Floats) -> Seconds:
        """Seconds that each layer adds; `reached` as `_reached` orders it."""
        compute = np.append(reached[:3], 1.0)  # "other" has no FLOPs
        memory, overhead_s, first_touch, kernel_s = reached[3:]
        work: Seconds = np.maximum(self.compute_s / compute[self.op_class], self.memory_s / memory)
        launch_s = overhead_s * self.launches
        if self.gpu:
            return queued(launch_s, work + kernel_s * (self.memory_s > 0))  # a view has no kernel
        work += launch_s + self.fresh_bytes / first_touch
        return work


def _reached(efficiency: Efficiency, device: Device) -> Floats:
    """Shares of FLOP/s by class and of bandwidth, seconds a launch, bytes/s of touch, kernel_s."""
    overhead_s = efficiency.overhead_s
    known = device.assumed_overhead_s if overhead_s is None else overhead_s
    return np.array(astuple(replace(efficiency, overhead_s=known))[:7])


def _ideals(
    graph: ModelGraph, device: Device, batch_sizes: Iterable[int], dtype: str
) -> list[_Ideal]:
    if dtype not in device.peak_flop_per_s:
        stated = ", ".join(device.peak_flop_per_s)
        raise ValueError(f"No peak is stated for {dtype} on {device.name}; it has {stated}.")
    unknown = dict.fromkeys(layer.op for layer in graph.layers if layer.flops is None)
    if unknown:
        raise ValueError(
            f"Nobody knows the FLOPs of {', '.join(unknown)} in {graph.model!r}, so its times "
            "cannot be modelled; measure them on the device with dscwb.profile."
        )
    gpu, peak = device.kind == "gpu", device.peak_flop_per_s[dtype]
    return [
        _Ideal(
            one.op_class,
            one.flops / peak,
            np.where(one.view, 0.0, one.moved) / device.bandwidth_bytes_per_s,
            np.where(one.view & gpu, _VIEW_LAUNCH, 1.0),
            np.where(one.fresh & ~one.view & (not gpu), one.written, 0.0),
            one.in_use_bytes,
            gpu,
        )
        for one in _traffic(graph, tuple(batch_sizes), dtype)
    ]


class _Traffic(NamedTuple):
    """What a model's layers do at a batch size on any device; arrays are ``(layer,)``."""

    op_class: NDArray[np.int64]
    flops: Floats
    moved: Floats  # bytes read and written
    written: Floats  # bytes of outputs
    view: NDArray[np.bool_]  # moves nothing
    fresh: NDArray[np.bool_]  # makes large outputs
    in_use_bytes: float


@lru_cache(maxsize=16)  # a hand goes from device to device of the same model
def _traffic(graph: ModelGraph, batch_sizes: tuple[int, ...], dtype: str) -> tuple[_Traffic, ...]:
    layers, specs = graph.layers, {spec.name: spec for spec in graph.tensors()}
    floats, wire = (*FLOAT_DTYPES, *COMPLEX_DTYPES), encoding(dtype)  # integers stay what they are

    def terms(groups: Iterable[Sequence[TensorSpec]]) -> Floats:
        """Bytes of each layer's group in this element type, as `byte_terms`."""
        return byte_terms(
            list(groups), lambda one: one.nbytes(1, wire if one.dtype in floats else None)
        )

    all_read = terms([specs[name] for name in layer.inputs] for layer in layers)
    all_written = terms(layer.outputs for layer in layers)
    all_alive = terms(cut.frontier for cut in all_cuts(graph)[:-1])
    # Of weights in another element type; the captured one is that of the layer's output.
    size, own = wire.bytes_per_element, [layer.outputs[0].dtype for layer in layers]
    scale = np.array([size / DTYPE_BYTES[one] if one in FLOAT_DTYPES else 1.0 for one in own])
    weights = np.array([layer.weight_bytes for layer in layers]) * scale
    # Graphs of torch 2.11 do not say that dropout only passes its input on.
    view = np.array([bool(layer.view_of) or layer.op == "dropout" for layer in layers])
    looks_up = np.array([layer.op in _LOOKUPS for layer in layers])
    in_place = np.array([layer.op.endswith("_") for layer in layers])
    grows = np.array([any(spec.batch_axes for spec in layer.outputs) for layer in layers])
    flops = np.array([float(layer.flops or 0) for layer in layers])
    classes = np.array([OP_CLASSES.index(name) for name in op_classes(graph)], dtype=np.int64)

    def at(batch_size: int) -> _Traffic:
        read, written, alive = (
            np.asarray(polyval(batch_size, one)) for one in (all_read, all_written, all_alive)
        )
        moved = read + written + np.minimum(weights, np.where(looks_up, written, np.inf))
        made = np.where(view, 0.0, written)
        return _Traffic(
            classes,
            flops * np.where(grows, batch_size, 1),
            moved,
            written,
            view,
            (written > _FRESH_ABOVE_BYTES) & ~in_place,
            float(np.max(alive + made, initial=0.0) + weights.sum()),
        )

    return tuple(map(at, batch_sizes))


def model_profile(
    graph: ModelGraph,
    device: Device | str,
    batch_sizes: Iterable[int],
    *,
    dtype: str = "float32",
    efficiency: Efficiency | None = None,
) -> Profile:
    """Times of a model on a device that was never measured, from its datasheet.

    Each layer, run on its own and unfused, works for

        w(B) = max(B · flops / (peak · e_compute),
                   (weights + B · activations) / (bandwidth · e_memory)) + fresh / touch

    seconds, with its class's share e_compute (see `op_classes`). Activations are the bytes that it
    reads and writes, in `dtype` where they are floating-point; a tensor without a batch axis does
    not grow with B; a view moves nothing. Fresh are the bytes of an output above 32 MiB on a CPU,
    0 elsewhere. A CPU takes w + overhead for each layer one after the other, since the framework
    runs in the same thread. On a GPU launching (overhead, a quarter of it for a view) and working
    (w + kernel, nothing for a view) overlap as in `queued`.

    Args:
        graph: The model.
        device: A record, or a name of the catalogue.
        batch_sizes: Samples in one pass; where weights and activations do not fit into the
            device's memory the row is ``oom``.
        dtype: Element type of weights and activations, one that the device has a peak for.
        efficiency: Shares of the peak; `DEFAULT_EFFICIENCY` of the device's kind if left out.

    Returns:
        One noiseless pass for each batch size, of origin ``modelled``.

    Raises:
        ValueError: Unknown device, no peak stated for `dtype`, FLOPs that nobody knows, or a batch
            size below 1.
    """
    found = device_named(device)
    sizes = sorted(set(batch_sizes))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"batch_sizes is {sizes}; give whole numbers from 1.")
    used = efficiency or DEFAULT_EFFICIENCY[found.kind]
    provenance = Provenance(
        "modelled",
        found.name,
        dtype=dtype,
        protocol=PROTOCOL,
        note=f"roofline from {found.source}; {used}",
        time_error=used.time_error,
    )
    passes, reached = [], _reached(used, found)
    for size, ideal in zip(sizes, _ideals(graph, found, sizes, dtype), strict=True):
        stamps = np.cumsum(np.append(0.0, ideal.seconds(reached)))
        fits = ideal.in_use_bytes <= found.memory_bytes
        stamped_ns = np.rint(stamps / NS).astype(np.int64)[None][: int(fits)]
        passes.append(Passes(size, stamped_ns[:, -1], stamped_ns, oom=not fits))
    return Profile(graph, provenance, tuple(passes))


def bound_by(profile: Profile, ends: Sequence[int]) -> tuple[Bound | None, ...]:
    """Whether arithmetic or memory binds each part of a model on the profile's own machine.

    An empirical roofline at the largest batch size: its ceilings are the most FLOP/s and the most
    bytes/s that any layer of the profile reached. A part is bound by what would take it longer if
    all its layers reached these.

    Args:
        profile: Of any origin.
        ends: Cuts between which the parts lie, ascending, ``(part + 1,)``.

    Returns:
        ``(part,)``; None for a part that neither computes nor moves anything, and for all where
        a layer has no time or FLOPs that nobody knows.
    """
    graph, dtype = profile.graph, profile.provenance.dtype
    times = np.diff(profile.head_s(profile.batch_sizes[-1])) if profile.batch_sizes else np.empty(0)
    known = np.isfinite(times).all() and times.size and dtype in FLOAT_DTYPES
    if not known or graph.flops is None:
        return (None,) * (len(ends) - 1)
    unit = Device("unit", "cpu", {dtype: 1.0}, 1.0, 1.0, 1.0, "FLOPs and bytes themselves")
    (ideal,) = _ideals(graph, unit, profile.batch_sizes[-1:], dtype)
    work, timed = np.stack([ideal.compute_s, ideal.memory_s]), times > _NOTICEABLE * times.sum()
    ceilings = (work[:, timed] / times[timed]).max(axis=1, keepdims=True, initial=0.0)
    needed = np.divide(work, ceilings, out=np.zeros_like(work), where=ceilings > 0)
    sums = np.diff(np.cumsum(np.pad(needed, ((0, 0), (1, 0))), axis=1)[:, list(ends)])
    return tuple(
        None if not computing + moving else "arithmetic" if computing >= moving else "memory"
        for computing, moving in sums.T.tolist()
    )


def fit_efficiency(profiles: Sequence[ProfileLike], device: Device | str) -> Efficiency:
    """Shares of the peak and overhead from profiles measured on one device.

    Small becomes the sum, over every profile and batch size, of log(modelled / measured seconds)²:
    of the whole model, and of each class of operations, weighted with its share of the model's
    time, so that the sums come right of which heads are made, rather than each small operation.
    The loss (soft L1) lets an odd one count less. What the profiles do not determine stays at
    `DEFAULT_EFFICIENCY`. The known error is that of such fits at models left out.

    Args:
        profiles: Measured on the device, with stamped passes; those whose stamps cost more than a
            tenth of a pass are left out, since they moved what they measured.
        device: What the shares are shares of.

    Raises:
        ValueError: A profile was not measured, or none has stamped passes.
    """
    from scipy.optimize import least_squares

    found = device_named(device)
    default = DEFAULT_EFFICIENCY[found.kind]
    start = np.log(np.clip(_reached(default, found), *_BOUNDS))
    errors = _log_errors([as_profile(one) for one in profiles], found)

    def residuals(log_reached: Floats) -> Floats:
        return np.concatenate([errors(log_reached), _PULL * (log_reached - start)])

    bounds = np.log(_BOUNDS)
    fit = least_squares(residuals, start, bounds=bounds, loss="soft_l1", f_scale=_ODD_ABOVE)
    fitted = replace(
        Efficiency(*np.exp(fit.x).tolist()),
        origin=f"fitted to {len(profiles)} measured profiles",
        time_error=FITTED_TIME_ERROR[found.kind],
    )
    if found.kind == "cpu":
        return replace(fitted, kernel_s=0.0)
    return replace(fitted, first_touch_bytes_per_s=math.inf)


def _log_errors(profiles: Sequence[Profile], device: Device) -> Callable[[Floats], Floats]:
    """The function of log(reached) that `fit_efficiency` makes small, ``(error,)``."""
    for one in profiles:
        if one.provenance.origin != "measured":
            raise ValueError(
                f"The profile of {one.graph.model!r} is {one.provenance.origin}, not measured; a "
                "fit to it would only look like evidence. Give profiles measured on the device."
            )
    passes = [
        (one, size)
        for one in profiles
        for size in one.batch_sizes
        if np.isfinite(one.head_s(size)).all() and calibration(one, size)[0] <= _STAMPS_AT_MOST
    ]
    if not passes:
        raise ValueError(
            "No stamped passes in the profiles, or only dear ones; measure larger batch sizes with "
            "dscwb.profile, at which stamps cost less."
        )
    ideals = [
        ideal
        for p, size in passes
        for ideal in _ideals(p.graph, device, [size], p.provenance.dtype)
    ]
    classes = len(OP_CLASSES)
    group = np.concatenate([n * classes + ideal.op_class for n, ideal in enumerate(ideals)])

    def by_class(seconds: Iterable[Seconds]) -> Seconds:
        every = np.concatenate(list(seconds))
        sums = np.bincount(group, every, classes * len(passes)).astype(np.float64)
        return sums.reshape(-1, classes)

    measured = by_class(np.diff(p.head_s(size)) for p, size in passes)
    total = measured.sum(axis=1)
    used = (measured > 0) & (by_class(ideal.memory_s for ideal in ideals) > 0)
    weight = np.sqrt(measured / total[:, None])[used]

    def errors(log_reached: Floats) -> Floats:
        reached = np.exp(log_reached)
        modelled = by_class(ideal.seconds(reached) for ideal in ideals)
        of_classes = weight * np.log(modelled[used] / measured[used])
        return np.concatenate([of_classes, np.log(modelled.sum(axis=1) / total)])

    return errors
