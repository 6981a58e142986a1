"""The image as a whole: how far its pooled features lie from those of good parts.

A fault of light or of handling changes everything a little and no place much: a map's highest place misses
it. Pooled to a few cells, the features of an image are one vector, and a linear autoencoder in closed form
says how usual it is: what differs in a direction in which good parts hardly differ counts most.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_CELLS = 2  # a side
_FLOOR = 1e-2  # added to each direction's variance, in units of their mean
_FOLDS = 5


class Whole(nn.Module):
    """`components` is how many directions have a variance of their own, at most; all others share one."""

    mean: Tensor
    basis: Tensor
    weight: Tensor
    rest: Tensor
    normal: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        size = features * _CELLS * _CELLS
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(components, size))
        self.register_buffer("weight", torch.zeros(components))  # one over the direction's variance
        self.register_buffer("rest", torch.ones(()))  # the same of all other directions
        self.register_buffer("normal", torch.tensor([0.0, 1.0]))  # mean and deviation of good parts' distance

    def pool(self, standard: Tensor) -> Tensor:
        """Standardised features (B, F, h, w) to one vector an image, (B, 4 F)."""
        return functional.adaptive_avg_pool2d(standard, _CELLS).flatten(1)

    def learn(self, vectors: Tensor) -> None:
        """Learn from `pool` of good images, (N, 4 F); what is usual comes from folds that it did not see."""
        folds = min(_FOLDS, len(vectors))
        # In blocks, since an image's tiles stand beside one another: one fold's neighbours are no strangers.
        fold = torch.arange(len(vectors), device=vectors.device) * folds // len(vectors)
        unseen = []
        for number in range(folds):
            self._fit(vectors[fold != number])
            unseen.append(self._distance(vectors[fold == number]))
        distances = torch.cat(unseen)
        self._fit(vectors)
        self.normal.copy_(torch.stack([distances.mean(), distances.std().clamp_min(1e-3)]))

    def forward(self, vectors: Tensor) -> Tensor:
        """`pool` of images, (B, 4 F), to (B,): deviations above the good parts' usual distance."""
        deviations: Tensor = (self._distance(vectors) - self.normal[0]) / self.normal[1]
        return deviations

    def _fit(self, vectors: Tensor) -> None:
        mean = vectors.mean(0)
        centred = (vectors - mean).double()
        count = len(vectors)
        # Far fewer images than values: the small one of the two matrices has the same directions.
        variance, mixed = torch.linalg.eigh(centred @ centred.T / count)  # ascending
        most = min(len(self.weight), count - 1)
        variance, mixed = variance[-most:].clamp_min(1e-12), mixed[:, -most:]
        floor = (_FLOOR * variance.mean()).clamp_min(1e-9)
        self.mean.copy_(mean)
        self.basis.zero_()
        self.basis[:most] = (centred.T @ (mixed / (variance * count).sqrt())).T.float()
        self.weight.zero_()
        self.weight[:most] = (1 / (variance + floor)).float()
        self.rest.copy_(1 / floor)

    def _distance(self, vectors: Tensor) -> Tensor:
        """Logarithm of the squared Mahalanobis distance, (B,)."""
        centred = vectors - self.mean
        along = centred @ self.basis.T  # (B, K)
        beyond = (centred - along @ self.basis).square().sum(1)
        return ((along.square() * self.weight).sum(1) + beyond * self.rest).clamp_min(1e-12).log()
