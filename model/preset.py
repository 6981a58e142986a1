"""What a preset consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from model.config import TrainConfig
from model.detector import Detector
from model.fitting import Recipe


@dataclass(frozen=True)
class NoOptions:
    """Of a preset that has none of its own."""


@dataclass(frozen=True)
class Preset:
    """`defaults` are fields of TrainConfig; `options` is a dataclass of the preset's own, with defaults.

    check(config) raises ValueError for what it can't train; build(config, channels, count) makes the
    untrained detector for that many images to fit; recipe(detector, good, held_out, config) trains it, with
    images (N, C, H, W) in [0, 1], an augmented image's copies beside it if `augments`; restore(network)
    builds one from its own description in a manifest.
    """

    name: str
    summary: str
    defaults: Mapping[str, Any]
    check: Callable[[TrainConfig], None]
    build: Callable[[TrainConfig, int, int], Detector]
    recipe: Callable[[Detector, Tensor, Tensor, TrainConfig], Recipe]
    restore: Callable[[dict[str, Any]], Detector]
    options: type[Any] = NoOptions
    augments: bool = False
