"""Where a model's time goes: medians and quartiles by hand, and honest words about their origin."""

import numpy as np
import pytest

from dscwb.cuts import all_cuts
from dscwb.figures.colours import split_colours
from dscwb.figures.durations import TIME, WHISKER, plot_profile, profile_numbers
from dscwb.figures.page import caption_of
from dscwb.profiles.records import (
    NOT_STAMPED,
    Passes,
    Profile,
    ProfileError,
    Provenance,
    Separate,
    scale_profile,
)
from tests.test_figures import deep_graph
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000


def five_passes(plain_ms=(100,) * 5, **changes):
    """a takes 10 to 50 %, b always 40 %, c the rest of each pass."""
    stamps = [[0, ends, ends + 40, 100] for ends in (10, 20, 30, 40, 50)]
    passes = Passes(1, np.array(plain_ms) * MS, np.array(stamps) * MS)
    return Profile(tiny_graph(), Provenance("measured", "bench clock"), (passes,), **changes)


def trace(figure, name):
    return next(figure.select_traces({"name": name}), None)


def test_medians_and_quartiles_by_hand():
    info = profile_numbers(five_passes(), 1)
    assert info.names == ("a", "b", "output")
    np.testing.assert_allclose(info.seconds, [0.030, 0.040, 0.030])
    np.testing.assert_allclose(info.low_s, [0.020, 0.040, 0.020])
    np.testing.assert_allclose(info.high_s, [0.040, 0.040, 0.040])
    assert info.passes.tolist() == [5, 5, 5]
    np.testing.assert_allclose(info.end_s, [0.030, 0.070, 0.100])
    assert info.total_s == pytest.approx(0.100)


def test_shares_are_of_the_own_pass_and_times_of_the_plain_ones():
    # The same shares of passes twice as long; T is the median of the plain passes.
    info = profile_numbers(five_passes(plain_ms=(180, 190, 200, 210, 220)), 1)
    np.testing.assert_allclose(info.seconds, [0.060, 0.080, 0.060])


def test_a_scaled_profile_has_scaled_spread():
    info = profile_numbers(scale_profile(five_passes(), 10), 1)
    np.testing.assert_allclose(info.high_s, [0.004, 0.004, 0.004])


def test_too_few_stamps_give_no_quartiles():
    profile = five_passes()
    stamps = profile.passes[0].stamped_ns.copy()
    stamps[:3, 1] = NOT_STAMPED  # two passes stamped the end of a
    passes = Passes(1, profile.passes[0].plain_ns, stamps)
    info = profile_numbers(Profile(profile.graph, profile.provenance, (passes,)), 1)
    assert info.passes.tolist() == [2, 2, 5]
    assert np.isnan(info.high_s).tolist() == [True, True, False]
    # The head at a: median of 40 and 50 %; b: up to the median of 50 to 90 %.
    np.testing.assert_allclose(info.seconds, [0.045, 0.025, 0.030])


def test_only_cuts_with_times_are_ends():
    none = np.zeros((0, 4), dtype=np.int64)
    halves = [
        Separate(cut, np.array([head * MS]), np.array([(60 - head) * MS]))
        for cut, head in ((0, 0), (2, 25), (3, 60))
    ]
    passes = Passes(1, none[:, 0], none, tuple(halves))
    profile = Profile(tiny_graph(), Provenance("imported", "a table"), (passes,))
    info = profile_numbers(profile, 1)
    assert info.names == ("b", "output")
    np.testing.assert_allclose(info.seconds, [0.025, 0.035])
    figure = plot_profile(profile, 1)
    assert "imported times have no passes" in caption_of(figure)
    assert figure.layout.title.subtitle.text == "T = 60 ms; imported; no spread known"


def test_bars_have_the_colours_of_the_splits_and_whiskers_the_quartiles():
    profile = five_passes()
    figure = plot_profile(profile, 1)
    bars, whiskers = trace(figure, TIME), trace(figure, WHISKER)
    graph = profile.graph
    assert tuple(bars.marker.color) == split_colours(graph, all_cuts(graph, "block"))[1:]
    np.testing.assert_allclose(whiskers.y + whiskers.error_y.array, [0.040] * 3)
    np.testing.assert_allclose(whiskers.y - whiskers.error_y.arrayminus, [0.020, 0.040, 0.020])
    assert figure.layout.yaxis.title.text == "Time in ms"
    assert bars.hovertext[0] == (
        "<b>a</b><br>30 ms, 30 % of T<br>quartiles 20 ms to 40 ms, 5 passes<br>from the start 30 ms"
    )


def test_the_subtitle_tells_origin_spread_and_status():
    words = plot_profile(five_passes(), 1).layout.title.subtitle.text
    assert words == "T = 100 ms; measured; 5 passes, interquartile range of T 0 %"
    noisy = plot_profile(five_passes(plain_ms=(80, 90, 100, 110, 120)), 1)
    assert noisy.layout.title.subtitle.text.endswith("of T 20 %; <b>noisy</b>")
    wild = plot_profile(five_passes(plain_ms=(20, 50, 100, 150, 180)), 1)
    assert wild.layout.title.subtitle.text.endswith("<b>unreliable</b>")


@pytest.mark.parametrize("origin", ["modelled", "assumed", "imported"])
def test_what_was_not_measured_looks_otherwise(origin):
    profile = profile_of(tiny_graph(), {1: [MS] * 3}, rounds=1, origin=origin)
    figure = plot_profile(profile, 1)
    assert trace(figure, TIME).marker.pattern.shape == "/"
    assert trace(figure, WHISKER) is None
    assert f"Hatched: {origin}, not measured." in caption_of(figure)
    assert origin in figure.layout.title.subtitle.text
    assert trace(plot_profile(five_passes(), 1), TIME).marker.pattern.shape == ""


def test_narrow_bars_have_no_whiskers_and_the_caption_says_where_they_are():
    profile = profile_of(deep_graph(200), {1: [MS] * 201}, rounds=5)
    narrow = plot_profile(profile, 1, width=640)
    assert trace(narrow, WHISKER) is None
    assert "quartiles: in the hover" in caption_of(narrow)
    assert trace(plot_profile(profile, 1, width=1600), WHISKER) is not None


def test_every_operation():
    figure = plot_profile(five_passes(), 1, granularity="op")
    assert figure.layout.xaxis.title.text == "Operation"
    assert len(trace(figure, TIME).y) == 3


def test_misuse_is_named():
    with pytest.raises(ProfileError, match="No times at batch size 7"):
        plot_profile(five_passes(), 7)
    with pytest.raises(ValueError, match="Unknown granularity 'layer'; choose 'block' or 'op'"):
        plot_profile(five_passes(), 1, granularity="layer")
