"""The thread of a scoring worker that scores what can wait, in the time that the line leaves.

In turns: what challengers have yet to score (ADR 0033), and history that somebody asks for (ADR 0025).
"""

import random
import threading
from collections.abc import Callable
from typing import Final

from celery.signals import worker_shutdown, worker_shutting_down
from celery.utils.log import get_task_logger

from db.outage import UNAVAILABLE, sentence
from workers.rescore import Rescorings
from workers.runtime import DeviceLostError, Runtime, end_for_want_of_device, runtime
from workers.shadow import Shadows
from workers.slices import Slices
from workers.spare import SpareTime
from workers.watchdog import Watchdog

logger = get_task_logger(__name__)

LOOKS_EVERY_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 30.0
_STOPS_WITHIN_S: Final = 30.0


class Background(threading.Thread):
    """Works whenever `busy` says that nothing live is held."""

    def __init__(self, state: Callable[[], Runtime], busy: Callable[[], bool]) -> None:
        super().__init__(name="background", daemon=True)
        self._state = state
        self.spare = SpareTime(busy)
        slices = Slices(self.spare.progress)
        self._shadows = Shadows(self.spare, slices)
        self._rescorings = Rescorings(self.spare, slices)

    def run(self) -> None:
        pause, away = LOOKS_EVERY_S, False
        while not self.spare.ends_within(pause):
            try:
                self.look()
            except UNAVAILABLE as error:
                if not away:
                    logger.warning(
                        "scoring in the background waits for database and image store: %s", sentence(error)
                    )
                pause, away = _longer(pause), True
            except DeviceLostError as error:
                end_for_want_of_device(error)
                return
            except Exception:  # nobody foresaw it: what the worker judges is not to wait for that
                logger.exception("scoring in the background failed, and goes on in a while")
                pause = _longer(pause)
            else:
                pause, away = LOOKS_EVERY_S, False

    def look(self) -> None:
        """Do what there is to do, until it is done or the line needs us."""
        more = True
        while more and self.spare.comes():
            more = self._shadows.turn(self._state())
            more = self._rescorings.turn(self._state()) or more


def _longer(pause_s: float) -> float:
    return min(_LONGEST_PAUSE_S, pause_s * random.uniform(1.5, 2.5))  # noqa: S311


def start(busy: Callable[[], bool], hung_after_s: float) -> Background:
    """Score in the background of a scoring worker, until that is told to stop; what is in hand is committed.

    It has a watchdog of its own: the line's would neither see that it hangs nor be told by its progress.
    """
    made = Background(runtime, busy)

    def stop(**_: object) -> None:
        made.spare.end()

    def wait(**_: object) -> None:
        made.join(_STOPS_WITHIN_S)

    worker_shutting_down.connect(stop, weak=False)
    worker_shutdown.connect(wait, weak=False)
    made.start()
    Watchdog(lambda: made.spare.working, lambda: made.spare.progressed_at, hung_after_s).start()
    return made
