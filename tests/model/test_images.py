from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.images import UnreadableImageError, decode, is_grey


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def half_bright(mode: str = "L") -> Image.Image:
    """40 wide, 20 high, left half black, right half white."""
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 20:] = 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_turns_the_image_upright_and_its_size_with_it(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn it a quarter clockwise
    found = decode(encoded(half_bright(), kind, exif=exif), channels=1, size=(40, 20))
    assert (found.width, found.height) == (20, 40)
    assert found.array[2, 10, 0] < 20
    assert found.array[37, 10, 0] > 235


def test_sixteen_bit_grey_keeps_levels_that_eight_bits_would_lose() -> None:
    faint = np.full((32, 32), 20_000, np.uint16)
    faint[:, 16:] += 100  # less than half a level of 8 bits
    for kind in ("PNG", "TIFF"):
        found = decode(encoded(Image.fromarray(faint), kind), channels=1, size=(32, 32)).array
        assert found.dtype == np.float32
        assert found[0, 0, 0] == pytest.approx(20_000 / 65_535, abs=1e-6)
        assert found[0, 31, 0] - found[0, 0, 0] == pytest.approx(100 / 65_535, rel=1e-2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "LA", "RGBA"])
def test_every_colour_mode_shows_the_same_picture(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(half_bright(mode), kind)
    for channels in (1, 3):
        found = decode(data, channels=channels, size=(32, 32)).array
        assert found.shape == (32, 32, channels)
        assert found.dtype == np.uint8
        assert found[16, 4].max() <= 2
        assert found[16, 28].min() >= 253


def test_transparent_pixels_are_black_whatever_colour_they_hide() -> None:
    hidden = np.full((32, 32, 4), 255, np.uint8)
    hidden[:, :16, 3] = 0
    found = decode(encoded(Image.fromarray(hidden)), channels=3, size=(32, 32)).array
    assert found[0, 0].max() == 0
    assert found[0, 31].min() == 255


def test_a_large_jpeg_decodes_reduced_to_the_same_picture() -> None:
    rows = np.linspace(0, 255, 1000).astype(np.uint8)
    large = Image.fromarray(np.broadcast_to(rows[:, None], (1000, 1400)).copy())
    data = encoded(large, "JPEG", quality=95)
    found = decode(data, channels=1, size=(64, 64))
    whole = np.asarray(large.resize((64, 64), Image.Resampling.BILINEAR), np.int16)
    assert (found.width, found.height) == (1400, 1000)
    assert np.abs(found.array[..., 0].astype(np.int16) - whole).max() <= 3


def test_more_pixels_than_allowed_are_refused_before_decoding() -> None:
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG", compress_level=9)
    assert len(bomb) < 200_000
    with pytest.raises(UnreadableImageError, match="pixels"):
        decode(bomb, channels=1, size=(32, 32))
    with pytest.raises(UnreadableImageError, match=r"40 x 20 pixels .* limit of 100"):
        decode(encoded(half_bright()), channels=1, size=(32, 32), max_pixels=100)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_truncated_files_are_refused(kind: str) -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = encoded(noisy, kind)
    assert decode(whole, channels=3, size=(64, 64)).array.shape == (64, 64, 3)
    with pytest.raises(UnreadableImageError):
        decode(whole[: len(whole) // 2], channels=3, size=(64, 64))


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"GIF89a" + bytes(50), "format"), (b"text", "format")]
)
def test_what_is_no_image_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode(data, channels=1, size=(32, 32))


def test_values_that_are_not_numbers_are_refused() -> None:
    broken = Image.fromarray(np.full((32, 32), np.nan, np.float32))
    with pytest.raises(UnreadableImageError, match="finite"):
        decode(encoded(broken, "TIFF"), channels=1, size=(32, 32))


def test_grey_is_told_from_colour() -> None:
    grey = half_bright("RGB")
    colour = Image.new("RGB", (32, 32), (200, 100, 50))
    assert is_grey(encoded(grey, "JPEG"))
    assert is_grey(encoded(half_bright()))
    assert not is_grey(encoded(colour, "JPEG"))
