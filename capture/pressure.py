"""Backpressure: intake slows down when the line behind it is too far behind, and the spool takes over."""

import time
from collections.abc import Callable
from threading import Event
from typing import Final

from capture.patience import Patience, StoppedError
from capture.settings import CaptureSettings
from capture.target import Target

_LOOK_EVERY_S: Final = 1.0


class Pressure:
    """Asked before each batch that is taken in. Says once that it begins to hold up, and once that it ends.

    An old backlog makes it slow, by a second for each `backlog_max_s` that it is old: work that nobody does
    would stop the intake for good otherwise. An image store with too little room makes it wait until there is
    more.
    """

    def __init__(
        self,
        target: Target,
        settings: CaptureSettings,
        patience: Patience,
        stop: Event,
        say: Callable[[str], None],
    ) -> None:
        self._target = target
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
        self._pause_s, why = self._patience.call(lambda: self._target.held_up(self._settings))
        if (why is not None) is self._holding:
            return
        self._holding = why is not None
        self._say(why or "intake goes on as fast as it can")
