"""Images stay while they are backed up: retention waits, or the backup waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db.leases import Renew, lease
from db.retention.turn import LEASE, LEASE_S
from pyramidion.errors import UserError

_PATIENCE_S: Final = 1200.0  # longer than a worker's turn, and than the lease of one that died
_EVERY_S: Final = 1.0


@contextmanager
def images_stay(sessions: sessionmaker[Session], waiting: Callable[[], None]) -> Iterator[None]:
    """Keep retention from removing images; `waiting` is called while it is at it.

    Raises UserError where it goes on for long, and at the end where it began nevertheless.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with lease(sessions, LEASE, LEASE_S) as renew:
            if renew is not None:
                with _renewed(renew):
                    yield
                if not renew():
                    raise UserError(
                        "this machine stood still for so long that retention may have let images go: back "
                        "up again. The backups that were there are as they were"
                    )
                return
        if time.monotonic() > deadline:
            raise UserError(
                "retention is letting images go, or another backup copies them: back up again when that is "
                "done, or with --no-images"
            )
        waiting()
        time.sleep(_EVERY_S)


@contextmanager
def _renewed(renew: Renew) -> Iterator[None]:
    """Renew the lease in a thread: a dump says nothing until it is done, which may take hours."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(LEASE_S / 3):
            try:
                renew()
            except DBAPIError:
                continue  # away for a moment; whether it was for too long is seen at the end

    thread = threading.Thread(target=run, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
