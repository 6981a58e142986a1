"""The authors' network is built as published, for every size and both aggregations."""

import pytest
import torch

from model.paper.capsules import Capsules, squash
from model.paper.network import LATENT, NetworkConfig, PaperNetwork, PyramidPooling, cropped


def test_the_published_size_gives_the_published_crop() -> None:
    assert NetworkConfig().crop == (120, 120)
    assert [cropped(side) for side in (56, 64, 128, 256, 312)] == [56, 56, 88, 184, 248]
    with pytest.raises(ValueError, match="55 pixels is too small"):
        cropped(55)


def test_every_side_gets_a_crop_that_fits_and_that_the_decoder_can_draw() -> None:
    for side in range(56, 1100):
        crop = cropped(side)
        assert 56 <= crop <= side
        assert crop % 32 == 24
        assert abs(crop - side * 120 / 156) <= 16 or crop == 56


@pytest.mark.parametrize(
    ("config", "capsules"),
    [
        (NetworkConfig(channels=1, aggregation="capsules"), 960),  # 512 * (1 + 2 + 4 + 8) / 8
        (NetworkConfig(channels=3, aggregation="capsules", pooling="single"), 120),
        (NetworkConfig(channels=3, size=(70, 130)), None),
        (NetworkConfig(channels=1, size=(64, 64), depth=50, pooling="single", aggregation="capsules"), 480),
    ],
)
def test_a_reconstruction_has_the_crops_shape(config: NetworkConfig, capsules: int | None) -> None:
    network = PaperNetwork(config).eval()
    with torch.inference_mode():
        drawn = network(torch.rand(2, config.channels, *config.crop))
    assert drawn.shape == (2, config.channels, *config.crop)
    if capsules is None:
        assert isinstance(network.aggregate, torch.nn.Linear)
    else:
        assert isinstance(network.aggregate, Capsules)
        assert len(network.aggregate.weight) == capsules


def test_the_spatial_pyramid_sees_where_and_the_single_one_does_not() -> None:
    torch.manual_seed(0)
    features = torch.rand(1, 512, 4, 4)
    turned = features.flip(3)
    for pooling, place_matters in (("spatial", True), ("single", False)):
        pyramid = PyramidPooling(512, pooling).eval()
        same = torch.allclose(pyramid(features), pyramid(turned), atol=1e-5)
        assert same is not place_matters
        if pooling == "spatial":  # a cell's channels are neighbours: the second level's first cell
            level, grid = pyramid.levels[1], torch.nn.functional.adaptive_avg_pool2d(features, 2)
            assert torch.allclose(pyramid(features)[0, 512 : 512 + 256], level(grid)[0, :, 0, 0])


def test_squash_keeps_direction_and_bounds_length() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    squashed = squash(vectors)
    # |s|^2 / (1 + |s|^2): 25 / 26 and 0.25 / 1.25
    assert torch.allclose(squashed.norm(dim=1), torch.tensor([25 / 26, 0.2, 0.0]), atol=1e-6)
    assert torch.allclose(squashed[0] / squashed[0].norm(), torch.tensor([0.6, 0.8]))
    squashed.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_routing_agrees_with_the_published_procedure_written_out() -> None:
    torch.manual_seed(0)
    count = 5
    layer = Capsules(count, LATENT)
    torch.nn.init.normal_(layer.weight)  # large enough for routing to decide something
    capsules = torch.randn(2, count, 8)
    for image in range(2):
        opinions = [
            [capsules[image, i] @ layer.weight[i][:, k * LATENT : (k + 1) * LATENT] for k in range(2)]
            for i in range(count)
        ]
        logits = [[torch.tensor(0.0), torch.tensor(0.0)] for _ in range(count)]
        vectors: list[torch.Tensor] = []
        for iteration in range(3):
            shares = [torch.stack(row).softmax(0) for row in logits]
            vectors = []
            for k in range(2):
                s = sum((shares[i][k] * opinions[i][k] for i in range(count)), torch.zeros(LATENT))
                square = s @ s
                vectors.append(square / (1 + square) * s / square.sqrt())
            if iteration < 2:
                for i in range(count):
                    for k in range(2):
                        logits[i][k] = logits[i][k] + vectors[k] @ opinions[i][k]
        with torch.inference_mode():
            routed = layer.route(capsules)[image]
            chosen = layer(capsules)[image]
        assert torch.allclose(routed, torch.stack(vectors), atol=1e-5)
        longer = vectors[0] if vectors[0].norm() > vectors[1].norm() else vectors[1]
        assert torch.allclose(chosen, longer, atol=1e-5)
