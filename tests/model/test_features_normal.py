"""What preset `features` takes for normal: distances that a hand calculation gives too."""

import math

import pytest
import torch

from model.features.encoder import FrozenEncoder
from model.features.normal import PlaceScale, Whitening
from model.features.whole import Whole
from model.resnet import ResNet


def test_distance_is_in_deviations_whatever_the_features_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    good = torch.randn(64, 2, 8, 8, generator=generator) * torch.tensor([1.0, 100.0]).view(1, 2, 1, 1) + 7
    usual = Whitening(2)
    usual.learn(torch.split(good, 16), 1e-6)
    assert usual.distance(good).square().mean().item() == pytest.approx(1, abs=0.01)
    far = torch.tensor([7.0 + 3, 7.0]).view(1, 2, 1, 1)
    also = torch.tensor([7.0, 7.0 + 300]).view(1, 2, 1, 1)
    for one in (far, also):  # three deviations of one of two features
        assert usual.distance(one).item() == pytest.approx(3 / math.sqrt(2), rel=0.06)
    assert usual.standardise(good).std().item() == pytest.approx(1, abs=0.01)


def test_a_pair_that_breaks_a_correlation_is_far() -> None:
    """Each of its features is usual; plain differences would not notice."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(64, 1, 8, 8, generator=generator)
    good = torch.cat([shared, shared + 0.05 * torch.randn(shared.shape, generator=generator)], 1)
    usual = Whitening(2)
    usual.learn([good], 1e-3)
    along, against = torch.split(torch.tensor([[1.0, 1.0], [1.0, -1.0]]).view(2, 2, 1, 1), 1)
    assert usual.distance(against).item() > 5 * usual.distance(along).item()


def test_a_place_where_good_parts_vary_needs_more_evidence() -> None:
    generator = torch.Generator().manual_seed(0)
    evidence = torch.randn(200, 1, 8, 16, generator=generator)
    evidence[..., 8:] *= 5
    scale = PlaceScale(1, (8, 16))
    scale.learn(evidence)
    rise = scale(torch.full((1, 1, 8, 16), 10.0))[0, 0]
    assert rise[:, :6].mean() > 1.5 * rise[:, 10:].mean()


def test_the_whole_image_counts_where_no_place_stands_out() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 6, 8, 8, generator=generator)
    whole = Whole(6, 32)
    whole.learn(whole.pool(noise[:50]))
    usual = whole(whole.pool(noise[50:]))
    assert usual.abs().max() < 4
    assert (whole(whole.pool(noise[50:] + 0.5)) > usual.max()).all()


@pytest.mark.parametrize("count", [3, 40])
def test_the_whole_image_is_judged_by_few_good_parts_and_by_equal_ones(count: int) -> None:
    whole = Whole(6, count - 1)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 24, generator=generator)
    whole.learn(vectors)
    assert torch.isfinite(whole(vectors)).all()
    whole.learn(vectors[:1].expand(count, -1))
    assert whole(vectors[:1] + 1).item() > whole(vectors[:1]).item()


@pytest.mark.parametrize("depth", [18, 50])
def test_features_of_three_stages_meet_at_one_grid(depth: int) -> None:
    encoder = FrozenEncoder(depth, (8, 12))
    images = torch.rand(2, 3, 64, 96)
    features = encoder(images)
    assert features.shape == (2, encoder.features, 8, 12)
    assert encoder.features == sum(ResNet(depth, 3).widths)


def test_the_encoder_sees_the_same_in_training() -> None:
    encoder = FrozenEncoder(18, (8, 8))
    images = torch.rand(4, 1, 64, 64)
    before = encoder(images)
    encoder.train()
    assert torch.equal(encoder(images), before)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
