"""Training on good images only: read, fit, learn what is normal, calibrate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from model.calibration import Calibration, calibrate
from model.config import Progress, TrainConfig, TrainingStoppedError, Watch
from model.dataset import TooFewImagesError, read_good
from model.detector import Detector
from model.fitting import fit
from model.images import UnreadableImageError
from model.inference import judge, to_batch, to_device
from model.network import NetworkConfig

__all__ = [
    "Progress",
    "TooFewImagesError",
    "TrainConfig",
    "Trained",
    "TrainingFacts",
    "TrainingStoppedError",
    "UnreadableImageError",
    "train",
]


@dataclass(frozen=True)
class TrainingFacts:
    images: int
    fitted: int
    validated: int
    calibrated: int
    data_sha256: str
    epochs: int
    best_epoch: int
    losses: tuple[float, ...]  # on the held-out images, one an epoch


@dataclass(frozen=True)
class Trained:
    """`detector` is on the CPU, in evaluation mode, with the weights of the best epoch."""

    detector: Detector
    config: TrainConfig
    calibration: Calibration
    facts: TrainingFacts


def train(
    images: Sequence[bytes],
    config: TrainConfig | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train on image files of good parts.

    The same files in any order with the same seed, device and library versions give the same weights.
    Raises TooFewImagesError, UnreadableImageError (with the index), TrainingStoppedError.
    """
    config = config or TrainConfig()
    watch = Watch(progress, stop, config.epochs)
    watch.report("read")
    good = read_good(images, config, watch)
    place = torch.device(device)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to change
        torch.manual_seed(config.seed)
        components = min(config.components, len(good.fit) - 1)
        detector = Detector(
            NetworkConfig(channels=good.channels, size=config.size, width=config.width, components=components)
        )
    to_device(detector, place)
    best_epoch = fit(detector, to_batch(good.fit, place), to_batch(good.validate, place), config, watch)
    watch.report("calibrate")
    _learn_normal(detector, to_batch(good.validate, place), config.batch)
    scores = [scored.score for scored in judge(detector, good.calibrate, place)]
    calibration = calibrate(scores, config.false_reject_rate)
    facts = TrainingFacts(
        images=good.count,
        fitted=len(good.fit),
        validated=len(good.validate),
        calibrated=len(good.calibrate),
        data_sha256=good.sha256,
        epochs=len(watch.losses),
        best_epoch=best_epoch,
        losses=tuple(watch.losses),
    )
    return Trained(detector.cpu(), config, calibration, facts)


def _learn_normal(detector: Detector, held_out: torch.Tensor, batch: int) -> None:
    evidence = []
    with torch.inference_mode():
        for part in torch.split(held_out, batch):
            x = detector.standardise(part)
            evidence.append(detector.evidence(detector.network(x)))
    detector.fit_normal(torch.cat(evidence))
