"""Tensors to bytes and back: every encoding that a scenario may name, really applied.

Floats are cast (float32, float16, bfloat16) or rounded to integers by one scale and one zero point
for the whole tensor (int8, uint8, int4); whole numbers are narrowed where every value fits; images
go through JPEG. Bytes lie in the order of the tensor's memory, so that strides survive.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from dscwb.running.frames import Compression, FrameError, WireTensor, dense
from dscwb.units import AS_SENT, DTYPE_BYTES, Encoding

LEVELS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (0, 15)}
"""Lowest and highest integer of the affine encodings."""
JPEG_QUALITY = 75  # Pillow's own default; a scenario's ratio is an assumption, the bytes are real
TORCH = {name: getattr(torch, name) for name in DTYPE_BYTES if name != AS_SENT}


class Affine(NamedTuple):
    """What leads integers back to floats: x = (q - zero_point) · scale."""

    scale: float = 1.0
    zero_point: float = 0.0


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
    headers: Sequence[WireTensor], payload: memoryview, compression: Compression = "none"
) -> list[torch.Tensor]:
    """Read tensors from bytes, in their own element types and layouts.

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
        tensors.append(_decoded(header, payload[start : start + header.nbytes]))
        start += header.nbytes
    return tensors


def _encoded(x: torch.Tensor, encoding: Encoding | None) -> tuple[WireTensor, memoryview]:
    dtype = str(x.dtype).removeprefix("torch.")
    if not dense(x.shape, x.stride()):  # a view with gaps
        x = x.contiguous()
    x, wire, how = x.detach(), "raw", Affine()
    data = x.as_strided((x.numel(),), (1,))
    if encoding is None or encoding.bytes_of(dtype) is None or _same(encoding, dtype):
        pass
    elif encoding.image:
        (data, how), wire = _jpegs(x), "jpeg"
    else:
        wire = encoding.name
        data = torch.view_as_real(data).reshape(-1) if data.is_complex() else data
        if wire in LEVELS and data.is_floating_point():
            data, how = _affine(data, wire)
        else:
            data = _cast(data, wire)
    raw: Any = data.cpu().contiguous().view(torch.uint8).numpy() if data.numel() else b""
    view = memoryview(raw)
    header = WireTensor(
        dtype=dtype,
        shape=tuple(x.shape),
        stride=x.stride(),
        wire=wire,
        nbytes=view.nbytes,
        scale=how.scale,
        zero_point=how.zero_point,
    )
    return header, view


def _same(encoding: Encoding, dtype: str) -> bool:
    """Whole numbers of 8 bits go as they are under either name."""
    return encoding.name == dtype or {encoding.name, dtype} == {"int8", "uint8"}


def _affine(x: torch.Tensor, wire: str) -> tuple[torch.Tensor, Affine]:
    """Integers, and the scale and zero point that lead back: x = (q - zero_point) · scale."""
    low, high = LEVELS[wire]
    if not x.numel():
        return x.to(torch.uint8), Affine()
    x = x.float()
    smallest, largest = (one.item() for one in x.aminmax())
    scale = (largest - smallest) / (high - low) or abs(largest) or 1.0
    if not (abs(smallest) < float("inf") and abs(largest) < float("inf")):
        raise ValueError(f"NaN or infinity cannot be written as {wire}; send float32.")
    # A tensor of one value is that value exactly: its zero point is one step below or above it.
    zero = low - smallest / scale
    q = x.mul(1 / scale).add_(zero).round_().clamp_(low, high)
    how = Affine(scale, zero)
    if wire != "int4":
        return q.to(torch.int8 if low < 0 else torch.uint8), how
    nibbles = torch.nn.functional.pad(q.to(torch.uint8), (0, len(q) % 2))
    pairs = nibbles.view(torch.int16)  # the first in the low byte
    return (pairs | pairs >> 4).to(torch.uint8), how


def _cast(x: torch.Tensor, wire: str) -> torch.Tensor:
    """Another element type; whole numbers must fit."""
    if wire == "int4":
        raise ValueError(f"{x.dtype} cannot be written as int4, which is for floats.")
    kind = TORCH[wire]
    if kind.is_floating_point:
        return x.to(kind)
    if x.is_floating_point() or x.is_complex():
        raise ValueError(f"{x.dtype} cannot be written as {wire}; choose float16 or int8.")
    limits = torch.iinfo(kind)
    if x.numel() and not (limits.min <= x.min().item() and x.max().item() <= limits.max):
        raise ValueError(f"a value does not fit into {wire}; choose a wider encoding.")
    return x.to(kind)


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


def _decoded(header: WireTensor, data: memoryview) -> torch.Tensor:
    own = TORCH[header.dtype]
    if header.wire == "jpeg":
        return _from_jpegs(header, data)
    if not header.elements:
        return torch.empty_strided(header.shape, header.stride, dtype=own)
    part = own if header.wire == "raw" else own.to_real()
    affine = header.wire in LEVELS and part.is_floating_point
    name = (
        header.dtype if header.wire == "raw" else "uint8" if header.wire == "int4" else header.wire
    )
    # Bytes are written over by some models' first layer, so the memory must be its own.
    bits = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    x = bits != 0 if name == "bool" else bits.view(TORCH[name])
    if header.wire == "int4":
        pairs = x.to(torch.int16)
        x = (pairs & 15 | pairs >> 4 << 8).view(torch.uint8)
        x = x[: header.elements * own.itemsize // part.itemsize]
    if affine:
        x = x.float().sub_(header.zero_point).mul_(header.scale)
    return x.to(part).view(own).as_strided(header.shape, header.stride)


def _from_jpegs(header: WireTensor, data: memoryview) -> torch.Tensor:
    count, channels, height, width = header.shape
    images = torch.empty(header.shape, dtype=torch.uint8)
    start = 0
    for i in range(count):
        size = int.from_bytes(data[start : start + 4], "big")
        try:
            image = Image.open(io.BytesIO(data[start + 4 : start + 4 + size]), formats=["JPEG"])
            if image.size != (width, height) or image.mode != {1: "L", 3: "RGB"}.get(channels):
                raise FrameError(f"a JPEG of another size or mode than {header.shape}.")
            pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise FrameError(f"no JPEG: {error}") from None
        images[i] = pixels.reshape(height, width, channels).permute(2, 0, 1)
        start += 4 + size
    own = TORCH[header.dtype]
    x = images if own == torch.uint8 else images.float().sub_(header.zero_point).mul_(header.scale)
    return torch.empty_strided(header.shape, header.stride, dtype=own).copy_(x)


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
        return memoryview(zstandard.ZstdDecompressor().decompress(payload, max_output_size=size))
    except zstandard.ZstdError as error:
        raise FrameError(f"no zstd data: {error}") from None
