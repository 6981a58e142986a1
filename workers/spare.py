"""The time that the line leaves a scoring worker.

Live inspections go first: whoever works here begins nothing while this worker holds a message, works for no
longer than a batch takes, and then asks again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# A worker that the line keeps busy for so long leaves what it began to one that may be idle.
PATIENCE_S: Final = 5.0
# Who has had so long lets others have their turn.
TURN_S: Final = 2.0
_LOOKS_FOR_LIVE_S: Final = 0.05


class SpareTime:
    """`busy` says whether anything live is held; `working` and `progressed_at` are for a watchdog."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy
        self._ended = threading.Event()
        self.working = False
        self.progressed_at = time.monotonic()

    def comes(self) -> bool:
        """Wait until nothing live is held; says no where that takes long, or this worker is to stop."""
        until = time.monotonic() + PATIENCE_S
        while self._busy():
            if time.monotonic() > until or self._ended.wait(_LOOKS_FOR_LIVE_S):
                return False
        return not self._ended.is_set()

    def end(self) -> None:
        """Let nothing more be begun."""
        self._ended.set()

    def ends_within(self, seconds: float) -> bool:
        """Wait so long, or until it ends, and say whether it did."""
        return self._ended.wait(seconds)

    def progress(self) -> None:
        self.progressed_at = time.monotonic()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.progress()
        self.working = True
        try:
            yield
        finally:
            self.working = False
