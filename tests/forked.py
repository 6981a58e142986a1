"""Processes of ours that start at once: forked from one that has imported everything already.

Half of what the tests cost was Python importing SQLAlchemy, Celery and torch, hundreds of times. A `Starter`
imports them once; each process that it is asked for is a fork of it, with an environment, a folder and files
of its own, and runs `python -m pyramidion` from there: it is killed, stopped and ends like any other. That is
possible since nothing of ours happens at import. What an environment decides at import (`_AT_IMPORT`) can't
differ: then a Python of its own is started.
"""

import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

REPOSITORY: Final = Path(__file__).parents[1]
COLUMNS: Final = "200"  # of the consoles that are made at import, of all of them
_AT_IMPORT: Final = ("PYTHON", "OMP_", "MKL_", "OPENBLAS_", "NO_COLOR", "FORCE_COLOR", "TERM")
_LIBRARIES: Final = (
    "torch",
    "torch._dynamo",  # which a first optimizer imports
    "scipy.stats",
    "celery.apps.worker",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "celery_batches",
    "kombu.transport.redis",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "psycopg",
    "alembic.command",
    "obstore",
    "safetensors.torch",
    "uvicorn",
    "fastapi",
)
_HEADER: Final = 8  # bytes that say how long a request is


class Process(Protocol):
    """What tests do with a process, as subprocess.Popen has it."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A process whose parent tells, through a pipe, its id and what it ended with."""

    def __init__(self, told: int) -> None:
        self.returncode: int | None = None
        self._told = told
        self._lines = b""
        self.pid = self._line(110)  # the first one waits for the imports

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = self._line(30)
            os.close(self._told)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self, patience_s: float) -> int:
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._lines:
            ready = select.select([self._told], [], [], max(0, deadline - time.monotonic()))[0]
            data = os.read(self._told, 64) if ready else b""
            if not data:
                raise RuntimeError("whoever forks processes for the tests has ended, or hangs")
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return int(line)


class Starter:
    """Starts `python -m pyramidion`, by forking where it can."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._env = {**os.environ, "COLUMNS": COLUMNS}
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                cwd=REPOSITORY,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(
        self, words: tuple[str, ...], env: Mapping[str, str], out: int, err: int, first: str = ""
    ) -> Process:
        """Start the command with this environment; files of descriptors `out` and `err` take what it says.

        It runs the Python code `first` before all else.
        """
        env = {**env, "COLUMNS": COLUMNS}
        if self._imports(env) != self._imports(self._env):
            assert not first, "an environment that decides something at import has a Python of its own"
            return subprocess.Popen(
                [sys.executable, "-m", "pyramidion", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
            )
        told, tells = os.pipe()
        asked = {"words": words, "env": env, "folder": str(Path.cwd()), "first": first}
        request = json.dumps(asked).encode()
        header = len(request).to_bytes(_HEADER, "big")
        socket.send_fds(self._ours, [header], [out, err, tells])
        self._ours.sendall(request)
        os.close(tells)
        return Forked(told)

    def close(self) -> None:
        self._ours.close()
        self._server.wait(10)

    @staticmethod
    def _imports(env: Mapping[str, str]) -> dict[str, str]:
        return {name: env[name] for name in env if name.startswith(_AT_IMPORT)}


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request; returns, with the words of the command, in the forked processes alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for a process are nobody's to wait for
    while True:
        header, files, _, _ = socket.recv_fds(requests, _HEADER, 3)
        if not header:
            os._exit(0)
        length = int.from_bytes(header, "big")
        request = b""
        while len(request) < length:
            request += requests.recv(length - len(request))
        if os.fork() == 0:
            requests.close()
            return _attend(json.loads(request), *files)
        for file in files:
            os.close(file)


def _attend(asked: dict[str, Any], out: int, err: int, tells: int) -> list[str]:
    """Fork the process itself, wait for it, and tell what it ended with."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(tells)
        return _become(asked, out, err)
    os.write(tells, b"%d\n" % pid)
    for file in (out, err):
        os.close(file)  # else who reads what it says would wait for its end
    os.write(tells, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(asked: dict[str, Any], out: int, err: int) -> list[str]:
    os.dup2(out, 1)
    os.dup2(err, 2)
    for file in {out, err} - {1, 2}:
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec(asked["first"], {})
    words: list[str] = asked["words"]
    return words


def _import_what_takes_long() -> None:
    """Import libraries, and what of ours only defines things: no tasks, of which a worker knows its own."""
    for name in _LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    for room in ("db", "model", "pyramidion.commands"):
        package = import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if ".migrations" not in found.name and not found.name.endswith("__main__"):
                import_module(found.name)
    gc.collect()
    gc.freeze()  # what is there stays shared by all


if __name__ == "__main__":
    _import_what_takes_long()
    sys.argv = ["pyramidion", *_serve(socket.socket(fileno=int(sys.argv[1])))]
    runpy.run_module("pyramidion", run_name="__main__", alter_sys=True)
