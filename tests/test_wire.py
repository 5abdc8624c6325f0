"""An encoding is applied or refused, never only named: many element types, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscwb.figures import plot_compression, plot_conventions
from dscwb.figures.layout import caption_of
from dscwb.graph import Block, Layer, ModelGraph, TensorSpec
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.imported import profile_from_csv
from dscwb.profiles.library import scale_profile
from dscwb.scenario import Link
from dscwb.study import sweep
from dscwb.study.conventions import conventions
from dscwb.study.worth import verdict
from dscwb.units import ENCODINGS, encoding
from dscwb.workbench import SplitWorkbench
from tests.tiny import profile_of

OWN = {"float32": 4, "float16": 2, "complex64": 8, "uint8": 1, "int8": 1, "bool": 1, "int64": 8}
NAMES = [*ENCODINGS, "jpeg 10:1"]


def written(dtype, name):
    """Bytes of an element, or None where the encoding cannot say what the element says."""
    size = 0.1 if name == "jpeg 10:1" else ENCODINGS[name].bytes_per_element
    wide = name in ("int64", "int32", "int16", "uint16")
    return (
        {
            "float32": size,
            "float16": size,
            "complex64": None if name == "jpeg 10:1" else 2 * size,
            "uint8": size,
            "int8": None if name == "jpeg 10:1" else size,
            "bool": size if size == 1 or wide else None,
            "int64": size if wide else None,
        }[dtype]
        if not (dtype == "bool" and wide)
        else None
    )


def graph_of(inputs, features):
    """Inputs of 30 elements each; one block of 20 elements for every further tensor of a row."""
    given = tuple(TensorSpec(f"x{i}", (1, 30), (0,), dtype) for i, dtype in enumerate(inputs))
    sent = tuple(TensorSpec(f"h{i}", (1, 20), (0,), dtype) for i, dtype in enumerate(features))
    out = TensorSpec("y", (1, 5), (0,), "float32")
    layers = (
        Layer("first", "a", tuple(spec.name for spec in given), sent, flops=10),
        Layer("second", "b", tuple(spec.name for spec in sent), (out,), flops=10),
    )
    blocks = (Block("a", "A", 1), Block("b", "B", 2))
    return ModelGraph("wired", given, layers, ("y",), blocks)


def study_of(graph, given, features, **more):
    profile = profile_of(graph, {1: [10_000, 10_000], 3: [30_000, 30_000]})
    return sweep(
        profile,
        scale_profile(profile, 10),
        link=Link(),
        input_encoding=given,
        feature_encoding=features,
        data_rates_bps=[1e6, 1e8],
        **more,
    )


dtypes = st.lists(st.sampled_from(sorted(OWN)), min_size=1, max_size=3)


@given(dtypes, dtypes, st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_what_is_counted_is_what_is_said(inputs, features, name, feature_name):
    graph = graph_of(inputs, features)
    if all(written(dtype, name) is None for dtype in inputs):
        with pytest.raises(ValueError, match=r"cannot hold the input of 'wired' \(x0: ") as refusal:
            study_of(graph, name, feature_name)
        remedy = str(refusal.value).split("Give the input encoding '")[1].split("'")[0]
        study_of(graph, remedy, feature_name)
        return
    study = study_of(graph, name, feature_name)
    for column, elements, kinds, used in ((0, 30, inputs, name), (1, 20, features, feature_name)):
        sizes = [written(dtype, used) for dtype in kinds]
        want = sum(OWN[d] if s is None else s for d, s in zip(kinds, sizes, strict=True))
        np.testing.assert_allclose(study.lines.bits[:, column] / 8, elements * want * np.r_[1:4])
        told = study.written[column]
        assert (encoding(used).name in told) == any(size is not None for size in sizes)
        kept = {d for d, s in zip(kinds, sizes, strict=True) if s is None}
        assert all(dtype in told for dtype in kept)
        assert told.endswith("as they are") == bool(kept)
        assert told in study.stamp()["scenario"]
        assert told in verdict(study)
    assert ("assumed ratio" in study.written[0]) == (name == "jpeg 10:1")


@given(dtypes, dtypes)
@settings(max_examples=15)
def test_conventions_are_those_that_can_be_applied(inputs, features):
    own = next(name for name in NAMES if any(written(d, name) is not None for d in inputs))
    graph = graph_of(inputs, features)
    table = conventions(study_of(graph, own, "int8"))
    asked = {}
    for name in ("float32", "uint8", "jpeg 10:1", own):
        for feature in ("float32", "float16", "int8"):
            if any(written(dtype, name) is not None for dtype in inputs):
                one = study_of(graph, name, feature)
                asked[one.written] = one.mean_gain("no offloading")
    found = table.set_index(["input", "features"])["over_no_offloading"].to_dict()
    assert found == pytest.approx({words: asked[words] for words in found})
    assert table["own"].sum() == 1


def test_token_ids_are_refused_by_narrow_encodings_and_counted_in_wide_ones():
    graph = graph_of(["int64"], ["float32", "bool"])
    with pytest.raises(
        ValueError, match=r"uint8 cannot hold .* Give the input encoding 'int64' .*"
    ):
        study_of(graph, "uint8", "int8")
    assert study_of(graph, "int16", "int8").lines.bits[0].tolist() == [
        30 * 2 * 8,
        20 * (1 + 1) * 8,
        0,
    ]
    private = study_of(graph, "uint8", "int8", private_input=True)  # the input is not sent
    assert "uint8" not in private.label()
    study = study_of(graph, "int64", "float16")
    assert "Payload: input int64, features float16 with bool as they are" in study.label()
    assert set(conventions(study)["input"]) == {"int64"}
    assert "int64" in caption_of(plot_conventions(study))
    assert "input as int64 as they are" in caption_of(plot_compression(graph))


def test_a_workbench_of_token_ids_starts_with_an_encoding_that_holds_them():
    profile = profile_of(graph_of(["int64"], ["float32"]), {1: [10_000, 10_000]})
    bench = SplitWorkbench([profile])
    assert bench.state.scenario.input_encoding.name == "int64"
    with pytest.raises(ValueError, match="uint8 cannot hold"):
        bench.update(input_encoding="uint8")


def test_bytes_measured_on_the_wire_are_never_encoded_again(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "split,batch_size,head_s,tail_s,payload_bytes\n"
        "input,1,0,0.006,400\na,1,0.01,0.005,263\noutput,1,0.06,0,0\n"
    )
    profile = profile_from_csv(path, device="x", dtype="uint8")

    # A file of an earlier version says uint8 of such payloads, as of camera frames.
    def in_uint8(specs):
        return tuple(replace(x, dtype=x.dtype.replace("bytes", "uint8")) for x in specs)

    layers = tuple(replace(x, outputs=in_uint8(x.outputs)) for x in profile.graph.layers)
    old = replace(profile.graph, inputs=in_uint8(profile.graph.inputs), layers=layers)
    loaded = load_profile(save_profile(replace(profile, graph=old), tmp_path / "old.parquet"))
    assert loaded.graph == profile.graph
    for name in NAMES:
        study = sweep(
            loaded,
            profile,
            link=Link(),
            input_encoding=name,
            feature_encoding=name,
            data_rates_bps=[1e6],
        )
        assert study.lines.bits.tolist() == [[3200, 2104, 0]]
        assert "Payload: input bytes as they are, features bytes as they are" in study.label()
        assert len(conventions(study)) == 1


def test_the_encoding_that_a_refusal_names_can_be_given():
    graph = graph_of(["complex128"], ["float32"])
    with pytest.raises(ValueError, match=r"Give the input encoding 'float64' to count"):
        study_of(graph, "jpeg 10:1", "int8")
    assert study_of(graph, "float64", "int8").lines.bits[0, 0] == 30 * 16 * 8
