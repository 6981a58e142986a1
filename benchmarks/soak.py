"""Whether a worker's memory stays flat over many inspections, and latency over a long history.

    python -m benchmarks.soak [--inspections 50000] [--rows 1000000] [--json]

A worker whose model sleeps judges through the real pipeline (station, Valkey, PostgreSQL) in tenths, with its
memory taken after each. Then a history of so many rows is put into its database, and latencies at half of
what it carries are measured in turns with those of a second plant that has no history.
"""

import argparse
import json
import signal
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import history
from benchmarks.pipeline import ours
from benchmarks.pipeline.pictures import as_files, pictures, quick_model
from benchmarks.pipeline.plant import Plant, plant
from benchmarks.pipeline.run import STANDIN_PER_S

_LOAD: Final = 0.5  # of what was carried flat out
_TURNS: Final = 3


def run(inspections: int, rows: int, seconds: float = 20.0, size: int = 128) -> dict[str, Any]:
    """Give `memory_mb` after a tenth and at the end, `latency_ms` with and without history, and ratios."""
    with tempfile.TemporaryDirectory(prefix="pyramidion-soak-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        files = as_files(folder / "pictures", pictures(None, size))
        model = quick_model(folder / "model", size)
        plants: dict[str, Plant] = {}
        for kind in ("with", "without"):
            (folder / kind).mkdir(mode=0o755)
            plants[kind] = stack.enter_context(plant(folder / kind, model))
        old = plants["with"]
        made = history.set_up(old.engine, rows)
        ours.start_workers(old, 1, 1, STANDIN_PER_S)
        tenth = max(64, inspections // 10)
        flat_out = ours.run(old, files, tenth)
        memory = [old.memory_mb()["workers"]]
        for _ in range(9):  # a run reads its rows at its end: not too many at once
            ours.run(old, files, tenth)
            memory.append(old.memory_mb()["workers"])
        rate = flat_out.images_per_s * _LOAD
        history.load(old.engine, made, 0, rows)
        ours.start_workers(plants["without"], 1, 1, STANDIN_PER_S)
        latencies = _by_turns(plants, files, max(64, int(rate * seconds)), rate)
    return {
        "inspections": 10 * tenth,
        "memory_mb": {"tenth": round(memory[0], 1), "end": round(memory[-1], 1)},
        "memory_ratio": round(memory[-1] / memory[0], 3),
        "rows": rows,
        "images_per_s": round(rate, 1),
        "latency_ms": latencies,
        "latency_ratio": {
            name: round(latencies["with"][name] / latencies["without"][name], 2) for name in latencies["with"]
        },
    }


def _by_turns(plants: dict[str, Plant], files: Path, number: int, rate: float) -> dict[str, dict[str, float]]:
    """Measure both plants in turns, so that a busy moment meets both; gives each one's medians."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in plants}
    for one in plants.values():
        ours.run(one, files, 64)
        history.tidy(one.engine)
        one.pause("workers")
    for _ in range(_TURNS):
        for kind, one in plants.items():
            one.go_on("workers")
            found[kind].append(ours.run(one, files, number, rate).latency_ms())
            one.pause("workers")
    for one in plants.values():
        one.go_on("workers")  # what is paused can't end
    return {
        kind: {name: round(statistics.median(turn[name] for turn in turns), 1) for name in turns[0]}
        for kind, turns in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inspections", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20, help="how long latencies are measured in a turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it started ends with it
    report = run(options.inspections, options.rows, options.seconds)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:<14} {value}")


if __name__ == "__main__":
    main()
