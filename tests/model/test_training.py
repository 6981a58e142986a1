import math
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.config import Watch
from model.dataset import GoodImages, read_good
from model.fitting import fit
from model.images import decode
from model.inference import to_batch
from model.presets import configure, preset
from model.pyramid.detector import PyramidDetector
from model.pyramid.network import NetworkConfig
from model.pyramid.preset import Restoring
from model.training import (
    Progress,
    TooFewImagesError,
    TrainConfig,
    Trained,
    TrainingStoppedError,
    UnreadableImageError,
    UselessModelError,
    _name,
    train,
)

Parts = Callable[..., list[bytes]]


@pytest.fixture(autouse=True)
def short_epochs(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of two batches of these few images: what `trained` has learnt is asked, what others do isn't."""
    monkeypatch.setattr("model.fitting._LEAST_BATCHES", 2)


def test_the_same_files_and_seed_give_the_same_model_whatever_their_order(
    make_parts: Parts, quick: TrainConfig
) -> None:
    few = replace(quick, epochs=2)
    parts = make_parts(5, 24)
    before = torch.random.get_rng_state()
    first, second = train(parts, few), train(parts[::-1], few)
    other = train(parts, replace(few, seed=1))
    assert torch.equal(before, torch.random.get_rng_state())  # the caller's random numbers are left alone
    assert first.calibration == second.calibration
    assert first.facts == second.facts
    states = [model.detector.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert first.calibration.threshold != other.calibration.threshold


def test_too_few_images_say_how_many_would_do(make_parts: Parts) -> None:
    parts = make_parts(5, 7)
    for images in ([], parts, parts * 3):  # a copy is not another image
        with pytest.raises(TooFewImagesError, match=r"at least 8, better 796"):
            train(images)


def test_an_unreadable_image_is_named_by_its_place(make_parts: Parts, quick: TrainConfig) -> None:
    parts = make_parts(5, 10)
    parts[6] = parts[6][:200]
    with pytest.raises(UnreadableImageError, match="image 6") as caught:
        train(parts, quick)
    assert caught.value.index == 6


def test_stop_ends_it_within_a_batch_and_leaves_no_model(make_parts: Parts, quick: TrainConfig) -> None:
    seen: list[Progress] = []
    with pytest.raises(TrainingStoppedError):
        train(make_parts(5, 48), quick, progress=seen.append, stop=lambda: any(p.epoch == 2 for p in seen))
    assert max(p.epoch for p in seen) == 2


def test_progress_tells_stage_epoch_losses_and_time_left(make_parts: Parts, quick: TrainConfig) -> None:
    seen: list[Progress] = []
    model = train(make_parts(5, 24), replace(quick, epochs=3), progress=seen.append)
    assert [p.stage for p in seen] == ["read", "fit", "fit", "fit", "calibrate"]
    fits = seen[1:4]
    assert [(p.epoch, p.epochs) for p in fits] == [(1, 3), (2, 3), (3, 3)]
    assert tuple(p.loss for p in fits) == model.facts.losses
    assert fits[-1].best == min(model.facts.losses)
    assert fits[0].eta_s > 0
    assert fits[-1].eta_s == 0
    assert fits[0].seconds <= fits[1].seconds <= fits[2].seconds


def test_early_stopping_ends_with_the_weights_of_the_best_epoch() -> None:
    torch.manual_seed(0)
    good, held_out = torch.rand(32, 1, 32, 32), torch.rand(8, 1, 32, 32)
    config = TrainConfig(size=(32, 32), epochs=60, patience=3, learning_rate=0.3)  # far too fast: it diverges
    detector = PyramidDetector(NetworkConfig(size=(32, 32), width=4))
    watch = Watch(None, None, config.epochs)
    recipe = Restoring(detector, good, held_out, config)
    best_epoch = fit(recipe, len(good), config, watch, torch.device("cpu"))
    assert len(watch.losses) == best_epoch + config.patience < config.epochs
    assert watch.losses[best_epoch - 1] == min(watch.losses)
    assert watch.losses[-1] > min(watch.losses)
    with torch.inference_mode():
        again = recipe.validate()
    assert again == pytest.approx(min(watch.losses), rel=1e-5)


def test_a_time_budget_ends_the_fit(make_parts: Parts, quick: TrainConfig) -> None:
    endless = replace(quick, epochs=10_000, patience=10_000, time_budget_s=1.0)
    model = train(make_parts(5, 24), endless)
    assert 1 <= model.facts.epochs < 1000
    assert np.isfinite(model.calibration.threshold)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"size": (100, 100)}, "multiples of 32"),
        ({"false_reject_rate": 0.0}, "between 0 and 1"),
        ({"epochs": 0}, "at least 1"),
        ({"options": {"widht": 8}}, "no option 'widht'; there are: components, kept, width"),
        ({"options": {"width": "broad"}}, "option width is 'broad'"),
        ({"encoder_weights": "resnet18.pth"}, "takes no encoder weights"),
        ({"name": "piramid"}, "no preset 'piramid'; there are: pyramid"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        configure(**wrong)


def test_colour_is_kept_where_one_image_has_it(make_parts: Parts, quick: TrainConfig) -> None:
    grey = make_parts(5, 10)
    red = BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(red, "PNG")
    watch = Watch(None, None, 1)
    assert read_good(grey, quick, watch).channels == 1
    assert read_good([*grey, red.getvalue()], quick, watch).channels == 3
    assert read_good([*grey, red.getvalue()], replace(quick, channels=1), watch).channels == 1


def test_the_template_knows_the_part_but_not_the_defect(trained: Trained, make_parts: Parts) -> None:
    """What the components leave of an unseen stain is far beyond what they leave of an unseen good part."""
    clean, stained = make_parts(41, 1), make_parts(41, 1, "stain")
    images = [decode(data, channels=1, size=(64, 64)).array for data in (*clean, *stained)]
    network = trained.detector.network
    x = trained.detector.standardise(to_batch(images, torch.device("cpu")))
    left = ((x - network.template(x)) / network.template.spread).abs()
    truth = (x[0] - x[1]).abs() > 0.5
    assert left[1][truth].mean() > 3 * left[0][truth].mean()
    assert (
        0.5 < left[0].square().mean().sqrt() < 2
    )  # the usual residual is that of images it was not fitted to


def _stop_after(epoch: int, parts: list[bytes], config: TrainConfig, checkpoints: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(TrainingStoppedError):
        train(
            parts,
            config,
            progress=seen.append,
            stop=lambda: any(p.epoch == epoch for p in seen),
            checkpoints=checkpoints,
        )


def test_a_stopped_training_goes_on_to_the_same_weights(
    make_parts: Parts, quick: TrainConfig, tmp_path: Path
) -> None:
    parts, config = make_parts(5, 24), replace(quick, epochs=4)
    whole = train(parts, config)
    _stop_after(2, parts, config, tmp_path)
    resumed: list[Progress] = []
    again = train(parts, config, progress=resumed.append, checkpoints=tmp_path)
    assert [p.epoch for p in resumed if p.stage == "fit"] == [2, 3, 4]
    assert again.facts == whole.facts
    assert again.calibration == whole.calibration
    states = [model.detector.state_dict() for model in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not list(tmp_path.iterdir())  # a model that is there needs no checkpoint


def test_a_training_that_is_over_but_not_kept_fits_no_epoch_again(
    make_parts: Parts, quick: TrainConfig, tmp_path: Path
) -> None:
    parts, config = make_parts(5, 24), replace(quick, epochs=2)
    first = train(parts, config, checkpoints=tmp_path, keep_checkpoint=True)
    assert [first.checkpoint] == list(tmp_path.iterdir())
    seen: list[Progress] = []
    steps: list[int] = []
    again = train(
        parts,
        config,
        checkpoints=tmp_path,
        keep_checkpoint=True,
        progress=seen.append,
        stepped=lambda: steps.append(seen[-1].epoch),
    )
    assert [(at.epoch, at.stage) for at in seen] == [(0, "read"), (2, "fit"), (2, "calibrate")]
    assert set(steps) == {0}, "no step but those of reading"
    assert (again.facts, again.calibration) == (first.facts, first.calibration)


def test_a_checkpoint_belongs_to_its_images_and_settings(
    make_parts: Parts, quick: TrainConfig, tmp_path: Path
) -> None:
    parts, config = make_parts(5, 24), replace(quick, epochs=3)
    _stop_after(1, parts, config, tmp_path)
    for other_parts, other in ((parts, replace(config, seed=1)), (parts[:-1], config)):
        begun: list[Progress] = []
        train(other_parts, other, progress=begun.append, checkpoints=tmp_path)
        assert [p.epoch for p in begun if p.stage == "fit"] == [1, 2, 3]


def test_a_checkpoint_of_another_network_or_device_is_another_training(quick: TrainConfig) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda:1")
    detector = preset("pyramid").build(quick, 1, 8)
    good = GoodImages([], [], [], 1, "a" * 64, [], None)
    name = _name(quick, good, detector, cpu)
    assert name == _name(quick, good, preset("pyramid").build(quick, 1, 8), cpu)
    grouped = replace(good, groups_sha256="b" * 64)
    assert name != _name(quick, grouped, detector, cpu)
    assert name != _name(quick, good, detector, cuda)  # its random numbers are of another kind
    detector.register_buffer("newer", torch.zeros(1))
    assert name != _name(quick, good, detector, cpu)


def test_a_training_that_diverges_says_so(
    make_parts: Parts, quick: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyramidDetector, "local_map", lambda self, evidence: evidence[:, 0] * math.nan)
    with pytest.raises(UselessModelError, match="train with another seed"):
        train(make_parts(1, 12, None), quick)


def test_a_checkpoint_that_was_cut_short_is_not_used(
    make_parts: Parts, quick: TrainConfig, tmp_path: Path
) -> None:
    parts, config = make_parts(5, 24), replace(quick, epochs=2)
    _stop_after(1, parts, config, tmp_path)
    kept = next(tmp_path.iterdir())
    kept.write_bytes(kept.read_bytes()[:1000])
    assert train(parts, config, checkpoints=tmp_path).facts.epochs == 2
