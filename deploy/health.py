"""Health checks for containers: exit status 0 when well.

    python health.py worker QUEUE | beat | web PORT | flower PORT

Written for one container: `worker` asks the worker on this host, not just any, and `beat` looks at what the
clock of this home does. A check that fails says why; Docker keeps that (`docker inspect`).
"""

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_S = 5.0
_BEAT_SILENCE_S = 60.0


def worker() -> None:
    from workers.celery import app  # noqa: PLC0415  # the other checks run without Celery

    # `pyramidion worker` names itself QUEUE-PROCESS@HOST.
    name = f"{sys.argv[2]}-*@{socket.gethostname()}"
    if not app.control.inspect(timeout=_PATIENCE_S, pattern=name, matcher="glob", limit=1).ping():
        raise SystemExit(f"no worker {name} answered within {_PATIENCE_S:.0f} s")


def beat() -> None:
    # The clock touches this file on each tick: a clock that hangs on its broker does not.
    alive = Path(os.environ["PYRAMIDION_HOME"]) / "beat" / "alive"
    try:
        silence = time.time() - alive.stat().st_mtime
    except OSError as error:
        raise SystemExit(f"the clock has not ticked yet: {alive}: {error.strerror}") from None
    if silence > _BEAT_SILENCE_S:
        raise SystemExit(f"the clock last ticked {silence:.0f} s ago")


def web() -> None:
    _get("/healthz")


def flower() -> None:
    _get("/healthcheck")


def _get(path: str) -> None:
    # http.client goes straight to this container, whatever proxy its environment names.
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]), timeout=_PATIENCE_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise SystemExit(f"{path} does not answer: {error}") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise SystemExit(f"{path} answered {status}")


CHECKS: dict[str, Callable[[], None]] = {"worker": worker, "beat": beat, "web": web, "flower": flower}

if __name__ == "__main__":
    CHECKS[sys.argv[1]]()
