"""What stations do just now: newest parts, what waits for a verdict, what was rejected, counts by minute.

Each question costs as much as its answer is long, however long the history is. Where it says since when, it
says so of each table: then PostgreSQL needs not look at the months before, not even to plan it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Integer, and_, cast, extract, func, select, union_all
from sqlalchemy.orm import Session

from db.engine import one_by_one
from db.golden import is_trial
from db.ids import first_id
from db.ledger.released import IMAGE, is_let_go
from db.matching import PENDING
from db.tables import AnomalyMap, Attempt, Inspection, Result, Station
from db.trends import Figures

REJECTED: Final = ("ng", "inconclusive", "error")
MINUTE_S: Final = 60
_WAITING: Final = 2_000  # the oldest that wait; of a larger backlog only the number is told
_COLUMNS: Final = (
    Inspection.id,
    Inspection.station,
    Inspection.product,
    Inspection.serial,
    Inspection.lot,
    Inspection.captured_at,
    Result.verdict,
    Result.score,
    Result.threshold,
)


@dataclass(frozen=True)
class Part:
    """An inspection as a wall shows it; `verdict` is None while it is pending."""

    id: UUID
    station: str
    product: str
    serial: str | None
    lot: str | None
    captured_at: datetime
    verdict: str | None
    score: float | None
    threshold: float | None


@dataclass(frozen=True)
class Waiting:
    """What waits for a verdict: `total` in all; by station how many, and when the oldest was received.

    Where not `complete`, `stations` tells only of the oldest that wait.
    """

    total: int
    complete: bool
    stations: dict[str, tuple[int, datetime]]


@dataclass(frozen=True)
class Picture:
    """What the drawing of an inspection is made of; without a map where there is none (any more)."""

    id: UUID
    image_sha256: str
    map: bytes | None
    low: float
    high: float
    threshold: float
    regions: list[dict[str, float]]


def stations(
    session: Session, since: datetime | None = None
) -> Sequence[tuple[str, str | None, UUID | None]]:
    """Give each station's name, its line, and its newest inspection, if it has one since then."""
    newest = (
        select(Inspection.id)
        .where(Inspection.station == Station.name)
        .order_by(Inspection.id.desc())
        .limit(1)
    )
    if since is not None:
        newest = newest.where(Inspection.id >= first_id(since))
    query = select(Station.name, Station.line, newest.scalar_subquery()).order_by(Station.name)
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def waiting(session: Session, most: int = _WAITING) -> Waiting:
    """Count what waits, of a backlog of more than `most` only the oldest by station."""
    oldest = select(Attempt.inspection_id).order_by(Attempt.inspection_id).limit(most).subquery()
    query = (
        select(Inspection.station, func.count(), func.min(Inspection.received_at))
        .join(oldest, oldest.c.inspection_id == Inspection.id)
        .group_by(Inspection.station)
    )
    with one_by_one(session):
        found = {row[0]: (row[1], row[2]) for row in session.execute(query)}
    counted = sum(number for number, _ in found.values())
    total = counted
    if counted >= most:
        total = session.scalar(select(func.count()).select_from(Attempt)) or 0
    return Waiting(total, total <= counted, found)


def newest(session: Session, of: Mapping[str, UUID | None], number: int) -> dict[str, list[Part]]:
    """Give the newest `number` parts of each of these stations, by its own clock.

    Of a station that has an id, only parts from that one on.
    """
    found: dict[str, list[Part]] = {}
    with one_by_one(session):
        for name, oldest in of.items():
            first = oldest or UUID(int=0)
            its = and_(Result.inspection_id == Inspection.id, Result.inspection_id >= first)
            query = (
                select(*_COLUMNS)
                .join(Result, its, isouter=True)
                .where(Inspection.station == name, Inspection.id >= first)
                .order_by(Inspection.id.desc())
                .limit(number)
            )
            found[name] = [Part(*row) for row in session.execute(query)]
    return found


def rejected(session: Session, since: datetime, number: int) -> list[Part]:
    """Give the newest `number` parts of each verdict but ok, newest first; golden samples are no parts."""
    first = first_id(since)
    ids = union_all(
        *(
            select(
                select(Result.inspection_id)
                .where(Result.verdict == verdict, Result.inspection_id >= first)
                .order_by(Result.inspection_id.desc())
                .limit(number)
                .subquery()
            )
            for verdict in REJECTED
        )
    ).subquery()
    query = (
        select(*_COLUMNS)
        .select_from(ids)
        .join(Inspection, Inspection.id == ids.c.inspection_id)
        .join(Result, Result.inspection_id == ids.c.inspection_id)
        .where(Inspection.id >= first, Result.inspection_id >= first, ~is_trial(Inspection.id))
        .order_by(ids.c.inspection_id.desc())
    )
    with one_by_one(session):
        return [Part(*row) for row in session.execute(query)]


def rates(session: Session, since: datetime, until: datetime) -> dict[str, float]:
    """Give the images a second that each station captured in that time."""
    query = (
        select(Inspection.station, func.count())
        .where(Inspection.id >= first_id(since), Inspection.id < first_id(until))
        .group_by(Inspection.station)
    )
    seconds = (until - since).total_seconds()
    return {row[0]: row[1] / seconds for row in session.execute(query)}


def by_minute(session: Session, since: datetime, until: datetime) -> dict[int, dict[str, Figures]]:
    """Count verdicts by minute since 1970 and station, of what was captured in that time.

    Minutes without any are left out. Golden samples are no production and don't count.
    """
    minute = cast(func.floor(extract("epoch", Inspection.captured_at) / MINUTE_S), Integer)
    verdict = func.coalesce(Result.verdict, PENDING)
    first, end = first_id(since), first_id(until)
    its = and_(
        Result.inspection_id == Inspection.id, Result.inspection_id >= first, Result.inspection_id < end
    )
    query: Any = (
        select(minute, Inspection.station, verdict, func.count())
        .select_from(Inspection)
        .join(Result, its, isouter=True)
        .where(Inspection.id >= first, Inspection.id < end)
        .where(~is_trial(Inspection.id))
        .group_by(minute, Inspection.station, verdict)
    )
    found: dict[int, dict[str, Figures]] = defaultdict(dict)
    for number, station, said, count in session.execute(query):
        before = found[number].get(station, Figures())
        found[number][station] = replace(before, captured=before.captured + count, **{said: count})
    return dict(found)


def pictures(session: Session, ids: Collection[UUID]) -> list[Picture]:
    """Give what drawings of these inspections are made of, of those whose image is still kept."""
    query = (
        select(
            Inspection.id,
            Inspection.image_sha256,
            AnomalyMap.data,
            AnomalyMap.low,
            AnomalyMap.high,
            Result.threshold,
            Result.regions,
        )
        .join(Result, Result.inspection_id == Inspection.id)
        .join(AnomalyMap, AnomalyMap.inspection_id == Inspection.id, isouter=True)
        .where(Inspection.id.in_(ids), ~is_let_go(IMAGE, Inspection.id))
    )
    return [
        Picture(id_, sha256, data or None, low or 0.0, high or 0.0, threshold or 0.0, regions or [])
        for id_, sha256, data, low, high, threshold, regions in session.execute(query)
    ]
