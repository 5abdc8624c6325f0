"""Where the time goes: parts by hand, and no candidate without a bar or a reason."""

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.figures import plot_latency_breakdown
from dscwb.figures.latency_breakdown import BEST, TOTAL
from dscwb.figures.layout import caption_of
from dscwb.profiles.records import Passes, Profile, Provenance, Separate
from dscwb.scenario import Link, PowerModel
from tests.pictures import MS, POINT, study_of, tiny_study
from tests.pictures import trace as mark
from tests.tiny import profile_of, tiny_graph


def bars(figure):
    return {one.meta: one for one in figure.data if one.type == "bar"}


def parts(figure):
    return {name: bar.y for name, bar in bars(figure).items()}


def test_parts_by_hand():
    study = tiny_study(link=Link(0.004, downlink_bps=3.2e5))
    seconds = parts(plot_latency_breakdown(study, **POINT))
    np.testing.assert_allclose(seconds["head"], [0, 0.010, 0.030, 0.060])
    np.testing.assert_allclose(seconds["transfer"], [0.032, 0.016, 0.0256, 0])
    # 4 ms there and back, and 40 bytes of result at 40 kB/s; nothing without offloading.
    np.testing.assert_allclose(seconds["link"], [0.005, 0.005, 0.005, 0])
    np.testing.assert_allclose(seconds["tail"], [0.006, 0.005, 0.003, 0], atol=1e-15)


def test_waiting_is_a_part_of_its_own():
    # At batch 2 and 10 samples/s: (2 - 1) / 20 s.
    study = tiny_study(batches=(1, 2), arrival_rate_hz=10)
    figure = plot_latency_breakdown(study, batch_size=2, data_rate_bps=1e5)
    np.testing.assert_allclose(parts(figure)["wait"], 0.05)


def test_the_sum_is_the_decisions_latency():
    study = tiny_study(batches=(1, 2), link=Link(0.003), arrival_rate_hz=50)
    for size, rate in ((1, 2e4), (2, 1e5), (2, 5e6)):
        figure = plot_latency_breakdown(study, batch_size=size, data_rate_bps=rate)
        decision = study.at(size, rate)
        assert mark(figure, BEST).x[0].removeprefix("after ") == decision.split
        best = study.splits.index(decision.split)
        total = sum(seconds[best] for seconds in parts(figure).values())
        assert total == pytest.approx(decision.latency_s)


def test_bars_are_stacked_and_absent_parts_have_no_entry():
    figure = plot_latency_breakdown(tiny_study(), **POINT)
    assert figure.layout.barmode == "stack"
    assert list(bars(figure)) == ["head", "transfer", "tail"]
    assert figure.layout.yaxis.title.text == "Latency in s"
    # All that stands at one place is told together, the payload with its bytes.
    assert figure.layout.hovermode == "x unified"
    assert list(bars(figure)["transfer"].customdata) == [400, 200, 320, 0]
    total = mark(figure, TOTAL)
    assert list(total.y) == pytest.approx([0.038, 0.031, 0.0586, 0.060])
    assert total.text[1] == "the best"
    assert total.text[3] == "29 ms more than the best"


def test_a_way_back_is_named_where_there_is_one():
    plain = bars(plot_latency_breakdown(tiny_study(link=Link(0.01)), **POINT))
    both = bars(plot_latency_breakdown(tiny_study(link=Link(0.01, downlink_bps=1e5)), **POINT))
    assert plain["link"].name == "round trip"
    assert both["link"].name == "round trip and result"


def test_the_best_is_marked_in_its_colour_and_its_name_is_bold():
    study = tiny_study()
    figure = plot_latency_breakdown(study, **POINT)
    best = mark(figure, BEST)
    assert list(best.x) == ["after a"]
    assert best.y[0] > 0.031
    assert best.marker.color == split_colours(study.edge.graph, study.lines.splits)[1]
    assert figure.layout.xaxis.labelalias["after a"] == "<b>after a</b>"
    words = figure.layout.title.subtitle.text
    assert words == "after a is best: 31 ms, 7 ms ahead of full offloading"


def test_best_in_energy_is_said():
    power = PowerModel(5, 0, 0, "a guess")
    figure = plot_latency_breakdown(tiny_study(objective="energy", power=power), **POINT)
    # Sending and waiting cost nothing: full offloading, 0 J, before a with 5 W · 10 ms.
    assert figure.layout.title.subtitle.text == (
        "full offloading is best: 0 J, 50 mJ ahead of after a"
    )


def test_what_does_not_fit_is_hatched():
    study = tiny_study(memory_cap_bytes=500)  # every head needs 600
    figure = plot_latency_breakdown(study, **POINT)
    hatched = bars(figure)["does not fit"]
    top = figure.layout.yaxis.range[1]
    assert dict(zip(hatched.x, hatched.y, strict=True)) == pytest.approx(
        {"full offloading": np.nan, "after a": top, "after b": top, "no offloading": top},
        nan_ok=True,
    )
    assert hatched.marker.pattern.shape == "/"
    assert "3 candidates that would not fit into the device's memory" in caption_of(figure)


def test_what_was_not_measured_is_hatched_otherwise():
    graph = tiny_graph()
    none = np.zeros((0, 4), dtype=np.int64)

    def halves(scale):
        times = {0: (0, 60), 1: (10, 50), 3: (60, 0)}
        ones = [
            Separate(cut, np.array([head * scale]), np.array([tail * scale]))
            for cut, (head, tail) in times.items()
        ]
        passes = Passes(1, none[:, 0], none, tuple(ones))
        return Profile(graph, Provenance("imported", "a table"), (passes,))

    study = study_of(halves(MS), halves(MS // 10))
    figure = plot_latency_breakdown(study, **POINT)
    assert np.isfinite(bars(figure)["not measured"].y).tolist() == [False, False, True, False]
    assert "1 candidates" not in caption_of(figure)
    assert "1 candidate that a profile has no times for" in caption_of(figure)


def test_a_bar_far_longer_than_the_others_leaves_the_plot_and_says_so():
    # 60 s on the device, 6 ms and 3.2 s of payload with full offloading; a 15 s and more.
    graph = tiny_graph()
    edge = profile_of(graph, {1: [MS, MS, 60_000 * MS]})
    server = profile_of(graph, {1: [MS, MS, MS]})
    study = study_of(edge, server)
    figure = plot_latency_breakdown(study, **POINT)
    assert "reach the top" in caption_of(figure)
    assert "the longest takes 60 s" in caption_of(figure)
    # Medians of 35, 19, 28.6 and 60,002 ms: 31.8; three of them and some room.
    assert figure.layout.yaxis.range[1] == pytest.approx(3 * 0.0318 * 1.12, rel=1e-3)
    assert "reach the top" not in caption_of(plot_latency_breakdown(tiny_study(), **POINT))


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Batch size 7 is not on this grid"):
        plot_latency_breakdown(tiny_study(), batch_size=7, data_rate_bps=1e5)
    with pytest.raises(ValueError, match="Data rate -1 bit/s; give finite rates, 0 for a link"):
        plot_latency_breakdown(tiny_study(), batch_size=1, data_rate_bps=-1)
