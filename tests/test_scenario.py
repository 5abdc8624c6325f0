"""What scenarios refuse and say, what they rest on (memory, candidates, encodings), and exports."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dscwb.cuts import all_cuts, bottlenecks, head_memory_bytes
from dscwb.graph import Layer, ModelGraph
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel, Scenario
from dscwb.study import sweep
from dscwb.units import encoding, jpeg
from tests.tiny import profile_of, spec, tiny_graph

MS = 1_000_000
POWER = PowerModel(5, 2, 1, "a guess")


def scenario(**changes):
    return Scenario(**({"input_encoding": "float32", "feature_encoding": "float32"} | changes))


# Scenario


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"link": 0.01}, r"link is 0\.01; give dscwb\.Link"),
        (
            {"granularity": "stage"},
            "Unknown granularity 'stage'; choose one of auto, block",
        ),
        ({"server_load": 0.9}, r"server_load is 0\.9; give a finite number from 1 up"),
        ({"server_load": np.inf}, "server_load is inf"),
        ({"device_slowdown": 0}, "device_slowdown is 0; give a finite number from 1 up"),
        ({"input_encoding": ""}, "input_encoding is missing; .* Choose one of float32, "),
        ({"feature_encoding": "wav"}, "Unknown encoding 'wav'"),
        ({"min_depth": -1}, "min_depth is -1; give a finite number without a fraction, from 0 up"),
        (
            {"min_depth": 1.5},
            r"min_depth is 1\.5; give a finite number without a fraction, from 0 up",
        ),
        ({"memory_cap_bytes": 0}, "memory_cap_bytes is 0; give a finite number above zero, or N"),
        ({"arrival_rate_hz": np.nan}, "arrival_rate_hz is nan; give a finite number above zero"),
        ({"objective": "money"}, "Unknown objective 'money'; choose one of latency, energy"),
        ({"objective": "energy"}, "The objective is energy, but no power is given; give power="),
    ],
)
def test_what_no_scenario_has_is_named(changes, reason):
    with pytest.raises(ValueError, match=reason):
        scenario(**changes)


def test_a_field_that_there_is_not_is_named_beside_those_that_there_are():
    for record, name in ((Link, "rtt_ms"), (PowerModel, "watts"), (Scenario, "rtt")):
        with pytest.raises(TypeError, match=f"{record.__name__} has no '{name}'; it has .*_"):
            record(**{name: 20})
    with pytest.raises(TypeError, match="Scenario has no 'speed'; it has link, input_encoding"):
        study(speed=3)
    with pytest.raises(
        TypeError, match=r"no 'rtt'; .* A round trip is link=dscwb\.Link\(round_trip_s="
    ):
        study(rtt=3)
    with pytest.raises(ValueError, match="give dscwb"):
        study(scenario="uint8")
    with pytest.raises(ValueError, match="Unknown encoding '4'; choose one of float32"):
        scenario(input_encoding=4)


def test_encodings_are_given_by_name_and_have_no_default():
    found = scenario(input_encoding="jpeg 10:1", feature_encoding=encoding("int8"))
    assert (found.input_encoding, found.feature_encoding) == (jpeg(10), encoding("int8"))
    with pytest.raises(ValueError, match="input_encoding is missing"):
        Scenario()
    assert replace(found, input_encoding="uint8").input_encoding == encoding("uint8")
    assert pickle.loads(pickle.dumps(found)) == found


def test_keywords_of_a_sweep_replace_what_stands_in_the_scenario():
    given = scenario(server_load=2.0)
    assert study(scenario=given, server_load=3.0).scenario == replace(
        given, link=Link(0.001), input_encoding="uint8", server_load=3.0
    )


def test_whole_numbers_may_be_floats():
    assert type(scenario(min_depth=1.0).min_depth) is int
    assert study(min_depth=1.0).splits == study(min_depth=1).splits


def test_what_no_link_or_power_has_is_named():
    with pytest.raises(ValueError, match=r"round_trip_s is 2e\+07; give seconds, 10 at most \(20"):
        Link(2e7)
    with pytest.raises(ValueError, match="round_trip_s is -1"):
        Link(-1)
    with pytest.raises(ValueError, match="overhead_bytes is inf"):
        Link(overhead_bytes=float("inf"))
    for downlink in (0, -1, np.nan):
        with pytest.raises(
            ValueError,
            match=f"downlink_bps is {downlink}; give a finite number above zero, or None",
        ):
            Link(downlink_bps=downlink)
    for name in ("compute_w", "send_w", "wait_w"):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            replace(POWER, **{name: -1})
    with pytest.raises(ValueError, match="source is empty"):
        replace(POWER, source=" ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"link": Link(overhead_bytes=40)}, "overhead 40 B"),
        ({"link": Link(downlink_bps=8e6)}, "downlink 8 Mbit/s (1 MB/s)"),
        ({"server_load": 2.5}, "server load 2.5 ×"),
        ({"device_slowdown": 3}, "device slowdown 3 ×"),
        ({"private_input": True}, "input stays private"),
        ({"min_depth": 2}, "blocks on device ≥ 2"),
        ({"memory_cap_bytes": 5e6}, "device memory 5 MB"),
        ({"arrival_rate_hz": 30}, "samples/s arriving 30"),
        ({"granularity": "compressive"}, "candidates: compressive bottlenecks only"),
        ({"objective": "energy", "power": POWER}, "best in the device's energy"),
        ({"power": POWER}, "device draws 5 W computing, 2 W sending, 1 W waiting (a guess)"),
    ],
)
def test_the_label_says_what_moves_the_answer_and_nothing_else(changes, words):
    assert words in scenario(**changes).label()
    assert words not in scenario().label()


@pytest.mark.parametrize(
    ("round_trip_s", "words"), [(0, "round trip 0 s"), (0.01, "round trip 10 ms")]
)
def test_the_round_trip_is_told_once(round_trip_s, words):
    label = scenario(link=Link(round_trip_s)).label()
    assert words in label
    assert label.count("round trip") == 1


# JPEG


def test_an_image_as_jpeg():
    assert jpeg(10).bytes_per_element == 0.1
    assert jpeg(7.5).name == "JPEG 7.5:1"
    for name in ("jpeg 10:1", "JPEG 10:1", "jpeg:10", "jpeg 10"):
        assert encoding(name) == jpeg(10)
    assert encoding(jpeg(4).name) == jpeg(4)
    for ratio in (0.5, 0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"JPEG ratio {ratio}; give a finite number from 1"):
            jpeg(ratio)
    for name in ("jpeg", "jpeg 0.5:1", "jpeg 1.2.3:1", "jpeg 10:2", "jpeg ten"):
        with pytest.raises(ValueError, match=f"Unknown encoding '{name}'"):
            encoding(name)


# Memory of heads


def test_memory_of_heads_by_hand():
    layers = zip(tiny_graph().layers, (1000, 10, 5000), strict=True)
    graph = replace(tiny_graph(), layers=tuple(replace(one, weight_bytes=n) for one, n in layers))
    # Input 400 bytes, then 200, 320, 40: 600, 520 and 360 live at once; the most so far counts.
    assert head_memory_bytes(graph, 1).tolist() == [0, 1000 + 600, 1010 + 600, 6010 + 600]
    assert head_memory_bytes(graph, 3).tolist() == [0, 1000 + 1800, 1010 + 1800, 6010 + 1800]


def test_a_view_takes_no_memory_and_a_shortcut_does():
    layers = (
        Layer("linear", "a", ("x",), (spec("a", 50),)),
        Layer("view", "v", ("a",), (spec("v", 50),), view_of="a"),
        Layer("linear", "b", ("v",), (spec("b", 80),)),
        Layer("add", "c", ("b", "a"), (spec("c", 10),)),
    )
    graph = ModelGraph("shortcut", (spec("x", 100),), layers, ("c",))
    # x + a; a; a + b, since a is needed for c; a + b + c.
    needed = [0, 400 + 200, 600, 600, 200 + 320 + 40]
    needed[-1] = max(needed)
    assert head_memory_bytes(graph, 1).tolist() == needed


@given(st.integers(1, 64))
def test_a_longer_head_never_needs_less(batch_size):
    assert np.all(np.diff(head_memory_bytes(tiny_graph(), batch_size)) >= 0)


# Compressive candidates


def test_compressive_candidates_are_the_bottlenecks_and_the_ends():
    cuts = all_cuts(tiny_graph(), "compressive")
    # a at c = 0.5; b at 0.8 is no lower; c, at 0.1, ends at the output.
    assert [cut.name for cut in cuts] == ["input", "a", "output"]
    assert [(cut.is_input, cut.is_output) for cut in cuts] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    marked = bottlenecks(tiny_graph()).query("compressive")["cut"]
    assert {cut.index for cut in cuts} == {0, 3, *marked}
    assert set(cuts) <= set(all_cuts(tiny_graph(), "block"))


def test_compressive_candidates_of_a_model_without_blocks_lie_among_all_cuts():
    bare = replace(tiny_graph(), blocks=())
    assert [cut.name for cut in all_cuts(bare, "compressive")] == ["input", "a", "output"]


# Exports


def study(**changes):
    graph = tiny_graph()
    profile = profile_of(graph, {1: [10 * MS, 20 * MS, 30 * MS], 3: [20 * MS, 40 * MS, 60 * MS]})
    fields = {
        "link": Link(0.001),
        "input_encoding": "uint8",
        "feature_encoding": "float32",
        "data_rates_bps": [1e4, 1e5, 1e6, 1e7],
    }
    return sweep(profile, scale_profile(profile, 10), **(fields | changes))


ENERGY = {"objective": "energy", "power": POWER}


@pytest.mark.parametrize("changes", [{}, ENERGY, {"private_input": True}])
def test_a_table_comes_back_from_its_file(tmp_path, changes):
    found = study(**changes)
    table = found.to_pandas()
    parquet = pd.read_parquet(found.save(tmp_path / "new" / "study.parquet"))
    pd.testing.assert_frame_equal(parquet, table)
    assert parquet.attrs == found.stamp()
    csv = pd.read_csv(found.save(tmp_path / "study.csv"))
    pd.testing.assert_frame_equal(csv[table.columns], table, check_dtype=False)
    assert {name: csv[name].unique().tolist() for name in found.stamp()} == {
        name: [words] for name, words in found.stamp().items()
    }
    assert ("device_energy_j" in table) == (found.unit == "J")
    assert ("gain_over_full_offloading" in table) == ("full offloading" in found.splits)


@pytest.mark.parametrize("changes", [{}, ENERGY, {"private_input": True}])
def test_a_dataset_comes_back_from_its_file(tmp_path, changes):
    found = study(**changes)
    with xr.open_dataset(found.save(tmp_path / "study.nc"), engine="scipy") as read:
        data = read.load()
    assert dict(data.attrs) == found.stamp()
    assert data["batch_size"].values.tolist() == [1, 2, 3]
    assert data["interpolated"].values.tolist() == [0, 1, 0]
    assert data["split"].values.astype(str).tolist() == list(found.splits)
    best = data["best_split"].values.astype(str)
    assert best.tolist() == found.best_split().to_numpy().tolist()
    np.testing.assert_array_equal(data["latency_s"], found.latency_s)
    np.testing.assert_array_equal(data["payload_bytes"], found.lines.bits / 8)
    assert data["data_rate_bps"].attrs["units"] == "bit/s"
    total = data["wait_s"] + data["head_s"] + data["link_s"] + data["tail_s"]
    total = total + data["payload_bytes"] * 8 / data["data_rate_bps"]
    np.testing.assert_allclose(
        total.sel(split=data["best_split"]).transpose("batch_size", "data_rate_bps"),
        found.latency_s,
    )


def test_all_states_stand_in_the_table_in_order():
    found = study()
    table = found.to_pandas()
    assert table["batch_size"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert table["data_rate_bps"].tolist() == [1e4, 1e5, 1e6, 1e7] * 3
    np.testing.assert_array_equal(table["latency_s"], found.latency_s.ravel())
    parts = table["wait_s"] + table["head_s"] + table["tail_s"]
    sent = table["payload_bytes"] > 0
    parts += sent * 0.001 + table["payload_bytes"] * 8 / table["data_rate_bps"]
    np.testing.assert_allclose(parts, table["latency_s"])


@pytest.mark.parametrize("name", ["study", "study.xlsx"])
def test_another_ending_is_named_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"choose one of \.csv, \.parquet, \.nc"):
        study().save(tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()
