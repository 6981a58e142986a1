"""The pyramid autoencoder of feature maps, and the head that compares what it saw with what it drew.

The autoencoder sees one map of features and redraws it through a narrow code at each of four scales, so that
a place is drawn from its surroundings: what good parts don't show can't be drawn. The head is trained to find
synthesised defects in the features and in what is left of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8  # pixels of the image for each place of the grid
_CODES = (24, 32, 48, 64)  # channels of the code at 1, 1/2, 1/4 and 1/8 of the grid


@dataclass(frozen=True)
class NetworkConfig:
    """`size` is that of the images, both sides multiples of 32; `width` the autoencoder's channels.

    `components` is the size of the latent space of whole images.
    """

    channels: int = 3
    size: tuple[int, int] = (256, 256)
    depth: int = 18
    width: int = 48
    components: int = 512

    @property
    def grid(self) -> tuple[int, int]:
        return self.size[0] // STRIDE, self.size[1] // STRIDE


@dataclass(frozen=True)
class Compared:
    drawn: Tensor  # (B, F, h, w), like the features
    logits: Tensor  # (B, 1, h, w): how much it looks like a synthesised defect


class Block(nn.Module):
    """A residual 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.around = nn.Conv2d(width, width, 3, 1, 1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.mix(functional.gelu(self.around(self.norm(x))))
        return x + changed


class FeatureAutoencoder(nn.Module):
    """(B, F, h, w) of zero mean and unit deviation to the same, drawn from four narrow codes."""

    place: nn.Parameter

    def __init__(self, features: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, width, *grid))  # what is usual differs from place to place
        self.first = nn.Conv2d(features, width, 1)
        self.encode = nn.ModuleList([Block(width) for _ in _CODES])
        self.halve = nn.ModuleList([nn.Conv2d(width, width, 3, 2, 1) for _ in _CODES[1:]])
        self.narrow = nn.ModuleList([nn.Conv2d(width, code, 1) for code in _CODES])
        self.widen = nn.ModuleList([nn.Conv2d(code, width, 1) for code in _CODES])
        self.decode = nn.ModuleList([Block(width) for _ in _CODES])
        self.last = nn.Conv2d(width, features, 1)

    def forward(self, features: Tensor) -> Tensor:
        x = self.first(features) + self.place
        codes = []
        for scale, encode in enumerate(self.encode):
            x = encode(x if scale == 0 else self.halve[scale - 1](x))
            codes.append(self.widen[scale](self.narrow[scale](x)))
        y = self.decode[-1](codes[-1])
        for scale in range(len(codes) - 2, -1, -1):
            y = codes[scale] + _grow(y, codes[scale])
            y = self.decode[scale](y + self.place if scale == 0 else y)
        drawn: Tensor = self.last(y)
        return drawn


class Comparison(nn.Module):
    """Features and what the drawing left of them, (B, F, h, w) each, to logits (B, 1, h, w)."""

    place: nn.Parameter

    def __init__(self, features: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, width, *grid))
        self.seen = nn.Conv2d(features, width, 1)
        self.left = nn.Conv2d(features, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.near = Block(width)
        self.halve = nn.Conv2d(width, width, 3, 2, 1)
        self.far = Block(width)
        self.both = Block(width)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor, residual: Tensor) -> Tensor:
        x = self.near(self.norm(self.seen(features) + self.left(residual) + self.place))
        x = self.both(x + _grow(self.far(self.halve(x)), x))
        logits: Tensor = self.last(x)
        return logits


class FeatureNetwork(nn.Module):
    """What is trained: the autoencoder and the comparison."""

    def __init__(self, features: int, config: NetworkConfig) -> None:
        super().__init__()
        self.autoencoder = FeatureAutoencoder(features, config.width, config.grid)
        self.comparison = Comparison(features, config.width, config.grid)

    def forward(self, features: Tensor) -> Compared:
        """(B, F, h, w), zero mean and unit deviation."""
        drawn = self.autoencoder(features)
        return Compared(drawn, self.comparison(features, features - drawn))


def _grow(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
