import base64
import json
import math
import statistics
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dscwb import paper
from dscwb.devices.datasheets import device
from dscwb.profiles.files import load_profile
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Scenario
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
PROFILES = Path(__file__).parents[1] / "data" / "profiles"
FLOAT32 = Scenario(input_encoding="float32", feature_encoding="float32")


def shipped(model):
    """The profiles of a model that come with dscwb."""
    return [load_profile(path) for path in sorted(PROFILES.glob(f"{model}-*"))]


def tiny_pair():
    """As in test_study: full offloading 6 ms + 3200 bits/r, a 15 ms + 1600/r, none 60 ms."""
    edge = profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]})
    return paper.Pair("by hand", profiles={"tiny": (edge, scale_profile(edge, 10))})


def test_the_grid_is_the_papers():
    assert len(paper.BATCH_SIZES) * len(paper.DATA_RATES_BPS) == 7874
    assert (paper.DATA_RATES_BPS[0], paper.DATA_RATES_BPS[-1]) == (8e6, 127 * 8e6)


def test_every_shipped_efficientnet_agrees_with_the_published_counts():
    graphs = [load_profile(path).graph for path in sorted(PROFILES.glob("*efficientnet*"))]
    table = paper.bottleneck_table(graphs)
    assert table.model.tolist() == list(paper.PUBLISHED)
    assert table.agrees.all()
    assert table.natural.min() == 15
    assert table.natural.max() == 68
    b0 = table.set_index("model").loc["efficientnet_b0"]
    assert b0.ratios == "0.5000, 0.2083, 0.1042, 0.0625"


def test_a_wrong_count_would_not_agree(monkeypatch):
    monkeypatch.setattr(paper, "PUBLISHED", {"tiny": (3, 3, 3)})
    # Ratios .5, .8, .1: three natural, but .8 is not below .5.
    table = paper.bottleneck_table([tiny_graph()])
    assert table[["natural", "compressive", "agrees"]].to_numpy().tolist() == [[3, 2, False]]


def test_gains_by_hand():
    row = paper.gain_table([tiny_graph()], [tiny_pair()], [FLOAT32]).iloc[0]
    x = 1 / paper.DATA_RATES_BPS
    full, a, b = 0.006 + 3200 * x, 0.015 + 1600 * x, 0.033 + 2560 * x
    # From 8 Mbit/s up the input takes 0.4 ms or less: full offloading is best everywhere.
    assert (full < np.minimum(a, 0.06)).all()
    assert row.usefulness == 0
    assert row.full_offloading == row.best_static == row.minimax_static == 0
    assert row.no_offloading == pytest.approx(np.mean((0.06 - full) / 0.06))
    assert row.static_low == pytest.approx(np.mean((a - full) / a))
    assert row.static_high == pytest.approx(np.mean((b - full) / b))
    assert row.mean_static == pytest.approx((row.static_low + row.static_high) / 2)
    assert row.origin == "measured → assumed"
    assert row.batch_sizes == "1"


def test_a_pair_without_the_model_leaves_it_out():
    assert paper.study_for(tiny_graph("other"), tiny_pair(), FLOAT32) is None
    assert paper.gain_table([tiny_graph("other")], [tiny_pair()], [FLOAT32]).empty


def test_the_papers_pair_is_modelled_and_covers_the_grid():
    graph = load_profile(next(PROFILES.glob("efficientnet_b0-*"))).graph
    study = paper.study_for(graph, paper.PAPERS_PAIR, paper.CONVENTIONS[0])
    assert study is not None
    assert study.batch_sizes == paper.BATCH_SIZES
    assert study.label().count("(modelled") == 2
    assert not study.lines.interpolated.any()


# --- pairs -------------------------------------------------------------------------------------


def measured_on(machine, model="tiny", sizes=(1,), **changes):
    layers = {size: [10 * size, 20 * size, 30 * size] for size in sizes}
    profile = profile_of(tiny_graph(model), layers, device=machine)
    return replace(profile, provenance=replace(profile.provenance, **changes))


def test_a_measured_pair_is_two_machines_by_name_and_the_models_measured_on_both():
    board, card = measured_on("board"), measured_on("card")
    others = [measured_on("board", "alone"), measured_on("card", origin="modelled")]
    pair = paper.measured_pair([*others, card, board], "board", "card")
    assert pair.name == "board → card"
    assert pair.of(tiny_graph()) == (board, card)
    assert pair.of(tiny_graph("alone")) is None
    assert paper.measured_pair([card, board], "card", "board").of(tiny_graph()) == (card, board)


def test_threads_and_element_types_are_told_apart():
    one, two = (measured_on("CPU", threads=n) for n in (1, 2))
    half = measured_on("CPU", threads=2, dtype="float16")
    assert paper.measured_machines([two, half, one]) == ("CPU, 1 thread", "CPU, 2 threads")
    pair = paper.measured_pair([half, two, one], "CPU, 1 thread", "CPU, 2 threads")
    assert pair.of(tiny_graph()) == (one, two)
    assert paper.measured_machines([two, half, one], "float16") == ("CPU, 2 threads",)


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ([measured_on("board")], "measured on 'card' in float32; machines here: board"),
        ([], "measured on 'board' in float32; machines here: none"),
        (
            [measured_on("board"), measured_on("card"), measured_on("card")],
            "tiny was measured twice on card; leave one of them out",
        ),
        (
            [measured_on("board"), measured_on("card", "other")],
            "No model was measured on 'board' and on 'card'",
        ),
    ],
)
def test_a_pair_that_cannot_be_had_says_why_and_what_there_is(profiles, message):
    with pytest.raises(ValueError, match=message):
        paper.measured_pair(profiles, "board", "card")


def test_the_pair_measured_on_slices_of_one_gpu_comes_first():
    pairs = paper.known_pairs(shipped("efficientnet_b0"))
    assert [pair.name for pair in pairs] == [
        "the paper's setup, measured: 8 → 40 of 132 multiprocessors of one H200",
        "2080 Ti at 300 MHz → 2080 Ti",
        "Jetson TX2 → A100",
        "AMD EPYC, 1 → 2 threads",
    ]
    edge, server = pairs[0].profiles["efficientnet_b0"]
    assert (edge.provenance.device, server.provenance.device) == paper.SLICES
    threads = [one.provenance.threads for one in pairs[3].profiles["efficientnet_b0"]]
    assert threads == [1, 2]


def test_without_measured_machines_only_modelled_pairs_are_left():
    modelled = (paper.PAPERS_PAIR, paper.JETSON_PAIR)
    assert paper.known_pairs([]) == modelled
    assert paper.known_pairs([measured_on(paper.SLICES[0])]) == modelled
    elsewhere = [measured_on(paper.SLICES[0]), measured_on(paper.SLICES[1], "other")]
    assert paper.known_pairs(elsewhere) == modelled


def test_rates_stand_beside_the_papers():
    table = paper.rate_table().set_index("machine")
    edge, server = (table.loc[machine] for machine in paper.SLICES)
    assert (edge.tflop_per_s, edge.tb_per_s, edge.stands_for) == (2.7, 0.69, "device")
    assert (server.tflop_per_s, server.tb_per_s, server.stands_for) == (15.4, 3.7, "server")
    assert table.tflop_per_s["the paper's device"] == 2.37
    assert np.isnan(table.tb_per_s["the paper's device"])
    assert table.origin.tolist() == ["measured", "measured", "measured", "stated", "datasheet"]
    datasheet = device("RTX 2080 Ti")
    assert table.tflop_per_s["RTX 2080 Ti"] == datasheet.peak_flop_per_s["float32"] / 1e12
    assert table.tb_per_s["RTX 2080 Ti"] == datasheet.bandwidth_bytes_per_s / 1e12


# --- batch sizes -------------------------------------------------------------------------------


def test_only_batch_sizes_measured_on_both_machines_count_unless_interpolated():
    edge = measured_on("board", sizes=(1, 4, 8, 64))
    pair = paper.Pair("x", profiles={"tiny": (edge, measured_on("card", sizes=(1, 8, 64)))})
    assert paper.study_for(tiny_graph(), pair, FLOAT32).batch_sizes == (1, 8)
    study = paper.study_for(tiny_graph(), pair, FLOAT32, interpolate=True)
    assert study.batch_sizes == tuple(range(1, 63))  # the paper's grid ends there
    assert paper.gain_table([tiny_graph()], [pair], [FLOAT32]).batch_sizes[0] == "1, 8"
    between = paper.gain_table([tiny_graph()], [pair], [FLOAT32], interpolate=True)
    assert between.batch_sizes[0] == "1–62"


def test_without_a_batch_size_in_both_there_is_no_study():
    machines = measured_on("board", sizes=(1, 4)), measured_on("card", sizes=(2,))
    pair = paper.Pair("x", profiles={"tiny": machines})
    assert paper.study_for(tiny_graph(), pair, FLOAT32) is None
    assert paper.gain_table([tiny_graph()], [pair], [FLOAT32]).empty
    assert paper.study_for(tiny_graph(), pair, FLOAT32, interpolate=True).batch_sizes == (2,)


def test_batch_sizes_whose_times_scatter_are_named():
    edge = measured_on("board", sizes=(1, 2))
    edge.passes[1].plain_ns[:] = [60, 120, 240]  # IQR 90 of a median of 120
    assert (edge.status(1), edge.status(2)) == ("ok", "unreliable")
    pair = paper.Pair("x", profiles={"tiny": (edge, measured_on("card", sizes=(1, 2)))})
    row = paper.gain_table([tiny_graph()], [pair], [FLOAT32]).iloc[0]
    assert (row.batch_sizes, row.not_ok) == ("1, 2", "2")


# --- what is claimed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "reading"),
    [(0.194, "below"), (0.195, "within"), (0.30, "within"), (0.304, "within"), (0.306, "above")],
)
def test_claims_are_read_in_whole_percents(gain, reading):
    assert paper.claim(gain) == reading


def test_claims_count_the_models():
    gains = pd.DataFrame(
        {
            "pair": "p",
            "origin": "measured → modelled",
            "input": "uint8",
            "features": "int8",
            "no_offloading": [0.1, 0.25, 0.5],
            "full_offloading": [0.2, 0.3, float("nan")],
            "best_static": [0.0, 0.0, 0.0],
            "mean_static": [0.2, 0.31, 0.3],
        }
    )
    table = paper.claim_table(gains).set_index("baseline")
    assert table.loc["no offloading", ["below", "within", "above"]].tolist() == [1, 1, 1]
    assert table.loc["full offloading", ["below", "within", "above"]].tolist() == [0, 2, 0]
    assert table.loc["mean static", ["below", "within", "above"]].tolist() == [0, 2, 1]
    assert table.loc["no offloading", "median"] == 0.25
    assert (table.origin == "measured → modelled").all()


# --- a model held against a measurement --------------------------------------------------------


def test_a_modelled_pair_is_held_against_a_measured_one_at_its_batch_sizes():
    def pair(name, on_edge, on_server):
        layers = {size: [size * MS, 2 * size * MS, 3 * size * MS] for size in (1, 4)}
        edge, server = (
            profile_of(tiny_graph(), {n: [factor * one for one in ns] for n, ns in layers.items()})
            for factor in (on_edge, on_server)
        )
        return paper.Pair(name, profiles={"tiny": (edge, server)})

    measured, modelled = pair("measured", 10, 1), pair("modelled", 5, 2)
    rows = paper.modelled_beside_measured([tiny_graph()], measured, modelled, [FLOAT32])
    (row,) = rows.itertuples()
    assert (row.model, row.batch_sizes, row.features) == ("tiny", "1, 4", "float32")
    assert (row.device, row.server) == (0.5, 2)  # 30 ms for 60, 12 ms for 6
    assert (row.speedup, row.modelled_speedup) == (10, 2.5)
    for name, of in (("", measured), ("modelled_", modelled)):
        gains = paper.gain_table([tiny_graph()], [of], [FLOAT32]).iloc[0]
        for mean in ("usefulness", "no_offloading", "full_offloading", "best_static"):
            assert getattr(row, name + mean) == gains[mean]
    assert paper.modelled_beside_measured([tiny_graph("other")], measured, modelled).empty


def test_of_a_catalogued_pair_only_the_measured_batch_sizes_are_modelled():
    profiles = shipped("efficientnet_b4")
    pair, graph = paper.measured_pair(profiles, *paper.SLICES), profiles[0].graph
    rows = paper.modelled_beside_measured([graph], pair)
    sizes = (1, 2, 4, 8, 16, 32, 62)
    assert (rows.batch_sizes == ", ".join(map(str, sizes))).all()
    edge, _ = paper.PAPERS_PAIR.of(graph, sizes)
    assert edge.batch_sizes == sizes
    measured = pair.of(graph)[0]
    ratios = [edge.total_s(size) / measured.total_s(size) for size in sizes]
    assert rows.device.to_numpy() == pytest.approx(statistics.median(ratios))


# --- the shipped measurements, computed another way --------------------------------------------

BYTES = {"uint8": 1, "int8": 1, "float32": 4}  # an element


def graph_in(path):
    """The captured model as it lies in the file, as plain dictionaries."""
    packed = pq.read_schema(path).metadata[b"dscwb.graph.json.zlib.base64"]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def candidates(graph):
    """Layers in the head at each place where the paper may split, the two ends included."""
    ends = {block["end"] for block in (*graph["blocks"], *graph.get("narrow", ()))}
    return sorted({0, *ends, len(graph["layers"])})


def elements_alive(graph, cut):
    """Of one sample: what the first layers made, or the input is, and a later layer reads."""
    made = {one["name"]: one["shape"] for one in graph["inputs"]}
    for layer in graph["layers"][:cut]:
        made |= {one["name"]: one["shape"] for one in layer["outputs"]}
    read = {name for layer in graph["layers"][cut:] for name in layer["inputs"]}
    return sum(math.prod(shape) for name, shape in made.items() if name in read)


def medians(path):
    """Batch size → milliseconds of the whole pass and of the head at every cut."""
    table = pd.read_parquet(path)
    found = {}
    for size, rows in table.groupby("batch_size"):
        total = statistics.median(rows[rows.kind == "plain"].time_ns) / 1e6
        shares = [stamps / stamps[-1] for stamps in rows[rows.kind == "stamped"].stamps_ns]
        # A cut that a pass did not stamp is -1.
        at_cut = [[x for x in column if x >= 0] for column in zip(*shares, strict=True)]
        stamped = [k for k, x in enumerate(at_cut) if x]
        some = [at_cut[k] for k in stamped]
        heads = rising([statistics.median(x) for x in some], [len(x) for x in some])
        # Time at a cut that no pass stamped is not known, and none of these is looked at below.
        found[size] = total, {k: share * total for k, share in zip(stamped, heads, strict=True)}
    return found


def rising(values, weights):
    """The nearest values, in least squares, that never fall: neighbours that do are averaged."""
    pools = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n, k), (b, m, j) = pools[-2:]
            pools[-2:] = [((a * n + b * m) / (n + m), n + m, k + j)]
    return [value for value, _, number in pools for _ in range(number)]


def gains_by_loops(model, given, sent):
    """Usefulness; mean gains over no and full offloading, the best static and the mean one."""
    device_path, server_path = (
        next(PROFILES.glob(f"{model}-*-h200-{part}-float32.parquet")) for part in ("8sm", "40sm")
    )
    graph, device_ms, server_ms = graph_in(device_path), medians(device_path), medians(server_path)
    cuts, states = candidates(graph), []
    for size in sorted(device_ms.keys() & server_ms.keys()):
        total, head = server_ms[size]
        fixed = [device_ms[size][1][cut] + total - head[cut] for cut in cuts]
        sent_bytes = [elements_alive(graph, cut) * size * BYTES[sent] for cut in cuts]
        sent_bytes[0] = elements_alive(graph, 0) * size * BYTES[given]
        sent_bytes[-1] = 0  # the answer stays where it is wanted
        for megabytes_per_s in range(1, 128):
            rate = megabytes_per_s * 1e3  # bytes/ms
            states.append([ms + n / rate for ms, n in zip(fixed, sent_bytes, strict=True)])
    best = [min(costs) for costs in states]
    ends = {0, len(cuts) - 1}
    split = sum(costs.index(min(costs)) not in ends for costs in states) / len(states)

    def over(k):
        return statistics.fmean(
            (costs[k] - least) / costs[k] for costs, least in zip(states, best, strict=True)
        )

    static = min(range(len(cuts)), key=lambda k: math.fsum(costs[k] for costs in states))
    between = statistics.fmean(over(k) for k in range(1, len(cuts) - 1))
    return split, over(len(cuts) - 1), over(0), over(static), between


@pytest.mark.parametrize("model", ["efficientnet_b0", "efficientnet_b4", "tf_efficientnetv2_l"])
def test_gains_on_the_measured_pair_come_out_of_the_raw_files_by_plain_loops(model):
    profiles = shipped(model)
    pair = paper.measured_pair(profiles, *paper.SLICES)
    table = paper.gain_table([profiles[0].graph], [pair])
    assert len(table) == 3
    for row in table.itertuples():
        statics = row.best_static, row.mean_static
        found = row.usefulness, row.no_offloading, row.full_offloading, *statics
        assert found == pytest.approx(gains_by_loops(model, row.input, row.features), abs=1e-9)


def test_fourteen_efficientnets_were_measured_on_both_slices_at_these_batch_sizes():
    """Those that `benchmarks.ship_gpu` left in both; B7 was not measured on 40."""
    sizes = {}
    for model in paper.PUBLISHED:
        on = [
            {*medians(path)}
            for part in ("8sm", "40sm")
            for path in PROFILES.glob(f"{model}-*-h200-{part}-float32.parquet")
        ]
        if len(on) == 2:
            sizes[model] = sorted(on[0] & on[1])
    assert sizes == {
        "efficientnet_b0": [1, 4, 8, 16, 32, 62],
        "efficientnet_b1": [2, 8, 16, 32, 62],
        "efficientnet_b2": [1, 4, 16],
        "efficientnet_b3": [4, 16],
        "efficientnet_b4": [1, 2, 4, 8, 16, 32, 62],
        "efficientnet_b5": [1, 4],
        "efficientnet_b6": [4],
        "tf_efficientnetv2_b0": [4, 8, 16, 32, 62],
        "tf_efficientnetv2_b1": [1, 2, 4, 8, 16, 32, 62],
        "tf_efficientnetv2_b2": [4, 8, 16, 32, 62],
        "tf_efficientnetv2_b3": [1, 4, 16, 62],
        "tf_efficientnetv2_s": [2, 8, 16, 32, 62],
        "tf_efficientnetv2_m": [4],
        "tf_efficientnetv2_l": [1, 2, 4],
    }
