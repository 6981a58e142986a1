"""Housekeeping of the database: partitions for the months to come, and letting go what the policy says."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from celery.utils.log import get_task_logger
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from db import events, partitions
from db.engine import make_engine, session_factory
from db.imagestore import ImageStoreUnavailableError, open_image_store
from db.leases import Renew, lease
from db.retention import acts, policy
from db.retention.turn import LEASE, LEASE_S, Turn
from db.settings import DatabaseSettings
from workers.celery import app

logger = get_task_logger(__name__)

_ONCE_IN: Final = timedelta(hours=23, minutes=30)
_TURN_S: Final = 600.0  # the next hour goes on: a training waits behind it


# Acknowledged before it starts: what takes long must not be handed to a second worker.
@app.task(name="workers.retain", acks_late=False)
def retain() -> None:
    """Make partitions ahead; apply the policy, unless that was done within a day or is being done."""
    settings = DatabaseSettings()
    engine = make_engine(settings)
    try:
        _make_ahead(engine)
        sessions = session_factory(engine)
        if not _is_due(sessions):
            return
        with lease(sessions, LEASE, LEASE_S) as mine:
            if mine is not None:
                _apply(engine, settings, mine)
            else:
                logger.info(
                    "somebody else lets go what is due, or backs images up: the next hour looks again"
                )
    finally:
        engine.dispose()


def _make_ahead(engine: Engine) -> None:
    try:
        with engine.begin() as connection:
            for month in partitions.make_ahead(connection, datetime.now(UTC)):
                logger.info("made the partitions of %s", f"{month:%Y-%m}")
    except OperationalError as error:  # a backup reads the tables: there are months left, and the next hour
        logger.warning("no months were made ahead: %s", error.orig)


def _is_due(sessions: sessionmaker[Session]) -> bool:
    with sessions() as session:
        last = acts.last_applied(session)
        return bool(policy.rules(session)) and (last is None or datetime.now(UTC) - last > _ONCE_IN)


def _apply(engine: Engine, settings: DatabaseSettings, renew: Renew) -> None:
    deadline = time.monotonic() + _TURN_S
    turn = Turn(lambda: time.monotonic() < deadline and renew())
    done = 0
    store = open_image_store(settings)
    try:
        for act in acts.apply(engine, store, "retention", archive=settings.retention_archive, turn=turn):
            done += 1
            what = f"{act.product}, {act.verdict}" if act.month is None else f"all of {act.month:%Y-%m}"
            logger.info("let go the %s of %d inspections (%s)", act.what, act.inspections, what)
    except ImageStoreUnavailableError as error:
        turn.left.append(f"images, and the rows that name them: {error}")
    except policy.RetentionError as error:  # a person has to set it right
        turn.left.append(str(error))
    if turn.left:
        logger.warning("due, and left for the next hour: %s", "; ".join(turn.left))
        return
    with session_factory(engine).begin() as session:
        events.record(session, acts.APPLIED, "retention", None, {"acts": done})
