import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from capture.images import ImageFacts, Limits, RefusedImageError, inspect

LIMITS = Limits(max_bytes=10_000_000, max_pixels=89_478_485)
OPTIONS = {
    "JPEG": {},
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize("format_", OPTIONS)
def test_each_format_is_told_by_content(picture: Callable[..., bytes], format_: str) -> None:
    assert inspect(picture(format_, **OPTIONS[format_]), LIMITS) == ImageFacts(format_, 40, 30)


@pytest.mark.parametrize(
    ("format_", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("PNG", "L"), ("PNG", "RGBA")]
)
def test_grey_deep_and_transparent_images_are_taken(format_: str, mode: str) -> None:
    pixels = np.arange(20 * 30).reshape(20, 30)
    grey = Image.fromarray(pixels.astype(np.uint16 if mode == "I;16" else np.uint8))
    image = grey if mode in {"I;16", "L"} else grey.convert(mode)
    assert inspect(encoded(image, format_), LIMITS) == ImageFacts(format_, 30, 20)


def test_progressive_and_filled_jpegs_are_whole(picture: Callable[..., bytes]) -> None:
    whole = picture("JPEG", progressive=True)
    assert inspect(whole, LIMITS).format == "JPEG"
    assert inspect(whole + b"\0" * 500, LIMITS).format == "JPEG"  # some cameras fill the last block


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_image(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (40, 30), "grey"), format_, exif=exif)
    expected = (30, 40) if orientation >= 5 else (40, 30)
    facts = inspect(data, LIMITS)
    assert (facts.width, facts.height) == expected


@pytest.mark.parametrize("format_", OPTIONS)
@pytest.mark.parametrize("lost", [1, 2, 12, 0.3, 0.9])
def test_cut_off_files_are_refused(picture: Callable[..., bytes], format_: str, lost: float) -> None:
    data = picture(format_, size=(200, 150), **OPTIONS[format_])
    cut = lost if isinstance(lost, int) else int(len(data) * lost)
    with pytest.raises(RefusedImageError):
        inspect(data[:-cut], LIMITS)


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_cut_off(picture: Callable[..., bytes]) -> None:
    thumbnail = picture("JPEG")
    whole = picture("JPEG", size=(200, 150), exif=b"Exif\0\0" + thumbnail)
    assert thumbnail[-2:] in whole[: len(whole) // 2]
    with pytest.raises(RefusedImageError, match="cut off"):
        inspect(whole[: len(whole) // 2], LIMITS)


def test_an_altered_png_is_refused(picture: Callable[..., bytes]) -> None:
    data = bytearray(picture("PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(RefusedImageError, match="checksum"):
        inspect(bytes(data), LIMITS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"Hello, I am called part.png\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "."),
        (b"GIF89a" + b"\0" * 50, "not an image"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedImageError, match=reason):
        inspect(data, LIMITS)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"\0" * 1000)) + part(b"IEND", b"")
    with pytest.raises(RefusedImageError, match="pixels"):
        inspect(bomb, LIMITS)


def test_limits_are_named_with_the_setting_that_raises_them(picture: Callable[..., bytes]) -> None:
    with pytest.raises(RefusedImageError, match="PYRAMIDION_MAX_IMAGE_PIXELS"):
        inspect(picture(), Limits(10_000_000, 1000))
    with pytest.raises(RefusedImageError, match="PYRAMIDION_MAX_IMAGE_BYTES"):
        inspect(picture(), Limits(100, 1_000_000))


WHOLE = {
    format_: encoded(Image.new("RGB", (16, 12), "grey"), format_)
    for format_ in ("JPEG", "PNG", "BMP", "WEBP")
}


@given(
    st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8)
)
def test_damage_is_answered_by_facts_or_a_refusal(format_: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[format_])
    for place, value in damage:
        data[place % len(data)] = value
    with suppress(RefusedImageError):
        assert inspect(bytes(data), Limits(1_000_000, 100_000)).width > 0
