"""The sweeper: what was accepted, is unjudged, and has left the queue is queued again.

The broker can lose a message (a crash between its pop and its note of it, a flush, a lost disk); the
database cannot. So recovery is bounded here and not by the broker.
"""

from datetime import timedelta

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, clock
from db.engine import make_engine, session_factory
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from workers import queue
from workers.celery import app
from workers.settings import WorkerSettings

logger = get_task_logger(__name__)


@app.task(name="workers.sweep")
def sweep() -> None:
    settings = WorkerSettings()
    engine = make_engine(DatabaseSettings())
    try:
        swept = sweep_once(session_factory(engine), settings)
    except (*UNAVAILABLE, queue.BrokerUnavailableError) as error:
        logger.warning("no sweep: %s", sentence(error))  # the next one does it; an outage is no bug
        return
    finally:
        engine.dispose()
    if swept:
        logger.warning("queued %d inspections again that had left the queue unjudged", swept)


def sweep_once(sessions: sessionmaker[Session], settings: WorkerSettings) -> int:
    """Queue overdue inspections again, at most `sweep_limit` of them; gives their number.

    Overdue is what was queued `sweep_after_s` seconds before the message that now heads the queue, and
    before all that live workers hold: messages travel first in, first out, so it has left both. A long
    queue or a slow worker is thus never given the same work twice.
    Raises workers.queue.BrokerUnavailableError; the next sweep does it then.
    """
    with sessions() as session:
        now = clock.now(session)
    with queue.connect(settings) as client:
        known = [queue.oldest_waiting(client), queue.oldest_held(client)]
    oldest = min([now, *(one for one in known if one is not None)])
    before = oldest - timedelta(seconds=settings.sweep_after_s)
    with sessions.begin() as session:
        ids = attempts.overdue(session, before, settings.sweep_limit)
        # Noted first: should the queueing fail or several sweepers run, the next look is one period away.
        attempts.mark_enqueued(session, ids, now)
    if ids:
        queue.enqueue(ids, at=now)
    return len(ids)
