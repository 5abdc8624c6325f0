"""Copies between accelerators and hosts in the cost lines."""

from dataclasses import replace

import numpy as np

from dscwb.cost import cost_lines
from dscwb.profiles.transfers import Transfers
from dscwb.scenario import Link, Scenario
from dscwb.units import encoding
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
# Payloads of one sample: 400 bytes at the input, then 200, 320 and, at the output, 40.
SIZES = np.array([200, 400, 800])
TO_HOST = np.array([[1 * MS], [2 * MS], [4 * MS]])  # 5 µs a byte out of it, 10 µs into it
COPIES = Transfers(SIZES, TO_HOST, 2 * TO_HOST)


def on(transfers, sizes=((1, 1), (2, 2))):
    tiny = profile_of(tiny_graph(), {b: [10 * MS * n, 20 * MS * n, 30 * MS * n] for b, n in sizes})
    return replace(tiny, transfers=transfers)


def lines(edge, server, batch_sizes=(1,), **changes):
    wire = encoding("uint8")  # encoded on the host, so it does not change what is copied
    link = Link(round_trip_s=0.1)
    return cost_lines(
        edge,
        server,
        Scenario(link=link, input_encoding=wire, feature_encoding=wire, **changes),
        batch_sizes,
    )


def test_a_split_pays_both_full_offloading_the_servers_and_no_offloading_nothing():
    # Heads 0, 10, 30, 60 ms; tails 60, 50, 30, 0 ms; round trip 100 ms. Out of the device's
    # accelerator 1 and 1.6 ms, into the server's 4, 2 and 3.2 ms.
    found = lines(on(COPIES), on(COPIES))
    np.testing.assert_allclose(found.link_s, [[0.104, 0.103, 0.1048, 0]])
    np.testing.assert_allclose(found.intercept_s, [[0.164, 0.163, 0.1648, 0.060]])
    assert found.bits.tolist() == [[800, 400, 640, 0]]


def test_a_machine_without_accelerator_copies_nothing():
    device_only = lines(on(COPIES), on(None))
    np.testing.assert_allclose(device_only.link_s, [[0.1, 0.101, 0.1016, 0]])
    server_only = lines(on(None), on(COPIES))
    np.testing.assert_allclose(server_only.link_s, [[0.104, 0.102, 0.1032, 0]])


def test_copies_grow_with_the_batch_and_with_no_load():
    found = lines(on(COPIES), on(COPIES), (2,), server_load=3, device_slowdown=2)
    np.testing.assert_allclose(found.link_s, [[0.108, 0.106, 0.1096, 0]])


def test_candidates_keep_their_own_copies_where_the_first_are_left_out():
    found = lines(on(COPIES), on(COPIES), private_input=True)
    assert found.names == ("a", "b", "no offloading")
    np.testing.assert_allclose(found.link_s, [[0.103, 0.1048, 0]])
