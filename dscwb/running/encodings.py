"""Tensors to bytes and back: every encoding that a scenario may name, really applied.

Floats are cast (float32, float16, bfloat16) or rounded to integers by one scale and one minimum for
the whole tensor (int8, uint8, int4); whole numbers are narrowed where every value fits; images go
through JPEG. Bytes lie in the order of the tensor's memory, so that strides survive.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from dscwb.running.layouts import dense, extent, wires_of
from dscwb.running.messages import Compression, FrameError, WireTensor
from dscwb.units import AS_SENT, DTYPE_BYTES, Encoding

LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (0, 15)}
"""Lowest and highest integer of the affine encodings."""
ALIGNED_BYTES = 16  # of every element type, and of what an allocator gives
JPEG_QUALITY = 75  # Pillow's own default; a scenario's ratio is an assumption, the bytes are real
FLOAT32_MAX = torch.finfo(torch.float32).max
LEAST_STEP = torch.finfo(torch.float32).tiny
TORCH = {name: getattr(torch, name) for name in DTYPE_BYTES if name != AS_SENT}
NAMES = {one: name for name, one in TORCH.items()}
IN_NUMPY = {TORCH[f"{kind}{bits}"] for kind in ("int", "float") for bits in (16, 32, 64)}
"""Element types that NumPy takes as they are, and quickest; others go through bytes."""


class Affine(NamedTuple):
    """What leads integers back to floats: x = minimum + (q - lowest q) · scale."""

    scale: float = 1.0
    minimum: float = 0.0


Encoded = tuple[list[WireTensor], list[memoryview]]


def encode(
    tensors: Sequence[torch.Tensor],
    encoding: Encoding | None = None,
    compression: Compression = "none",
) -> Encoded:
    """Write tensors as bytes on the host.

    Args:
        tensors: Any device, layout and element type.
        encoding: How; those that it cannot hold, and all if left out, go as they are.
        compression: ``zstd`` compresses the bytes of all of them, losslessly, at level 1.

    Returns:
        Their headers, and the payload in parts.

    Raises:
        ValueError: Values that the encoding cannot hold: NaN or infinity among floats that become
            integers, a whole number out of range, no image for JPEG.
    """
    pairs = [_encoded(x, encoding) for x in tensors]
    headers, parts = [one for one, _ in pairs], [part for _, part in pairs]
    if compression == "zstd":
        parts = [memoryview(_zstd().ZstdCompressor(level=1).compress(b"".join(parts)))]
    return headers, parts


def decode(
    headers: Sequence[WireTensor],
    payload: memoryview,
    compression: Compression = "none",
    device: torch.device | None = None,
) -> list[torch.Tensor]:
    """Read tensors from bytes, in their own element types and layouts, on the host or a device.

    They may lie in the payload's own memory, if that can be written to: use it for nothing else.

    Raises:
        FrameError: The bytes are none of what the headers say.
    """
    size = sum(one.nbytes for one in headers)
    if compression == "zstd":
        payload = _decompressed(payload, size)
    if payload.nbytes != size:
        raise FrameError(f"{payload.nbytes} bytes for tensors of {size}.")
    tensors, start = [], 0
    for header in headers:
        copied = payload.readonly or start % ALIGNED_BYTES > 0
        tensors.append(_decoded(header, payload[start : start + header.nbytes], copied, device))
        start += header.nbytes
    return tensors


def _encoded(x: torch.Tensor, encoding: Encoding | None) -> tuple[WireTensor, memoryview]:
    dtype = NAMES.get(x.dtype) or f"{x.dtype}"
    x = x.detach() if x.requires_grad else x
    if x.is_conj() or x.is_neg():
        x = x.resolve_conj().resolve_neg()
    stride = x.stride()
    if not dense(x.shape, stride):  # a view with gaps, or one value repeated
        x = x.contiguous()
        stride = x.stride() if extent(x.shape, stride) is None else stride
    wire, how = "raw", Affine()
    data = x if x.is_contiguous() else x.as_strided((x.numel(),), (1,))
    if not encoding or not x.numel() or _as_it_is(encoding, dtype):
        pass
    elif encoding.image:
        (data, how), wire = _jpegs(x), "jpeg"
    else:
        wire, data = encoding.name, data.reshape(-1)
        data = torch.view_as_real(data).reshape(-1) if data.is_complex() else data
        if wire in LEVELS and data.is_floating_point():
            data, how = _affine(data, wire)
        else:
            data = _cast(data, wire)
        data = data.contiguous()
    data = data if data.is_cpu else data.cpu()
    data = data if data.dtype in IN_NUMPY else data.reshape(-1).view(torch.uint8)
    raw: Any = data.numpy() if x.numel() else b""
    view = memoryview(raw)
    return _described(dtype, tuple(x.shape), stride, wire, view.nbytes, *how), view


@lru_cache
def _described(
    dtype: str,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    wire: str,
    nbytes: int,
    scale: float,
    minimum: float,
) -> WireTensor:
    """A tensor's header, which is the same from request to request."""
    return WireTensor(
        dtype=dtype,
        shape=shape,
        stride=stride,
        wire=wire,
        nbytes=nbytes,
        scale=scale,
        minimum=minimum,
    )


def _as_it_is(encoding: Encoding, dtype: str) -> bool:
    """Whether it cannot, or need not, be encoded; 8-bit whole numbers go under either name."""
    name = encoding.name
    return name == dtype or {name, dtype} == {"int8", "uint8"} or not encoding.bytes_of(dtype)


def _affine(x: torch.Tensor, wire: str) -> tuple[torch.Tensor, Affine]:
    """Integers, and what leads back; differences from the smallest value lose least to rounding."""
    low, high = LEVELS[wire]
    x = x.float()
    smallest, largest = (one.item() for one in x.aminmax())
    if not largest - smallest <= FLOAT32_MAX:
        raise ValueError(
            f"NaN, infinity or a range wider than float32's cannot be written as {wire}; send "
            "float32."
        )
    scale = max((largest - smallest) / (high - low), LEAST_STEP)
    q = x.sub(smallest).div_(scale).round_().add_(low).clamp_(low, high)
    how = Affine(scale, smallest)
    if wire != "int4":
        return q.to(torch.int8 if low < 0 else torch.uint8), how
    nibbles = torch.nn.functional.pad(q.to(torch.uint8), (0, len(q) % 2))
    pairs = nibbles.view(torch.int16)  # the first in the low byte
    return (pairs | pairs >> 4).to(torch.uint8), how


def _cast(x: torch.Tensor, wire: str) -> torch.Tensor:
    """Another element type; whole numbers must come back as they are."""
    dtype = str(x.dtype).removeprefix("torch.")
    if wire not in wires_of(dtype):
        raise ValueError(
            f"{dtype} cannot be written as {wire}; choose {', '.join(wires_of(dtype))}."
        )
    found = x.to(TORCH[wire])
    if not x.is_floating_point() and not torch.equal(found.to(x.dtype), x):
        raise ValueError(f"a value does not fit into {wire}; choose a wider encoding.")
    return found


def _jpegs(x: torch.Tensor) -> tuple[torch.Tensor, Affine]:
    """One image after the other, each behind its length in four bytes."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"JPEG takes images of shape (batch, 1 or 3, height, width), not {tuple(x.shape)}."
        )
    how = Affine()
    if x.dtype != torch.uint8:
        flat, how = _affine(x.contiguous().reshape(-1), "uint8")
        x = flat.reshape(x.shape)
    parts = []
    for image in x.cpu().permute(0, 2, 3, 1).contiguous().numpy():
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
            file, "JPEG", quality=JPEG_QUALITY
        )
        parts += [len(file.getvalue()).to_bytes(4, "big"), file.getvalue()]
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8), how


def _decoded(
    header: WireTensor, data: memoryview, copied: bool, device: torch.device | None
) -> torch.Tensor:
    own = TORCH[header.dtype]
    if not header.elements:
        return torch.empty_strided(header.shape, header.stride, dtype=own, device=device)
    # Some models' first layer writes over its input: what came for it alone may be used as is.
    bits = bytearray(data) if copied and header.wire != "jpeg" else data
    if header.wire == "raw" and own != torch.bool:
        x = torch.frombuffer(bits, dtype=own)
    else:
        x = _values(header, bits, own)
    return _laid_out(x.to(device) if device else x, header)


def _values(header: WireTensor, data: Any, own: torch.dtype) -> torch.Tensor:
    """Elements in a row, of what is not written in memory's own way."""
    wire, part = header.wire, own if header.wire == "raw" else own.to_real()
    name = {"raw": header.dtype, "int4": "uint8"}.get(wire, wire)
    if wire == "jpeg":
        x = _from_jpegs(header, data)
    else:
        x = torch.frombuffer(data, dtype=torch.uint8 if name == "bool" else TORCH[name])
        x = x != 0 if name == "bool" else x
    if wire == "int4":
        pairs = x.to(torch.int16)
        x = (pairs & 15 | pairs >> 4 << 8).view(torch.uint8)
        x = x[: header.elements * own.itemsize // part.itemsize]
    if wire in (*LEVELS, "jpeg") and part.is_floating_point:
        low, _ = LEVELS.get(wire, LEVELS["uint8"])
        x = x.float().sub_(low).mul_(header.scale).add_(header.minimum)
    x = x if x.dtype == part else x.to(part)
    return x if part == own else x.view(own)


def _laid_out(x: torch.Tensor, header: WireTensor) -> torch.Tensor:
    """Elements in a row, with their shape and strides."""
    shape, stride = header.shape, header.stride
    if header.wire != "jpeg" and dense(shape, stride):
        return x.as_strided(shape, stride)
    once = [length if step else 1 for length, step in zip(shape, stride, strict=True)]
    first = x.reshape(shape)[tuple(map(slice, once))]
    placed = torch.empty_strided(once, stride, dtype=x.dtype, device=x.device)
    return placed.copy_(first).as_strided(shape, stride)


def _from_jpegs(header: WireTensor, data: memoryview) -> torch.Tensor:
    """The images' values row by row; no memory is taken for an image of another size."""
    count, channels, height, width = header.shape
    images = torch.empty(header.shape, dtype=torch.uint8)
    start = 0
    for i in range(count):
        size = int.from_bytes(data[start : start + 4], "big")
        try:
            image = JpegImageFile(io.BytesIO(data[start + 4 : start + 4 + size]))
            mode, many = {1: "L", 3: "RGB"}[channels], "progression" in image.info
            if image.size != (width, height) or image.mode != mode or many:
                raise FrameError(f"not a sequential JPEG of shape {header.shape[1:]}.")
            pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise FrameError(f"no JPEG: {error}") from None
        images[i] = pixels.reshape(height, width, channels).permute(2, 0, 1)
        start += 4 + size
    if start != data.nbytes:
        raise FrameError(f"{data.nbytes} bytes for JPEGs of {start}.")
    return images.reshape(-1)


def _zstd() -> Any:
    """The library, which is optional."""
    try:
        import zstandard
    except ImportError:
        raise ValueError("zstd needs the package zstandard: pip install 'dscwb[zstd]'.") from None
    return zstandard


def _decompressed(payload: memoryview, size: int) -> memoryview:
    """Exactly so many bytes; the size that the data claims is checked before memory is taken."""
    zstandard = _zstd()
    try:
        if zstandard.frame_content_size(payload) != size:
            raise FrameError(f"compressed data that claims another size than {size}.")
        reader = zstandard.ZstdDecompressor()
        return memoryview(reader.decompress(payload, max_output_size=size, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise FrameError(f"no zstd data: {error}") from None
