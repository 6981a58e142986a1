"""Anomaly maps as they are kept: quantised to 8 or 16 bits, in a PNG that ordinary tools open."""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Of PNG (ISO/IEC 15948): first bytes of a file, colour type, and the filter that subtracts the row above.
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY: Final = 0
_UP: Final = 2


@dataclass(frozen=True)
class EncodedMap:
    """value = low + q / (2**bits - 1) * (high - low), with q the grey level in `data`, a PNG."""

    bits: int
    low: float
    high: float
    width: int
    height: int
    data: bytes
    sha256: str


def encode_map(values: NDArray[np.float32], bits: int = 8) -> EncodedMap:
    """Quantise a finite map (H, W); the error is at most half a step between its least and greatest value."""
    if bits not in (8, 16):
        raise ValueError(f"bits is {bits}, but a map is kept with 8 or 16")
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a map has two dimensions and at least one pixel, not shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the map holds values that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    steps = 2**bits - 1
    # In float64: float32 would lose the half step on maps far from zero.
    levels = np.subtract(values, low, dtype=np.float64)
    levels *= 0.0 if high == low else steps / (high - low)
    levels += 0.5
    data = _png(levels.astype(">u1" if bits == 8 else ">u2"))
    return EncodedMap(
        bits, low, high, values.shape[1], values.shape[0], data, hashlib.sha256(data).hexdigest()
    )


def _png(levels: NDArray[np.unsignedinteger]) -> bytes:
    """Write grey levels (H, W) as a PNG.

    Pillow tries every filter on every row, which takes four times as long for a tenth of the size, and keeps
    the interpreter to itself meanwhile. Maps are smooth: the difference to the row above is mostly runs.
    """
    height, width = levels.shape
    rows = levels.view(np.uint8)  # (H, bytes of a row)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    packed = packer.compress(filtered.tobytes()) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8 * levels.itemsize, _GREY, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def decode_map(data: bytes, *, bits: int, low: float, high: float) -> NDArray[np.float32]:
    """The map (H, W) as `encode_map` kept it."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        levels = np.asarray(image).astype(np.float64)
    values: NDArray[np.float32] = (low + levels / (2**bits - 1) * (high - low)).astype(np.float32)
    return values
