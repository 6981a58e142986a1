"""Housekeeping of the database: partitions for the months to come, and letting go what the policy says."""

from datetime import UTC, datetime
from typing import Final

from celery.utils.log import get_task_logger

from db import partitions
from db.engine import make_engine, session_factory
from db.imagestore import open_image_store
from db.leases import lease
from db.retention.acts import apply
from db.settings import DatabaseSettings
from workers.celery import app

logger = get_task_logger(__name__)

_TURN_S: Final = 600.0  # the next hour goes on: a training waits behind it
_LEASE_S: Final = 1800.0


# Acknowledged before it starts: what takes long must not be handed to a second worker.
@app.task(name="workers.retain", acks_late=False)
def retain() -> None:
    """Make partitions ahead and apply the policy, unless another worker is at it."""
    settings = DatabaseSettings()
    engine = make_engine(settings)
    try:
        with engine.begin() as connection:
            for month in partitions.make_ahead(connection, datetime.now(UTC)):
                logger.info("made the partitions of %s", f"{month:%Y-%m}")
        sessions = session_factory(engine)
        with lease(sessions, "retain", _LEASE_S) as mine:
            if not mine:
                return
            store = open_image_store(settings)
            acts = apply(sessions, store, "retention", archive=settings.retention_archive, seconds=_TURN_S)
            for act in acts:
                what = f"{act.product}, {act.verdict}" if act.month is None else f"all of {act.month:%Y-%m}"
                logger.info("let go the %s of %d inspections (%s)", act.what, act.inspections, what)
    finally:
        engine.dispose()
