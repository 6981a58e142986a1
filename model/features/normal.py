"""What is normal, learnt from good images: the covariance of feature vectors, and each place's evidence."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from model.pyramid.residuals import smooth

_LOCAL = 0.7  # share of the variance of evidence that is taken per place; the rest is the image's mean
_FEW = 5  # images, of which half of that share is believed


class Whitening(nn.Module):
    """Mahalanobis distance of feature vectors, one mean and covariance for all places."""

    mean: Tensor
    whiten: Tensor
    deviation: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.register_buffer("whiten", torch.eye(features))

    def learn(self, parts: Iterable[Tensor], least: float) -> None:
        """Learn from parts (B, F, h, w); `least` of the mean variance is added to every direction's."""
        count, total = 0, torch.zeros_like(self.mean, dtype=torch.float64)
        products = torch.zeros_like(self.whiten, dtype=torch.float64)
        for part in parts:
            vectors = part.permute(0, 2, 3, 1).flatten(0, 2)  # (B * h * w, F)
            count += len(vectors)
            total += vectors.sum(0).double()
            products += (vectors.T @ vectors).double()
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        values, directions = torch.linalg.eigh(covariance)
        floor = (least * values.mean()).clamp_min(1e-9)
        self.mean.copy_(mean)
        self.deviation.copy_(covariance.diagonal().clamp_min(1e-9).sqrt())
        self.whiten.copy_(directions / (values.clamp_min(0) + floor).sqrt())

    def standardise(self, features: Tensor) -> Tensor:
        """(B, F, h, w) to zero mean and unit deviation of each feature."""
        return (features - self.mean.view(1, -1, 1, 1)) / self.deviation.view(1, -1, 1, 1)

    def distance(self, features: Tensor) -> Tensor:
        """(B, F, h, w) to (B, 1, h, w), about 1 where all is well."""
        white = (features.permute(0, 2, 3, 1) - self.mean) @ self.whiten
        return white.square().mean(-1).sqrt()[:, None]


class PlaceScale(nn.Module):
    """The mean and deviation of evidence maps at each place, shrunk towards the neighbourhood's."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, count: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, count, *grid))
        self.register_buffer("deviation", torch.ones(1, count, *grid))

    def learn(self, evidence: Tensor) -> None:
        """Learn from evidence (N, E, h, w) of good images that nothing was fitted to."""
        mean = smooth(evidence.mean(0, keepdim=True), 3)
        spread = smooth((evidence - mean).square().mean(0, keepdim=True), 5)
        count = len(evidence)
        share = _LOCAL * count / (count + _FEW)
        overall = spread.mean((2, 3), keepdim=True)
        self.mean.copy_(mean)
        self.deviation.copy_((share * spread + (1 - share) * overall).sqrt().clamp_min(1e-6))

    def forward(self, evidence: Tensor) -> Tensor:
        standard: Tensor = (evidence - self.mean) / self.deviation
        return standard
