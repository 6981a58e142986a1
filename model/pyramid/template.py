"""Fits the linear autoencoder in closed form; its usual residual is that of images it was not fitted to."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.pyramid.network import Template
from model.pyramid.residuals import smooth

_FOLDS = 4
_MOST = 2500
_LOCAL = 0.7  # share of the residual's variance that is taken per location; the rest is the image's mean


@dataclass(frozen=True)
class Folds:
    """The good images' drawings in training: each by components that were fitted without it."""

    fold: Tensor  # (N,) which fold an image is in
    means: list[Tensor]  # (C, H, W) each
    bases: list[Tensor]  # (K, C * H * W) each

    def draw(self, images: Tensor, chosen: Tensor) -> Tensor:
        """Draw corrupted or clean versions, (B, C, H, W), of the good images with indices `chosen`, (B,)."""
        drawn = torch.empty_like(images)
        for fold, (mean, basis) in enumerate(zip(self.means, self.bases, strict=True)):
            rows = self.fold[chosen] == fold
            centred = (images[rows] - mean).flatten(1)
            drawn[rows] = mean + (centred @ basis.T @ basis).view(-1, *mean.shape)
        return drawn


def fit_template(template: Template, images: Tensor) -> Folds:
    """Fit `template` in place to standardised good `images`, (N, C, H, W)."""
    count = len(images)
    # blocks, since an image's augmented copies stand beside it
    fold = torch.arange(count, device=images.device) * min(_FOLDS, count) // count
    means, bases = [], []
    for number in range(int(fold.max()) + 1):
        mean, basis = components(images[fold != number], len(template.basis))
        means.append(mean)
        bases.append(basis)
    folds = Folds(fold, means, bases)
    residual = images - folds.draw(images, torch.arange(count, device=images.device))
    variance = smooth(residual.square().mean((0, 1), keepdim=True), 3)[0]  # (1, H, W)
    template.spread.copy_((_LOCAL * variance + (1 - _LOCAL) * variance.mean()).sqrt().clamp_min(1e-3))
    mean, basis = components(images, len(template.basis))
    template.mean.copy_(mean)
    template.basis.zero_()
    template.basis[: len(basis)] = basis.to(template.basis.dtype)
    return folds


def components(images: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Mean (C, H, W) and up to `most` principal components (K, C * H * W).

    From the smaller of two matrices: of the images' products with one another, or of the pixels'.
    """
    if min(len(images), images[0].numel()) > _MOST:
        images = images[:: math.ceil(len(images) / _MOST)]  # the time grows with the third power
    mean = images.mean(0)
    centred = (images - mean).flatten(1)  # (N, D)
    by_image = len(centred) <= centred.shape[1]
    products = centred @ centred.T if by_image else centred.T @ centred
    values, vectors = torch.linalg.eigh(products.double())
    kept = values > 1e-6 * values[-1].clamp_min(1e-12)
    values, vectors = values[kept][-most:], vectors[:, kept][:, -most:]
    basis = (vectors / values.sqrt()).T.float() @ centred if by_image else vectors.T.float().contiguous()
    return mean, basis
