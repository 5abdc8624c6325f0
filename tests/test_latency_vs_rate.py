"""Cost over the data rate: exact switching rates, every candidate named, the envelope in bold."""

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.figures import plot_latency_vs_rate
from dscwb.figures.latency_vs_rate import BEST, LINE, NEVER, SWITCHING
from dscwb.figures.layout import STATE, caption_of
from dscwb.scenario import Link
from tests.pictures import A_TO_FULL, NONE_TO_A, POINT, POWER, hovered, tiny_study, trace

# The lines of full offloading, a, b and no offloading begin so at 10 kbit/s, and are drawn as:
AT_10_KBPS = {"full offloading": 0.326, "after a": 0.175, "after b": 0.289, "no offloading": 0.060}


def traces(figure, kind):
    return [one for one in figure.data if one.meta == kind]


def line(figure, kind, split):
    return next(one for one in traces(figure, kind) if one.name.startswith(split))


def test_every_candidate_has_its_line():
    figure = plot_latency_vs_rate(tiny_study())
    drawn = {one.name: one.y[0] for one in traces(figure, LINE)}
    (never,) = traces(figure, NEVER)
    drawn["after b"] = never.y[0]
    assert drawn == pytest.approx(AT_10_KBPS)
    assert (never.name, never.showlegend) == ("never best (1)", True)
    assert hovered(never, (0,)).startswith("<b>after b</b>")


def test_switching_rates_are_exact_and_both_splits_cost_the_same_there():
    (marks,) = traces(figure := plot_latency_vs_rate(tiny_study()), SWITCHING)
    assert list(marks.x) == pytest.approx([NONE_TO_A, A_TO_FULL])
    # 60 ms without offloading; 15 + 9 ms at the second.
    assert list(marks.y) == pytest.approx([0.060, 0.024])
    assert marks.hovertext[1] == "below: after a<br>above: full offloading"
    assert [shape.x0 for shape in figure.layout.shapes] == list(marks.x)
    assert set(marks.x) <= set(traces(figure, LINE)[0].x)


def test_the_envelope_is_bold_in_the_colours_of_its_splits_and_named_with_its_rates():
    study = tiny_study()
    figure = plot_latency_vs_rate(study)
    bold = traces(figure, BEST)
    assert [one.name for one in bold] == [
        "no offloading<br>up to 35.6 kbit/s",
        "after a<br>35.6 kbit/s to 178 kbit/s",
        "full offloading<br>above 178 kbit/s",
    ]
    colours = split_colours(study.edge.graph, study.lines.splits)
    assert [one.line.color for one in bold] == [colours[i] for i in (3, 1, 0)]
    assert [one.line.color for one in traces(figure, LINE)] == [colours[i] for i in (3, 1, 0)]
    ends = [(one.x[0], one.x[-1]) for one in bold]
    assert ends[0] == pytest.approx((1e4, NONE_TO_A))
    assert ends[1:] == [
        pytest.approx((NONE_TO_A, A_TO_FULL)),
        pytest.approx((A_TO_FULL, 1e6)),
    ]


def test_hover_explains_the_point():
    study = tiny_study(link=Link(0.004), arrival_rate_hz=10)
    figure = plot_latency_vs_rate(study)
    thin, best = line(figure, LINE, "after a"), line(figure, BEST, "no offloading")
    for part in (
        "device 10 ms",
        "(200 B)",
        "link 4 ms",
        "server 5 ms",
        "0.119s more than",
    ):
        assert part in hovered(thin, (0,))  # 15 + 160 + 4 - 60 ms
    assert best.hovertext[0] == "after a"
    assert "the best here; next: %{hovertext}, 0.119s more" in hovered(best, (0,))


def test_lines_agree_with_the_decision_everywhere():
    study = tiny_study(batches=(1, 2))
    for bold in traces(plot_latency_vs_rate(study, batch_size=2), BEST):
        for k, rate in list(enumerate(bold.x))[1:-1:20]:
            decision = study.at(2, rate)
            assert bold.y[k] == pytest.approx(decision.latency_s)
            assert bold.hovertext[k].removeprefix("after ") == decision.runner_up
            assert bold.customdata[k, 2] == pytest.approx(decision.margin)


def test_energy_is_in_joules_and_latency_stays_in_seconds():
    figure = plot_latency_vs_rate(tiny_study(objective="energy", power=POWER))
    assert figure.layout.yaxis.title.text == "Device energy in J"
    assert figure.layout.title.text == "Device energy of tiny at batch size 1"
    full = line(figure, LINE, "full offloading")
    # Full offloading at 10 kbit/s: 2 W · 320 ms + 1 W · 6 ms; no offloading: 5 W · 60 ms.
    assert full.y[0] == pytest.approx(0.646)
    assert full.customdata[0, 0] == pytest.approx(0.326)
    assert line(figure, LINE, "no offloading").y[0] == pytest.approx(0.300)


def test_a_single_rate_becomes_an_octave_each_way():
    rates = traces(plot_latency_vs_rate(tiny_study(data_rates_bps=[1e5])), LINE)[0].x
    assert (rates[0], rates[-1]) == (5e4, 2e5)


def test_one_candidate_has_no_runner_up_and_no_switching_rate():
    figure = plot_latency_vs_rate(tiny_study(min_depth=3), **POINT)
    assert not traces(figure, SWITCHING)[0].showlegend
    (bold,) = traces(figure, BEST)
    assert bold.name == "no offloading<br>at every rate shown"
    assert "next" not in bold.hovertemplate
    assert figure.layout.title.subtitle.text == "at 100 kbit/s no offloading is best: 60 ms"


def test_a_point_is_marked_and_told():
    study = tiny_study(batches=(1, 2))
    figure = plot_latency_vs_rate(study, **POINT)
    mark = trace(figure, STATE)
    assert (list(mark.x), list(mark.y)) == ([1e5], pytest.approx([0.031]))
    words = figure.layout.title.subtitle.text
    assert words == "at 100 kbit/s after a is best: 31 ms, 7 ms ahead of full offloading"
    for other in (1e9, None):
        figure = plot_latency_vs_rate(study, batch_size=1, data_rate_bps=other)
        assert trace(figure, STATE) is None
        assert figure.layout.title.subtitle.text == "3 of 4 candidates are best at some rate shown"


def test_the_whole_envelope_is_in_the_plot():
    figure = plot_latency_vs_rate(tiny_study())
    low, high = figure.layout.yaxis.range
    for bold in traces(figure, BEST):
        assert np.all((low < np.log10(bold.y)) & (np.log10(bold.y) < high))


def test_the_caption_has_the_scenario_and_what_has_no_line():
    study = tiny_study()
    assert study.label() in caption_of(plot_latency_vs_rate(study))
    # Every head needs 600 bytes: input and first result.
    small = plot_latency_vs_rate(tiny_study(memory_cap_bytes=500))
    assert "Left out, having no times or too large: 3 of" in caption_of(small)
    between = plot_latency_vs_rate(tiny_study(batches=(1, 3)), batch_size=2)
    assert "interpolated linearly" in caption_of(between)


def test_an_unknown_batch_size_is_named():
    with pytest.raises(ValueError, match=r"Batch size 7 is not on this grid: \[1\]"):
        plot_latency_vs_rate(tiny_study(), batch_size=7)
