from functools import partial

import numpy as np
import pytest
import torch

from dscwb.graph import ModelGraph
from dscwb.measuring import gpu
from dscwb.measuring.clocks import CudaClock
from dscwb.measuring.gpu import (
    REPEATS,
    WARM_REPEATS,
    copies_of_payloads,
    ladder,
    measure_copies,
    pinned_copies,
)
from tests.machine import Event, Machine
from tests.tiny import tiny_graph


def copies(machine, log=None):
    """They take 10 ns and one for each byte to the host, two for each byte to the device."""

    def copy(way, ns_a_byte, size_bytes):
        machine.now_ns += 10 + ns_a_byte * size_bytes
        if log is not None:
            log.append((way, size_bytes))

    return partial(copy, "to host", 1), partial(copy, "to device", 2)


def test_the_ladder_is_powers_of_two_between_the_smallest_and_the_largest_payload():
    # Payloads of one sample: 400, 200 and 320 bytes; the last cut's 40 bytes are never sent.
    assert ladder(tiny_graph(), (1,)) == [200, 256, 400]
    assert ladder(tiny_graph(), (1, 4)) == [200, 256, 512, 1024, 1600]


def test_a_model_of_one_payload_has_one_size():
    graph = tiny_graph()
    alone = ModelGraph("one", graph.inputs, graph.layers[:1], ("a",))
    assert ladder(alone, (1,)) == [400]


def test_copies_are_timed_in_both_directions():
    machine = Machine()
    log = []
    found = measure_copies(
        copies(machine, log), [4, 8], machine.clock(), 4, np.random.default_rng(0)
    )
    assert found.sizes_bytes.tolist() == [4, 8]
    assert found.to_host_ns.tolist() == [[14] * REPEATS, [18] * REPEATS]
    assert found.to_device_ns.tolist() == [[18] * REPEATS, [26] * REPEATS]
    assert found.host_memory == "pinned"
    assert len(log) == 4 * (REPEATS + WARM_REPEATS)
    rounds = [tuple(log[i : i + 4]) for i in range(0, len(log), 4)]
    assert all(len(set(one)) == 4 for one in rounds)
    assert len(set(rounds)) > len(rounds) / 2  # in an order of their own


def test_events_of_a_gpu_time_them_too():
    machine = Machine()
    clock = CudaClock(4, event=lambda: Event(machine))
    found = measure_copies(copies(machine), [4], clock, 4, np.random.default_rng(0))
    assert found.to_host_ns.tolist() == [[14] * REPEATS]


def payloads_copied(monkeypatch, pinned):
    """Of the tiny model's 200, 256 and 400 bytes, on a machine without a GPU."""
    machine = Machine()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(gpu, "pinned_copies", lambda _, largest: pinned(largest) or copies(machine))
    return copies_of_payloads(tiny_graph(), (1,), torch.device("cuda"), machine.clock(), 0)


@pytest.mark.parametrize(("fits", "sizes"), [(400, [200, 256, 400]), (399, [200, 256]), (3, None)])
def test_the_ladder_ends_where_memory_does(monkeypatch, caplog, fits, sizes):
    def pinned(largest_bytes):
        if largest_bytes > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    found = payloads_copied(monkeypatch, pinned)
    assert (found and found.sizes_bytes.tolist()) == sizes
    told = f"No memory to measure copies of more than {len(sizes or [])} of 3 sizes."
    assert (told in caplog.text) == (fits < 400)


def test_other_failures_are_not_taken_for_lack_of_memory(monkeypatch):
    def pinned(largest_bytes):
        raise RuntimeError("no such device")

    with pytest.raises(RuntimeError, match="no such device"):
        payloads_copied(monkeypatch, pinned)


@pytest.mark.gpu
def test_real_copies_take_time_and_more_for_more():
    sizes = [1 << 10, 1 << 20, 1 << 27]
    directions = pinned_copies(torch.device("cuda"), max(sizes))
    found = measure_copies(directions, sizes, CudaClock(4), 4, np.random.default_rng(0))
    for times in (found.to_host_ns, found.to_device_ns):
        assert times.min() > 0
        medians = np.median(times, axis=1)
        assert max(medians[:2]) < medians[2]  # 128 MB against 1 MB: never a close call
