"""Ends a worker that hangs: nobody can stop a thread from outside, but a process can end itself.

Whoever supervises it starts the next one, the sweeper queues again what it held, and the count of attempts
isolates the image that it hung on.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from celery.utils.log import get_task_logger

logger = get_task_logger(__name__)

# Code that hangs without letting go of the interpreter stops this thread as well; then the C library's timer
# ends the process. It comes later, so that a process that was merely paused (SIGSTOP, a debugger) may go on.
_LAST_RESORT_S: Final = 60.0


class Watchdog(threading.Thread):
    """Ends this process, with status 1, when it is busy and makes no progress for `hung_after_s`.

    Time in which the process itself was stopped doesn't count, unless it was a minute longer than that.
    Where each thread hung goes to standard error.
    """

    def __init__(
        self,
        busy: Callable[[], bool],
        progressed_at: Callable[[], float],
        hung_after_s: float,
        last_resort_s: float = _LAST_RESORT_S,
        setting: str = "PYRAMIDION_HUNG_AFTER_S",
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._busy = busy
        self._progressed_at = progressed_at
        self._hung_after_s = hung_after_s
        self._last_resort_s = hung_after_s + last_resort_s
        self._setting = setting

    def run(self) -> None:
        pause = min(1.0, self._hung_after_s / 10)
        seen, stalled = self._progressed_at(), 0.0
        while True:
            if stalled == 0.0:
                faulthandler.dump_traceback_later(self._last_resort_s, exit=True, file=_stderr())
            time.sleep(pause)
            # Counted in looks, not by the clock: to a process that was stopped no time has passed.
            now = self._progressed_at()
            stalled = stalled + pause if self._busy() and now == seen else 0.0
            seen = now
            if stalled >= self._hung_after_s:
                self._end()

    def _end(self) -> None:
        logger.critical(
            "no progress for %.0f s (%s): this worker ends, what it held is tried again",
            self._hung_after_s,
            self._setting,
        )
        faulthandler.dump_traceback(file=_stderr())
        os._exit(1)


def _stderr() -> TextIO:
    # In a worker sys.stderr is Celery's, which goes to the log and is no file.
    if sys.__stderr__ is None:
        raise RuntimeError("this process has no standard error")
    return sys.__stderr__
