"""Every control driven from Python, and what the picture, the words and the files say then."""

import asyncio
import json
import re
import struct
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dscwb.figures.layout import CAPTION, STATE, caption_of
from dscwb.policy import Policy
from dscwb.study import Study
from dscwb.workbench import hatching
from dscwb.workbench.session import SplitWorkbench
from dscwb.workbench.state import ASSUMED, KNOBS, PRESETS, State
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
    """All that is to be seen: the picture's traits, the words, the text, every control."""
    widget = bench._view
    picture = {name: getattr(widget, name) for name in widget.trait_names(sync=True)}
    picture = {name: value for name, value in picture.items() if name not in ("layout", "clicked")}
    controls = [(field, one.value) for field, one in bench._controls.of_fields()]
    return picture, bench._answer.text, bench._text.value, bench.study, bench.state, controls


def assert_controls_show_the_state(bench):
    values = bench.state.values()
    for field, widget in bench._controls.of_fields():
        assert bench._controls.shows(field, widget, values), field


def assert_all_of_it_is_new(bench):
    """Picture, words and text are those of the state: a workbench that opens there shows them."""
    other = SplitWorkbench(MODELS, model="tiny")
    other.load_state(bench.state)
    here, there = screen(bench), screen(other)
    np.testing.assert_equal(here[:3], there[:3])
    assert here[4] == there[4]
    assert_controls_show_the_state(bench)


def trace(figure, name):
    return next(figure.select_traces({"name": name}))


# --- state and picture -------------------------------------------------------------------------


def test_rate_and_batch_only_move_the_mark(bench):
    study, scene = bench.study, bench._view.scene
    bench._controls["data_rate_bps"].value = 2.0
    bench._controls["batch_size"].value = 3
    assert (bench.state.data_rate_bps, bench.state.batch_size) == (2e6, 3)
    at = bench._view.at
    assert (at["data_rate_bps"], at["batch_size"], at["answer"]) == (2e6, 3, bench.answer)
    assert bench.study is study
    assert bench._view.scene is scene


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
# What a person types, in the control's own unit.
TYPED = {
    "round_trip_s": 50.0,
    "data_rate_bps": 0.1,
    "memory_cap_bytes": 0.002,
    "downlink_bps": 5.0,
}
ADAPTED = {"private_input", "min_depth"}  # full offloading is no baseline then
ONE_STUDY = {"data_rate_bps", "batch_size", "baseline"}
POWER = {"compute_w", "send_w", "wait_w"}


@pytest.mark.parametrize("field", CHANGES)
def test_each_control_changes_state_study_and_picture(bench, field):
    if field in POWER:
        bench.update(objective="energy")
    study = bench.study
    bench._controls[field].value = TYPED.get(field, CHANGES[field])
    assert bench.state.values()[field] == pytest.approx(CHANGES[field])
    assert (bench.study is study) == (field in ONE_STUDY)
    assert_all_of_it_is_new(bench)


def test_every_field_has_a_control_and_a_test(bench):
    assert set(CHANGES) == set(bench.state.values()) == set(KNOBS)


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
        widget = bench._view
        assert widget.at["answer"] == bench._answer.text == bench.answer
        assert widget.at["batch_size"] == bench.state.batch_size
        assert widget.scene["caption"].startswith(bench.study.label())
        assert State.from_json(bench._text.value) == bench.state
        assert_controls_show_the_state(bench)
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
    assert bench.state.baseline == bench._controls["baseline"].value == baseline
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
    assert bench._controls["batch_size"].options == (("1", 1), ("≈ 2", 2), ("≈ 3", 3), ("4", 4))
    bench.update(batch_size=4)
    bench._controls["model"].value = "tiny_2"
    assert bench.state.batch_size == 2
    assert bench._controls["batch_size"].options == (("1", 1), ("2", 2))


def test_rate_slider_and_number_agree_and_show_megabytes(bench):
    slider, number = bench._controls["data_rate_bps"], bench._controls.number
    number.value = 8.0
    assert bench.state.data_rate_bps == 8e6
    assert slider.value == 8.0
    assert "1 MB/s" in bench._controls.rate_words.value
    slider.value = 10**1.5  # three digits are enough for a slider
    assert bench.state.data_rate_bps == 31.6e6
    assert number.value == 31.6


def test_a_slider_that_the_browser_moves_to_its_nearest_step_changes_nothing(bench):
    bench.update(data_rate_bps=50e6)
    bench._controls["data_rate_bps"].value = 10**1.7  # 50.1, the step nearest to 50
    assert bench.state.data_rate_bps == 50e6
    bench._controls["data_rate_bps"].value = 10**1.72
    assert bench.state.data_rate_bps == 52.5e6


def test_a_click_on_a_map_sets_rate_and_batch(bench):
    bench._view.clicked = {"data_rate_bps": 123456.0, "batch_size": 3, "serial": 1}
    assert (bench.state.data_rate_bps, bench.state.batch_size) == (123e3, 3)
    bench.update(model="tiny_2", batch_size=1)
    bench._view.clicked = {"data_rate_bps": 1e5, "batch_size": 4, "serial": 2}
    assert bench.state.batch_size == 1  # a click into a study that is gone is not heard


def test_static_backend_redraws_the_same_pictures():
    bench = SplitWorkbench(profile(), backend="static")
    figures = ("maps", "latency", "breakdown", "compression")
    first = bench._view.outputs
    for change in ({"data_rate_bps": 2e6}, {"feature_encoding": "int8"}):
        bench.update(**change)
        shown = bench._view.outputs
        assert shown != first
        drawn = [one["data"]["application/vnd.plotly.v1+json"] for one in shown]
        assert drawn == [json.loads(bench.figure(name).to_json()) for name in figures]
    for mark in bench.figure().select_traces({"name": STATE}):
        assert list(mark.x) == [2e6]


def test_displays_as_a_widget(bench):
    shown = bench._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "application/vnd.jupyter.widget-view+json" in data


# --- words -------------------------------------------------------------------------------------


def test_the_answer_in_words(bench):
    # A server 10 times as fast, 100 kbit/s: after a, 10 ms + 1600 bits = 16 ms + 5 ms.
    bench.update(server_speedup=10.0, data_rate_bps=1e5)
    assert bench.answer == (
        "Send after a (float32, 200 B): 31 ms (device 10 ms + transfer 16 ms + server 5 ms), "
        "48 % faster than no offloading; stays best from 0.0356 to 0.178 Mbit/s. "
        # No offloading costs the same where the server takes 34 ms instead of 5.
        "Sure: >99 % by the device's measurements, and the answer stays the same until the server "
        "is 6.8 × slower (server assumed, error unknown, 2 × slower and faster were tried). "
        "Measured → assumed."
    )
    bench.update(data_rate_bps=1e4)
    assert bench.answer.startswith(
        "Run all on the device (no offloading): 60 ms (device 60 ms), which is no offloading "
        "itself; stays best up to 0.0356 Mbit/s. Sure: >99 % by"
    )
    bench.update(data_rate_bps=1e6, baseline="full offloading")
    assert bench.answer.startswith(
        "Send the input (full offloading; float32, 400 B): 9.2 ms (transfer 3.2 ms + server 6 ms), "
        "which is full offloading itself; stays best from 0.178 Mbit/s up. Sure: >99 % by"
    )


def test_the_answer_says_where_there_was_no_measurement(bench):
    bench.update(batch_size=2)
    assert "Batch size 2 is interpolated, not measured." in bench.answer


def test_the_answer_says_where_the_measurement_is_poor():
    noisy = profile(batches=(1,))
    noisy.passes[0].plain_ns[:] = [40 * MS, 60 * MS, 90 * MS]
    answer = SplitWorkbench(noisy).answer
    assert "The device's times at batch size 1 are unreliable: the middle half" in answer
    assert "The server's" not in answer


def test_one_candidate_everywhere_is_best_at_every_rate():
    free = profile_of(tiny_graph(), {1: [0, 0, 1]})
    bench = SplitWorkbench(free, server_speedup=1.0)
    assert "stays best at every data rate" in bench.answer


# --- errors ------------------------------------------------------------------------------------


def test_an_error_is_shown_in_one_line_and_raised_and_nothing_moves(bench):
    before = screen(bench)
    with pytest.raises(ValueError, match="No machine"):
        bench._guarded(lambda: bench.update(edge="toaster\n"))
    assert "'toaster" in bench.message
    assert "\n" not in bench.message
    assert "role='alert'" in bench._message.value
    np.testing.assert_equal(screen(bench), before)
    bench._controls["batch_size"].value = 4  # and the line goes when something works again
    assert bench.message == ""


def test_words_of_an_error_are_not_taken_for_html(bench):
    with pytest.raises(ValueError, match="<b>"):
        bench._guarded(lambda: bench.update(model="<b>"))
    assert "&lt;b&gt;" in bench._message.value


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


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="choose one of canvas, static"):
        SplitWorkbench(profile(), backend="widget")


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


def test_the_text_on_the_screen_is_the_state_and_can_be_replaced(bench):
    text = bench._text.value
    bench.update(feature_encoding="int8", data_rate_bps=3e6)
    assert '"feature_encoding": "int8"' in bench._text.value
    bench._text.value = text
    press(bench, "Load")
    assert bench.state.scenario.feature_encoding.name == "float32"


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
    for rate in (1.0, 2.0, 3.0):
        bench._controls["data_rate_bps"].value = rate
    bench._controls["batch_size"].value = 3
    bench.undo()
    assert (bench.state.batch_size, bench.state.data_rate_bps) == (1, 3e6)
    bench.undo()
    assert bench.state == start


def test_choices_in_one_list_are_steps_of_their_own(bench):
    for encoding in ("float16", "int8"):
        bench._controls["feature_encoding"].value = encoding
    for preset in ("3G", "4G"):
        bench._controls.preset.value = preset
    bench.undo()
    assert bench.state.data_rate_bps == PRESETS["3G"][0]
    bench.undo()
    bench.undo()
    assert bench.state.scenario.feature_encoding.name == "float16"


def test_undo_and_redo_can_be_pressed_only_where_there_is_something(bench):
    def possible():
        return [not find(bench, label).disabled for label in ("Undo", "Redo")]

    assert possible() == [False, False]
    bench._controls["feature_encoding"].value = "int8"
    assert possible() == [True, False]
    press(bench, "Undo")
    assert possible() == [False, True]
    press(bench, "Redo")
    assert possible() == [True, False]
    press(bench, "Undo")
    bench.update(batch_size=4)
    assert possible() == [True, False]


def test_a_preset_sets_rate_and_round_trip(bench):
    bench._controls.preset.value = "4G"
    state = bench.state
    assert (state.data_rate_bps, state.scenario.link.round_trip_s) == PRESETS["4G"] == (6e6, 0.05)
    assert bench._controls.preset.value not in PRESETS  # ready to be chosen again


def test_a_private_input_gives_up_full_offloading_as_a_baseline(bench):
    bench.update(baseline="full offloading")
    bench._controls["private_input"].value = True
    assert bench.state.baseline == "no offloading"
    assert "full offloading" not in bench.study.splits
    offered = [value for _, value in bench._controls["baseline"].options]
    assert "full offloading" not in offered
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
    assert "Sure: >99 % by the device's measurements, and" in bench.answer
    confidence = bench.check_confidence()
    assert not confidence.undecided.any()
    assert "of 400 bootstrap replicates" in bench._view.scene["caption"]
    assert "Hatched:" in caption_of(bench.figure())
    bench.update(server_load=2.0)
    caption = bench._view.scene["caption"]
    assert "bootstrap" not in caption  # it was of another study


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
        row = bench._hatching.widget
        assert row.layout.visibility == "hidden"
        # Not of the batch size alone, which is quick.
        monkeypatch.setattr(Study, "confidence", slow)
        await asyncio.to_thread(told.wait, 60)
        await asyncio.sleep(0)
        assert row.layout.visibility == "visible"
        assert row.children[1].value == 0.25
        press(bench, "Stop")
        stopped.set()
        await bench._hatching.task
        assert row.layout.visibility == "hidden"
        assert "Not checked how sure every state is" in bench.message
        return bench

    bench = asyncio.run(use())
    assert len(ends) == 1
    assert bench._shown.confidence is None


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
    assert bench._shown.confidence.study.scenario.server_load == 2


def test_a_text_half_typed_outlives_a_check_that_ends_meanwhile(bench):
    assert State.from_json(bench._text.value) == bench.state
    bench._text.value = "half a text"
    bench.check_confidence()
    assert bench._text.value == "half a text"
    bench.update(batch_size=1, data_rate_bps=2e6)
    assert State.from_json(bench._text.value) == bench.state


def test_without_a_measurement_the_answer_speaks_of_the_models_alone(bench):
    bench.update(edge="T4 (modelled)", server="H100 SXM (modelled)", data_rate_bps=1e5)
    assert (
        "Sure by the models alone: the answer stays the same even if both are off" in bench.answer
    )
    assert bench.answer.endswith("Modelled → modelled.")


@pytest.mark.parametrize("which", ["maps", "latency", "breakdown", "compression"])
def test_each_picture_is_a_figure(bench, which):
    assert bench.figure(which).layout.title is not None
    with pytest.raises(ValueError, match="choose one of maps, latency"):
        bench.figure("pie")


# --- files -------------------------------------------------------------------------------------


def find(bench, label):
    """The button that says so."""
    waiting = [bench._box]
    while waiting:
        one = waiting.pop()
        if getattr(one, "description", "") == label:
            return one
        waiting.extend(getattr(one, "children", ()))
    raise AssertionError(f"no button {label}")


def press(bench, label):
    find(bench, label).click()


def test_two_exports_within_a_second_are_two_files(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        press(bench, "CSV")
        bench.update(feature_encoding="int8")
    assert len(list(tmp_path.glob("dscwb-tiny-*.csv"))) == 3


def test_csv_button_writes_the_numbers_of_the_study(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    press(bench, "CSV")
    (path,) = tmp_path.glob("dscwb-tiny-*.csv")
    assert re.fullmatch(r"dscwb-tiny-\d{8}T\d{6}Z\.csv", path.name)
    assert bench.message == f"Saved {path}"
    table = pd.read_csv(path)
    numbers = bench.study.to_pandas()
    pd.testing.assert_frame_equal(table[numbers.columns], numbers)
    assert table["scenario"].nunique() == 1
    assert "features float32" in table["scenario"][0]


def test_policy_and_parquet_buttons_write_files_that_open(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    press(bench, "Policy")
    (path,) = tmp_path.glob("dscwb-tiny-*.json")
    assert Policy.load(path).best_split(1, 1e5) == bench.study.at(1, 1e5).split
    press(bench, "Parquet")
    (path,) = tmp_path.glob("dscwb-tiny-*.parquet")
    table = pd.read_parquet(path)
    pd.testing.assert_frame_equal(table, bench.study.to_pandas(), check_flags=False)
    assert table.attrs["model"] == bench.study.stamp()["model"]


def test_html_button_writes_a_page_that_needs_no_network(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    press(bench, "HTML")
    (path,) = tmp_path.glob("dscwb-tiny-*.html")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", text)
    assert "imagined machine" in text


@pytest.mark.browser
def test_image_buttons_write_images(bench, tmp_path, monkeypatch, chromium):
    monkeypatch.setenv("BROWSER_PATH", str(chromium))
    monkeypatch.chdir(tmp_path)
    press(bench, "PNG")
    (path,) = tmp_path.glob("*.png")
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", head[16:20]) == (2 * 1280,)
    press(bench, "SVG")
    (path,) = tmp_path.glob("*.svg")
    assert "Best split of tiny" in path.read_text(encoding="utf-8")


def test_without_a_browser_the_remedy_stands_beside_the_buttons(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    press(bench, "PNG")  # ipywidgets logs what a button raises
    assert "install one" in bench.message
    assert "camera button" in bench.message


def test_save_takes_the_format_from_the_name(bench, tmp_path):
    assert bench.save(tmp_path / "a.html").stat().st_size > 1e6
    with pytest.raises(ValueError, match=r"choose one of \.png"):
        bench.save(tmp_path / "a.gif")
    figure = bench.figure()
    assert trace(figure, "gain").zmax == 1
    assert any(note.name == CAPTION for note in figure.layout.annotations)
