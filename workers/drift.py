"""Closes windows of images that are over: their statistics, and the alarms that follow from them."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from celery.utils.log import get_task_logger
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, clock, drift
from db.drift import Key
from db.engine import make_engine, session_factory
from db.leases import lease
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from db.tables import DriftWindow, ModelVersion
from workers import drift_alarms, drift_statistics, queue
from workers.celery import app
from workers.drift_settings import DriftSettings
from workers.drift_statistics import RATES, images_of

logger = get_task_logger(__name__)

# Windows back that tell a station's usual rates: five days of a quarter of an hour each.
_USUAL: Final = 500
# Windows closed in one look: after an outage the next looks, a minute apart, close the rest.
MOST: Final = 200
LEASE: Final = "drift"
_LEASE_S: Final = 300.0  # for MOST windows of a busy line; whoever is killed is waited for so long


@app.task(name="workers.drift")
def look() -> None:
    settings = DriftSettings()
    if not settings.drift_window_s:
        return
    engine = make_engine(DatabaseSettings())
    try:
        sessions = session_factory(engine)
        with lease(sessions, LEASE, _LEASE_S) as mine:  # housekeeping has other things to do meanwhile
            asked = set() if mine is None else close_ripe(sessions, settings)
    except UNAVAILABLE as error:
        logger.warning("no window is closed: %s", sentence(error))  # the samples wait for the next look
        return
    finally:
        engine.dispose()
    if asked:
        try:
            queue.wake_trainer()
        except queue.BrokerUnavailableError as error:
            logger.warning("%s", error)  # trainers look by themselves as well


def close_ripe(
    sessions: sessionmaker[Session], settings: DriftSettings, now: datetime | None = None
) -> set[str]:
    """Close the windows that are ripe at `now`; gives the products that a training was asked for.

    Each in a transaction of its own, MOST of them, and any number of processes at once.
    """
    import scipy.stats  # noqa: F401, PLC0415  # takes a second, in which nobody should wait for a lock

    with sessions() as session:
        now = now or clock.now(session)
        ripe = drift.ripe(session, now, settings.drift_window_s, settings.drift_wait_s, MOST)
        watched = {one.product for one in alarms.newest(session, only_open=True) if one.kind == "drift"}
    asked = set()
    for product in sorted(watched):
        with sessions.begin() as session:
            drift.lock(session, product)
            drift_alarms.close_former(session, product)
            if drift_alarms.ask_again(session, product, settings.drift_retrain_pause_s):
                asked.add(product)
    for key in ripe:
        with sessions.begin() as session:
            if close(session, key, settings):
                asked.add(key.product)
    if ripe:
        with sessions.begin() as session:
            drift.forget(session, now - timedelta(days=settings.drift_keep_days))
    return asked


def close(session: Session, key: Key, settings: DriftSettings) -> bool:
    """Close one window in this transaction; says whether a training was asked for."""
    drift.lock(session, key.product)
    taken = drift.take(session, key)
    if not taken.verdicts or drift.came_late(session, key, taken):
        return False
    manifest = json.loads(session.get_one(ModelVersion, key.model_version).manifest)
    earlier = drift.latest(session, key, _USUAL, before=key.starts_at)
    before = {name: _usual(session, key, name, earlier) for name in RATES}
    statistics = drift_statistics.of(manifest.get("drift"), taken, before, settings)
    ends_at = key.starts_at + timedelta(seconds=settings.drift_window_s)
    drift.keep(session, key, ends_at, taken, statistics)
    return bool(statistics) and drift_alarms.heed(session, key, settings.drift_retrain_pause_s)


def _usual(session: Session, key: Key, rate: str, earlier: Sequence[DriftWindow]) -> tuple[int, int]:
    """Count how many images of how many had the verdict, in windows that tell what is usual.

    Those are no such that were beyond the limit, or the first bad hours would make the next ones usual; but
    once a person has closed an alarm of theirs, what was until then is how it is.
    """
    accepted = alarms.last_closed_at(session, key.product, key.station, rate, not_by=drift_alarms.ACTOR)
    had = of_all = 0
    for window in earlier:
        statistic = window.statistics.get(rate)
        if statistic is None or not drift.is_beyond(statistic) or (accepted and window.ends_at <= accepted):
            had += window.verdicts.get(RATES[rate], 0)
            of_all += images_of(rate, window.verdicts)
    return had, of_all
