import numpy as np
import pytest

from dscwb.cost import cost_lines
from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import ProfileError
from dscwb.scenario import Link, Scenario
from dscwb.units import encoding
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
FLOAT = encoding("float32")


def edge(sizes=None):
    return profile_of(tiny_graph(), sizes or {1: [10 * MS, 20 * MS, 30 * MS]})


def scenario(**changes):
    fields = {"link": Link(), "input_encoding": FLOAT, "feature_encoding": FLOAT} | changes
    return Scenario(**fields)


def test_lines_by_hand():
    server = scale_profile(edge(), 10)
    link = Link(round_trip_s=0.005, overhead_bytes=50)
    lines = cost_lines(edge(), server, scenario(link=link, server_load=2), [1])
    assert lines.names == ("full offloading", "a", "b", "no offloading")
    # Heads 0, 10, 30, 60 ms; tails 60, 50, 30, 0 ms, ten times as fast, under a load of two.
    np.testing.assert_allclose(lines.head_s, [[0, 0.010, 0.030, 0.060]])
    np.testing.assert_allclose(lines.tail_s, [[0.012, 0.010, 0.006, 0]], atol=1e-15)
    np.testing.assert_allclose(lines.intercept_s, [[0.017, 0.025, 0.041, 0.060]])
    # 400, 200, 320 bytes and 50 of overhead each; nothing is sent without offloading.
    np.testing.assert_allclose(lines.bits, [[8 * 450, 8 * 250, 8 * 370, 0]])


def test_encodings_apply_where_they_belong():
    lines = cost_lines(
        edge(),
        edge(),
        scenario(input_encoding=encoding("uint8"), feature_encoding=encoding("float16")),
        [1],
    )
    assert lines.bits.tolist() == [[8 * 100, 8 * 100, 8 * 160, 0]]


def test_payload_grows_with_the_batch_and_times_between_are_interpolated():
    profile = edge({1: [10 * MS] * 3, 3: [20 * MS] * 3})
    lines = cost_lines(profile, profile, scenario(), [1, 2, 3])
    assert lines.bits[:, 1].tolist() == [1600, 3200, 4800]
    np.testing.assert_allclose(lines.head_s[:, 3], [0.030, 0.045, 0.060])
    assert lines.interpolated.tolist() == [False, True, False]


def test_nothing_is_extrapolated():
    profile = edge({2: [MS] * 3, 4: [MS] * 3})
    for batch_size in (1, 5):
        with pytest.raises(ProfileError, match=f"batch size {batch_size} .* from 2 to 4"):
            cost_lines(profile, profile, scenario(), [batch_size])


def test_private_inputs_leave_no_full_offloading():
    lines = cost_lines(edge(), edge(), scenario(private_input=True), [1])
    assert lines.names == ("a", "b", "no offloading")
    assert lines.head_s.shape == lines.bits.shape == lines.tail_s.shape == (1, 3)


def test_profiles_of_different_models_are_refused():
    other = profile_of(tiny_graph("other"), {1: [1, 1, 1]})
    with pytest.raises(ProfileError, match="different models: tiny on the edge, other on the serv"):
        cost_lines(edge(), other, scenario(), [1])
