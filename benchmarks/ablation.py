"""The authors' ablation, on any MVTec-style folder (train/good, test/good, test/<kind>), with preset `paper`.

    python -m benchmarks.ablation DIR [--epochs 400] [--seeds 0,1,2] [--encoder-weights F] [--json]

Trains once for each aggregation, sum of losses and seed, and prints the image AUROC of each beside what the
authors published for that product. Nothing is chosen by the test images.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import torch

from capture.folder import image_files
from model.config import Progress, TrainConfig
from model.evaluation.metrics import auroc
from model.images import decode
from model.inference import judge
from model.presets import configure
from model.training import train

AGGREGATIONS = ("linear", "capsules")
LOSSES = ("mse", "mse+ssim", "mse+ssim+perceptual")
# Image AUROC for MSE, with SSIM, and with the perceptual loss, as published for MVTec AD.
PUBLISHED = {"bottle": (0.86, 0.94, 0.97), "capsule": (0.62, 0.66, 0.77), "carpet": (0.23, 0.25, 0.57)}


@dataclass(frozen=True)
class Cell:
    aggregation: str
    losses: str
    seed: int
    image_auroc: float
    defects: dict[str, float]
    best_epoch: int
    training_s: float


def measure(
    folder: Path, config: TrainConfig, device: str, name: str, checkpoints: Path | None = None
) -> Cell:
    """Train on train/good and score the test folders."""

    def show(progress: Progress) -> None:
        line = f"{name} {progress.stage} {progress.epoch}/{progress.epochs} loss {progress.loss:.4f}"
        print(f"\r{line} {progress.seconds:.0f} s ", end="", file=sys.stderr, flush=True)

    started = time.perf_counter()
    good = [path.read_bytes() for path in image_files(folder / "train" / "good")]
    trained = train(good, config, device=device, progress=show, checkpoints=checkpoints)
    seconds = time.perf_counter() - started
    print(file=sys.stderr)
    detector = trained.detector.to(device)
    channels = detector.config.channels

    def scores(kind: Path) -> np.ndarray:
        arrays = [
            decode(p.read_bytes(), channels=channels, size=config.size).array for p in image_files(kind)
        ]
        return np.array([scored.score for scored in judge(detector, arrays, torch.device(device))])

    found = {kind.name: scores(kind) for kind in _kinds(folder)}
    normal = found.pop("good")
    return Cell(
        aggregation=str(config.options["aggregation"]),
        losses=name.split()[1],
        seed=config.seed,
        image_auroc=auroc(normal, np.concatenate(list(found.values()))),
        defects={kind: auroc(normal, values) for kind, values in found.items()},
        best_epoch=trained.facts.best_epoch,
        training_s=seconds,
    )


def table(cells: Sequence[Cell], product: str) -> str:
    """One line for each aggregation and sum of losses: mean over the seeds, and their spread."""
    lines = [
        "| aggregation | losses | image AUROC | spread | seeds | published |",
        "|---|---|---|---|---|---|",
    ]
    for aggregation, losses in dict.fromkeys((c.aggregation, c.losses) for c in cells):
        found = [c.image_auroc for c in cells if (c.aggregation, c.losses) == (aggregation, losses)]
        known = f"{PUBLISHED[product][LOSSES.index(losses)]:.2f}" if product in PUBLISHED else ""
        lines.append(
            f"| {aggregation} | {losses} | {mean(found):.3f} | {pstdev(found):.3f} | {len(found)} | {known} |"
        )
    return "\n".join(lines)


def options_for(aggregation: str, losses: str, arguments: argparse.Namespace) -> dict[str, str | int | bool]:
    perceptual = "perceptual" in losses
    options: dict[str, str | int | bool] = {
        "aggregation": aggregation,
        "pooling": arguments.pooling,
        "depth": arguments.depth,
        "ssim": "ssim" in losses,
        "perceptual": perceptual,
    }
    if perceptual and arguments.perceptual_weights:
        options["perceptual_weights"] = arguments.perceptual_weights
    return options


def configs(arguments: argparse.Namespace) -> dict[str, TrainConfig]:
    """Name every training that is asked for; raises ValueError before the first one starts."""
    return {
        f"{aggregation} {losses} seed {seed}": configure(
            "paper",
            size=None if arguments.size is None else (arguments.size, arguments.size),
            epochs=arguments.epochs,
            batch=arguments.batch,
            time_budget_s=arguments.time_budget,
            seed=seed,
            encoder_weights=arguments.encoder_weights,
            options=options_for(aggregation, losses, arguments),
        )
        for aggregation in arguments.aggregations
        for losses in arguments.losses
        for seed in arguments.seeds
    }


def _kinds(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "test").iterdir() if path.is_dir())


def _listed(text: str, allowed: Sequence[str]) -> list[str]:
    chosen = [part.strip() for part in text.split(",")]
    if unknown := [part for part in chosen if part not in allowed]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(allowed)}")
    return chosen


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, help="400 unless told")
    parser.add_argument("--batch", type=int, help="60 unless told")
    parser.add_argument("--size", type=int, help="side that images are squashed to: 156 unless told")
    parser.add_argument("--time-budget", type=float, help="seconds of fitting for each training")
    parser.add_argument("--seeds", type=_numbers, default=[0])
    parser.add_argument("--aggregations", type=lambda t: _listed(t, AGGREGATIONS), default=list(AGGREGATIONS))
    parser.add_argument("--losses", type=lambda t: _listed(t, LOSSES), default=list(LOSSES))
    parser.add_argument("--pooling", choices=("spatial", "single"), default="spatial")
    parser.add_argument("--depth", type=int, choices=(18, 50), default=18)
    parser.add_argument("--encoder-weights", help="path or URL of torchvision's ResNet; random without")
    parser.add_argument("--perceptual-weights", help="path or URL of torchvision's VGG-11; random without")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--checkpoints", type=Path, help="folder in which trainings go on that were cut short"
    )
    parser.add_argument("--json", action="store_true")
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    parser, arguments = parse(argv)
    folder: Path = arguments.folder
    needed = [folder / "train" / "good", folder / "test" / "good"]
    if absent := [str(path) for path in needed if not path.is_dir()]:
        parser.error(f"{', '.join(absent)} is no folder: give one with train/good, test/good and test/<kind>")
    if len(_kinds(folder)) < 2:
        parser.error(
            f"{folder / 'test'} has no folder of defects beside good: there is nothing to tell apart"
        )
    try:
        cells = [
            measure(folder, config, arguments.device, name, arguments.checkpoints)
            for name, config in configs(arguments).items()
        ]
    except ValueError as error:  # options, weights or images that can't be used, each with its own sentence
        parser.error(f"{folder}: {error}")
    if arguments.json:
        report: dict[str, Any] = {"folder": folder.name, "cells": [asdict(cell) for cell in cells]}
        print(json.dumps(report, indent=2))
    else:
        print(table(cells, folder.resolve().name))


if __name__ == "__main__":
    main()
