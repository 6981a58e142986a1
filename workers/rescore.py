"""Scores history again in the background, while the line leaves this worker nothing to do (ADR 0025).

Live inspections go first: no slice is begun while this worker holds a message, and a slice takes no longer
than a batch. The rescorings in the database are the queue: one worker at a time holds one under a lease, and
commits what it scored together with how far it is, so that another one goes on where this one was killed.
A slice is counted before it is tried; one that ended its worker is gone through image by image, and the image
that did it is given up after `max_attempts`.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from uuid import UUID

import torch
from celery.signals import worker_shutdown, worker_shutting_down
from celery.utils.log import get_task_logger

from db import rescores, rescorings
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.leases import Renew, lease
from db.outage import UNAVAILABLE, sentence
from db.rescores import ToScore
from db.results import NewResult
from db.tables import ModelVersion, Rescoring
from model.bundle import BundleError
from model.images import Decoded
from model.scoring import Scorer
from workers import outcome, stored
from workers.judge import MODEL_ERRORS
from workers.runtime import DeviceLostError, Runtime, end_for_want_of_device, runtime
from workers.watchdog import Watchdog

logger = get_task_logger(__name__)

LOOKS_EVERY_S: Final = 2.0
LEASE_S: Final = 30.0
# A worker that the line keeps busy for so long leaves the rescoring to one that may be idle.
PATIENCE_S: Final = 5.0
_LOOKS_FOR_LIVE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 30.0
_FIRST: Final = 4  # images, as long as it is not known how slow the model is
_STOPS_WITHIN_S: Final = 30.0


class Rescorer(threading.Thread):
    """Works off the rescorings whenever `busy` says that nothing live is held."""

    def __init__(self, state: Callable[[], Runtime], busy: Callable[[], bool]) -> None:
        super().__init__(name="rescorer", daemon=True)
        self._state = state
        self._busy = busy
        self._ended = threading.Event()
        self._begun: tuple[UUID, UUID | None, int] | None = None  # rescoring, cursor, images: see _counted
        self._image_s: dict[str, float] = {}  # by model
        self.working = False
        self.progressed_at = time.monotonic()

    def run(self) -> None:
        pause, away = LOOKS_EVERY_S, False
        while not self._ended.wait(pause):
            try:
                if not self._busy():
                    self.look()
            except UNAVAILABLE as error:
                if not away:
                    logger.warning("rescoring waits for database and image store: %s", sentence(error))
                pause, away = min(_LONGEST_PAUSE_S, pause * random.uniform(1.5, 2.5)), True  # noqa: S311
            except DeviceLostError as error:
                end_for_want_of_device(error)
                return
            else:
                pause, away = LOOKS_EVERY_S, False

    def stop(self) -> None:
        """Begin no other slice; the one in hand is committed."""
        self._ended.set()

    def look(self) -> None:
        """Take up the oldest rescoring that no other worker holds, until it is done or the line needs us."""
        state = self._state()
        with state.reading() as session:
            waiting = rescorings.active(session)
        for id_ in waiting:
            with lease(state.sessions, f"rescore:{id_}", LEASE_S) as renew:
                if renew is not None:
                    self._carry_on(state, id_, renew)
                    return

    def _carry_on(self, state: Runtime, id_: UUID, renew: Renew) -> None:
        renewed = time.monotonic()
        while self._may_go_on():
            if time.monotonic() - renewed > LEASE_S / 3:
                if not renew():
                    return
                renewed = time.monotonic()
            with self._at_work():
                if not self._do_slice(state, id_):
                    return

    def _may_go_on(self) -> bool:
        """Wait until nothing live is held; says no where that takes long, or this worker is to stop."""
        until = time.monotonic() + PATIENCE_S
        while self._busy():
            if time.monotonic() > until or self._ended.wait(_LOOKS_FOR_LIVE_S):
                return False
        return not self._ended.is_set()

    def _do_slice(self, state: Runtime, id_: UUID) -> bool:
        """Score the next slice and commit it; says no where there is nothing more to do here."""
        with state.reading() as session:
            one = session.get_one(Rescoring, id_)
            if one.state not in rescorings.ACTIVE:
                return False
            version = session.get_one(ModelVersion, one.model_version)
            todo = rescores.next_slice(session, one, self._images(state, one))
        if not todo:
            return self._finish(state, one, None)
        try:
            scorer = state.scorer(version)
        except ImageStoreUnavailableError:
            raise
        except (BundleError, ImageStoreError) as error:
            return self._finish(state, one, str(error))
        last = todo[-1].inspection.id
        counted = self._counted(one) is not None
        if one.trying_to is not None and one.tries >= state.settings.max_attempts and not counted:
            reason = f"given up after {one.tries} attempts that ended the worker"
            scored = [outcome.failed(todo[0].inspection, one.tries, reason)]
        else:
            if not counted:
                trying_to = max(last, one.trying_to or last)
                with state.sessions.begin() as session:
                    if not rescorings.begin(session, one, trying_to):
                        return False
                one.trying_to = trying_to
                self._begun = (one.id, one.cursor, len(todo))
            scored = list(self._scored(state, scorer, todo))
        with state.sessions.begin() as session:
            going_on = rescores.record(session, one, scored, last)
        self._begun = None
        return going_on

    def _images(self, state: Runtime, one: Rescoring) -> int:
        """Give how many images to score in one go: no more than the model does in the time of a batch."""
        counted = self._counted(one)
        if counted is not None:
            return counted
        if one.trying_to is not None:
            return 1
        took = self._image_s.get(one.model_version)
        if took is None:
            return min(_FIRST, state.images_at_once())
        return max(1, min(state.images_at_once(), round(state.settings.batch_s / took)))

    def _counted(self, one: Rescoring) -> int | None:
        """Give the images of the slice if its try is counted already: an outage does not make it two."""
        if self._begun is None or self._begun[:2] != (one.id, one.cursor):
            return None
        return self._begun[2]

    def _finish(self, state: Runtime, one: Rescoring, error: str | None) -> bool:
        with state.sessions.begin() as session:
            ended = rescorings.finish(session, one.id, outcome.worker_name(), error)
        if ended and error is not None:
            logger.error("rescoring %s of %s failed: %s", one.id, one.product, error)
        elif ended:
            logger.info("rescoring %s of %s is done: %d images", one.id, one.product, one.done)
        return False

    def _scored(self, state: Runtime, scorer: Scorer, todo: Sequence[ToScore]) -> Iterator[NewResult]:
        readable: list[tuple[ToScore, Decoded]] = []
        images = stored.decoded(state, scorer, [item.inspection for item in todo])
        for item, image in zip(todo, images, strict=True):
            self._progress()
            if isinstance(image, str):
                yield outcome.failed(item.inspection, 1, image)
            else:
                readable.append((item, image))
        if readable:
            yield from self._together(state, scorer, readable)

    def _together(
        self, state: Runtime, scorer: Scorer, readable: Sequence[tuple[ToScore, Decoded]]
    ) -> list[NewResult]:
        try:
            with state.on_device(self._progress):
                begun = time.monotonic()
                said = scorer.score([image.array for _, image in readable])
                self._note_speed(scorer.version, (time.monotonic() - begun) / len(readable))
            results = []
            for (item, image), one in zip(readable, said, strict=True):
                result = outcome.judged(state.settings, scorer, item.inspection, image, one, 1)
                results.append(result if item.keeps_map else replace(result, map=None))
        except torch.AcceleratorError as error:
            raise DeviceLostError(str(error)) from error
        except MODEL_ERRORS as error:
            if len(readable) == 1:
                return [outcome.failed(readable[0][0].inspection, 1, f"{type(error).__name__}: {error}")]
            return [result for one in readable for result in self._together(state, scorer, [one])]
        return results

    def _note_speed(self, model: str, image_s: float) -> None:
        before = self._image_s.get(model)
        self._image_s[model] = image_s if before is None else 0.7 * before + 0.3 * image_s

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._progress()
        self.working = True
        try:
            yield
        finally:
            self.working = False

    def _progress(self) -> None:
        self.progressed_at = time.monotonic()


def start(busy: Callable[[], bool], hung_after_s: float) -> Rescorer:
    """Score history in the background of a scoring worker, until that is told to stop.

    It has a watchdog of its own: the line's would neither see that it hangs nor be told by its progress.
    """
    made = Rescorer(runtime, busy)

    def stop(**_: object) -> None:
        made.stop()

    def wait(**_: object) -> None:
        made.join(_STOPS_WITHIN_S)

    worker_shutting_down.connect(stop, weak=False)
    worker_shutdown.connect(wait, weak=False)
    made.start()
    Watchdog(lambda: made.working, lambda: made.progressed_at, hung_after_s).start()
    return made
