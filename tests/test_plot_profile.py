"""Where a model's time goes: medians and quartiles by hand, and honest words about their origin."""

import numpy as np
import pytest

from dscwb.colours import split_colours
from dscwb.cuts import all_cuts
from dscwb.figures import plot_profile
from dscwb.figures.layout import caption_of
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile, ProfileError, Provenance, Separate
from tests.pictures import MS, deep_graph, hovered
from tests.tiny import profile_of, tiny_graph


def five_passes(plain_ms=(100,) * 5, **changes):
    """a takes 10 to 50 %, b always 40 %, c the rest of each pass."""
    stamps = [[0, ends, ends + 40, 100] for ends in (10, 20, 30, 40, 50)]
    passes = Passes(1, np.array(plain_ms) * MS, np.array(stamps) * MS)
    return Profile(tiny_graph(), Provenance("measured", "bench clock"), (passes,), **changes)


def bars(profile, **options):
    (drawn,) = plot_profile(profile, **options).data
    return drawn


def quartiles(profile):
    drawn = bars(profile)
    return drawn.y - drawn.error_y.arrayminus, drawn.y + drawn.error_y.array


def test_medians_and_quartiles_by_hand():
    drawn, (low, high) = bars(five_passes()), quartiles(five_passes())
    assert tuple(drawn.x) == ("a", "b", "output")
    np.testing.assert_allclose(drawn.y, [0.030, 0.040, 0.030])
    np.testing.assert_allclose(low, [0.020, 0.040, 0.020])
    np.testing.assert_allclose(high, [0.040, 0.040, 0.040])
    assert "0.3 of T<br>%{text}<br>from the start 0.03s" in hovered(drawn, (0,))
    assert drawn.text[0] == "quartiles 20 ms to 40 ms, 5 passes"


def test_shares_are_of_the_own_pass_and_times_of_the_plain_ones():
    # The same shares of passes twice as long; T is the median of the plain passes.
    profile = five_passes(plain_ms=(180, 190, 200, 210, 220))
    np.testing.assert_allclose(bars(profile).y, [0.060, 0.080, 0.060])


def test_a_scaled_profile_has_scaled_spread():
    np.testing.assert_allclose(quartiles(scale_profile(five_passes(), 10))[1], [0.004] * 3)


def test_too_few_stamps_give_no_quartiles():
    profile = five_passes()
    stamps = profile.passes[0].stamped_ns.copy()
    stamps[:3, 1] = NOT_STAMPED  # two passes stamped the end of a
    passes = Passes(1, profile.passes[0].plain_ns, stamps)
    drawn = bars(Profile(profile.graph, profile.provenance, (passes,)))
    assert [text.split()[-2] for text in drawn.text] == ["spread", "spread", "5"]
    # The head at a: median of 40 and 50 %; b: up to the median of 50 to 90 %.
    np.testing.assert_allclose(drawn.y, [0.045, 0.025, 0.030])


def test_only_cuts_with_times_are_ends():
    none = np.zeros((0, 4), dtype=np.int64)
    halves = [
        Separate(cut, np.array([head * MS]), np.array([(60 - head) * MS]))
        for cut, head in ((0, 0), (2, 25), (3, 60))
    ]
    passes = Passes(1, none[:, 0], none, tuple(halves))
    profile = Profile(tiny_graph(), Provenance("imported", "a table"), (passes,))
    figure = plot_profile(profile)
    assert tuple(figure.data[0].x) == ("b", "output")
    np.testing.assert_allclose(figure.data[0].y, [0.025, 0.035])
    assert "imported times have too few passes" in caption_of(figure)
    assert figure.layout.title.subtitle.text == "T = 60 ms; imported; no spread known"


def test_bars_have_the_colours_of_the_splits():
    graph = five_passes().graph
    assert tuple(bars(five_passes()).marker.color) == split_colours(graph, all_cuts(graph))[1:]


def test_the_subtitle_tells_origin_spread_and_status():
    words = plot_profile(five_passes()).layout.title.subtitle.text
    assert words == "T = 100 ms; measured; 5 passes, interquartile range of T 0 %"
    noisy = plot_profile(five_passes(plain_ms=(80, 90, 100, 110, 120)))
    assert noisy.layout.title.subtitle.text.endswith("of T 20 %; noisy")
    wild = plot_profile(five_passes(plain_ms=(20, 50, 100, 150, 180)))
    assert wild.layout.title.subtitle.text.endswith("unreliable")


@pytest.mark.parametrize("origin", ["modelled", "assumed", "imported"])
def test_what_was_not_measured_looks_otherwise(origin):
    profile = profile_of(tiny_graph(), {1: [MS] * 3}, rounds=1, origin=origin)
    figure = plot_profile(profile)
    assert figure.data[0].marker.pattern.shape == "/"
    assert not figure.data[0].error_y.visible
    assert f"Hatched: {origin}, not measured." in caption_of(figure)
    assert origin in figure.layout.title.subtitle.text
    assert bars(five_passes()).marker.pattern.shape == ""


def test_many_bars_have_no_whiskers_and_the_caption_says_where_they_are():
    profile = profile_of(deep_graph(200), {1: [MS] * 201}, rounds=5)
    assert not bars(profile).error_y.visible
    assert "quartiles: in the hover" in caption_of(plot_profile(profile))
    assert bars(five_passes()).error_y.visible


@pytest.mark.parametrize(
    ("granularity", "words", "names"),
    [
        ("op", "Operation", ["a", "b", "output"]),
        ("compressive", "Compressive bottleneck", ["a", "output"]),
    ],
)
def test_other_granularities(granularity, words, names):
    figure = plot_profile(five_passes(), granularity=granularity)
    assert figure.layout.xaxis.title.text == words
    assert list(figure.data[0].x) == names


def test_misuse_is_named():
    with pytest.raises(ProfileError, match="No times at batch size 7"):
        plot_profile(five_passes(), batch_size=7)
    with pytest.raises(ValueError, match="Unknown granularity 'layer'; choose 'auto', 'block'"):
        plot_profile(five_passes(), granularity="layer")
