"""The three losses, against values worked out by hand and an independent SSIM."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from model.paper.losses import Perceptual, loss_maps, ssim_loss, total


def _reference_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wang et al. (2004), equation 13, with scipy's Gaussian of the same 11 x 11 support."""

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(x, 1.5, mode="constant", radius=5))

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return np.asarray(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))


def test_ssim_agrees_with_an_independent_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 32, 40))
    ours = ssim_loss(torch.from_numpy(a)[None].float(), torch.from_numpy(b)[None].float())[0, 0]
    theirs = np.mean([1 - _reference_ssim(x, y) for x, y in zip(a, b, strict=True)], 0)
    assert np.allclose(ours.numpy(), theirs, atol=1e-3)
    assert float(ssim_loss(torch.from_numpy(a)[None], torch.from_numpy(a)[None]).max()) < 1e-4


def test_the_score_is_the_sum_of_the_losses_that_are_switched_on() -> None:
    perceptual = Perceptual()
    perceptual.randomise(0)
    images = torch.rand(2, 1, 32, 32)
    drawn = images + 0.5
    maps = loss_maps(drawn, images, ssim=False, perceptual=None)
    assert torch.allclose(total(maps), torch.tensor([0.25, 0.25]))  # 0.5 squared
    both = loss_maps(drawn, images, ssim=True, perceptual=perceptual)
    assert [tuple(m.shape) for m in both] == [(2, 1, 32, 32), (2, 1, 32, 32), (2, 1, 16, 16)]
    assert torch.allclose(total(both), sum((m.mean((1, 2, 3)) for m in both), torch.zeros(2)))
    assert torch.equal(
        total(loss_maps(images, images, ssim=True, perceptual=perceptual)).round(decimals=3), torch.zeros(2)
    )


def test_perceptual_is_the_distance_of_features_and_is_never_trained() -> None:
    perceptual = Perceptual()
    perceptual.randomise(0)
    drawn = torch.rand(1, 3, 16, 16, requires_grad=True)
    images = torch.rand(1, 3, 16, 16)
    f = torch.nn.functional
    first, second = perceptual.features[0], perceptual.features[3]
    assert isinstance(first, torch.nn.Conv2d)
    assert isinstance(second, torch.nn.Conv2d)
    seen = [
        f.conv2d(f.max_pool2d(f.conv2d(x, first.weight, padding=1).relu(), 2), second.weight, padding=1)
        for x in (drawn, images)
    ]
    expected = (seen[0] - seen[1]).square().mean(1)
    loss = perceptual(drawn, images)
    assert torch.allclose(loss[:, 0], expected, atol=1e-5)
    loss.mean().backward()
    assert drawn.grad is not None
    assert float(drawn.grad.abs().max()) > 0
    assert all(p.grad is None for p in perceptual.parameters())


@pytest.mark.parametrize("drawn_before", [0, 7])
def test_a_random_perceptual_network_depends_on_the_seed_alone(drawn_before: int) -> None:
    torch.manual_seed(0)
    torch.rand(drawn_before)
    networks = [Perceptual() for _ in range(2)]
    for network in networks:
        network.randomise(5)
    other = Perceptual()
    other.randomise(6)
    first, second = (network.features[3].weight for network in networks)
    assert torch.equal(first, second)
    assert not torch.equal(first, other.features[3].weight)
    # The first numbers of this seed, whatever else drew from torch's generator.
    assert float(networks[0].features[0].weight.flatten()[0]) == pytest.approx(_FIRST_OF_SEED_5)


_FIRST_OF_SEED_5 = float(
    torch.randn(64, 3, 3, 3, generator=torch.Generator().manual_seed(5)).flatten()[0] * (2 / 27) ** 0.5
)
