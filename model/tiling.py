"""Large images in overlapping tiles, so that a defect of a few pixels does not vanish when they are scaled.

Tiles overlap by a quarter: what is smaller than that and cut by one tile's border is whole in its neighbour.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.detector import Detector, Judged, NetworkConfig

_AT_ONCE = 16  # tiles: more are no faster, and need their memory


@dataclass(frozen=True)
class TiledConfig:
    """`size` is that of the whole image, `inner` the config of what sees one of `tiles` squared tiles."""

    channels: int
    size: tuple[int, int]
    tiles: int
    inner: NetworkConfig


def whole_size(tile: tuple[int, int], tiles: int) -> tuple[int, int]:
    """Give the (height, width) that `tiles` a side cover."""
    height, width = (side + (tiles - 1) * _step(side) for side in tile)
    return height, width


def cut(images: Tensor, tile: tuple[int, int]) -> Tensor:
    """(B, C, H, W) to (B * T, C, h, w), an image's tiles row by row beside one another."""
    rows = images.unfold(2, tile[0], _step(tile[0])).unfold(3, tile[1], _step(tile[1]))  # (B, C, R, S, h, w)
    ordered = rows.permute(0, 2, 3, 1, 4, 5)
    return ordered.reshape(-1, *ordered.shape[3:]).contiguous(memory_format=torch.channels_last)


class Tiled(Detector):
    """Judges an image by its worst tile; where tiles overlap, the map takes the greater value."""

    config: TiledConfig

    def __init__(self, inner: Detector, tiles: int) -> None:
        size = inner.config.size
        super().__init__(TiledConfig(inner.config.channels, whole_size(size, tiles), tiles, inner.config))
        self.preset = inner.preset  # type: ignore[misc]  # of this one: what its tiles are judged by
        self.inner = inner

    def forward(self, images: Tensor) -> Judged:
        tile, tiles = self.inner.config.size, self.config.tiles
        judged = [self.inner(part) for part in torch.split(cut(images, tile), _AT_ONCE)]
        scores = torch.cat([one.score for one in judged]).view(len(images), -1)  # (B, T)
        maps = torch.cat([one.map for one in judged]).view(len(images), tiles, tiles, *tile)
        whole = maps.new_zeros(len(images), *self.config.size)
        for row in range(tiles):
            for column in range(tiles):
                y, x = row * _step(tile[0]), column * _step(tile[1])
                place = whole[:, y : y + tile[0], x : x + tile[1]]
                torch.maximum(place, maps[:, row, column], out=place)
        return Judged(scores.amax(1), whole)


def _step(side: int) -> int:
    return side * 3 // 4
