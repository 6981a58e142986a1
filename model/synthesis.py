"""Synthesised defects as image files: what a new model is asked to find of what no line has made yet.

They are put on good parts by model.corruption, those that a person would see and that are neither a speck
nor a large part of the image. A defect is drawn at 256 x 256, and what it changes is added to the whole
image: around it no pixel changes, and each model decodes the file as it decodes the line's.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from model.corruption import corrupt
from model.images import MAX_PIXELS, Pixels, UnreadableImageError, decode, is_grey

SIDE: Final = 256
SMALLEST: Final = 0.0005  # of an image's area: 6 x 6 of 256 x 256 pixels
LARGEST: Final = 0.1
VISIBLE: Final = 0.06  # least mean change in it, of full scale
_MOST_PIXELS: Final = 2**22  # no network sees more; a larger image costs memory only
_AT_ONCE: Final = 8
_DRAWS: Final = 12

File = tuple[str, bytes]  # its name, and what is in it


def put_defects(images: Sequence[File], number: int, *, max_pixels: int = MAX_PIXELS) -> Iterator[File]:
    """Give up to `number` of the good images with a defect, as PNG, named `<image>+1`, `+2` and so on.

    Always the same for the same images. Each takes its turn; one that can't be decoded, or on which no defect
    could be seen in 12 draws, is left out.
    """
    if not images or number < 1:
        return
    spread = min(number, len(images))
    chosen = [images[place * len(images) // spread] for place in range(spread)]
    for turn in range(math.ceil(number / len(chosen))):
        some = chosen[: number - turn * len(chosen)]
        for start in range(0, len(some), _AT_ONCE):
            for name, data in _defective(some[start : start + _AT_ONCE], turn, max_pixels):
                yield f"{name}+{turn + 1}", data


def _defective(images: Sequence[File], turn: int, max_pixels: int) -> Iterator[File]:
    channels = 1 if all(is_grey(data) for _, data in images) else 3
    readable: list[tuple[File, tuple[int, int], Pixels]] = []
    for one in images:
        try:
            small = decode(one[1], channels=channels, size=(SIDE, SIDE), max_pixels=max_pixels)
        except UnreadableImageError:
            continue
        readable.append((one, _bounded(small.height, small.width), small.array))
    if not readable:
        return
    changes = _drawn(torch.stack([_tensor(array) for _, _, array in readable]), _seed(images, turn))
    for ((name, data), size, _), change in zip(readable, changes, strict=True):
        if change is not None:
            whole = decode(data, channels=channels, size=size, max_pixels=max_pixels).array
            yield name, _png(whole, change)


def _drawn(good: Tensor, seed: int) -> list[Tensor | None]:
    """Draw a change for each of `good`, (B, C, SIDE, SIDE) in [0, 1]; None where none can be seen."""
    generator = torch.Generator().manual_seed(seed)
    mean = good.mean((0, 2, 3), keepdim=True)
    deviation = good.std((0, 2, 3), keepdim=True).clamp_min(1 / 255)
    standard = (good - mean) / deviation
    found: list[Tensor | None] = [None] * len(good)
    left = torch.arange(len(good))
    for _ in range(_DRAWS):
        corrupted, mask = corrupt(standard[left], generator, clean=0.0)
        changed = ((corrupted * deviation + mean).clamp(0, 1) - good[left]) * mask
        strength = changed.abs().amax(1).sum((1, 2)) / mask.sum((1, 2, 3)).clamp_min(1)
        share = mask.mean((1, 2, 3))
        fit = (share >= SMALLEST) & (share <= LARGEST) & (strength >= VISIBLE)
        for place, change in zip(left[fit].tolist(), changed[fit], strict=True):
            found[place] = change
        left = left[~fit]
        if not len(left):
            break
    return found


def _png(whole: Pixels, change: Tensor) -> bytes:
    """Add a change (C, SIDE, SIDE) to an image (H, W, C), and write it with as many bits as it has."""
    enlarged = functional.interpolate(change[None], size=whole.shape[:2], mode="bilinear")[0]
    added = enlarged.permute(1, 2, 0).numpy()
    if whole.dtype == np.uint8:
        levels = (whole.astype(np.float32) + 255 * added).round().clip(0, 255).astype(np.uint8)
    else:  # more than 8 bits are grey
        levels = (65535 * (whole + added).mean(axis=2)).round().clip(0, 65535).astype(np.uint16)
    return _written(levels[:, :, 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels)


def _written(levels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    out = BytesIO()
    Image.fromarray(levels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _tensor(array: Pixels) -> Tensor:
    """(H, W, C), as decoded, to (C, H, W) in [0, 1]."""
    values = array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)
    return torch.from_numpy(values).permute(2, 0, 1)


def _bounded(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _seed(images: Sequence[File], turn: int) -> int:
    content = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for _, data in images))
    content.update(str(turn).encode())
    return int.from_bytes(content.digest()[:7], "big")
