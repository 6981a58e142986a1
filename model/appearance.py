"""How an image looks, in four numbers that tell lamp, lens and camera from a bad part."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.images import Pixels

_EVERY = 8  # rows: an eighth of the image says the same of light and lens, in a fraction of the time


@dataclass(frozen=True)
class Look:
    """`brightness` is the mean grey in [0, 1]; the others are relative, so less light moves only that one.

    `contrast` is the deviation of grey over its mean, `sharpness` the mean step between neighbours in a row
    over the deviation, `saturation` (max - min) over max of the mean colours: 0 for grey images. Of colours,
    green stands for grey.
    """

    brightness: float
    contrast: float
    sharpness: float
    saturation: float


def look(array: Pixels) -> Look:
    """Measure a decoded array (H, W, C), uint8 or float32 in [0, 1]."""
    some = array[::_EVERY]  # (h, W, C)
    full = 255.0 if array.dtype == np.uint8 else 1.0
    grey: NDArray[np.float32] = some[:, :, some.shape[2] // 2].astype(np.float32)  # (h, W); of colours, green
    mean, deviation = float(grey.mean()), float(grey.std())
    step = float(np.abs(grey[:, 1:] - grey[:, :-1]).mean()) if grey.shape[1] > 1 else 0.0
    saturation = 0.0
    if some.shape[2] > 1:
        colour = some[:, ::_EVERY].mean((0, 1), dtype=np.float32)  # (C,)
        greatest = float(colour.max())
        saturation = (greatest - float(colour.min())) / greatest if greatest else 0.0
    return Look(
        brightness=mean / full,
        contrast=deviation / mean if mean else 0.0,
        sharpness=step / deviation if deviation else 0.0,
        saturation=saturation,
    )
