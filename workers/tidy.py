"""Removes what people and machines left open: rows of ended logins, old claims, old answers of the API."""

from celery.utils.log import get_task_logger

from db import leftovers
from db.engine import make_engine, session_factory
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from workers.celery import app

logger = get_task_logger(__name__)


@app.task(name="workers.tidy")
def tidy() -> None:
    engine = make_engine(DatabaseSettings())
    try:
        with session_factory(engine).begin() as session:
            leftovers.remove(session)
    except UNAVAILABLE as error:
        logger.warning("nothing is tidied: %s", sentence(error))  # the next hour does it
    finally:
        engine.dispose()
