"""The import rules hold, and the check really fails where one is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("capture", "workers", "model", "db", "web", "pyramidion")


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_rules_hold() -> None:
    answer = check(ROOT)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("room", "violation"),
    [
        ("capture", "import torch"),
        ("capture", "import workers.celery"),
        ("capture", "import model.images"),
        ("workers", "import web.app"),
        ("workers", "import capture.settings"),
        ("model", "import db.tables"),
        ("model", "import sqlalchemy"),
        ("db", "import celery"),
        ("db", "import model.maps"),
        ("web", "import torch"),
        ("web", "import workers.judge"),
        ("web", "import capture.settings"),
        ("model", "import pyramidion.output"),
        ("capture", "import pyramidion.output"),
        ("db", "import pyramidion.output"),
        ("web", "import pyramidion.output"),
        ("workers", "import pyramidion.output"),
        ("db", "import torch"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, room: str, violation: str) -> None:
    planted = copy / room / "planted.py"
    planted.write_text(violation + "\n", encoding="utf-8")
    try:
        answer = check(copy)
    finally:
        planted.unlink()
    assert answer.returncode == 1, answer.stdout
    assert f"{room}.planted" in answer.stdout


def test_torch_is_found_behind_what_may_be_imported(copy: Path) -> None:
    """A room that may be imported must not bring torch along, which would be loaded at every station."""
    queue, planted = copy / "workers" / "queue.py", copy / "workers" / "planted.py"
    before = queue.read_text(encoding="utf-8")
    planted.write_text("import torch\n", encoding="utf-8")
    queue.write_text(before + "import workers.planted\n", encoding="utf-8")
    try:
        answer = check(copy)
    finally:
        planted.unlink()
        queue.write_text(before, encoding="utf-8")
    assert answer.returncode == 1
    assert "capture never reaches torch, not even through others BROKEN" in answer.stdout
    assert "workers.planted -> torch" in answer.stdout
