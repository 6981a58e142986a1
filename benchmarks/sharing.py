"""What a training takes from scoring on the same machine, and which setting bounds it.

    python -m benchmarks.sharing [--size 128] [--seconds 20] [--turns 3] [--json]

Scoring workers, one to each core, judge what a station brings as fast as it can: alone, and in turns with it
beside a training that stands back for them by so much (PYRAMIDION_TRAINING_NICE), with one thread
(PYRAMIDION_TRAINING_THREADS). The medians of the turns are told.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.pipeline import ours
from benchmarks.pipeline.pictures import as_files, pictures, quick_model
from benchmarks.pipeline.plant import Plant, plant

_NICE: Final = (0, 10, 19)


def run(size: int, seconds: float, turns: int) -> dict[str, Any]:
    """Give images a second without a training and beside one, by its niceness, and the share that is left."""
    with tempfile.TemporaryDirectory(prefix="pyramidion-sharing-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        files = as_files(folder / "pictures", pictures(None, size))
        with plant(folder, quick_model(folder / "model", size)) as found:
            ours.start_workers(found, ours.cores(), 1)
            count = max(64, int(ours.run(found, files, 128).images_per_s * seconds))
            alone: list[float] = []
            beside: dict[int, list[float]] = {nice: [] for nice in _NICE}
            for _ in range(turns):
                alone.append(ours.run(found, files, count).images_per_s)
                for nice in _NICE:
                    beside[nice].append(_beside(found, files, count, size, nice))
    whole = statistics.median(alone)
    left = {str(nice): statistics.median(rates) for nice, rates in beside.items()}
    return {
        "size": size,
        "cores": ours.cores(),
        "alone_images_per_s": round(whole, 1),
        "beside_images_per_s": {nice: round(rate, 1) for nice, rate in left.items()},
        "share": {nice: round(rate / whole, 2) for nice, rate in left.items()},
    }


def _beside(found: Plant, files: Path, count: int, size: int, nice: int) -> float:
    words = ["--size", str(size), "--nice", str(nice), "--threads", "1"]
    found.start("training", ["benchmarks.pipeline.training", *words], "training")
    try:
        return ours.run(found, files, count).images_per_s
    finally:
        found.end("training")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20, help="how long each is measured in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = run(options.size, options.seconds, options.turns)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:<20} {value}")


if __name__ == "__main__":
    main()
