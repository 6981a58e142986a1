"""The frozen encoder's features at one grid: what preset `features` sees of an image."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.resnet import ResNet, standardise_rgb

_STAGES = 3  # the last stage knows ImageNet's objects and no textures, and weighs as much as the rest


class FrozenEncoder(nn.Module):
    """ResNet stages 1 to 3. Its weights are never trained, but they are part of the state dict."""

    def __init__(self, depth: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.resnet = ResNet(depth, _STAGES)
        self.requires_grad_(requires_grad=False)
        self.features = sum(self.resnet.widths)
        self._grid = grid
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002  # nn.Module's signature
        """Stay in evaluation mode: batch normalisation must not drift."""
        return super().train(mode=False)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """(B, 1 or 3, H, W) in [0, 1] to each stage's features, none finer than the grid.

        As in PatchCore (Roth et al., 2022) a feature is the mean over its 3x3 neighbourhood.
        """
        rgb = standardise_rgb(images.float()).contiguous(memory_format=torch.channels_last)
        # Rounded to bfloat16, features would move the score of a good part by several percent.
        with torch.autocast(images.device.type, enabled=False):
            stages = self.resnet.features(rgb)
        means = [functional.avg_pool2d(stage, 3, 1, 1, count_include_pad=False) for stage in stages]
        return [
            functional.avg_pool2d(m, m.shape[-1] // self._grid[1]) if m.shape[-1] > self._grid[1] else m
            for m in means
        ]

    def join(self, pyramid: list[Tensor]) -> Tensor:
        """Stages as `pyramid` gives them to (B, features, h, w), float32, at the grid."""
        grown = [
            level
            if level.shape[-2:] == self._grid
            else functional.interpolate(level, size=self._grid, mode="bilinear", align_corners=False)
            for level in (level.float() for level in pyramid)
        ]
        return torch.cat(grown, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] to (B, features, H/8, W/8)."""
        return self.join(self.pyramid(images))
