"""A plant of real processes on one machine: broker, PostgreSQL, workers, stations; all ended afterwards."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from benchmarks.databases import empty_database
from benchmarks.pipeline.station import PRODUCT
from db import models
from db.engine import session_factory
from db.imagestore import open_image_store
from db.settings import DatabaseSettings
from model.bundle import BundlePaths
from pyramidion import broker
from pyramidion.errors import UserError

_READY_S = 90.0


@dataclass
class Plant:
    """`environment` is what its processes are started with."""

    home: Path
    engine: Engine
    environment: dict[str, str]
    broker_url: str
    processes: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def start(self, part: str, command: Sequence[str], ready: str | None, **env: str) -> psutil.Popen:
        """Start a process of a part of the plant, and wait until its log says `ready`."""
        number = len(self.processes.setdefault(part, []))
        log = self.home / f"{part}-{number}.log"
        with log.open("wb") as out:
            process = psutil.Popen(
                [sys.executable, "-m", *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self.environment, **env},
            )
        self.processes[part].append(process)
        deadline = time.monotonic() + _READY_S
        while ready is not None and ready not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise self.failed(f"{part} did not get ready", part)
            time.sleep(0.05)
        return process

    def failed(self, what: str, part: str) -> UserError:
        """Give the error that says what went wrong, with the part's last words."""
        logs = sorted(self.home.glob(f"{part}-*.log"))
        last = logs[-1].read_text(errors="replace")[-2000:] if logs else ""
        return UserError(f"{what}; its log ends with:\n{last or '(nothing)'}")

    def cpu_s(self) -> dict[str, float]:
        """Processor time that each part has used so far, its children's included."""
        return {part: sum(map(_cpu_s, ones)) for part, ones in self.processes.items()}

    def memory_mb(self) -> dict[str, float]:
        """Memory that is each part's alone and what it shares, by its share (PSS), in megabytes."""
        return {part: sum(map(_memory_mb, ones)) for part, ones in self.processes.items()}

    def pause(self, *parts: str) -> None:
        """Stop what is not measured now: some are busy while they wait."""
        for one in self._members(parts):
            one.suspend()

    def go_on(self, *parts: str) -> None:
        for one in self._members(parts):
            one.resume()

    def _members(self, parts: Sequence[str]) -> list[psutil.Process]:
        found = [member for part in parts for one in self.processes.get(part, []) for member in _family(one)]
        return [one for one in found if one.is_running()]

    def end(self, part: str) -> None:
        _end(self.processes.pop(part, []))

    def end_all(self) -> None:
        """End all but the database, which its own maker ends."""
        for part in list(self.processes):
            if part != "database":
                self.end(part)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(process: psutil.Process) -> float:
    total = 0.0
    for one in _family(process):
        try:
            times = one.cpu_times()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        total += times.user + times.system
    try:
        own = process.cpu_times()
    except psutil.NoSuchProcess:
        return total
    return total + getattr(own, "children_user", 0.0) + getattr(own, "children_system", 0.0)


def _memory_mb(process: psutil.Process) -> float:
    total = 0
    for one in _family(process):
        try:
            total += getattr(one.memory_full_info(), "pss", 0) or one.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


def _end(processes: Sequence[psutil.Process]) -> None:
    everyone = [member for one in processes for member in _family(one)]
    for one in everyone:
        if one.is_running():
            one.resume()
    for one in processes:
        if one.is_running():
            one.terminate()
    psutil.wait_procs(list(processes), timeout=20)
    for one in everyone:
        if one.is_running():
            one.kill()


@contextmanager
def plant(folder: Path, made: BundlePaths, **settings: str) -> Iterator[Plant]:
    """Give a plant with its model promoted and no worker yet; PostgreSQL notes when what was committed."""
    with ExitStack() as stack:
        home = folder / "home"
        engine = stack.enter_context(empty_database("postgresql", folder / "db", commit_times=True))
        embedded = broker.prepare(home)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYRAMIDION_")},
            "PYRAMIDION_HOME": str(home),
            "PYRAMIDION_DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "PYRAMIDION_BROKER_URL": embedded.url,
            **{f"PYRAMIDION_{name.upper()}": value for name, value in settings.items()},
        }
        found = Plant(home, engine, environment, embedded.url)
        stack.callback(found.end_all)
        found.processes["broker"] = [psutil.Popen(embedded.command, stdout=subprocess.DEVNULL)]
        found.processes["database"] = [_postmaster(engine)]
        _await_broker(embedded.url)
        _promote(found, made)
        yield found


def _postmaster(engine: Engine) -> psutil.Process:
    with engine.connect() as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
    parent = psutil.Process(backend).parent()
    if parent is None:
        raise UserError("PostgreSQL's first process is not to be found")
    return parent


def _await_broker(url: str) -> None:
    deadline = time.monotonic() + 20
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _promote(found: Plant, made: BundlePaths) -> None:
    store = open_image_store(DatabaseSettings(home=found.home))
    store.put(made.weights.read_bytes())
    with session_factory(found.engine).begin() as session:
        models.ensure_product(session, PRODUCT)
        models.register(session, made.version, PRODUCT, made.manifest, made.weights_sha256, 32)
        models.set_champion(session, PRODUCT, made.version, actor="benchmark", why="to be measured")
