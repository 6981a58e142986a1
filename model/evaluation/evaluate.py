"""The whole evaluation: a folder, some seeds, every class where there are any, and one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from model.config import TrainConfig
from model.evaluation.idx import is_idx, one_class, read_idx
from model.evaluation.mvtec import read_mvtec
from model.evaluation.run import Run, Told, measure, silent, train_and_measure
from model.evaluation.sets import LabelledSet, SetError
from model.evaluation.summary import summarise

Sets = Mapping[str | None, LabelledSet]  # by class; the one of a folder without classes by None

# MNIST's 28 pixels rounded up to what the networks take: more would be interpolation, and slow.
IDX_SIZE = (32, 32)


@dataclass(frozen=True)
class Evaluation:
    """`report` is plain values, as in JSON; `runs` are those of each class, one a seed."""

    sets: Sets
    runs: Mapping[str | None, Sequence[Run]]
    report: dict[str, Any]


def open_sets(folder: Path, classes: Sequence[str] | None = None, *, training: bool = True) -> Sets:
    """Read a folder in MVTec's layout, or of four IDX files: then one set for each class that is wanted.

    Raises SetError.
    """
    if not (folder.is_dir() and is_idx(folder)):
        if classes:
            raise SetError(f"{folder} is in MVTec's layout: it has no classes to choose from")
        return {None: read_mvtec(folder, training=training)}
    data = read_idx(folder)
    return {name: one_class(data, name) for name in classes or data.classes}


def evaluate(
    sets: Sets,
    config: TrainConfig,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    told: Told = silent,
    checkpoints: Path | None = None,
) -> Evaluation:
    """Train and measure a model for each seed and class; `checkpoints` and errors as of train_and_measure."""

    def run(labelled: LabelledSet, seed: int) -> Run:
        own = replace(config, seed=seed)
        return train_and_measure(labelled, own, device=device, told=told, checkpoints=checkpoints)

    runs = {name: [run(labelled, seed) for seed in seeds] for name, labelled in sets.items()}
    asked = {
        "preset": config.preset,
        "size": list(config.size),
        "epochs": config.epochs,
        "tiles": config.tiles,
        "augment": config.augment,
        "encoder_weights": config.encoder_weights,
        "encoder_sha256": config.encoder_sha256,
        "options": dict(config.options),
    }
    return _report(sets, runs, asked, device)


def evaluate_bundle(sets: Sets, judge: Bundle, *, device: str = "cpu", told: Told = silent) -> Evaluation:
    """Measure a bundle as it is. Raises SetError for several classes: it knows one kind of part."""
    if len(sets) > 1:
        raise SetError(
            f"a bundle knows one class, but there are {len(sets)}: name the one that it was trained on"
        )
    runs = {name: [measure(one, judge, device=device, told=told)] for name, one in sets.items()}
    size = list(judge.detector.config.size)
    return _report(
        sets, runs, {"bundle": judge.version, "preset": judge.detector.preset, "size": size}, device
    )


def _report(
    sets: Sets, runs: Mapping[str | None, Sequence[Run]], asked: Mapping[str, Any], device: str
) -> Evaluation:
    first = next(iter(sets.values()))
    name = first.name if None in sets else first.name.rsplit(" ", 1)[0]
    facts = {"set": name, "layout": first.layout, **asked, "device": device}
    return Evaluation(sets, runs, {**facts, **summarise(sets, runs)})
