"""Headers: what is remembered of an earlier one changes nothing of what is accepted."""

import json
import re
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from dscwb.running import messages

TENSOR = messages.WireTensor(
    dtype="float32", shape=(2, 3), stride=(3, 1), wire="raw", nbytes=24, scale=1.0, minimum=0.0
)
RUN = messages.Run(request=7, cut="blocks.1", tensors=(TENSOR,))
TIMES = {"queue_s": 0.0, "decode_s": 1.5e-5, "tail_s": 0.25, "encode_s": 12.0}
RESULT = messages.Result(request=7, tensors=(TENSOR,), leaves=("tensor",), **TIMES)
REMEMBERS_NOTHING = TypeAdapter(Annotated[messages.Message, Field(discriminator="kind")])
VALUES = [
    *("0", "5", "-0", "-1", "05", "00.5", "00.000000005", "1.0", "1.5", "1.", ".5", "1e3", "1e-3"),
    *("0.000000005", "0.000000005e9", "0.0000000051", "1e999", "9007199254740992", "NaN", "1_0"),
    *("999999999999999", "1000000000000000", "123456789.000000000", "1234567890.000000000", "+1"),
    *("1 ", " 1", "true", "null", '"1"', "[1]", "1,1", "1}", "", '1,"request":2', '1,"tail_s":2.5'),
]


def outcome(reads, header):
    try:
        return reads(header)
    except (ValidationError, messages.FrameError):
        return "refused"


@pytest.mark.parametrize("message", [RUN, RESULT], ids=["run", "result"])
def test_a_header_is_read_the_same_whatever_came_before(message):
    good = messages.header_of(message)
    assert messages.parsed(good) == (message, 24)
    seen = []
    for name in re.findall(r'"(\w+)":', good.decode()):
        for value in VALUES:
            if name in value:
                continue  # twice the same: JSON leaves open which one counts
            header = re.sub(rf'("{name}":)[^,}}]*', rf"\g<1>{value}", good.decode(), count=1)
            expected = outcome(REMEMBERS_NOTHING.validate_json, header.encode())
            for _ in range(2):
                found = outcome(messages.parsed, header.encode())
                assert found == (expected if expected == "refused" else (expected, 24)), header
            seen.append(expected == "refused")
    assert 10 < seen.count(False) < seen.count(True)


@pytest.mark.parametrize("leaves", [(1, "tensor"), (1.0, "tensor"), (True, "tensor"), (-0.0,)])
def test_leaves_that_python_calls_equal_are_not_mixed_up(leaves):
    tensors = (TENSOR,) * leaves.count("tensor")
    message = messages.Result(request=7, tensors=tensors, leaves=leaves, **TIMES)
    told = json.loads(messages.header_of(message))["leaves"]
    assert repr(told) == repr([*leaves])
    [found, _] = messages.parsed(messages.header_of(message))
    assert repr(found.leaves) == repr(leaves)


@pytest.mark.parametrize("leaf", [float("nan"), float("inf"), "word", None, 1j])
def test_a_leaf_that_cannot_travel_is_told(leaf):
    with pytest.raises(ValueError, match="leaves"):
        messages.header_of(messages.Result(request=7, tensors=(), leaves=(leaf,), **TIMES))


def test_long_headers_are_read_too():
    many = messages.Run(request=7, cut="c" * 500, tensors=(TENSOR,) * 200)
    for _ in range(2):
        assert messages.parsed(messages.header_of(many)) == (many, 24 * 200)
    with pytest.raises(ValueError, match="at most 256"):
        messages.header_of(messages.Run(request=7, cut="c", tensors=(TENSOR,) * 257))
