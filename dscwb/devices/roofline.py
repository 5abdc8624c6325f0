"""Modelled times: a graph and a `Device` go in, a `Profile` marked *modelled* for ever comes out.

Per operation a roofline (Williams, Waterman, Patterson, CACM 2009, doi 10.1145/1498765.1498785)
with the share of the peak that its class of operations reaches, rough or fitted to measurements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import all_cuts
from dscwb.devices.datasheets import DEFAULT_EFFICIENCY, Device, Efficiency
from dscwb.devices.datasheets import device as device_named
from dscwb.graph import Layer, ModelGraph, TensorSpec
from dscwb.profiles.records import NS, Passes, Profile, Provenance, Seconds
from dscwb.units import DTYPE_BYTES, FLOAT_DTYPES, Encoding, encoding

Floats = NDArray[np.float64]
Frontier = tuple[TensorSpec, ...]
OpClass = Literal["dense", "depthwise", "product", "other"]
OP_CLASSES: tuple[OpClass, ...] = ("dense", "depthwise", "product", "other")
PROTOCOL = "roofline/1"
# These read as many bytes of their table as they write, not all of it.
_LOOKUPS = ("embedding", "index", "index_select", "gather")
# On a CPU an output above 32 MiB gets new pages every time: glibc's malloc maps it anew
# (DEFAULT_MMAP_THRESHOLD_MAX), and the first write to each page interrupts the program. A GPU's
# caching allocator keeps its memory.
_FRESH_ABOVE_BYTES = 32 * 2**20
# Of the fit; wide enough that only nonsense lies outside.
_SHARE_BOUNDS = (1e-4, 1e2)
_OVERHEAD_BOUNDS_S = (1e-9, 1e-2)
_FIRST_TOUCH_BOUNDS = (1e7, 1e13)  # bytes/s
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
    return tuple(_op_class(layer, specs) for layer in graph.layers)


def _op_class(layer: Layer, specs: Mapping[str, TensorSpec]) -> OpClass:
    if not layer.flops:
        return "other"
    if "conv" not in layer.op or not layer.inputs:
        return "product"
    given, made = specs[layer.inputs[0]], layer.outputs[0]
    if "transpose" in layer.op:
        given, made = made, given
    dense = layer.flops % (2 * made.elements() * given.shape[1]) == 0
    return "dense" if dense else "depthwise"


@dataclass(frozen=True, eq=False)
class _Ideal:
    """What layers would cost if they reached the whole peak; all ``(layer,)``.

    Attributes:
        op_class: Index into `OP_CLASSES`.
        compute_s: FLOPs over peak.
        memory_s: Bytes moved over bandwidth.
        launches: Operations launched: 1, on a GPU 0 for a view.
        fresh_bytes: Bytes of outputs that get new pages.
    """

    op_class: NDArray[np.int64]
    compute_s: Floats
    memory_s: Floats
    launches: Floats
    fresh_bytes: Floats

    def seconds(self, reached: Floats) -> Seconds:
        """Seconds of each layer; `reached` as `_reached` orders it."""
        compute = np.append(reached[:3], 1.0)  # "other" has no FLOPs
        memory, overhead_s, first_touch = reached[3:]
        work: Seconds = np.maximum(self.compute_s / compute[self.op_class], self.memory_s / memory)
        work += overhead_s * self.launches + self.fresh_bytes / first_touch
        return work


def _reached(efficiency: Efficiency, device: Device) -> Floats:
    """Shares of the FLOP/s by class, of the bandwidth, seconds an operation, bytes/s of touch."""
    e, given = efficiency, efficiency.overhead_s
    overhead_s = device.assumed_overhead_s if given is None else given
    touch = e.first_touch_bytes_per_s
    return np.array([e.dense, e.depthwise, e.product, e.memory, overhead_s, touch])


def _ideal(graph: ModelGraph, device: Device, batch_size: int, dtype: str) -> _Ideal:
    if dtype not in device.peak_flop_per_s:
        stated = ", ".join(device.peak_flop_per_s)
        raise ValueError(f"No peak is stated for {dtype} on {device.name}; it has {stated}.")
    specs = {spec.name: spec for spec in graph.tensors()}
    wire, layers = encoding(dtype), graph.layers
    grows = np.array([any(spec.batch_axes for spec in layer.outputs) for layer in layers])
    moved = [_moved_bytes(layer, specs, batch_size, wire) for layer in layers]
    views = np.array([layer.view_of is not None for layer in layers])
    fresh = [0.0 if device.kind == "gpu" else _fresh_bytes(x, batch_size, wire) for x in layers]
    flops = np.array([float(layer.flops) for layer in layers]) * np.where(grows, batch_size, 1)
    return _Ideal(
        np.array([OP_CLASSES.index(name) for name in op_classes(graph)], dtype=np.int64),
        flops / device.peak_flop_per_s[dtype],
        np.array(moved) / device.bandwidth_bytes_per_s,
        np.where(views & (device.kind == "gpu"), 0.0, 1.0),
        np.array(fresh),
    )


def _moved_bytes(
    layer: Layer, specs: Mapping[str, TensorSpec], batch_size: int, wire: Encoding
) -> float:
    """Bytes read and written: weights once, activations for every sample, none for a view."""
    if layer.view_of is not None:
        return 0.0
    read = sum(specs[name].nbytes(batch_size, wire) for name in layer.inputs)
    written, weights = _written_bytes(layer, batch_size, wire), _weight_bytes(layer, wire)
    return read + written + (min(weights, written) if layer.op in _LOOKUPS else weights)


def _written_bytes(layer: Layer, batch_size: int, wire: Encoding) -> float:
    return sum(spec.nbytes(batch_size, wire) for spec in layer.outputs)


def _fresh_bytes(layer: Layer, batch_size: int, wire: Encoding) -> float:
    """Bytes of its outputs that are too large for memory used before; 0 for a view or in place."""
    if layer.view_of is not None or layer.op.endswith("_"):
        return 0.0
    written = _written_bytes(layer, batch_size, wire)
    return written if written > _FRESH_ABOVE_BYTES else 0.0


def _weight_bytes(layer: Layer, wire: Encoding) -> float:
    """Bytes of its weights in another element type; the captured one is that of its output."""
    captured = layer.outputs[0].dtype
    scale = wire.bytes_per_element / DTYPE_BYTES[captured] if captured in FLOAT_DTYPES else 1.0
    return layer.weight_bytes * scale


def _memory_bytes(
    graph: ModelGraph, frontiers: Sequence[Frontier], batch_size: int, wire: Encoding
) -> float:
    """Bytes in use at the worst moment: all weights, what is alive before a layer, and its outputs.

    An upper estimate: shared weights count twice, and so does a tensor written in place.
    """
    worst = 0.0
    for frontier, layer in zip(frontiers, graph.layers, strict=False):
        alive = sum(spec.nbytes(batch_size, wire) for spec in frontier)
        made = 0.0 if layer.view_of else _written_bytes(layer, batch_size, wire)
        worst = max(worst, alive + made)
    return worst + sum(_weight_bytes(layer, wire) for layer in graph.layers)


def model_profile(
    graph: ModelGraph,
    device: Device | str,
    batch_sizes: Iterable[int],
    *,
    dtype: str = "float32",
    efficiency: Efficiency | None = None,
) -> Profile:
    """Times of a model on a device that was never measured, from its datasheet.

    Each layer, run on its own and unfused, takes

        t(B) = max(B · flops / (peak · e_compute),
                   (weights + B · activations) / (bandwidth · e_memory)) + overhead + fresh / touch

    seconds, with its class's share e_compute (see `op_classes`); the model takes their sum.
    Activations are the bytes that it reads and writes, in `dtype` where they are floating-point;
    a tensor without a batch axis does not grow with B. Fresh are the bytes of an output above
    32 MiB on a CPU, 0 elsewhere. A view moves nothing: it costs the overhead on a CPU, where the
    framework runs in the same thread, and nothing on a GPU, where it launches no kernel. Launches
    that overlap with kernels are not modelled: for large batches on a GPU the sum is high by up to
    the overheads.

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
        ValueError: Unknown device, no peak stated for `dtype`, or a batch size below 1.
    """
    found = device_named(device) if isinstance(device, str) else device
    sizes = sorted(set(batch_sizes))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"batch_sizes is {sizes}; give whole numbers from 1.")
    used = efficiency or DEFAULT_EFFICIENCY[found.kind]
    note = f"roofline from {found.source}; {used}"
    provenance = Provenance("modelled", found.name, dtype=dtype, protocol=PROTOCOL, note=note)
    reached, wire = _reached(used, found), encoding(dtype)
    frontiers = [cut.frontier for cut in all_cuts(graph, "op")]
    passes = []
    for size in sizes:
        seconds = _ideal(graph, found, size, dtype).seconds(reached)
        fits = _memory_bytes(graph, frontiers, size, wire) <= found.memory_bytes
        passes.append(_noiseless(size, seconds) if fits else _out_of_memory(size, seconds))
    return Profile(graph, provenance, tuple(passes))


def _noiseless(batch_size: int, seconds: Seconds) -> Passes:
    stamps = np.rint(np.cumsum([0.0, *seconds]) / NS).astype(np.int64)
    return Passes(batch_size, stamps[-1:], stamps[None, :])


def _out_of_memory(batch_size: int, seconds: Seconds) -> Passes:
    none = np.zeros((0, len(seconds) + 1), dtype=np.int64)
    return Passes(batch_size, none[:, 0], none, oom=True)


def suggested_name(profile: Profile) -> str:
    """File name that says where the times come from: ``resnet50-t4-float32-modelled.parquet``."""
    source = profile.provenance
    parts = (profile.graph.model, source.device, source.dtype, source.origin)
    return "-".join(re.sub(r"[^\w.]+", "-", part.lower()).strip("-") for part in parts) + ".parquet"


def fit_efficiency(profiles: Sequence[Profile], device: Device | str) -> Efficiency:
    """Shares of the peak and overhead from profiles measured on one device.

    Small becomes the sum, over every profile, batch size and class of operations, of
    log(modelled / measured seconds)², weighted with the class's share of the model's time: so
    that the sums come right of which heads are made, rather than each small operation. The loss
    (soft L1) lets an odd class count less. What the profiles do not determine stays at
    `DEFAULT_EFFICIENCY`.

    Args:
        profiles: Measured on the device, with stamped passes.
        device: What the shares are shares of.

    Raises:
        ValueError: A profile was not measured, or none has stamped passes.
    """
    from scipy.optimize import least_squares

    found = device_named(device) if isinstance(device, str) else device
    default = DEFAULT_EFFICIENCY[found.kind]
    bounds = np.log([*[_SHARE_BOUNDS] * 4, _OVERHEAD_BOUNDS_S, _FIRST_TOUCH_BOUNDS])
    start = np.clip(np.log(_reached(default, found)), *bounds.T)
    errors = _log_errors(profiles, found)

    def residuals(log_reached: Floats) -> Floats:
        return np.concatenate([errors(log_reached), _PULL * (log_reached - start)])

    fit = least_squares(residuals, start, bounds=bounds.T, loss="soft_l1", f_scale=_ODD_ABOVE)
    dense, depthwise, product, memory, overhead_s, first_touch = np.exp(fit.x).tolist()
    return Efficiency(
        dense,
        depthwise,
        product,
        memory,
        overhead_s=overhead_s,
        first_touch_bytes_per_s=first_touch if found.kind == "cpu" else math.inf,
        origin=f"fitted to {len(profiles)} measured profiles",
    )


def _log_errors(profiles: Sequence[Profile], device: Device) -> Callable[[Floats], Floats]:
    """The function of log(reached) that `fit_efficiency` makes small, ``(pass and class,)``."""
    passes = [(profile, size) for profile in profiles for size in _stamped_sizes(profile)]
    if not passes:
        raise ValueError("No stamped passes in the profiles; measure them with dscwb.profile.")
    ideals = [_ideal(p.graph, device, size, p.provenance.dtype) for p, size in passes]
    together = _Ideal(
        *(np.concatenate([getattr(i, field.name) for i in ideals]) for field in fields(_Ideal))
    )
    classes = len(OP_CLASSES)
    group = np.concatenate([n * classes + ideal.op_class for n, ideal in enumerate(ideals)])
    took = np.concatenate([np.diff(p.head_s(size)) for p, size in passes])
    measured = np.bincount(group, took, minlength=classes * len(passes))
    total = np.repeat(measured.reshape(-1, classes).sum(axis=1), classes)
    costs = np.bincount(group, together.memory_s + together.launches, minlength=len(measured))
    used = (measured > 0) & (costs > 0)
    weight = np.sqrt(measured / total)[used]

    def errors(log_reached: Floats) -> Floats:
        seconds = together.seconds(np.exp(log_reached))
        modelled = np.bincount(group, seconds, minlength=len(measured))
        weighted: Floats = weight * np.log(modelled[used] / measured[used])
        return weighted

    return errors


def _stamped_sizes(profile: Profile) -> list[int]:
    if profile.provenance.origin != "measured":
        raise ValueError(
            f"The profile of {profile.graph.model!r} is {profile.provenance.origin}, not measured; "
            "a fit to it would only look like evidence."
        )
    return [size for size in profile.batch_sizes if np.isfinite(profile.head_s(size)).all()]
