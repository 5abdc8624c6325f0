import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dscwb.capturing.captured import capture
from dscwb.measuring import measure
from dscwb.measuring.checkpoint import Checkpoint, set_aside, within
from dscwb.measuring.measure import profile
from dscwb.profiles.files import load_profile
from dscwb.profiles.records import ProfileError, Provenance, Separate
from tests.machine import KilledError, Machine, stop_after
from tests.tiny import profile_of, tiny_graph

HERE = Provenance("measured", "bench clock", weights_sha256="0" * 64)
SETTINGS = {"passes": 20, "budget_s": 0, "verify": False}


def run(machine, path, batch_sizes=(1, 2), **more):
    return profile(
        machine.model(), batch_sizes, clock=machine.clock(), checkpoint=path, **SETTINGS | more
    )


@pytest.fixture(autouse=True)
def _keep_every_round(monkeypatch):
    monkeypatch.setattr(measure, "KEEP_EVERY_S", 1e-12)


@pytest.mark.parametrize("verify", [False, True])
def test_what_was_run_before_a_kill_is_not_run_again(tmp_path, caplog, verify):
    path = tmp_path / "b.parquet.unfinished"
    with pytest.raises(KilledError):
        run(Machine(fail=stop_after(40)), path, verify=verify)
    before = sum(len(p.plain_ns) for p in load_profile(path).passes)
    assert before >= 4
    again = Machine()
    with caplog.at_level(logging.INFO, "dscwb"):
        whole = run(again, path, verify=verify)
    assert f"going on after {before} rounds of an earlier measurement" in caplog.text
    plain = [len(p.plain_ns) for p in whole.passes]
    assert plain == [10, 10]
    stamped = sum(kind == "stamped" for kind, _ in again.log)
    warm = 2 * 2  # two pairs of passes at each batch size
    assert stamped == 20 - before + warm
    np.testing.assert_allclose(whole.head_s(2), np.array([0, 200, 800, 2000]) * 1e-9)
    assert len(load_profile(path).passes[0].plain_ns) == 10  # until the profile is saved
    if verify:
        repeats = {len(one.head_ns) for p in whole.passes for one in p.separate}
        assert min(repeats) >= 1


def test_an_interrupt_by_hand_keeps_the_rounds_too(tmp_path):
    path = tmp_path / "x"
    kept = run(Machine(fail=stop_after(40, KeyboardInterrupt)), path)
    assert "interrupted" in kept.provenance.note
    assert path.exists()
    assert [len(p.plain_ns) for p in run(Machine(), path).passes] == [10, 10]


def test_a_further_batch_size_adds_to_what_is_there(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(KilledError):
        run(Machine(fail=stop_after(20)), path, batch_sizes=(2,))
    both = run(Machine(), path, batch_sizes=(1, 2))
    assert both.batch_sizes == (1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "other"}, "device (bench clock, now other)"),
        ({"threads": 4}, "threads (None, now 4)"),
        ({"versions": (("torch", "9"),)}, "torch (None, now 9)"),
        ({"gap_s": 0.02}, "idle gap in seconds (0.0, now 0.02)"),
        ({"note": "channels last"}, "settings (, now channels last)"),
        ({"weights_sha256": "0123456789abcdef"}, "weights (, now 0123456789ab)"),
    ],
)
def test_changed_conditions_start_anew_say_why_and_lose_nothing(tmp_path, caplog, change, words):
    caplog.set_level("INFO", "dscwb")
    earlier = profile_of(tiny_graph(), {1: [1, 2, 3]})
    kept = Checkpoint(tmp_path / "x", tiny_graph())
    kept.keep(earlier.passes, earlier.provenance)
    assert len(kept.resume(earlier.provenance).passes) == 1
    assert kept.resume(replace(earlier.provenance, **change)) is None
    assert f"measuring from the start, for there has changed: {words}" in caplog.text
    assert "what was there is now in " in caplog.text
    (aside,) = tmp_path.iterdir()
    assert load_profile(aside).passes[0].plain_ns.tolist() == [6, 6, 6]


def test_another_model_starts_anew(tmp_path, caplog):
    caplog.set_level("INFO", "dscwb")
    kept = Checkpoint(tmp_path / "x", tiny_graph())
    kept.keep(profile_of(tiny_graph(), {1: [1, 2, 3]}).passes, HERE)
    assert replace(kept, graph=tiny_graph("other")).resume(HERE) is None
    assert "for there has changed: the model (tiny, now other)" in caplog.text


@pytest.mark.parametrize("content", [b"a letter", b"PAR1 half a file"])
def test_a_foreign_or_damaged_file_is_refused_before_a_pass_runs_and_left_alone(tmp_path, content):
    path, machine = tmp_path / "x", Machine()
    path.write_bytes(content)
    with pytest.raises(ProfileError, match="Remove it, or write to another file"):
        run(machine, path)
    assert (machine.log, path.read_bytes()) == ([], content)
    path.unlink()  # the remedy
    lock = tmp_path / "x.lock"
    lock.write_text("somebody's own")
    assert run(machine, path).batch_sizes == (1, 2)
    assert lock.read_text() == "somebody's own"


def test_few_stamps_a_pass_go_on(tmp_path):
    layers = [10] * 30
    path = tmp_path / "x"
    settings = {"passes": 30, "budget_s": 0, "verify": False}

    def measure_with(machine):
        return profile(
            machine.model(), (1,), clock=machine.clock(stamp_ns=1), checkpoint=path, **settings
        )

    whole = measure_with(Machine(layers))
    path.unlink()
    with pytest.raises(KilledError):
        measure_with(Machine(layers, fail=stop_after(40)))
    resumed = measure_with(Machine(layers))
    assert len(resumed.passes[0].plain_ns) == len(whole.passes[0].plain_ns)
    # 29 stamps of 1 ns in 300 ns: six cuts a pass, and each cut has its turn.
    for found in (whole, resumed):
        assert found.passes[0].stamps[1:-1].sum() == 6 * found.passes[0].rounds
        assert np.ptp(found.passes[0].stamps[1:-1]) <= 1


def test_changed_weights_start_anew(tmp_path, caplog):
    path = tmp_path / "x"
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()

    def measure_until(error):
        rounds = iter(range(3))

        def progress(*_):
            if next(rounds, None) is None and error:
                raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measure.tqdm, "update", lambda *_: progress())
            return profile(capture(module, (4,)), checkpoint=path, **SETTINGS)

    with pytest.raises(KilledError):
        measure_until(KilledError())
    with torch.no_grad():
        module[2].weight += 1
    with caplog.at_level(logging.INFO, "dscwb"):
        measure_until(None)
    assert "for there has changed: weights (" in caplog.text


def test_the_same_weights_go_on(tmp_path, caplog):
    caplog.set_level("INFO", "dscwb")
    kept = Checkpoint(tmp_path / "x", tiny_graph())
    hot = replace(HERE, throttled=("hardware slowdown",))
    kept.keep(profile_of(tiny_graph(), {1: [1, 2, 3]}).passes, hot)
    found = kept.resume(HERE)
    assert len(found.passes) == 1
    assert found.provenance.throttled == ("hardware slowdown",)
    assert "going on after 3 rounds of an earlier measurement" in caplog.text


def test_within_asks_for_every_pass():
    earlier = profile_of(tiny_graph(), {1: [1, 2, 3], 2: [2, 4, 6]}, rounds=5)
    first = replace(earlier, passes=earlier.passes[:1])
    fewer = replace(
        first,
        passes=(
            replace(
                first.passes[0],
                plain_ns=first.passes[0].plain_ns[:3],
                stamped_ns=first.passes[0].stamped_ns[:3],
            ),
        ),
    )
    assert within(earlier, earlier)
    assert within(first, earlier)
    assert not within(earlier, first)
    assert within(fewer, first)
    assert not within(first, fewer)
    assert not within(first, profile_of(tiny_graph(), {1: [1, 2, 4]}, rounds=5))
    assert not within(first, profile_of(tiny_graph("other"), {1: [1, 2, 3]}, rounds=5))


def test_halves_count_as_passes_too():
    halves = Separate(1, *(np.array([n, n + 1]) for n in (10, 20, 30)))
    with_halves = profile_of(tiny_graph(), {1: [1, 2, 3]})
    with_halves = replace(with_halves, passes=(replace(with_halves.passes[0], separate=(halves,)),))
    assert within(with_halves, with_halves)
    assert not within(with_halves, profile_of(tiny_graph(), {1: [1, 2, 3]}))


def test_a_file_set_aside_never_replaces_another(tmp_path):
    earlier = profile_of(tiny_graph(), {1: [1, 2, 3]})
    earlier = replace(
        earlier, provenance=replace(earlier.provenance, date="2026-11-25T10:55:42+00:00")
    )
    names = []
    for text in ("first", "second"):
        (tmp_path / "b0.parquet").write_text(text)
        names.append(set_aside(tmp_path / "b0.parquet", earlier))
    assert [path.name for path in names] == [
        "b0-20261125105542.parquet",
        "b0-20261125105542+.parquet",
    ]
    assert [path.read_text() for path in names] == ["first", "second"]
