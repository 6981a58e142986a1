"""Ctrl-C, at the worst moments: exit code 130, no traceback, and no process that stays."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from capture.simulator import GOOD, SimulatedLine
from pyramidion.supervisor import Supervisor


def belonging_to(home: Path) -> list[str]:
    """Give the command lines of what runs in the home: its processes inherit PYRAMIDION_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PYRAMIDION_HOME") == str(home) and process.pid != psutil.Process().pid:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def read(log: Path) -> str:
    return log.read_text(encoding="utf-8") if log.exists() else ""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    line = SimulatedLine(seed=3, size=64)
    for index in range(40):
        (folder / f"{index}.png").write_bytes(line.encode(line.part(index, GOOD)))
    return folder


def test_ctrl_c_during_a_training_registers_nothing(
    good: Path, run: Any, processes: Any, wait: Any, home: Path, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    training = processes("train", "p", "--images", str(good), "--size", "256", log=log)
    # The database is made just before the training; a training at this size takes much longer than a second.
    wait(lambda: (home / "bundles").exists() or (home / "pyramidion.db").exists(), "the training", 30)
    time.sleep(1.5)
    training.send_signal(signal.SIGINT)
    assert training.wait(20) == 130
    assert "Traceback" not in read(log)
    assert run("models", "--json").json() == []
    assert belonging_to(home) == []


@pytest.mark.parametrize("moment", ["broker ", "simulating"])
def test_ctrl_c_during_the_demo_stops_everything(
    moment: str, processes: Any, wait: Any, home: Path, tmp_path: Path
) -> None:
    log = tmp_path / "demo.log"
    demo = processes("demo", "--exit", log=log)
    wait(lambda: moment in read(log), "the demo", 40)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130
    assert "Traceback" not in read(log)
    assert belonging_to(home) == []


def test_ctrl_c_while_up_waits_for_a_broker(
    processes: Any, wait: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_BROKER_URL", "redis://127.0.0.1:1/0")
    log = tmp_path / "up.log"
    up = processes("up", log=log)
    wait(lambda: "broker " in read(log), "up", 30)
    up.send_signal(signal.SIGTERM)
    assert up.wait(10) == 0
    assert "Traceback" not in read(log)
    assert belonging_to(home) == []


STUBBORN = [
    sys.executable,
    "-c",
    (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    ),
]


def test_what_ignores_the_request_is_killed_all_within_one_grace(home: Path, wait: Any) -> None:
    supervisor = Supervisor(home)
    services = [supervisor.start(f"s{number}", STUBBORN) for number in range(3)]
    services.append(supervisor.start("broker", [sys.executable, "-c", "input()"], outlives=True))
    wait(lambda: all("deaf" in one.said() for one in services[:3]), "them to be deaf", 10)
    started = time.monotonic()
    assert [one.name for one in supervisor.stop(grace_s=1)] == ["s0", "s1", "s2"]
    assert time.monotonic() - started < 2.5
    assert not any(one.state == "running" for one in services)


def test_a_second_ctrl_c_ends_what_does_not_end(home: Path, tmp_path: Path, wait: Any) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pyramidion.commands.up import stop_on_signals\n"
        "from pyramidion.supervisor import Supervisor\n"
        f"supervisor = Supervisor(Path({str(home)!r}))\n"
        f"supervisor.start('deaf', {STUBBORN!r})\n"
        "stop = stop_on_signals()\n"
        "print('up', flush=True)\n"
        "stop.wait()\n"
        "print('stopping', flush=True)\n"
        "try:\n    supervisor.stop()\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    log = tmp_path / "script.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=out, stderr=subprocess.STDOUT)
    wait(lambda: "up" in read(log) and "deaf" in read(home / "logs" / "deaf.log"), "the process", 20)
    process.send_signal(signal.SIGINT)
    wait(lambda: "stopping" in read(log), "the stopping", 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert belonging_to(home) == []


def test_a_large_log_makes_room_and_an_earlier_run_says_nothing(home: Path) -> None:
    supervisor = Supervisor(home)
    log = supervisor.logs / "echo.log"
    log.write_bytes(b"celery@here ready.\n" * 600_000)
    command = [sys.executable, "-c", "print('first')"]
    first = supervisor.start("echo", command)
    assert first.process is not None
    first.process.wait(10)
    assert log.with_suffix(".1.log").stat().st_size > 10_000_000
    assert first.said() == log.read_text(encoding="utf-8") == "first\n"
    again = supervisor.start("echo", command)
    assert again.process is not None
    again.process.wait(10)
    assert again.said() == "first\n"
    assert log.read_text(encoding="utf-8") == "first\nfirst\n"
    supervisor.stop()


def test_ctrl_c_while_the_database_is_away_still_reports(
    new_postgres_database: Any,
    postgres_server: Any,
    migrated_template: str,
    good: Path,
    processes: Any,
    wait: Any,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg

    from db import models
    from db.engine import make_engine, session_factory
    from db.settings import DatabaseSettings

    url = new_postgres_database(migrated_template)
    monkeypatch.setenv("PYRAMIDION_DATABASE_URL", url)
    settings = DatabaseSettings()
    engine = make_engine(settings)
    with session_factory(engine).begin() as session:
        models.ensure_product(session, "p")
    engine.dispose()
    folder = tmp_path / "line"
    folder.mkdir()
    log = tmp_path / "capture.log"
    capture = processes("capture", str(folder), "--product", "p", "--station", "s", "--watch", log=log)
    wait(lambda: "watching" in read(log), "the capture", 30)
    time.sleep(0.5)
    name = settings.url().database
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
    (folder / "0.png").write_bytes((good / "0.png").read_bytes())
    wait(lambda: "until it is back" in read(log), "the outage to be noticed", 30)
    capture.send_signal(signal.SIGINT)
    assert capture.wait(30) == 0  # Ctrl-C is how --watch ends
    said = read(log)
    assert "0 images accepted" in said
    assert "is not known" in said
    assert "Traceback" not in said
