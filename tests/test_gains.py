"""The figure of the paper's gains: what it shows of a small table, and that nothing is hidden."""

import math
import re

import pandas as pd
import pytest

import dscwb
from dscwb.figures.gains import CLAIMED
from dscwb.figures.layout import caption_of

GAINS = ("no_offloading", "full_offloading", "best_static", "usefulness", "mean_static")
# Two models in two conventions on a measured pair, one of them on a modelled pair too.
ROWS = [
    ("m0", "here", "measured → measured", "float32", "1, 4, 16", "1, 4", (0.0, 0.5, 0.0, 0.0, 0.7)),
    ("m0", "here", "measured → measured", "int8", "1, 4, 16", "1, 4", (0.25, 0.6, 0.1, 0.5, 0.2)),
    ("m1", "here", "measured → measured", "float32", "4", "", (0.3, 0.2, 0.2, 0.125, 0.4)),
    ("m1", "here", "measured → measured", "int8", "4", "", (0.4, math.nan, 0.3, 0.75, 0.6)),
    ("m0", "there", "modelled → modelled", "int8", "1–62", "", (0.21, 0.9, 0.05, 0.4, 0.1)),
]


def table():
    rows = [
        dict(
            zip(
                ("model", "pair", "origin", "features", "batch_sizes", "not_ok"), row, strict=False
            ),
            input="uint8",
            **dict(zip(GAINS, row[-1], strict=True)),
        )
        for row in ROWS
    ]
    return pd.DataFrame(rows)


def drawn(figure, column):
    """The gains of one baseline, panel by panel."""
    return [list(one.x) for one in figure.data if one.meta == column]


def test_the_first_pair_is_drawn_with_one_panel_a_convention():
    figure = dscwb.plot_gains(table())
    assert drawn(figure, "no_offloading") == [[0.0, 0.3], [0.25, 0.4]]
    (first, second) = drawn(figure, "full_offloading")
    assert first == [0.5, 0.2]
    assert (second[0], math.isnan(second[1])) == (0.6, True)
    assert drawn(figure, "best_static") == [[0.0, 0.2], [0.1, 0.3]]
    assert drawn(figure, "mean_static") == [[0.7, 0.4], [0.2, 0.6]]
    assert list(figure.data[0].y) == ["m0", "m1"]
    assert figure.layout.title.subtitle.text == "here (measured → measured)"
    heads = [axis.title.text for axis in (figure.layout.xaxis, figure.layout.xaxis2)]
    assert heads == [
        "uint8 / float32<br>split best in 0 to 12 %<br>Mean gain in %",
        "uint8 / int8<br>split best in 50 to 75 %<br>Mean gain in %",
    ]


def test_the_claim_is_a_band_in_every_panel_and_told_in_words():
    figure = dscwb.plot_gains(table())
    assert [(one.x0, one.x1, one.xref) for one in figure.layout.shapes] == [
        (0.2, 0.3, "x"),
        (0.2, 0.3, "x2"),
    ]
    assert [one.name for one in figure.layout.shapes if one.showlegend] == [f"claimed: {CLAIMED}"]
    assert f"Band: the {CLAIMED} that the paper claims" in caption_of(figure)
    # Over no offloading m1 lies within in the first panel (30 %), m0 in the second (25 %).
    # Over a static split on average it is none in the first (40 and 70 %), m0 in the second (20 %).
    assert (
        "within it are, of 2 models, 1 and 1 over no offloading, 0 and 1 over a static split, on "
        "average." in caption_of(figure)
    )


def test_batch_sizes_stand_beside_each_model_and_doubtful_ones_bear_a_star():
    figure = dscwb.plot_gains(table())
    beside = figure.layout.yaxis.labelalias
    assert [re.sub("<[^>]*>", " ", beside[name]).split(maxsplit=1) for name in ("m0", "m1")] == [
        ["m0", "1*, 4*, 16 "],
        ["m1", "4 "],
    ]
    assert "* Times there are noisy" in caption_of(figure)
    assert "*" not in caption_of(dscwb.plot_gains(table(), pair="there"))


def test_what_was_not_measured_looks_otherwise_and_says_so():
    measured, modelled = (dscwb.plot_gains(table(), pair=pair) for pair in ("here", "there"))
    assert (measured.layout.yaxis.griddash, modelled.layout.yaxis.griddash) == ("solid", "dot")
    assert "modelled → modelled" in modelled.layout.title.subtitle.text
    assert "Dotted rows: not measured on both machines." in caption_of(modelled)
    assert "Dotted" not in caption_of(measured)


def test_the_hover_tells_model_convention_gain_and_share():
    figure = dscwb.plot_gains(table())
    told = next(one for one in figure.data if one.meta == "best_static" and one.xaxis == "x2")
    assert told.hovertemplate == (
        "<b>%{y}</b>, uint8 / int8<br>mean gain over the best static split: %{x:.1%}<br>"
        "a split is best in %{customdata[0]:.1%} of the states<extra></extra>"
    )
    assert told.customdata.tolist() == [[0.5], [0.75]]


def test_axes_are_the_same_in_every_figure_and_have_units():
    for pair in ("here", "there"):
        axis = dscwb.plot_gains(table(), pair=pair).layout.xaxis
        assert axis.title.text.endswith("Mean gain in %")
        assert axis.range[1] == 1
        assert axis.range[0] < 0  # a symbol at zero is whole
        assert (axis.dtick, axis.tickformat) == (0.2, ".0%")


def test_a_pair_that_is_not_there_or_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="No pair 'nowhere' in this table; choose one of here;"):
        dscwb.plot_gains(table(), pair="nowhere")
    with pytest.raises(ValueError, match="No gains to draw: no model is in a pair"):
        dscwb.plot_gains(pd.DataFrame())


def test_models_within_the_claim_are_counted_in_whole_percents():
    rows = table()
    rows.loc[rows.model == "m1", "no_offloading"] = 0.304  # 30 %
    assert "of 2 models, 1 and 2 over no offloading" in caption_of(dscwb.plot_gains(rows))
