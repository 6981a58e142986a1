"""Waiting for a database, an image store or a server that is away, without losing or dropping anything."""

import random
from collections.abc import Callable
from threading import Event, Lock, get_ident
from typing import Final, TypeVar

from db.outage import UNAVAILABLE, sentence

T = TypeVar("T")
_FIRST_WAIT_S: Final = 0.25


class StoppedError(Exception):
    """Someone asked to stop while we waited."""


class AwayError(Exception):
    """What takes images can't just now; it passes, in about `retry_after_s` where that is known."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Patience:
    """Tries again, after waits that double up to `retry_max_s`, until it works or `stop` is set.

    Says once that something is away, and once that it is back, also when several threads share it: it is back
    when each thread has got what it waited for.
    """

    def __init__(
        self,
        stop: Event,
        retry_max_s: float,
        say: Callable[[str], None],
        what: str = "database and image store",
    ) -> None:
        self._stop = stop
        self._retry_max_s = retry_max_s
        self._say = say
        self._what = what
        self._waiting: set[int] = set()  # threads
        self._lock = Lock()

    def call(self, work: Callable[[], T]) -> T:
        """Give the result of `work`, however long that takes; raises StoppedError."""
        wait = _FIRST_WAIT_S
        while True:
            try:
                result = work()
            except (*UNAVAILABLE, AwayError) as error:
                least = error.retry_after_s if isinstance(error, AwayError) else 0.0
                self._note(True, f"{sentence(error)}; images wait in the spool until it is back")
            else:
                self._note(False, f"back: {self._what}; going on")
                return result
            # Jitter: stations that lost the same database shall not come back in step.
            pause = min(max(wait, 2 * least), self._retry_max_s) * random.uniform(0.5, 1)  # noqa: S311
            if self._stop.wait(pause):
                raise StoppedError
            wait *= 2

    def _note(self, away: bool, what: str) -> None:
        with self._lock:
            before = bool(self._waiting)
            (self._waiting.add if away else self._waiting.discard)(get_ident())
            if bool(self._waiting) == before:
                return
        self._say(what)
