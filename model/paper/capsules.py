"""Capsules with dynamic routing, after Sabour et al., "Dynamic routing between capsules" (NeurIPS 2017)."""

import torch
from torch import Tensor, nn

LENGTH = 8  # of an incoming capsule
_OUTGOING = 2
_ITERATIONS = 3


class Capsules(nn.Module):
    """Routes `count` capsules of 8 values to two vectors of `latent` values and gives the longer one."""

    def __init__(self, count: int, latent: int) -> None:
        super().__init__()
        self.latent = latent
        # Both vectors' transformations side by side; small, so that routing begins undecided.
        self.weight = nn.Parameter(0.01 * torch.randn(count, LENGTH, _OUTGOING * latent))

    def forward(self, capsules: Tensor) -> Tensor:
        """(B, count, 8) to (B, latent), in float32: lengths that are compared must not be rounded."""
        with torch.autocast(capsules.device.type, enabled=False):
            vectors = self.route(capsules.float())  # (B, 2, latent)
            longer = vectors.square().sum(2).argmax(1)  # (B,)
            return vectors[torch.arange(len(vectors), device=vectors.device), longer]

    def route(self, capsules: Tensor) -> Tensor:
        """(B, count, 8) to both instantiation vectors, (B, 2, latent), each shorter than 1."""
        opinions = torch.bmm(capsules.transpose(0, 1), self.weight).transpose(0, 1)  # (B, count, 2 * latent)
        opinions = opinions.reshape(*opinions.shape[:2], _OUTGOING, self.latent)
        # Only the last iteration is learnt through: the earlier ones decide who listens to whom.
        fixed = opinions.detach()
        logits = fixed.new_zeros(fixed.shape[:3])  # (B, count, 2)
        for _ in range(_ITERATIONS - 1):
            vectors = squash(_weighted(logits, fixed))
            logits = logits + torch.einsum("bkd,bikd->bik", vectors, fixed)
        return squash(_weighted(logits, opinions))


def squash(vectors: Tensor) -> Tensor:
    """Equation 1: keeps each vector's direction, (..., D), and maps its length from [0, inf) to [0, 1)."""
    square = vectors.square().sum(-1, keepdim=True)
    return square / (1 + square) * vectors / (square + 1e-12).sqrt()


def _weighted(logits: Tensor, opinions: Tensor) -> Tensor:
    """Equation 2: every capsule divides one vote among the two vectors; gives (B, 2, latent)."""
    return torch.einsum("bik,bikd->bkd", logits.softmax(2), opinions)
