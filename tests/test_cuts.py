import pickle

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.cuts import all_cuts, bottlenecks
from dscwb.graph import Layer, ModelGraph, TensorSpec
from dscwb.units import encoding
from tests.tiny import spec, tiny_graph


def layer(name, *inputs, size=10, **more):
    return Layer("op", "", inputs, (spec(name, size),), **more)


def frontiers(layers, outputs):
    graph = ModelGraph("hand", (spec("x", 10),), tuple(layers), outputs)
    return [tuple(s.name for s in cut.frontier) for cut in all_cuts(graph)]


def test_a_shortcut_is_alive_beside_the_main_path():
    layers = [layer("a", "x"), layer("b", "a"), layer("c", "b"), layer("d", "c", "a")]
    assert frontiers(layers, ("d",)) == [("x",), ("a",), ("a", "b"), ("a", "c"), ("d",)]


def test_an_early_output_stays_alive_to_the_end():
    layers = [layer("a", "x"), layer("b", "a"), layer("c", "b")]
    assert frontiers(layers, ("a", "c")) == [("x",), ("a",), ("a", "b"), ("a", "c")]


def test_what_follows_from_weights_is_recomputed_not_sent():
    layers = [layer("bias", constant=True), layer("a", "x"), layer("b", "a", "bias")]
    assert frontiers(layers, ("b",)) == [("x",), ("x",), ("a",), ("b",)]


def test_a_view_of_a_living_tensor_is_not_sent_twice():
    layers = [layer("a", "x"), layer("v", "a", view_of="a"), layer("b", "v", "a")]
    assert frontiers(layers, ("b",)) == [("x",), ("a",), ("a",), ("b",)]


def test_views_are_sent_alone_unless_their_owner_is_cheaper():
    part = layer("p", "a", size=4, view_of="a")
    other = layer("q", "a", size=4, view_of="a")
    wide = layer("w", "a", size=40, view_of="a")
    assert frontiers([layer("a", "x"), part, layer("b", "p")], ("b",))[2] == ("p",)
    two = frontiers([layer("a", "x"), part, other, layer("b", "p", "q")], ("b",))
    assert two[3] == ("p", "q")
    assert frontiers([layer("a", "x"), wide, layer("b", "w")], ("b",))[2] == ("a",)


def test_a_dead_result_does_not_cross():
    assert frontiers([layer("a", "x"), layer("dead", "x"), layer("b", "a")], ("b",))[2] == ("a",)


def test_payload_in_encodings_and_batches():
    inside = all_cuts(tiny_graph(), "block")[1]
    assert inside.elements(3) == 150
    assert inside.payload_bytes(encoding("float32")) == 200
    assert inside.payload_bytes(encoding("int4"), 2) == 50
    first, *_, last = all_cuts(tiny_graph(), "block")
    assert first.payload_bytes(encoding("float32"), input_encoding=encoding("uint8")) == 100
    assert last.payload_bytes(encoding("float32"), 8) == 0


def test_tensors_that_are_not_floats_keep_their_size():
    token = TensorSpec("x", (1, 7), (0,), "int64")
    graph = ModelGraph("tokens", (token,), (layer("a", "x"),), ("a",))
    assert all_cuts(graph)[0].payload_bytes(encoding("float16"), 2) == 2 * 7 * 8


def test_block_cuts_have_the_ends_of_the_model():
    cuts = all_cuts(tiny_graph(), "block")
    assert [cut.name for cut in cuts] == ["input", "a", "b", "output"]
    assert [cut.index for cut in cuts] == [0, 1, 2, 3]
    assert cuts[0].is_input
    assert cuts[-1].is_output


def test_bottlenecks_by_hand():
    table = bottlenecks(tiny_graph())
    assert table["ratio"].tolist() == [0.5, 0.8, 0.1]
    assert table["natural"].tolist() == [True, True, True]
    assert table["compressive"].tolist() == [True, False, True]
    assert table["block"].tolist() == [0, 1, 2]
    assert bottlenecks(tiny_graph(), "op")["name"].tolist() == ["a", "b"]


def chain(ratios):
    """A model whose layers leave so many tenths of its 10 input elements."""
    names = ["x", *(f"l{k}" for k in range(len(ratios)))]
    layers = [
        layer(name, before, size=ten)
        for name, before, ten in zip(names[1:], names[:-1], ratios, strict=True)
    ]
    end = layer("end", names[-1])
    return ModelGraph("chain", (spec("x", 10),), (*layers, end), ("end",))


def test_the_rules_are_strict():
    table = bottlenecks(chain([10, 15, 5, 5, 6, 4]), "op")
    assert table["natural"].tolist() == [False, False, True, True, True, True]
    assert table["compressive"].tolist() == [False, False, True, False, False, True]


@given(st.lists(st.integers(1, 20)))
def test_compressive_are_the_running_minima_below_one(ratios):
    expected = [
        c < 10 and all(c < earlier for earlier in ratios[:k] if earlier < 10)
        for k, c in enumerate(ratios)
    ]
    assert bottlenecks(chain(ratios), "op")["compressive"].tolist() == expected


def test_the_table_prints_its_compressive_cuts_and_its_parts_are_plain():
    table = bottlenecks(tiny_graph())
    lines = repr(table).splitlines()
    assert lines[0] == "3 cuts, 3 natural and 2 compressive bottlenecks:"
    assert [line.split() for line in lines[1:]] == [
        ["name", "elements", "ratio"], ["a", "50", "0.5"], ["c", "10", "0.1"],
    ]  # fmt: skip
    assert table._repr_html_().count("<tr") == 3
    assert len(repr(bottlenecks(chain(range(9, 0, -1)), "op")).splitlines()) == 6
    assert type(table[table["natural"]]) is pd.DataFrame
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), table)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Unknown granularity 'stage'"):
        all_cuts(tiny_graph(), "stage")
