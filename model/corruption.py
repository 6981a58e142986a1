"""Synthesised defects: what the network learns to undo, and what held-out images are checked with.

Shapes are irregular ellipses, boxes and curved lines over two decades of size; what fills them is taken from
DRAEM (foreign texture), CutPaste (a patch from elsewhere), NSA and RIAD: foreign patches, displaced patches,
lighter or darker, plain fill, noise, blur, changed contrast. All of it vectorised over the batch.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

VALIDATION_SEED = 20_210_110  # held-out images are corrupted alike in every epoch and training
_FILLS = 7
_VISIBLE = 0.12  # of the images' deviation: a change below it is no defect that one could be asked to find


def corrupt(images: Tensor, generator: torch.Generator, clean: float = 0.25) -> tuple[Tensor, Tensor]:
    """Put up to three defects on each image, and on a share of `clean` images none.

    `images` are (B, C, H, W), zero mean and unit deviation; returns the corrupted ones and the mask of
    visible change (B, 1, H, W) in {0, 1}.
    """
    corrupted = images.clone()
    count = torch.rand(len(images), device=images.device, generator=generator)
    for chance in (1.0 - clean, 0.4, 0.15):
        rows = torch.nonzero(count < chance)[:, 0]
        if len(rows):
            part = corrupted[rows]
            corrupted[rows] = part + _shapes(part, generator) * (_fills(part, images, generator) - part)
    change = (corrupted - images).abs().amax(1, keepdim=True)
    return corrupted, (change > _VISIBLE).float()


def finding_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of finding the corruption, both (B, 1, h, w): its few places weigh as all the others."""
    entropy = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (entropy * mask).sum() / mask.sum().clamp_min(1) + (entropy * (1 - mask)).mean()


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    values = torch.rand(count, 1, 1, 1, device=generator.device, generator=generator)
    return low + (high - low) * values


def _log_uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return _uniform(generator, count, math.log(low), math.log(high)).exp()


def _pick(generator: torch.Generator, count: int, chance: float) -> Tensor:
    return (torch.rand(count, 1, 1, 1, device=generator.device, generator=generator) < chance).float()


def _noise(images: Tensor, generator: torch.Generator, cells: int, channels: int = 1) -> Tensor:
    """Smooth noise of about unit deviation, `cells` features across the image, (B, channels, H, W)."""
    grid = torch.randn(len(images), channels, cells, cells, device=images.device, generator=generator)
    return functional.interpolate(grid, size=images.shape[-2:], mode="bicubic", align_corners=False)


def _shapes(images: Tensor, generator: torch.Generator) -> Tensor:
    """Opacity (B, 1, H, W) of one defect an image: 0 outside, up to 1 inside, edges from sharp to soft."""
    count, _, height, width = images.shape
    rows = torch.linspace(0, 1, height, device=images.device).view(1, 1, -1, 1)
    columns = torch.linspace(0, 1, width, device=images.device).view(1, 1, 1, -1)
    angle = _uniform(generator, count, 0.0, math.pi)
    y = rows - _uniform(generator, count, 0.0, 1.0)
    x = columns - _uniform(generator, count, 0.0, 1.0)
    along = x * angle.cos() + y * angle.sin()
    across = y * angle.cos() - x * angle.sin()

    line = _pick(generator, count, 0.4)
    length = line * _log_uniform(generator, count, 0.04, 0.4) + (1 - line) * _log_uniform(
        generator, count, 0.015, 0.25
    )
    pixel = 1.0 / min(height, width)
    thick = _log_uniform(generator, count, 0.5 * pixel, 2.5 * pixel)
    aspect = _log_uniform(generator, count, 0.35, 1.0)
    breadth = line * thick + (1 - line) * length * aspect

    wobble = _noise(images, generator, 6)
    across = across - line * (along.square() * _uniform(generator, count, -3.0, 3.0) + 0.02 * wobble)
    u, v = along / length, across / breadth
    boxed = _pick(generator, count, 0.3)
    distance = boxed * torch.maximum(u.abs(), v.abs()) + (1 - boxed) * (u.square() + v.square()).sqrt()
    distance = distance + (1 - line) * (1 - boxed) * 0.35 * _noise(images, generator, 12)
    sharpness = _log_uniform(generator, count, 3.0, 40.0)
    opacity = _uniform(generator, count, 0.3, 1.0).maximum(_pick(generator, count, 0.4))
    return opacity * torch.sigmoid((1.0 - distance) * sharpness)


def _fills(images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """What a defect shows instead of the part, (B, C, H, W): one of seven kinds for each image."""
    count, channels, height, width = images.shape
    shift = torch.randint(0, 1 << 30, (4,), device=images.device, generator=generator).tolist()
    pick = torch.randint(0, len(others), (count,), device=images.device, generator=generator)
    foreign = others[pick].roll((shift[1] % height, shift[2] % width), (2, 3))
    reach = 3 + shift[3] % max(min(height, width) // 6, 1)
    near = images.roll((reach if shift[0] % 2 else -reach, reach if shift[1] % 2 else -reach), (2, 3))
    sign = 2 * _pick(generator, count, 0.5) - 1
    shade = images + sign * _log_uniform(generator, count, 0.25, 3.0)
    tint = torch.randn(count, channels, 1, 1, device=images.device, generator=generator)
    plain = 1.3 * tint + 0.1 * torch.randn(images.shape, device=images.device, generator=generator)
    noise = images + _log_uniform(generator, count, 0.2, 1.5) * _noise(images, generator, 32, channels)
    blur = functional.interpolate(
        functional.avg_pool2d(images, 8, ceil_mode=True),
        size=(height, width),
        mode="bilinear",
        align_corners=False,
    )
    contrast = blur + (images - blur) * _log_uniform(generator, count, 1.8, 4.0)
    fills = torch.stack([foreign, near, shade, shade + 0.5 * tint, plain, noise, contrast * 0.5 + blur * 0.5])
    kind = torch.randint(0, _FILLS, (count,), device=images.device, generator=generator)
    return fills[kind, torch.arange(count, device=images.device)]
