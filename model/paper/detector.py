"""From the losses of an image's centre to its anomaly map and score."""

import torch
from torch import Tensor
from torch.nn import functional

from model.detector import Detector, Judged
from model.paper.losses import Perceptual, loss_maps, total
from model.paper.network import NetworkConfig, PaperNetwork


class PaperDetector(Detector):
    """Sees the centre of an image only, as published; the rim gets the map's least value.

    The score is the sum of the losses. The map is their sum per pixel, times `map_scale`: a loss at a pixel
    is many times the mean over the image, and what is compared with a threshold for scores should be as high
    where the part is good.
    """

    preset = "paper"
    config: NetworkConfig
    map_scale: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.network = PaperNetwork(config)
        self.perceptual = Perceptual() if config.perceptual else None
        self.register_buffer("map_scale", torch.ones(()))
        (height, width), (inner_height, inner_width) = config.size, config.crop
        self._top, self._left = (height - inner_height) // 2, (width - inner_width) // 2

    def centre(self, images: Tensor) -> Tensor:
        """Crop (B, C, H, W) to what the network sees."""
        height, width = self.config.crop
        cut = images[:, :, self._top : self._top + height, self._left : self._left + width]
        return cut.contiguous(memory_format=torch.channels_last)

    def losses(self, centres: Tensor) -> list[Tensor]:
        """Reconstruct cropped images and compare: maps (B, 1, h, w) as `loss_maps` gives them."""
        drawn = self.network(centres)
        # The network may compute in bfloat16, but differences of nearly equal images may not.
        with torch.autocast(centres.device.type, enabled=False):
            return loss_maps(drawn.float(), centres, ssim=self.config.ssim, perceptual=self.perceptual)

    def fit_normal(self, images: Tensor) -> None:
        """Learn `map_scale` from held-out good images (N, C, H, W): their highest pixels get their scores."""
        self.map_scale.fill_(1.0)
        judged = [self(part) for part in torch.split(images, 16)]
        highest = torch.cat([one.map.amax((1, 2)) for one in judged]).mean()
        self.map_scale.copy_(torch.cat([one.score for one in judged]).mean() / highest.clamp_min(1e-12))

    def forward(self, images: Tensor) -> Judged:
        """`images` are (B, 1 or 3, H, W) in [0, 1], float32, of the config's size; so is the map."""
        centres = self.centre(images)
        maps = self.losses(centres)
        size = centres.shape[-2:]
        full = [functional.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps]
        inner = torch.cat(full, 1).sum(1) * self.map_scale  # (B, h, w)
        height, width = size
        judged = inner.amin((1, 2), keepdim=True).expand(-1, *self.config.size).clone()
        judged[:, self._top : self._top + height, self._left : self._left + width] = inner
        return Judged(total(maps), judged)
