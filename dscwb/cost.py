"""What every candidate split costs: a line T = a + s/r over the data rate r.

a holds everything that does not depend on the data rate: head, tail, round trip. s holds every bit
that must be sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

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
    encoding,
    format_bytes,
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

    @cached_property
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
    here, there = _common_candidates(edge.graph, server.graph, scenario)
    graph, link, sizes = edge.graph, scenario.link, np.array(batch_sizes, dtype=np.int64)
    wire = scenario.input_encoding
    if here[0].is_input and (better := fitting(graph, wire)) != wire:
        names = ", ".join(f"{spec.name}: {spec.dtype}" for spec in graph.sent)
        narrower = "; int32, int16 or uint16 where every value fits into them"
        raise ValueError(
            f"The input encoding {wire.name} cannot hold the input of {graph.model!r} ({names}). "
            f"Give the input encoding {better.name!r} to count what the model takes"
            f"{narrower * (better.name == 'int64')}."
        )
    own, other = ([cut.index for cut in cuts] for cuts in (here, there))
    # Copies know neither load nor slowdown: these are of the processors.
    heads, tails, copies = (np.empty((len(sizes), len(here))) for _ in range(3))
    for row, size in enumerate(sizes.tolist()):
        heads[row] = _between(edge, edge.head_s, size)[own]
        tails[row] = _between(server, server.tail_s, size)[other]
        copies[row] = edge.to_host_s(size)[own] + server.to_device_s(size)[other]
    too_large = _too_large(graph, here, scenario, sizes)
    back = [one for one in graph.tensors() if one.name in {*graph.outputs} - {*graph.resident}]
    result = np.array([sum(spec.nbytes(size) for spec in back) for size in sizes.tolist()])
    result_s = result * BITS_PER_BYTE / (link.downlink_bps or math.inf)
    sent = np.array([not cut.is_output for cut in here])
    return CostLines(
        here,
        tuple(sizes.tolist()),
        head_s=np.where(too_large, np.nan, heads * scenario.device_slowdown),
        tail_s=tails * scenario.server_load,
        link_s=sent * (link.round_trip_s + result_s)[:, None] + copies,
        wait_s=(sizes - 1) / (2 * (scenario.arrival_rate_hz or math.inf)),
        bits=_bits(here, scenario, sizes) + sent * link.overhead_bytes * BITS_PER_BYTE,
        interpolated=~np.isin(sizes, edge.batch_sizes) | ~np.isin(sizes, server.batch_sizes),
        too_large=too_large,
    )


def _common_candidates(
    edge: ModelGraph, server: ModelGraph, scenario: Scenario
) -> tuple[tuple[Cut, ...], tuple[Cut, ...]]:
    """Where the scenario lets the model be split, as the two captures number these cuts.

    Raises:
        ProfileError: Fewer blocks than wanted, or the captures do not list the same cuts.
    """
    depth, both = scenario.min_depth, []
    for graph in (edge, server):
        if depth > len(graph.blocks):
            raise ProfileError(
                f"min_depth is {depth}, but {graph.model!r} has {len(graph.blocks)} blocks; give "
                "fewer."
            )
        first = graph.blocks[depth - 1].end if depth else int(scenario.private_input)
        both.append([one for one in all_cuts(graph, scenario.granularity) if one.index >= first])
    if resolved(edge, scenario.granularity) != "op":
        # The older of two files may lack the narrow places.
        common = set.intersection(*({cut.name for cut in cuts} for cuts in both))
        both = [[cut for cut in cuts if cut.name in common] for cuts in both]
    here, there = both
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
    return tuple(here), tuple(there)


def fitting(graph: ModelGraph, wire: Encoding) -> Encoding:
    """This encoding if it can be applied to anything of the model's input, else the input's own.

    It can too where the input was measured on the wire: there is nothing to apply any more.
    """
    kinds = [spec.dtype for spec in graph.sent]
    if AS_SENT in kinds or any(wire.bytes_of(kind) is not None for kind in kinds):
        return wire
    widest = max(kinds, key=DTYPE_BYTES.__getitem__)
    if widest in COMPLEX_DTYPES:
        return encoding({16: "float64", 8: "float32", 4: "float16"}[DTYPE_BYTES[widest]])
    return encoding({"bool": "uint8", "uint32": "int64", "uint64": "int64"}.get(widest, widest))


def _too_large(
    graph: ModelGraph, cuts: tuple[Cut, ...], scenario: Scenario, batch_sizes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where the head does not fit under the scenario's cap, ``(batch, split)``."""
    cap = scenario.memory_cap_bytes
    if cap is None:
        return np.zeros((len(batch_sizes), len(cuts)), dtype=np.bool_)
    at = [cut.index for cut in cuts]
    needed = np.array([head_memory_bytes(graph, size)[at] for size in batch_sizes.tolist()])
    for size, least in zip(batch_sizes.tolist(), needed.min(axis=1).tolist(), strict=True):
        if least > cap:
            raise ProfileError(
                f"memory_cap_bytes is {format_bytes(cap)}, but at batch size {size} every "
                f"candidate's head needs {format_bytes(least)} or more; raise the cap or allow "
                "full offloading."
            )
    return needed > cap


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


def _between(profile: Profile, times_s: Callable[[int], Floats], batch_size: int) -> Floats:
    """Seconds at each cut at a batch size, measured or in between, ``(cut,)``."""
    parts = [share * times_s(size) for size, share in neighbour_shares(profile, batch_size)]
    seconds: Floats = np.sum(parts, axis=0)
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


def _bits(cuts: tuple[Cut, ...], scenario: Scenario, batch_sizes: NDArray[np.int64]) -> Floats:
    """Payload in bits, ``(batch, split)``."""
    linear = all(len(spec.batch_axes) < 2 for cut in cuts for spec in cut.frontier)
    encodings = scenario.feature_encoding, scenario.input_encoding
    sizes = [1, 2] if linear else batch_sizes.tolist()
    bits = (
        np.array(
            [
                [cut.payload_bytes(encodings[0], n, input_encoding=encodings[1]) for cut in cuts]
                for n in sizes
            ],
            dtype=np.float64,
        )
        * BITS_PER_BYTE
    )
    return bits[0] + (bits[1] - bits[0]) * (batch_sizes[:, None] - 1) if linear else bits
