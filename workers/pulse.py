"""A training's sign of life: its lease, how far it is, and whether it is still wanted."""

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db import runs
from db.outage import UNAVAILABLE, sentence
from db.runs import LOG_CHARACTERS, Held, Standing
from model.config import Progress

logger = get_task_logger(__name__)

_LONGEST_PAUSE_S: Final = 2.0  # so that a cancellation is heeded within seconds


class Pulse:
    """While it is entered, a thread renews the lease and writes down how far the training is.

    The training tells it of each step (`step`, or `must_stop`, which also asks) and epoch (`note`).
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        held: Held,
        lease_s: float,
        stopping: threading.Event,
        progressed: Callable[[], None],
    ) -> None:
        self.held = held
        self.log = held.log
        self._sessions = sessions
        self._lease_s = lease_s
        self._stopping = stopping
        self._progressed = progressed
        self._lost = threading.Event()
        self._over = threading.Event()
        self._standing: Standing | None = None
        self._thread = threading.Thread(target=self._run, name=f"pulse of {held.id}", daemon=True)

    def __enter__(self) -> Self:
        self._progressed()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def say(self, line: str) -> None:
        self.log = f"{self.log}{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n"[-LOG_CHARACTERS:]

    def note(self, progress: Progress) -> None:
        self._progressed()
        loss = None if math.isnan(progress.loss) else progress.loss
        eta = None if math.isnan(progress.eta_s) else progress.eta_s
        self._standing = Standing(progress.epoch, progress.epochs, loss, eta)
        if progress.stage == "fit" and loss is not None:
            left = "going on from there" if eta is None else f"{eta:.0f} s left"
            self.say(f"epoch {progress.epoch} of {progress.epochs}: loss {loss:.4g}, {left}")
        elif progress.stage == "calibrate":
            self.say("calibrating")

    def step(self) -> None:
        self._progressed()

    def must_stop(self) -> bool:
        self.step()
        return self.is_unwanted()

    def is_unwanted(self) -> bool:
        """Say whether it must stop, to one that only waits and has made no step."""
        return self._lost.is_set() or self._stopping.is_set()

    def is_lost(self) -> bool:
        """Whether the run is no longer this trainer's: cancelled, or taken up by another."""
        return self._lost.is_set()

    def _run(self) -> None:
        pause = min(_LONGEST_PAUSE_S, self._lease_s / 4)
        while not self._over.wait(pause):
            try:
                with self._sessions.begin() as session:
                    mine = runs.beat(session, self.held, self._lease_s, self._standing, self.log)
            except UNAVAILABLE as error:
                logger.warning("run %s gives no sign of life: %s", self.held.id, sentence(error))
                continue
            if not mine and not self._over.is_set():
                self._lost.set()
                return
