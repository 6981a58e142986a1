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
    half = functional.avg_pool2d(residual, 2)
    coarse = [_strength(half, 3), _strength(half, 7)]
    return torch.cat([functional.avg_pool2d(torch.cat(fine, 1), 2), *coarse], 1)


def structure(first: Tensor, second: Tensor, window: int = 7) -> Tensor:
    """1 - SSIM (Wang et al., 2004) of contrast and structure, mean over channels: (B, 1, H, W), 0 to 2.

    The luminance term is left out: it has no meaning for images of zero mean, and the pixel error sees it.
    """
    a, b = smooth(first, window), smooth(second, window)
    variances = smooth(first.square() + second.square(), window) - a * a - b * b
    covariance = smooth(first * second, window) - a * b
    return 1 - ((2 * covariance + _NOISE) / (variances.clamp_min(0) + _NOISE)).mean(1, keepdim=True)


def smooth(values: Tensor, window: int) -> Tensor:
    """Mean over an odd square window, as two strips: several times faster than one square on a CPU."""
    half = window // 2
    rows = functional.avg_pool2d(values, (window, 1), 1, (half, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, window), 1, (0, half), count_include_pad=False)


def _strength(residual: Tensor, window: int) -> Tensor:
    """Size of the mean over a window, (B, 1, H, W): noise averages out, a defect of its size does not."""
    mean = residual if window == 1 else smooth(residual, window)
    return mean.square().mean(1, keepdim=True).add(1e-6).sqrt()
