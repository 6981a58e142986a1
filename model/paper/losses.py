"""MSE + (1 - SSIM) + perceptual loss, as maps: their mean is what training lowers and the score adds up."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

_WINDOW, _SIGMA = 11, 1.5  # pixels; Wang et al., "Image quality assessment", IEEE TIP 13(4), 2004
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2  # their constants, for values in [0, 1]


class Perceptual(nn.Module):
    """Squared distance of VGG-11 features (Simonyan, Zisserman, 2015), up to its second convolution.

    Images go in unscaled, as in the authors' code: that fixes this term's weight beside the others. It is
    never trained. Without torchvision's weights it is a fixed random projection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                {
                    "0": nn.Conv2d(3, 64, 3, 1, 1),
                    "1": nn.ReLU(),
                    "2": nn.MaxPool2d(2),
                    "3": nn.Conv2d(64, 128, 3, 1, 1),
                }
            )
        )
        self.requires_grad_(requires_grad=False)

    def randomise(self, seed: int) -> None:
        """Give it random weights that depend on `seed` alone, whatever else was drawn before."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            else:
                nn.init.kaiming_normal_(weight, generator=generator)

    def forward(self, drawn: Tensor, images: Tensor) -> Tensor:
        """Both (B, 1 or 3, H, W) in [0, 1]; gives (B, 1, H/2, W/2)."""
        with torch.no_grad():  # the target's activations would double what training keeps in memory
            target: Tensor = self.features(images.expand(-1, 3, -1, -1))
        features: Tensor = self.features(drawn.expand(-1, 3, -1, -1))
        return (features.float() - target.float()).square().mean(1, keepdim=True)


def ssim_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - SSIM with a Gaussian window, mean over channels: (B, C, H, W) in [0, 1] to (B, 1, H, W), 0 to 2."""
    a, b = first.float(), second.float()
    moments = torch.stack([a, b, a * a, b * b, a * b])  # (5, B, C, H, W)
    mean_a, mean_b, square_a, square_b, product = _blur(moments.flatten(0, 2)).view_as(moments)
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    covariance = product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _LUMINANCE) / (mean_a.square() + mean_b.square() + _LUMINANCE)
    structure = (2 * covariance + _CONTRAST) / (variances.clamp_min(0) + _CONTRAST)
    loss: Tensor = 1 - luminance * structure
    return loss.clamp_min(0).mean(1, keepdim=True)


def _blur(planes: Tensor) -> Tensor:
    """Weigh (N, H, W) with the window, down and then across; beyond the border all is zero."""
    offsets = torch.arange(_WINDOW, device=planes.device) - _WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    # Variances are small differences of large numbers.
    with torch.autocast(planes.device.type, enabled=False):
        down = functional.conv2d(planes[:, None], weights.view(1, 1, -1, 1), padding=(_WINDOW // 2, 0))
        blurred: Tensor = functional.conv2d(down, weights.view(1, 1, 1, -1), padding=(0, _WINDOW // 2))[:, 0]
    return blurred


def loss_maps(drawn: Tensor, images: Tensor, *, ssim: bool, perceptual: Perceptual | None) -> list[Tensor]:
    """Each loss per pixel, (B, 1, h, w) float32, at its own resolution; at least 0."""
    maps = [(drawn.float() - images.float()).square().mean(1, keepdim=True)]
    if ssim:
        maps.append(ssim_loss(drawn, images))
    if perceptual is not None:
        maps.append(perceptual(drawn, images))
    return maps


def total(maps: list[Tensor]) -> Tensor:
    """Give the sum of the losses of each image, (B,): the published anomaly score."""
    return torch.stack([one.mean((1, 2, 3)) for one in maps]).sum(0)
