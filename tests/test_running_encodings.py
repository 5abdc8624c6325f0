"""Encodings against an independent computation by NumPy, and round trips bit by bit."""

import io
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from dscwb.cuts import all_cuts
from dscwb.running.encodings import decode, encode
from dscwb.running.messages import FrameError, WireTensor
from dscwb.units import ENCODINGS, encoding
from tests.running import many

LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (0, 15)}
EXACT = st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False)
FLOATS = arrays(
    np.float32, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5), elements=EXACT
)


def there_and_back(x: torch.Tensor, how: str | None, compression: str = "none") -> torch.Tensor:
    headers, parts = encode([x], how and encoding(how), compression)
    return decode(headers, memoryview(b"".join(parts)), compression)[0]


def one(x: torch.Tensor, how: str | None) -> tuple[WireTensor, bytes]:
    [header], parts = encode([x], how and encoding(how))
    return header, b"".join(parts)


@given(FLOATS, st.sampled_from(sorted(LEVELS)))
def test_affine_integers_are_those_of_numpy(values, wire):
    header, data = one(torch.from_numpy(values), wire)
    back = there_and_back(torch.from_numpy(values), wire).numpy()
    assert header.shape == back.shape == values.shape
    if not values.size:
        assert data == b""
        return
    low, high = LEVELS[wire]
    x = values.astype(np.float64).ravel()
    scale = max((x.max() - x.min()) / (high - low), 2.0**-126)
    assert header.minimum == x.min()
    assert header.scale == scale
    if wire == "int4":
        pairs = np.frombuffer(data, np.uint8)
        q = np.stack([pairs & 15, pairs >> 4], 1).ravel()
        assert len(pairs) == math.ceil(x.size / 2)
        assert q[x.size :].tolist() == [0] * (x.size % 2)
        q = q[: x.size]
    else:
        q = np.frombuffer(data, wire)
    exact = (x - x.min()) / scale + low
    assert np.abs(q - exact).max() <= 0.5 + 1e-3  # rounded in float32
    told = x.min() + (q.astype(np.float64) - low) * scale
    largest = np.abs(x).max()
    np.testing.assert_allclose(back.ravel(), told, rtol=1e-6, atol=1e-6 * largest)
    assert back.min() == x.min()


@given(FLOATS, st.sampled_from(["float16", "bfloat16"]))
def test_short_floats_are_casts(values, wire):
    header, data = one(torch.from_numpy(values), wire)
    assert (header.wire, header.nbytes) == (wire if values.size else "raw", len(data))
    if wire == "float16":
        with np.errstate(over="ignore"):
            short = values.astype(np.float16)
        assert data == short.tobytes()
        expected = short.astype(np.float32)
    else:  # the upper half of the bits, rounded to even
        bits = values.view(np.uint32).astype(np.uint64)
        upper = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        assert data == upper.astype(np.uint16).tobytes()
        expected = (upper << 16).astype(np.uint32).view(np.float32)
    np.testing.assert_array_equal(there_and_back(torch.from_numpy(values), wire).numpy(), expected)


@given(arrays(np.int64, array_shapes(max_side=6), elements=st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_are_narrowed_or_refused(values):
    x = torch.from_numpy(values)
    for wire in ("int64", "int32", "int16", "uint16"):
        limits = np.iinfo(wire)
        if limits.min <= values.min() and values.max() <= limits.max:
            header, data = one(x, wire)
            assert data == values.astype(wire).tobytes()
            assert header.nbytes == values.size * np.dtype(wire).itemsize
            assert torch.equal(there_and_back(x, wire), x)
        else:
            with pytest.raises(ValueError, match="does not fit"):
                encode([x], encoding(wire))
    assert one(x, "int8")[0].wire == "raw"  # would lose what they say


DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("complex128", "complex64", "complex32"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
]


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (3, 5), (2, 3, 4, 5)])
def test_every_element_type_comes_back_bit_by_bit(dtype, shape):
    kind = getattr(torch, dtype)
    raw = torch.randint(0, 256, (*shape, kind.itemsize), dtype=torch.uint8)
    x = (raw & 1 if dtype == "bool" else raw).view(kind).reshape(shape)  # NaN of all kinds too
    for compression in ("none", "zstd"):
        back = there_and_back(x, None, compression)
        assert (back.dtype, back.shape, back.stride()) == (x.dtype, x.shape, x.stride())
        assert bits(back) == bits(x)


def bits(x: torch.Tensor) -> bytes:
    return bytes(x.contiguous().reshape(-1).view(torch.uint8).numpy())


LAYOUTS = {
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "gaps": lambda x: x.to(memory_format=torch.channels_last)[:, :2, ::2],
    "transposed": lambda x: x.transpose(1, 3),
    "repeated": lambda x: x[:, :1].expand(-1, 7, -1, -1),
    "repeated with gaps": lambda x: x[:, :1, ::2].expand(-1, 7, -1, -1),
    "negated": lambda x: torch.complex(x, x).conj().imag,
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "all of one": lambda x: x[0, 0, 0, 0].expand(2, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_survive(layout):
    x = LAYOUTS[layout](torch.randn(2, 3, 4, 6))
    back = there_and_back(x, "float32")
    assert back.stride() == x.resolve_conj().resolve_neg().stride()
    assert torch.equal(back, x)
    assert one(x, "float16")[0].nbytes == 2 * x.numel() * (1 + x.is_complex())


def test_windows_that_overlap_are_sent_without_their_layout():
    x = torch.arange(6.0).unfold(0, 3, 1)
    back = there_and_back(x, None)
    assert torch.equal(back, x)
    assert back.is_contiguous()


@pytest.mark.parametrize("wire", sorted(LEVELS))
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_integers_hold_neither_nan_nor_infinity(wire, bad):
    x = torch.tensor([1.0, bad, 2.0])
    with pytest.raises(ValueError, match=r"send float32"):
        encode([x], encoding(wire))
    for exact in ("float64", "float32", "float16", "bfloat16"):
        assert torch.equal(there_and_back(x, exact), x) or math.isnan(bad)


@pytest.mark.parametrize("wire", sorted(LEVELS))
@pytest.mark.parametrize("value", [0.0, -0.0, 3.25, -1e30, 1e-42])
def test_one_value_is_kept_exactly(wire, value):
    for x in (torch.tensor(value), torch.full((5,), value)):
        assert torch.equal(there_and_back(x, wire), x)


def test_what_an_encoding_cannot_hold_keeps_its_own_type_or_is_refused():
    assert one(torch.tensor([True, False]), "int8")[1] == b"\1\0"
    assert one(torch.tensor([True, False]), "float16")[0].wire == "raw"
    assert one(torch.tensor([7, 200], dtype=torch.uint8), "int8")[1] == bytes([7, 200])
    for x, wire in [(torch.ones(2), "int32"), (torch.ones(2, dtype=torch.uint8), "int4")]:
        with pytest.raises(ValueError, match="cannot be written as"):
            encode([x], encoding(wire))
    x = torch.complex(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.1]))
    header, data = one(x, "int8")
    assert (header.minimum, header.scale) == (1.0, 4 / 255)
    assert np.frombuffer(data, np.int8).tolist() == [-128, -64, 127, 6]  # 63.75 a unit


@pytest.mark.parametrize("wire", list(ENCODINGS))
def test_payloads_are_as_long_as_predicted(wire):
    captured, how = many(), ENCODINGS[wire]
    with torch.inference_mode():
        for cut in all_cuts(captured.graph):
            sent = captured.split(cut)[0](*captured.inputs(3))
            try:
                headers, parts = encode(sent, how)
            except ValueError:
                assert how.integers  # floats as token ids
                continue
            sizes = [part.nbytes for part in parts]
            assert sizes == [header.nbytes for header in headers]
            assert sizes == [math.ceil(one.nbytes(3, how)) for one in cut.frontier]
            if not cut.is_output and all(one.elements(3) % 2 == 0 for one in cut.frontier):
                assert sum(sizes) == cut.payload_bytes(how, 3)


def test_jpeg_is_pillows():
    image = (torch.linspace(0, 255, 3 * 16 * 24).reshape(1, 3, 16, 24)).to(torch.uint8)
    for x in (image.expand(2, -1, -1, -1), image.to(memory_format=torch.channels_last)):
        header, data = one(x, "jpeg 10:1")
        size = int.from_bytes(data[:4], "big")
        pixels = np.asarray(Image.open(io.BytesIO(data[4 : 4 + size])))
        back = there_and_back(x, "jpeg 10:1")
        assert header.nbytes == len(data) == len(x) * (4 + size)
        assert back.stride() == x.stride()
        assert np.array_equal(back[0].numpy(), pixels.transpose(2, 0, 1))
        assert (back.int() - x.int()).abs().max() < 40
    floats = image[:, :1] / 255 - 0.5
    back = there_and_back(floats, "jpeg 10:1")
    assert back.dtype == torch.float32
    assert (back - floats).abs().max() < 0.2
    with pytest.raises(ValueError, match="JPEG takes images"):
        encode([torch.ones(3, 4)], encoding("jpeg 10:1"))


def jpeg(width: int, height: int, **how: bool) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "JPEG", **how)
    return len(file.getvalue()).to_bytes(4, "big") + file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        jpeg(60000, 6000),  # a bomb: a gigabyte of pixels
        jpeg(8, 9),
        jpeg(8, 8, progressive=True),
        jpeg(8, 8)[:-20],
        jpeg(8, 8) + b"more",
        b"\0\0\0\4nope",
        b"\0\0\0\0",
        b"",
    ],
    ids=["bomb", "other size", "progressive", "cut", "more", "no image", "empty", "nothing"],
)
def test_no_jpeg_but_of_the_size_that_was_told(data):
    header = WireTensor.model_construct(
        dtype="uint8", shape=(1, 3, 8, 8), stride=(192, 64, 8, 1), wire="jpeg", nbytes=len(data)
    )
    with pytest.raises(FrameError):
        decode([header], memoryview(data))


def test_compressed_data_that_claims_another_size_is_refused():
    import zstandard

    headers, _ = encode([torch.zeros(100)])
    pack = zstandard.ZstdCompressor().compress
    for wrong in (
        pack(b"\0" * 10**8),
        pack(b"\0" * 400)[:-3],
        pack(b"\0" * 400) + b"more",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 400),
        b"",
        b"\0" * 400,
    ):
        with pytest.raises(FrameError):
            decode(headers, memoryview(wrong), "zstd")
    with pytest.raises(FrameError, match="bytes for tensors of"):
        decode(headers, memoryview(b"\0" * 399))


GOOD = {"dtype": "float32", "shape": [2, 3], "stride": [3, 1], "wire": "raw", "nbytes": 24}


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "object"},
        {"dtype": "bytes"},
        {"wire": "pickle"},
        {"wire": "int64", "nbytes": 48},
        {"wire": "jpeg"},
        {"nbytes": 23},
        {"nbytes": -1},
        {"nbytes": 24.0},
        {"stride": [1, 1]},
        {"stride": [-3, 1]},
        {"stride": [3]},
        {"stride": [2**53, 1]},
        {"shape": [2, True]},
        {"shape": [0, 2**52, 2**52], "stride": [1, 1, 1], "nbytes": 0},
        {"shape": [1] * 17, "stride": [1] * 17, "nbytes": 4},
        {"shape": [2**15, 2**15], "stride": [2**15, 1], "nbytes": 2**32},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": math.nan},
        {"scale": math.inf},
        {"minimum": math.nan},
        {"extra": 1},
        {"dtype": "bool", "wire": "int4", "nbytes": 3},
        {"dtype": "int64", "wire": "int8", "nbytes": 6},
    ],
    ids=str,
)
def test_headers_of_no_tensor_are_refused(wrong):
    WireTensor.model_validate_json(json.dumps(GOOD))
    with pytest.raises(ValueError, match="validation error"):
        WireTensor.model_validate_json(json.dumps(GOOD | wrong))


def test_a_wire_without_zstd_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(ValueError, match=r"pip install 'dscwb\[zstd\]'"):
        encode([torch.ones(2)], None, "zstd")
