"""Training on good images only: read, fit, learn what is normal, calibrate."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from model import checkpoint, drift, tail
from model.appearance import look
from model.augmentation import AUTO, Measured, choose, multiply, named
from model.calibration import Calibration, trimmed
from model.config import Progress, TrainConfig, TrainingStoppedError, Watch
from model.dataset import GoodImages, TooFewImagesError, read_good
from model.detector import Detector
from model.fitting import Recipe, fit
from model.images import UnreadableImageError
from model.inference import judge_alone, to_batch, to_device
from model.loading import for_scoring
from model.presets import preset
from model.pyramid.gist import Unexplained
from model.tiling import Tiled, cut
from model.together import fit_together

__all__ = [
    "Progress",
    "TooFewImagesError",
    "TrainConfig",
    "Trained",
    "TrainingFacts",
    "TrainingStoppedError",
    "UnreadableImageError",
    "UselessModelError",
    "train",
]

_MEASURED = 1000  # images at most: more would not change which augmentation is harmless


class UselessModelError(Exception):
    """Training diverged: the model's scores are no numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__(
            f"the training with seed {seed} diverged: its scores are no numbers; train with another seed, a "
            "smaller learning rate, or more good images"
        )


@dataclass(frozen=True)
class TrainingFacts:
    images: int
    fitted: int
    validated: int
    calibrated: int
    data_sha256: str
    processes: int
    epochs: int
    best_epoch: int
    losses: tuple[float, ...]  # on the held-out images, one an epoch
    augmentation: tuple[Measured, ...]


@dataclass(frozen=True)
class Trained:
    """`detector` is on the CPU, in evaluation mode, with the weights of the best epoch."""

    detector: Detector
    config: TrainConfig
    calibration: Calibration
    facts: TrainingFacts
    drift: dict[str, Any]  # what is usual, as model.drift.reference sums it up
    checkpoint: Path | None = None  # for whoever keeps the model to remove


def train(
    images: Sequence[bytes],
    config: TrainConfig | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    stepped: Callable[[], None] | None = None,
    checkpoints: Path | None = None,
    keep_checkpoint: bool = False,
    groups: Sequence[str] | None = None,
    processes: int = 1,
    trim: float = 0.0,
    trusted: Collection[int] = (),
) -> Trained:
    """Train on image files of good parts.

    `groups` names the group of each image, such as a part's serial: images of one group only fit, only
    validate, or only calibrate. Without it, each file is its own group. Several `processes` fit together,
    each on a CUDA device of its own, or on the processor (`model.together`).

    Where nobody has looked at the images, some may be defects, and one among those that calibrate sets a
    threshold that lets its like pass. With `trim`, up to that share of these is left out for a score far
    above the others (`model.tail`); none of the images whose places are in `trusted`.

    The same files in any order with the same seed, device and library versions give the same weights. With
    a folder `checkpoints`, a training that was stopped or killed goes on from its last whole epoch when the
    same one is asked for again, and ends with the weights that it would have had. With `keep_checkpoint` it
    also does after its end, until whoever keeps the model removes `Trained.checkpoint`.

    `stop` is asked with every step, and more often; `stepped` is called with every step.
    Raises TooFewImagesError, UnreadableImageError (with the index), TrainingStoppedError, UselessModelError,
    model.together.TogetherError, and ValueError for a config that its preset can't train.
    """
    config = config or TrainConfig()
    watch = Watch(progress, stop, config.epochs, stepped=stepped)
    place = torch.device(device)
    with ExitStack() as stack:
        if processes > 1:
            keep_checkpoint = keep_checkpoint and checkpoints is not None
            checkpoints = checkpoints or Path(stack.enter_context(TemporaryDirectory()))
            read_good(images, config, watch, groups)  # what can't be trained on is told before they start
            fit_together(images, groups, config, device, processes, watch, checkpoints)
        fitted = _fit(images, config, place, watch, groups, checkpoints)
    good, detector = fitted.good, fitted.recipe.detector
    watch.report("calibrate")
    with torch.inference_mode():
        fitted.recipe.finish()
    if config.tiles > 1:
        detector = to_device(Tiled(detector, config.tiles), place).eval()
    # One by one, as a score near the threshold is taken: the image that sets it must not lie beyond it.
    scores = [scored.score for scored in judge_alone(for_scoring(detector, place), good.calibrate, place)]
    if not all(map(math.isfinite, scores)):
        raise UselessModelError(config.seed)
    high = tail.far(scores, trim, [i for i, at in enumerate(good.calibrate_at) if at in trusted])
    calibration = trimmed(scores, high, config.false_reject_rate)
    facts = TrainingFacts(
        images=good.count,
        fitted=len(good.fit),
        validated=len(good.validate),
        calibrated=len(good.calibrate),
        data_sha256=good.sha256,
        processes=processes,
        epochs=len(watch.losses),
        best_epoch=fitted.best_epoch,
        losses=tuple(watch.losses),
        augmentation=tuple(fitted.measured),
    )
    kept = fitted.kept if keep_checkpoint else None
    if fitted.kept is not None and kept is None:
        fitted.kept.unlink(missing_ok=True)
    usual = drift.reference(scores, [look(one) for one in (*good.fit, *good.validate, *good.calibrate)])
    return Trained(detector.cpu(), config, calibration, facts, usual, kept)


def fit_only(
    images: Sequence[bytes],
    config: TrainConfig,
    *,
    device: str,
    groups: Sequence[str] | None,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool],
    stepped: Callable[[], None] | None,
    checkpoints: Path,
) -> None:
    """Do the part of `train` that processes of a team do together; what they did is in the checkpoint.

    Raises what `train` raises.
    """
    watch = Watch(progress, stop, config.epochs, stepped=stepped)
    _fit(images, config, torch.device(device), watch, groups, checkpoints)


@dataclass(frozen=True)
class _Fitted:
    good: GoodImages
    recipe: Recipe
    measured: list[Measured]
    best_epoch: int
    kept: Path | None  # the checkpoint


def _fit(
    images: Sequence[bytes],
    config: TrainConfig,
    place: torch.device,
    watch: Watch,
    groups: Sequence[str] | None,
    checkpoints: Path | None,
) -> _Fitted:
    chosen = preset(config.preset)
    chosen.check(config)
    watch.report("read")
    good = read_good(images, config, watch, groups)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to change
        torch.manual_seed(config.seed)
        shown = _tiles(to_batch(good.fit, place), config)
        held_out = _tiles(to_batch(good.validate, place), config)
        measured = _augmentation(shown, held_out, config) if chosen.augments else []
        taken = [one.name for one in measured if one.taken]
        shown = multiply(shown, taken, config.augment_shift, config.augment_light)
        detector = to_device(chosen.build(config, good.channels, len(shown)), place)
        recipe = chosen.recipe(detector, shown, held_out, config)
        kept = None if checkpoints is None else checkpoints / _name(config, good, detector, place)
        if kept is not None:
            checkpoint.remove_stale(kept.parent, kept)
        best_epoch = fit(recipe, len(shown), config, watch, place, kept)
    return _Fitted(good, recipe, measured, best_epoch, kept)


def _tiles(images: Tensor, config: TrainConfig) -> Tensor:
    return images if config.tiles == 1 else cut(images, config.size)


def _augmentation(good: Tensor, held_out: Tensor, config: TrainConfig) -> list[Measured]:
    """Say what may be done to good images, measured by how far a linear autoencoder puts held-out ones."""
    shift, light = config.augment_shift, config.augment_light
    if config.augment != AUTO:
        return named(config.augment, square=config.size[0] == config.size[1])
    distance = Unexplained.of(good[:: math.ceil(len(good) / _MEASURED)])
    return choose(held_out[:_MEASURED], distance, shift, light)


def _name(config: TrainConfig, good: GoodImages, detector: Detector, device: torch.device) -> str:
    """Name the checkpoint: another image, setting, network, kind of device or torch is another training."""
    asked = {
        "config": dataclasses.asdict(config),
        "data": good.sha256,
        "network": {name: list(tensor.shape) for name, tensor in detector.state_dict().items()},
        "device": device.type,
        "torch": torch.__version__,
        "format": checkpoint.FORMAT,
    }
    if good.groups_sha256 is not None:
        asked["groups"] = good.groups_sha256
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{digest[:32]}.safetensors"
