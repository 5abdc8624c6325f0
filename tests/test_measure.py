import gc
import time
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from dscwb.capturing.captured import capture
from dscwb.measuring.clocks import CpuClock, CudaClock
from dscwb.measuring.measure import profile
from dscwb.measuring.stamps import record_lows
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.library import calibration, model_error
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile, ProfileError, Provenance
from tests.machine import Event, Machine
from tests.tiny import tiny_graph

ROUNDS = 15  # of 30 passes, half of them plain


def measure(machine, batch_sizes=(1,), *, stamp_ns=0, widths=None, **options):
    """Exactly 30 passes a batch size and nothing else, unless told otherwise."""
    options = {"budget_s": 0, "verify": False, "clock": machine.clock(stamp_ns), **options}
    return profile(machine.model(widths), batch_sizes, **options)


def noisy(n):
    """Passes between 1 and 2 times as long, in no simple order."""
    return 1 + (n * 0.6180339887) % 1


def after_warm_up(machine, batch_sizes=1):
    """The log of the rounds; a machine without noise warms up in two pairs of passes."""
    return machine.log[4 * batch_sizes :]


# What comes out


def test_heads_and_tails_are_exact_on_a_machine_without_noise():
    found = measure(Machine((100, 300, 600)), (1, 4))
    np.testing.assert_allclose(found.head_s(1), np.array([0, 100, 400, 1000]) * 1e-9)
    np.testing.assert_allclose(found.tail_s(4), np.array([4000, 3600, 2400, 0]) * 1e-9)
    assert found.total_s(4) == pytest.approx(4000e-9)
    assert calibration(found, 4) == (1.0, 1.0, 1.0)


def test_drift_moves_neither_shares_nor_their_order():
    found = measure(Machine((100, 300, 600), slower=lambda n: 1 + n / 10))
    np.testing.assert_allclose(found.head_s(1) / found.total_s(1), [0, 0.1, 0.4, 1], rtol=0.01)


def test_raw_passes_are_kept():
    found = measure(Machine((100, 300)), (2,))
    assert found.passes[0].plain_ns.tolist() == [800] * ROUNDS
    assert found.passes[0].stamped_ns.tolist() == [[0, 200, 800]] * ROUNDS


def test_batch_sizes_come_ascending_and_once():
    assert measure(Machine(), (4, 1, 4, 2)).batch_sizes == (1, 2, 4)


# Order


def test_each_round_has_every_pass_once_in_an_order_of_its_own():
    machine = Machine()
    measure(machine, (1, 2, 3))
    log = after_warm_up(machine, 3)
    rounds = [tuple(log[i : i + 6]) for i in range(0, len(log), 6)]
    assert len(rounds) == ROUNDS
    every = {(kind, size) for kind in ("whole", "stamped") for size in (1, 2, 3)}
    assert all(set(one) == every for one in rounds)
    assert len(set(rounds)) > ROUNDS / 2
    assert len({one[0] for one in rounds}) > 3  # whatever comes first is drawn too


def test_the_seed_fixes_the_order():
    logs = []
    for seed in (1, 1, 2):
        machine = Machine()
        measure(machine, (1, 2), seed=seed)
        logs.append(machine.log)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


# How many passes


@pytest.mark.parametrize(("passes", "rounds"), [(10, 5), (11, 6), (40, 20)])
def test_without_budget_passes_are_counted_exactly(passes, rounds):
    machine = Machine(slower=noisy)
    found = measure(machine, passes=passes)
    assert machine.log[-2 * rounds :].count(("whole", 1)) == rounds
    assert len(found.passes[0].plain_ns) == rounds


def test_without_noise_measuring_stops_at_once():
    assert len(measure(Machine(), budget_s=100).passes[0].plain_ns) == ROUNDS


def test_with_noise_measuring_goes_on_until_the_budget_is_spent():
    found = measure(Machine(slower=noisy), (1, 2), budget_s=300e-6)
    for passes in found.passes:
        # One sample takes 1.5 µs on average, so 300 µs are 200 passes of it, or 100 of two.
        assert 2 * len(passes.plain_ns) == pytest.approx(200 / passes.batch_size, rel=0.05)


def test_with_little_noise_measuring_stops_before_the_budget_is_spent():
    slower = lambda n: 1 + 0.05 * (noisy(n) - 1)  # noqa: E731
    found = measure(Machine(slower=slower), budget_s=1)
    assert ROUNDS <= len(found.passes[0].plain_ns) < 200


@pytest.mark.parametrize(
    ("factors", "passes"),
    [([1, 1, 1, 1], 4), ([5, 1, 1, 1, 1, 1], 6), ([2, 2, 3, 3, 4, 4, 5, 5], 8)],
)
def test_warm_up_ends_when_two_passes_of_each_kind_agree_or_after_four(factors, passes):
    machine = Machine(slower=lambda n: factors[n] if n < passes else 1)
    found = measure(machine)
    assert len(machine.log) == passes + 2 * ROUNDS
    assert found.total_s(1) == pytest.approx(1000e-9)


# Conditions


def test_conditions_hold_in_every_pass_and_are_restored():
    before = torch.get_num_threads()
    machine = Machine()
    measure(machine, threads=before + 1)
    assert set(machine.settings) == {(True, False, before + 1)}
    assert (torch.get_num_threads(), gc.isenabled()) == (before, True)


def test_conditions_are_restored_after_an_error():
    def fail(kind, batch_size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        measure(Machine(fail=fail), threads=before + 1)
    assert (torch.get_num_threads(), gc.isenabled()) == (before, True)


def test_a_garbage_collector_that_was_off_stays_off():
    gc.disable()
    try:
        measure(Machine())
        assert not gc.isenabled()
    finally:
        gc.enable()


# Out of memory

NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
    MemoryError(),
]


def raising(error, when):
    """A failure of `error` wherever `when(kind, batch_size)`."""

    def fail(kind, batch_size):
        if when(kind, batch_size):
            raise error

    return fail


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_is_a_row_and_larger_batch_sizes_are_not_tried(error):
    machine = Machine(fail=raising(error, lambda kind, size: size >= 4))
    found = measure(machine, (1, 2, 4, 8))
    assert [found.status(size) for size in (1, 2, 4, 8)] == ["ok", "ok", "oom", "oom"]
    assert found.batch_sizes == (1, 2)
    assert {size for _, size in machine.log} == {1, 2}
    assert found.passes[2].stamped_ns.shape == (0, 4)


def test_out_of_memory_in_a_later_round_drops_that_batch_size_only():
    machine = Machine()
    machine.fail = raising(NO_MEMORY[0], lambda kind, size: size == 2 and len(machine.log) > 30)
    found = measure(machine, (1, 2))
    assert [found.status(size) for size in (1, 2)] == ["ok", "oom"]
    assert len(found.passes[0].plain_ns) == ROUNDS


def test_the_failed_pass_lets_go_of_its_tensors_before_others_run():
    held = []

    def fail(kind, batch_size):
        if batch_size == 2:
            tensor = torch.zeros(1)
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        assert all(tensor() is None for tensor in held)

    assert measure(Machine(fail=fail), (1, 2)).batch_sizes == (1,)
    assert len(held) == 1


def test_a_lost_gpu_ends_the_measurement_with_a_remedy():
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile")
    with pytest.raises(
        ProfileError, match=r"batch size 2 \(CUDA error.*encountered\).*start a new"
    ):
        measure(Machine(fail=raising(error, lambda kind, size: size == 2)), (1, 2))


# Interrupts


def interrupted_at(passes):
    machine = Machine()
    machine.fail = raising(KeyboardInterrupt(), lambda kind, size: len(machine.log) == passes)
    return machine


def test_an_interrupt_keeps_whole_rounds():
    found = measure(interrupted_at(3 + 13))
    assert found.passes[0].plain_ns.shape == (6,)
    assert found.passes[0].stamped_ns.shape == (6, 4)
    assert found.provenance.note == "interrupted"


@pytest.mark.parametrize("passes", [0, 2, 3 + 9])
def test_an_interrupt_before_ten_passes_goes_on(passes):
    with pytest.raises(KeyboardInterrupt):
        measure(interrupted_at(passes))
    assert gc.isenabled()


# Dear stamps


def stamped_cuts(found, batch_size=1):
    """Which inner cuts each pass stamped, ``(round, cut)``."""
    passes = next(p for p in found.passes if p.batch_size == batch_size)
    return passes.stamped_ns[:, 1:-1] != NOT_STAMPED


def test_what_a_stamp_costs_is_known_before_any_pass_counts():
    # 19 stamps of 9 ns in a pass of 2,000 ns: 9 %. Four of them leave 2 %.
    machine = Machine([100] * 20)
    found = measure(machine, stamp_ns=9)
    assert set(stamped_cuts(found).sum(axis=1)) == {4}
    assert found.passes[0].rounds == ROUNDS
    # Two pairs until all is warm, seven more to find out, then the rounds.
    assert len(machine.log) == 2 * (9 + ROUNDS)
    assert calibration(found, 1)[0] == pytest.approx(1 + 4 * 9 / 2000)
    np.testing.assert_allclose(found.head_s(1), np.arange(21) * 100e-9, atol=25e-9)
    assert found.status(1) == "ok"


def test_cuts_that_can_be_chosen_are_stamped_first_and_the_others_in_turns():
    #  100 go in; cuts 6 and 12 are record-low, and all others lie above.
    widths = [100] * 5 + [50] + [100] * 5 + [40] + [100] * 8
    found = measure(Machine([100] * 20), stamp_ns=9, widths=widths)
    stamps = found.passes[0].stamps
    first, others = stamps[[6, 12]], np.delete(stamps, [0, 6, 12, 20])
    # All of the first six passes, then two of three; two more stamps a pass for the others, and
    # all four of every third pass.
    assert first.tolist() == [6 + 6, 6 + 6]
    assert others.sum() == 12 * 2 + 3 * 4
    assert others.max() - others.min() <= 1


def test_each_cut_that_can_be_chosen_has_six_stamps_however_few_passes_were_asked_for():
    widths = list(range(99, 79, -1))  # ten of nineteen record-low cuts count as likely
    found = measure(Machine([100] * 20), stamp_ns=20, widths=widths, passes=10)
    assert set(stamped_cuts(found).sum(axis=1)) == {2}
    likely = record_lows(found.graph)
    assert len(likely) == 10
    assert found.passes[0].stamps[likely].min() == 6
    # Two of three passes are theirs at the end, so that the others, in ten rounds, get some too.
    assert 10 * 6 / 2 <= found.passes[0].rounds <= 10 * 6 / 2 * 1.5


def test_a_cut_that_was_never_stamped_has_no_times_and_says_so():
    found = measure(Machine([10] * 20), stamp_ns=4, passes=10)  # one stamp a pass
    never = found.passes[0].stamps == 0
    assert never.any()
    assert np.isnan(found.head_s(1)[never]).all()
    assert np.isfinite(found.head_s(1)[~never]).all()


def test_a_cost_that_shows_only_after_many_rounds_lets_passes_stamp_fewer_too():
    # 8 %; among passes that scatter by a fifth, 15 rounds cannot tell it from nothing.
    scatter = np.random.default_rng(0).uniform(1, 1.2, 10_000)
    few, many = (
        measure(Machine([1000] * 20, slower=scatter.__getitem__), stamp_ns=80, budget_s=budget_s)
        for budget_s in (0, 0.01)
    )
    assert stamped_cuts(few).all()
    assert not stamped_cuts(many).all()
    assert calibration(many, 1)[1] < 1.02


def test_few_stamps_that_cost_more_each_than_many_are_made_fewer_still():
    # As on a real GPU: all 38 cost 10 ns each, which lets a pass of 4,000 stamp 8 of them; but of
    # few each costs 30, so that 8 would cost 6 %. Two cost 1.5 %.
    machine = Machine([100] * 40)
    clock = machine.clock()
    plain_stamp = clock.stamp

    def stamp(cut):
        plain_stamp(cut)
        machine.now_ns += 10 if all(clock._wanted) else 30

    clock.stamp = stamp
    found = profile(machine.model(), budget_s=2e-4, verify=False, clock=clock)
    stamped = found.passes[0].stamped_ns
    assert np.all((stamped != NOT_STAMPED).sum(axis=1) == 2 + 2)  # with both ends
    assert calibration(found, 1)[0] == pytest.approx(1.015)


@pytest.mark.parametrize("verify", [False, True])
def test_where_one_stamp_costs_too_much_only_halves_are_run(verify):
    # 30 ns of 1,000: 3 %. At batch size 4 it is less than 1 %, and both cuts may be stamped.
    found = measure(
        Machine((100, 300, 600)), (1, 4), stamp_ns=30, verify=verify, widths=(50, 80, 10)
    )
    one = found.passes[0]
    assert one.stamped_ns.shape == (0, 4)
    assert [half.cut for half in one.separate] == [0, 1, 2, 3]  # few: all of them
    np.testing.assert_allclose(found.head_s(1), np.array([0, 100, 400, 1000]) * 1e-9)
    np.testing.assert_allclose(found.tail_s(1), np.array([1000, 900, 600, 0]) * 1e-9)
    assert one.rounds == ROUNDS
    assert found.caution(1) == "of really executed halves at 2 of 2 cuts"
    assert found.caution(4) == ""
    assert stamped_cuts(found, 4).all()
    # The pass takes 4,060 ns with both stamps; the first one comes before the second cut.
    shares = np.array([0, 400, 1630, 4060]) / 4060
    np.testing.assert_allclose(found.head_s(4), shares * 4000e-9)


def test_memory_that_runs_out_in_the_halves_alone_is_a_row_too():
    found = measure(
        Machine(fail=raising(MemoryError(), lambda kind, size: (kind, size) == ("head", 1))),
        (1, 4),
        stamp_ns=30,
    )
    assert [found.status(size) for size in (1, 4)] == ["oom", "oom"]


def test_halves_only_on_demand():
    widths = (50, *[80] * 11, 10)  # cut 1 is record-low; of more than ten not all are run
    found = measure(Machine([100] * 13), stamps=False, verify=True, widths=widths)
    assert [half.cut for half in found.passes[0].separate] == [0, 1, 13]
    assert found.caution(1) == "of really executed halves at 1 of 12 cuts"
    assert found.provenance.protocol == "executed-halves/1"
    assert found.provenance.note == "halves run apart"


def test_a_dear_clock_that_waits_a_real_time_is_found_out():
    captured = capture(small_network(), example_inputs=torch.rand(2, 3, 32, 32))

    class Dear(CpuClock):
        def stamp(self, cut):
            super().stamp(cut)
            until = time.perf_counter_ns() + 2_000_000
            while time.perf_counter_ns() < until:
                pass

    clock = Dear(len(captured.graph.layers) + 1)
    found = profile(captured, threads=1, clock=clock, budget_s=0, passes=10)
    assert not len(found.passes[0].stamped_ns)  # a pass takes less long than one stamp
    assert np.isfinite(found.head_s(1)[[0, -1]]).all()


def test_the_budget_ends_what_dear_stamps_would_draw_out():
    # Two stamps a pass for ten cuts that can be chosen: once each takes five rounds, six times 30.
    widths = list(range(99, 79, -1))

    def measured(budget_s):
        found = measure(
            Machine([100] * 20), stamp_ns=20, widths=widths, passes=10, budget_s=budget_s
        )
        return found.passes[0].rounds, found.passes[0].stamps[record_lows(found.graph)]

    long, stamps = measured(1)
    assert long >= 30
    assert stamps.min() == 6
    short, stamps = measured(1e-9)
    assert short == 5
    assert stamps.min() == 1


def test_a_profile_says_at_how_many_cuts_it_has_times():
    stamped = np.array([[0, NOT_STAMPED, 400, 1000]] * 9)
    whole = np.full(9, 1000)
    passes = (Passes(1, whole, stamped),)
    found = Profile(tiny_graph(), Provenance("measured", "bench clock"), passes)
    assert found.status(1) == "ok"
    assert found.caution(1) == ("known at 1 of 2 cuts, the others had no stamp yet; measure longer")


# An idle gap


def test_the_gap_before_each_pass_is_kept_with_the_times(tmp_path):
    gaps = []
    machine = Machine((100, 300, 600))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", gaps.append)
        found = measure(machine, gap_s=0.02, verify=True)
    assert gaps == [0.02] * len(machine.log)  # halves wait for each other too
    assert found.total_s(1) == pytest.approx(1000e-9)
    assert found.provenance.gap_s == 0.02
    # So it tells machines apart wherever they are named.
    assert found.provenance.machine().endswith(", 20 ms idle before each pass")
    assert found.provenance.machine() in found.provenance.label()
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.provenance == found.provenance


def test_cheap_stamps_do_not_rotate():
    found = measure(Machine([1000] * 20), stamp_ns=10)
    assert (found.passes[0].stamped_ns != NOT_STAMPED).all()
    assert calibration(found, 1)[0] == pytest.approx(1.01, abs=0.001)


@pytest.mark.parametrize("passes", [10, 30, 60])
def test_noise_alone_does_not_let_stamps_rotate(passes):
    found = measure(Machine([100] * 20, slower=noisy), (1, 2, 3), passes=passes)
    assert [len(p.plain_ns) for p in found.passes] == [passes // 2] * 3
    assert all((p.stamped_ns != NOT_STAMPED).all() for p in found.passes)


# Verification of candidates


def test_candidates_are_really_run():
    machine = Machine((100, 300, 600))
    found = measure(machine, (1, 2), verify=True, widths=(50, 80, 10))
    for passes in found.passes:
        size = passes.batch_size
        assert [one.cut for one in passes.separate] == [1, 2]
        for one, head_ns in zip(passes.separate, (100 * size, 400 * size), strict=True):
            assert set(one.head_ns) == {head_ns}
            assert set(one.tail_ns) == {1000 * size - head_ns}
            assert set(one.whole_ns) == {1000 * size}
        error = model_error(found, size)
        assert (error.head, error.tail) == pytest.approx((0, 0))
        assert error.cuts == 2


def test_model_error_is_what_halves_save_when_run_alone():
    found = measure(Machine((100, 300, 600), tail_saves_ns=50), verify=True)
    error = model_error(found, 1)
    assert (error.head, error.tail) == pytest.approx((0, 0.05))  # 50 ns of 1,000


def test_plain_passes_run_now_before_and_now_after_the_halves():
    machine = Machine(slower=noisy)
    found = measure(machine, verify=True, budget_s=100e-6)
    kinds = "".join(kind[0] for kind, _ in machine.log)
    assert kinds.count("ht") == machine.log.count(("head", 1)) > 10
    # Each has a plain pass next to it, but not always on the same side.
    neighbours = {(kinds[i - 1], kinds[i + 2]) for i in range(len(kinds) - 2) if kinds[i] == "h"}
    assert all("w" in pair for pair in neighbours)
    assert len(neighbours) > 2
    one_pass = set(found.passes[0].plain_ns)
    assert all(set(one.whole_ns) <= one_pass for one in found.passes[0].separate)


def test_verification_adds_one_pass_for_each_candidate_to_the_least_passes():
    plain, verified = Machine([100] * 12), Machine([100] * 12)
    measure(plain)
    found = measure(verified, verify=True)
    assert verified.now_ns - plain.now_ns == len(found.passes[0].separate) * 1200
    assert [len(one.head_ns) for one in found.passes[0].separate] == [1, 1, 1]


def test_measuring_goes_on_until_the_model_error_is_known_too():
    rng = np.random.default_rng(1)
    machine = Machine([100] * 12)
    # Only the halves scatter, by a tenth: stamps alone would be sure after the least passes.
    machine.slower = lambda n: 1 + 0.1 * machine.last.startswith(("h", "t")) * rng.standard_normal()
    machine.fail = lambda kind, batch_size: setattr(machine, "last", kind)
    found = measure(machine, verify=True, budget_s=1)
    error = model_error(found, 1)
    assert found.passes[0].rounds > 2 * ROUNDS
    assert 0 < error.head_half_width < 0.01
    assert abs(error.head) < 2 * error.head_half_width


def test_a_profile_with_verification_survives_its_file(tmp_path):
    found = measure(Machine(), (1, 2), verify=True)
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.provenance == found.provenance
    for a, b in zip(found.passes, again.passes, strict=True):
        np.testing.assert_array_equal(a.stamped_ns, b.stamped_ns)
        for s, t in zip(a.separate, b.separate, strict=True):
            np.testing.assert_array_equal(s.whole_ns, t.whole_ns)


# CUDA, with events that read the machine's time


def test_cuda_events_give_the_same_times():
    machine, calls = Machine((100, 300, 600)), []
    clock = CudaClock(4, event=lambda: Event(machine, calls))
    found = measure(machine, (1, 2), clock=clock, verify=True)
    np.testing.assert_allclose(found.head_s(2), np.array([0, 200, 800, 2000]) * 1e-9)
    assert model_error(found, 2).head == pytest.approx(0)
    assert calls.count("synchronize") == len(machine.log)  # waits once a pass


def test_cuda_plain_passes_record_their_ends_only():
    machine, calls = Machine(), []
    clock = CudaClock(4, event=lambda: Event(machine, calls))
    clock.begin([True, False, False, True])
    for cut in (1, 2):
        clock.stamp(cut)
    assert clock.end().tolist() == [0, NOT_STAMPED, NOT_STAMPED, 0]
    assert calls == ["record", "record", "synchronize"]


def test_clocks_stamp_what_is_wanted():
    times = iter([1000, 1010, 1050])
    clock = CpuClock(4, now=lambda: next(times))
    clock.begin([True, False, True, True])
    for cut in (1, 2):
        clock.stamp(cut)
    assert clock.end().tolist() == [0, NOT_STAMPED, 10, 50]


@pytest.mark.gpu
def test_a_real_gpu():
    captured = capture(small_network(), example_inputs=torch.rand(2, 3, 32, 32), device="cuda")
    found = profile(captured, (1, 8), budget_s=1)
    # Its pass is shorter than a stamp is worth: then all heads are run, each with its own noise.
    assert np.all(found.head_s(8)[1:] > 0)
    assert found.total_s(8) > 0


# A real model on a real clock


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(12544, 10)
    ).eval()


def test_a_real_model_gives_sane_times():
    captured = capture(small_network(), example_inputs=torch.rand(2, 3, 32, 32))
    found = profile(captured, (1, 4), threads=1, budget_s=0)
    for size in (1, 4):
        head_s, tail_s = found.head_s(size), found.tail_s(size)
        assert head_s[0] == 0
        assert np.all(np.diff(head_s) >= 0)
        np.testing.assert_allclose(head_s + tail_s, found.total_s(size))
        assert tail_s[-1] == 0
        assert found.total_s(size) > 0
        assert model_error(found, size).cuts == 3  # drawn at random
    assert (found.provenance.origin, found.provenance.threads) == ("measured", 1)
    assert found.provenance.protocol == "one-pass/2"


# Misuse


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_sizes": ()}, "batch_sizes"),
        ({"batch_sizes": (0, 1)}, "batch_sizes"),
        ({"passes": 9}, "passes is 9; give at least 10"),
        ({"budget_s": -1}, "budget_s"),
        ({"budget_s": float("nan")}, "budget_s"),
        ({"threads": 0}, "threads is 0"),
        ({"gap_s": -1}, r"gap_s is -1; give seconds from 0 to 60, such as 0\.02"),
        ({"gap_s": 100}, "gap_s is 100; give seconds"),
    ],
)
def test_misuse_is_named(options, reason):
    with pytest.raises(ValueError, match=reason):
        measure(Machine(), **options)


def test_a_device_without_a_clock_is_named():
    model = Machine().model()
    vars(model)["device"] = torch.device("meta")
    with pytest.raises(ProfileError, match="no clock for 'meta'"):
        profile(model)


# Display


@pytest.mark.parametrize("progress", [True, False])
def test_progress_goes_to_stderr_and_only_when_asked(capsys, progress):
    measure(Machine(), progress=progress)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("100%" in shown.err) is progress
    assert ("left" in shown.err) is progress
