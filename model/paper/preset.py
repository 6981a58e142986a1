"""Preset `paper`: the authors' network, with the losses and settings that they published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from model.config import TrainConfig, read_options
from model.paper.detector import PaperDetector
from model.paper.losses import total
from model.paper.network import NetworkConfig, cropped
from model.preset import Preset
from model.weights import load_file


@dataclass(frozen=True)
class Options:
    """`depth` is the encoder's, 18 or 50; `perceptual_weights` is a file or URL of torchvision's VGG-11."""

    depth: int = 18
    aggregation: str = "linear"
    pooling: str = "spatial"
    ssim: bool = True
    perceptual: bool = True
    perceptual_weights: str = ""
    perceptual_sha256: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("depth", (18, 50)),
            ("aggregation", ("linear", "capsules")),
            ("pooling", ("spatial", "single")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"option {name} is {value!r}, but is {allowed[0]} or {allowed[1]}")
        if self.perceptual_weights and not self.perceptual:
            raise ValueError("option perceptual_weights is given, but perceptual is false: leave one out")


class Reconstructing:
    """The recipe: draw good images again, and lower the same losses that the score adds up."""

    detector: PaperDetector

    def __init__(self, detector: PaperDetector, good: Tensor, held_out: Tensor, config: TrainConfig) -> None:
        self.detector = detector
        self._batch = config.batch
        self._good = detector.centre(good)
        self._held_out = held_out

    def optimizer(self, config: TrainConfig) -> Optimizer:
        """Adam, as published: its weight decay is a penalty on the loss, which AdamW's is not."""
        return Adam(
            self.detector.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def rate(self, done: float) -> float:  # noqa: ARG002  # constant, as published
        return 1.0

    def prepare(self) -> None:
        """Nothing of this preset has a closed form."""

    def loss(self, chosen: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002  # draws nothing
        return total(self.detector.losses(self._good[chosen])).mean()

    def validate(self) -> float:
        parts = torch.split(self._held_out, self._batch)
        losses = [total(self.detector.losses(self.detector.centre(part))) for part in parts]
        return float(torch.cat(losses).mean())

    def finish(self) -> None:
        self.detector.fit_normal(self._held_out)


def _check(config: TrainConfig) -> None:
    """Raise ValueError also for a size that leaves too little for the network."""
    for side in config.size:
        cropped(side)
    read_options(Options, config.options)


def _build(config: TrainConfig, channels: int, count: int) -> PaperDetector:  # noqa: ARG001  # any count will do
    """Build and load weights; raises WeightsError, a ValueError, for files that don't fit."""
    options = read_options(Options, config.options)
    detector = PaperDetector(
        NetworkConfig(
            channels=channels,
            size=config.size,
            depth=options.depth,
            aggregation=options.aggregation,
            pooling=options.pooling,
            ssim=options.ssim,
            perceptual=options.perceptual,
        )
    )
    if config.encoder_weights is not None:
        load_file(detector.network.encoder, config.encoder_weights, config.encoder_sha256)
    if detector.perceptual is not None:
        detector.perceptual.randomise(config.seed)
        if options.perceptual_weights:
            sha256 = options.perceptual_sha256 or None
            load_file(detector.perceptual.features, options.perceptual_weights, sha256, prefix="features.")
    return detector


def _restore(network: Mapping[str, Any]) -> PaperDetector:
    return PaperDetector(NetworkConfig(**network))


PRESET = Preset(
    name="paper",
    summary="the authors' network: ResNet, pyramid pooling, one latent vector; hours, better with weights",
    defaults={
        "size": (156, 156),
        "epochs": 400,
        "patience": 400,
        "batch": 60,
        "learning_rate": 1e-3,
        "weight_decay": 1e-3,
    },
    check=_check,
    build=_build,
    recipe=Reconstructing,  # type: ignore[arg-type]  # takes its own detector
    restore=_restore,
    options=Options,
)
