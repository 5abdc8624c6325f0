"""Fleets of several sizes, and how many devices a server holds, by hand.

Times of `study()` are told in tests/test_controller.py: full offloading takes 0.006 s on the server
and no time on this link, no offloading 0.060 s on the device.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import dscwb
from dscwb.figures import layout
from tests.arrivals import at_times, evenly, poisson
from tests.test_policy import study

FAST = dscwb.Trace([0], [1e12], duration_s=100)
TRIPS = dscwb.Trace([0], [1e12], duration_s=100, round_trips_s=[0.005])
ALL = {"strategies": ["full offloading", "no offloading"]}


def kind(arrivals, trace=FAST):
    return dscwb.Devices("made up", study(), 1, trace, arrivals)


AT_ONCE = kind(at_times([0.0]))  # the k-th of them is answered after 6 k ms


@pytest.mark.parametrize(
    ("share", "number", "late", "more"),
    [(1.0, 16, "0 %", "5.9 %"), (0.5, 32, "50 %", "52 %"), (0.3, 53, "70 %", "just over 70 %")],
)
def test_so_many_keep_a_deadline_and_one_more_does_not(share, number, late, more):
    """16 requests are done within 0.1 s: of all, the share is 16 / N."""
    found = dscwb.most_devices(AT_ONCE, share=share, strategy="full offloading")
    assert found.number == number
    assert found.within[number] == pytest.approx(16 / number)
    assert found.within[number + 1] == pytest.approx(16 / (number + 1))
    assert not found.open
    told = f"within 100 ms, {late} late; {number + 1} have not, {more} late (strategy: full off"
    assert told in repr(found)
    assert type(found.within[number]) is float
    assert repr(found).startswith(f"Devices: {number} have ")


def test_two_workers_hold_twice_as_many():
    found = dscwb.most_devices(AT_ONCE, share=1, strategy="full offloading", workers=2)
    assert found.number == 32


def test_no_device_keeps_what_one_alone_does_not():
    found = dscwb.most_devices(AT_ONCE, deadline_s=0.05, strategy="no offloading")
    assert (found.number, found.within) == (0, {1: 0.0})
    assert "not even 1 has 95 % of their requests answered within 50 ms, 100 % late" in repr(found)


def test_where_no_number_is_too_large_it_says_that_more_were_not_tried():
    found = dscwb.most_devices(AT_ONCE, strategy="no offloading", at_most=11)
    assert (found.number, found.open) == (11, True)
    assert (
        "11 have 95 % of their requests answered within 100 ms, 0 % late; more were not tried"
        in repr(found)
    )


def test_it_says_what_staying_local_comes_to():
    """A device alone takes 60 ms."""
    found = dscwb.most_devices(AT_ONCE, strategy="full offloading")
    assert found.local == 1
    assert "they need no server for it; staying local, 0 % are late" in repr(found)
    found = dscwb.most_devices(AT_ONCE, deadline_s=0.05, strategy="full offloading", share=0.5)
    assert (found.number, found.local) == (16, 0)
    assert "late (strategy: full offloading); staying local, 100 % are late" in repr(found)


def test_an_answer_tells_the_pool_and_the_requests_that_it_is_for():
    """A study's own server load is none of a fleet's, and is not told."""
    loaded = replace(AT_ONCE, study=study(server_load=4.0), timeout_s=0.5, one_at_a_time=True)
    asked = {"strategy": "full offloading", "share": 1, "at_most": 3}
    told = dscwb.most_devices(loaded, workers=2, discipline="shared", **asked).summary()
    assert told["Pool"] == "2 workers, shared"
    assert told["Requests"] == (
        "at given times, finished by the device after 500 ms without an answer, one at a time"
    )
    assert "server load" not in told["Scenario"]
    pools = [dscwb.Servers("near"), dscwb.Servers("far", 3, waiting=4)]
    sizes = dscwb.fleet_sizes(
        replace(kind(poisson(2.0), TRIPS), servers="far"), [1], duration_s=1, servers=pools
    )
    assert "Pool: 3 workers, first come, 4 wait at most." in sizes.label()
    assert "Requests: 2 a second each, by chance." in sizes.label()
    assert "round trip 5 ms in the mean." in sizes.label()
    lasting = dscwb.Trace([0, 30], [1e12, 1e12], duration_s=40, round_trips_s=[0.004, 0.008])
    several = kind(poisson(2.0), [lasting, dscwb.Trace([0], [1e12], duration_s=40)])
    told = dscwb.fleet_sizes(several, [1], duration_s=1).label()
    assert "round trip 5 ms in the mean of the 1 that tell it, 0 s in the others." in told
    assert "Pool: 1 worker, first come." in dscwb.fleet_sizes(AT_ONCE, [1], **ALL).label()


@pytest.mark.parametrize("share", [0.94, 0.95, 0.96, 0.97])
def test_what_it_tells_was_run_also_where_more_devices_are_not_always_worse(share):
    trace = dscwb.Trace([0, 5], [1e5, 1e7], duration_s=20)
    found = dscwb.most_devices(kind(poisson(3.0), trace), deadline_s=0.08, share=share, at_most=100)
    assert found.within.get(found.number, 1) >= share
    assert found.open or found.within[found.number + 1] < share


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 0}, "share is 0"),
        ({"at_most": 0}, "at_most 0"),
        ({"deadline_s": -1}, "seconds above zero"),
        ({"strategy": "nobody"}, "'nobody' is no strategy"),
        ({"strategies": ["selfish"]}, r"strategies is \['selfish'\]; give one as strategy="),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        dscwb.most_devices(AT_ONCE, **changes)


def test_where_no_request_comes_the_remedy_works():
    late = kind(at_times([5.0]))
    with pytest.raises(ValueError, match="No request was counted; give a longer duration_s"):
        dscwb.most_devices(late, duration_s=1)
    assert dscwb.most_devices(late, duration_s=6, at_most=1).number == 1
    sizes = dscwb.fleet_sizes(late, [1, 2], duration_s=1, **ALL)
    assert "full offloading: no request in the mean with 1, no request with 2" in repr(sizes)
    with pytest.raises(ValueError, match="No request was counted; give a longer duration_s"):
        dscwb.plot_fleet(sizes)
    run = dscwb.fleet([late], duration_s=1, strategies=["full offloading"])
    with pytest.raises(ValueError, match="No request was counted; give a longer duration_s"):
        dscwb.plot_split_shares(run, study(), strategy="full offloading")


def test_the_number_that_is_tried_is_shown(capsys):
    asked = {"share": 1, "strategy": "full offloading", "at_most": 20}
    assert dscwb.most_devices(AT_ONCE, **asked, progress=True).number == 16
    shown = capsys.readouterr().err
    assert "trying 20 devices; 16 keep the deadline (" in shown
    assert "\r16 devices keep the deadline (" in shown
    dscwb.most_devices(AT_ONCE, **asked)
    assert capsys.readouterr().err == ""


class Interrupting(dscwb.Arrivals):
    """Somebody presses Ctrl-C once a fleet has a second device."""

    def until(self, duration_s, seeds):
        if seeds[2] == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().until(duration_s, seeds)


def test_an_interrupt_is_told_as_one_and_what_is_done_is_kept(tmp_path):
    held = kind(Interrupting(1.0, times_s=(0.0,)))
    with pytest.raises(KeyboardInterrupt):
        dscwb.most_devices(held)
    with pytest.raises(KeyboardInterrupt, match=r"\[2, 3\] devices have no answer: cancelled"):
        dscwb.fleet_sizes(held, [1, 2, 3], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_sizes_are_the_same_on_any_executor_and_as_fleets_alone(tmp_path):
    ours, numbers = kind(poisson(5.0)), [20, 1, 40]
    found = dscwb.fleet_sizes(ours, numbers, duration_s=20, folder=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        again = dscwb.fleet_sizes(ours, numbers, duration_s=20, executor=pool)
    assert found.table().equals(again.table())
    assert len(list(tmp_path.iterdir())) == 3
    alone = dscwb.fleet([dscwb.Devices("made up", study(), 20, FAST, poisson(5.0))], duration_s=20)
    table = alone.table().xs("all", level="devices")
    assert (found.table().xs(20, level="number")["p99_s"] == table["p99_s"]).all()
    assert found.table()["bound_s"].xs(20, level="number").eq(alone.bound_s).all()
    assert (found.numbers, found.strategies[0]) == ((1, 20, 40), "selfish")


def test_a_size_without_an_answer_is_told():
    with pytest.raises(ValueError, match="'nobody' is no strategy"):
        dscwb.fleet_sizes(AT_ONCE, [1, 2], strategies=["nobody"])
    with pytest.raises(ValueError, match="no values"):
        dscwb.fleet_sizes(AT_ONCE, [])
    with pytest.raises(RuntimeError, match=r"\[1\] devices have no answer: TypeError"):
        dscwb.fleet_sizes(AT_ONCE, [1], wheels=4)


# The picture


def test_the_picture_says_when_offloading_stops_paying():
    """All at once the mean is 6 (N + 1) / 2 ms: 57 ms with 18 devices, 60 and more from 19 on."""
    figure = dscwb.plot_fleet(dscwb.fleet_sizes(AT_ONCE, [1, 10, 18, 20], **ALL))
    told = "offloading pays in the mean with up to 18 devices, no longer with 20"
    assert figure.layout.title.subtitle.text == told
    upright = [shape for shape in figure.layout.shapes if shape.x0 == shape.x1]
    assert [shape.x0 for shape in upright] == [20]
    lines = {trace.meta: trace for trace in figure.data if trace.showlegend}
    assert lines["full offloading"].y == pytest.approx([0.006, 0.033, 0.057, 0.063])
    assert lines["no offloading"].y == pytest.approx([0.06] * 4)
    assert set(lines) == {"full offloading", "no offloading", "lower bound"}


def test_a_number_with_which_no_request_came_says_nothing():
    sizes = dscwb.fleet_sizes(kind(poisson(0.5)), [1, 20], duration_s=1, **ALL)
    assert (sizes.table()["requests"].xs("no offloading") > 0).tolist() == [False, True]
    figure = dscwb.plot_fleet(sizes)
    told = "offloading pays in the mean with up to 20 devices, the most that were run"
    assert figure.layout.title.subtitle.text == told


@pytest.mark.parametrize(
    ("numbers", "given", "told"),
    [
        ([1, 3], ALL, "offloading pays in the mean with up to 3 devices, the most that were run"),
        ([30, 40], ALL, "offloading does not pay in the mean, not even with 30"),
        ([2], {"strategies": ["full offloading"]}, "2 to 2 devices"),
    ],
)
def test_where_there_is_no_such_number_it_says_so(numbers, given, told):
    figure = dscwb.plot_fleet(dscwb.fleet_sizes(AT_ONCE, numbers, **given))
    assert figure.layout.title.subtitle.text == told


def test_the_picture_keeps_the_conventions_of_the_house():
    trace = dscwb.Trace([0, 5], [1e5, 1e7], duration_s=20)
    strategies = ["selfish", "no offloading", "full offloading", "best static", "a"]
    sizes = dscwb.fleet_sizes(kind(evenly(0.2), trace), [1, 5], strategies=strategies)
    figure = dscwb.plot_fleet(sizes)
    assert figure.layout.yaxis.title.text == "Mean latency in s"
    assert figure.layout.yaxis2.title.text == "99th percentile of latency in s"
    lines = [trace for trace in figure.data if trace.showlegend]
    assert len({line.line.color for line in lines}) == len(lines) == 6
    one_row = dscwb.plot_fleet(dscwb.fleet_sizes(kind(evenly(0.2)), [1], strategies=["a"]))
    assert 10 ** one_row.layout.yaxis.range[0] < 0.1 < 10 ** one_row.layout.yaxis.range[1]
    late = dscwb.fleet_sizes(kind(evenly(0.2)), [1], strategies=["a"], deadline_s=0.001)
    assert 10 ** dscwb.plot_fleet(late).layout.yaxis.range[0] < 0.001
    # Their legend has three rows, two in each, below title and subtitle.
    assert figure.layout.margin.t - one_row.layout.margin.t == 2 * layout.LEGEND_ROW
    assert figure.layout.font.size >= 12
    assert "5 a second each, evenly" in layout.caption_of(figure)
    (note,) = figure.layout.annotations
    assert note.text.count("<br>") < 3


def test_lines_above_the_plot_are_told_of():
    """Full offloading takes more than 15 times the deadline, and lies above."""
    trace = dscwb.Trace([0], [1e4], duration_s=20)
    sizes = dscwb.fleet_sizes(kind(evenly(0.2), trace), [1])
    assert "lies above" in layout.caption_of(dscwb.plot_fleet(sizes))
    assert "lies above" not in layout.caption_of(dscwb.plot_fleet(dscwb.fleet_sizes(AT_ONCE, [1])))
    assert [*sizes.summary()][:4] == ["selfish", "no offloading", "full offloading", "best static"]


# Shares over time


def test_shares_over_time_are_those_of_the_requests():
    """One request in the first half, answered by the server in 6 ms; one in the second."""
    kept = kind(at_times([0.0, 1.5]))
    asked = {"duration_s": 2, "bins": 2, "strategies": ["full offloading"]}
    figure = dscwb.plot_split_shares(
        dscwb.fleet([kept], **asked), study(), strategy="full offloading"
    )
    bars, busy = figure.data
    assert (bars.meta, list(bars.x), list(bars.y)) == ("full offloading", [0.5, 1.5], [1, 1])
    assert list(busy.x) == [0, 1, 2]
    assert list(busy.y) == pytest.approx([0.006, 0.006, 0.006])
    assert figure.layout.title.subtitle.text.endswith("full offloading for 100 % of all requests")


def test_kinds_together_are_not_told_as_one():
    both = [AT_ONCE, replace(AT_ONCE, name="others")]
    run = dscwb.fleet(both, duration_s=2, strategies=["a"])
    names = f"{AT_ONCE.name}, others together; told of one of them:"
    assert names in layout.caption_of(dscwb.plot_split_shares(run, study(), strategy="a"))
    alone = dscwb.plot_split_shares(run, study(), strategy="a", devices="others")
    assert "together" not in layout.caption_of(alone)
    assert alone.layout.title.subtitle.text.startswith("after a: ")


def test_all_of_a_time_is_one_bar_as_wide_as_that():
    asked = {"duration_s": 2, "bins": 1, "strategies": ["full offloading"]}
    run = dscwb.fleet([AT_ONCE], **asked)
    figure = dscwb.plot_split_shares(run, study(), strategy="full offloading")
    assert (figure.data[0].width, list(figure.data[0].x)) == (2, [1])
    assert "Each bar counts the requests that came in 2 s." in layout.caption_of(figure)


def test_splits_of_two_models_are_not_drawn_as_those_of_one():
    """Both have splits of the same names."""
    profile = study().edge
    graph = replace(profile.graph, model="another")
    other = dscwb.sweep(
        *[replace(profile, graph=graph)] * 2,
        batch_sizes=[1],
        input_encoding="uint8",
        feature_encoding="int8",
    )
    kinds = [AT_ONCE, dscwb.Devices("others", other, 1, FAST, evenly(1.0))]
    run = dscwb.fleet(kinds, duration_s=1, strategies=["no offloading"])
    asked = {"strategy": "no offloading"}
    with pytest.raises(ValueError, match="'others' run another, and the study is of"):
        dscwb.plot_split_shares(run, study(), **asked)
    assert dscwb.plot_split_shares(run, study(), devices="made up", **asked).data
    assert dscwb.plot_split_shares(run, other, devices="others", **asked).data


def test_shares_of_what_was_not_run_are_refused():
    run = dscwb.fleet([AT_ONCE], duration_s=1, strategies=["no offloading"])
    with pytest.raises(ValueError, match="strategy is 'selfish'; choose one of no offloading"):
        dscwb.plot_split_shares(run, study())
    with pytest.raises(ValueError, match="devices is 'few'; choose one of all, made up"):
        dscwb.plot_split_shares(run, study(), strategy="no offloading", devices="few")
