"""What a training is asked for, and what it says while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from model.images import MAX_PIXELS

Stage = Literal["read", "fit", "calibrate"]


class TrainingStoppedError(Exception):
    """`stop()` asked for an end: there is no model."""


@dataclass(frozen=True)
class TrainConfig:
    """`size` is (height, width), multiples of 32. `time_budget_s` bounds fitting, but not repeatably."""

    size: tuple[int, int] = (128, 128)
    channels: Literal["auto", 1, 3] = "auto"
    epochs: int = 8
    patience: int = 4
    batch: int = 16
    learning_rate: float = 3e-3
    width: int = 16
    components: int = 256
    seed: int = 0
    false_reject_rate: float = 0.005
    time_budget_s: float | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if min(self.size) < 32 or any(side % 32 for side in self.size):
            raise ValueError(
                f"size is {self.size}, but both sides must be multiples of 32, such as (128, 128)"
            )
        if not 0 < self.false_reject_rate < 1:
            raise ValueError(f"false_reject_rate is {self.false_reject_rate}, but must lie between 0 and 1")
        if self.epochs < 1 or self.batch < 2 or self.patience < 1:
            raise ValueError(f"epochs and patience must be at least 1 and batch at least 2 in {self}")


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
    """Who is told how the training goes, and who may end it."""

    progress: Callable[[Progress], None] | None
    stop: Callable[[], bool] | None
    epochs: int
    started: float = field(default_factory=time.monotonic)
    losses: list[float] = field(default_factory=list)

    def check(self) -> None:
        if self.stop is not None and self.stop():
            raise TrainingStoppedError("the training was stopped before it had a model; start it again")

    def report(self, stage: Stage, eta_s: float = float("nan")) -> None:
        if self.progress is None:
            return
        loss = self.losses[-1] if self.losses else float("nan")
        best = min(self.losses, default=float("nan"))
        seconds = time.monotonic() - self.started
        self.progress(Progress(len(self.losses), self.epochs, loss, best, seconds, eta_s, stage))
