"""Preset `pyramid`, the default: how its detector is trained, on good parts only and without any download."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from model.config import TrainConfig, read_options
from model.corruption import VALIDATION_SEED, corrupt, finding_loss
from model.fitting import cosine, decoupled
from model.preset import Preset
from model.pyramid.detector import PyramidDetector
from model.pyramid.network import NetworkConfig, Restored
from model.pyramid.residuals import structure
from model.pyramid.template import Folds, fit_template


@dataclass(frozen=True)
class Options:
    """`width` is the channels of the encoder's first stage; `components` the most that draw a part.

    `kept` is how many good parts are remembered whole, to tell how unlike all of them an image is.
    """

    width: int = 16
    components: int = 256
    kept: int = 4096


class Restoring:
    """The recipe: restore corrupted good images, and find what was corrupted."""

    detector: PyramidDetector
    _folds: Folds

    def __init__(
        self, detector: PyramidDetector, good: Tensor, held_out: Tensor, config: TrainConfig
    ) -> None:
        self.detector = detector
        self._batch = config.batch
        self._good = good
        self._held_out = held_out

    def optimizer(self, config: TrainConfig) -> Optimizer:
        return decoupled(self.detector.parameters(), config)

    def rate(self, done: float) -> float:
        return cosine(done)

    def prepare(self) -> None:
        self.detector.learn_scale(self._good)
        self.detector.gist.fit(torch.cat([self._good, self._held_out]))
        self._good = self.detector.standardise(self._good)
        self._held_out = self.detector.standardise(self._held_out)
        self._folds = fit_template(self.detector.network.template, self._good)

    def loss(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        clean = self._good[chosen]
        corrupted, mask = corrupt(clean, generator)
        drawn = self._folds.draw(corrupted, chosen)
        restored = self.detector.network(corrupted.contiguous(memory_format=torch.channels_last), drawn)
        return loss(restored, clean, mask)

    def validate(self) -> float:
        generator = torch.Generator(self._held_out.device).manual_seed(VALIDATION_SEED)
        total = 0.0
        for clean in torch.split(self._held_out, self._batch):
            corrupted, mask = corrupt(clean, generator)
            total += float(loss(self.detector.network(corrupted), clean, mask)) * len(clean)
        return total / len(self._held_out)

    def finish(self) -> None:
        parts = torch.split(self._held_out, self._batch)
        evidence = [self.detector.evidence(self.detector.network(part)) for part in parts]
        self.detector.fit_normal(torch.cat(evidence))


def loss(restored: Restored, clean: Tensor, mask: Tensor) -> Tensor:
    """Restoration (pixels, structure) and the comparison's cross entropy (defect and rest in equal parts)."""
    image, logits = restored.image.float(), restored.logits.float()
    target = functional.max_pool2d(mask, 2)
    found = finding_loss(logits, target)
    pixels = (image - clean).abs().mean() + (image - clean).square().mean()
    return pixels + structure(image, clean).mean() + 0.5 * found


def _check(config: TrainConfig) -> None:
    if min(config.size) < 32 or any(side % 32 for side in config.size):
        raise ValueError(f"size is {config.size}, but both sides must be multiples of 32, such as (128, 128)")
    options = read_options(Options, config.options)
    if options.width < 4 or options.components < 1 or options.kept < 1:
        raise ValueError(f"width must be at least 4, components and kept at least 1 in {options}")
    if config.encoder_weights is not None:
        raise ValueError("the preset pyramid takes no encoder weights; `features` and `paper` do")


def _build(config: TrainConfig, channels: int, count: int) -> PyramidDetector:
    options = read_options(Options, config.options)
    components = min(options.components, count - 1)
    return PyramidDetector(
        NetworkConfig(
            channels=channels,
            size=config.size,
            width=options.width,
            components=components,
            kept=min(options.kept, count),
        )
    )


def _restore(network: Mapping[str, Any]) -> PyramidDetector:
    return PyramidDetector(NetworkConfig(**network))


PRESET = Preset(
    name="pyramid",
    summary="pyramid autoencoder with a comparison head; no download, minutes on two cores",
    defaults={},
    check=_check,
    build=_build,
    recipe=Restoring,  # type: ignore[arg-type]  # takes its own detector
    restore=_restore,
    options=Options,
    augments=True,
)
