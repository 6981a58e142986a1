"""Starts the processes of one machine, starts again what dies, and stops them all."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from db.home import private_folder
from db.settings import SettingsError
from pyramidion.errors import UserError

# A process that ran this long before it died is started again at once.
_SETTLED_S = 30.0
# What waits for a database to come back is judged half a minute after it did, this pause included.
_LONGEST_PAUSE_S = 8.0
_LOG_BYTES = 10_000_000  # a log larger than this becomes NAME.1.log at the next start


@dataclass
class Service:
    """One supervised process; one that `outlives` the others is stopped after them."""

    name: str
    command: Sequence[str]
    log: Path
    outlives: bool = False
    log_start: int = 0
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    start_after: float = 0.0

    @property
    def state(self) -> str:
        if self.process is None:
            return "waiting"
        return "running" if self.process.poll() is None else f"ended with {self.process.returncode}"

    def said(self) -> str:
        """Give what it wrote to its log since it was last launched."""
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")


class Supervisor:
    """The services of one PYRAMIDION_HOME; only one may run at a time."""

    def __init__(self, home: Path) -> None:
        self._folder = private_folder(home / "run")
        self.logs = private_folder(home / "logs")
        self.services: list[Service] = []
        self._lock = self._take_lock()
        self._end_leftovers()

    def _take_lock(self) -> IO[str]:
        file = self._folder / "up.lock"
        try:
            handle = file.open("a+", encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"cannot write {file}: {error.strerror}; set PYRAMIDION_HOME to a folder that you may write"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UserError(
                f"Pyramidion already runs in {self._folder.parent} (process {handle.read().strip() or '?'}): "
                "use that one, stop it first, or set another PYRAMIDION_HOME"
            ) from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        return handle

    def _end_leftovers(self) -> None:
        """End what an earlier `up` that was killed has left running (known by pid and start time)."""
        try:
            left = json.loads((self._folder / "children.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        processes = []
        for pid, created in left:
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < 0.1:
                    process.terminate()
                    processes.append(process)
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(processes, timeout=15)
        for process in alive:
            process.kill()

    def start(self, name: str, command: Sequence[str], *, outlives: bool = False) -> Service:
        service = Service(name, command, self.logs / f"{name}.log", outlives)
        self.services.append(service)
        self._launch(service)
        return service

    def _launch(self, service: Service) -> None:
        if service.log.exists() and service.log.stat().st_size > _LOG_BYTES:
            service.log.replace(service.log.with_suffix(".1.log"))
        with service.log.open("ab") as log:
            service.log_start = log.tell()
            service.process = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches this process alone, which stops the others in order.
                start_new_session=True,
            )
        service.started = time.monotonic()
        self._note_children()

    def _note_children(self) -> None:
        children = []
        for service in self.services:
            if service.process is not None and service.process.poll() is None:
                try:
                    children.append([service.process.pid, psutil.Process(service.process.pid).create_time()])
                except psutil.NoSuchProcess:
                    continue
        file = self._folder / "children.json"
        file.with_suffix(".new").write_text(json.dumps(children), encoding="utf-8")
        file.with_suffix(".new").replace(file)

    def tend(self) -> list[Service]:
        """Start again what has died, with growing pauses; gives the services found dead just now."""
        died = []
        now = time.monotonic()
        for service in self.services:
            if service.process is not None and service.process.poll() is not None:
                died.append(service)
                lived = now - service.started
                service.restarts = 0 if lived > _SETTLED_S else service.restarts + 1
                pause = 0.0 if lived > _SETTLED_S else min(_LONGEST_PAUSE_S, 0.5 * 2.0**service.restarts)
                service.start_after = now + pause
                service.process = None
            if service.process is None and now >= service.start_after:
                self._launch(service)
        return died

    def stop(self, grace_s: float = 30.0) -> list[Service]:
        """Ask all to stop at once, then what outlives them (the broker); gives those that had to be killed.

        A KeyboardInterrupt meanwhile kills what is left, and goes on its way.
        """
        services, self.services = self.services, []  # whoever still tends has nothing to start again
        try:
            killed = _end([one for one in services if not one.outlives], grace_s)
            killed += _end([one for one in services if one.outlives], grace_s)
        except KeyboardInterrupt:
            _kill(services)
            raise
        finally:
            self._note_children()
            self._lock.close()
        return killed


def _end(services: Sequence[Service], grace_s: float) -> list[Service]:
    for service in services:
        if service.process is not None and service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    late = []
    for service in services:
        if service.process is None:
            continue
        try:
            service.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            late.append(service)
    _kill(late)
    return late


def _kill(services: Iterable[Service]) -> None:
    for service in services:
        if service.process is not None and service.process.poll() is None:
            service.process.kill()
            service.process.wait(timeout=10)
