"""Every control driven from Python, and what the picture, the words and the files say then."""

import asyncio
import re
import struct
import threading
from contextlib import suppress
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd
import pytest

from dscwb.figures.cells import map_cells, split_cells
from dscwb.figures.maps import GAIN, MAP, STATE
from dscwb.figures.page import CAPTION, caption_of
from dscwb.policy import Policy
from dscwb.profiles.files import save_profile
from dscwb.profiles.records import ProfileError
from dscwb.shelf import Shelf, family, find_profiles
from dscwb.study.sweeps import Study
from dscwb.workbench import checks
from dscwb.workbench.choices import ASSUMED, LIMITS, PRESETS, STUDY_FIELDS, State
from dscwb.workbench.session import SplitWorkbench
from dscwb.workbench.views import differences
from dscwb.workbench.words import in_words
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000


def profile(model="tiny", batches=(1, 4), device="bench clock", spread=0):
    """10, 20, 30 ms a sample and layer; `spread` is the share by which passes differ."""
    times = {size: [10 * MS * size, 20 * MS * size, 30 * MS * size] for size in batches}
    return profile_of(tiny_graph(model), times, device=device)


@pytest.fixture
def bench():
    """Two models of one family; the second has fewer batch sizes."""
    models = [profile(), profile("tiny_2", batches=(1, 2))]
    return SplitWorkbench(models, model="tiny", backend="widget")


def live(bench):
    return bench._view.figure


def trace(figure, name):
    return next(figure.select_traces({"name": name}))


def assert_same_picture(shown, wanted):
    """All data and all of the layout, the browser's own unique ids apart."""
    for old, new in zip(shown.data, wanted.data, strict=True):
        left, right = old.to_plotly_json(), new.to_plotly_json()
        left.pop("uid", None)
        np.testing.assert_equal(left, right)
    np.testing.assert_equal(shown.layout.to_plotly_json(), wanted.layout.to_plotly_json())


# --- state and picture -------------------------------------------------------------------------


def test_picture_is_that_of_the_study(bench):
    figure, study = live(bench), bench.study
    assert "input float32, features float32" in caption_of(figure)
    np.testing.assert_array_equal(trace(figure, MAP).z, split_cells(map_cells(study)).index)
    assert_same_picture(figure, bench.figure())


def test_rate_and_batch_only_move_the_mark(bench):
    before = trace(live(bench), MAP).to_plotly_json()
    study = bench.study
    bench._controls["data_rate_bps"].value = 2.0
    bench._controls["batch_size"].value = 3
    assert (bench.state.data_rate_bps, bench.state.batch_size) == (2e6, 3)
    for mark in live(bench).select_traces({"name": STATE}):
        assert (list(mark.x), list(mark.y)) == ([2e6], [2])
    assert bench.study is study
    np.testing.assert_equal(trace(live(bench), MAP).to_plotly_json(), before)


CHANGES = {
    "model": "tiny_2",
    "edge": "T4 (modelled)",
    "server": "H100 SXM (modelled)",
    "server_speedup": 3.0,
    "round_trip_s": 0.05,
    "input_encoding": "jpeg 10:1",
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


@pytest.mark.parametrize("field", CHANGES)
def test_each_control_changes_state_study_and_picture(bench, field):
    study = bench.study
    bench._controls[field].value = TYPED.get(field, CHANGES[field])
    assert getattr(bench.state, field) == pytest.approx(CHANGES[field])
    assert (bench.study is study) == (field not in STUDY_FIELDS)
    assert_same_picture(live(bench), bench.figure())


def test_every_field_has_a_control_and_a_test():
    assert set(CHANGES) == {field.name for field in fields(State)}
    assert set(LIMITS) <= set(CHANGES)
    assert set(CHANGES) > STUDY_FIELDS


def test_the_picture_is_right_after_any_sequence_of_changes(bench):
    rng = np.random.default_rng(7)
    start = asdict(bench.state)
    for _ in range(40):
        field = str(rng.choice(list(CHANGES)))
        value = CHANGES[field] if rng.random() < 0.6 else start[field]
        with suppress(ValueError):  # full offloading while inputs must stay, say
            bench.update(**{field: value})
        assert_same_picture(live(bench), bench.figure())
        for control in bench._controls._controls:
            assert control.shows(getattr(bench.state, control.field))


def test_a_split_can_be_the_baseline_from_python(bench):
    bench.update(baseline="a")
    assert bench._controls["baseline"].value == "a"
    assert trace(live(bench), GAIN).z.max() < 1
    assert_same_picture(live(bench), bench.figure())


SOME = {name: CHANGES[name] for name in CHANGES if name not in ADAPTED}


def test_reset_returns_to_the_start(bench):
    start = bench.state
    bench.update(**SOME)
    assert bench.state != start
    bench.reset()
    assert bench.state == start
    assert_same_picture(live(bench), bench.figure())


def test_a_batch_size_that_the_model_lacks_moves_to_the_nearest(bench):
    bench.update(batch_size=4)
    bench._controls["model"].value = "tiny_2"
    assert bench.state.batch_size == 2
    assert bench._controls["batch_size"].options == (("1", 1), ("2", 2))


def test_interpolated_batch_sizes_are_marked_on_the_slider(bench):
    assert bench._controls["batch_size"].options == (("1", 1), ("≈ 2", 2), ("≈ 3", 3), ("4", 4))


def test_rate_slider_and_number_agree_and_show_megabytes(bench):
    slider, number = (one for one in bench._controls._controls if one.field == "data_rate_bps")
    number.widget.value = 8.0
    assert bench.state.data_rate_bps == 8e6
    assert slider.widget.value == 8.0
    assert "1 MB/s" in bench._controls._rate_words.value
    slider.widget.value = 10**1.5  # three digits are enough for a slider
    assert bench.state.data_rate_bps == 31.6e6
    assert number.widget.value == 31.6


def test_a_slider_that_the_browser_moves_to_its_nearest_step_changes_nothing(bench):
    bench.update(data_rate_bps=50e6)
    bench._controls["data_rate_bps"].value = 10**1.7  # 50.1, the step nearest to 50
    assert bench.state.data_rate_bps == 50e6
    bench._controls["data_rate_bps"].value = 10**1.72
    assert bench.state.data_rate_bps == 52.5e6


def test_a_click_on_either_map_sets_rate_and_batch(bench):
    names = [one.name for one in live(bench).data]
    for curve, rate in ((names.index(MAP), 123456.0), (names.index(GAIN), 7654321.0)):
        live(bench)._js2py_pointsCallback = {
            "event_type": "plotly_click",
            "points": {
                "trace_indexes": [curve],
                "point_indexes": [[2, 5]],
                "xs": [rate],
                "ys": [2],
            },
            "device_state": None,
            "selector": None,
        }
        assert bench.state.batch_size == 3
        assert bench.state.data_rate_bps == pytest.approx(rate, rel=5e-3)


def test_a_reloaded_page_gets_what_is_shown_now(bench):
    bench.update(feature_encoding="int8", data_rate_bps=3e6)
    state = live(bench).get_state()
    names = [one["name"] for one in state["_widget_data"]]
    shown = state["_widget_data"][names.index(STATE)]
    assert np.asarray(shown["x"]).tolist() == [3e6]
    z = np.asarray(state["_widget_data"][names.index(MAP)]["z"])
    np.testing.assert_array_equal(z, split_cells(map_cells(bench.study)).index)
    notes = [note["text"] for note in state["_widget_layout"]["annotations"]]
    assert any("features int8" in note.replace("<br>", " ") for note in notes)


def test_static_backend_redraws_all_figures():
    bench = SplitWorkbench(profile(), backend="static")
    first = bench._view.widget.outputs
    bench.update(data_rate_bps=2e6)
    second = bench._view.widget.outputs
    assert first != second
    titles = [str(one["data"]["application/vnd.plotly.v1+json"]["layout"]) for one in second]
    assert len(titles) == 4
    bench.update(feature_encoding="int8")
    assert_same_picture(bench._view._maps, bench.figure())


def test_displays_as_a_widget(bench):
    shown = bench._repr_mimebundle_()
    data = shown[0] if isinstance(shown, tuple) else shown
    assert "application/vnd.jupyter.widget-view+json" in data


def test_differences_name_what_plotly_is_to_change():
    old = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "notes": [{"text": "p"}, {"text": "q"}]}
    new = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "notes": [{"text": "p"}, {"text": "r"}], "e": 5}
    assert dict(differences(old, new)) == {"b.c": [1, 3], "notes[1].text": "r", "e": 5}
    assert dict(differences({"z": np.eye(2)}, {"z": np.eye(2)})) == {}
    assert list(dict(differences({"z": np.eye(2)}, {"z": np.eye(3)}))) == ["z"]


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
    assert "stays best at every data rate" in in_words(bench.study, bench.state)


# --- errors ------------------------------------------------------------------------------------


def test_an_error_is_shown_in_one_line_and_raised_and_nothing_moves(bench, tmp_path):
    save_profile(profile(), tmp_path / "good.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 not really")
    bench = SplitWorkbench(tmp_path, backend="widget")
    before, picture = bench.state, bench.figure()
    assert dict(bench._controls._family.options) == {"tiny": "tiny", "torn": "torn"}
    with pytest.raises(ProfileError):
        bench._controls._family.value = "torn"
    assert "torn.parquet" in bench.message
    assert "\n" not in bench.message
    assert "role='alert'" in bench._message.widget.value
    assert bench.state == before
    assert bench._controls["model"].value == bench._controls._family.value == "tiny"
    assert_same_picture(live(bench), picture)
    bench._controls["batch_size"].value = 4  # and the line goes when something works again
    assert bench.message == ""


def test_words_of_an_error_are_not_taken_for_html(bench):
    with pytest.raises(ValueError, match="<b>"):
        bench._guarded(lambda: bench.update(model="<b>"))
    assert "&lt;b&gt;" in bench._message.widget.value


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
    before = bench.state
    with pytest.raises(ValueError, match=message):
        bench.update(**changes)
    assert bench.state == before
    assert_same_picture(live(bench), bench.figure())


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="choose one of canvas, widget, static"):
        SplitWorkbench(profile(), backend="svg")


# --- shelf -------------------------------------------------------------------------------------


def test_data_are_found_in_a_folder_above(tmp_path, monkeypatch):
    save_profile(profile(), tmp_path / "data" / "profiles" / "one.parquet")
    inside = tmp_path / "notebooks"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert find_profiles("data/profiles") == tmp_path / "data" / "profiles"
    assert SplitWorkbench().state == State("tiny", edge="bench clock (measured)")


def test_nothing_there_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match=r"No my/own in .* nor in a folder above it; make"):
        find_profiles("my/own")
    with pytest.raises(ProfileError, match=r"No profiles in .*; make one with"):
        Shelf(tmp_path)
    with pytest.raises(ProfileError, match="No profiles in"):
        Shelf([])


def test_models_are_in_natural_order_and_machines_told_apart():
    given = [profile("b10"), profile("b2"), profile("b2", device="other"), profile("b10")]
    shelf = Shelf(given)
    assert shelf.models == ("b2", "b10")
    assert shelf.machines("b2")[:2] == ("bench clock (measured)", "other (measured)")
    twice = shelf.machines("b10")[:2]
    assert twice == (
        "bench clock (measured), float32, profile 1",
        "bench clock (measured), float32, profile 4",
    )
    assert shelf.profile("b10", twice[1]) is given[3]
    assert shelf.profile("b2", "other (measured)") is given[2]


def test_devices_of_the_catalogue_are_modelled_and_say_so():
    shelf = Shelf(profile())
    t4 = shelf.profile("tiny", "T4 (modelled)")
    assert (t4.provenance.origin, t4.provenance.device) == ("modelled", "T4")
    assert t4.batch_sizes == tuple(range(1, 63))
    assert shelf.profile("tiny", "T4 (modelled)") is t4


def test_families_hold_their_models_smallest_first():
    graph = tiny_graph("net_b")
    larger = replace(graph, layers=tuple(replace(x, flops=9000) for x in graph.layers))
    large = replace(profile("net_b"), graph=larger)
    shelf = Shelf([large, profile("net_s"), profile("other50")])
    assert shelf.families() == {
        "net": (("s", "net_s"), ("b", "net_b")),
        "other": (("50", "other50"),),
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("efficientnet_b0", "efficientnet"),
        ("tf_efficientnetv2_b0", "tf_efficientnetv2"),
        ("mobilenetv3_large_100", "mobilenetv3"),
        ("resnet50", "resnet"),
        ("vit_small_patch16_224", "vit"),
        ("inception_v3", "inception"),
        ("MyNet", "MyNet"),
        ("9", "9"),
    ],
)
def test_a_family_is_what_stands_before_the_size(model, name):
    assert family(model) == name


def test_one_file_one_profile_or_a_list_do(tmp_path):
    path = save_profile(profile(), tmp_path / "x.parquet")
    for source in (path, str(path), profile(), [profile()], iter([profile()])):
        assert Shelf(source).models == ("tiny",)


# --- state -------------------------------------------------------------------------------------


def test_a_state_written_down_brings_another_workbench_to_the_same_picture(bench):
    bench.update(**SOME)
    other = SplitWorkbench(
        [profile(), profile("tiny_2", batches=(1, 2))], model="tiny", backend="widget"
    )
    other.load_state(bench.state.to_json())
    assert other.state == bench.state
    assert_same_picture(live(other), bench.figure())
    assert State.from_json(bench.state.to_json()) == bench.state


def test_the_text_on_the_screen_is_the_state_and_can_be_replaced(bench):
    text = bench._text.value
    bench.update(feature_encoding="int8", data_rate_bps=3e6)
    assert '"feature_encoding": "int8"' in bench._text.value
    bench._text.value = text
    bench._guarded(bench._load_text)
    assert bench.state.feature_encoding == "float32"


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
        assert_same_picture(live(bench), bench.figure())
    bench.undo()  # nothing left: nothing happens
    assert bench.state == states[0]
    for state in states[1:]:
        bench.redo()
        assert bench.state == state
    bench.undo()
    bench.update(feature_encoding="float16")
    bench.redo()  # another way was taken
    assert bench.state.feature_encoding == "float16"


def test_moves_of_one_slider_are_one_step_to_undo(bench):
    start = bench.state
    for rate in (1.0, 2.0, 3.0):
        bench._controls["data_rate_bps"].value = rate
    bench._controls["batch_size"].value = 3
    bench.undo()
    assert bench.state.position == (1, 3e6)
    bench.undo()
    assert bench.state == start


def test_a_preset_sets_rate_and_round_trip(bench):
    bench._controls._preset.value = "4G"
    assert bench.state.data_rate_bps == PRESETS["4G"].data_rate_bps
    assert bench.state.round_trip_s == PRESETS["4G"].round_trip_s
    assert bench._controls._preset.value not in PRESETS  # ready to be chosen again


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
    bench = SplitWorkbench(
        [profile(), profile(device="card"), profile("other")], model="tiny", backend="widget"
    )
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
    assert bench.figure().layout == live(bench).layout
    bench.update(server_load=2.0)
    assert bench._confidence is None  # of another study


def test_a_long_check_shows_how_far_it_is_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(checks, "REST_S", 0)
    monkeypatch.setattr(checks, "PATIENCE_S", 0)
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
        bench = SplitWorkbench(profile(), backend="widget")
        row = bench._check.progress.widget
        assert row.layout.visibility == "hidden"
        # Not of the batch size alone, which is quick.
        monkeypatch.setattr(Study, "confidence", slow)
        await asyncio.to_thread(told.wait, 60)
        await asyncio.sleep(0)
        assert row.layout.visibility == "visible"
        assert (row.children[1].value, row.children[1].max) == (1, 4)
        press(bench, "Stop")
        stopped.set()
        await bench._check.task
        assert row.layout.visibility == "hidden"
        assert "Not checked how sure every state is" in bench.message
        return bench

    bench = asyncio.run(use())
    assert len(ends) == 1
    assert bench._confidence is None


def test_a_newer_study_ends_the_check_of_the_old_one(monkeypatch):
    monkeypatch.setattr(checks, "REST_S", 0)
    real = Study.confidence
    begun, go_on = threading.Event(), threading.Event()

    def slow(self, replicates, **options):
        if "progress" in options:
            begun.set()
            assert go_on.wait(60)
        return real(self, replicates, **options)

    async def use():
        bench = SplitWorkbench(profile(), backend="widget")
        monkeypatch.setattr(Study, "confidence", slow)
        await asyncio.to_thread(begun.wait, 60)
        first = bench._check.task
        bench.update(server_load=2.0)
        go_on.set()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        await bench._check.task
        return bench

    bench = asyncio.run(use())
    assert bench._confidence.states.scenario.server_load == 2


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


def press(bench, label):
    waiting = [bench._box]
    while waiting:
        one = waiting.pop()
        if getattr(one, "description", "") == label:
            return one.click()
        waiting.extend(getattr(one, "children", ()))
    raise AssertionError(f"no button {label}")


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
    assert trace(figure, GAIN).zmax == 1
    assert any(note.name == CAPTION for note in figure.layout.annotations)
