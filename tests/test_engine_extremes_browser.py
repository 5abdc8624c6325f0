"""The browser against Python where models, times and links are as odd as they may be."""

from dataclasses import replace

import numpy as np
import pytest

from dscwb import units
from dscwb.envelope import lower_envelope
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.imported import profile_from_csv
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import Passes, Profile, Provenance, Separate
from dscwb.profiles.transfers import Transfers
from dscwb.study.study import BASELINES
from dscwb.workbench.state import State
from tests.both_sides import BothSides
from tests.lab import chromium_page
from tests.scripts import ENGINE
from tests.test_imported import TABLE, written
from tests.tiny import profile_of, tiny_graph

pytestmark = pytest.mark.browser

MS = 1_000_000
RATES = (0.0, 1e-3, 1e4, 1.6e5, 1e10, 1e15)
SCENARIOS = (
    {},
    {"granularity": "op", "feature_encoding": "int4", "round_trip_s": 0.01, "overhead_bytes": 33},
    {"granularity": "block", "input_encoding": "uint8", "feature_encoding": "int8"},
    {"granularity": "compressive", "private_input": True, "downlink_bps": 1e6},
    {"input_encoding": "jpeg 7:1", "feature_encoding": "jpeg 3:1", "arrival_rate_hz": 3.0},
    {"input_encoding": "int64", "feature_encoding": "float16", "min_depth": 2},
    {"input_encoding": "int16", "memory_cap_bytes": 2500.0},
    {"memory_cap_bytes": 1.0, "private_input": True},
    {"objective": "energy", "send_w": 0.0},
    {"objective": "energy", "compute_w": 0.0, "send_w": 0.0, "wait_w": 0.0},
    {"objective": "energy", "server_load": 1000.0, "min_depth": 99},
)


def spec(name, *shape, axes=(0,), dtype="float32"):
    return TensorSpec(name, (1, *shape), axes, dtype)


def odd_graph(blocks=True, dtype="float32"):
    """Two inputs that are sent and one that is not, scores between samples, a view, a constant."""
    ids, image = spec("ids", 7, dtype="int64"), spec("image", 33, dtype=dtype)
    table = TensorSpec("table", (5, 3), (), "int32")
    layers = (
        Layer("embedding", "a", ("ids", "table"), (spec("a", 20),), flops=100, weight_bytes=800),
        Layer("ones", "", (), (spec("one", 9, axes=()),), constant=True),
        Layer("cat", "b", ("a", "image"), (spec("b", 61), spec("mask", 7, dtype="bool")), flops=0),
        Layer("view", "b", ("b",), (spec("c", 61),), view_of="b"),
        Layer("matmul", "d", ("c", "one"), (spec("d", axes=(0, 1)),), flops=500),
        Layer("add", "e", ("d", "mask", "c"), (spec("e", 3, dtype="int8"),), flops=61),
        Layer("linear", "f", ("e", "b"), (spec("f", 10),), flops=999, weight_bytes=50),
    )
    ends = {"a": 1, "b": 4, "e": 6}
    return ModelGraph(
        "it's odd",
        (ids, image, table),
        layers,
        ("f", "d"),
        tuple(Block(name, "Odd", end) for name, end in ends.items()) if blocks else (),
        (Block("d", "matmul", 5),) if blocks else (),
    )


def as_sent(graph):
    """Payloads that were measured on the wire."""

    def written(tensor):
        return replace(tensor, dtype=units.AS_SENT)

    layers = (replace(one, outputs=tuple(map(written, one.outputs))) for one in graph.layers)
    return replace(graph, inputs=tuple(map(written, graph.inputs)), layers=tuple(layers))


def machine(graph, sizes=(1, 3), ms=10, **more):
    layers = {n: [n * ms * MS + k * 1234 for k, _ in enumerate(graph.layers)] for n in sizes}
    return profile_of(graph, layers, **more)


def halves(graph, device="halves"):
    """Executed halves only, at the ends and one cut: all other cuts have no time."""
    last = len(graph.layers)
    runs = {0: (0, 60), 2: (20, 45), last: (60, 0)}
    separate = tuple(
        Separate(cut, *(np.full(5, ms * MS, dtype=np.int64) for ms in times))
        for cut, times in runs.items()
    )
    passes = Passes(
        1, np.empty(0, dtype=np.int64), np.empty((0, last + 1), dtype=np.int64), separate
    )
    return Profile(graph, Provenance("measured", device, dtype="float16", gap_s=0.02), (passes,))


def copying(profile, *sizes):
    """Copies of these sizes alone were measured."""
    times = np.array([[3000 + size, 3100 + size, 4000 + size] for size in sizes])
    return replace(profile, transfers=Transfers(np.array(sizes), times, 2 * times))


def noisy(profile):
    passes = tuple(
        replace(one, plain_ns=one.plain_ns * np.array([8, 10, 13]) // 10) for one in profile.passes
    )
    return replace(profile, passes=passes)


def pairs(tmp_path):
    """Pairs of profiles; no server where it is assumed."""
    tiny, odd = tiny_graph(), odd_graph()
    bare, other = odd_graph(blocks=False), odd_graph(dtype="complex64")
    older = replace(odd, narrow=())
    csv = profile_from_csv(written(tmp_path, TABLE), device="a board")
    several = profile_from_csv(
        written(tmp_path, f"{TABLE}a,2,0.02,0.009,400,9\noutput,2,0.11,0,0,9\n"), device="a board"
    )
    fast = machine(odd, ms=1, device="fast")
    modelled = machine(odd, ms=2, origin="modelled", rounds=1)
    yield machine(tiny), None
    yield noisy(machine(tiny)), None
    yield copying(machine(tiny), 200, 320, 400), None  # as large as payloads of one sample
    yield machine(as_sent(tiny)), None
    yield machine(tiny, sizes=(4,)), machine(tiny, sizes=(1, 4, 9), ms=1)
    yield machine(tiny, sizes=(1, 2)), machine(tiny, sizes=(3,), ms=1)
    yield halves(tiny), machine(tiny, ms=1)
    yield halves(tiny), halves(tiny, "other")
    yield csv, None
    yield several, scale_profile(several, 3)
    yield machine(odd), None
    yield machine(odd, sizes=(1, 2, 5)), fast
    yield noisy(machine(odd)), modelled
    yield (
        machine(odd, origin="modelled"),
        replace(modelled, provenance=replace(modelled.provenance, time_error=0.4)),
    )
    yield copying(machine(odd), 1, 1000, 5000), copying(fast, 1, 100)
    yield copying(machine(odd), 10, 200), None
    yield machine(bare), machine(bare, ms=1)
    yield machine(other), None
    yield machine(odd), machine(older, ms=1)
    yield machine(odd), machine(with_layer(odd, 1, spec("uno", 9, axes=())), ms=1)
    yield machine(odd), machine(with_layer(odd, 2, spec("b", 61), spec("mask", 1_008)), ms=1)
    yield scale_profile(machine(odd), 0.25), None


def with_layer(graph, at, *outputs):
    """A capture in which one layer makes something else, which later ones read."""
    before = [spec.name for spec in graph.layers[at].outputs]
    new = dict(zip(before, (spec.name for spec in outputs), strict=True))
    layers = [
        replace(layer, inputs=tuple(new.get(name, name) for name in layer.inputs))
        for layer in graph.layers
    ]
    layers[at] = replace(layers[at], outputs=outputs)
    return replace(graph, layers=tuple(layers))


def places(study):
    """All baselines in turn, at every rate and batch size."""
    over = [*BASELINES, *study.splits]
    for row, size in enumerate(study.batch_sizes):
        for rate in (*RATES, *study.envelopes[row].switching_rates_bps.tolist()):
            over.append(over.pop(0))
            sure = {"probability": 0.9499 if rate > 1e5 else 1.0, "whose": "somebody's times"}
            yield {
                "batch_size": size,
                "data_rate_bps": rate,
                "baseline": over[0],
                "sure": None if rate == 1e4 else sure,
            }
    nowhere = {"batch_size": 999}, {"baseline": "nowhere"}
    yield from (
        {"data_rate_bps": 1e6, "sure": None, "batch_size": size, "baseline": "a"} | one
        for one in nowhere
    )


def test_odd_models_times_and_links(chromium, tmp_path):
    sides = BothSides()
    for number, (edge, server) in enumerate(pairs(tmp_path)):
        sides.add(f"{number} edge", edge)
        if server is not None:
            sides.add(f"{number} server", server)
        for changes in SCENARIOS:
            state = State("odd").changed({"server_speedup": 7.0} | changes)
            sides.ask(
                f"{number} edge", None if server is None else f"{number} server", state, places
            )
    refused = {one["refused"].split(" ")[0] for one in sides.wanted if "refused" in one}
    assert {"min_depth", "memory_cap_bytes", "The", "No", "After"} <= refused, refused
    sides.compare(chromium)


def ask_page(chromium, script, given):
    """What the browser's side answers: `script` is a function that knows all of its names."""
    with chromium_page(chromium) as page:
        page.add_script_tag(content=f"{ENGINE}\nwindow.asked = {script};", type="module")
        page.wait_for_function("() => window.asked")
        return page.evaluate("(given) => window.asked(given)", given)


def test_lines_that_nearly_tie_or_are_not_possible(chromium):
    rng, cases = np.random.default_rng(7), []
    for _ in range(3_000):
        count = int(rng.integers(1, 9))
        a, s = rng.integers(1, 4, (2, count)).astype(float)
        a *= 1 + rng.choice([0, 1e-13, 9e-13, 2e-12, 1e-10, 1e-6], count)
        s *= rng.choice([0, 1, 1 + 9e-13, 1 + 2e-12, 1 + 1e-8], count)
        a[rng.random(count) < 0.1] = np.nan
        if not np.isnan(a).all():
            cases.append((a, s, rng.permutation(count)))
    script = """(cases) => cases.map(([a, s, order]) => lowerEnvelope(
      a.map((one) => one ?? NaN), s, order))"""
    given = [
        [[None if np.isnan(x) else x for x in a.tolist()], s.tolist(), order.tolist()]
        for a, s, order in cases
    ]
    for found, (a, s, _) in zip(ask_page(chromium, script, given), cases, strict=True):
        wanted = lower_envelope(a, s)
        assert found["splits"] == wanted.splits.tolist(), (a, s)
        assert found["rates"] == wanted.switching_rates_bps.tolist(), (a, s)


WRITTEN = {
    "formatSeconds": units.format_seconds,
    "formatBytes": units.format_bytes,
    "formatRate": lambda x: units.format_rate(x, in_bytes=False),
    "formatNumber": units.format_number,
    "formatPercent": units.format_percent,
    "general": lambda x: f"{x:g}",
}


def test_numbers_for_people(chromium):
    """Halves go to the even digit, and what three digits round up takes the next prefix."""
    rng = np.random.default_rng(3)
    ends = [0.0005, 0.00949, 0.0995, 0.0994999, 0.1, 0.995, 0.9949999, 0.9995, 0.99949, 1.0, 9.995]
    values = [
        x * 10.0**k for x in (*ends, 1.125, 1.375, 2.5, 12.25, 12.35) for k in range(-9, 16, 3)
    ]
    values += (
        [k / 8 for k in range(80)] + [k / 800 for k in range(90)] + [999.5, 1000.5, 1025, 1035]
    )
    values += [1e-12, 123456.5, 1234565.0, 1e21, 1.5e22, *np.exp(rng.uniform(-30, 40, 2000))]
    values = [0.0, *(float(x) for one in values if one for x in (one, -one))]
    script = f"(values) => [{', '.join(WRITTEN)}].map((form) => values.map((x) => form(x)))"
    for (name, write), found in zip(
        WRITTEN.items(), ask_page(chromium, script, values), strict=True
    ):
        for value, said in zip(values, found, strict=True):
            assert said == write(value), (name, value)
    odd = "[NaN, Infinity, -Infinity]"
    script = f"() => [{', '.join(WRITTEN)}].map((form) => {odd}.map((x) => form(x)))"
    wanted = [[write(float(x)) for x in ("nan", "inf", "-inf")] for write in WRITTEN.values()]
    assert ask_page(chromium, script, None) == wanted
