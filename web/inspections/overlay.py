"""Drawing where a part looks abnormal: its image, the anomaly map over it, boxes around the regions.

Colour is measured in thresholds, never in the map's own range: what is well below the threshold stays
untouched, so a good part looks like its photograph and two parts can be compared.
"""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps

DRAWING = 1  # raise it when the same facts are drawn differently: browsers keep drawings by it
LONGEST = 1280  # pixels: more than a page shows
HEAT = 640  # pixels: a map is smooth, so a browser enlarges it without harm
ENLARGE_BELOW = 480  # pixels: boxes and numbers need room
SCALE = (  # value in thresholds, red, green, blue (0..255), opacity (0..1)
    (0.5, 255, 222, 60, 0.0),
    (1.0, 255, 150, 0, 0.5),
    (1.5, 232, 40, 30, 0.5),
    (2.0, 190, 0, 130, 0.5),
)
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # those that are inspected; Pillow's other readers stay shut
LIGHT, DARK = (255, 255, 255), (16, 16, 16)
ORIENTATION = ExifTags.Base.Orientation
QUARTER_TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height
UNREADABLE = (  # what Pillow raises for bytes that it can't make sense of
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class UndrawableError(Exception):
    """An image or a map can't be decoded; the message says which and why."""


def upright(image_bytes: bytes, longest: int = LONGEST) -> Image.Image:
    """Give an image as it is shown: RGB, EXIF orientation applied, its longer side at most `longest` pixels.

    A small one is enlarged by a whole factor. Grey beyond 8 bits is stretched from its darkest to its
    brightest value. Raises UndrawableError.
    """
    return _upright(image_bytes, longest)[0]


def draw(
    image_bytes: bytes,
    map_png: bytes,
    low: float,
    high: float,
    threshold: float,
    regions: Sequence[Mapping[str, float]],
    *,
    longest: int = LONGEST,
    numbered: bool = True,
) -> Image.Image:
    """Draw the anomaly map half-transparently over the upright image, and numbered boxes around the regions.

    The map is a grey PNG of 8 or 16 bits whose value is low + pixel / (2**bits - 1) * (high - low); `regions`
    have x, y, width and height in pixels of the full-size upright image. The size is that of `upright`.
    Raises UndrawableError.
    """
    shown, scale = _upright(image_bytes, longest)
    values = decode_map(map_png, low, high)  # (h, w)
    unit = threshold if threshold > 0 else max(high, 1e-12)
    spread = Image.fromarray(values / np.float32(unit)).resize(shown.size, Image.Resampling.BILINEAR)
    blended = _blend(np.asarray(shown), np.asarray(spread))
    picture = Image.fromarray(blended)
    _boxes(picture, regions, scale, numbered=numbered)
    return picture


def heat(map_png: bytes, low: float, high: float, threshold: float, size: tuple[int, int]) -> Image.Image:
    """Draw the map alone, to be laid over its upright image of that size (width, height).

    Its opacity is twice that of `draw`, which shows it half-transparently. Raises UndrawableError.
    """
    values = decode_map(map_png, low, high)  # (h, w)
    unit = threshold if threshold > 0 else max(high, 1e-12)
    factor = min(1.0, HEAT / max(size))
    shown = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    spread = Image.fromarray(values / np.float32(unit)).resize(shown, Image.Resampling.BILINEAR)
    paint = _paint(np.asarray(spread))  # (H, W, 4)
    paint[..., 3] *= 2 * 255
    return Image.fromarray((paint + 0.5).astype(np.uint8), "RGBA")


def side_by_side(
    image_bytes: bytes,
    map_png: bytes,
    low: float,
    high: float,
    threshold: float,
    regions: Sequence[Mapping[str, float]],
    *,
    longest: int = LONGEST,
) -> Image.Image:
    """Draw the upright image and, to the right of it, what `draw` gives. Raises UndrawableError."""
    left = upright(image_bytes, longest)
    right = draw(image_bytes, map_png, low, high, threshold, regions, longest=longest)
    gap = max(8, left.width // 64)
    picture = Image.new("RGB", (2 * left.width + gap, left.height), (96, 96, 96))
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width + gap, 0))
    return picture


def decode_map(map_png: bytes, low: float, high: float) -> npt.NDArray[np.float32]:
    """Give a stored map's values, float32 (height, width). Raises UndrawableError."""
    try:
        with Image.open(io.BytesIO(map_png), formats=["PNG"]) as stored:
            if stored.mode != "L" and not stored.mode.startswith("I"):
                raise UndrawableError(f"the anomaly map is a PNG of mode {stored.mode}, not of grey values")
            levels = 255 if stored.mode == "L" else 65535
            pixels = np.asarray(stored, dtype=np.float32)
    except UNREADABLE as error:
        raise UndrawableError(f"the anomaly map can't be decoded: {error}") from error
    return np.float32(low) + pixels * np.float32((high - low) / levels)


def as_png(picture: Image.Image) -> bytes:
    """Encode a drawing; lightly compressed, since it is made on request."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def as_small_png(picture: Image.Image) -> bytes:
    """Encode a thumbnail in 256 colours: a tenth of the bytes, no value off by more than a few levels."""
    out = io.BytesIO()
    few = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(out, "PNG", compress_level=6)
    return out.getvalue()


def _upright(image_bytes: bytes, longest: int) -> tuple[Image.Image, float]:
    """Give the image to show, and how many of its pixels one pixel of the full-size upright image became."""
    try:
        with Image.open(io.BytesIO(image_bytes), formats=FORMATS) as stored:
            # Pillow opens a TIFF upright already
            turned = stored.format != "TIFF" and stored.getexif().get(ORIENTATION) in QUARTER_TURNED
            full = stored.height if turned else stored.width
            stored.draft(None, (longest, longest))  # a JPEG is decoded no larger than needed
            image = _rgb(ImageOps.exif_transpose(stored))
    except UNREADABLE as error:
        raise UndrawableError(f"the image can't be decoded: {error}") from error
    side = max(image.size)
    if side > longest:
        image.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=2.0)
    elif side < ENLARGE_BELOW and side * 2 <= longest:
        factor = min(-(-ENLARGE_BELOW // side), longest // side)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return image, image.width / full


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float32)
        darkest, brightest = float(values.min()), float(values.max())
        stretched = (values - darkest) * (255 / max(brightest - darkest, 1e-12))
        image = Image.fromarray(stretched.astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _blend(image: npt.NDArray[np.uint8], relative: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay SCALE's colours for `relative` (H, W), in thresholds, over `image` (H, W, 3)."""
    paint = _paint(relative)  # (H, W, 4)
    colour, share = paint[..., :3], paint[..., 3:]
    mixed: npt.NDArray[np.uint8] = (image + (colour - image) * share + 0.5).astype(np.uint8)
    return mixed


def _paint(relative: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give SCALE's colours (0..255) and opacities (0..1) for `relative` (H, W), in thresholds."""
    at, *channels = zip(*SCALE, strict=True)
    steps = np.linspace(0, at[-1], 256)
    table = np.stack([np.interp(steps, at, channel) for channel in channels], axis=-1).astype(np.float32)
    nearest = np.clip(relative * np.float32(255 / at[-1]) + 0.5, 0, 255).astype(np.uint8)  # (H, W)
    paint: npt.NDArray[np.float32] = table[nearest]
    return paint


def _boxes(
    picture: Image.Image, regions: Sequence[Mapping[str, float]], scale: float, *, numbered: bool
) -> None:
    pen = ImageDraw.Draw(picture)
    line = max(2, max(picture.size) // 400)
    font = ImageFont.load_default(size=8 * line)
    right, bottom = picture.width - 1, picture.height - 1
    for number, region in enumerate(regions, start=1):
        outset = 2 * line  # the line runs beside the defect, not over it
        x0 = max(0, round(region["x"] * scale) - outset)
        y0 = max(0, round(region["y"] * scale) - outset)
        x1 = max(x0 + 1, min(right, round((region["x"] + region["width"]) * scale) + outset))
        y1 = max(y0 + 1, min(bottom, round((region["y"] + region["height"]) * scale) + outset))
        pen.rectangle((x0, y0, x1, y1), outline=DARK, width=2 * line)  # dark and light: seen on any ground
        pen.rectangle((x0, y0, x1, y1), outline=LIGHT, width=line)
        if numbered:
            _number(pen, str(number), (x0, y0, x1), font, line)


def _number(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
) -> None:
    """Write a region's number above its box, or below the upper edge where there is no room above."""
    x0, y0, _ = box
    left, top, width, height = pen.textbbox((0, 0), text, font=font)
    plate_width, plate_height = int(width - left) + 4 * line, int(height - top) + 4 * line
    y = y0 - plate_height if y0 >= plate_height else y0
    pen.rectangle((x0, y, x0 + plate_width, y + plate_height), fill=DARK, outline=LIGHT)
    pen.text((x0 + 2 * line - left, y + 2 * line - top), text, font=font, fill=LIGHT)
