"""Whether a worker's memory stays flat over many inspections, and latency over a long history.

    python -m benchmarks.soak [--inspections 50000] [--rows 1000000] [--json]

A worker whose model sleeps judges through the real pipeline (station, Valkey, PostgreSQL) in tenths, with its
memory taken after each; then latencies at a fixed rate are measured, before and after a history of so many
rows is put into the same database.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import history
from benchmarks.pipeline import ours
from benchmarks.pipeline.pictures import as_files, pictures, quick_model
from benchmarks.pipeline.plant import plant
from benchmarks.pipeline.run import STANDIN_PER_S

_LOAD: Final = 0.5  # of what was carried flat out


def run(inspections: int, rows: int, seconds: float = 20.0, size: int = 128) -> dict[str, Any]:
    """Give `memory_mb` after a tenth and at the end, `latency_ms` before and after, and both as ratios."""
    with tempfile.TemporaryDirectory(prefix="pyramidion-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        files = as_files(folder / "pictures", pictures(None, size))
        with plant(folder, quick_model(folder / "model", size)) as found:
            made = history.set_up(found.engine, rows)
            ours.start_workers(found, 1, 1, STANDIN_PER_S)
            tenth = max(64, inspections // 10)
            flat_out = ours.run(found, files, tenth)
            memory = [found.memory_mb()["workers"]]
            for _ in range(9):  # a run reads its rows at its end: not too many at once
                ours.run(found, files, tenth)
                memory.append(found.memory_mb()["workers"])
            rate = flat_out.images_per_s * _LOAD
            number = max(64, int(rate * seconds))
            history.tidy(found.engine)
            before = ours.run(found, files, number, rate).latency_ms()
            history.load(found.engine, made, 0, rows)
            history.tidy(found.engine)
            after = ours.run(found, files, number, rate).latency_ms()
    return {
        "inspections": 10 * tenth,
        "memory_mb": {"tenth": round(memory[0], 1), "end": round(memory[-1], 1)},
        "memory_ratio": round(memory[-1] / memory[0], 3),
        "rows": rows,
        "images_per_s": round(rate, 1),
        "latency_ms": {"before": before, "after": after},
        "latency_ratio": {name: round(after[name] / before[name], 2) for name in before},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inspections", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20, help="how long latencies are measured each time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = run(options.inspections, options.rows, options.seconds)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:<14} {value}")


if __name__ == "__main__":
    main()
