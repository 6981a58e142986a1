"""Alarms: what a person should look at. One stays open at a time for a product, station and statistic."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db import clock, events
from db.among import among
from db.engine import dialect_of
from db.ids import first_id, uuid7
from db.insert import insert_into
from db.tables import Alarm, Event

_T = TypeVar("_T")
Kind = Literal["drift", "golden"]
OPENED: Final = "alarm.opened"
CLOSED: Final = "alarm.closed"
_APART: Final = timedelta(minutes=5)  # the event's clock is this machine's, the alarm's the database's


class UnknownAlarmError(Exception):
    """There is no such alarm."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"there is no alarm {id_}; `pyramidion alarms` lists them")


class AlarmClosedError(Exception):
    """An alarm that is closed can't be closed again."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__(
            f"alarm {alarm.id} was closed at {alarm.closed_at:%Y-%m-%d %H:%M:%S} UTC by {alarm.closed_by}: "
            "nothing was changed"
        )


def open_(
    session: Session,
    kind: Kind,
    product: str,
    station: str,
    statistic: str,
    since: datetime,
    said: str,
    detail: dict[str, Any],
    *,
    holds: bool = False,
) -> UUID | None:
    """Open an alarm and leave its event; None where one of the same statistic is open already.

    `holds` makes the station's verdicts on the product inconclusive until it is closed.
    """
    now = clock.now(session)
    row = {
        "id": uuid7(now),
        "kind": kind,
        "product": product,
        "station": station,
        "statistic": statistic,
        "since": since,
        "opened_at": now,
        "said": said,
        "detail": detail,
        "holds": holds,
    }
    opened = session.scalar(
        insert_into(session, Alarm).values(row).on_conflict_do_nothing().returning(Alarm.id)
    )
    if opened is not None:
        told = {"alarm": str(opened), "kind": kind, "station": station, "statistic": statistic, "said": said}
        events.record(session, OPENED, kind, product, told | {"holds": holds})
    return opened


def close(session: Session, id_: UUID, by: str, why: str) -> Alarm:
    """Close an alarm and leave its event; raises UnknownAlarmError and AlarmClosedError."""
    alarm = session.get(Alarm, id_, with_for_update=True, populate_existing=True)
    if alarm is None:
        raise UnknownAlarmError(id_)
    if alarm.closed_at is not None:
        raise AlarmClosedError(alarm)
    alarm.closed_at, alarm.closed_by = clock.now(session), by
    told = {"alarm": str(id_), "station": alarm.station, "statistic": alarm.statistic, "why": why}
    events.record(session, CLOSED, by, alarm.product, told)
    return alarm


def close_unless_closed(session: Session, id_: UUID, by: str, why: str) -> bool:
    """Close an alarm that somebody else may close just now; says whether it was this that closed it."""
    try:
        close(session, id_, by, why)
    except AlarmClosedError:
        return False
    return True


def is_open(session: Session, product: str, station: str, statistic: str) -> Alarm | None:
    query = select(Alarm).where(
        Alarm.product == product,
        Alarm.station == station,
        Alarm.statistic == statistic,
        Alarm.closed_at.is_(None),
    )
    return session.scalar(query)


def last_closed_at(
    session: Session, product: str, station: str, statistic: str, *, not_by: str | None = None
) -> datetime | None:
    """Tell when an alarm of this statistic was last closed, by anybody else than `not_by`.

    What was seen before opens none again.
    """
    query = select(func.max(Alarm.closed_at)).where(
        Alarm.product == product, Alarm.station == station, Alarm.statistic == statistic
    )
    return session.scalar(query if not_by is None else query.where(Alarm.closed_by != not_by))


def newest(
    session: Session,
    product: str | None = None,
    *,
    only_open: bool = False,
    only_closed: bool = False,
    limit: int | None = None,
    after: UUID | None = None,
) -> Sequence[Alarm]:
    """Give the alarms, of one product or all, newest first; `after` is the last one of the page before."""
    query = _of(select(Alarm), product, only_open=only_open)
    if only_closed:
        query = query.where(Alarm.closed_at.is_not(None))
    if after is not None:
        query = query.where(Alarm.id < after)
    return session.scalars(query.order_by(Alarm.id.desc()).limit(limit)).all()


def get(session: Session, id_: UUID) -> Alarm:
    """Give an alarm; raises UnknownAlarmError."""
    alarm = session.get(Alarm, id_)
    if alarm is None:
        raise UnknownAlarmError(id_)
    return alarm


def why_closed(session: Session, alarm: Alarm) -> str | None:
    """Tell what was said when an alarm was closed; None while it is open."""
    if alarm.closed_at is None:
        return None
    query = (
        select(Event.detail)
        .where(Event.kind == CLOSED, Event.id >= first_id(alarm.closed_at - _APART))
        .where(Event.id < first_id(alarm.closed_at + _APART))
    )
    reasons = (told.get("why") for told in session.scalars(query) if told.get("alarm") == str(alarm.id))
    return next(reasons, None)


def as_dict(alarm: Alarm) -> dict[str, Any]:
    return {column.name: getattr(alarm, column.name) for column in alarm.__table__.columns}


def number(session: Session, product: str | None = None, *, only_open: bool = False) -> int:
    """Count the alarms, of one product or all."""
    return session.scalar(_of(select(func.count(Alarm.id)), product, only_open=only_open)) or 0


def _of(query: Select[_T], product: str | None, *, only_open: bool) -> Select[_T]:
    if product is not None:
        query = query.where(Alarm.product == product)
    return query.where(Alarm.closed_at.is_(None)) if only_open else query


def held(session: Session, products: Collection[str]) -> set[tuple[str, str]]:
    """Give the (product, station) whose verdicts are inconclusive until an alarm is closed."""
    found = session.execute(_held(dialect_of(session)), {"products": list(products)})
    return {(row[0], row[1]) for row in found}


@cache
def _held(dialect: str) -> Select[str, str]:
    return select(Alarm.product, Alarm.station).where(
        among(dialect, Alarm.product, "products"), Alarm.holds, Alarm.closed_at.is_(None)
    )
