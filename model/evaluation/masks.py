"""Ground truth: where the defect is, from a mask file to the pixels of an anomaly map."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from model.evaluation.sets import SetError
from model.images import FORMATS
from model.regions import EIGHT_NEIGHBOURS

MAP_SIDE = 256  # pixel figures are computed on maps of at most this many pixels a side

Mask = NDArray[np.bool_]


def read_mask(file: Path, width: int, height: int) -> Mask:
    """The mask (height, width) of an image of that size: pixels above half of the file's greatest value.

    Files hold 0 and 1 as well as 0 and 255, or blur between them. Raises SetError for a file that is no
    image, or of another size than its image.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            _require_size(file, image.size, (width, height))
            grey = image if image.mode in ("1", "L", "I", "F") or image.mode[0] == "I" else image.convert("L")
            values = np.asarray(grey, dtype=np.float32)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise SetError(
            f"the mask {file} can't be read: {error}; replace it, or remove it, which leaves its image out "
            "of the pixel figures"
        ) from error
    top = float(values.max())
    return values > top / 2 if top > 0 else np.zeros(values.shape, dtype=np.bool_)


def _require_size(file: Path, found: tuple[int, int], wanted: tuple[int, int]) -> None:
    if found != wanted:
        raise SetError(
            f"the mask {file} has {found[0]} x {found[1]} pixels, but its image {wanted[0]} x {wanted[1]}: "
            "a mask must fit its image; scale it or remove it"
        )


def fit_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize by area to `shape` (h, w), true where at least half is; no region vanishes.

    A region (of touching pixels, 8 neighbours) of which nothing would be left keeps the pixel that it fills
    most: a defect smaller than a map's pixel must count as missed when it is missed.
    """
    if mask.shape == shape:
        return mask
    covered = Image.fromarray(mask.astype(np.float32)).resize(shape[::-1], Image.Resampling.BOX)
    small: Mask = np.asarray(covered) >= 0.5
    labels, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    rows, columns = np.nonzero(mask)
    region = labels[rows, columns] - 1
    cell = (rows * shape[0] // mask.shape[0]) * shape[1] + columns * shape[1] // mask.shape[1]
    kept = np.zeros(count, dtype=np.bool_)
    np.logical_or.at(kept, region, small.ravel()[cell])
    for lost in np.flatnonzero(~kept):
        small.ravel()[np.bincount(cell[region == lost]).argmax()] = True
    return small


def fit_map(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resize a map (H, W) by area so that no side is longer than MAP_SIDE; a smaller one stays as it is."""
    height, width = values.shape
    scale = MAP_SIDE / max(height, width)
    if scale >= 1:
        return values
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
