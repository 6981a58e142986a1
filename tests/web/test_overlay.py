"""What is drawn over an image: colour where the map is high, boxes where they belong."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from web.inspections import overlay

BOX = {"x": 300.0, "y": 200.0, "width": 100.0, "height": 80.0}


def encoded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image.save(out, kind, **options)
    return out.getvalue()


def grey(height: int = 600, width: int = 800) -> bytes:
    return encoded(np.full((height, width), 128, dtype=np.uint8))


def hot_map(level: int = 255, dtype: Any = np.uint8) -> bytes:
    """A map of 0 but for `level` in the quarter around the middle of BOX."""
    pixels = np.zeros((60, 80), dtype=dtype)
    pixels[20:28, 30:40] = level
    return encoded(pixels)


def test_only_what_is_abnormal_gets_colour() -> None:
    drawn = np.asarray(overlay.draw(grey(), hot_map(), 0.0, 1.0, 0.5, []), dtype=int)
    red, green, blue = drawn[240, 350]
    assert green + 40 < red  # twice the threshold: magenta over grey
    assert green < blue
    assert 60 < green < 70  # half of the image's 128 shines through
    assert (drawn[:150] == 128).all()
    assert (drawn[:, :250] == 128).all()


def test_colour_is_measured_in_thresholds_not_in_the_maps_own_range() -> None:
    calm = np.asarray(overlay.draw(grey(), hot_map(), 0.0, 0.2, 0.5, []))
    assert (calm == 128).all()  # the peak is 0.2, well below half of the threshold


def test_a_16_bit_map_is_drawn_like_an_8_bit_one() -> None:
    coarse = overlay.draw(grey(), hot_map(102), 0.0, 1.0, 0.4, [])
    fine = overlay.draw(grey(), hot_map(102 * 257, np.uint16), 0.0, 1.0, 0.4, [])
    assert coarse.tobytes() == fine.tobytes()
    assert overlay.decode_map(hot_map(65535, np.uint16), 0.5, 2.5).max() == pytest.approx(2.5)
    assert overlay.decode_map(hot_map(), 0.5, 2.5).min() == pytest.approx(0.5)


def test_boxes_run_beside_the_defect_and_scale_with_the_image() -> None:
    calm = overlay.draw(grey(), hot_map(), 0.0, 0.1, 0.5, [BOX])
    changed = (np.asarray(calm)[..., 0] != 128).nonzero()
    assert 170 < changed[0].min() < 200  # the number stands above
    assert 280 <= changed[0].max() < 290
    assert 290 < changed[1].min() < 300
    assert 400 <= changed[1].max() < 410
    assert (np.asarray(calm)[200:280, 300:400] == 128).all()
    half = overlay.draw(grey(), hot_map(), 0.0, 0.1, 0.5, [BOX], longest=400)
    assert half.size == (400, 300)
    assert (np.asarray(half)[102:138, 152:198] == 128).all()


@pytest.mark.parametrize(
    "box",
    [
        {"x": 0.0, "y": 0.0, "width": 800.0, "height": 600.0},
        {"x": 799.0, "y": 599.0, "width": 1.0, "height": 1.0},
    ],
)
def test_boxes_at_the_border_are_drawn_inside(box: dict[str, float]) -> None:
    drawn = np.asarray(overlay.draw(grey(), hot_map(), 0.0, 0.1, 0.5, [box]))
    assert (drawn != 128).any()


def test_a_turned_photograph_is_shown_upright_with_map_and_box_in_place() -> None:
    lying = Image.new("RGB", (600, 800), (128, 128, 128))
    lying.paste((250, 250, 250), (200, 400, 280, 500))  # BOX, once it is turned
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise
    for kind in ("JPEG", "PNG", "TIFF"):
        photograph = encoded(lying, kind, exif=exif)
        for longest in (1280, 400):
            scale = min(longest, 800) / 800
            shown = overlay.upright(photograph, longest=longest)
            assert shown.size == (round(800 * scale), round(600 * scale))
            bright = (np.asarray(shown)[..., 0] > 200).nonzero()
            assert bright[0].mean() == pytest.approx(240 * scale, abs=2)
            assert bright[1].mean() == pytest.approx(350 * scale, abs=2)
            boxed = overlay.draw(photograph, hot_map(), 0.0, 0.1, 0.5, [BOX], longest=longest)
            changed = (np.asarray(boxed, dtype=int) - np.asarray(shown)).any(axis=-1).nonzero()
            assert changed[0].max() == pytest.approx(280 * scale, abs=6)
            assert changed[1].min() == pytest.approx(300 * scale, abs=6)
            assert changed[1].max() == pytest.approx(400 * scale, abs=6)


def test_16_bit_grey_is_stretched_and_small_images_are_enlarged() -> None:
    pixels = np.full((30, 40), 1000, dtype=np.uint16)
    pixels[:, 20:] = 3000  # a 12-bit camera: nearly black when shown as it is
    for kind in ("PNG", "TIFF"):
        shown = np.asarray(overlay.upright(encoded(pixels, kind)))
        assert shown.shape == (360, 480, 3)
        assert shown[:, :240].max() == 0
        assert shown[:, 240:].min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_kind_of_image_is_drawn(mode: str) -> None:
    kind = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    image = Image.new("F", (80, 60), 0.5) if mode == "F" else Image.new("L", (80, 60), 90).convert(mode)
    assert overlay.draw(encoded(image, kind), hot_map(), 0.0, 1.0, 0.5, [BOX]).mode == "RGB"


def test_side_by_side_keeps_the_image_as_it_is_on_the_left() -> None:
    both = overlay.side_by_side(grey(), hot_map(), 0.0, 1.0, 0.5, [BOX])
    left = both.crop((0, 0, 800, 600))
    right = both.crop((both.width - 800, 0, both.width, 600))
    assert left.tobytes() == overlay.upright(grey()).tobytes()
    assert right.tobytes() == overlay.draw(grey(), hot_map(), 0.0, 1.0, 0.5, [BOX]).tobytes()


@pytest.mark.parametrize(
    "data", [b"", b"hello", grey()[:60], encoded(np.zeros((600, 800), np.uint8), "JPEG")[:400]]
)
def test_what_cannot_be_decoded_is_said(data: bytes) -> None:
    with pytest.raises(overlay.UndrawableError, match="image can't be decoded"):
        overlay.upright(data)
    with pytest.raises(overlay.UndrawableError, match="map"):
        overlay.draw(grey(), data, 0.0, 1.0, 0.5, [])


def test_a_map_in_colour_is_refused() -> None:
    with pytest.raises(overlay.UndrawableError, match="RGB"):
        overlay.decode_map(encoded(np.zeros((6, 8, 3), dtype=np.uint8)), 0.0, 1.0)
