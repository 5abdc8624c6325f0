import itertools

import numpy as np
import pytest
import torch

from dscwb.measuring.rounds import Plan, Rounds
from tests.machine import Machine, stop_after


def cuts_run_apart(widths, seed=0):
    machine = Machine([100] * len(widths))
    plan = Plan((1,), 30, 0.0, verify=True, seed=seed)
    rounds = Rounds(machine.model(widths), machine.clock(), plan)
    rounds.run(lambda spent_s, left_s: None)
    return [one.cut for one in rounds.measured()[0].separate]


def test_candidates_are_record_lows_and_three_others():
    #         100 go in; cut: 1   2   3    4   5   6   7   8  9 (output)
    cuts = cuts_run_apart([120, 50, 50, 100, 49, 60, 30, 80, 1])
    assert {2, 5, 7} < set(cuts)
    assert len(cuts) == 6
    assert set(cuts) <= set(range(1, 9))  # at the two ends there is nothing to split


def test_a_model_without_bottleneck_has_three_candidates():
    assert len(cuts_run_apart([100] * 12)) == 3


def test_the_seed_draws_the_others():
    assert cuts_run_apart([100] * 40, seed=1) == cuts_run_apart([100] * 40, seed=1)
    assert cuts_run_apart([100] * 40, seed=1) != cuts_run_apart([100] * 40, seed=2)


def test_of_many_record_lows_ten_are_run_the_first_and_the_last_among_them():
    cuts = cuts_run_apart(range(99, 59, -1))  # cuts 1 to 39 are all record-low
    assert len(cuts) == 10
    assert (cuts[0], cuts[-1]) == (1, 39)
    assert set(np.diff(cuts)) <= {4, 5}


def test_every_candidate_runs_even_in_few_rounds():
    machine = Machine([100] * 40)
    plan = Plan((1,), 10, 0.0, verify=True, seed=0)
    rounds = Rounds(machine.model(range(99, 59, -1)), machine.clock(), plan)
    rounds.run(lambda spent_s, left_s: None)
    assert len(rounds.measured()[0].separate) == 10


def test_after_the_least_rounds_candidates_take_turns():
    machine = Machine([100] * 4, slower=lambda n: 1 + (n * 0.618) % 1)
    plan = Plan((1,), 10, 50e-6, verify=True, seed=0)
    rounds = Rounds(machine.model(), machine.clock(), plan)
    counts = []
    rounds.run(lambda *seconds: counts.append([len(r) for r in rounds.records[0].apart.values()]))
    assert counts[4] == [1, 1, 1]
    assert counts[5:9] == [[2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 2, 2]]


def test_time_left_falls_to_zero():
    machine = Machine(slower=lambda n: 1 + (n * 0.618) % 1)
    told = []
    plan = Plan((1, 2), 30, 200e-6, verify=False, seed=0)
    Rounds(machine.model(), machine.clock(), plan).run(lambda *seconds: told.append(seconds))
    spent, left = np.array(told).T
    assert all(a < b for a, b in itertools.pairwise(spent))
    # Each batch size may take 200 µs, and ends with the round in which it has.
    assert spent[0] + left[0] == pytest.approx(400e-6)
    assert spent[-1] == pytest.approx(400e-6, rel=0.05)
    assert left[-1] == 0


def test_an_interrupt_while_warming_up_leaves_no_round():
    machine = Machine(slower=lambda n: 1 + n % 2, fail=stop_after(4, KeyboardInterrupt))
    rounds = Rounds(machine.model(), machine.clock(), Plan((1,), 30, 0.0, verify=False, seed=0))
    with pytest.raises(KeyboardInterrupt):
        rounds.run(lambda spent_s, left_s: None)
    assert rounds.so_far() == ()


def test_all_batch_sizes_share_the_memory_of_the_largest_that_fits():
    """Or inputs alone would fill a small board's memory, and batch sizes that fit would be oom."""

    def fail(kind, batch_size):
        if batch_size == 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    machine = Machine(fail=fail)
    plan = Plan((1, 2, 4, 5), 30, 0.0, verify=False, seed=0)
    rounds = Rounds(machine.model(), machine.clock(), plan)
    rounds.run(lambda spent_s, left_s: None)
    inputs = [record.inputs[0] for record in rounds.records[:3]]
    assert [len(x) for x in inputs] == [1, 2, 4]
    assert {x.untyped_storage().nbytes() for x in inputs} == {4 * 100 * 4}
    assert len({x.data_ptr() for x in inputs}) == 1
    assert not rounds.records[3].inputs
