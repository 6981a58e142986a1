"""Tiles: a small defect on a large image must not vanish when the image is scaled."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from model import bundle
from model.config import TrainConfig
from model.scoring import Scorer
from model.tiling import cut, whole_size
from model.training import train

TILED = TrainConfig(
    size=(32, 32), tiles=4, epochs=4, patience=4, options={"width": 8}, augment="none", false_reject_rate=0.05
)


def _sheet(rng: np.random.Generator, *, pit: bool) -> NDArray[np.uint8]:
    """Fine brushed metal of 512 x 512 pixels, and maybe a pit of 0.04 % of its area."""
    rows = rng.normal(0, 12, (512, 1)) + rng.normal(0, 6, (512, 512))
    image = 130 + rows
    if pit:
        y, x = rng.integers(20, 490, 2)
        image[y : y + 10, x : x + 10] -= 70
    return np.asarray(image.clip(0, 255), np.uint8)


def _file(pixels: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def test_a_pit_that_vanishes_when_the_image_is_scaled_is_found_in_a_tile(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    good = [_file(_sheet(rng, pit=False)) for _ in range(24)]
    tested = [_file(_sheet(rng, pit=bad)) for bad in [False] * 16 + [True] * 16]
    labels = [0] * 16 + [1] * 16
    found = {}
    for tiles in (1, 4):
        trained = train(good, replace(TILED, tiles=tiles))
        scorer = Scorer(bundle.load(bundle.save(trained, tmp_path, product="sheet").folder))
        scores = [one.score for one in scorer.score([scorer.decode(data).array for data in tested])]
        found[tiles] = float(roc_auc_score(labels, scores))
    assert found[4] > 0.9
    assert found[4] > found[1]


def test_the_map_shows_the_pit_where_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    trained = train([_file(_sheet(rng, pit=False)) for _ in range(24)], TILED)
    scorer = Scorer(bundle.load(bundle.save(trained, tmp_path, product="sheet").folder))
    near = 0
    for _ in range(8):
        clean = _sheet(rng, pit=False)
        y, x = (int(v) for v in rng.integers(20, 490, 2))
        clean[y : y + 10, x : x + 10] //= 3
        map_ = scorer.score([scorer.decode(_file(clean)).array])[0].map
        assert map_.shape == whole_size((32, 32), 4) == scorer.size
        top, left = np.unravel_index(int(map_.argmax()), map_.shape)
        scale = 512 / map_.shape[0]
        near += abs(top * scale - y) < 40 and abs(left * scale - x) < 40
    assert near >= 6


@given(st.integers(1, 5), st.sampled_from([(32, 32), (32, 64), (16, 8)]))
def test_every_pixel_is_in_a_tile_and_tiles_are_where_they_were(tiles: int, tile: tuple[int, int]) -> None:
    height, width = whole_size(tile, tiles)
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    parts = cut(image, tile)
    assert parts.shape == (tiles * tiles, 1, *tile)
    assert set(parts.unique().tolist()) == set(range(height * width))
    last = parts[-1, 0]
    assert torch.equal(last, image[0, 0, -tile[0] :, -tile[1] :])


@pytest.mark.parametrize("tiles", [0, 17])
def test_a_number_of_tiles_that_makes_no_sense_is_refused(tiles: int) -> None:
    with pytest.raises(ValueError, match=f"tiles is {tiles}"):
        TrainConfig(tiles=tiles)
