"""One score from the places of a map and from the image as a whole, each in deviations from what is usual."""

import torch
from torch import Tensor
from torch.nn import functional

_STEEP = 2.0  # the greatest of several evidences counts more than their mean, as in a norm of this power


def highest(maps: Tensor, share: float, least: int) -> Tensor:
    """Mean of that share of each map's highest places: (B, ...) to (B,). Steadier than the highest alone."""
    top = max(least, round(share * maps[0].numel()))
    return maps.flatten(1).topk(top, 1).values.mean(1)


def usual(values: Tensor) -> Tensor:
    """Mean and deviation of the logarithm of good images' positive values (N,), as one tensor (2,)."""
    logs = values.log()
    return torch.stack([logs.mean(), logs.std().clamp_min(1e-3)])


def deviations(values: Tensor, normal: Tensor) -> Tensor:
    """How far positive values of any shape lie above what `usual` found, in deviations."""
    return (values.log() - normal[0]) / normal[1]


def unite(parts: Tensor, shares: Tensor) -> Tensor:
    """Deviations (B, P) and what each counts for, (P,), to positive scores (B,): a strong one suffices."""
    return (functional.softplus(parts) * shares).pow(_STEEP).mean(1).pow(1 / _STEEP)


def alone(part: Tensor, shares: Tensor) -> Tensor:
    """The score that deviations of the first part, of any shape, would give if the others were nothing."""
    share: Tensor = shares[0] / len(shares) ** (1 / _STEEP)
    return functional.softplus(part) * share
