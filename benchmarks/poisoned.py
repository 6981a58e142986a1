"""What a training is worth whose good images are partly defective, and nobody has reviewed them.

    python -m benchmarks.poisoned [--parts 300] [--share 0.05] [--size 128] [--arms clean blind]
                                  [--seeds 1 2 3] [--json]

A first model judges simulated parts of three products, and each is trained again on what came of it, through
the real snapshot, training and gate, on a database of its own:
- clean: good parts only;
- poisoned: a share of them is defective, as the first model judges them: what it rejects is not learnt;
- blind: the same, but the first model's threshold lets all of them pass, so that only their scores can tell.
Told are recall on new defects and the rate of false rejects on new good parts, at each model's own threshold,
and recall where each model rejects EQUAL of the good parts: only that can be compared, since a threshold
found on some dozen held-out parts differs from training to training by more than the poison does.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.databases import empty_database
from capture.simulator import DEFECTS, GOOD, SimulatedLine
from db import datasets, inspections, models, results, runs
from db.engine import session_factory
from db.ids import uuid7
from db.imagestore import open_image_store
from db.settings import DatabaseSettings
from db.tables import ModelVersion, TrainingRun
from model import bundle, training
from model.training import TrainConfig, Trained
from workers import train
from workers.runtime import Runtime
from workers.settings import WorkerSettings

ARMS: Final = ("clean", "poisoned", "blind")
FIRST: Final = 200  # images of the first model
TESTED: Final = 200  # new parts of each kind
EQUAL: Final = 0.02  # of the new good parts, at which recalls are compared
ALLOWED: Final = 0.03  # of recall, that a poisoned training may lose


def parts(seed: int, size: int, count: int, defective: int = 0) -> list[tuple[bytes, bool]]:
    """Give images of simulated parts, and which are defective: so many, spread evenly."""
    line = SimulatedLine(seed=seed, size=size)
    bad = {round((n + 0.5) * count / defective) for n in range(defective)}
    kinds = [DEFECTS[n % len(DEFECTS)] if n in bad else GOOD for n in range(count)]
    return [(line.encode(line.part(n, kind)), kind != GOOD) for n, kind in enumerate(kinds)]


def scores(state: Runtime, version: str, images: Sequence[bytes]) -> tuple[list[float], float]:
    """Give a model's scores and its threshold."""
    with state.reading() as session:
        scorer = state.scorer(session.get_one(ModelVersion, version))
    found: list[float] = []
    for start in range(0, len(images), 32):
        arrays = [scorer.decode(data).array for data in images[start : start + 32]]
        found += [one.score for one in scorer.score(arrays)]
    return found, scorer.threshold


def produce(state: Runtime, arm: str, first: Trained, line: Sequence[tuple[bytes, bool]]) -> dict[str, Any]:
    """Let the first model judge the line's parts as a product of their own; gives what it let pass."""
    saved = bundle.save(first, state.bundles, product=arm)
    state.store.put(saved.weights.read_bytes())
    with state.sessions.begin() as session:
        models.ensure_product(session, arm)
        models.register(session, saved.version, arm, saved.manifest, saved.weights_sha256, FIRST)
        models.set_champion(session, arm, saved.version, actor="benchmark", why="the first")
    found, threshold = scores(state, saved.version, [data for data, _ in line])
    if arm == "blind":
        threshold = 1.01 * max(found)
    size = first.config.image_size[0]
    begin = datetime.now(UTC) - timedelta(hours=1)
    new, judged = [], []
    for number, ((data, _), score) in enumerate(zip(line, found, strict=True)):
        key = state.store.put(data)
        at = begin + timedelta(seconds=number)
        new.append(
            inspections.NewInspection(
                id=uuid7(at),
                product=arm,
                station="s1",
                line=None,
                serial=f"{arm}-{number}",
                lot="L1",
                captured_at=at,
                received_at=at,
                image_sha256=Path(key).name,
                image_key=key,
                image_bytes=len(data),
                image_width=size,
                image_height=size,
                image_format="PNG",
            )
        )
        judged.append(
            results.NewResult(
                inspection_id=new[-1].id,
                verdict="ok" if score <= threshold else "ng",
                score=score,
                threshold=threshold,
                model_version=saved.version,
                worker="benchmark",
                attempts=1,
                judged_at=at,
                timings={},
                regions=[],
                error=None,
                map=None,
            )
        )
    with state.sessions.begin() as session:
        inspections.accept(session, new)
        results.record(session, judged)
    bad = {str(one.id) for one, (_, defective) in zip(new, line, strict=True) if defective}
    passed = {str(one.inspection_id) for one in judged if one.verdict == "ok"}
    return {"defective": bad, "passed": passed, "version": saved.version}


def retrain(state: Runtime, arm: str, made: dict[str, Any], tests: dict[str, list[bytes]]) -> dict[str, Any]:
    """Train once more on what was judged, as a training worker does, and measure what comes of it."""
    with state.sessions.begin() as session:
        runs.request(session, arm, "on demand", "benchmark")
    run_id = train.train_next(state, threading.Event())
    with state.reading() as session:
        run = session.get_one(TrainingRun, run_id)
        kept = datasets.find(session, run.dataset or "")
    if run.model_version is None or kept is None:
        raise SystemExit(f"the run of {arm} {run.state}: {run.reason}")
    learnt = {one["id"] for one in kept.entries if one["part"] == "train"}
    return {
        "defective": len(made["defective"]),
        "judged_ok": len(made["defective"] & made["passed"]),
        "trained_on": len(made["defective"] & learnt),
        "good_left_out": kept.summary["left_out"].get("tail", 0)
        - len((made["defective"] & made["passed"]) - {one["id"] for one in kept.entries}),
        "images": len(learnt),
        "gate_passed": run.gate_passed,
        "gate_said": run.gate_said,
        **measured(state, run.model_version, tests),
    }


def measured(state: Runtime, version: str, tests: dict[str, list[bytes]]) -> dict[str, float]:
    bad, threshold = scores(state, version, tests["defects"])
    good, _ = scores(state, version, tests["good"])
    return {
        "recall": round(float(np.mean(np.array(bad) > threshold)), 4),
        "false_rejects": round(float(np.mean(np.array(good) > threshold)), 4),
        "recall_at_equal": round(float(np.mean(np.array(bad) > np.quantile(good, 1 - EQUAL))), 4),
    }


@contextmanager
def runtime(folder: Path) -> Iterator[Runtime]:
    os.environ["PYRAMIDION_HOME"] = str(folder)  # where trainings keep their checkpoints
    with empty_database("sqlite", folder) as engine, ThreadPoolExecutor(2) as threads:
        sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
        store = open_image_store(DatabaseSettings(home=folder, database_url=None))
        (folder / "bundles").mkdir(exist_ok=True)
        settings = WorkerSettings()
        yield Runtime(settings, sessions, reading, store, folder / "bundles", "cpu", threads)


def run(count: int, share: float, size: int, arms: Sequence[str], seed: int) -> dict[str, Any]:
    """Measure the arms; those that are poisoned are compared with the clean one, where it is among them."""
    circumstances = 10 * seed
    first = [data for data, _ in parts(circumstances + 1, size, FIRST)]
    first_model = training.train(first, TrainConfig(size=(size, size), seed=seed))
    tests = {
        "good": [data for data, _ in parts(circumstances + 3, size, TESTED)],
        "defects": [data for data, _ in parts(circumstances + 4, size, TESTED, TESTED)],
    }
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, runtime(Path(folder)) as state:
        for arm in arms:
            line = parts(circumstances + 2, size, count, 0 if arm == "clean" else round(share * count))
            made = produce(state, arm, first_model, line)
            if not report:
                report["first"] = measured(state, made["version"], tests)
            report[arm] = retrain(state, arm, made, tests)
    for arm in report.keys() & set(ARMS[1:]) if "clean" in report else ():
        lost = report["clean"]["recall_at_equal"] - report[arm]["recall_at_equal"]
        report[arm]["recall_lost"] = round(lost, 4)
        report[arm]["holds"] = lost <= ALLOWED or report[arm]["gate_passed"] is False
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=int, default=300, help="that each training may choose from")
    parser.add_argument("--share", type=float, default=0.05, help="of them that are defective")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for seed in options.seeds:
        found[seed] = run(options.parts, options.share, options.size, options.arms, seed)
        if not options.json:
            _print(seed, found[seed])
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for arm in (arm for arm in ARMS[1:] if arm in options.arms and "clean" in options.arms):
        lost = [report[arm]["recall_lost"] for report in found.values()]
        held = sum(report[arm]["holds"] for report in found.values())
        print(
            f"{arm}: recall lost {statistics.mean(lost):.3f} in the mean; held in {held} of {len(lost)} seeds"
        )


def _print(seed: int, report: dict[str, Any]) -> None:
    for arm, told in report.items():
        print(f"seed {seed}, {arm}", flush=True)
        for name, value in told.items():
            print(f"  {name:<15} {value}", flush=True)


if __name__ == "__main__":
    main()
