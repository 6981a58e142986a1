"""Drift over time, for people to look at: windows, alarms, and what became of models meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from db import models
from db.drift import is_beyond
from db.ids import first_id
from db.tables import Alarm, DriftWindow, Event

SIGNED: Final = frozenset({"brightness", "contrast", "sharpness", "saturation"})  # limits of both signs
ORDER: Final = (
    "psi",
    "ks",
    "ng_rate",
    "inconclusive_rate",
    "error_rate",
    "brightness",
    "contrast",
    "sharpness",
    "saturation",
)
MARKS: Final = {
    models.PROMOTED: "promoted",
    models.CHALLENGED: "challenger",
    models.WITHDRAWN: "withdrawn",
    "training.started": "training began",
    "training.succeeded": "trained",
    "training.failed": "training failed",
}


@dataclass(frozen=True)
class Wanted:
    """Whose windows: those that begin from `since` until before `until`."""

    product: str | None
    station: str | None
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Mark:
    """What happened to a product's models; `model` is the version that it was about, where it was."""

    at: datetime
    what: str
    who: str
    model: str | None
    why: str | None


Place = tuple[datetime, str, str, str]  # of a window: its beginning, product, station, model


def windows(
    session: Session, wanted: Wanted, limit: int | None = None, after: Place | None = None
) -> Sequence[DriftWindow]:
    """Give windows, newest first, those that follow the place `after`."""
    names = (DriftWindow.product, DriftWindow.station, DriftWindow.model_version)
    query = (
        select(DriftWindow)
        .where(DriftWindow.starts_at >= wanted.since, DriftWindow.starts_at < wanted.until)
        .order_by(DriftWindow.starts_at.desc(), *names)
        .limit(limit)
    )
    if wanted.product is not None:
        query = query.where(DriftWindow.product == wanted.product)
    if wanted.station is not None:
        query = query.where(DriftWindow.station == wanted.station)
    if after is not None:
        begin, *others = after
        later = and_(DriftWindow.starts_at == begin, tuple_(*names) > tuple_(*others))
        query = query.where(or_(DriftWindow.starts_at < begin, later))
    return session.scalars(query).all()


def place(window: DriftWindow) -> Place:
    return window.starts_at, window.product, window.station, window.model_version


def newest(session: Session, product: str | None = None) -> Sequence[DriftWindow]:
    """Give the newest window of each product and station, of one product or all."""
    last = select(DriftWindow.product, DriftWindow.station, func.max(DriftWindow.starts_at).label("at"))
    if product is not None:
        last = last.where(DriftWindow.product == product)
    of_each = last.group_by(DriftWindow.product, DriftWindow.station).subquery()
    query = select(DriftWindow).join(
        of_each,
        and_(
            DriftWindow.product == of_each.c.product,
            DriftWindow.station == of_each.c.station,
            DriftWindow.starts_at == of_each.c.at,
        ),
    )
    return session.scalars(query.order_by(DriftWindow.product, DriftWindow.station)).all()


def alarms(session: Session, wanted: Wanted) -> Sequence[Alarm]:
    """Give the alarms that were open at some time of the range, oldest first."""
    query = select(Alarm).where(
        Alarm.since < wanted.until, or_(Alarm.closed_at.is_(None), Alarm.closed_at >= wanted.since)
    )
    if wanted.product is not None:
        query = query.where(Alarm.product == wanted.product)
    if wanted.station is not None:
        query = query.where(Alarm.station == wanted.station)
    return session.scalars(query.order_by(Alarm.since, Alarm.id)).all()


def marks(session: Session, product: str, since: datetime, until: datetime) -> list[Mark]:
    """Tell when a product's models were trained and promoted, oldest first."""
    query = select(Event).where(
        Event.subject == product,
        Event.kind.in_(MARKS),
        Event.id >= first_id(since),
        Event.id < first_id(until),
    )
    return [
        Mark(
            event.at,
            _what(event.kind, event.detail),
            event.actor,
            event.detail.get("model"),
            event.detail.get("why") or event.detail.get("reason"),
        )
        for event in session.scalars(query.order_by(Event.id))
    ]


def _what(kind: str, detail: Mapping[str, Any]) -> str:
    return "rolled back" if detail.get("rolled_back") else MARKS[kind]


def names(found: Sequence[DriftWindow]) -> list[str]:
    """Give the statistics that windows have, in the order in which they are shown."""
    there = {name for one in found for name in one.statistics}
    return [name for name in ORDER if name in there] + sorted(there - set(ORDER))


def beyond(window: DriftWindow) -> list[str]:
    """Name the statistics that are beyond their limits."""
    return [name for name, one in window.statistics.items() if is_beyond(one)]
