"""Which inspections match a filter, in SQL: what lists, counts, trends and exports have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.engine import dialect_of
from db.ids import first_id
from db.regions import has_regions, is_late, largest_area
from db.reviewed import newest
from db.tables import Attempt, Inspection, Result, Review

PENDING = "pending"
UNREVIEWED = "unreviewed"
_MANY = 20_000  # scores


@dataclass(frozen=True)
class Filter:
    """What to look for; what is None doesn't matter. Times are captured_at: since <= time < until.

    `reviewed` is what the newest review says (confirm, overrule, inconclusive), or UNREVIEWED. Areas are
    those of the largest region that was marked, in pixels of the upright image.
    """

    product: str | None = None
    station: str | None = None
    line: str | None = None
    serial: str | None = None
    lot: str | None = None
    verdict: str | None = None  # or "pending": no verdict yet
    since: datetime | None = None
    until: datetime | None = None
    model_version: str | None = None
    min_score: float | None = None
    max_score: float | None = None
    reviewed: str | None = None
    min_defect_area: float | None = None
    max_defect_area: float | None = None
    late: bool | None = None  # True: only verdicts that missed their product's deadline


def matching(session: Session, wanted: Filter, *columns: Any) -> Select[Any]:
    """Select columns of the inspections that match, and of their results: not in any order."""
    judged = _judged(wanted)
    keys = (Inspection.id, Result.inspection_id) if judged else (Inspection.id,)
    return (
        select(*columns)
        .select_from(Inspection)
        .join(Result, Result.inspection_id == Inspection.id, isouter=not judged)
        .where(*_within(wanted, *keys), *_of_inspection(wanted), *_of_result(session, wanted))
        .where(*_pending(wanted), *_of_reviews(wanted, Inspection.id))
    )


def newest_ids(
    session: Session, wanted: Filter, after: UUID | None = None, before: UUID | None = None
) -> Select[Any]:
    """Select the ids that match, as `id`, newest first, those older than `after`.

    With `before`, those newer than it, the oldest of them first.

    Of a table that the filter doesn't ask for nothing is read, and joining a page of ids to their rows
    afterwards costs as much as the page is long. A database that is asked for all at once may join everything
    before it takes the newest.
    """
    of_inspection, of_result = list(_of_inspection(wanted)), list(_of_result(session, wanted))
    said = wanted.reviewed not in {None, UNREVIEWED}
    keys: list[InstrumentedAttribute[UUID]] = []  # the fewest first
    keys += [Attempt.inspection_id] if wanted.verdict == PENDING else []
    keys += [Review.inspection_id] if said else []
    keys += [Result.inspection_id] if _judged(wanted) else []
    keys += [Inspection.id] if of_inspection or not keys else []
    # Of keys that are equal, SQLite reads in the order of that one only by which it is sorted.
    key = keys[0]
    query = select(key.label("id")).where(*_within(wanted, *keys), *of_inspection, *of_result)
    for other in keys[1:]:
        query = query.join(other.class_, other == key)
    if said:
        query = query.where(Review.verdict == wanted.reviewed, newest())
    elif wanted.reviewed is not None:
        query = query.where(*_of_reviews(wanted, key))
    if after is not None:
        query = query.where(*(one < after for one in keys))
    if before is not None:
        return query.where(*(one > before for one in keys)).order_by(key)
    return query.order_by(key.desc())


def _judged(wanted: Filter) -> bool:
    """Whether only judged inspections can match: then a database may begin with the results."""
    asked = (
        wanted.model_version,
        wanted.min_score,
        wanted.max_score,
        wanted.min_defect_area,
        wanted.max_defect_area,
        wanted.late,
    )
    return wanted.verdict not in {None, PENDING} or any(value is not None for value in asked)


def _within(wanted: Filter, *keys: InstrumentedAttribute[UUID]) -> Iterator[ColumnElement[bool]]:
    """Bound the ids, which begin with the capture time, so that an index and whole partitions are skipped."""
    for key in keys:
        if wanted.since is not None:
            yield key >= first_id(wanted.since)
        if wanted.until is not None:
            yield key < first_id(wanted.until)


def _of_inspection(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    for column, value in (
        (Inspection.product, wanted.product),
        (Inspection.station, wanted.station),
        (Inspection.line, wanted.line),
        (Inspection.serial, wanted.serial),
        (Inspection.lot, wanted.lot),
    ):
        if value is not None:
            yield column == value


def _pending(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.verdict == PENDING:
        yield Inspection.id.in_(select(Attempt.inspection_id))  # few, where the results are all the others


def _of_result(session: Session, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.verdict not in {None, PENDING}:
        yield Result.verdict == wanted.verdict
    if wanted.model_version is not None:
        yield Result.model_version == wanted.model_version
    scores = list(_scores(wanted, Result.score))
    if scores:
        yield from scores if _few_scores(session, scores) else _scores(wanted, Result.score + 0.0)
    if wanted.min_defect_area is not None or wanted.max_defect_area is not None:
        yield has_regions()
    if wanted.min_defect_area is not None:
        yield largest_area() >= wanted.min_defect_area
    if wanted.max_defect_area is not None:
        yield largest_area() <= wanted.max_defect_area
    if wanted.late:
        yield is_late()


def _scores(wanted: Filter, score: Any) -> Iterator[ColumnElement[bool]]:
    if wanted.min_score is not None:
        yield score >= wanted.min_score
    if wanted.max_score is not None:
        yield score <= wanted.max_score


def _few_scores(session: Session, scores: list[ColumnElement[bool]]) -> bool:
    """Say whether to look for scores in their index: not where it leads to so many that sorting takes longer.

    PostgreSQL knows by itself how scores are distributed.
    """
    if dialect_of(session) != "sqlite":
        return True
    found = select(literal(1)).select_from(Result).where(*scores).limit(_MANY).subquery()
    return session.scalar(select(func.count()).select_from(found)) != _MANY


def _of_reviews(wanted: Filter, key: InstrumentedAttribute[UUID]) -> Iterator[ColumnElement[bool]]:
    if wanted.reviewed == UNREVIEWED:
        yield ~select(Review.id).where(Review.inspection_id == key).exists()
    elif wanted.reviewed is not None:
        yield key.in_(select(Review.inspection_id).where(Review.verdict == wanted.reviewed, newest()))
