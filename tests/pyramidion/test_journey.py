"""The command line as a user meets it: train, capture, results, show; and every mistake gets a sentence."""

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capture.simulator import GOOD, SimulatedLine

READY_S = 90.0
# A model that says nothing, for tests of what is around it.
QUICK = ("--size", "64", "--epochs", "1", "--augment", "none")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good parts to learn from, and 3 good and 3 bad ones to judge, with one file that is no image."""
    folder = tmp_path_factory.mktemp("images")
    line = SimulatedLine(seed=3, size=96)
    for index in range(40):
        _save(line, folder / "good" / f"{index}.png", index, GOOD)
    for index in range(3):
        _save(line, folder / "line" / f"ok-{index}.png", 100 + index, GOOD)
        _save(line, folder / "line" / f"ng-{index}.jpg", 200 + index, "missing")
    (folder / "line" / "broken.png").write_bytes((folder / "line" / "ok-0.png").read_bytes()[:500])
    return folder


def _save(line: SimulatedLine, file: Path, index: int, defect: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(line.encode(line.part(index, defect), "jpeg" if file.suffix == ".jpg" else "png"))


@pytest.fixture(params=["single machine", "plant"])
def place(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """SQLite and the embedded broker; or PostgreSQL and a packaged Redis, by setting two URLs."""
    if request.param == "plant":
        monkeypatch.setenv("PYRAMIDION_DATABASE_URL", request.getfixturevalue("new_postgres_database")())
        monkeypatch.setenv("PYRAMIDION_BROKER_URL", request.getfixturevalue("redis_server").url)
    else:
        monkeypatch.setenv("PYRAMIDION_BROKER_URL", request.getfixturevalue("broker").url)
    return str(request.param)


def test_from_a_folder_of_good_parts_to_a_picture_of_the_defect(
    place: str, run: Any, images: Path, processes: Any, wait: Any, tmp_path: Path
) -> None:
    if place == "plant":
        refused = run("results")
        assert refused.code == 1
        assert "pyramidion migrate" in refused.err
        assert run("migrate").code == 0

    log = tmp_path / "worker.log"
    processes("worker", log=log)
    wait(lambda: log.exists() and " ready." in log.read_text(encoding="utf-8"), "the worker", READY_S)
    asked = ("--images", str(images / "good"), "--size", "96", "--epochs", "4")
    trained = run("train", "flange", *asked, "--json")
    assert trained.code == 0, trained.err
    assert trained.json()["images"] == 40

    words = ("capture", str(images / "line"), "--product", "flange", "--station", "s1", "--lot", "L7")
    captured = run(*words, "--serial-from-name", "--wait", "--json")
    assert captured.code == 0, captured.err
    report = captured.json()
    assert (report["accepted"], report["refused"], report["pending"]) == (6, 1, 0)
    assert "broken.png" in report["left_out"][0]["name"]

    again = run(*words, "--serial-from-name", "--json").json()
    assert (again["accepted"], again["known"]) == (0, 6)

    rows = run("results", "--product", "flange", "--json").json()
    assert len(rows) == 6
    assert {row["serial"] for row in rows} == {f"{kind}-{n}" for kind in ("ok", "ng") for n in range(3)}
    assert {row["lot"] for row in rows} == {"L7"}
    assert all(
        row["verdict"] in {"ok", "ng"} and row["model_version"] == trained.json()["version"] for row in rows
    )
    scores = {row["serial"]: row["score"] for row in rows}
    assert min(v for k, v in scores.items() if "ng" in k) > max(v for k, v in scores.items() if "ok" in k)

    table = csv.DictReader(io.StringIO(run("results", "--csv").out))
    assert {row["id"] for row in table} == {row["id"] for row in rows}
    assert run("results", "--verdict", "pending", "--json").json() == []

    worst = max(rows, key=lambda row: row["score"])
    picture = tmp_path / "defect.png"
    shown = run("show", worst["id"], "--save-map", str(picture), "--json")
    assert shown.code == 0, shown.err
    assert shown.json()["result"]["score"] == worst["score"]
    assert shown.json()["map"]["width"] == 96
    with Image.open(picture) as opened:
        assert len(opened.convert("RGB").getcolors(1 << 24) or []) > 200, "image and map are drawn"

    listed = run("models", "--json").json()
    assert [(one["version"], one["champion"]) for one in listed] == [(trained.json()["version"], True)]


def test_doctor_names_what_is_missing_and_its_cure(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = run("doctor", "--json")
    assert answer.code == 1
    checks = answer.json()["checks"]
    assert not checks["broker"]["ok"]
    assert "pyramidion up" in checks["broker"]["says"]
    assert checks["images"]["ok"]
    assert checks["database"]["ok"], "a single machine's file is made on first use"
    assert checks["beat"]["ok"]
    assert checks["device"]["ok"]

    monkeypatch.setenv("PYRAMIDION_BROKER_ULR", "redis://127.0.0.1")
    answer = run("doctor", "--only", "settings")
    assert answer.code == 1
    assert "PYRAMIDION_BROKER_ULR" in answer.out


def test_doctor_reads_all_settings_and_the_clock(run: Any, home: Path, tmp_path: Path) -> None:
    import os
    import time

    assert run("doctor", "--only", "settings", env={"PYRAMIDION_WEB_PORT": "70000"}).code == 1
    (tmp_path / "pyramidion.toml").write_text("home = ", encoding="utf-8")
    broken = run("doctor", "--only", "settings")
    assert broken.code == 1
    assert "pyramidion.toml is not TOML" in broken.out
    (tmp_path / "pyramidion.toml").unlink()

    alive = home / "beat" / "alive"
    alive.parent.mkdir(parents=True)
    alive.touch()
    assert "last ticked" in run("doctor", "--only", "beat").out
    os.utime(alive, (time.time() - 300,) * 2)
    silent = run("doctor", "--only", "beat")
    assert silent.code == 1
    assert "pyramidion beat" in silent.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "p", "--images", "nowhere"), "nowhere is no folder"),
        (("train", "p"), "--images DIR"),
        (("train", "", "--images", "."), "1 to 255"),
        (("train", "x" * 300, "--images", "."), "300 characters"),
        (("retrain", "p"), "unknown product 'p'"),
        (("runs", "show", "0197"), "'0197' begins no training run"),
        (("schedule", "set", "p"), "nothing to change"),
        (("schedule", "set", "p", "--cron", "0 2 * * *"), "unknown product 'p'"),
        (("capture", ".", "--product", "p", "--station", ""), "station ''"),
        (("capture", ".", "--product", "", "--station", "s"), "product ''"),
        (("capture", ".", "--product", "p", "--station", "s", "--lot", "x" * 256), "lot 'xxx"),
        (("capture", ".", "--product", "p", "--station", "s", "--line", ""), "line ''"),
        (("train", "p", "--images", ".", "--size", "100"), "multiples of 32"),
        (("capture", "nowhere", "--product", "p", "--station", "s"), "unknown product 'p'"),
        (("results", "--json", "--csv"), "exclude each other"),
        (("show", "xyz"), "xyz"),
        (("show", "0197"), "0197"),
        (("models", "promote", "p", "abc"), "abc"),
        (("worker", "--queue", "scoring"), "'scoring'"),
        (("worker",), "pyramidion up"),
        (("doctor", "--only", "weather"), "'weather'"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(run: Any, words: tuple[str, ...], said: str) -> None:
    answer = run(*words)
    assert answer.code == 1
    assert said in answer.err


@pytest.mark.parametrize("words", [("up",), ("demo", "--exit"), ("results",)])
def test_a_home_that_cannot_be_made_is_named(run: Any, words: tuple[str, ...]) -> None:
    answer = run(*words, env={"PYRAMIDION_HOME": "/proc/nope"})
    assert answer.code == 1
    assert "/proc/nope" in answer.err
    assert "PYRAMIDION_HOME" in answer.err


def test_the_device_of_the_command_line_goes_before_the_setting(run: Any, images: Path) -> None:
    words = ("train", "p", "--images", str(images / "good"), *QUICK)
    assert run(*words, env={"PYRAMIDION_DEVICE": "cuda:7"}).code == 1
    assert run(*words, "--device", "cpu", env={"PYRAMIDION_DEVICE": "cuda:7"}).code == 0


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_a_closed_pipe_is_no_failure(home: Path, form: str) -> None:
    import os
    import subprocess
    import sys

    reading, writing = os.pipe()
    os.close(reading)  # as of `| head -0`
    done = subprocess.run(
        [sys.executable, "-m", "pyramidion", "results", form],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_enough_good_images_is_refused(run: Any, images: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    assert "no readable image" in run("train", "p", "--images", str(few)).err
    shutil.copy(images / "good" / "0.png", few / "a.png")
    answer = run("train", "p", "--images", str(few))
    assert answer.code == 1
    assert "1" in answer.err
    assert run("models", "--json").json() == []


@pytest.mark.parametrize(
    ("check", "name", "value"),
    [
        ("database", "PYRAMIDION_DATABASE_URL", "mysql://user:hidden@host/db"),
        ("database", "PYRAMIDION_DATABASE_URL", "postgresql://user:hidden@127.0.0.1:1/db"),
        ("images", "PYRAMIDION_IMAGE_STORE_URL", "ftp://hidden@host"),
        ("device", "PYRAMIDION_DEVICE", "cuda:7"),
        ("device", "PYRAMIDION_MAP_BITS", "12"),
        ("broker", "PYRAMIDION_BROKER_URL", "redis://:hidden@127.0.0.1:1/0"),
        ("workers", "PYRAMIDION_BROKER_URL", "redis://:hidden@127.0.0.1:1/0"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_is_told(
    run: Any, monkeypatch: pytest.MonkeyPatch, check: str, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = run("doctor", "--only", check)
    assert answer.code == 1
    assert "FAIL" in answer.out
    assert name in answer.out or "127.0.0.1:1" in answer.out or "port 1 " in answer.out
    assert "hidden" not in answer.out + answer.err


def test_ctrl_c_during_a_capture_loses_nothing(
    run: Any, processes: Any, images: Path, wait: Any, tmp_path: Path, home: Path
) -> None:
    """Watching ends with Ctrl-C and exit code 0; what came meanwhile is accepted, broker or not."""
    import signal

    assert run("train", "flange", "--images", str(images / "good"), *QUICK).code == 0
    line = tmp_path / "line"
    line.mkdir()
    log = tmp_path / "capture.log"
    watching = processes("capture", str(line), "--product", "flange", "--station", "s1", "--watch", log=log)
    shutil.copy(images / "line" / "ok-0.png", line / "first.png")
    wait(lambda: len(run("results", "--json").json()) == 1, "the first image", READY_S)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 0
    assert {one.stat().st_mode & 0o077 for one in (home, home / "spool", home / "pyramidion.db")} == {0}
    said = log.read_text(encoding="utf-8")
    assert "1 images accepted" in said
    assert "Traceback" not in said
    assert run("results", "--verdict", "pending", "--json").json()
