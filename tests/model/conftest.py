"""Small synthetic parts, and one model trained on them for the whole run."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.training import TrainConfig, Trained, train

SIDE = 64
QUICK = TrainConfig(
    size=(SIDE, SIDE), epochs=8, patience=8, options={"width": 8}, batch=16, false_reject_rate=0.05
)


def _part(rng: np.random.Generator, defect: str | None) -> NDArray[np.uint8]:
    """A bright washer on a dark table, (SIDE, SIDE), with light, place and sensor noise of its own."""
    canvas = Image.new("L", (4 * SIDE, 4 * SIDE), 50)
    draw = ImageDraw.Draw(canvas)
    x, y = 128 + rng.uniform(-4, 4, 2)
    grey = int(rng.uniform(160, 175))
    draw.ellipse((x - 100, y - 100, x + 100, y + 100), fill=grey)
    draw.ellipse((x - 35, y - 35, x + 35, y + 35), fill=50)
    angle = rng.uniform(0, 2 * np.pi)
    cx, cy = x + 68 * np.cos(angle), y + 68 * np.sin(angle)
    if defect == "stain":
        radius = rng.uniform(14, 26)
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=grey - 70)
    if defect == "scratch":
        dx, dy = 45 * np.cos(angle + 1), 45 * np.sin(angle + 1)
        draw.line((cx - dx, cy - dy, cx + dx, cy + dy), fill=80, width=7)
    pixels = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) + rng.normal(
        0, 4, (SIDE, SIDE)
    )
    return np.asarray(pixels.clip(0, 255), np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share out, and threads that wait for a busy core cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_parts() -> Callable[[int, int, str | None], list[bytes]]:
    """make_parts(seed, count, defect) gives PNG files of parts with that defect, or without."""

    def make(seed: int, count: int, defect: str | None = None) -> list[bytes]:
        rng = np.random.default_rng(seed)
        return [_png(_part(rng, defect)) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def hastily() -> Callable[..., Trained]:
    """Train with epochs of two batches, where nobody asks how much was learnt: `hastily(parts, config)`."""

    def train_hastily(*asked: Any, **more: Any) -> Trained:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("model.fitting._LEAST_BATCHES", 2)
            return train(*asked, **more)

    return train_hastily


@pytest.fixture(scope="session")
def quick() -> TrainConfig:
    return QUICK


@pytest.fixture(scope="session")
def trained(
    make_parts: Callable[[int, int, str | None], list[bytes]],
    made_once: Callable[[str, Callable[[], Trained]], Trained],
) -> Trained:
    return made_once("trained-on-washers", lambda: train(make_parts(1, 64, None), QUICK))
