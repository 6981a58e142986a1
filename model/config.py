"""What a training is asked for, and what it says while it runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from model.augmentation import AUTO, require
from model.images import MAX_PIXELS
from model.tiling import whole_size

_MOST_TILES = 16  # a side

Stage = Literal["read", "fit", "calibrate"]
Option = str | int | float | bool
Options = TypeVar("Options")


class TrainingStoppedError(Exception):
    """`stop()` asked for an end: there is no model."""


@dataclass(frozen=True)
class TrainConfig:
    """One training. `model.presets.configure` makes it with a preset's own defaults.

    `size` is (height, width): of a whole image, or of each of `tiles` a side. `augment` is auto, none, or
    changes by name (see model.augmentation); `augment_shift` is a share of the image's sides and
    `augment_light` of its brightness. `time_budget_s` bounds fitting, but not repeatably. `options` are the
    preset's own; `encoder_weights` is a file or URL in torchvision's layout, for presets that take one.
    """

    preset: str = "pyramid"
    size: tuple[int, int] = (128, 128)
    channels: Literal["auto", 1, 3] = "auto"
    epochs: int = 8
    patience: int = 4
    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    seed: int = 0
    false_reject_rate: float = 0.005
    time_budget_s: float | None = None
    max_pixels: int = MAX_PIXELS
    encoder_weights: str | None = None
    encoder_sha256: str | None = None
    tiles: int = 1
    augment: str = AUTO
    augment_shift: float = 0.02
    augment_light: float = 0.05
    options: Mapping[str, Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.false_reject_rate < 1:
            raise ValueError(f"false_reject_rate is {self.false_reject_rate}, but must lie between 0 and 1")
        if self.epochs < 1 or self.batch < 2 or self.patience < 1:
            raise ValueError(f"epochs and patience must be at least 1 and batch at least 2 in {self}")
        if not 1 <= self.tiles <= _MOST_TILES:
            raise ValueError(
                f"tiles is {self.tiles}, but is a number of tiles a side from 1 to {_MOST_TILES}"
            )
        if not (0 <= self.augment_shift < 0.5 and 0 <= self.augment_light < 1):
            raise ValueError(
                f"augment_shift is {self.augment_shift} and augment_light {self.augment_light}, but the one "
                "is at least 0 and below 0.5, the other at least 0 and below 1"
            )
        require(self.augment)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "TrainConfig":
        """Read what `dataclasses.asdict` gave, after its way through JSON, as in a bundle's manifest."""
        return cls(**{**said, "size": tuple(said["size"])})

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) that a whole image is scaled to."""
        return whole_size(self.size, self.tiles)


def read_options(kind: type[Options], given: Mapping[str, Option]) -> Options:
    """Make the preset's dataclass of options from what was given, which may be text from a command line.

    Raises ValueError with the name and what is allowed.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no option {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
        values[name] = _as(type(known[name].default), name, value)
    return kind(**values)


def _as(kind: type, name: str, value: Option) -> Option:
    text = str(value).strip()
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "on", "false", "0", "no", "off"):
            return text.lower() in ("true", "1", "yes", "on")
        raise ValueError(f"option {name} is {value!r}, but is true or false")
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        raise ValueError(f"option {name} is {value!r}, but is a number like {kind(1)}") from None


@dataclass(frozen=True)
class Progress:
    """`loss` and `best` are on held-out images, NaN before the first epoch; `eta_s` is NaN while unknown."""

    epoch: int
    epochs: int
    loss: float
    best: float
    seconds: float
    eta_s: float
    stage: Stage


@dataclass
class Watch:
    """Who is told how the training goes, and who may end it; `stepped` is called with each step of it."""

    progress: Callable[[Progress], None] | None
    stop: Callable[[], bool] | None
    epochs: int
    started: float = field(default_factory=time.monotonic)
    losses: list[float] = field(default_factory=list)
    stepped: Callable[[], None] | None = None

    def check(self) -> None:
        """Tell of a step, and raise TrainingStoppedError where it shall be the last."""
        if self.stepped is not None:
            self.stepped()
        self.heed()

    def heed(self) -> None:
        """Raise TrainingStoppedError where that is wanted; whoever only waits has made no step."""
        if self.stop is not None and self.stop():
            raise TrainingStoppedError("the training was stopped before it had a model; start it again")

    def report(self, stage: Stage, eta_s: float = float("nan")) -> None:
        if self.progress is None:
            return
        loss = self.losses[-1] if self.losses else float("nan")
        best = min(self.losses, default=float("nan"))
        seconds = time.monotonic() - self.started
        self.progress(Progress(len(self.losses), self.epochs, loss, best, seconds, eta_s, stage))
