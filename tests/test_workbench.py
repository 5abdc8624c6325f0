"""The workbench from Python: state, study, words, files, and what the browser is told and tells."""

import asyncio
import re
import threading
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
import pytest

from dscwb.figures.layout import CAPTION, caption_of
from dscwb.study import Study
from dscwb.workbench import hatching
from dscwb.workbench.screen import pair_key
from dscwb.workbench.session import SplitWorkbench
from dscwb.workbench.state import ASSUMED, KNOBS, State
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000


def profile(model="tiny", batches=(1, 4), device="bench clock", graph=None):
    """10, 20, 30 ms a sample and layer."""
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    return profile_of(graph or tiny_graph(model), times, device=device)


MODELS = [profile(), profile("tiny_2", batches=(1, 2))]


@pytest.fixture
def bench():
    """Two models of one family; the second has fewer batch sizes."""
    return SplitWorkbench(MODELS, model="tiny")


def screen(bench):
    """All that is to be seen: what the browser is told, study and state."""
    told = {name: getattr(bench, name) for name in bench.trait_names(sync=True)}
    for name in ("layout", "tables", "past", "future", "message"):
        told.pop(name)
    return told, bench.study, bench.state


def moved(bench, **changes):
    """The browser tells of a state to which a hand has moved."""
    told = {"shown": {**bench.shown, **changes}, "past": [*bench.past, bench.shown]}
    told |= {name: value for name, value in changes.items() if name in bench.trait_names()}
    bench.set_state(told)


def assert_all_of_it_is_new(bench):
    """What the browser is told is of the state: a workbench that opens there is told the same."""
    other = SplitWorkbench(MODELS, model="tiny")
    other.load_state(bench.state)
    assert screen(bench)[0] == screen(other)[0]
    assert bench.state == other.state
    assert bench.answer == other.answer
    assert bench.study.label() == other.study.label()


def trace(figure, name):
    return next(figure.select_traces({"name": name}))


# --- state and picture -------------------------------------------------------------------------


def test_rate_and_batch_ask_for_no_other_study(bench):
    study = bench.study
    moved(bench, data_rate_bps=2e6, batch_size=3)
    assert (bench.state.data_rate_bps, bench.state.batch_size) == (2e6, 3)
    assert bench.study is study


CHANGES = {
    "model": "tiny_2",
    "edge": "T4 (modelled)",
    "server": "H100 SXM (modelled)",
    "server_speedup": 3.0,
    "round_trip_s": 0.05,
    "input_encoding": "JPEG 10:1",
    "feature_encoding": "int8",
    "baseline": "full offloading",
    "data_rate_bps": 1e5,
    "batch_size": 2,
    "server_load": 2.0,
    "device_slowdown": 3.0,
    "private_input": True,
    "granularity": "compressive",
    "min_depth": 1,
    "memory_cap_bytes": 2000.0,
    "overhead_bytes": 64.0,
    "downlink_bps": 5e6,
    "arrival_rate_hz": 100.0,
    "objective": "energy",
    "compute_w": 7.0,
    "send_w": 3.0,
    "wait_w": 2.0,
}
ADAPTED = {"private_input", "min_depth"}  # full offloading is no baseline then
ONE_STUDY = {"data_rate_bps", "batch_size", "baseline"}
POWER = {"compute_w", "send_w", "wait_w"}


@pytest.mark.parametrize("field", CHANGES)
def test_what_the_hand_moves_in_the_browser_the_kernel_follows(bench, field):
    if field in POWER:
        bench.update(objective="energy")
    study = bench.study
    moved(bench, **{field: CHANGES[field]})
    assert bench.state.values()[field] == pytest.approx(CHANGES[field])
    assert (bench.study is study) == (field in ONE_STUDY)
    assert_all_of_it_is_new(bench)


@pytest.mark.parametrize("field", CHANGES)
def test_what_python_changes_the_browser_is_told(bench, field):
    bench.update(**{field: CHANGES[field]})
    assert bench.shown[field] == pytest.approx(CHANGES[field])
    assert bench.shown == bench.state.values()
    assert list(bench.get_state()["pairs"]) == [pair_key(bench.state)]
    assert_all_of_it_is_new(bench)


def test_every_field_has_a_control_and_a_test(bench):
    told = [field["name"] for field in bench.tables["fields"]]
    assert set(CHANGES) == set(bench.state.values()) == set(KNOBS) == set(told)
    assert len(told) == len(CHANGES)


def test_power_counts_only_where_energy_does(bench):
    study = bench.study
    bench.update(compute_w=7.0)
    assert bench.study is study
    assert "W computing" not in study.label()
    bench.update(objective="energy")
    assert "7 W computing" in bench.study.label()


def test_whole_numbers_do_for_floats_and_leave_them_floats(bench):
    bench.update(round_trip_s=0, batch_size=4.0)
    bench.update(round_trip_s=0.05)
    assert bench.state.scenario.link.round_trip_s == 0.05
    assert isinstance(bench.state.batch_size, int)


def random_changes(rng):
    """Some fields, anywhere within their limits: as often at an end as between."""
    lists = {
        "model": ["tiny", "tiny_2"],
        "edge": ["bench clock (measured)", "T4 (modelled)"],
        "server": [ASSUMED, "bench clock (measured)", "H100 SXM (modelled)"],
        "baseline": ["no offloading", "full offloading", "best static", "a", "b", "c"],
        "private_input": [True, False],
    }
    changes = {}
    for field in rng.choice(list(KNOBS), size=rng.integers(1, 5), replace=False).tolist():
        knob, options = KNOBS[field], lists.get(field) or list(KNOBS[field].choices)
        if options:
            changes[field] = options[rng.integers(len(options))]
        elif field in ("batch_size", "min_depth"):
            changes[field] = int(rng.integers(0, 5))
        else:
            low = max(knob.low, knob.high * 1e-12)
            inner = float(f"{low * (knob.high / low) ** rng.random():.6g}")
            changes[field] = [knob.low, knob.high, inner, CHANGES[field]][rng.integers(4)]
    return changes


@pytest.mark.parametrize("seed", range(2))
def test_a_state_is_shown_in_all_its_parts_or_refused_and_nothing_changes(bench, seed):
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(50):
        before = screen(bench)
        try:
            bench.update(**random_changes(rng))
        except ValueError:
            refused += 1
            np.testing.assert_equal(screen(bench), before)
            continue
        assert bench.shown == bench.state.values()
        assert bench.answer
    assert 0 < refused < 40
    assert_all_of_it_is_new(bench)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_cap_bytes": 500.0, "private_input": False},
        {"objective": "energy", "wait_w": 0.0},
        {"objective": "energy", "compute_w": 0.0, "send_w": 0.0, "wait_w": 0.0},
        {"server_load": 1000.0, "round_trip_s": 10.0, "overhead_bytes": 1e9},
    ],
)
def test_scenarios_at_their_limits_are_shown(bench, changes):
    bench.update(**changes)
    assert_all_of_it_is_new(bench)


@pytest.mark.parametrize(
    ("given", "baseline"), [("a", "a"), ("after a", "a"), ("best_static", "best static")]
)
def test_a_baseline_from_python_may_be_a_split_or_spelt_as_an_argument(bench, given, baseline):
    bench.update(baseline=given)
    assert bench.state.baseline == bench.shown["baseline"] == baseline
    assert trace(bench.figure(), "gain").z.max() < 1
    assert_all_of_it_is_new(bench)


@pytest.mark.parametrize(
    "change", [{"min_depth": 2}, {"model": "other"}, {"granularity": "compressive"}]
)
def test_a_baseline_that_is_no_candidate_any_more_moves_along(change):
    graph = tiny_graph("other")
    names = {"a": "d", "b": "e", "c": "c"}
    blocks = tuple(replace(block, name=names[block.name]) for block in graph.blocks)
    bench = SplitWorkbench([profile(), profile(graph=replace(graph, blocks=blocks))], model="tiny")
    bench.update(baseline="b" if "granularity" in change else "a")
    bench.update(**change)
    assert bench.state.baseline == "no offloading"
    with pytest.raises(ValueError, match="not a candidate"):
        bench.update(baseline="full", **change)


SOME = {name: CHANGES[name] for name in CHANGES if name not in ADAPTED}


def test_reset_returns_to_the_start(bench):
    start = bench.state
    bench.update(**SOME)
    assert bench.state != start
    bench.reset()
    assert bench.state == start
    assert_all_of_it_is_new(bench)


def test_a_batch_size_that_the_model_lacks_moves_to_the_nearest(bench):
    bench.update(batch_size=4)
    bench.update(model="tiny_2")
    assert bench.state.batch_size == bench.batch_size == 2


def test_displays_as_a_widget(bench):
    shown = bench._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "application/vnd.jupyter.widget-view+json" in data


# --- words -------------------------------------------------------------------------------------


def test_the_answer_is_that_of_the_state_with_how_sure_it_is(bench):
    # A server 10 times as fast, 100 kbit/s: after a, 10 ms + 1600 bits = 16 ms + 5 ms.
    bench.update(server_speedup=10.0, data_rate_bps=1e5)
    assert bench.answer.startswith("At 100 kbit/s split after a: 31 ms")
    assert "Sure by the device's measurements: best in >99 %" in bench.answer
    bench.update(data_rate_bps=1e4)
    assert bench.answer.startswith("At 10 kbit/s don't split: 60 ms on the device")


# --- errors ------------------------------------------------------------------------------------


def test_what_no_study_can_be_of_is_refused_and_the_browser_goes_back(bench):
    before = screen(bench)
    with pytest.raises(ValueError, match="server_load is 0"):
        moved(bench, server_load=0.0)
    assert screen(bench) == before
    assert "server_load is 0" in bench.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_rate_bps": 1.0}, r"data_rate_bps is 1; choose a number from 10000 to 1e\+10"),
        ({"data_rate_bps": float("nan")}, "data_rate_bps is nan"),
        ({"batch_size": 9}, "No times for batch size 9; choose one from 1 to 4, or profile it"),
        ({"model": "big"}, "No profile 'big' here; choose one of tiny, tiny_2"),
        ({"speed": 1}, "Unknown field 'speed'; choose from model, edge, server"),
        ({"input_encoding": "jpg"}, "Unknown encoding 'jpg'"),
        ({"baseline": "z"}, "'z' is not a candidate here"),
        ({"server_speedup": 0.0}, "server_speedup is 0; choose a number from 0.01 to 100000"),
        ({"round_trip_s": -1.0}, "round_trip_s is -1"),
        ({"edge": "toaster"}, "No machine 'toaster' for 'tiny' here; choose one of bench clock"),
        ({"server": "toaster"}, "No machine 'toaster' for 'tiny' here"),
        ({"private_input": 1}, "private_input is 1; give a value of type bool"),
        ({"batch_size": "4"}, "batch_size is '4'; give a value of type int"),
        ({"granularity": "stage"}, "Unknown granularity 'stage'"),
        ({"min_depth": 9}, "min_depth is 9, but 'tiny' has 3 blocks"),
    ],
)
def test_misuse_from_python_names_value_and_remedy_and_changes_nothing(bench, changes, message):
    before = screen(bench)
    with pytest.raises(ValueError, match=message):
        bench.update(**changes)
    np.testing.assert_equal(screen(bench), before)


# --- state -------------------------------------------------------------------------------------


def test_a_state_written_down_brings_another_workbench_to_the_same_picture(bench):
    bench.update(**SOME)
    assert_all_of_it_is_new(bench)
    assert State.from_json(bench.state.to_json()) == bench.state


def test_a_state_written_by_an_older_version_is_read(bench):
    bench.load_state(
        '{"schema": "dscwb.state/1", "model": "tiny", "edge": "bench clock (measured)", '
        '"server": "assumed speed-up", "server_speedup": 20.0, "data_rate_bps": 3e6, '
        '"batch_size": 4, "round_trip_s": 0.05, "input_encoding": "jpeg 10:1", '
        '"feature_encoding": "int8", "baseline": "best static", "server_load": 2.0, '
        '"device_slowdown": 1.0, "private_input": false, "granularity": "block", '
        '"min_depth": 0, "memory_cap_bytes": 0.0, "overhead_bytes": 64.0, "downlink_bps": 5e6, '
        '"arrival_rate_hz": 0.0, "objective": "energy", "compute_w": 7.0, "send_w": 2.0, '
        '"wait_w": 1.0}'
    )
    study, state = bench.study, bench.state
    assert (state.batch_size, state.data_rate_bps, state.baseline) == (4, 3e6, "best static")
    scenario = study.scenario
    assert (scenario.link.round_trip_s, scenario.link.downlink_bps) == (0.05, 5e6)
    assert scenario.memory_cap_bytes is scenario.arrival_rate_hz is None
    assert scenario.power.compute_w == 7
    assert "input JPEG 10:1" in study.label()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "This is no state of a workbench"),
        ("[]", "it must say 'dscwb.state/1'"),
        ('{"schema": "dscwb.state/2", "model": "tiny"}', "it must say 'dscwb.state/1'"),
        ('{"schema": "dscwb.state/1"}', "names no model"),
        ('{"schema": "dscwb.state/1", "model": "tiny", "x": 1}', "Unknown field 'x'"),
        ('{"schema": "dscwb.state/1", "model": "tiny", "server_load": 0}', "server_load is 0"),
        ('{"schema": "dscwb.state/1", "model": "tiny", "batch_size": true}', "batch_size is True"),
    ],
)
def test_a_text_that_is_no_state_is_refused_and_changes_nothing(bench, text, message):
    before = bench.state
    with pytest.raises(ValueError, match=re.escape(message)):
        bench.load_state(text)
    assert bench.state == before


def test_undo_and_redo_walk_through_the_changes(bench):
    states = [bench.state]
    for change in ({"feature_encoding": "int8"}, {"batch_size": 3}, {"model": "tiny_2"}):
        bench.update(**change)
        states.append(bench.state)
    for state in reversed(states[:-1]):
        bench.undo()
        assert bench.state == state
        assert_all_of_it_is_new(bench)
    bench.undo()  # nothing left: nothing happens
    assert bench.state == states[0]
    for state in states[1:]:
        bench.redo()
        assert bench.state == state
    bench.undo()
    bench.update(feature_encoding="float16")
    bench.redo()  # another way was taken
    assert bench.state.scenario.feature_encoding.name == "float16"


def test_moves_of_one_slider_are_one_step_to_undo(bench):
    start = bench.state
    for rate in (1e6, 2e6, 3e6):
        bench.update(data_rate_bps=rate)
    bench.update(batch_size=3)
    bench.undo()
    assert (bench.state.batch_size, bench.state.data_rate_bps) == (1, 3e6)
    bench.undo()
    assert bench.state == start


def test_a_private_input_gives_up_full_offloading_as_a_baseline(bench):
    bench.update(baseline="full offloading")
    bench.update(private_input=True)
    assert bench.state.baseline == "no offloading"
    assert "full offloading" not in bench.study.splits
    with pytest.raises(ValueError, match="not a candidate"):
        bench.update(baseline="full offloading")


def test_a_server_that_the_next_model_lacks_is_assumed_again():
    bench = SplitWorkbench([profile(), profile(device="card"), profile("other")], model="tiny")
    bench.update(server="card (measured)")
    assert bench.study.server.provenance.device == "card"
    bench.update(model="other")
    assert bench.state.server == ASSUMED
    assert bench.state.edge == "bench clock (measured)"


def test_confidence_comes_with_the_answer_and_hatches_the_map(bench):
    bench.update(data_rate_bps=1e5)
    assert "Sure by the device's measurements" in bench.answer
    assert bench.confidence == {}
    confidence = bench.check_confidence()
    assert not confidence.undecided.any()
    told = bench.confidence
    assert told["state"] == bench.state.values()
    assert len(told["edges_bps"]) == 1 + len(bench.study.data_rates_bps)
    assert np.shape(told["undecided"]) == bench.study.best.shape
    assert len(told["probability"]) == bench.study.best.size
    assert "Hatched:" in caption_of(bench.figure())
    bench.update(server_load=2.0)
    assert bench.confidence == {}  # it was of another study


def test_a_long_check_shows_how_far_it_is_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(hatching, "REST_S", 0)
    monkeypatch.setattr(hatching, "PATIENCE_S", 0)
    told, stopped = threading.Event(), threading.Event()
    ends = []

    def slow(self, replicates, *, progress):
        progress(1, 4)
        told.set()
        assert stopped.wait(60)
        try:
            progress(2, 4)
        except Exception as end:
            ends.append(end)
            raise

    async def use():
        bench = SplitWorkbench(profile())
        assert bench.checking == -1
        monkeypatch.setattr(Study, "confidence", slow)
        await asyncio.to_thread(told.wait, 60)
        await asyncio.sleep(0)
        assert bench.checking == 0.25
        bench._handle_custom_msg("stop", [])
        stopped.set()
        await bench._hatching.task
        assert bench.checking == -1
        assert "Not checked how sure every state is" in bench.message
        return bench

    bench = asyncio.run(use())
    assert len(ends) == 1
    assert bench.confidence == {}


def test_a_newer_study_ends_the_check_of_the_old_one(monkeypatch):
    monkeypatch.setattr(hatching, "REST_S", 0)
    real = Study.confidence
    begun, go_on = threading.Event(), threading.Event()

    def slow(self, replicates, **options):
        if "progress" in options:
            begun.set()
            assert go_on.wait(60)
        return real(self, replicates, **options)

    async def use():
        bench = SplitWorkbench(profile())
        monkeypatch.setattr(Study, "confidence", slow)
        await asyncio.to_thread(begun.wait, 60)
        first = bench._hatching.task
        bench.update(server_load=2.0)
        go_on.set()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        await bench._hatching.task
        return bench

    bench = asyncio.run(use())
    assert bench.confidence["state"]["server_load"] == 2


@pytest.mark.parametrize("which", ["maps", "latency", "breakdown", "compression"])
def test_each_picture_is_a_figure(bench, which):
    assert bench.figure(which).layout.title is not None
    with pytest.raises(ValueError, match="choose one of maps, latency"):
        bench.figure("pie")


# --- files -------------------------------------------------------------------------------------


def test_save_takes_the_format_from_the_name(bench, tmp_path):
    assert bench.save(tmp_path / "a.html").stat().st_size > 1e6
    with pytest.raises(ValueError, match=r"choose one of \.png"):
        bench.save(tmp_path / "a.gif")
    figure = bench.figure()
    assert trace(figure, "gain").zmax == 1
    assert any(note.name == CAPTION for note in figure.layout.annotations)


# --- with the browser and other widgets --------------------------------------------------------


@pytest.fixture
def asked(bench, monkeypatch):
    """What the browser is told of a pair that it asks for: words, and arrays by their place."""
    sent = []
    monkeypatch.setattr(bench, "send", lambda content, buffers: sent.append((content, buffers)))

    def ask(*names, held=()):
        wanted = {"wanted": "\n".join(names), "held": list(held)}
        bench._handle_custom_msg(wanted, [])
        content, buffers = sent.pop()
        assert content["pair"] == wanted["wanted"]
        return content, buffers

    return ask


def test_a_pair_that_the_browser_asks_for_comes_or_is_refused(bench, asked):
    told, (own, other) = asked("tiny", "bench clock (measured)", "T4 (modelled)")
    assert told["edge"]["name"] == "bench clock"
    assert (told["edge"]["head_ns"], told["server"]["head_ns"]) == (0, 1)
    assert (told["edge"]["tail_ns"], told["server"]["tail_ns"]) == (None, None)  # what is left
    times = np.frombuffer(own).reshape(2, -1)
    assert times[:, -1].tolist() == [60 * MS, 240 * MS]
    assert len(np.frombuffer(other)) == 62 * times.shape[1]
    assert bench.state.server == ASSUMED  # the state is the hand's to move
    told, _ = asked("tiny", "bench clock (measured)", "toaster")
    assert "No machine 'toaster' for 'tiny' here" in told["refused"]


def test_what_the_browser_holds_of_a_pair_is_not_sent_again(asked):
    first, _ = asked("tiny", "bench clock (measured)", "T4 (modelled)")
    ids = [first[role]["id"] for role in ("edge", "server")]
    assert len({*ids}) == 2
    told, buffers = asked("tiny", "T4 (modelled)", "bench clock (measured)", held=ids)
    assert [told["edge"], told["server"]] == ids[::-1]
    assert (told["models"], buffers) == (first["models"], [])
    told, buffers = asked(
        "tiny", "H100 SXM (modelled)", "T4 (modelled)", held=[*first["models"], *ids]
    )
    assert (told["models"], told["server"], len(buffers)) == ({}, ids[1], 1)
    assert told["edge"]["name"] == "H100 SXM"


@pytest.mark.parametrize(
    ("name", "there", "here"),
    [("data_rate_bps", 3e6, 4e6), ("batch_size", 3, 4), ("model", "tiny_2", "tiny")],
)
def test_other_widgets_can_be_linked_both_ways(bench, name, there, here):
    kinds = {"data_rate_bps": "FloatText", "batch_size": "IntText", "model": "Text"}
    other = getattr(widgets, kinds[name])()
    widgets.link((bench, name), (other, "value"))
    assert other.value == bench.shown[name]
    other.value = there
    assert bench.state.values()[name] == bench.shown[name] == there
    bench.update(**{name: here})
    assert other.value == here
    moved(bench, **{name: there})
    assert other.value == there
    bench.undo()
    assert other.value == here


def test_a_linked_widget_cannot_set_what_is_not_possible(bench):
    with pytest.raises(ValueError, match="data_rate_bps is 1"):
        bench.data_rate_bps = 1.0
    assert bench.data_rate_bps == bench.state.data_rate_bps == 50e6


def test_a_move_is_a_small_message(bench, monkeypatch):
    messages = []

    def send(message, buffers=None):
        messages.append(set(message["state"]) | {path[0] for path in message["buffer_paths"]})

    monkeypatch.setattr(bench, "_send", send)
    bench.update(data_rate_bps=2e5)
    bench.update(data_rate_bps=3e5)
    bench.update(model="tiny_2")
    assert messages == [
        {"shown", "data_rate_bps", "past"},
        {"shown", "data_rate_bps"},
        {"shown", "model", "past"},
    ]


def test_the_script_needs_no_network_and_no_library(bench):
    script = bench._esm
    assert "export default" in script
    assert not re.search(r"\bimport\b[^\n]*from|https?://(?!www.w3.org)|\bfetch\(|\beval\(", script)


def test_the_first_screen_is_of_measured_machines_and_a_split_wins():
    bench = SplitWorkbench()
    state, study = bench.state, bench.study
    machines = study.edge.provenance, study.server.provenance
    assert {one.origin for one in machines} == {"measured"}
    assert state.scenario.input_encoding.name == "uint8"
    assert state.scenario.feature_encoding.name == "int8"
    best = study.at(state.batch_size, state.data_rate_bps)
    assert best.split in study.splits[1:-1]
    assert not study.cautions()
    assert SplitWorkbench(model="resnet50").study.server.provenance.origin == "measured"


def test_profiles_of_ones_own_start_with_the_first_model_and_an_assumed_server(bench):
    assert (bench.state.model, bench.state.server) == ("tiny", ASSUMED)
    assert bench.state.scenario.input_encoding.name == "float32"
