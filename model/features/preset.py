"""Preset `features`: redraw the features of a frozen encoder, best one with ImageNet's weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from model.config import TrainConfig, read_options
from model.corruption import VALIDATION_SEED, corrupt, finding_loss
from model.features.detector import FeaturesDetector
from model.features.network import STRIDE, Compared, NetworkConfig
from model.fitting import cosine, decoupled
from model.preset import Preset
from model.weights import load_file

_CHUNK = 16  # images through the encoder at a time
_NOISE = 0.1  # on standardised features: what is drawn must not hang on their last digit
_LEAST_FEATURE = 1e-3  # of the mean variance, in directions in which features hardly vary
_COMPONENTS = 512


@dataclass(frozen=True)
class Options:
    """`views` is how many times each good image is corrupted; the encoder sees each view once."""

    depth: int = 18
    width: int = 48
    views: int = 1

    def __post_init__(self) -> None:
        if self.depth not in (18, 50):
            raise ValueError(f"option depth is {self.depth}, but is 18 or 50")
        if self.width < 8 or self.views < 1:
            raise ValueError(f"width must be at least 8 and views at least 1 in {self}")


@dataclass(frozen=True)
class Seen:
    """Features of images, as the encoder gives them, in half precision: a training passes them many times."""

    pyramid: list[Tensor]  # (N, F_s, h_s, w_s) each
    mask: Tensor  # (N, 1, h, w), where there is a synthesised defect


class Redrawing:
    """The recipe: draw the good part's features from those of a corrupted one, and find the corruption."""

    detector: FeaturesDetector
    _views: list[Seen]
    _checked: list[Seen]

    def __init__(
        self, detector: FeaturesDetector, good: Tensor, held_out: Tensor, config: TrainConfig
    ) -> None:
        self.detector = detector
        self._good = good
        self._held_out = held_out
        self._views_wanted = read_options(Options, config.options).views
        self._seed = config.seed

    def optimizer(self, config: TrainConfig) -> Optimizer:
        return decoupled(self.detector.network.parameters(), config)

    def rate(self, done: float) -> float:
        return cosine(done)

    @torch.no_grad()
    def prepare(self) -> None:
        self.detector.learn_scale(self._good)
        generator = torch.Generator(self._good.device).manual_seed(self._seed)
        self._views = [self._look(self._good, None)]
        self._views += [self._look(self._good, generator) for _ in range(self._views_wanted)]
        generator.manual_seed(VALIDATION_SEED)
        self._checked = [self._look(self._held_out, None), self._look(self._held_out, generator)]
        usual = self.detector.usual
        usual.learn(self._parts(self._views[0]), _LEAST_FEATURE)
        whole = self.detector.whole
        pooled = [whole.pool(usual.standardise(part)) for part in self._parts(self._views[0])]
        whole.learn(torch.cat(pooled))

    def loss(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        clean = self._standard(self._views[0], chosen)
        seen, mask = clean.clone(), torch.zeros_like(clean[:, :1])
        drawn = torch.randint(
            0, len(self._views) + 1, chosen.shape, device=chosen.device, generator=generator
        )
        for number, view in enumerate(self._views[1:], 1):
            rows = drawn % len(self._views) == number
            seen[rows] = self._standard(view, chosen[rows])
            mask[rows] = view.mask[chosen[rows]].float()
        noise = torch.randn(seen.shape, device=seen.device, generator=generator)
        return self._loss(seen + _NOISE * noise, clean, mask)

    def validate(self) -> float:
        total = 0.0
        for part in torch.split(torch.arange(len(self._held_out)), _CHUNK):
            clean = self._standard(self._checked[0], part)
            for view in self._checked:
                seen = self._standard(view, part)
                total += float(self._loss(seen, clean, view.mask[part].float())) * len(part)
        return total / len(self._held_out) / len(self._checked)

    def finish(self) -> None:
        self.detector.fit_normal(self._parts(self._views[0]), self._parts(self._checked[0]))

    def _loss(self, seen: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
        compared: Compared = self.detector.network(seen.contiguous(memory_format=torch.channels_last))
        found = finding_loss(compared.logits.float(), mask)
        return (compared.drawn.float() - clean).square().mean() + 0.5 * found

    def _look(self, images: Tensor, generator: torch.Generator | None) -> Seen:
        pyramids, masks = [], []
        for part in torch.split(images, _CHUNK):
            mask = torch.zeros_like(part[:, :1])
            if generator is not None:
                corrupted, mask = corrupt(self.detector.standardise(part), generator, clean=0.0)
                part = corrupted * self.detector.deviation + self.detector.mean  # noqa: PLW2901
            pyramids.append([level.half() for level in self.detector.encoder.pyramid(part)])
            masks.append(functional.max_pool2d(mask, STRIDE).half())
        return Seen([torch.cat(levels) for levels in zip(*pyramids, strict=True)], torch.cat(masks))

    def _parts(self, seen: Seen) -> Iterator[Tensor]:
        """All features, a few images at a time: in single precision they would fill the memory."""
        for part in torch.split(torch.arange(len(seen.mask)), _CHUNK):
            yield self._features(seen, part)

    def _features(self, seen: Seen, chosen: Tensor) -> Tensor:
        return self.detector.encoder.join([level[chosen] for level in seen.pyramid])

    def _standard(self, seen: Seen, chosen: Tensor) -> Tensor:
        return self.detector.usual.standardise(self._features(seen, chosen))


def _check(config: TrainConfig) -> None:
    if min(config.size) < 64 or any(side % 32 for side in config.size):
        raise ValueError(
            f"size is {config.size}, but both sides must be multiples of 32 from 64 on, as (256, 256)"
        )
    read_options(Options, config.options)


def _build(config: TrainConfig, channels: int, count: int) -> FeaturesDetector:
    """Build and load weights; raises WeightsError, a ValueError, for a file that doesn't fit."""
    options = read_options(Options, config.options)
    detector = FeaturesDetector(
        NetworkConfig(
            channels=channels,
            size=config.size,
            depth=options.depth,
            width=options.width,
            components=min(_COMPONENTS, count - 1),
        )
    )
    if config.encoder_weights is not None:
        load_file(detector.encoder.resnet, config.encoder_weights, config.encoder_sha256)
    return detector


def _restore(network: Mapping[str, Any]) -> FeaturesDetector:
    return FeaturesDetector(NetworkConfig(**network))


PRESET = Preset(
    name="features",
    summary="redraws a frozen ResNet's features; best with ImageNet weights, minutes on two cores",
    defaults={"size": (256, 256), "epochs": 5, "patience": 5, "learning_rate": 2e-3, "weight_decay": 1e-2},
    check=_check,
    build=_build,
    recipe=Redrawing,  # type: ignore[arg-type]  # takes its own detector
    restore=_restore,
    options=Options,
)
