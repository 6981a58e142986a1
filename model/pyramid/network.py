"""The pyramid autoencoder, all of it.

After Mishra, Piciarelli, Foresti, "A neural network for image anomaly detection with deep pyramidal
representations and dynamic routing" (Int. J. Neural Systems, 2020) and "Image anomaly detection by
aggregating deep pyramidal representations" (ICPR workshops, 2021): an encoder, pyramid pooling of its last
features on several magnifications, aggregation of the pooled features to one latent vector, and a decoder
that gets both.

What is ours: a linear autoencoder, fitted in closed form (`template.py`), draws the part first, and the
network refines its drawing: minutes on two cores do not teach a convolutional decoder what principal
components know at once. A narrow grid of features goes to the decoder beside the latent vector (a latent
alone blurs texture away), training restores corrupted images (`corruption.py`), and a comparison head looks
at the encoder's pyramids of the image and of its reconstruction, as DRAEM (Zavrtanik et al., ICCV 2021) does
with pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.pyramid.residuals import CLUES, clues

_FAR = 10.0  # in usual residuals: beyond it, more is not more of a defect


@dataclass(frozen=True)
class NetworkConfig:
    """`size` is (height, width), both multiples of 32; the pyramid's magnifications divide the last grid.

    `gist` is the size of the latent space in which the nearest of `kept` good parts are looked up.
    """

    channels: int = 1
    size: tuple[int, int] = (128, 128)
    width: int = 16
    latent: int = 64
    grid: int = 24
    components: int = 64
    gist: int = 256
    kept: int = 256
    magnifications: tuple[int, ...] = (1, 2, 4, 8)


@dataclass(frozen=True)
class Restored:
    image: Tensor  # (B, C, H, W) the good part that the network believes it sees
    clues: Tensor  # (B, len(CLUES), H/2, W/2) what is left of the image, at several scales
    logits: Tensor  # (B, 1, H/2, W/2) log odds that a pixel was not there in a good part


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _up(features: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _unfolded(x: Tensor) -> Tensor:
    """What pixel_shuffle(x, 2) gives of (B, 4 * C, H, W), in a third of its time for channels-last."""
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    return pixels.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, 2 * height, 2 * width)


class Template(nn.Module):
    """The linear autoencoder: principal components of the good images, (K, C * H * W), around their mean.

    `spread` (1, H, W) is the usual residual of good images that it was not fitted to. A missing component is
    zero. Components are float16: they are most of a bundle, and their rounding is far below the noise.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        shape = (config.channels, *config.size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("basis", torch.zeros(config.components, math.prod(shape), dtype=torch.float16))
        self.register_buffer("spread", torch.ones(1, *config.size))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            basis = self.basis.float()
            centred = (x.float() - self.mean).flatten(1)  # (B, C * H * W)
            drawn: Tensor = self.mean + (centred @ basis.T @ basis).view(-1, *self.mean.shape)
        return drawn


class Encoder(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        w = config.width
        self.widths = (w, 2 * w, 4 * w, 6 * w)
        self.stages = nn.ModuleList()
        inputs = 2 * config.channels  # the image, and what its template left
        for outputs in self.widths:
            self.stages.append(nn.Sequential(_block(inputs, outputs, 2), _block(outputs, outputs)))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features  # (B, w, H/2, W/2), (B, 2w, H/4, W/4), (B, 4w, H/8, W/8), (B, 6w, H/16, W/16)


class PyramidPooling(nn.Module):
    """Pools the last features to m x m for each magnification m, with fewer channels the finer the grid."""

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.magnifications = config.magnifications
        self.reduce = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels // m, 1, bias=False),
                nn.BatchNorm2d(channels // m),
                nn.ReLU(True),
            )
            for m in config.magnifications
        )
        cells = sum(channels // m * m * m for m in config.magnifications)
        self.aggregate = nn.Linear(cells, config.latent)
        self.outputs = sum(channels // m for m in config.magnifications)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = [
            reduce(functional.adaptive_avg_pool2d(x, m))
            for m, reduce in zip(self.magnifications, self.reduce, strict=True)
        ]  # (B, C/m, m, m) each
        latent = self.aggregate(torch.cat([level.flatten(1) for level in levels], 1))  # (B, latent)
        return latent, torch.cat([_up(level, x) for level in levels], 1)  # (B, sum C/m, H/16, W/16)


class Decoder(nn.Module):
    def __init__(self, config: NetworkConfig, widths: tuple[int, ...], pooled: int) -> None:
        super().__init__()
        w1, w2, w3, w4 = widths
        self.unfold = nn.Sequential(nn.Linear(config.latent, w4 * 16), nn.ReLU(inplace=True))
        self.narrow = nn.Conv2d(w3, config.grid, 1)
        self.join = _block(w4 + pooled, w4)
        # channels are reduced before a map is enlarged: a quarter of the pixels to do it on
        self.reduce4, self.reduce3 = nn.Conv2d(w4, w3, 1), nn.Conv2d(w3, w2, 1)
        self.reduce2 = nn.Conv2d(w2, w1, 1)
        self.up3 = _block(w3 + config.grid, w3)
        self.up2 = _block(w2, w2)
        self.up1 = _block(w1, w1)
        self.paint = nn.Conv2d(w1, 4 * config.channels, 3, 1, 1)
        nn.init.zeros_(self.paint.weight)  # begin with the template's drawing as it is

    def forward(self, features: list[Tensor], latent: Tensor, pooled: Tensor) -> Tensor:
        first, second, third, last = features
        coarse = self.unfold(latent).view(len(latent), -1, 4, 4)
        x = self.join(torch.cat([_up(coarse, last), pooled], 1))  # (B, 6w, H/16, W/16)
        x = self.up3(torch.cat([_up(self.reduce4(x), third), self.narrow(third)], 1))  # (B, 4w, H/8, W/8)
        x = self.up2(_up(self.reduce3(x), second))  # (B, 2w, H/4, W/4)
        x = self.up1(_up(self.reduce2(x), first))  # (B, w, H/2, W/2)
        return _unfolded(self.paint(x))  # (B, C, H, W)


class Comparison(nn.Module):
    """Finds what the reconstruction took away, from both feature pyramids, coarse to fine, and the clues."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        w = widths[0]
        extra = (len(CLUES), *(0 for _ in widths[1:]))  # the clues come at the finest level's stride
        self.look = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * c + more, w, 1), nn.ReLU(inplace=True))
            for c, more in zip(widths, extra, strict=True)
        )
        self.mix = nn.ModuleList(_block(w, w) for _ in widths)
        self.decide = nn.Conv2d(w, 1, 1)

    def forward(self, before: list[Tensor], after: list[Tensor], left: Tensor) -> Tensor:
        x: Tensor | None = None
        for level in reversed(range(len(before))):
            seen = [before[level], (before[level] - after[level]).abs()]
            if level == 0:  # in the others' memory layout, or all of them are copied to this one's
                seen.append(left.to(before[0].dtype, memory_format=torch.channels_last))
            looked = self.look[level](torch.cat(seen, 1))
            x = self.mix[level](looked if x is None else looked + _up(x, looked))
        assert x is not None
        return functional.conv2d(x, self.decide.weight, self.decide.bias)  # (B, 1, H/2, W/2)


class PyramidAutoencoder(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if any(side % 32 for side in config.size):
            raise ValueError(
                f"size {config.size} must be multiples of 32 in height and width, such as (128, 128)"
            )
        self.config = config
        self.template = Template(config)
        self.encoder = Encoder(config)
        self.pyramid = PyramidPooling(config, self.encoder.widths[-1])
        self.decoder = Decoder(config, self.encoder.widths, self.pyramid.outputs)
        self.comparison = Comparison(self.encoder.widths)

    def forward(self, x: Tensor, drawn: Tensor | None = None) -> Restored:
        """`x` is (B, C, H, W) with zero mean and unit deviation over the training images.

        `drawn` stands in for the template's drawing in training, where the template must not know the image.
        """
        if drawn is None:
            drawn = self.template(x)
        residual = (x - drawn) / self.template.spread
        before = self.encoder(torch.cat([x, residual.clamp(-_FAR, _FAR)], 1))
        latent, pooled = self.pyramid(before[-1])
        change = self.decoder(before, latent, pooled)
        image = drawn + change
        after = self.encoder(torch.cat([image, (change / self.template.spread).clamp(-_FAR, _FAR)], 1))
        seen = clues(residual, x.float(), image.detach().float())
        return Restored(image, seen, self.comparison(before, after, seen.log1p()))
