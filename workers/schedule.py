"""Asks for the trainings that schedules say are due."""

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db import schedules
from db.engine import make_engine, session_factory
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from workers import queue
from workers.celery import app

logger = get_task_logger(__name__)


@app.task(name="workers.schedule")
def schedule() -> None:
    engine = make_engine(DatabaseSettings())
    try:
        asked = serve_all(session_factory(engine))
    except UNAVAILABLE as error:
        logger.warning("no schedule is looked at: %s", sentence(error))  # what is due then is caught up
        return
    finally:
        engine.dispose()
    if asked:
        try:
            queue.wake_trainer()
        except queue.BrokerUnavailableError as error:
            logger.warning("%s", error)


def serve_all(sessions: sessionmaker[Session]) -> list[str]:
    """Ask for a run of each product where one is due; gives those products."""
    with sessions() as session:
        products = schedules.enabled(session)
    asked = []
    for (
        product
    ) in products:  # each in a transaction of its own: one that makes no sense is no other's trouble
        try:
            with sessions.begin() as session:
                run = schedules.serve(session, product)
        except schedules.ScheduleError as error:
            logger.error("the schedule of %s: %s", product, error)  # noqa: TRY400  # the message says it all
            continue
        if run is not None:
            logger.info("run %s of %s is due", run, product)
            asked.append(product)
    return asked
