"""Sends the golden samples that schedules say are due, and checks those that are judged (ADR 0032)."""

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db import golden_schedules, golden_trials
from db.engine import make_engine, session_factory
from db.golden_trials import Outcome
from db.outage import UNAVAILABLE, sentence
from db.schedules import ScheduleError
from db.settings import DatabaseSettings
from workers import queue
from workers.celery import app

logger = get_task_logger(__name__)


@app.task(name="workers.golden")
def golden() -> None:
    engine = make_engine(DatabaseSettings())
    try:
        sessions = session_factory(engine)
        check_all(sessions)
        send_due(sessions)
    except UNAVAILABLE as error:
        logger.warning("golden samples are not looked at: %s", sentence(error))  # the next look does it
    finally:
        engine.dispose()


def check_all(sessions: sessionmaker[Session]) -> list[Outcome]:
    """Check the trials that have their verdict, and open and close alarms."""
    with sessions.begin() as session:
        checked = golden_trials.check(session)
    for one in checked:
        if not one.passed:
            said = one.error or one.verdict
            logger.error("golden sample %s of %s at %s: %s", one.name, one.product, one.station, said)
    return checked


def send_due(sessions: sessionmaker[Session]) -> int:
    """Send the samples of each product whose schedule says so; gives how many were sent."""
    with sessions() as session:
        products = golden_schedules.enabled(session)
    sent = 0
    for product in products:  # each in a transaction of its own, as for trainings (workers.schedule)
        try:
            with sessions.begin() as session:
                trials = golden_schedules.serve(session, product)
        except ScheduleError as error:
            logger.error("the schedule of %s's golden samples: %s", product, error)  # noqa: TRY400
            continue
        if trials:
            logger.info("%d golden samples of %s are sent", len(trials), product)
            sent += len(trials)
            try:
                queue.enqueue(trials)
            except queue.BrokerUnavailableError as error:
                logger.warning("%s", error)  # they are accepted: the sweeper queues them
    return sent
