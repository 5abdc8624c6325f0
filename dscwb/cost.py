"""What every candidate split costs: a line T = a + s/r over the data rate r.

a holds everything that does not depend on the data rate: head, tail, round trip. s holds every bit
that must be sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dscwb.cuts import Cut, all_cuts, head_memory_bytes, resolved
from dscwb.graph import ModelGraph
from dscwb.profiles.records import Profile, ProfileError
from dscwb.scenario import Scenario
from dscwb.units import (
    AS_SENT,
    BITS_PER_BYTE,
    COMPLEX_DTYPES,
    DTYPE_BYTES,
    FULL_OFFLOADING,
    NO_OFFLOADING,
    Encoding,
    format_bytes,
    written_as,
)

Floats = NDArray[np.float64]


def checked_rates(data_rates_bps: ArrayLike) -> Floats:
    """Data rates as a row of floats.

    Raises:
        ValueError: A rate is not finite, or below zero; zero is a link that is down.
    """
    rates = np.atleast_1d(np.asarray(data_rates_bps, dtype=np.float64))
    wrong = rates[~(np.isfinite(rates) & (rates >= 0))]
    if rates.ndim != 1 or not rates.size:
        raise ValueError(f"data rates have shape {rates.shape}; give one row of bit/s.")
    if wrong.size:
        raise ValueError(
            f"Data rate {wrong[0]:g} bit/s; give finite rates, 0 for a link that is down."
        )
    return rates


def cost_at(intercepts: ArrayLike, slopes: ArrayLike, data_rates_bps: ArrayLike) -> Floats:
    """Cost of lines a + s/r, which broadcast with the rates.

    At r = 0, a link that is down, the limit: a where there is nothing to send, else infinite.
    """
    slope = np.asarray(slopes, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sending = np.where(slope == 0, 0.0, slope / np.asarray(data_rates_bps, dtype=np.float64))
    cost: Floats = np.asarray(intercepts, dtype=np.float64) + sending
    return cost


def gain(cost: Floats, baseline: Floats) -> Floats:
    """Relative gain (C_baseline - C) / C_baseline, never clipped (arXiv 2205.11269).

    Zero where both are equal, though they be zero, as energy may, or infinite; 1 over a baseline
    that never ends.
    """
    endless = np.isposinf(baseline)
    divisor = np.where(endless, 1.0, baseline)
    saved: Floats = np.asarray(divisor - np.where(endless, np.isposinf(cost), cost))
    gained: Floats = np.divide(saved, divisor, out=np.zeros_like(saved), where=saved != 0)
    return gained


@dataclass(frozen=True, eq=False)
class CostLines:
    """Latency of every candidate as a line, T = intercept_s + bits / r.

    Attributes:
        splits: The candidates, from full offloading to no offloading.
        batch_sizes: ``(batch,)``.
        head_s: Seconds on the device, slowdown included, ``(batch, split)``; NaN where it was not
            measured, or where the head does not fit into the device's memory.
        tail_s: Seconds on the server, load included, ``(batch, split)``.
        link_s: Seconds on the link beside the payload's own, ``(batch, split)``: round trip, the
            result's way back, and the payload's copies out of the device's accelerator and into
            the server's where these were measured; 0 where nothing is sent.
        wait_s: Mean seconds that a batch waits for its samples to arrive, ``(batch,)``.
        bits: Bits to send, ``(batch, split)``.
        interpolated: True where a profile has no times at this batch size itself, ``(batch,)``.
        too_large: True where the head does not fit into the device's memory, ``(batch, split)``.
    """

    splits: tuple[Cut, ...]
    batch_sizes: tuple[int, ...]
    head_s: Floats
    tail_s: Floats
    link_s: Floats
    wait_s: Floats
    bits: Floats
    interpolated: NDArray[np.bool_]
    too_large: NDArray[np.bool_]

    @property
    def intercept_s(self) -> Floats:
        """Seconds that do not depend on the data rate, ``(batch, split)``."""
        return self.wait_s[:, None] + self.head_s + self.link_s + self.tail_s

    @property
    def names(self) -> tuple[str, ...]:
        """What figures and tables call the candidates, ``(split,)``."""
        return tuple(split_name(cut) for cut in self.splits)

    def costs(self, scenario: Scenario) -> tuple[Floats, Floats]:
        """What the scenario's objective counts, as lines a + s/r, ``(batch, split)`` each.

        Seconds for latency. Joules for the device's energy (see `PowerModel`); the device does not
        draw them while it waits for a batch to fill.
        """
        if scenario.objective == "latency" or scenario.power is None:
            return self.intercept_s, self.bits
        power = scenario.power
        joules = power.compute_w * self.head_s + power.wait_w * (self.link_s + self.tail_s)
        return joules, power.send_w * self.bits


def split_name(cut: Cut) -> str:
    """``full offloading``, ``no offloading``, or the block or layer after which it is split."""
    return FULL_OFFLOADING if cut.is_input else NO_OFFLOADING if cut.is_output else cut.name


def cost_lines(
    edge: Profile, server: Profile, scenario: Scenario, batch_sizes: Sequence[int]
) -> CostLines:
    """The latency lines of all candidates that both profiles have times for.

    Between measured batch sizes times are interpolated linearly and marked; outside of them there
    is no data.

    Raises:
        ProfileError: The profiles are of different models, a batch size lies outside theirs, or no
            candidate is left.
        ValueError: The input encoding cannot hold the input.
    """
    check_same_model(edge, server)
    sizes = np.array(batch_sizes, dtype=np.int64)
    here, there = _common_candidates(edge.graph, server.graph, scenario)
    own, other = ([cut.index for cut in cuts] for cuts in (here, there))
    _check_input(edge.graph, here, scenario)
    heads = [_at_size(edge, edge.head_s, size)[own] for size in sizes.tolist()]
    tails = [_at_size(server, server.tail_s, size)[other] for size in sizes.tolist()]
    # Neither load nor slowdown: they are of the processors. Zero where nothing is sent.
    copies = [
        edge.to_host_s(size)[own] + server.to_device_s(size)[other] for size in sizes.tolist()
    ]
    too_large = _too_large(edge.graph, here, scenario, sizes)
    sent = np.array([not cut.is_output for cut in here])
    return CostLines(
        here,
        tuple(sizes.tolist()),
        head_s=np.where(too_large, np.nan, np.array(heads) * scenario.device_slowdown),
        tail_s=np.array(tails) * scenario.server_load,
        link_s=sent * _link_s(edge.graph, scenario, sizes)[:, None] + np.array(copies),
        wait_s=(sizes - 1) / (2 * (scenario.arrival_rate_hz or math.inf)),
        bits=_bits(here, scenario, sizes) + sent * scenario.link.overhead_bytes * BITS_PER_BYTE,
        interpolated=~np.isin(sizes, edge.batch_sizes) | ~np.isin(sizes, server.batch_sizes),
        too_large=too_large,
    )


def _common_candidates(
    edge: ModelGraph, server: ModelGraph, scenario: Scenario
) -> tuple[tuple[Cut, ...], tuple[Cut, ...]]:
    """The candidates as the two captures number them.

    Raises:
        ProfileError: The captures do not list the same ones.
    """
    here = _candidates(edge, scenario)
    there = here if server is edge else _candidates(server, scenario)
    if resolved(edge, scenario.granularity) != "op":
        # The older of two files may lack the narrow places.
        common = {cut.name for cut in here} & {cut.name for cut in there}
        here, there = (tuple(c for c in cuts if c.name in common) for cuts in (here, there))
    if [cut.name for cut in here] != [cut.name for cut in there]:
        raise ProfileError(
            "The two captures list different layers (other versions of torch, other element "
            "types?); use granularity='block' or capture both with one version."
        )
    for one, other in zip(here, there, strict=True):
        if one.elements() != other.elements():
            raise ProfileError(
                f"After {one.name!r} {one.elements():,} elements leave the edge's head, but the "
                f"server's tail takes {other.elements():,}; profile the same model on both."
            )
    return here, there


def written(cuts: Sequence[Cut], scenario: Scenario) -> tuple[str, str]:
    """How input and features of these cuts really go over the wire, in words.

    Empty for the input where it is not sent, and for features where no cut sends any.
    """
    given = {spec.dtype for cut in cuts if cut.is_input for spec in cut.frontier}
    inner = [cut for cut in cuts if not (cut.is_input or cut.is_output)]
    sent = {spec.dtype for cut in inner for spec in cut.frontier}
    return (
        written_as(given, scenario.input_encoding) if given else "",
        written_as(sent, scenario.feature_encoding) if sent else "",
    )


def holds_input(graph: ModelGraph, wire: Encoding) -> bool:
    """Whether this encoding can be applied to anything of the model's input.

    True too where the input was measured on the wire: there is nothing to apply any more.
    """
    kinds = [spec.dtype for spec in graph.sent]
    return AS_SENT in kinds or any(wire.bytes_of(kind) is not None for kind in kinds)


def _check_input(graph: ModelGraph, cuts: Sequence[Cut], scenario: Scenario) -> None:
    """Refuse an encoding that would only be named."""
    wire = scenario.input_encoding
    if not cuts[0].is_input or holds_input(graph, wire):
        return
    names = ", ".join(f"{spec.name}: {spec.dtype}" for spec in graph.sent)
    kinds = [spec.dtype for spec in graph.sent]
    narrower = "; int32, int16 or uint16 where every value fits into them"
    raise ValueError(
        f"The input encoding {wire.name} cannot hold the input of {graph.model!r} ({names}). Give "
        f"the input encoding {own_encoding(kinds)!r} to count what the model takes"
        f"{narrower * ('int64' in kinds)}."
    )


def own_encoding(dtypes: Iterable[str]) -> str:
    """Name of an encoding that holds all of these element types."""
    widest = max(dtypes, key=DTYPE_BYTES.__getitem__)
    if widest in COMPLEX_DTYPES:
        return {16: "float64", 8: "float32", 4: "float16"}[DTYPE_BYTES[widest]]
    return {"bool": "uint8", "uint32": "int64", "uint64": "int64"}.get(widest, widest)


def _candidates(graph: ModelGraph, scenario: Scenario) -> tuple[Cut, ...]:
    """Where the scenario lets the model be split, from input to output."""
    cuts = all_cuts(graph, scenario.granularity)
    depth = scenario.min_depth
    if depth > len(graph.blocks):
        raise ProfileError(
            f"min_depth is {depth}, but {graph.model!r} has {len(graph.blocks)} blocks; give fewer."
        )
    first = graph.blocks[depth - 1].end if depth else int(scenario.needs_a_head)
    return tuple(cut for cut in cuts if cut.index >= first)


def _too_large(
    graph: ModelGraph, cuts: tuple[Cut, ...], scenario: Scenario, batch_sizes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where the head does not fit under the scenario's cap, ``(batch, split)``."""
    cap = scenario.memory_cap_bytes
    if cap is None:
        return np.zeros((len(batch_sizes), len(cuts)), dtype=np.bool_)
    at = [cut.index for cut in cuts]
    needed = np.array([head_memory_bytes(graph, size)[at] for size in batch_sizes.tolist()])
    none_fits = (needed > cap).all(axis=1)
    if none_fits.any():
        row = int(np.argmax(none_fits))
        raise ProfileError(
            f"memory_cap_bytes is {format_bytes(cap)}, but at batch size {batch_sizes[row]} every "
            f"candidate's head needs {format_bytes(needed[row].min())} or more; raise the cap or "
            "allow full offloading."
        )
    return needed > cap


def _link_s(graph: ModelGraph, scenario: Scenario, batch_sizes: NDArray[np.int64]) -> Floats:
    """Round trip and the result's way back, ``(batch,)``."""
    link = scenario.link
    if link.downlink_bps is None:
        return np.full(len(batch_sizes), link.round_trip_s)
    back = set(graph.outputs) - set(graph.resident)
    results = [spec for spec in graph.tensors() if spec.name in back]
    sent = [sum(spec.nbytes(size) for spec in results) for size in batch_sizes.tolist()]
    return link.round_trip_s + np.array(sent) * BITS_PER_BYTE / link.downlink_bps


def check_same_model(edge: Profile, server: Profile) -> None:
    """Refuse to combine a head of one model with the tail of another.

    Raises:
        ProfileError: Names what differs.
    """
    a, b = edge.graph, server.graph
    if a.fingerprint() == b.fingerprint():
        return
    # Another element type has other operations, of which others are counted.
    types = [{spec.dtype for spec in graph.tensors()} for graph in (a, b)]
    alike = types[0] == types[1] and edge.provenance.dtype == server.provenance.dtype
    own, other = (
        {
            "models": graph.model,
            "inputs": [spec.shape for spec in graph.inputs],
            "blocks": [block.name for block in graph.blocks],
            "FLOPs": graph.flops if alike else 0,
        }
        for graph in (a, b)
    )
    for what, left in own.items():
        if left != other[what]:
            raise ProfileError(
                f"The profiles are of different {what}: {left} on the edge, {other[what]} on the "
                "server; profile the same model at the same input size on both."
            )
    if alike:
        raise ProfileError("The profiles are of different graphs; profile the same model on both.")


def _at_size(profile: Profile, times_s: Callable[[int], Floats], batch_size: int) -> Floats:
    """Seconds at each cut at a batch size, measured or in between, ``(cut,)``."""
    first, *more = neighbour_shares(profile, batch_size)
    seconds = first[1] * times_s(first[0])
    for size, share in more:
        seconds += share * times_s(size)
    return seconds


def neighbour_shares(profile: Profile, batch_size: int) -> tuple[tuple[int, float], ...]:
    """Measured batch sizes and the weights with which their times stand for this one.

    Itself alone, or the two next to it, between which times are interpolated linearly.

    Raises:
        ProfileError: The batch size lies outside the measured ones.
    """
    near, sizes = profile.neighbours(batch_size), profile.batch_sizes
    if batch_size in near:
        return ((batch_size, 1.0),)
    if len(near) < 2:
        raise ProfileError(
            f"No times at batch size {batch_size} for {profile.graph.model!r} on "
            f"{profile.provenance.device}: measured from {min(sizes, default=0)} to "
            f"{max(sizes, default=0)}; choose one in between or profile it."
        )
    low, high = near
    share = (batch_size - low) / (high - low)
    return ((low, 1 - share), (high, share))


def _bits(cuts: tuple[Cut, ...], scenario: Scenario, batch_sizes: NDArray[np.int_]) -> Floats:
    """Payload in bits, ``(batch, split)``."""

    def payload(batch_size: int) -> Floats:
        sizes = [
            cut.payload_bytes(
                scenario.feature_encoding, batch_size, input_encoding=scenario.input_encoding
            )
            for cut in cuts
        ]
        return np.array(sizes, dtype=np.float64) * BITS_PER_BYTE

    if any(len(spec.batch_axes) > 1 for cut in cuts for spec in cut.frontier):
        return np.array([payload(size) for size in batch_sizes.tolist()])
    one, two = payload(1), payload(2)  # all tensors grow linearly
    return one + (two - one) * (batch_sizes[:, None] - 1)
