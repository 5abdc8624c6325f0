"""Traces: what each kind of file becomes, by hand, and what a bad one is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dscwb
from dscwb import trace_files

SHIPPED = sorted((Path(__file__).parents[1] / "data" / "traces").glob("*.csv"))


@pytest.fixture
def load(tmp_path):
    """Loads a text as if it were a file."""

    def load(text, **options):
        path = tmp_path / "trace"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return dscwb.load_trace(path, **options)

    return load


def same(trace, times_s, data_rates_bps, duration_s, round_trips_s=None):
    """Whether it is exactly this trace."""
    trips = trace.round_trips_s
    return (
        trace.times_s.tolist() == times_s
        and np.allclose(trace.data_rates_bps, data_rates_bps, rtol=1e-12, atol=0)
        and trace.duration_s == duration_s
        and (None if trips is None else trips.tolist()) == round_trips_s
    )


def test_a_rate_holds_from_the_beginning_of_its_step_to_that_of_the_next():
    trace = dscwb.Trace([0, 2, 3], [5.0, 0.0, 7.0], 4, [0.1, 0.2, 0.3])
    assert [trace.at(time) for time in (0, 1.999, 2, 2.5, 3, 3.999)] == [5, 5, 0, 0, 7, 7]
    assert trace.at(np.array([0.0, 6.0, 11.5]), repeat=True).tolist() == [5, 0, 7]
    assert trace.round_trips_s[trace.step(2.5)] == 0.2


@pytest.mark.parametrize("time_s", [-0.001, 4, 5, np.nan])
def test_a_time_outside_is_refused_with_the_remedy(time_s):
    with pytest.raises(ValueError, match="repeat=True"):
        dscwb.Trace([0], [1.0], 4).at(time_s)


@given(st.floats(0, 1e6), st.integers(0, 50))
def test_a_trace_that_repeats_holds_at_every_time(time_s, laps):
    trace = dscwb.Trace([0, 0.3, 1.1], [1.0, 2.0, 3.0], 1.7)
    assert trace.at(time_s + laps * 1.7, repeat=True) in (1, 2, 3)


@pytest.mark.parametrize(
    "fields",
    [
        ([], [], 1),
        ([0, 1], [1.0], 2),
        ([1], [1.0], 2),
        ([0, 0], [1.0, 1.0], 2),
        ([0], [-1.0], 2),
        ([0], [np.inf], 2),
        ([0], [1.0], 0),
        ([0], [1.0], np.inf),
        ([0], [1.0], 1, [0.1, 0.2]),
        ([0], [1.0], 1, [np.nan]),
    ],
)
def test_what_is_no_trace_is_refused(fields):
    with pytest.raises(ValueError, match=r"give|must"):
        dscwb.Trace(*fields)


def test_the_numbers_of_a_trace_cannot_be_changed():
    mine = np.array([1e6])
    trace = dscwb.Trace([0], mine, 1)
    mine[0] = 2e6
    assert trace.at(0) == 1e6
    with pytest.raises(ValueError, match="read-only"):
        trace.data_rates_bps[0] = 0


def test_it_prints_itself_in_a_few_lines():
    trace = dscwb.Trace([0, 1], [8e6, 0.0], 4, [0.02, 0.03], source="a <b> test")
    assert repr(trace).splitlines() == [
        "Trace: 2 steps in 4 s",
        "Data rate: 2 Mbit/s in the mean, 0 bit/s to 8 Mbit/s",
        "Link down: 75 % of the time",
        "Round trip: 20 ms to 30 ms",
        "Source: a <b> test",
    ]
    assert "&lt;b&gt;" in trace._repr_html_()


def test_packet_times_are_averaged_over_windows_whose_edge_belongs_to_the_first(load):
    """Two packets by 1,000 ms, none in the next second, one in the half second that is left."""
    packet = 1504 * 8
    trace = load("0\n1000\n2500\n", kind="mahimahi")
    assert same(trace, [0, 1, 2], [2 * packet, 0, packet / 0.5], 2.5)
    assert same(load("1\n", kind="mahimahi"), [0], [packet / 0.001], 0.001)
    finer = load("250\n251\n1000", kind="mahimahi", window_s=0.25)
    assert same(finer, [0, 0.25, 0.5, 0.75], [4 * packet, 4 * packet, 0, 4 * packet], 1)


@given(st.lists(st.integers(0, 30_000), min_size=1).map(sorted), st.sampled_from([0.25, 1.0, 3.0]))
def test_averaging_loses_no_packet(times_ms, window_s):
    lines = list(enumerate(map(str, [*times_ms, 30_000])))
    trace = trace_files._mahimahi("", lines, window_s)
    lasts = np.diff(trace.times_s, append=trace.duration_s)
    assert (trace.data_rates_bps * lasts).sum() == pytest.approx(len(lines) * 1504 * 8)


def test_plain_lists_are_told_apart_by_their_numbers(load):
    assert same(load("12\n0\n3\n"), [0, 1, 2], [12e6, 0, 3e6], 3)  # falls
    assert same(load("# mine\n1.5\n\n2\n"), [0, 1], [1.5e6, 2e6], 2)  # has a point
    assert "mahimahi" in load("3\n3\n10001\n").source  # 10 Gbit/s and more
    assert same(load("5\n6\n", kind="mbps"), [0, 1], [5e6, 6e6], 2)


def test_a_list_that_could_be_two_things_is_refused_with_both_and_the_remedy_works(load):
    with pytest.raises(ValueError, match="line 3, 30, may be packet times or Mbit/s") as refused:
        load("10\n20\n30\n")
    assert "kind='mahimahi'" in str(refused.value)
    assert "10.0" in str(refused.value)
    assert load("10.0\n20\n30\n").at(2) == 30e6


def test_5gophers_counts_seconds_and_keeps_a_rate_over_a_gap(load):
    text = (
        "protocol,num_tcp_conn,seq_num,anonymized_mCid,radio_type,throughput_mbps,nrStatus\n"
        "TCP,8,1,3,4G,92.1,NOT_RESTRICTED\nTCP,8,2,3,5G,0,\nTCP,8,5,4,5G,1800,CONNECTED\n"
    )
    assert same(load(text), [0, 1, 4], [92.1e6, 0, 1.8e9], 5)


def test_sabre_gives_the_length_of_each_step_and_its_round_trip(load):
    steps = [(431, 31869, 20), (0, 5, 20), (1000, 0, 30)]
    names = ("duration_ms", "bandwidth_kbps", "latency_ms")
    text = json.dumps([dict(zip(names, step, strict=True)) for step in steps])
    assert same(load(text), [0, 0.431], [31.869e6, 0], 1.431, [0.02, 0.03])
    assert same(load('[{"duration_ms": 1, "bandwidth_kbps": 2.5}]'), [0], [2500], 0.001)


def test_an_own_table_ends_with_a_row_without_a_rate_or_as_long_as_the_step_before(load):
    head = "time_s,data_rate_bps,round_trip_s\n"
    assert same(load(f"{head}0,1e6,0.1\n2,0,0.2\n2.5,,\n"), [0, 2], [1e6, 0], 2.5, [0.1, 0.2])
    assert same(load("note, data_rate_bps, time_s\nx, 5, 0\ny, 6, 3\n"), [0, 3], [5, 6], 6)
    assert same(load("time_s,data_rate_bps\n0,7\n"), [0], [7], 1)


def test_what_other_programs_add_to_a_table_is_left_alone(load):
    text = b'\xef\xbb\xbf# by hand\r\n"time_s","data_rate_bps","note"\r\n"0","5","a, b"\r\n'
    text += b'\r\n  # down\r\n"1","0",""\r\n"2.5","6",""\r\n'
    assert same(load(text), [0, 1, 2.5], [5, 0, 6], 4)


def test_a_million_lines_are_read(load):
    rates = np.random.default_rng(0).integers(0, 50_000_000, 1_000_000)
    rows = (f"{k / 100},{rate}" for k, rate in enumerate(rates.tolist()))
    trace = load("time_s,data_rate_bps\n" + "\n".join(rows))
    assert len(trace.times_s) == 1_000_000
    assert trace.at(4999.995) == rates[499_999]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("# only this\n", "empty"),
        (b"\xff\xfe1\x00", "UTF-8"),
        ("hello\n", "line 1 is 'hello', which begins no trace"),
        ("12\nabc\n3\n", "line 2 is 'abc', neither Mbit/s"),
        ("12\n-3\n", "line 2 is '-3', neither Mbit/s"),
        ("12.0\n20000\n", "line 2 is '20000', neither Mbit/s"),
        ("nan\n", "line 1 is 'nan'"),
        ("1_0\n3.5\n", "line 1 is '1_0'"),
        ("3.5\n٣\n", "line 2"),
        ("[1, 2]", "list of steps"),
        ("[]", "list of steps"),
        ('[{"duration_ms": 1}]', "step 1: bandwidth_kbps is None"),
        ('[{"duration_ms": -1, "bandwidth_kbps": 1}]', "step 1: duration_ms is -1"),
        ('[{"duration_ms": NaN, "bandwidth_kbps": 1}]', "step 1: duration_ms is nan"),
        ('[{"duration_ms": true, "bandwidth_kbps": 1}]', "step 1: duration_ms is True"),
        ('[{"duration_ms": 1' + "0" * 400 + ', "bandwidth_kbps": 1}]', "step 1: duration_ms is 1"),
        ('[{"duration_ms": 0, "bandwidth_kbps": 1}]', "no steps"),
        ('[{"duration_ms": 1,\n}]', "line 2 is no JSON"),
        ("[" * 100_000, "."),
        ("time_s,data_rate_bps\n", "no steps"),
        ("time_s,data_rate_bps\n1,5\n", "line 2: time_s is 1; begin at 0"),
        ("time_s,data_rate_bps\n0,5\n0,6\n", "line 3: time_s is 0, not above"),
        ("time_s,data_rate_bps\n0,5\n1,,\n", "line 3 has 3 values for 2 columns"),
        ("time_s,data_rate_bps\n0,5\n1,\n2,6\n", "line 4 follows one without data_rate_bps"),
        ("time_s,data_rate_bps\n0,five\n", "line 2: data_rate_bps is 'five'"),
        ("time_s,data_rate_bps,round_trip_s\n0,5,\n", "line 2: round_trip_s is ''"),
        ('time_s,data_rate_bps\n0,"5\n1,6\n', "quot|unexpected end"),
        ('time_s,data_rate_bps\n0,5\n"0,5",6\n', "line 3: time_s is '0,5'; write it with a point"),
        ("time_s,data_rate_bps\n0,5\n0,5,6\n", "line 3 has 3 values for 2 columns"),
        ("time_s,data_rate_bps\n0,5\n1,NaN\n", "line 3: data_rate_bps is 'NaN'"),
        ("time_s,data_rate_bps\n0,5\n2,5\n1,5\n", "line 4: time_s is 1, not above"),
        ("time_s;data_rate_bps\n0;5\n", "line 1 is .*commas between columns"),
        ("Zeit_s,Rate_bps\n0,5\n", "line 1 is 'Zeit_s,Rate_bps', which begins no trace"),
        ("12,5\n3,25\n", "line 1 is '12,5', .*a point in numbers"),
        ("12.5\n3,25\n", "line 2 is '3,25', neither"),
        ("0\n" + "5\n" * 20 + "4\n30\n", "line 22 is 4, below the one before.*kind='mbps'"),
        (
            '[{"duration_ms": 1, "bandwidth_kbps": 1}, {"duration_ms": 1, "latency_ms": 1}]',
            "step 1: l",
        ),
        ("time_s,data_rate_bps,time_s\n0,5,0\n", "line 1 names the column time_s not once"),
        ("seq_num,throughput_mbps\n1,5\n1,6\n", "line 3: seq_num is 1, not above"),
    ],
)
def test_a_bad_file_is_told_its_name_the_line_and_the_value(load, text, told):
    with pytest.raises(ValueError, match=told) as refused:
        load(text)
    assert "/trace: " in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0\n0\n", "all packets come at 0 ms"),
        ("5\n4\n", "line 2 is 4, before 5"),
        ("5\n4.5\n", "line 2 is '4.5'; give whole"),
        ("999999999999999\n", "longer windows"),
    ],
)
def test_bad_packet_times_are_told(load, text, told):
    with pytest.raises(ValueError, match=told):
        load(text, kind="mahimahi")


def test_what_cannot_be_a_trace_is_refused_before_it_is_read(tmp_path, load, monkeypatch):
    with pytest.raises(ValueError, match="no ordinary file"):
        dscwb.load_trace(tmp_path)
    with pytest.raises(FileNotFoundError):
        dscwb.load_trace(tmp_path / "none")
    with pytest.raises(ValueError, match="choose one of mahimahi"):
        load("1.5\n", kind="pcap")
    with pytest.raises(ValueError, match="window_s is 0"):
        load("1.5\n", window_s=0)
    monkeypatch.setattr(trace_files, "LARGEST_TRACE_BYTES", 3)
    with pytest.raises(ValueError, match="a part of it"):
        load("1.5\n")


@given(st.text(alphabet='0123456789.,-\n[]{}":#aetims_rp ', max_size=60), st.booleans())
def test_any_text_is_a_trace_or_one_error(text, table):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any"
        path.write_text("time_s,data_rate_bps\n" * table + text)
        told = str(path)
        try:
            assert dscwb.load_trace(path).duration_s > 0
        except ValueError as error:
            told = str(error)
        assert told.startswith(str(path))


def test_the_shipped_trace_is_small_and_has_its_licence_beside_it():
    assert SHIPPED
    for path in SHIPPED:
        trace = dscwb.load_trace(path)
        assert path.stat().st_size < 4000
        assert (path.parent / "LICENSE.sabre").exists()
        assert f"`{path.name}`" in (path.parents[1] / "README.md").read_text()
    assert (trace.duration_s, trace.at(0), trace.at(179)) == (180, 1.51e6, 35.037e6)
