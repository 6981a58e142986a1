"""Is this file an image that a worker can decode? Answered from its bytes, before it is taken in."""

import struct
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from capture.complete import missing_part
from capture.settings import CaptureSettings

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
# What Pillow's readers raise for damaged files, beyond the OSError that they should.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)


class RefusedImageError(Exception):
    """A file that can't be inspected; the message is the reason, in words for the person at the station."""


@dataclass(frozen=True)
class Limits:
    max_bytes: int
    max_pixels: int

    @classmethod
    def of(cls, settings: CaptureSettings) -> "Limits":
        return cls(settings.max_image_bytes, settings.max_image_pixels)


@dataclass(frozen=True)
class ImageFacts:
    """`format` is one of FORMATS; `width` and `height` are those of the image turned upright."""

    format: str
    width: int
    height: int


def inspect(data: bytes, limits: Limits) -> ImageFacts:
    """Read what kind of image the bytes are, whatever their file is called.

    Raises RefusedImageError for what is empty, too large, no image, or cut off. Pixels are decoded only
    where a format can't be checked otherwise, and never beyond the limit.
    """
    if not data:
        raise RefusedImageError("the file is empty")
    if len(data) > limits.max_bytes:
        raise RefusedImageError(too_many_bytes(len(data), limits))
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:  # reads the header only
            _require_pixels(image, limits)
            _require_all(image, data)
            return _facts(image)
    except UnidentifiedImageError:
        raise RefusedImageError(f"not an image: its content is none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedImageError(f"too many pixels to decode safely: {error}") from None
    except _UNREADABLE as error:
        raise RefusedImageError(f"the image can't be read: {error or type(error).__name__}") from error


def too_many_bytes(size: int, limits: Limits) -> str:
    return f"{size:,} bytes are more than the limit of {limits.max_bytes:,}; see PYRAMIDION_MAX_IMAGE_BYTES"


def _facts(image: Image.Image) -> ImageFacts:
    width, height = image.size
    # Pillow turns a TIFF upright by itself, the others not.
    if image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
        width, height = height, width
    # Several pictures in one JPEG file (MPO, from cameras with previews): the first one is inspected.
    return ImageFacts("JPEG" if image.format == "MPO" else str(image.format), width, height)


def _require_pixels(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise RefusedImageError(f"an image of {width} x {height} pixels has nothing to inspect")
    if width * height > limits.max_pixels:
        raise RefusedImageError(
            f"{width} x {height} pixels are more than the limit of {limits.max_pixels:,}; "
            "see PYRAMIDION_MAX_IMAGE_PIXELS"
        )


def _require_all(image: Image.Image, data: bytes) -> None:
    missing = missing_part(str(image.format), data)
    if missing is not None:
        raise RefusedImageError(f"the image is cut off or damaged: {missing}")
    if image.format in {"TIFF", "BMP"}:
        image.load()  # their structure doesn't tell
