"""Near-duplicates: pictures of one part that lay still, told by what is left of them at 32 x 32."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.images import MAX_PIXELS, decode

_SIDE: Final = 32
_VALUES: Final = 3 * _SIDE * _SIDE

Sketch = NDArray[np.float32]


def sketch(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Sketch:
    """Give the picture's colours at 32 x 32 less their mean, in levels of 255: (3072,).

    Small enough for the sensor's noise to vanish, and without the mean, so that a lamp that flickers makes no
    other part. Raises model.images.UnreadableImageError.
    """
    array = decode(data, channels=3, size=(_SIDE, _SIDE), max_pixels=max_pixels).array  # (32, 32, 3)
    levels: Sketch = array.astype(np.float32).reshape(-1) * np.float32(1 if array.dtype == np.uint8 else 255)
    levels -= levels.mean()
    return levels


class Seen:
    """Sketches of which no two are alike: the root mean square of their difference is `within` or more.

    With 0 none is like another.
    """

    def __init__(self, within: float) -> None:
        self._within = within
        self._count = 0
        self._sketches = np.empty((256, _VALUES), np.float32)
        self._squares = np.empty(256, np.float32)

    def add(self, new: Sketch) -> bool:
        """Keep a sketch; False, and it is not kept, where one is there that it is like."""
        square = float(new @ new)
        there = slice(self._count)
        squares = self._squares[there] + square - 2 * (self._sketches[there] @ new)  # (count,)
        if self._within and self._count and float(squares.min()) < self._within**2 * _VALUES:
            return False
        if self._count == len(self._squares):
            self._sketches = np.concatenate([self._sketches, np.empty_like(self._sketches)])
            self._squares = np.concatenate([self._squares, np.empty_like(self._squares)])
        self._sketches[self._count], self._squares[self._count] = new, square
        self._count += 1
        return True
