"""From the bytes of an image file to the array that the network sees: one way for training and scoring."""

from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
LEAST_IMAGES = 8  # good ones, to train on
MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte as RGB
_ORIENTATION = 0x0112
_WIDE_MODES = ("I", "F")  # and I;16 with its byte orders: grey with more than 8 bits

Pixels = NDArray[np.uint8] | NDArray[np.float32]


class UnreadableImageError(ValueError):
    """An image file that can't be decoded; `index` is its place in the list it came in, if any."""

    def __init__(self, reason: str, index: int | None = None) -> None:
        place = "" if index is None else f"image {index} (counted from 0): "
        super().__init__(place + reason)
        self.reason = reason
        self.index = index


@dataclass(frozen=True)
class Decoded:
    """`array` is (H, W, C): uint8, or float32 in [0, 1] when the file has more than 8 bits a pixel.

    `width` and `height` are those of the whole image, turned upright by its EXIF orientation.
    """

    array: Pixels
    width: int
    height: int


def decode(data: bytes, *, channels: int, size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode, turn upright and squash to `size` (height, width) with 1 or 3 `channels`.

    Raises UnreadableImageError for what is no image, is truncated, or has more than `max_pixels`.
    """
    height, width = size
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _require_pixels(image.size, max_pixels)
            # Pillow says the size of a TIFF as it is upright, of the others as they are stored.
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            upright = image.size[::-1] if turned else image.size
            # JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the time; twice the size keeps quality.
            image.draft(None, (2 * max(size), 2 * max(size)))
            image.load()
            straight = ImageOps.exif_transpose(image)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        if isinstance(error, UnreadableImageError):
            raise
        raise UnreadableImageError(_reason(data, error)) from error
    wide = straight.mode in _WIDE_MODES or straight.mode.startswith("I;16")
    pixels = _wide(straight, (width, height)) if wide else _narrow(straight, (width, height), channels)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
        pixels = pixels if channels == 1 else cast("Pixels", np.repeat(pixels, channels, axis=2))
    return Decoded(pixels, width=upright[0], height=upright[1])


def is_grey(data: bytes) -> bool:
    """Whether the file holds one channel, or three equal ones. Undecodable files count as grey."""
    try:
        pixels = decode(data, channels=3, size=(64, 64)).array
    except UnreadableImageError:
        return True
    spread = pixels.max(axis=2).astype(np.float32) - pixels.min(axis=2).astype(np.float32)
    return bool(spread.max() <= (2 if pixels.dtype == np.uint8 else 0))  # JPEG rounds grey by a level or two


def _require_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise UnreadableImageError(
            f"{size[0]} x {size[1]} pixels are more than the limit of {max_pixels}; scale the image down"
        )


def _reason(data: bytes, error: Exception) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in a format we read ({', '.join(FORMATS)})"
    return f"can't be decoded: {error}"


def _narrow(image: Image.Image, size: tuple[int, int], channels: int) -> Pixels:
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")  # what is transparent has an arbitrary colour: show it black
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.asarray(image.convert("L" if channels == 1 else "RGB").resize(size, Image.Resampling.BILINEAR))


def _wide(image: Image.Image, size: tuple[int, int]) -> Pixels:
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise UnreadableImageError("holds values that are not finite numbers")
    if image.mode != "F":
        values /= 65535.0
    small = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR)
    return cast("NDArray[np.float32]", np.asarray(small).clip(0.0, 1.0))
