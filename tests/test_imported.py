import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.imported import profile_from_csv
from dscwb.profiles.records import ProfileError
from dscwb.scenario import Link
from dscwb.study import sweep
from tests.tiny import tiny_graph

# Heads on a device, tails on a server; 100 floats in, 50 after a, 80 after b.
TABLE = """split,batch_size,head_s,tail_s,payload_bytes,watts
input,1,0,0.006,400,9
a,1,0.010,0.005,200,9
b,1,0.030,0.003,320,9
output,1,0.060,0,0,9
"""


def written(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return path


def imported(tmp_path, text=TABLE, **more):
    return profile_from_csv(written(tmp_path, text), device="a board", **more)


def test_heads_tails_and_payloads_come_out_as_written(tmp_path):
    profile = imported(tmp_path)
    np.testing.assert_allclose(profile.head_s(1), [0, 0.010, 0.030, 0.060])
    np.testing.assert_allclose(profile.tail_s(1), [0.006, 0.005, 0.003, 0])
    assert profile.graph.model == "mine"
    assert profile.provenance.label() == (
        "a board, float32 (imported: head + tail = 0.25 to 0.55 × the whole on the device)"
    )
    assert load_profile(save_profile(profile, tmp_path / "p.parquet")).graph == profile.graph


@given(
    st.sampled_from(",;\t|"),
    st.booleans(),
    st.sampled_from(["s", "ms", "us", "µs", "ns"]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from(["{}", " {} ", '"{}"']),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=4, max_size=4),
)
@settings(max_examples=60)
def test_tables_are_read_as_other_tools_and_places_write_them(
    tmp_path_factory, part, comma, unit, case, cell, end, times
):
    """Written here from nanoseconds as text; read back to the nanosecond."""
    digits = {"s": 9, "ms": 6, "us": 3, "µs": 3, "ns": 0}[unit]

    def text(ns):
        number = f"{ns / 10**digits:.{digits}f}"
        return number.replace(".", ",") if comma and part != "," else number

    header = [f"tail ({unit})" if cell == " {} " else f"tail_{unit}", "payload_bytes", "watts"]
    header = ["split", "batch size", f"head_{unit}", *header]
    rows = [
        [name, "1", text(head), text(tail), payload, "9"]
        for (head, tail), (name, payload) in zip(
            times, [("Input", "400"), ("a", "200"), ("b", "320"), ("output", "0")], strict=True
        )
    ]
    lines = [part.join(cell.format(case(one)) for one in header)]
    lines += [part.join(cell.format(one) for one in row) for row in rows]
    path = tmp_path_factory.mktemp("t") / "mine.csv"
    content = end.join(["# a board, 15 W; head_s, tail", "", lines[0], "# more", *lines[1:], ""])
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    profile = profile_from_csv(path, device="a board")
    np.testing.assert_allclose(profile.head_s(1), [head * 1e-9 for head, _ in times])
    np.testing.assert_allclose(profile.tail_s(1), [tail * 1e-9 for _, tail in times])


def test_a_table_of_heads_and_tails_gives_the_study_that_follows_from_it(tmp_path):
    """The same numbers as the hand-computed study of a device and a server ten times as fast."""
    profile = imported(tmp_path)
    study = sweep(
        profile,
        profile,
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e4, 1e5, 1e6],
    )
    assert study.splits == ("full offloading", "a", "b", "no offloading")
    np.testing.assert_allclose(study.latency_s, [[0.060, 0.031, 0.0092]])
    np.testing.assert_allclose(
        study.switching_rates()["data_rate_bps"], [1600 / 0.045, 1600 / 0.009]
    )


def test_a_split_without_all_batch_sizes_is_left_out_where_it_lacks(tmp_path):
    profile = imported(
        tmp_path, TABLE + "input,2,0,0.012,800,9\noutput,2,0.12,0,0,9\na,2,0.02,0.01,400,9\n"
    )
    assert np.isnan(profile.head_s(2)[2])
    study = sweep(
        profile,
        profile,
        link=Link(),
        input_encoding="float32",
        feature_encoding="float32",
        data_rates_bps=[1e5],
    )
    assert study.best_split()[1e5].tolist() == ["a", "a"]
    assert study.best_static() == "a"


def test_ten_seconds_in_nanoseconds_are_no_number_too_large(tmp_path):
    text = TABLE.replace("head_s", "head_ns").replace("0.060", "1e10")
    assert imported(tmp_path, text).head_s(1)[-1] == pytest.approx(10)


def test_repeated_rows_are_repeats(tmp_path):
    profile = imported(tmp_path, TABLE + "a,1,0.014,0.005,200,9\na,1,0.011,0.005,200,9\n")
    assert profile.head_s(1)[1] == pytest.approx(0.011)


def test_rows_may_name_the_blocks_of_a_captured_graph(tmp_path):
    profile = imported(tmp_path, graph=tiny_graph())
    assert profile.graph == tiny_graph()
    assert profile.head_s(1)[2] == pytest.approx(0.030)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("head_s", "head", "line 1: no column head_s; the header must name split, batch_size"),
        ("0.030", "-1", "line 4: head_s is '-1'; give a finite number"),
        ("0.030", "nan", "line 4: head_s is 'nan'"),
        ("0.030", "1_000", "line 4: head_s is '1_000'"),
        ("0.030", "١٢", "line 4: head_s is '١٢'"),
        ("0.030", "1e10", r"line 4: head_s is '1e10', more than anyone measures \(9e\+09\)"),
        ("a,1", "a,1e99", "line 3: batch_size is '1e99', more than anyone measures"),
        ("watts", "head_s", "line 1: head_s stands there twice; leave one of them out"),
        ("0.005", "five", "line 3: tail_s is 'five'"),
        ("a,1", '"a,1', "a quotation mark opens a cell of several lines; close it"),
        ("a,1", "a,1.5", "line 3: batch_size is 1.5; give a whole number"),
        ("a,1", ",1", "line 3: split is empty"),
        (",200,", ",201,", "line 3: payload_bytes 201 is not a whole number of float32 elements"),
        ("input,1", "start,1", "no row for split 'input'"),
        ("output,1", "end,1", "no row for split 'output' at batch size 1; add one whose head is"),
        ("0.030,0.003", "0,030,0,003", "line 4: 8 values for 6 columns; numbers with decimal com"),
        ("a,1,0.010", "a,1", "line 3: 5 values for 6 columns"),
        ("watts", "head_ms", "line 1: head_s stands there twice; leave one of them out"),
        ("head_s", "head", "times may be head_ms and tail_ms, or in us or ns"),
        (TABLE[TABLE.index("input") :], "", "has no rows"),
    ],
)
def test_errors_name_the_line(tmp_path, old, new, message):
    with pytest.raises(ProfileError, match=message):
        imported(tmp_path, TABLE.replace(old, new, 1))


def test_bytes_on_the_wire_stay_as_they_were_sent(tmp_path):
    """A pickle of 263 bytes is no whole number of floats, and no other encoding of it is known."""
    text = TABLE.replace(",200,", ",263,")
    with pytest.raises(ProfileError, match=r"or uint8 as dtype where they are bytes on the wire"):
        imported(tmp_path, text)
    profile = imported(tmp_path, text, dtype="uint8")
    assert "imported: payloads as they were sent, whatever the encoding, head + tail" in (
        profile.provenance.label()
    )
    for encoding in ("uint8", "float32"):
        study = sweep(
            profile,
            profile,
            link=Link(),
            input_encoding=encoding,
            feature_encoding=encoding,
            data_rates_bps=[1e5],
        )
        bits = [400 * 8, 263 * 8, 320 * 8, 0]
        times = [0.006, 0.015, 0.033, 0.060]
        want = min(t + b / 1e5 for t, b in zip(times, bits, strict=True))
        np.testing.assert_allclose(study.latency_s, [[want]])


def test_errors_against_a_graph_and_of_the_file(tmp_path):
    with pytest.raises(
        ProfileError, match=r"line 3: payload_bytes is 300, but 200 bytes cross 'a'"
    ):
        imported(tmp_path, TABLE.replace(",200,", ",300,"), graph=tiny_graph())
    with pytest.raises(ProfileError, match=r"line 3: 'tiny' has no block or layer 'z'"):
        imported(tmp_path, TABLE.replace("a,1", "z,1"), graph=tiny_graph())
    with pytest.raises(ProfileError, match=r"payload_bytes is 480, but 400 bytes cross 'a'"):
        imported(tmp_path, TABLE + "a,2,0.02,0.01,480,9\noutput,2,0.1,0,0,9\n")
    with pytest.raises(ProfileError, match="no such file"):
        profile_from_csv(tmp_path / "none.csv", device="x")
    with pytest.raises(ProfileError, match="Unknown dtype 'fp8'"):
        imported(tmp_path, dtype="fp8")
    (tmp_path / "bin.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="not a readable CSV file"):
        profile_from_csv(tmp_path / "bin.csv", device="x")


def test_names_are_read_as_text(tmp_path):
    text = TABLE.replace("\na,", "\n<b>a\x1b[2J,")
    found = imported(tmp_path, text, model="net\n<i>")
    assert found.graph.model == r"net\n‹i›"
    assert found.graph.blocks[0].name == r"‹b›a\x1b[2J"
