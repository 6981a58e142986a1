"""Preset `features`, through the same training, bundle and scoring as every preset."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model import bundle
from model.features.detector import FeaturesDetector
from model.features.preset import PRESET
from model.images import decode
from model.inference import SCORE_TOLERANCE, judge, to_batch
from model.presets import configure
from model.resnet import ResNet
from model.scoring import Scorer
from model.training import Trained, train
from model.weights import WeightsError

Parts = Callable[[int, int, str | None], list[bytes]]
CPU = torch.device("cpu")
QUICK = configure(
    "features", size=(64, 64), epochs=3, batch=8, false_reject_rate=0.1, options={"width": 16, "views": 1}
)


def _arrays(files: list[bytes]) -> list[np.ndarray]:
    return [decode(data, channels=1, size=(64, 64)).array for data in files]


def _images(files: list[bytes]) -> torch.Tensor:
    return to_batch(_arrays(files), CPU)


@pytest.fixture(scope="module")
def features(make_parts: Parts) -> Trained:
    """With random weights: they must do, where no file is at hand."""
    return train(make_parts(1, 48, None), QUICK)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": (100, 128)}, "multiples of 32"),
        ({"size": (32, 32)}, "from 64 on"),
        ({"options": {"depth": 34}}, "18 or 50"),
        ({"options": {"views": 0}}, "views at least 1"),
        ({"options": {"pooling": "none"}}, "there are: depth, views, width"),
    ],
)
def test_what_can_not_be_trained_is_said(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configure("features", **given)


def test_training_lowers_the_held_out_loss(features: Trained) -> None:
    assert features.facts.losses[-1] < features.facts.losses[0]


def test_stained_parts_score_higher_than_good_ones(features: Trained, make_parts: Parts) -> None:
    good = [s.score for s in judge(features.detector, _arrays(make_parts(5, 12, None)), CPU)]
    bad = [s.score for s in judge(features.detector, _arrays(make_parts(6, 12, "stain")), CPU)]
    assert min(good + bad) > 0
    assert np.median(bad) > max(good)


def test_a_change_is_on_the_map_where_it_is(features: Trained, make_parts: Parts) -> None:
    image = _images(make_parts(7, 1, None))
    spoilt = image.clone()
    spoilt[:, :, 8:20, 40:52] = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        judged, before = features.detector(spoilt), features.detector(image)
    assert judged.score > before.score
    row, column = divmod(int(judged.map[0].argmax()), 64)
    assert max(abs(row - 14), abs(column - 46)) <= 16  # two places of the grid


def test_a_bundle_stands_alone(features: Trained, make_parts: Parts, tmp_path: Path) -> None:
    """The encoder's weights travel with it: the same scores, one by one and together, after a round trip."""
    loaded = Scorer(bundle.load(bundle.save(features, tmp_path, product="washer").folder))
    arrays = _arrays(make_parts(8, 5, None))
    before = [s.score for s in judge(features.detector, arrays, CPU)]
    together = [s.score for s in loaded.score(arrays)]
    alone = [loaded.score([array])[0].score for array in arrays]
    # Below 1, where good parts are, a logarithm stands behind the score: what it rounds is absolute.
    assert together == pytest.approx(before, rel=SCORE_TOLERANCE, abs=SCORE_TOLERANCE)
    assert alone == pytest.approx(together, rel=SCORE_TOLERANCE, abs=SCORE_TOLERANCE)


def test_bfloat16_hardly_moves_a_score(features: Trained, make_parts: Parts) -> None:
    arrays = _arrays(make_parts(9, 4, None) + make_parts(9, 4, "stain"))
    exact = [s.score for s in judge(features.detector, arrays, CPU)]
    rounded = [s.score for s in judge(features.detector, arrays, CPU, bf16=True)]
    assert rounded == pytest.approx(exact, rel=0.01)
    assert rounded != exact


def test_the_encoder_is_not_trained(features: Trained) -> None:
    torch.manual_seed(QUICK.seed)
    untrained = PRESET.build(QUICK, 1, 30)
    assert isinstance(untrained, FeaturesDetector)
    assert isinstance(features.detector, FeaturesDetector)
    now = features.detector.encoder.state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in untrained.encoder.state_dict().items())
    assert not any(p.requires_grad for p in features.detector.encoder.parameters())


def test_weights_are_loaded_from_a_file_that_ends_after_layer3(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = ResNet(18, 3).state_dict()
    save_file(state, tmp_path / "resnet.safetensors")
    config = configure("features", encoder_weights=str(tmp_path / "resnet.safetensors"))
    detector = PRESET.build(config, 3, 30)
    assert isinstance(detector, FeaturesDetector)
    loaded = detector.encoder.resnet.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in state.items())
    with pytest.raises(WeightsError, match="doesn't fit"):
        PRESET.build(
            configure("features", encoder_weights=config.encoder_weights, options={"depth": 50}), 3, 30
        )


def test_colour_and_oblong_images(make_parts: Parts) -> None:
    config = configure(
        "features", size=(64, 96), channels=3, epochs=1, batch=4, options={"width": 8, "views": 1}
    )
    trained = train(make_parts(3, 12, None), config)
    with torch.inference_mode():
        judged = trained.detector(torch.rand(2, 3, 64, 96))
    assert judged.map.shape == (2, 64, 96)
    assert torch.isfinite(judged.score).all()
