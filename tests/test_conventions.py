"""Payload conventions: the same study asked again, by hand; a verdict that claims no more."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.figures.conventions import GAINS, SHARE, plot_conventions
from dscwb.figures.layout import caption_of
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link, PowerModel
from dscwb.study import sweep
from dscwb.study.conventions import conventions
from dscwb.study.worth import gain_over_ends, verdict
from tests.pictures import MS, tiny_study
from tests.tiny import profile_of, tiny_graph

# Intercepts of full, a, b and no offloading: 6, 15, 33 and 60 ms. At 10, 100 and 1000 kbit/s
# float32 (3200 bits in, 1600 after a) costs full 326, 38, 9.2 and a 175, 31, 16.6 ms;
# uint8 in (800 bits) full 86, 14, 6.8 ms; int8 after a (400 bits) a 55, 19, 15.4 ms.


def row(table, given, features):
    (one,) = table[(table["input"] == given) & (table["features"] == features)].to_dict("records")
    return one


def test_conventions_by_hand():
    table = conventions(tiny_study(), input_encodings=["float32", "uint8"])
    assert len(table) == 6
    # No offloading, a, full offloading.
    literal = row(table, "float32", "float32")
    assert literal["split_share"] == pytest.approx(1 / 3)
    assert literal["over_no_offloading"] == pytest.approx((0 + 29 / 60 + 50.8 / 60) / 3)
    assert literal["over_full_offloading"] == pytest.approx((266 / 326 + 7 / 38 + 0) / 3)
    assert literal["over_better_end"] == pytest.approx((0 + 7 / 38 + 0) / 3)
    assert literal["best_static"] == "no offloading"
    assert literal["over_best_static"] == pytest.approx(literal["over_no_offloading"])
    # No offloading, full, full: no split is best anywhere.
    image = row(table, "uint8", "float32")
    assert image["split_share"] == 0
    assert image["over_no_offloading"] == pytest.approx((0 + 46 / 60 + 53.2 / 60) / 3)
    assert image["over_full_offloading"] == pytest.approx((26 / 86 + 0 + 0) / 3)
    assert image["over_better_end"] == 0
    # a, a, full.
    quantised = row(table, "float32", "int8")
    assert quantised["split_share"] == pytest.approx(2 / 3)
    assert quantised["over_better_end"] == pytest.approx((5 / 60 + 19 / 38 + 0) / 3)
    # Means of full 124.4, a 29.8, no offloading 60 ms.
    assert quantised["best_static"] == "a"
    assert quantised["over_best_static"] == pytest.approx((0 + 0 + 6.2 / 15.4) / 3)


def test_the_order_is_that_of_the_arguments_and_the_own_one_is_always_there():
    table = conventions(tiny_study(), input_encodings=["jpeg 10:1"], feature_encodings=["int8"])
    assert table[["input", "features"]].to_numpy().tolist() == [
        ["JPEG 10:1 (assumed ratio)", "int8"],
        ["float32", "float32"],
    ]
    assert table["own"].tolist() == [False, True]
    table = conventions(tiny_study(), input_encodings=["uint8", "float32"])
    assert table["own"].tolist() == [False, False, False, True, False, False]


def test_nothing_but_the_encodings_changes():
    changes = {
        "link": Link(0.004, 100, 1e6),
        "private_input": True,
        "server_load": 1.5,
        "device_slowdown": 2.0,
        "arrival_rate_hz": 100.0,
        "batch_sizes": [3, 1],
    }
    table = conventions(tiny_study(batches=(1, 3), **changes), feature_encodings=["int8"])
    other = tiny_study(batches=(1, 3), **changes, feature_encoding="int8")
    one = row(table, "float32", "int8")
    assert one["split_share"] == other.usefulness()
    assert one["over_no_offloading"] == other.mean_gain("no offloading")
    assert np.isnan(one["over_full_offloading"])
    assert one["over_better_end"] == pytest.approx(other.mean_gain("no offloading"))


def test_the_own_row_is_the_study():
    study = tiny_study(input_encoding="uint8", feature_encoding="int8")
    own = row(conventions(study), "uint8", "int8")
    assert own["own"]
    assert own["split_share"] == study.usefulness()
    assert own["over_best_static"] == study.mean_gain("best static")


@given(
    st.lists(st.integers(1, 10**8), min_size=3, max_size=3),
    st.lists(st.integers(1, 10**8), min_size=3, max_size=3),
    st.sampled_from(["float32", "uint8", "jpeg 10:1"]),
    st.sampled_from(["float32", "int8"]),
)
def test_no_gain_is_negative_and_the_better_end_is_hardest(edge_ns, server_ns, given, features):
    study = sweep(
        profile_of(tiny_graph(), {1: edge_ns}),
        profile_of(tiny_graph(), {1: server_ns}),
        link=Link(),
        input_encoding=given,
        feature_encoding=features,
        data_rates_bps=np.geomspace(1e3, 1e9, 12),
    )
    own = conventions(study, input_encodings=[], feature_encodings=[]).iloc[0]
    gains = own[["over_no_offloading", "over_full_offloading", "over_better_end"]]
    assert (gains >= -1e-12).all()
    assert own["over_better_end"] <= gains.min() + 1e-12
    assert (own["over_better_end"] > 1e-12) <= (own["split_share"] > 0)


def test_an_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="Unknown encoding 'jpg'; choose one of float32"):
        conventions(tiny_study(), input_encodings=["jpg"])


# --- verdict -----------------------------------------------------------------------------------


def test_a_verdict_that_splitting_pays():
    assert verdict(tiny_study()) == (
        "Splitting pays with input float32 and features float32: a split is best in 33 % of 3 "
        "states, and choosing the best in each saves 6.1 % of the latency on average over batch "
        "size 1 and 10 kbit/s–1 Mbit/s against the better of no and full offloading, and 44 % "
        "against always choosing no offloading, the best static choice."
    )


def test_a_verdict_that_it_does_not():
    assert verdict(tiny_study(input_encoding="uint8")) == (
        "Splitting does not pay with input uint8 and features float32: in none of 3 states is a "
        "split better than the better of no and full offloading."
    )


def test_a_gain_within_the_noise_hardly_pays():
    # At 177,000 bit/s: a 15 + 9.0395, full 6 + 18.079 = 24.079 ms: 0.16 %.
    study = tiny_study(data_rates_bps=[1.77e5])
    assert gain_over_ends(study) == pytest.approx(0.0000395 / 0.024079, rel=1e-2)
    assert verdict(study).startswith("Splitting hardly pays with input float32")
    assert "a split is best in 100 % of 1 state," in verdict(study)


def test_without_full_offloading_the_other_end_is_named():
    words = verdict(tiny_study(private_input=True))
    assert "Mbit/s against no offloading, and" in words
    assert "better of" not in words


def test_energy_is_called_energy():
    power = PowerModel(5, 2, 1, "a guess")
    assert "of the device's energy on average" in verdict(
        tiny_study(objective="energy", power=power, data_rates_bps=[3e4])
    )


def test_where_neither_end_is_possible_a_split_is_needed():
    graph = tiny_graph()
    *others, last = graph.layers
    heavy = replace(graph, layers=(*others, replace(last, weight_bytes=5000)))
    profile = profile_of(heavy, {1: [10 * MS, 20 * MS, 30 * MS]})
    study = sweep(
        profile,
        scale_profile(profile, 10),
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e4, 1e6],
        private_input=True,
        memory_cap_bytes=1000,
    )
    assert verdict(study) == (
        "Splitting is needed with features float32: a split is best in 100 % of "
        "2 states, and in some of them neither no nor full offloading is possible."
    )
    table = conventions(study)
    assert table["over_better_end"].isna().all()
    plot_conventions(study)


# --- figure ------------------------------------------------------------------------------------


def test_the_figure_draws_the_table_and_marks_the_own_row():
    study = tiny_study(input_encoding="uint8", feature_encoding="int8")
    table, figure = conventions(study), plot_conventions(study)
    by_name = {one.meta or one.name: one for one in figure.data}
    np.testing.assert_array_equal(by_name[SHARE].x, table["split_share"])
    for column in GAINS:
        np.testing.assert_array_equal(by_name[column.removeprefix("over_")].x, table[column])
    assert by_name[SHARE].y[0] == "float32 / float32"
    assert figure.layout.yaxis.labelalias == {"uint8 / int8": "<b>uint8 / int8</b>"}
    own = int(np.argmax(table["own"]))
    assert {(shape.y0, shape.y1) for shape in figure.layout.shapes} == {(own - 0.5, own + 0.5)}
    assert study.label() in caption_of(figure)
    assert figure.layout.xaxis.title.text.endswith("in %")
    assert figure.layout.xaxis2.title.text.endswith("in %")


def test_one_place_tells_all_of_a_row_and_nothing_that_is_not_possible():
    figure = plot_conventions(tiny_study(private_input=True))
    assert figure.layout.hovermode == "y unified"
    full = next(one for one in figure.data if one.meta == "full_offloading")
    assert np.isnan(full.x).all()
    assert "mean gain over the best static, %{hovertext}" in figure.data[0].hovertemplate


def test_row_labels_have_room():
    figure = plot_conventions(tiny_study())
    assert figure.layout.margin.l >= 6 * max(map(len, figure.data[0].y))
