"""What makes a process a training worker: it looks for runs, and trains one at a time.

The rows are the queue: the message only wakes it sooner. So trainings need no broker, and a run that was lost
with its trainer is found like any other.
"""

import os
import signal
import threading
import time
from typing import Final

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from celery.utils.log import get_task_logger

from db.outage import UNAVAILABLE, sentence
from workers.celery import TRAIN, app
from workers.runtime import Runtime, runtime
from workers.train import train_next
from workers.watchdog import Watchdog

logger = get_task_logger(__name__)

_LOOK_EVERY_S: Final = 5.0
_STOPPED_IN_S: Final = 20.0  # a step, and the end of what is being calibrated


class Trainer(threading.Thread):
    """Takes one run after the other until it is told to stop."""

    def __init__(self, state: Runtime) -> None:
        super().__init__(name="trainer", daemon=True)
        self.progressed_at = time.monotonic()
        self._state = state
        self._woken = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """Give the run in hand back, and end."""
        self._stopping.set()
        self._woken.set()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                self.progress()
                if not self._look():
                    self._woken.wait(_LOOK_EVERY_S)
        finally:
            if not self._stopping.is_set():
                # Nobody foresaw it: a bug, or a device that failed, which only a new process can use again.
                # Whoever supervises this one starts the next.
                os.kill(os.getpid(), signal.SIGTERM)

    def progress(self) -> None:
        self.progressed_at = time.monotonic()

    def _look(self) -> bool:
        try:
            return train_next(self._state, self._stopping, self.progress) is not None
        except UNAVAILABLE as error:
            logger.warning("no run is taken, or kept, for now: %s", sentence(error))
            return False


_trainers: list[Trainer] = []  # of this process: one, or none


@app.task(name="workers.trainer")
def wake() -> None:
    """Let the trainer of this process look now."""
    for trainer in _trainers:
        trainer.wake()


@worker_ready.connect
def start(sender: object, **_: object) -> None:
    if TRAIN not in getattr(sender, "app", app).amqp.queues.consume_from:
        return
    state = runtime()
    trainer = Trainer(state)
    _trainers.append(trainer)
    Watchdog(
        trainer.is_alive,
        lambda: trainer.progressed_at,
        state.settings.training_hung_after_s,
        setting="PYRAMIDION_TRAINING_HUNG_AFTER_S",
    ).start()
    trainer.start()


@worker_shutting_down.connect
def stop(**_: object) -> None:
    for trainer in _trainers:
        trainer.stop()


@worker_shutdown.connect
def wait(**_: object) -> None:
    for trainer in _trainers:
        trainer.join(_STOPPED_IN_S)
