"""Scores history again in the background of a scoring worker (ADR 0025).

The rescorings in the database are the queue: one worker at a time holds one under a lease, and commits what
it scored together with how far it is, so that another one goes on where this one was killed. A slice is
counted before it is tried; one that ended its worker is gone through image by image, and the image that did
it is given up after `max_attempts`.
"""

import time
from typing import Final
from uuid import UUID

from celery.utils.log import get_task_logger

from db import rescores, rescorings
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.leases import lease
from db.tables import ModelVersion, Rescoring
from model.bundle import BundleError
from workers import outcome
from workers.runtime import Runtime
from workers.slices import Slices
from workers.spare import TURN_S, SpareTime

logger = get_task_logger(__name__)

LEASE_S: Final = 30.0  # far longer than a turn, and the line's, take


class Rescorings:
    """Works off the rescorings."""

    def __init__(self, spare: SpareTime, slices: Slices) -> None:
        self._spare = spare
        self._slices = slices
        self._begun: tuple[UUID, UUID | None, int] | None = None  # rescoring, cursor, images: see _counted

    def turn(self, state: Runtime) -> bool:
        """Go on with the oldest rescoring that no other worker holds; says whether there is more to do."""
        with state.reading() as session:
            waiting = rescorings.active(session)
        for id_ in waiting:
            with lease(state.sessions, f"rescore:{id_}", LEASE_S) as held:
                if held is not None:
                    return self._carry_on(state, id_)
        return False

    def _carry_on(self, state: Runtime, id_: UUID) -> bool:
        begun = time.monotonic()
        while self._spare.comes():
            with self._spare.at_work():
                if not self._do_slice(state, id_):
                    return False
            if time.monotonic() - begun > TURN_S:
                return True
        return False

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
            scored = list(self._slices.scored(state, scorer, todo))
        with state.sessions.begin() as session:
            going_on = rescores.record(session, one, scored, last)
        self._begun = None
        return going_on

    def _images(self, state: Runtime, one: Rescoring) -> int:
        """Give how many images to score in one go: one, where more of them ended a worker."""
        counted = self._counted(one)
        if counted is not None:
            return counted
        return 1 if one.trying_to is not None else self._slices.images(state, one.model_version)

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
