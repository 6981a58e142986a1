"""A fixed pyramid of oriented gradients: what edges go which way, where, and at which scale.

Cells of gradient orientations as in Dalal and Triggs (CVPR 2005), at several scales, compressed by a power
as Fisher vectors are (Perronnin et al., ECCV 2010), beside the mean of each channel. It needs no training,
so that a few dozen good parts suffice to learn what is usual among its cells.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.pyramid.residuals import shrink

# Deviation of the blur in pixels, and the step between the pixels that are looked at: what is blurred is seen
# as well on a coarser grid, for a quarter of the time.
_SCALES = ((0.5, 1), (1.0, 2), (2.0, 2))
_POOLED = {1: 0.0, 2: 0.0625}  # variance that pooling has blurred already, in its own pixels
_DIRECTIONS = 8
ORIENTED = _DIRECTIONS * len(_SCALES)  # channels, before those of the image
_POWER = 0.3  # of a cell's mean gradient: a faint edge counts nearly as much as a strong one
_ENOUGH = 128  # pixels a side
_CELL = 4  # pixels
_GREY = 1.0  # weight of the channels' means beside the gradients


def gradients(images: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1], float32, to (B, ORIENTED + C, h, w).

    A cell stands every 4 pixels. From 256 pixels on, images are made smaller first: the fine detail is for
    the network to see, this looks at the whole.
    """
    side = min(images.shape[-2:])
    if side >= 2 * _ENOUGH:
        images = shrink(images, side // _ENOUGH)
    angles = torch.arange(_DIRECTIONS // 2, device=images.device) * (2 * math.pi / _DIRECTIONS)
    cosines, sines = angles.cos().view(1, -1, 1, 1), angles.sin().view(1, -1, 1, 1)
    levels = []
    for scale, step in _SCALES:
        seen = shrink(images, step)
        blurred = _blur(seen, math.sqrt((scale / step) ** 2 - _POOLED[step]))
        summed: Tensor | None = None
        for channel in torch.split(blurred, 1, 1):
            around = functional.pad(channel, (1, 1, 1, 1), "replicate")
            across = around[..., 1:-1, 2:] - around[..., 1:-1, :-2]
            down = around[..., 2:, 1:-1] - around[..., :-2, 1:-1]
            half = across * cosines + down * sines  # (B, 4, H, W); the other directions are opposite to these
            edges = torch.cat([half, -half], 1).relu_()  # (B, 8, H, W)
            summed = edges if summed is None else summed + edges
        assert summed is not None
        levels.append(_cells(summed, _CELL // step).clamp_min(1e-6).pow(_POWER))
    return torch.cat([*levels, _GREY * _cells(images, _CELL)], 1)


def _cells(values: Tensor, cell: int) -> Tensor:
    """Means over windows of two cells' side, so that a shift of a pixel changes little."""
    half = cell // 2
    padded = functional.pad(values, (half, half, half, half), "replicate")
    once = shrink(padded, cell)  # a window is four of these: each pixel is read once
    return functional.avg_pool2d(once, 2, 1)


def _blur(images: Tensor, deviation: float) -> Tensor:
    radius = int(3 * deviation + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-offsets.square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(images.shape[1], 1, 1, -1)
    rows = functional.conv2d(
        functional.pad(images, (radius, radius, 0, 0), "replicate"), kernel, groups=images.shape[1]
    )
    return functional.conv2d(
        functional.pad(rows, (0, 0, radius, radius), "replicate"),
        kernel.transpose(2, 3),
        groups=images.shape[1],
    )
