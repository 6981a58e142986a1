"""Stations: on which line each stands, and when it was last heard of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db import events
from db.tables import Attempt, Inspection, Station, Token
from db.text import require_name

LINE: Final = "station.line"


class UnknownStationError(Exception):
    """There is no such station."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no station {name!r}; one appears with its first image")


@dataclass(frozen=True)
class Overview:
    """A station; `last_received_at` is of its newest part, `tokens` are in force and upload for it alone."""

    name: str
    line: str | None
    created_at: datetime
    last_received_at: datetime | None
    pending: int
    tokens: int


def overview(session: Session, limit: int | None = None, after: str | None = None) -> list[Overview]:
    """Give stations by name, those after `after`."""
    query = select(Station).order_by(Station.name).limit(limit)
    return _of(session, session.scalars(query if after is None else query.where(Station.name > after)).all())


def one(session: Session, name: str) -> Overview:
    """Give one station. Raises UnknownStationError."""
    station = session.get(Station, name)
    if station is None:
        raise UnknownStationError(name)
    return _of(session, [station])[0]


def _of(session: Session, found: Sequence[Station]) -> list[Overview]:
    names = [station.name for station in found]
    waiting = select(Inspection.station, func.count()).join(Attempt, Attempt.inspection_id == Inspection.id)
    pending = _counts(session, waiting.where(Inspection.station.in_(names)).group_by(Inspection.station))
    theirs = select(Token.station, func.count()).where(Token.station.in_(names), Token.revoked_at.is_(None))
    tokens = _counts(session, theirs.group_by(Token.station))
    return [
        Overview(
            station.name,
            station.line,
            station.created_at,
            _last(session, station.name),
            pending.get(station.name, 0),
            tokens.get(station.name, 0),
        )
        for station in found
    ]


def set_line(session: Session, name: str, line: str | None, actor: str) -> None:
    """Say on which line a station stands; what its images said when they were captured stays.

    Raises UnknownStationError and db.text.UnkeepableNameError.
    """
    line = None if line is None else " ".join(line.split()) or None
    require_name("line", line)
    station = session.get(Station, name, with_for_update=True)
    if station is None:
        raise UnknownStationError(name)
    if station.line == line:
        return
    detail = {"before": station.line, "after": line}
    station.line = line
    events.record(session, LINE, actor, name, detail)


def _counts(session: Session, query: Select[Any, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(query)}


def _last(session: Session, station: str) -> datetime | None:
    newest = select(Inspection.received_at).where(Inspection.station == station)
    return session.scalar(newest.order_by(Inspection.id.desc()).limit(1))
