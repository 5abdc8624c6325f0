import base64
import json
import os
import subprocess
import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dscwb
from dscwb.graph import Block
from dscwb.profiles import files
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.records import (
    NOT_STAMPED,
    Passes,
    Profile,
    ProfileError,
    Provenance,
    Separate,
)
from dscwb.profiles.transfers import Transfers
from tests.tiny import tiny_graph

PROVENANCE = Provenance(
    "measured",
    "Œuvre CPU",
    threads=2,
    clocks="3.1 GHz",
    versions=(("torch", "2.15.0"), ("python", "3.11")),
    date="2026-11-23T06:00:00Z",
    protocol="one-pass/1",
    note="ok",
    throttled=("software power cap",),
    weights_sha256="0123456789abcdef" * 4,
)
COPIES = Transfers(
    np.array([1, 2**40]), np.array([[5, 6], [7, 8]]), np.array([[9, 9], [2**50, 1]]), "pageable"
)


def rich_profile():
    none, no_stamps = np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    measured = Passes(
        1,
        np.array([100, 2**40]),
        np.array([[0, 10, NOT_STAMPED, 100], [0, 9, 50, 99]]),
        separate=(Separate(2, np.array([3, 4]), np.array([5])),),
    )
    apart = Passes(2, none, no_stamps, separate=(Separate(1, np.array([7]), np.array([8])),))
    oom = Passes(64, none, no_stamps, oom=True)
    return Profile(tiny_graph("rich"), PROVENANCE, (measured, apart, oom), 0.05, COPIES)


def same(a, b):
    assert (a.graph, a.provenance, a.time_scale) == (b.graph, b.provenance, b.time_scale)
    assert len(a.passes) == len(b.passes)
    assert (a.transfers is None) == (b.transfers is None)
    if a.transfers is not None and b.transfers is not None:
        assert a.transfers.host_memory == b.transfers.host_memory
        for name in ("sizes_bytes", "to_host_ns", "to_device_ns"):
            np.testing.assert_array_equal(getattr(a.transfers, name), getattr(b.transfers, name))
    for p, q in zip(a.passes, b.passes, strict=True):
        assert (p.batch_size, p.oom) == (q.batch_size, q.oom)
        np.testing.assert_array_equal(p.plain_ns, q.plain_ns)
        np.testing.assert_array_equal(p.stamped_ns, q.stamped_ns)
        assert [s.cut for s in p.separate] == [s.cut for s in q.separate]
        for s, t in zip(p.separate, q.separate, strict=True):
            np.testing.assert_array_equal(s.head_ns, t.head_ns)
            np.testing.assert_array_equal(s.tail_ns, t.tail_ns)


def test_round_trip_is_exact(tmp_path):
    path = save_profile(rich_profile(), tmp_path / "new folder" / "p.parquet")
    same(load_profile(path), rich_profile())
    assert [p.name for p in path.parent.iterdir()] == ["p.parquet"]


@given(
    st.lists(
        st.lists(st.integers(0, 2**50), min_size=3, max_size=3).filter(any), min_size=1, max_size=4
    )
)
def test_any_passes_round_trip(tmp_path_factory, layers):
    stamps = np.array([[0, *np.cumsum(row)] for row in layers], dtype=np.int64)
    passes = Passes(3, stamps[:, -1] + 1, stamps)
    profile = Profile(tiny_graph(), PROVENANCE, (passes,))
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    same(load_profile(save_profile(profile, path)), profile)


def test_pandas_opens_the_file(tmp_path):
    path = save_profile(rich_profile(), tmp_path / "p.parquet")
    table = pd.read_parquet(path)
    assert table["kind"].tolist().count("stamped") == 2
    assert table.loc[table["kind"] == "plain", "time_ns"].tolist() == [100, 2**40]
    about = json.loads(pq.read_schema(path).metadata[b"dscwb"])
    assert about["provenance"]["device"] == "Œuvre CPU"
    assert about["model"] == "rich"


def test_no_file_and_foreign_files(tmp_path):
    with pytest.raises(ProfileError, match="no such file; look at its name, or make a profile"):
        load_profile(tmp_path / "none.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    with pytest.raises(ProfileError, match="not a dscwb profile, or only a part of one"):
        load_profile(text)
    foreign = tmp_path / "foreign.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(foreign)
    with pytest.raises(ProfileError, match="not a dscwb profile"):
        load_profile(foreign)
    with pytest.raises(ProfileError, match=r"is a folder; name one of its files"):
        load_profile(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    data = save_profile(rich_profile(), tmp_path / "p.parquet").read_bytes()
    short = tmp_path / "short.parquet"
    for length in range(len(data)):
        short.write_bytes(data[:length])
        with pytest.raises(ProfileError, match=r"copy it anew|only a part of one"):
            load_profile(short)


def test_no_flipped_bit_passes(tmp_path):
    """Every bit of the file once."""
    data = save_profile(rich_profile(), tmp_path / "p.parquet").read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(ProfileError):
                files._check_seal(bytes(changed))


MUTATED = int(os.environ.get("DSCWB_MUTATIONS", "300"))  # more for a soak test
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "insert", "delete", "copy"]), st.integers(0, 10**6)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=MUTATED)
@given(MUTATIONS, st.binary(min_size=1, max_size=9))
def test_no_mutation_is_taken_for_a_profile(tmp_path_factory, mutations, some):
    folder = tmp_path_factory.getbasetemp()
    data = original = save_profile(rich_profile(), folder / "mutated.parquet").read_bytes()
    for kind, at in mutations:
        place = at % max(1, len(data))
        tail = data[place + len(some) :] if kind in ("flip", "delete") else data[place:]
        middle = {"delete": b"", "copy": data[: len(some)]}.get(kind, some)
        data = data[:place] + middle + tail
    (folder / "mutated.parquet").write_bytes(data)
    if data == original:
        same(load_profile(folder / "mutated.parquet"), rich_profile())
    else:
        with pytest.raises(ProfileError):
            load_profile(folder / "mutated.parquet")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"dscwb", b"{}"),
        (b"dscwb", b'{"schema": 1}'),
        (b"dscwb", b'{"schema": "x"}'),
        (b"dscwb", b"[1"),
        (b"dscwb.graph.json.zlib.base64", b"AAAA"),
    ],
)
def test_a_sealed_file_of_another_content_is_refused(tmp_path, key, value):
    """As a program with a mistake of its own would write it."""
    table = files._table(rich_profile())
    wrong = table.replace_schema_metadata({**table.schema.metadata, key: value})
    path = tmp_path / "wrong.parquet"
    path.write_bytes(files._parquet(wrong))
    with pytest.raises(ProfileError, match="its content is not a profile"):
        load_profile(path)


SAVE_FOREVER = """
import sys
from dscwb.profiles.files import load_profile, save_profile
profile = load_profile(sys.argv[1])
while True:
    save_profile(profile, sys.argv[2])
    print("saved", flush=True)
"""
KILLS = int(os.environ.get("DSCWB_KILLS", "3"))  # more for a soak test


def test_killing_while_saving_leaves_a_whole_file(tmp_path):
    """SIGKILL, at ever another moment, of a process that does nothing but save."""
    source, path = save_profile(rich_profile(), tmp_path / "source.parquet"), tmp_path / "p.parquet"
    for step in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, source, path], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(1 + step % 20):
                assert process.stdout.readline() == "saved\n"
            process.kill()
        same(load_profile(path), rich_profile())


def test_changed_numbers_fail_the_checksum(tmp_path):
    path = save_profile(rich_profile(), tmp_path / "p.parquet")
    table = pq.ParquetFile(path).read()
    times = table.column("time_ns").to_pylist()
    times[0] += 1
    column = table.schema.get_field_index("time_ns")
    forged = table.set_column(column, "time_ns", pa.array(times, pa.int64()))
    pq.write_table(forged, path)
    with pytest.raises(ProfileError, match="checksum does not match"):
        load_profile(path)


def test_a_newer_schema_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SCHEMA_VERSION", 2)
    path = save_profile(rich_profile(), tmp_path / "p.parquet")
    monkeypatch.undo()
    with pytest.raises(ProfileError, match="written with schema 2, this dscwb reads up to 1"):
        load_profile(path)


SHIPPED = sorted(
    (Path(__file__).parents[1] / "data" / "profiles").glob("*-epyc-1t-float32.parquet")
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_files_from_before_copies_weights_and_throttling_are_read(path):
    """They were written when none of these was kept."""
    found = load_profile(path)
    assert found.transfers is None
    assert (found.provenance.throttled, found.provenance.weights_sha256) == ((), "")
    assert not found.to_device_s(found.batch_sizes[0]).any()
    assert np.isfinite(found.head_s(found.batch_sizes[0])).all()


def test_there_are_such_files():
    assert len(SHIPPED) == 26


@pytest.mark.parametrize(
    ("copies", "reason"),
    [
        ({}, "not a profile"),
        ({"sizes_bytes": ["many"], "to_host_ns": [], "to_device_ns": []}, "not a profile"),
        (
            {"sizes_bytes": [1], "to_host_ns": [[0]], "to_device_ns": [[1]], "host_memory": "?"},
            "time that is not positive",
        ),
    ],
)
def test_copies_that_make_no_sense_are_refused(tmp_path, copies, reason):
    path = sealed(tmp_path, about={"transfers": copies})
    with pytest.raises(ProfileError, match=reason):
        load_profile(path)


def senseless(**changes):
    """The tiny graph with other fields: of itself, of its second layer, or of that one's output."""
    graph = tiny_graph()
    if "of" not in changes:
        return replace(graph, **changes)
    what = changes.pop("of")
    layer = graph.layers[1]
    if what == "tensor":
        changes = {"outputs": (replace(layer.outputs[0], **changes),)}
    layers = (graph.layers[0], replace(layer, **changes), graph.layers[2])
    return replace(graph, layers=layers)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": ()}, "no inputs, no layers or no outputs"),
        ({"layers": ()}, "no inputs, no layers or no outputs"),
        ({"outputs": ()}, "no inputs, no layers or no outputs"),
        ({"outputs": ("z",)}, "returns or keeps 'z', which nothing makes"),
        ({"resident": ("z",)}, "returns or keeps 'z', which nothing makes"),
        ({"resident": ("x",)}, "inputs have no elements to send"),
        ({"layers": tiny_graph().layers[::-1]}, "'c' uses 'b', which nothing before it makes"),
        ({"of": "layer", "inputs": ("z",)}, "'b' uses 'z', which nothing before it makes"),
        ({"of": "layer", "view_of": "c"}, "'b' uses 'c', which nothing before it makes"),
        ({"of": "layer", "writes": "b"}, "'b' uses 'b', which nothing before it makes"),
        ({"of": "layer", "outputs": ()}, "a layer without outputs"),
        ({"of": "layer", "flops": -1}, "'b' has an impossible number of operations"),
        ({"of": "layer", "weight_bytes": 2**62}, "'b' has an impossible number of operations"),
        ({"of": "tensor", "name": "a"}, "the name 'a' stands there twice"),
        ({"of": "tensor", "dtype": "float31"}, "'b' has the unknown element type 'float31'"),
        ({"of": "tensor", "shape": (1, -8)}, r"'b' has the impossible shape \[1, -8\]"),
        ({"of": "tensor", "shape": (1, 2**62)}, "'b' has the impossible shape"),
        ({"of": "tensor", "batch_axes": (2,)}, r"'b' has the batch axes \[2\] in a shape of 2"),
        ({"of": "tensor", "batch_axes": (0, 0)}, r"'b' has the batch axes \[0, 0\]"),
        ({"blocks": tiny_graph().blocks[::-1]}, "must ascend from 1 to 3"),
        ({"blocks": (Block("a", "x", 0),)}, "must ascend from 1 to 3"),
        ({"narrow": (Block("a", "x", 4),)}, "must ascend from 1 to 3"),
        ({"blocks": (Block("a", "x", 1), Block("a", "x", 2))}, "blocks have a name twice"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(tmp_path, changes, reason):
    path = sealed(tmp_path, graph=json.dumps(asdict(senseless(**changes))).encode())
    with pytest.raises(ProfileError, match=f"its graph makes no sense: .*{reason}.*; capture and"):
        load_profile(path)


def sealed(folder, about=None, graph=None):
    """A file as a program with a mistake of its own would write it: only its seal is right."""
    table = files._table(rich_profile())
    header = dict(table.schema.metadata)
    header[b"dscwb"] = json.dumps(json.loads(header[b"dscwb"]) | (about or {})).encode()
    if graph is not None:
        header[b"dscwb.graph.json.zlib.base64"] = base64.b64encode(zlib.compress(graph, 9))
    path = folder / "sealed.parquet"
    path.write_bytes(files._parquet(table.replace_schema_metadata(header)))
    return path


def test_what_unpacks_to_gigabytes_is_refused_early(tmp_path, monkeypatch):
    huge = sealed(tmp_path, graph=b" " * (files.LARGEST_GRAPH_BYTES + 1))
    assert huge.stat().st_size < 10**6
    with pytest.raises(ProfileError, match="its graph unpacks to more than 100 MB, the most that"):
        load_profile(huge)
    table = files._table(rich_profile())
    monkeypatch.setattr(files, "LARGEST_CONTENT_BYTES", 10**7)
    nulls = {name: pa.nulls(10**6, table.schema.field(name).type) for name in ("time_ns", "kind")}
    many = pa.table(nulls).replace_schema_metadata(table.schema.metadata)
    huge.write_bytes(files._parquet(many))
    assert huge.stat().st_size < 10**4
    with pytest.raises(ProfileError, match=r"unpacks to 16 MB; at most 10 MB are read"):
        load_profile(huge)


def test_what_never_ends_or_is_too_large_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        for read in (load_profile, lambda path: dscwb.profile_from_csv(path, device="x")):
            with pytest.raises(ProfileError, match="is no ordinary file, such as a pipe; write"):
                read(path)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(files.LARGEST_FILE_BYTES + 1)
    with pytest.raises(ProfileError, match="has more than 1 GB, the most that is read"):
        load_profile(large)
    with pytest.raises(ProfileError, match="has more than 100 MB, the most that is read"):
        dscwb.profile_from_csv(large, device="x")


def test_names_that_are_orders_to_a_terminal_or_a_figure_are_read_as_text(tmp_path):
    graph, provenance = tiny_graph("<b>\x1b[2Jnet\u202e"), replace(PROVENANCE, device="a\nb<i>")
    blocks = (Block("a\r", "x", 1), *graph.blocks[1:])
    profile = replace(rich_profile(), graph=replace(graph, blocks=blocks), provenance=provenance)
    found = load_profile(save_profile(profile, tmp_path / "p.parquet"))
    assert found.graph.model == r"‹b›\x1b[2Jnet\u202e"
    assert found.provenance.device == r"a\nb‹i›"
    assert found.graph.blocks[0].name == r"a\r"
    assert found.graph.layers == graph.layers
