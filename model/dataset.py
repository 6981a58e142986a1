"""Good images in memory, in an order that depends on their content only, and their split by groups."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from model.config import TrainConfig, Watch
from model.images import LEAST_IMAGES, Pixels, UnreadableImageError, decode, is_grey

_LEAST_FITTED = 4  # of the fewest images there may be, those that neither validate nor calibrate


class TooFewImagesError(ValueError):
    """Fewer distinct good images, or groups of them, than fitting, validation and calibration need."""


@dataclass(frozen=True)
class GoodImages:
    """Three disjoint parts: one to fit, one to stop early and learn what is normal, one to calibrate."""

    fit: list[Pixels]
    validate: list[Pixels]
    calibrate: list[Pixels]
    channels: int
    sha256: str  # of the files' sorted hashes
    calibrate_at: list[int]  # the places of `calibrate` among the images that were given
    groups_sha256: str | None  # of their groups, in the same order; None where each file is its own

    @property
    def count(self) -> int:
        return len(self.fit) + len(self.validate) + len(self.calibrate)


def read_good(
    images: Sequence[bytes], config: TrainConfig, watch: Watch, groups: Sequence[str] | None = None
) -> GoodImages:
    """Decode and split; a file that occurs twice counts once, so that no image is in two parts.

    `groups` names the group of each image, such as a part's serial: none stands in two parts. Without it,
    each file is its own group.
    Raises TooFewImagesError, UnreadableImageError with the index in `images`, and ValueError for groups that
    are not as many as the images.
    """
    if groups is not None and len(groups) != len(images):
        raise ValueError(f"{len(images)} images and {len(groups)} groups: each image has one group")
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
    own = [str(index) for index in range(len(hashes))]
    named = own if groups is None else [groups[places[name]] for name in hashes]
    validate, calibrate, fit = deal([int(i) for i in order], named, config.false_reject_rate)
    return GoodImages(
        fit=[arrays[i] for i in fit],
        validate=[arrays[i] for i in validate],
        calibrate=[arrays[i] for i in calibrate],
        channels=channels,
        calibrate_at=[places[hashes[i]] for i in calibrate],
        sha256=hashlib.sha256("".join(hashes).encode()).hexdigest(),
        groups_sha256=None if groups is None else hashlib.sha256("\n".join(named).encode()).hexdigest(),
    )


def deal(order: list[int], groups: list[str], false_reject_rate: float) -> tuple[list[int], ...]:
    """Deal whole groups, in the order in which their first images come: to validate, to calibrate, to fit.

    `order` has the indices of `groups`; the parts have them too. Raises TooFewImagesError.
    """
    members: dict[str, list[int]] = {}
    for i in order:
        members.setdefault(groups[i], []).append(i)
    parts: tuple[list[int], ...] = ([], [], [])
    wanted = split(len(order), false_reject_rate)
    for group in members.values():
        lacking = [part for part, least in zip(parts, wanted, strict=False) if len(part) < least]
        (lacking[0] if lacking else parts[2]).extend(group)
    if len(parts[2]) < _LEAST_FITTED:
        raise TooFewImagesError(
            f"{len(order)} good images of {len(members)} serials or lots leave {len(parts[2])} to train on, "
            "since none of these may both train and calibrate a model: give images of more, or train without "
            "groups"
        )
    return parts


def split(count: int, false_reject_rate: float) -> tuple[int, int]:
    """How many of `count` images validate, and how many calibrate: a quarter or what the promise needs."""
    needed = math.ceil(1 / false_reject_rate - 1 - 1e-9)
    return max(2, round(0.1 * count)), max(2, min(needed, round(0.26 * count)))
