"""Where the defect is: connected regions of an anomaly map, as boxes in pixels of the upright image."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


@dataclass(frozen=True)
class Region:
    """A box and its `area` in pixels of the upright image, and the map's greatest value (`peak`) in it."""

    x: int
    y: int
    width: int
    height: int
    area: float
    peak: float


def find(
    anomaly_map: NDArray[np.float32], threshold: float, width: int, height: int, *, limit: int = 20
) -> list[Region]:
    """Regions of `anomaly_map` (h, w) above `threshold`, the highest peak first, at most `limit`.

    Meant for an image that is judged ng or inconclusive, so never empty: where nothing is above the threshold
    (an `inconclusive` band reaches below it), the peak stands alone.
    """
    above = anomaly_map > threshold
    if not above.any():
        above = anomaly_map == anomaly_map.max()
    labels, count = ndimage.label(above, structure=EIGHT_NEIGHBOURS)
    boxes = ndimage.find_objects(labels)
    numbers = np.arange(1, count + 1)
    peaks = ndimage.maximum(anomaly_map, labels, numbers)
    cells = ndimage.sum_labels(above, labels, numbers)
    scale_x, scale_y = width / anomaly_map.shape[1], height / anomaly_map.shape[0]
    found = [
        _region(box, float(cell) * scale_x * scale_y, float(peak), scale_x, scale_y)
        for box, cell, peak in zip(boxes, cells, peaks, strict=True)
    ]
    return sorted(found, key=lambda region: -region.peak)[:limit]


def _region(box: tuple[slice, ...], area: float, peak: float, scale_x: float, scale_y: float) -> Region:
    rows, columns = box
    left, top = math.floor(columns.start * scale_x), math.floor(rows.start * scale_y)
    right, bottom = math.ceil(columns.stop * scale_x), math.ceil(rows.stop * scale_y)
    return Region(left, top, right - left, bottom - top, area, peak)
