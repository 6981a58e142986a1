"""The image as a whole: how far its pyramid of gradients lies from those of good parts.

Two linear autoencoders in closed form. One, on a coarse grid, weighs what it cannot reconstruct: a direction
in which good parts hardly differ counts as much as one in which they differ a lot (Mahalanobis distance).
The other, on a finer grid, asks how near the nearest good parts are in its latent space.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.pyramid.gradients import ORIENTED, gradients

GIST = ("unexplained", "unlike")
_COARSE, _FINE = 4, 8  # cells a side
_COARSE_FLOOR, _FINE_FLOOR = 1e-5, 0.1  # added to each direction's variance, in units of their mean
_PRECISE = 1e-3
_SEEN = 1e-6  # of the greatest variance
_NEAREST = 3
_FOLDS, _MANY = 10, 1000


@dataclass(frozen=True)
class _Subspace:
    mean: Tensor  # (D,)
    whiten: Tensor  # (D, K)

    def unexplained(self, values: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        return ((values - self.mean) @ self.whiten).square().mean(1)


@dataclass(frozen=True)
class Unexplained:
    """How far images (B, C, H, W) are from good ones by what the coarse autoencoder leaves: call it, (B,)."""

    subspace: _Subspace

    @classmethod
    def of(cls, good: Tensor) -> "Unexplained":
        coarse = _flat(_all_cells(good), _COARSE)
        return cls(_whitening(coarse, _COARSE_FLOOR, coarse.shape[1]))

    def __call__(self, images: Tensor) -> Tensor:
        return self.subspace.unexplained(_flat(_all_cells(images), _COARSE))


class Gist(nn.Module):
    """`latent` is the size of the finer grid's latent space, `kept` how many good parts it remembers."""

    coarse_mean: Tensor
    coarse_whiten: Tensor
    fine_mean: Tensor
    fine_whiten: Tensor
    good: Tensor
    normal_mean: Tensor
    normal_deviation: Tensor

    def __init__(self, channels: int, latent: int, kept: int) -> None:
        super().__init__()
        coarse, fine = ((ORIENTED + channels) * side * side for side in (_COARSE, _FINE))
        self.register_buffer("coarse_mean", torch.zeros(coarse))
        self.register_buffer("coarse_whiten", torch.zeros(coarse, coarse))
        self.register_buffer("fine_mean", torch.zeros(fine))
        self.register_buffer("fine_whiten", torch.zeros(fine, latent))
        self.register_buffer("good", torch.zeros(kept, latent))
        self.register_buffer("normal_mean", torch.zeros(len(GIST)))
        self.register_buffer("normal_deviation", torch.ones(len(GIST)))

    def fit(self, images: Tensor) -> None:
        """Fit to good images (N, C, H, W) in [0, 1]; what is usual comes from folds that it did not see."""
        cells = _all_cells(images)
        coarse, fine = _flat(cells, _COARSE), _flat(cells, _FINE)
        # Many folds, since what is fitted to fewer images puts the others farther away; of very many images
        # one fold is measure enough.
        fold = torch.arange(len(images), device=images.device) * _FOLDS // len(images)
        unseen = []
        for number in range(1 if len(images) > _MANY else _FOLDS):
            self._learn(coarse[fold != number], fine[fold != number])
            unseen.append(self._distances(coarse[fold == number], fine[fold == number]))
        distances = torch.cat(unseen)
        self.normal_mean.copy_(distances.mean(0))
        self.normal_deviation.copy_(distances.std(0).clamp_min(1e-3))
        self._learn(coarse, fine)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to (B, len(GIST)): deviations above what is usual for good parts."""
        with torch.autocast(images.device.type, enabled=False):  # small differences of large numbers
            cells = gradients(images.float())
            distances = self._distances(_flat(cells, _COARSE), _flat(cells, _FINE))
        return (distances - self.normal_mean) / self.normal_deviation

    def _learn(self, coarse: Tensor, fine: Tensor) -> None:
        subspace = _whitening(coarse, _COARSE_FLOOR, coarse.shape[1])
        self.coarse_mean.copy_(subspace.mean)
        self.coarse_whiten.copy_(subspace.whiten)
        subspace = _whitening(fine, _FINE_FLOOR, self.fine_whiten.shape[1])
        self.fine_mean.copy_(subspace.mean)
        self.fine_whiten.copy_(subspace.whiten)
        # Evenly spread, where there are more good parts than are kept; the last repeats where fewer.
        chosen = torch.linspace(0, len(fine) - 1, len(self.good), device=fine.device).round().long()
        self.good.copy_((fine[chosen] - subspace.mean) @ subspace.whiten)

    def _distances(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Logarithms of both distances, (B, len(GIST))."""
        unexplained = _Subspace(self.coarse_mean, self.coarse_whiten).unexplained(coarse)
        latent = (fine - self.fine_mean) @ self.fine_whiten
        nearest = min(_NEAREST, len(self.good))
        # by matrix product: many times faster, and whitened values lose nothing that matters by it
        apart = torch.cdist(latent, self.good, compute_mode="use_mm_for_euclid_dist")
        unlike = apart.topk(nearest, 1, largest=False).values.mean(1)
        return torch.stack([unexplained, unlike], 1).clamp_min(1e-12).log()


def _all_cells(images: Tensor) -> Tensor:
    return torch.cat([gradients(part) for part in torch.split(images, 64)])


def _flat(cells: Tensor, side: int) -> Tensor:
    return functional.adaptive_avg_pool2d(cells, side).flatten(1)  # (B, channels * side * side)


def _whitening(values: Tensor, floor: float, most: int) -> _Subspace:
    """Whiten (N, D) values: the `most` directions that vary most, the others left out.

    N images vary in N directions at most. Where that is less than `most`, which still is but a part of all,
    the rest is left at zero: a direction in which no good part was seen to vary could be any.
    """
    mean = values.mean(0)
    centred = values - mean
    if floor < _PRECISE:
        centred = centred.double()  # directions of a millionth of the variance need their digits
    count, size = centred.shape
    if most < size and count < size:  # the same directions from the smaller of the two matrices
        variance, vectors = torch.linalg.eigh(centred @ centred.T / count)  # ascending
        seen = variance > _SEEN * variance[-1]  # without their mean, one of them varies by rounding only
        directions = centred.T @ (vectors / (variance * count).clamp_min(1e-12).sqrt()) * seen
    else:
        variance, directions = torch.linalg.eigh(centred.T @ centred / count)
    variance = variance.clamp_min(0)
    average = variance.sum() / size
    scaled = directions / (variance + floor * average.clamp_min(1e-12)).sqrt()
    chosen = scaled[:, -most:].float()
    return _Subspace(mean, functional.pad(chosen, (most - chosen.shape[1], 0)))
