"""The same journey with photographs of real parts, where they lie beside the repository."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.data
def test_coloured_cubes_are_judged_each_once_with_a_map(
    data_folder: Path, use_broker: Any, run: Any, processes: Any, wait: Any, tmp_path: Path
) -> None:
    cubes = data_folder / "cubes"
    log = tmp_path / "worker.log"
    processes("worker", log=log)
    trained = run("train", "cubes", "--images", str(cubes / "train" / "good"), "--size", "64", "--json")
    assert trained.code == 0, trained.err
    wait(lambda: " ready." in log.read_text(encoding="utf-8"), "the worker", 60)
    captured = run(
        "capture", str(cubes / "test"), "--product", "cubes", "--station", "s1", "--wait", "--json"
    )
    assert captured.code == 0, captured.err
    assert captured.json()["accepted"] == 110

    measured = subprocess.run(
        [sys.executable, "-m", "benchmarks.verdicts", str(cubes / "test"), "--product", "cubes", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    report = json.loads(measured.stdout)
    assert (report["accepted"], report["judged"]) == (110, 110)
    assert (report["files_without_verdict"], report["verdicts_without_map"]) == (0, 0)
    assert report["image_auroc"] > 0.8
