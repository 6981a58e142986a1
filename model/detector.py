"""What every preset is: a module from images to maps and scores, with all that is normal inside it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


class NetworkConfig(Protocol):
    """A frozen dataclass of plain values, from which an untrained detector of the same shape is built."""

    @property
    def channels(self) -> int: ...
    @property
    def size(self) -> tuple[int, int]: ...

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class Judged:
    score: Tensor  # (B,) positive; the greater, the worse
    map: Tensor  # (B, H, W)


class Detector(nn.Module, ABC):
    """`mean` and `deviation` are the training images' per channel; what else is normal are buffers too.

    The state dict is the whole model: with `config` it gives the same scores anywhere.
    """

    preset: ClassVar[str]
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(1, config.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, config.channels, 1, 1))

    def learn_scale(self, good: Tensor) -> None:
        """Learn the mean and deviation of good images (N, C, H, W)."""
        self.mean.copy_(good.mean((0, 2, 3), keepdim=True))
        spread = (good - self.mean).square().mean((0, 2, 3), keepdim=True)
        self.deviation.copy_(spread.sqrt().clamp_min(1e-3))

    def standardise(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to zero mean and unit deviation over the training images."""
        return (images - self.mean) / self.deviation

    @abstractmethod
    def forward(self, images: Tensor) -> Judged:
        """`images` are (B, C, H, W) in [0, 1], float32, of the config's size; so is the map."""
