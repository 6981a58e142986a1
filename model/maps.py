"""Anomaly maps as they are kept: quantised to 8 or 16 bits, in a PNG that ordinary tools open."""

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image


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
    wide = values.astype(np.float64)  # float32 would lose the half step on maps far from zero
    low, high = float(wide.min()), float(wide.max())
    steps = 2**bits - 1
    levels = np.zeros(wide.shape) if high == low else np.rint((wide - low) / (high - low) * steps)
    out = BytesIO()
    Image.fromarray(levels.astype(np.uint8 if bits == 8 else np.uint16)).save(out, "PNG", compress_level=1)
    data = out.getvalue()
    return EncodedMap(
        bits, low, high, values.shape[1], values.shape[0], data, hashlib.sha256(data).hexdigest()
    )


def decode_map(data: bytes, *, bits: int, low: float, high: float) -> NDArray[np.float32]:
    """The map (H, W) as `encode_map` kept it."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        levels = np.asarray(image).astype(np.float64)
    values: NDArray[np.float32] = (low + levels / (2**bits - 1) * (high - low)).astype(np.float32)
    return values
