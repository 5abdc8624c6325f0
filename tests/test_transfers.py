import re

import numpy as np
import pytest
from numpy.polynomial.polynomial import polyval

from dscwb.cuts import memory_terms
from dscwb.graph import Layer, ModelGraph
from dscwb.profiles.transfers import Transfers
from tests.tiny import spec, tiny_graph

SIZES = np.array([40, 400, 1600])
TO_HOST = np.array([[10, 12, 90], [20, 20, 20], [50, 40, 60]])  # medians 12, 20, 50 ns
TO_DEVICE = TO_HOST + 5


def copies(**changes):
    fields = {"sizes_bytes": SIZES, "to_host_ns": TO_HOST, "to_device_ns": TO_DEVICE}
    return Transfers(**fields | changes)


def test_medians_at_the_measured_sizes_and_lines_between():
    found = copies().median_ns(TO_HOST, np.array([40, 220, 400, 1000, 1600]))
    # 220 is halfway from 40 to 400 bytes, 1,000 halfway from 400 to 1,600.
    np.testing.assert_allclose(found, [12, 16, 20, 35, 50])
    np.testing.assert_allclose(copies().median_ns(TO_DEVICE, SIZES), [17, 25, 55])


def test_nothing_takes_no_time_and_beyond_the_measured_sizes_there_is_no_data():
    found = copies().median_ns(TO_HOST, np.array([0, 39, 1601]))
    np.testing.assert_array_equal(found, [0, np.nan, np.nan])


def test_payloads_are_polynomials_of_the_batch_size():
    terms = memory_terms(tiny_graph())[0]
    np.testing.assert_array_equal(polyval(1, terms), [400, 200, 320, 40])
    np.testing.assert_array_equal(polyval(8, terms), [3200, 1600, 2560, 320])


def test_scores_between_samples_grow_with_the_square():
    scores = spec("s", 5, batch_axes=(0, 1))
    layers = (
        Layer("linear", "a", ("x",), (scores,)),
        Layer("linear", "b", ("s",), (spec("y", 3),)),
    )
    graph = ModelGraph("square", (spec("x", 2),), layers, ("y",))
    sizes = polyval(3, memory_terms(graph)[0])
    # 2 floats for each of 3 samples; 5 for each pair; 3 for each sample.
    np.testing.assert_array_equal(sizes, [4 * 2 * 3, 4 * 5 * 9, 4 * 3 * 3])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sizes_bytes": np.array([], int)}, "must be positive, ascending"),
        ({"sizes_bytes": np.array([0, 1, 2])}, "must be positive, ascending"),
        ({"sizes_bytes": np.array([40, 40, 50])}, "must be positive, ascending"),
        ({"to_host_ns": TO_HOST[:2]}, r"to_host_ns has shape \(2, 3\) for 3 sizes"),
        ({"to_device_ns": np.zeros((3, 0), int)}, "to_device_ns has shape"),
        ({"to_device_ns": TO_HOST - 10}, "to_device_ns holds a time that is not positive"),
        ({"host_memory": "borrowed"}, "host_memory is 'borrowed', neither pinned nor pageable"),
    ],
)
def test_impossible_copies_are_named(changes, reason):
    assert re.search(reason, copies(**changes).fault())
    assert copies().fault() == ""
