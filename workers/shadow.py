"""Lets challengers score beside the champion, in the background of a scoring worker (ADR 0033).

What a challenger has yet to score waits in the database (db.shadow): one worker at a time holds a challenger
under a lease, and another goes on where this one was killed. An image is counted before it is tried; what
ended a worker is tried after all others, alone, and given up after `max_attempts`. Once a challenger has
scored enough, whoever holds it decides (db.promotion), unless it was altered meanwhile. One that is
withdrawn, replaced or promoted stops with the slice in hand, of which nothing is kept.
"""

import time
from datetime import datetime
from typing import Final
from uuid import UUID

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session

from db import bundles, models, policies, promotion, shadow
from db.bundles import AlteredModelError
from db.imagestore import CorruptBlobError, ImageStoreError, ImageStoreUnavailableError
from db.leases import lease
from db.results import NewResult
from db.shadow import Waiting
from db.tables import ModelAlias, ModelVersion
from model.bundle import BundleError
from model.scoring import Scorer
from workers import outcome
from workers.runtime import Runtime
from workers.slices import Slices
from workers.spare import TURN_S, SpareTime

logger = get_task_logger(__name__)

LEASE_S: Final = 15.0  # a killed worker's challenger waits so long: longer than a turn, and the line's, take


class Shadows:
    """Works off what challengers have yet to score."""

    def __init__(self, spare: SpareTime, slices: Slices) -> None:
        self._spare = spare
        self._slices = slices
        self._counted: set[UUID] = set()  # tries that came to no end: an outage does not make them two
        self._lost: set[str] = set()  # versions of which that was said
        self._settled: set[tuple[str, datetime]] = set()  # challengers, and since when they are

    def turn(self, state: Runtime) -> bool:
        """Go on with each challenger that no other worker holds; says whether there is more to do."""
        with state.reading() as session:
            found = [one for one in shadow.challengers(session) if self._needs_us(session, one)]
        more = False
        for one in found:
            # Two challengers of the same first digits wait for each other, no more.
            with lease(state.sessions, f"shadow:{one.model_version[:48]}", LEASE_S) as held:
                if held is not None:
                    more = self._carry_on(state, one) or more
        return more

    def _carry_on(self, state: Runtime, one: ModelAlias) -> bool:
        begun = time.monotonic()
        with state.sessions.begin() as session:
            shadow.tidy(session, one, policies.of(session, one.product).shadow_images)
        while self._spare.comes():
            self._settle(state, one)
            with self._spare.at_work():
                if not self._do_slice(state, one):
                    return False
            if time.monotonic() - begun > TURN_S:
                return True
        return False

    def _do_slice(self, state: Runtime, one: ModelAlias) -> bool:
        """Score the next slice and commit it; says no where there is nothing more to do here."""
        with state.reading() as session:
            if not shadow.stands(session, one):
                return False
            version = session.get_one(ModelVersion, one.model_version)
            images = self._slices.images(state, one.model_version)
            waiting, gone = shadow.next_slice(session, one, images)
        if gone:
            with state.sessions.begin() as session:
                shadow.forget(session, gone)
        if not waiting:
            return bool(gone)
        try:
            scorer = state.scorer(version)
        except ImageStoreUnavailableError:
            raise
        except ImageStoreError as error:  # a store that was not mounted has lost nothing
            self._say_lost(one, error)
            return False
        except BundleError as error:
            self._withdraw(state, one, str(error))
            return False
        scored = self._scored(state, scorer, waiting)
        with state.sessions.begin() as session:
            going_on = shadow.record(session, one, scored)
        self._counted.difference_update(item.inspection_id for item in scored)
        return going_on

    def _scored(self, state: Runtime, scorer: Scorer, waiting: list[Waiting]) -> list[NewResult]:
        todo = [one for one in waiting if self._tries(one) == 0] or waiting[:1]
        tries = self._tries(todo[0])
        if tries >= state.settings.max_attempts:
            reason = f"given up after {tries} attempts that ended the worker"
            return [outcome.failed(todo[0].item.inspection, tries, reason)]
        new = [one.id for one in todo if one.id not in self._counted]
        with state.sessions.begin() as session:
            shadow.begin(session, new)
        self._counted.update(new)
        return list(self._slices.scored(state, scorer, [one.item for one in todo]))

    def _tries(self, one: Waiting) -> int:
        return one.tries - (1 if one.id in self._counted else 0)

    def _needs_us(self, session: Session, one: ModelAlias) -> bool:
        return shadow.waiting(session, one) > 0 or self._is_due(session, one)

    def _is_due(self, session: Session, one: ModelAlias) -> bool:
        return (one.model_version, one.changed_at) not in self._settled and promotion.is_due(session, one)

    def _settle(self, state: Runtime, one: ModelAlias) -> None:
        """Decide about a challenger that has scored enough."""
        with state.reading() as session:
            if not self._is_due(session, one):
                return
        if not self._is_whole(state, one):
            return
        with state.sessions.begin() as session:
            decision = promotion.settle(session, one)
        if decision is None:
            return
        self._settled.add((one.model_version, one.changed_at))
        what = "judges from now on" if decision.promote else "waits for a person"
        why = "; ".join(decision.reasons)
        logger.info("challenger %s of %s %s: %s", one.model_version[:12], one.product, what, why)

    def _is_whole(self, state: Runtime, one: ModelAlias) -> bool:
        """Say whether a challenger is what its version says; one that was altered is none any more."""
        try:
            with state.reading() as session:
                bundles.require_whole(session, one.model_version, state.store)
        except ImageStoreUnavailableError:
            raise
        except AlteredModelError as error:
            self._withdraw(state, one, f"it can't judge: {error.why}")
        except CorruptBlobError as error:
            self._withdraw(state, one, f"its weights can't be had: {error}")
        except ImageStoreError as error:
            self._say_lost(one, error)
        else:
            return True
        return False

    def _say_lost(self, one: ModelAlias, error: ImageStoreError) -> None:
        if one.model_version not in self._lost:
            logger.error("challenger %s of %s waits: %s", one.model_version[:12], one.product, error)
        self._lost.add(one.model_version)

    def _withdraw(self, state: Runtime, one: ModelAlias, why: str) -> None:
        with state.sessions.begin() as session:
            gone = models.withdraw_challenger(
                session, one.product, promotion.ACTOR, why, expected=one.model_version
            )
        if gone is not None:
            logger.error("challenger %s of %s is none any more: %s", gone[:12], one.product, why)
