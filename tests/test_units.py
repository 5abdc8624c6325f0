import pytest

from dscwb.units import (
    Encoding,
    encoding,
    format_bytes,
    format_cost,
    format_number,
    format_percent,
    format_rate,
    format_seconds,
    shown_name,
)


def test_encodings_have_their_sizes():
    sizes = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "int4": 0.5}
    assert {name: encoding(name).bytes_per_element for name in sizes} == sizes


def test_own_encoding_passes_through_and_bad_ones_are_refused():
    own = Encoding("fp6", 0.75)
    assert encoding(own) is own
    with pytest.raises(ValueError, match=r"Unknown encoding 'float33'; choose one of float32"):
        encoding("float33")
    with pytest.raises(ValueError, match="bytes_per_element is 0"):
        Encoding("nothing", 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12.3 ms"),
        (0.0123456, "12.3 ms"),
        (1.0, "1 s"),
        (0.9999, "1 s"),
        (123.456, "123 s"),
        (9.99e-7, "999 ns"),
        (2.5e-5, "25 µs"),
        (0, "0 s"),
        (1e-12, "0.001 ns"),
    ],
)
def test_seconds_have_three_digits_and_a_prefix(seconds, text):
    assert format_seconds(seconds) == text


def test_bytes_and_rates_for_people():
    assert format_bytes(150_528) == "151 kB"
    assert format_bytes(4) == "4 B"
    assert format_rate(8e6) == "8 Mbit/s (1 MB/s)"
    assert format_rate(1.016e9) == "1.02 Gbit/s (127 MB/s)"
    assert format_rate(8e6, in_bytes=False) == "8 Mbit/s"


def test_a_split_has_one_name_for_people():
    assert shown_name("blocks.3.0") == "after blocks.3.0"
    assert shown_name("no offloading") == "no offloading"
    assert shown_name("full offloading") == "full offloading"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00125, "0.00125"), (12.5, "12.5"), (10000, "10000"), (1234, "1230"), (0, "0")],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.0234, "2.3 %"), (0.0996, "10 %"), (1, "100 %")],
)
def test_percentages(share, text):
    assert format_percent(share) == text


def test_costs_are_seconds_or_joules():
    assert format_cost(0.0123, "s") == "12.3 ms"
    assert format_cost(2, "J") == "2 J"
