"""Backpressure: intake slows down when the line behind it is too far behind, and the spool takes over."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from typing import Final

from capture.intake import Intake
from capture.patience import Patience, StoppedError
from capture.settings import CaptureSettings
from db import inspections

_LOOK_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0


class Pressure:
    """Asked before each batch that is taken in. Says once that it begins to hold up, and once that it ends.

    An old backlog makes it slow, by a second for each `backlog_max_s` that it is old: work that nobody does
    would stop the intake for good otherwise. An image store with too little room makes it wait until there is
    more.
    """

    def __init__(
        self,
        intake: Intake,
        settings: CaptureSettings,
        patience: Patience,
        stop: Event,
        say: Callable[[str], None],
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._patience = patience
        self._stop = stop
        self._say = say
        self._looked_at = -_LOOK_EVERY_S
        self._pause_s = 0.0
        self._holding = False

    def heed(self) -> None:
        """Return when a batch may be taken in; raises StoppedError."""
        rested_s = 0.0
        while True:
            self._look_again()
            if rested_s >= self._pause_s:
                return
            turn_s = min(_LOOK_EVERY_S, self._pause_s - rested_s)
            if self._stop.wait(turn_s):
                raise StoppedError
            rested_s += turn_s

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        self._pause_s, why = self._patience.call(self._look)
        if (why is not None) is self._holding:
            return
        self._holding = why is not None
        self._say(why or "intake goes on as fast as it can")

    def _look(self) -> tuple[float, str | None]:
        """Give for how long to pause, and why."""
        free, least = self._intake.store.free_bytes(), self._settings.image_store_min_free_bytes
        if free is not None and free < least:
            return float("inf"), (
                f"intake waits: {self._intake.store.describe()} has {free / 1e9:.2f} GB free, less than "
                f"PYRAMIDION_IMAGE_STORE_MIN_FREE_BYTES ({least / 1e9:.2f} GB). Make room there, or let "
                "retention remove images; meanwhile the spool takes them"
            )
        with self._intake.sessions() as session:
            oldest = inspections.oldest_waiting(session)
        age_s = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
        if age_s <= self._settings.backlog_max_s:
            return 0.0, None
        return min(_LONGEST_PAUSE_S, age_s / self._settings.backlog_max_s), (
            f"intake slows down: the oldest image without a verdict has waited {age_s:.0f} s, longer than "
            f"PYRAMIDION_BACKLOG_MAX_S ({self._settings.backlog_max_s:g}). `pyramidion status` says who "
            "works, `pyramidion doctor` who should"
        )
