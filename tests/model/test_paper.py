"""Preset `paper`, through the same training, bundle and scoring as every preset."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model import bundle
from model.images import decode
from model.inference import SCORE_TOLERANCE, to_batch
from model.paper.detector import PaperDetector
from model.paper.network import NetworkConfig
from model.paper.preset import PRESET
from model.presets import configure
from model.resnet import ResNet
from model.scoring import Scorer
from model.training import Trained, train
from model.weights import WeightsError

Parts = Callable[[int, int, str | None], list[bytes]]
QUICK = configure(
    "paper", size=(64, 64), epochs=2, batch=8, false_reject_rate=0.2, options={"pooling": "single"}
)


@pytest.fixture(scope="module")
def paper(make_parts: Parts) -> Trained:
    return train(make_parts(1, 16, None), QUICK)


def test_the_defaults_are_the_published_ones() -> None:
    config = configure("paper")
    assert (config.size, config.batch, config.epochs) == ((156, 156), 60, 400)
    assert (config.learning_rate, config.weight_decay) == (1e-3, 1e-3)
    detector = PRESET.build(config, 3, 100)
    assert isinstance(detector, PaperDetector)
    assert detector.config == NetworkConfig()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": (48, 156)}, "side of 48 pixels is too small"),
        ({"options": {"aggregation": "sum"}}, "linear or capsules"),
        ({"options": {"pooling": "none"}}, "spatial or single"),
        ({"options": {"depth": 34}}, "18 or 50"),
        ({"options": {"perceptual": "no", "perceptual_weights": "vgg.pth"}}, "leave one out"),
        ({"options": {"width": 8}}, "there are: aggregation, depth"),
    ],
)
def test_what_can_not_be_trained_is_said(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configure("paper", **given)


def test_training_lowers_the_held_out_loss(paper: Trained) -> None:
    assert len(paper.facts.losses) == 2
    untrained = PRESET.build(QUICK, 1, 24).eval()
    assert paper.facts.losses[-1] < paper.facts.losses[0]
    with torch.inference_mode():
        images = torch.rand(2, 1, 64, 64)
        assert (untrained(images).score > paper.facts.losses[-1]).all()


def test_it_is_trained_as_published(paper: Trained) -> None:
    good = torch.rand(4, 1, 64, 64)
    recipe = PRESET.recipe(paper.detector, good, good, QUICK)
    assert type(recipe.optimizer(QUICK)) is torch.optim.Adam  # AdamW's weight decay is another thing
    assert recipe.rate(0.0) == recipe.rate(0.5) == recipe.rate(0.99) == 1.0


def test_only_the_centre_counts_and_the_rim_has_the_least_value(paper: Trained) -> None:
    detector = paper.detector
    images = torch.rand(2, 1, 64, 64)
    other = images.clone()
    other[:, :, :4] = 0
    other[:, :, :, 60:] = 1
    with torch.inference_mode():
        judged, same = detector(images), detector(other)
    assert judged.map.shape == (2, 64, 64)
    assert torch.equal(judged.score, same.score)
    rim = torch.ones(64, 64, dtype=torch.bool)
    rim[4:60, 4:60] = False
    for map_ in judged.map:
        assert (map_[rim] == map_.min()).all()
        assert map_[4:60, 4:60].max() > map_.min()


def test_a_change_is_on_the_map_where_it_is(paper: Trained, make_parts: Parts) -> None:
    image = torch.full((1, 1, 64, 64), 0.5)
    spoilt = image.clone()
    spoilt[:, :, 14:22, 40:48] = torch.rand(8, 8)
    with torch.inference_mode():
        rise = (paper.detector(spoilt).map - paper.detector(image).map)[0]
    assert rise[14:22, 40:48].mean() > 4 * rise.abs().mean()


def test_the_maps_highest_pixel_is_on_the_scores_scale(paper: Trained, make_parts: Parts) -> None:
    with torch.inference_mode():
        judged = paper.detector(_images(make_parts(7, 16, None)))
    ratio = judged.map.amax((1, 2)) / judged.score
    assert 0.5 < float(ratio.mean()) < 2


def _images(files: list[bytes]) -> torch.Tensor:
    return to_batch([decode(f, channels=1, size=(64, 64)).array for f in files], torch.device("cpu"))


@pytest.fixture(scope="module")
def routed(make_parts: Parts, hastily: Callable[..., Trained]) -> Trained:
    options = {"aggregation": "capsules", "pooling": "single", "perceptual": False}
    return hastily(make_parts(1, 12, None), dataclasses.replace(QUICK, epochs=1, batch=4, options=options))


@pytest.mark.parametrize("name", ["paper", "routed"])
def test_a_bundle_scores_as_before_it_was_saved_alone_and_in_a_batch(
    name: str, request: pytest.FixtureRequest, make_parts: Parts, tmp_path: Path
) -> None:
    trained = request.getfixturevalue(name)
    files = make_parts(3, 5, "stain")
    with torch.inference_mode():
        before = trained.detector(_images(files)).score.numpy()
    scorer = Scorer(bundle.load(bundle.save(trained, tmp_path, product="washer").folder))
    arrays = [scorer.decode(f).array for f in files]
    together = np.array([s.score for s in scorer.score(arrays)])
    alone = np.array([scorer.score([a])[0].score for a in arrays])
    assert np.allclose(together, before, rtol=SCORE_TOLERANCE)
    assert np.allclose(alone, together, rtol=SCORE_TOLERANCE)
    assert (together > 0).all()


def test_encoder_weights_that_end_after_layer3_load_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.safetensors"
    state = ResNet(18, stages=3).state_dict()
    save_file(state, path)
    detector = PRESET.build(dataclasses.replace(QUICK, encoder_weights=str(path)), 1, 24)
    assert isinstance(detector, PaperDetector)
    own = detector.network.encoder.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())
    deeper = dataclasses.replace(QUICK, encoder_weights=str(path), options={"depth": 50})
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv3\.weight is missing; .* and 153 more"):
        PRESET.build(deeper, 1, 24)


@pytest.mark.parametrize("whole", [True, False])
def test_perceptual_weights_load_from_torchvisions_names(whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "vgg11.safetensors"
    state = {"features.0.weight": torch.rand(64, 3, 3, 3), "features.0.bias": torch.rand(64)}
    if whole:
        state |= {"features.3.weight": torch.rand(128, 64, 3, 3), "features.3.bias": torch.rand(128)}
        state |= {"features.6.weight": torch.rand(256, 128, 3, 3), "classifier.0.bias": torch.rand(4096)}
    save_file(state, path)
    config = dataclasses.replace(QUICK, options={"perceptual_weights": str(path)})
    detector = PRESET.build(config, 3, 24)
    assert isinstance(detector, PaperDetector)
    assert detector.perceptual is not None
    own = detector.perceptual.state_dict()
    assert torch.equal(own["features.0.weight"], state["features.0.weight"])
    assert (
        torch.equal(own["features.3.weight"], state["features.3.weight"])
        if whole
        else own["features.3.weight"].std() > 0
    )
    del state["features.0.bias"]
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"features\.0\.bias is missing"):
        PRESET.build(config, 3, 24)
