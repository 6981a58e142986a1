"""Good images in memory, in an order that depends on their content only, and their split."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from model.config import TrainConfig, Watch
from model.images import LEAST_IMAGES, Pixels, UnreadableImageError, decode, is_grey


class TooFewImagesError(ValueError):
    """Fewer distinct good images than fitting, validation and calibration need."""


@dataclass(frozen=True)
class GoodImages:
    """Three disjoint parts: one to fit, one to stop early and learn what is normal, one to calibrate."""

    fit: list[Pixels]
    validate: list[Pixels]
    calibrate: list[Pixels]
    channels: int
    sha256: str  # of the files' sorted hashes

    @property
    def count(self) -> int:
        return len(self.fit) + len(self.validate) + len(self.calibrate)


def read_good(images: Sequence[bytes], config: TrainConfig, watch: Watch) -> GoodImages:
    """Decode and split; a file that occurs twice counts once, so that no image is in two parts.

    Raises TooFewImagesError, UnreadableImageError with the index in `images`.
    """
    places = {hashlib.sha256(data).hexdigest(): index for index, data in enumerate(images)}
    if len(places) < LEAST_IMAGES:
        raise TooFewImagesError(
            f"{len(places)} distinct good images are too few to train on: give at least {LEAST_IMAGES}, "
            f"better {math.ceil(4 * (1 / config.false_reject_rate - 1))} for a false-reject rate of "
            f"{config.false_reject_rate:.2%}"
        )
    hashes = sorted(places)
    with ThreadPoolExecutor() as pool:
        channels = config.channels
        if channels == "auto":
            channels = 1 if all(pool.map(is_grey, (images[places[name]] for name in hashes[:64]))) else 3

        def read(name: str) -> Pixels:
            watch.check()
            try:
                decoded = decode(
                    images[places[name]],
                    channels=channels,
                    size=config.image_size,
                    max_pixels=config.max_pixels,
                )
            except UnreadableImageError as error:
                raise UnreadableImageError(error.reason, places[name]) from error
            return decoded.array

        arrays = list(pool.map(read, hashes))
    order = np.random.default_rng(config.seed).permutation(len(arrays))
    shuffled = [arrays[i] for i in order]
    validated, calibrated = split(len(arrays), config.false_reject_rate)
    return GoodImages(
        fit=shuffled[validated + calibrated :],
        validate=shuffled[:validated],
        calibrate=shuffled[validated : validated + calibrated],
        channels=channels,
        sha256=hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )


def split(count: int, false_reject_rate: float) -> tuple[int, int]:
    """How many of `count` images validate, and how many calibrate: a quarter or what the promise needs."""
    needed = math.ceil(1 / false_reject_rate - 1 - 1e-9)
    return max(2, round(0.1 * count)), max(2, min(needed, round(0.26 * count)))
