import itertools

import pytest

from benchmarks import bench
from tests.tiny import profile_of, tiny_graph


def test_the_bound_of_import_is_kept_and_shown(capsys):
    bench.main(["--only", "import"])
    first, second = capsys.readouterr().out.splitlines()
    assert "≤ 0.5 s" in first
    assert "torch is not loaded" in first
    assert "OVER" not in first
    assert "bare interpreter" in second


@pytest.mark.parametrize(("value", "over"), [(1.5, False), (1.51, True)])
def test_what_is_over_its_bound_is_marked(value, over):
    assert ("OVER" in str(bench.Row("x", value, bound=1.5))) is over


def test_actions_take_turns(monkeypatch):
    log, clock = [], itertools.count()
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    medians = bench.alternate(3, lambda: log.append("a"), lambda: log.append("b"))
    assert "".join(log) == "baabba"
    assert medians == [1, 1]


def test_halves_of_a_profile_are_every_other_round_or_one_after_the_other():
    profile = profile_of(tiny_graph(), {1: [1, 2, 3]}, rounds=5)
    profile.passes[0].plain_ns[:] = [10, 20, 30, 40, 50]
    plain = {
        cut.__name__: [half.passes[0].plain_ns.tolist() for half in bench._halves(profile, cut)]
        for cut in (bench.every_other, bench.one_half)
    }
    assert plain == {
        "every_other": [[10, 30, 50], [20, 40]],
        "one_half": [[10, 20], [30, 40, 50]],
    }


def test_the_difference_of_two_profiles_is_told_for_t_and_for_heads():
    a, b = (profile_of(tiny_graph(), {1: layers}) for layers in ([20, 30, 50], [20, 30, 60]))
    # Heads end at 0, 20, 50, 100 and 0, 20, 50, 110: half of them agree, T differs by 10 %.
    total, heads = bench._apart("x", a, b, "quiet")
    assert (total.what, total.value, total.how) == ("x: T", pytest.approx(10), "quiet")
    assert (heads.what, heads.value) == ("x: heads", pytest.approx(0))
    # Shares 0.2 and 0.5 against 2/11 and 5/11; the median is half of the first difference.
    assert heads.how == f"as shares of their own T: {100 * (0.2 - 2 / 11) / 2:.2f} %"


def test_all_ways_to_decide_give_the_same_answer():
    from benchmarks import decide
    from dscwb.envelope import best_split

    a, bits, rates = decide.lines()
    few = slice(None, None, 20)
    best = best_split(a[:2], bits, rates[few])
    assert (best == decide.per_batch(a[:2], bits, rates[few])).all()
    for way in (decide.loops, decide.groupby):
        assert (way(a, bits, rates[few]) == best[:1]).all()
    assert len(set(best.ravel().tolist())) > 2
