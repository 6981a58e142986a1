"""The clock of the periodic tasks, which shows that it is alive."""

from pathlib import Path
from typing import Any

from celery.beat import Scheduler

from db.home import private_folder
from db.settings import DatabaseSettings
from workers.reconnect import patient

# However rare the tasks are, a health check may expect a sign of life this often.
_LONGEST_SILENCE_S = 15.0


class Clock(Scheduler):
    """Touches PYRAMIDION_HOME/beat/alive at each tick: one that hangs on its broker does not.

    Celery's default scheduler keeps a shelve file, which is pickle; this one has nothing to remember.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._alive = alive_file(DatabaseSettings().home)
        private_folder(self._alive.parent)

    def _ensure_connected(self) -> Any:
        patient(self.connection)
        return super()._ensure_connected()

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        pause = super().tick(*args, **kwargs)
        self._alive.touch()
        return min(pause, _LONGEST_SILENCE_S)


def alive_file(home: Path) -> Path:
    return home / "beat" / "alive"
