"""Image-level detection quality on an MVTec-style folder: train/good, test/good, test/<kind>.

    python -m benchmarks.accuracy DIR | --simulated [--bundle FOLDER] [--size 128] [--json]

Without --bundle it trains on train/good with the defaults. The test images are used for figures only.
--simulated makes the folder from the project's own line: 160 good parts to train on, 200 to test, and 25 of
each defect.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from capture.folder import image_files
from capture.simulator import DEFECTS, GOOD, SimulatedLine
from model import bundle
from model.config import Progress, TrainConfig
from model.scoring import Scorer
from model.training import train


def simulate(folder: Path) -> None:
    good = SimulatedLine(seed=0)
    wanted = [("train/good", good, index, GOOD) for index in range(160)]
    tested = SimulatedLine(seed=1)
    wanted += [("test/good", tested, index, GOOD) for index in range(200)]
    for kind, defect in enumerate(DEFECTS):
        wanted += [(f"test/{defect}", tested, 1000 + 25 * kind + index, defect) for index in range(25)]
    for place, line, index, defect in wanted:
        file = folder / place / f"{index:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(line.encode(line.part(index, defect)))


def show(progress: Progress) -> None:
    print(
        f"\r{progress.stage} {progress.epoch}/{progress.epochs} loss {progress.loss:.4f} "
        f"best {progress.best:.4f} {progress.seconds:.0f} s ",
        end="",
        file=sys.stderr,
        flush=True,
    )


def recall_at(good: np.ndarray, bad: np.ndarray, rate: float) -> float:
    """The share of `bad` above the threshold that rejects at most `rate` of these very `good` scores."""
    allowed = int(rate * len(good) + 1e-9)
    return float((bad > np.sort(good)[len(good) - 1 - allowed]).mean())


def measure(folder: Path, scorer: Scorer) -> dict[str, Any]:
    scores: dict[str, np.ndarray] = {}
    images, seconds = 0, 0.0
    scorer.warm_up()
    for kind in sorted(p for p in (folder / "test").iterdir() if p.is_dir()):
        data = [p.read_bytes() for p in image_files(kind)]
        started = time.perf_counter()
        found = scorer.score([scorer.decode(d).array for d in data])
        seconds += time.perf_counter() - started
        images += len(data)
        scores[kind.name] = np.array([s.score for s in found])
    good = scores.pop("good")
    bad = np.concatenate(list(scores.values()))

    def auroc(defects: np.ndarray) -> float:
        labels = np.r_[np.zeros(len(good)), np.ones(len(defects))]
        return float(roc_auc_score(labels, np.r_[good, defects]))

    return {
        "image_auroc": auroc(bad),
        "recall_at_0.5%": recall_at(good, bad, 0.005),
        "recall_at_1%": recall_at(good, bad, 0.01),
        "defects": {
            kind: {"images": len(s), "image_auroc": auroc(s), "caught": float((s > scorer.threshold).mean())}
            for kind, s in scores.items()
        },
        "threshold": scorer.threshold,
        "false_reject_rate": float((good > scorer.threshold).mean()),
        "caught": float((bad > scorer.threshold).mean()),
        "good_images": len(good),
        "images_per_s": images / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--simulated", action="store_true", help="measure on simulated parts")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; without it a model is trained")
    parser.add_argument(
        "--size", type=int, default=TrainConfig().size[0], help="side that images are squashed to"
    )
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.simulated == (options.folder is not None):
        parser.error("give either a folder or --simulated")
    with tempfile.TemporaryDirectory() as made:
        if options.simulated:
            options.folder = Path(made) / "simulated"
            simulate(options.folder)
        run(parser, options)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not (options.folder / "test" / "good").is_dir():
        parser.error(
            f"{options.folder} has no test/good: give a folder with train/good, test/good, test/<kind>"
        )
    report: dict[str, Any] = {"folder": options.folder.name}
    if options.bundle:
        loaded = bundle.load(options.bundle)
    else:
        config = TrainConfig(size=(options.size, options.size), epochs=options.epochs, seed=options.seed)
        started = time.perf_counter()
        data = [p.read_bytes() for p in image_files(options.folder / "train" / "good")]
        trained = train(data, config, device=options.device, progress=show)
        report["training_s"] = time.perf_counter() - started
        report["training_images"] = trained.facts.images
        report["best_epoch"] = trained.facts.best_epoch
        print(file=sys.stderr)
        with tempfile.TemporaryDirectory() as root:
            loaded = bundle.load(bundle.save(trained, Path(root), product=options.folder.name).folder)
    report["calibration"] = loaded.calibration.note
    report |= measure(options.folder, Scorer(loaded, options.device))
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        if name == "defects":
            for kind, row in value.items():
                figures = f"AUROC {row['image_auroc']:.3f}  caught {row['caught']:.1%}"
                print(f"  {kind:<16} {row['images']:>4} images  {figures}")
        else:
            print(f"{name:<18} {value:.4g}" if isinstance(value, float) else f"{name:<18} {value}")


if __name__ == "__main__":
    main()
