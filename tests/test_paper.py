from pathlib import Path

import numpy as np
import pytest

from dscwb import paper
from dscwb.profiles.files import load_profile
from dscwb.profiles.records import Provenance, scale_profile
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
PROFILES = Path(__file__).parents[1] / "data" / "profiles"
FLOAT32 = paper.Convention("float32", "float32", "by hand")


def tiny_pair():
    """As in test_study: full offloading 6 ms + 3200 bits/r, a 15 ms + 1600/r, none 60 ms."""
    edge = profile_of(tiny_graph(), {1: [10 * MS, 20 * MS, 30 * MS]})
    return paper.Pair("by hand", profiles={"tiny": (edge, scale_profile(edge, 10))})


def test_the_grid_is_the_papers():
    assert len(paper.BATCH_SIZES) * len(paper.DATA_RATES_BPS) == 7874
    assert (paper.DATA_RATES_BPS[0], paper.DATA_RATES_BPS[-1]) == (8e6, 127 * 8e6)


def test_every_shipped_efficientnet_agrees_with_the_published_counts():
    graphs = [load_profile(path).graph for path in sorted(PROFILES.glob("*efficientnet*"))]
    table = paper.bottleneck_table(graphs)
    assert sorted(table.model) == sorted(known.model for known in paper.PUBLISHED)
    assert table.agrees.all()
    assert table.natural.min() == 15
    assert table.natural.max() == 68
    b0 = table.set_index("model").loc["efficientnet_b0"]
    assert b0.ratios == "0.5000, 0.2083, 0.1042, 0.0625"


def test_a_wrong_count_would_not_agree(monkeypatch):
    known = paper.Published("tiny", 3, 3, 3)
    monkeypatch.setattr(paper, "PUBLISHED", (known,))
    # Ratios .5, .8, .1: three natural, but .8 is not below .5.
    table = paper.bottleneck_table([tiny_graph()])
    assert table[["natural", "compressive", "agrees"]].to_numpy().tolist() == [[3, 2, False]]


def test_gains_by_hand():
    row = paper.gain_table([tiny_graph()], [tiny_pair()], [FLOAT32]).iloc[0]
    x = 1 / paper.DATA_RATES_BPS
    full, a, b = 0.006 + 3200 * x, 0.015 + 1600 * x, 0.033 + 2560 * x
    # From 8 Mbit/s up the input takes 0.4 ms or less: full offloading is best everywhere.
    assert (full < np.minimum(a, 0.06)).all()
    assert row.usefulness == 0
    assert row.full_offloading == row.best_static == row.minimax_static == 0
    assert row.no_offloading == pytest.approx(np.mean((0.06 - full) / 0.06))
    assert row.static_low == pytest.approx(np.mean((a - full) / a))
    assert row.static_high == pytest.approx(np.mean((b - full) / b))
    assert row.origin == "measured → assumed"
    assert row.batch_sizes == "1"


def test_a_pair_without_the_model_leaves_it_out():
    assert paper.study_for(tiny_graph("other"), tiny_pair(), FLOAT32) is None
    assert paper.gain_table([tiny_graph("other")], [tiny_pair()], [FLOAT32]).empty


def test_the_papers_pair_is_modelled_and_covers_the_grid():
    graph = load_profile(next(PROFILES.glob("efficientnet_b0-*"))).graph
    study = paper.study_for(graph, paper.PAPERS_PAIR, paper.CONVENTIONS[0])
    assert study is not None
    assert study.batch_sizes == paper.BATCH_SIZES
    assert study.label().count("(modelled") == 2
    assert not study.lines.interpolated.any()


def test_of_measured_profiles_the_slowest_is_the_device_and_others_are_left_out():
    slow = profile_of(tiny_graph(), {1: [2, 2, 2]}, device="board")
    fast = profile_of(tiny_graph(), {1: [1, 1, 1]}, device="card")
    modelled = profile_of(tiny_graph(), {1: [9, 9, 9]}, origin="modelled")
    alone = profile_of(tiny_graph("alone"), {1: [5, 5, 5]})
    pair = paper.measured_pair([fast, modelled, alone, slow])
    assert pair.name == "board → card"
    assert pair.of(tiny_graph()) == (slow, fast)
    assert pair.of(tiny_graph("alone")) is None


def test_the_same_machine_with_other_threads_is_told_apart():
    graph = tiny_graph()
    one, two = (
        type(slow)(graph, Provenance("measured", "CPU", threads=n), slow.passes)
        for n, slow in (
            (1, profile_of(graph, {1: [2, 2, 2]})),
            (2, profile_of(graph, {1: [1, 1, 1]})),
        )
    )
    assert paper.measured_pair([two, one]).name == "CPU, 1 thread → CPU, 2 threads"


@pytest.mark.parametrize(
    ("gain", "reading"),
    [(0.194, "below"), (0.195, "within"), (0.30, "within"), (0.304, "within"), (0.306, "above")],
)
def test_claims_are_read_in_whole_percents(gain, reading):
    assert paper.claim(gain) == reading


def test_claims_count_the_models():
    import pandas as pd

    gains = pd.DataFrame(
        {
            "pair": "p",
            "input": "uint8",
            "features": "int8",
            "no_offloading": [0.1, 0.25, 0.5],
            "full_offloading": [0.2, 0.3, float("nan")],
            "best_static": [0.0, 0.0, 0.0],
        }
    )
    table = paper.claim_table(gains).set_index("baseline")
    assert table.loc["no offloading", ["below", "within", "above"]].tolist() == [1, 1, 1]
    assert table.loc["full offloading", ["below", "within", "above"]].tolist() == [0, 2, 0]
    assert table.loc["no offloading", "median"] == 0.25
