"""How much a drawing differs from the image, seen at several scales: no parameters, only arithmetic."""

import torch
from torch import Tensor
from torch.nn import functional

CLUES = ("template_1", "template_3", "pixels", "structure", "template_6", "template_14")  # windows in pixels
_NOISE = 0.05  # SSIM's constant: variance, in the training images' own, below which structure is noise


def clues(residual: Tensor, image: Tensor, restored: Tensor) -> Tensor:
    """Maps (B, len(CLUES), H/2, W/2), each at least 0 and about 1 where all is well.

    `residual` is what the template left, in units of its usual residual; all arguments are (B, C, H, W).
    """
    fine = [_strength(residual, 1), _strength(residual, 3)]
    fine += [(image - restored).abs().mean(1, keepdim=True), structure(image, restored)]
    half = shrink(residual, 2)
    coarse = [_strength(half, 3), _strength(half, 7)]
    return torch.cat([*(shrink(one, 2) for one in fine), *coarse], 1)


def structure(first: Tensor, second: Tensor, window: int = 7) -> Tensor:
    """1 - SSIM (Wang et al., 2004) of contrast and structure, mean over channels: (B, 1, H, W), 0 to 2.

    The luminance term is left out: it has no meaning for images of zero mean, and the pixel error sees it.
    """
    a, b = smooth(first, window), smooth(second, window)
    variances = smooth(first.square() + second.square(), window) - a * a - b * b
    covariance = smooth(first * second, window) - a * b
    return 1 - ((2 * covariance + _NOISE) / (variances.clamp_min(0) + _NOISE)).mean(1, keepdim=True)


def shrink(values: Tensor, factor: int) -> Tensor:
    """Mean over squares of `factor` places a side, (B, C, H, W) to (B, C, H / factor, W / factor).

    As pooling does, but by sums of every other row and column: on a CPU four to nine times faster.
    """
    while factor % 2 == 0 and values.shape[-2] % 2 == 0 and values.shape[-1] % 2 == 0:
        rows = values[..., ::2, :] + values[..., 1::2, :]
        values = (rows[..., ::2] + rows[..., 1::2]) * 0.25
        factor //= 2
    return functional.avg_pool2d(values, factor) if factor > 1 else values


def smooth(values: Tensor, window: int) -> Tensor:
    """Mean over an odd square window, (B, C, H, W); at the border, over what of it lies within.

    By sums of shifted copies: on a CPU about ten times faster than pooling, and five times with gradients.
    """
    half, (height, width) = window // 2, values.shape[-2:]
    padded = functional.pad(values, (half, half, half, half))
    counts = _within(height, half, values)[:, None] * _within(width, half, values)
    return _slide(_slide(padded, window, 2), window, 3) / counts


def _slide(values: Tensor, window: int, dim: int) -> Tensor:
    """Sums over a window that slides along a dimension, which gets `window` - 1 shorter.

    A sum of 2, 4, 8 ... is two of half its length, and the binary digits of `window` say which to add.
    """
    length = values.shape[dim] - window + 1
    total: Tensor | None = None
    done, step = 0, 1
    while True:
        if window & step:
            part = values.narrow(dim, done, length)
            total = part if total is None else total + part
            done += step
        if 2 * step > window:
            assert total is not None
            return total
        shorter = values.shape[dim] - step
        values = values.narrow(dim, 0, shorter) + values.narrow(dim, step, shorter)
        step *= 2


def _within(length: int, half: int, like: Tensor) -> Tensor:
    """How many of a window's places lie within, for each of `length` centres."""
    at = torch.arange(length, device=like.device)
    count = (at + half).clamp_max(length - 1) - (at - half).clamp_min(0) + 1
    return count.to(like.dtype)


def _strength(residual: Tensor, window: int) -> Tensor:
    """Size of the mean over a window, (B, 1, H, W): noise averages out, a defect of its size does not."""
    mean = residual if window == 1 else smooth(residual, window)
    return mean.square().mean(1, keepdim=True).add(1e-6).sqrt()
