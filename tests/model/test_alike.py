"""A part that lies still is one part, whatever noise and lamp do; another part is another."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.alike import Seen, sketch
from model.images import UnreadableImageError

SCENE = np.add.outer(np.linspace(40, 120, 256), 40 * np.sin(np.linspace(0, 20, 256)))


def shot(scene: NDArray[np.float64], noise: float = 2.0, seed: int = 0, mode: str = "PNG") -> bytes:
    pixels = scene + np.random.default_rng(seed).normal(0, noise, scene.shape)
    out = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, mode)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["PNG", "JPEG"])
def test_a_part_that_lies_still_is_alike_under_noise_and_a_flickering_lamp(mode: str) -> None:
    seen = Seen(1.0)
    assert seen.add(sketch(shot(SCENE, mode=mode)))
    assert not seen.add(sketch(shot(SCENE, seed=1, mode=mode)))
    assert not seen.add(sketch(shot(SCENE + 6, seed=2, mode=mode)))
    assert seen.add(sketch(shot(np.roll(SCENE, 3, axis=1), seed=3, mode=mode))), "it was moved"


def test_pictures_are_no_nearer_than_asked() -> None:
    flat = np.zeros(3072, np.float32)
    for within, difference, taken in [(0, 0, True), (1, 0.99, False), (1, 1.01, True), (64, 63, False)]:
        seen = Seen(within)
        assert seen.add(flat + 100)
        assert seen.add(flat + 100 + difference) is taken, (within, difference)


def test_it_remembers_all_that_it_kept() -> None:
    seen = Seen(1.0)
    many = np.random.default_rng(0).normal(0, 20, (300, 3072)).astype(np.float32)
    assert all(seen.add(one) for one in many)
    assert not any(seen.add(one + 0.5) for one in many)


def test_colours_count() -> None:
    seen = Seen(1.0)
    for channel in range(3):
        tinted = np.full((64, 64, 3), 100.0)
        tinted[:32, :, channel] += 20
        assert seen.add(sketch(shot(tinted)))


def test_sixteen_bits_are_measured_in_the_same_levels() -> None:
    out = BytesIO()
    Image.fromarray((SCENE * 257).astype(np.uint16)).save(out, "PNG")
    seen = Seen(1.0)
    assert seen.add(sketch(out.getvalue()))
    assert not seen.add(sketch(shot(SCENE)))


def test_what_is_no_picture_is_unreadable() -> None:
    with pytest.raises(UnreadableImageError):
        sketch(b"no picture")
