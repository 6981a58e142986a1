"""`pyramidion up` as a person uses it: start, lose a process, Ctrl-C, start again."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, func, select

from db import events
from db.engine import make_engine, session_factory
from db.settings import DatabaseSettings
from db.tables import Block

Start = Callable[..., subprocess.Popen[bytes]]
Wait = Callable[[Callable[[], Any], str, float], None]

READY_S = 60.0


def children(home: Path) -> list[psutil.Process]:
    file = home / "run" / "children.json"
    found = []
    for pid, created in json.loads(file.read_text(encoding="utf-8")) if file.exists() else []:
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 0.1 and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def is_up(log: Path) -> bool:
    return log.exists() and "running; Ctrl-C" in log.read_text(encoding="utf-8")


def blocks(engine: Engine) -> int:
    with session_factory(engine, read_only=True)() as session:
        return session.scalar(select(func.count()).select_from(Block)) or 0


@pytest.fixture
def up(processes: Start, home: Path, tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYRAMIDION_WEB_PORT", "0")
    monkeypatch.setenv("PYRAMIDION_SEAL_EVERY_S", "2")

    def start(name: str) -> subprocess.Popen[bytes]:
        process = processes("up", "--no-trainer", log=tmp_path / name)
        wait(lambda: is_up(tmp_path / name), "up", READY_S)
        return process

    yield start
    for process in children(home):
        process.kill()


def test_everything_starts_and_ctrl_c_stops_it_all(up: Any, home: Path, run: Any, wait: Wait) -> None:
    process = up("up.log")
    started = children(home)
    assert len(started) == 5  # broker, worker, housekeeping, beat, page
    for private in (
        home,
        home / "run",
        home / "logs",
        home / "broker",
        home / "images",
        home / "pyramidion.db",
    ):
        assert private.stat().st_mode & 0o077 == 0, private
    wait(lambda: run("doctor", "--only", "workers").code == 0, "the workers to answer", READY_S)
    for check in ("database", "images", "broker", "device", "disk", "settings", "beat", "ledger"):
        assert run("doctor", "--only", check).code == 0, check

    engine = make_engine(DatabaseSettings())
    with session_factory(engine).begin() as session:
        events.record(session, "test", "tester")
    wait(lambda: blocks(engine), "a block that seals it", READY_S)
    engine.dispose()

    second = run("up")
    assert second.code == 1
    assert str(process.pid) in second.err

    process.send_signal(signal.SIGINT)
    assert process.wait(45) == 0
    assert not any(one.is_running() for one in started)


def test_what_dies_is_started_again(up: Any, home: Path, wait: Wait, tmp_path: Path) -> None:
    process = up("up.log")
    worker = next(one for one in children(home) if "score" in one.cmdline())
    worker.kill()
    wait(
        lambda: any("score" in one.cmdline() and one.pid != worker.pid for one in children(home)),
        "a new worker",
        30,
    )
    assert "worker ended unexpectedly" in (tmp_path / "up.log").read_text(encoding="utf-8")
    process.send_signal(signal.SIGTERM)
    assert process.wait(45) == 0


def test_the_next_start_ends_what_a_killed_one_left_behind(up: Any, home: Path, run: Any) -> None:
    up("first.log").kill()
    orphans = children(home)
    assert orphans
    second = up("second.log")
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in orphans)
    second.send_signal(signal.SIGINT)
    assert second.wait(45) == 0
