"""Trains on a set's good images, scores its test images, and measures. Test images only ever make figures."""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model import bundle
from model.bundle import Bundle
from model.calibration import Calibration
from model.config import Progress, TrainConfig
from model.evaluation.figures import Curves, image_and_pixel_figures
from model.evaluation.masks import fit_map
from model.evaluation.metrics import Values
from model.evaluation.pixels import Map
from model.evaluation.sets import GOOD, Item, LabelledSet, SetError
from model.scoring import Scorer
from model.training import train

SHOWN = 12  # images of each kind of mistake on a contact sheet
_CHUNK = 64  # images decoded at a time

Told = Callable[[str, int, int], None]  # what goes on, how much of it is done, and of how much


@dataclass(frozen=True)
class Case:
    """One image as it was judged, to be looked at; `map` is at the model's full size."""

    item: Item
    score: float
    map: Map


@dataclass(frozen=True)
class Run:
    """One model on one set. `figures` are plain values, as in JSON.

    `escapes` are the defective images with the lowest scores, `alarms` the good ones with the highest,
    whether they lie beyond the threshold or not.
    """

    set_name: str
    seed: int | None
    calibration: Calibration
    figures: dict[str, Any]
    curves: Curves
    escapes: tuple[Case, ...]
    alarms: tuple[Case, ...]


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def train_and_measure(
    labelled: LabelledSet,
    config: TrainConfig,
    *,
    device: str = "cpu",
    told: Told = silent,
    checkpoints: Path | None = None,
) -> Run:
    """Train one model and measure it, as it is after a round through a bundle.

    With a folder `checkpoints` a training that was cut short goes on from its last whole epoch. Raises what
    model.training.train raises, and SetError for a score that is no number.
    """

    def show(progress: Progress) -> None:
        told(f"training {labelled.name}, seed {config.seed}", progress.epoch, progress.epochs)

    started = time.perf_counter()
    good = [item.read() for item in labelled.train]
    trained = train(good, config, device=device, progress=show, checkpoints=checkpoints)
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as root:
        kept = bundle.load(bundle.save(trained, Path(root), product=labelled.name).folder)
    return measure(labelled, kept, device=device, told=told, seed=config.seed, training_s=seconds)


def measure(
    labelled: LabelledSet,
    judge: Bundle,
    *,
    device: str = "cpu",
    told: Told = silent,
    seed: int | None = None,
    training_s: float | None = None,
) -> Run:
    """Score all test images with a bundle. `images_per_s` are decoded and scored, reading apart."""
    scorer = Scorer(judge, device)
    scorer.warm_up()
    masked = any(item.mask is not None for item in labelled.test)
    scores: list[float] = []
    maps: list[Map] = []
    seconds = 0.0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(labelled.test), _CHUNK):
            told(f"scoring {labelled.name}", start, len(labelled.test))
            data = [item.read() for item in labelled.test[start : start + _CHUNK]]
            started = time.perf_counter()
            found = scorer.score([decoded.array for decoded in pool.map(scorer.decode, data)])
            seconds += time.perf_counter() - started
            scores += [one.score for one in found]
            maps += [fit_map(one.map) for one in found] if masked else []
    told(f"scoring {labelled.name}", len(labelled.test), len(labelled.test))
    values = _finite(labelled.test, scores)
    figures, curves = image_and_pixel_figures(labelled, values, maps, judge.calibration)
    figures |= {
        "training_images": judge.manifest["training"]["images"],
        "training_s": training_s,
        "images_per_s": len(values) / seconds,
    }
    rank = np.argsort(values, kind="stable")
    lowest = [i for i in rank if labelled.test[i].kind != GOOD][:SHOWN]
    highest = [i for i in rank[::-1] if labelled.test[i].kind == GOOD][:SHOWN]
    escapes, alarms = (_cases(labelled, scorer, chosen) for chosen in (lowest, highest))
    return Run(labelled.name, seed, judge.calibration, figures, curves, escapes, alarms)


def _finite(items: Sequence[Item], scores: Sequence[float]) -> Values:
    values = np.asarray(scores, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise SetError(
            f"{len(wrong)} of {len(values)} scores are no finite numbers, such as {values[wrong[0]]} for "
            f"{items[wrong[0]].name}: the model is of no use; train with another seed or more images"
        )
    return values


def _cases(labelled: LabelledSet, scorer: Scorer, chosen: Sequence[int]) -> tuple[Case, ...]:
    """Score the few that are shown once more, rather than keep the maps of all."""
    items = [labelled.test[i] for i in chosen]
    found = scorer.score([scorer.decode(item.read()).array for item in items])
    return tuple(Case(item, one.score, one.map) for item, one in zip(items, found, strict=True))
