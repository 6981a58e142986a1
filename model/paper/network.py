"""The authors' network, all of it but the ResNet (`model.resnet`) and the capsules.

Mishra, Piciarelli, Foresti: "Image anomaly detection by aggregating deep pyramidal representations" (ICPR
workshops, 2021), and its journal sibling "A neural network for image anomaly detection with deep pyramidal
representations and dynamic routing" (Int. J. Neural Systems 30(10), 2020). What those texts leave open is
decided in docs/adr/0012-paper.md.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.paper.capsules import LENGTH, Capsules
from model.resnet import STRIDE, ResNet, standardise_rgb

MAGNIFICATIONS = (1, 2, 4, 8)
LATENT = 64
_COARSE = 4  # the side of the grid that the latent vector is enlarged to
_REDUCTION = 16  # squeeze and excitation's
_RESIZED, _CROPPED = 156, 120  # the authors': pixels of an image, and of its centre, that the network sees
LEAST_SIZE = 56  # 2 * STRIDE - 8: below it the last features are one pixel


@dataclass(frozen=True)
class NetworkConfig:
    """`size` is (height, width) before the crop; each side at least 56."""

    channels: int = 3
    size: tuple[int, int] = (_RESIZED, _RESIZED)
    depth: int = 18
    aggregation: str = "linear"  # or "capsules"
    pooling: str = "spatial"  # or "single"
    ssim: bool = True
    perceptual: bool = True

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of the centre that the network sees: (120, 120) of (156, 156)."""
        return cropped(self.size[0]), cropped(self.size[1])


def cropped(side: int) -> int:
    """Give the crop for one side: 120 / 156 of it, as near as the strides allow (56, 88, 120, 152...)."""
    if side < LEAST_SIZE:
        raise ValueError(
            f"a side of {side} pixels is too small for the preset paper: give at least {LEAST_SIZE}, best "
            f"the authors' {_RESIZED}"
        )
    # From g cells the decoder's transposed convolutions draw 32 g - 8 pixels, as 120 from 4.
    cells = round((side * _CROPPED / _RESIZED + 8) / STRIDE)
    return STRIDE * max(2, cells) - 8


class Excitation(nn.Module):
    """Squeeze and excitation (Hu et al., 2018): scales channels by what the whole image shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // _REDUCTION, bias=False)
        self.excite = nn.Linear(channels // _REDUCTION, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))  # (B, C)
        return x * scale[:, :, None, None]


class PyramidPooling(nn.Module):
    """For each magnification m: pool, 1x1 convolution to C/m channels, batch norm, ReLU; then all stacked.

    `spatial` pools to m x m; `single` pools everything to 1 x 1.
    """

    def __init__(self, channels: int, pooling: str) -> None:
        super().__init__()
        self.grids = [m if pooling == "spatial" else 1 for m in MAGNIFICATIONS]
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels // m, 1, bias=False), nn.BatchNorm2d(channels // m), nn.ReLU()
            )
            for m in MAGNIFICATIONS
        )
        self.outputs = sum(
            channels // m * grid * grid for m, grid in zip(MAGNIFICATIONS, self.grids, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs): a cell's channels stand together, so that 8 make a capsule."""
        pooled = [
            level(functional.adaptive_avg_pool2d(x, grid)).permute(0, 2, 3, 1).flatten(1)
            for grid, level in zip(self.grids, self.levels, strict=True)
        ]  # (B, m * m * C/m) each
        return torch.cat(pooled, 1)


class Decoder(nn.Module):
    """From the latent vector and the encoder's last features (B, C, g, g) to an image of 32 g - 8 pixels."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.channels = channels
        self.enlarge = nn.Sequential(
            nn.Linear(LATENT, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, channels * _COARSE * _COARSE),
            nn.ReLU(),
        )
        self.draw = nn.Sequential(
            nn.ConvTranspose2d(2 * channels // 4, 16, 3, 2, 1),  # 8 to 15 pixels a side, where g is 4
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 32, 3, 2, 1),  # 29
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, 2),  # 60
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, outputs, 4, 2, 1),  # 120
            nn.Tanh(),
        )

    def forward(self, latent: Tensor, features: Tensor) -> Tensor:
        coarse = self.enlarge(latent).view(-1, self.channels, _COARSE, _COARSE)
        if features.shape[-2:] != coarse.shape[-2:]:
            coarse = functional.interpolate(
                coarse, size=features.shape[-2:], mode="bilinear", align_corners=False
            )
        joined = functional.pixel_shuffle(torch.cat([features, coarse], 1), 2)  # (B, 2C / 4, 2g, 2g)
        drawn: Tensor = self.draw(joined)
        return drawn


class PaperNetwork(nn.Module):
    """The autoencoder; what is lost between its input and its output is for `losses` to say."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = ResNet(config.depth)
        channels = self.encoder.widths[-1]
        self.excitations = nn.ModuleList(Excitation(width) for width in (64, *self.encoder.widths))
        self.pyramid = PyramidPooling(channels, config.pooling)
        self.aggregate: nn.Module = (
            Capsules(self.pyramid.outputs // LENGTH, LATENT)
            if config.aggregation == "capsules"
            else nn.Linear(self.pyramid.outputs, LATENT)
        )
        self.decoder = Decoder(channels, config.channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, 32 g - 8, 32 g' - 8) in [0, 1] to their reconstructions, of the same shape."""
        x = self.excitations[0](self.encoder.stem(standardise_rgb(images)))
        for number in range(1, len(self.encoder.stages) + 1):
            x = self.excitations[number](self.encoder.stage(number, x))
        pooled = self.pyramid(x)  # (B, outputs)
        if isinstance(self.aggregate, Capsules):
            pooled = pooled.view(len(pooled), -1, LENGTH)
        drawn: Tensor = self.decoder(self.aggregate(pooled), x)
        return drawn
