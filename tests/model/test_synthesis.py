"""Defects that are put on good parts: seen, in place, and always the same."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.images import decode
from model.synthesis import LARGEST, SMALLEST, VISIBLE, File, put_defects


def file(pixels: NDArray[np.uint8] | NDArray[np.uint16], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def part(seed: int, height: int = 200, width: int = 320, channels: int = 1) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    field = np.linspace(60, 180, width)[None, :, None] + random.normal(0, 4, (height, width, channels))
    return np.squeeze(field.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def good() -> list[File]:
    return [(f"g{seed}", file(part(seed))) for seed in range(10)]


@pytest.fixture(scope="module")
def made(good: list[File]) -> list[File]:
    return list(put_defects(good, 24))


def test_each_good_image_takes_its_turn(good: list[File], made: list[File]) -> None:
    assert [name for name, _ in made][:2] == ["g0+1", "g1+1"]
    assert len({name for name, _ in made}) == len(made) == 24
    assert made == list(put_defects(good, 24)), "the same images, the same defects"
    assert [name for name, _ in put_defects(good, 4)] == ["g0+1", "g2+1", "g5+1", "g7+1"], "spread over all"
    assert list(put_defects([], 4)) == list(put_defects(good, 0)) == []


def test_a_defect_can_be_seen_and_leaves_the_rest_alone(good: list[File], made: list[File]) -> None:
    before = dict(good)
    for name, data in made:
        after = np.asarray(Image.open(io.BytesIO(data)))
        was = np.asarray(Image.open(io.BytesIO(before[name.split("+")[0]])))
        assert (after.shape, after.dtype) == (was.shape, was.dtype)
        change = np.abs(after.astype(float) - was) / 255
        changed = change > 0.01
        assert SMALLEST / 2 < changed.mean() < 2 * LARGEST
        assert change[changed].mean() > VISIBLE / 2
        assert (after[~changed] == was[~changed]).mean() > 0.97


def test_colours_and_bits_stay(good: list[File]) -> None:
    colour = [(f"c{seed}", file(part(seed, channels=3), "JPEG")) for seed in range(3)]
    for _, data in put_defects(colour, 3):
        assert np.asarray(Image.open(io.BytesIO(data))).shape == (200, 320, 3)
    deep = [(f"d{seed}", file(part(seed).astype(np.uint16) * 200)) for seed in range(3)]
    of_deep = list(put_defects(deep, 3))
    assert of_deep != []
    for _, data in of_deep:
        assert decode(data, channels=1, size=(200, 320)).array.dtype == np.float32


def test_what_cannot_be_read_or_shows_nothing_is_left_out(good: list[File]) -> None:
    assert [name for name, _ in put_defects([("junk", b"no image"), good[0]], 2)] == ["g0+1"]
    blank = file(np.full((64, 64), 128, np.uint8))
    assert list(put_defects([("blank", blank)], 2)) == []
