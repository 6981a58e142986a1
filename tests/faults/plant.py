"""The plant: our own processes under `up`'s supervisor, on a ground that gives way."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from db import models
from db.engine import make_engine, session_factory
from db.imagestore import open_image_store
from db.migrate import upgrade
from db.settings import DatabaseSettings
from model import bundle, training
from pyramidion.services import command
from pyramidion.supervisor import Service, Supervisor
from tests.faults.ground import Broker, Disk, Postgres, wait_for
from tests.faults.line import picture

PRODUCT = "plate"
WORKERS = ("worker-1", "worker-2")
STATIONS = ("station-1", "station-2")
_REPOSITORY = Path(__file__).parents[2]


@dataclass
class Plant:
    """Everything that runs, with `settings` beside those that make it small.

    `deaths` counts how often each process had to be started again.
    """

    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)

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
            PYRAMIDION_IMAGE_STORE_MIN_FREE_BYTES="0",  # a full disk is run into, not kept away from
            PYRAMIDION_SPOOL_MIN_FREE_BYTES="0",  # so here
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
            self.deaths.update(died.name for died in self._supervisor.tend())

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
