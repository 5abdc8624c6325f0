import numpy as np
import pytest
import torch
from torch import nn

from dscwb.capturing.captured import capture
from dscwb.cost import cost_lines
from dscwb.graph import Block
from dscwb.measuring import measure
from dscwb.measuring.measure import compiler_named, profile
from dscwb.measuring.rounds import WARM_ROUNDS as WARM_PASSES
from dscwb.measuring.rounds import Plan, Rounds
from dscwb.measuring.stamps import likely_cuts
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import ProfileError
from dscwb.scenario import Scenario
from dscwb.units import encoding
from tests.machine import KilledError, Machine, stop_after
from tests.tiny import tiny_graph

WIDTHS = (50, 80, 10)  # after 100 at the input: cut 1 is record-low
ROUNDS = 15  # of 30 passes


@pytest.fixture(autouse=True)
def _compile_nothing(monkeypatch):
    """The machine's halves are no code for tensors; real ones are compiled further down."""
    monkeypatch.setattr(measure, "compiler_named", lambda backend: lambda code: code)


def measured(machine, batch_sizes=(1,), widths=WIDTHS, **options):
    options = {"budget_s": 0, "clock": machine.clock(), "compiler": "inductor"} | options
    return profile(machine.model(widths), batch_sizes, **options)


# Which cuts


def test_record_low_cuts_are_compiled_of_all_and_of_those_after_blocks():
    assert likely_cuts(tiny_graph()) == [1]
    graph = Machine([100] * 6).model([90, 95, 60, 70, 65, 10]).graph
    assert likely_cuts(graph) == [1, 3]
    # After blocks: 95, then 70; cuts that the record-lows of all do not hold.
    vars(graph)["blocks"] = tuple(Block(f"b{end}", "Block", end) for end in (2, 4))
    assert likely_cuts(graph) == [1, 2, 3, 4]


# What comes out


def test_heads_and_tails_are_those_that_ran():
    found = measured(Machine((100, 300, 600), tail_saves_ns=50), (1, 4))
    nan = np.nan
    # The whole is run as the tail of the input's cut, and saves 50 ns as every tail does.
    np.testing.assert_allclose(found.head_s(1), np.array([0, 100, nan, 950]) * 1e-9)
    np.testing.assert_allclose(found.tail_s(1), np.array([950, 850, nan, 0]) * 1e-9)
    np.testing.assert_allclose(found.head_s(4), np.array([0, 400, nan, 3950]) * 1e-9)
    assert found.total_s(4) == pytest.approx(3950e-9)
    assert [p.rounds for p in found.passes] == [ROUNDS, ROUNDS]
    assert [one.cut for one in found.passes[0].separate] == [0, 1, 3]
    assert found.passes[0].plain_ns.shape == (0,)
    assert found.passes[0].stamped_ns.shape == (0, 4)


def test_the_machines_drift_moves_neither_shares_nor_status():
    machine = Machine((100, 300, 600), slower=lambda n: 1 + n / 10)
    found = measured(machine)
    np.testing.assert_allclose(found.head_s(1)[1] / found.total_s(1), 0.1, rtol=0.05)
    assert found.status(1) == "unreliable"  # the whole passes tell of it


def test_a_compiled_profile_never_looks_like_another():
    found, eager = measured(Machine()), profile(Machine().model(), budget_s=0)
    assert found.provenance.device == f"{eager.provenance.device}, compiled"
    assert ", compiled, " in found.provenance.label()
    assert found.provenance.protocol == "compiled-halves/1"
    assert found.provenance.note == "torch.compile (inductor), halves run apart"


def test_it_survives_its_file(tmp_path):
    found = measured(Machine(), (1, 2))
    again = load_profile(save_profile(found, tmp_path / "p.parquet"))
    assert again.provenance == found.provenance
    np.testing.assert_array_equal(again.head_s(2), found.head_s(2))
    np.testing.assert_array_equal(again.tail_s(2), found.tail_s(2))


def test_candidates_without_times_are_left_out_of_the_lines():
    found = measured(Machine((100, 300, 600)))
    wire = encoding("float32")
    lines = cost_lines(
        found, found, Scenario(input_encoding=wire, feature_encoding=wire, granularity="op"), [1]
    )
    np.testing.assert_allclose(lines.intercept_s, [np.array([1000, 1000, np.nan, 1000]) * 1e-9])


# Order and number


def test_everything_runs_in_every_round_in_an_order_of_its_own():
    machine = Machine()
    measured(machine, (1, 2))
    a_round = 2 * 4  # at each batch size the whole, and head, tail and whole at the one cut
    log = machine.log[WARM_PASSES * a_round :]
    rounds = [tuple(log[i : i + a_round]) for i in range(0, len(log), a_round)]
    assert len(rounds) == ROUNDS
    for one in rounds:
        # "tail" is both the tail after the cut and the whole, next to it and on its own.
        assert sorted(one) == [*[("head", 1), ("head", 2)], *[("tail", 1)] * 3, *[("tail", 2)] * 3]
    assert len(set(rounds)) > 3


def test_without_noise_measuring_stops_and_with_noise_the_budget_is_spent():
    quiet = measured(Machine(), budget_s=100)
    assert quiet.passes[0].rounds == ROUNDS
    noisy = measured(Machine(slower=lambda n: 1 + (n * 0.6180339887) % 1), budget_s=300e-6)
    # A round runs the whole twice, and once in two halves: 3 µs, half as much again for the noise.
    assert noisy.passes[0].rounds == pytest.approx(300 / 4.5, rel=0.1)


def test_a_model_without_a_bottleneck_is_run_as_a_whole_only():
    found = measured(Machine(), widths=(100, 100, 100))
    assert [one.cut for one in found.passes[0].separate] == [0, 3]


# Out of memory, failures, interrupts


def test_out_of_memory_is_a_row():
    def fail(kind, batch_size):
        if batch_size >= 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    found = measured(Machine(fail=fail), (1, 4))
    assert [found.status(size) for size in (1, 4)] == ["ok", "oom"]


def test_a_failing_compiler_is_named_with_a_remedy():
    def fail(kind, batch_size):
        raise torch._dynamo.exc.BackendCompilerFailed(
            lambda: None, RuntimeError("Failed to find C++ compiler"), None
        )

    with pytest.raises(ProfileError, match=r"torch.compile failed at batch size 1 .*Install it"):
        measured(Machine(fail=fail))


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match=r"compiler is 'gcc'; torch has .*inductor"):
        compiler_named("gcc")


@pytest.mark.parametrize("runs", [34, 45, 70])
def test_what_was_run_before_a_kill_is_not_run_again(tmp_path, monkeypatch, runs):
    monkeypatch.setattr(measure, "KEEP_EVERY_S", 1e-12)
    path = tmp_path / "x"
    with pytest.raises(KilledError):
        measured(Machine((100, 300, 600), fail=stop_after(runs)), (1, 2), checkpoint=path)
    before = load_profile(path).passes[0].rounds
    assert before == runs // 8 - WARM_PASSES  # eight runs a round
    machine = Machine((100, 300, 600))
    found = measured(machine, (1, 2), checkpoint=path)
    assert [p.rounds for p in found.passes] == [ROUNDS, ROUNDS]
    assert len(machine.log) == 8 * (WARM_PASSES + ROUNDS - before)
    np.testing.assert_allclose(found.head_s(2), np.array([0, 200, np.nan, 2000]) * 1e-9)
    assert path.exists()  # until whoever saves the profile removes it


def test_the_checkpoint_of_an_uncompiled_measurement_is_not_taken(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(measure, "KEEP_EVERY_S", 1e-12)
    path = tmp_path / "x"
    with pytest.raises(KilledError):
        measured(Machine(fail=stop_after(20)), checkpoint=path, compiler=None)
    with caplog.at_level("INFO", "dscwb"):
        measured(Machine(), checkpoint=path)
    assert "measuring from the start, for there has changed: device" in caplog.text


def test_an_interrupt_while_warming_up_leaves_no_round():
    machine = Machine(fail=stop_after(10, KeyboardInterrupt))
    plan = Plan((1,), 2 * ROUNDS, 0.0, verify=False, seed=0)
    rounds = Rounds(machine.model(WIDTHS), machine.clock(), plan, lambda code: code)
    with pytest.raises(KeyboardInterrupt):
        rounds.run(lambda spent_s, left_s: None)
    assert rounds.so_far() == ()


# A real model


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2), nn.Flatten(), nn.Linear(196, 5)
    ).eval()


def test_a_real_model_is_compiled_once_for_each_half_and_batch_size(monkeypatch):
    compiled_for = []

    def compiling(backend):
        def backend_of_ours(module, example_inputs):
            compiled_for.append(len(example_inputs))
            return module.forward

        return lambda code: torch.compile(
            code, backend=backend_of_ours, dynamic=False, fullgraph=True
        )

    monkeypatch.setattr(measure, "compiler_named", compiling)
    captured = capture(network(), example_inputs=torch.rand(2, 3, 18, 18))
    cuts = len(likely_cuts(captured.graph))
    sizes = (1, 2, 3)
    found = profile(captured, sizes, threads=1, budget_s=0, compiler="ours")
    assert len(compiled_for) == len(sizes) * (1 + 2 * cuts)
    for size in sizes:
        head_s, tail_s = found.head_s(size), found.tail_s(size)
        assert np.isfinite(head_s).sum() == cuts + 2
        assert tail_s[0] == head_s[-1] == found.total_s(size) > 0


def test_torchs_own_backends_are_reached_by_name():
    half = compiler_named("eager")(network())
    x = torch.rand(2, 3, 18, 18)
    with torch.inference_mode():
        assert torch.equal(half(x), network_of(half)(x))


def network_of(half):
    return half._orig_mod


def test_one_graph_or_an_error():
    class Breaks(nn.Module):
        def forward(self, x):
            torch._dynamo.graph_break()
            return x

    with pytest.raises(RuntimeError, match=r"(?i)graph.break"):
        compiler_named("eager")(Breaks())(torch.zeros(1))
