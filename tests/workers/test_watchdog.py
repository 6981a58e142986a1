"""A process that hangs ends itself; one that works, idles, or was stopped for a while does not."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

Start = Callable[..., subprocess.Popen[str]]

BUSY, IDLE = "True", "False"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process with a watchdog that bites after a second, and wait until it works."""
    started: list[subprocess.Popen[str]] = []

    def start_one(busy: str, work: str, last_resort_s: float = 30.0) -> subprocess.Popen[str]:
        code = f"""
import ctypes, sys, time
from celery.utils.log import LoggingProxy, get_logger
from workers.watchdog import Watchdog
sys.stderr = LoggingProxy(get_logger("worker"))  # as in a worker
progressed_at = time.monotonic()
Watchdog(lambda: {busy}, lambda: progressed_at, hung_after_s=1.0, last_resort_s={last_resort_s}).start()
time.sleep(0.2)
print("ready", flush=True)
{work}
print("done", flush=True)
"""
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def test_a_process_that_hangs_ends_and_says_where(start: Start) -> None:
    """Also where what hangs never lets another thread of the interpreter run."""
    for process in [start(BUSY, "time.sleep(60)"), start(BUSY, "ctypes.PyDLL(None).sleep(60)", 1.0)]:
        _, said = process.communicate(timeout=20)
        assert process.returncode == 1
        assert 'File "<string>", line 10' in said, "an engineer needs to know where it hung"


def test_a_process_that_works_idles_or_was_stopped_goes_on(start: Start) -> None:
    working = "for _ in range(20):\n    progressed_at = time.monotonic()\n    time.sleep(0.1)"
    processes = [start(BUSY, working), start(IDLE, "time.sleep(2)"), start(BUSY, "time.sleep(0.1)")]
    processes[-1].send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    processes[-1].send_signal(signal.SIGCONT)
    for process in processes:
        out, said = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "done\n"), said
