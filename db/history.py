"""Looking inspections up, with their verdicts: the one way in for command line, pages and exports."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.ids import first_id
from db.ledger import released
from db.ledger.facts import Kind
from db.regions import has_regions, largest_area
from db.reviewed import newest
from db.tables import AnomalyMap, Event, Inspection, Result, Review

PENDING = "pending"
UNREVIEWED = "unreviewed"
ROWS_AT_ONCE = 500


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


@dataclass(frozen=True)
class Row:
    """An inspection in a list; the verdict's fields are None while it is pending."""

    id: UUID
    product: str
    station: str
    line: str | None
    serial: str | None
    lot: str | None
    captured_at: datetime
    received_at: datetime
    verdict: str | None
    score: float | None
    threshold: float | None
    model_version: str | None
    judged_at: datetime | None
    regions: list[dict[str, float]]
    error: str | None


@dataclass(frozen=True)
class Detail:
    """All there is about one inspection; `image_let_go` and `map_let_go` say when retention did it.

    A map that was let go has no data, but its scale and hash.
    """

    inspection: Inspection
    result: Result | None
    map: AnomalyMap | None
    reviews: list[Review] = field(default_factory=list)  # oldest first
    image_let_go: datetime | None = None
    map_let_go: datetime | None = None


class UnknownInspectionError(Exception):
    """There is no such inspection."""

    def __init__(self, id_: UUID | str) -> None:
        super().__init__(f"there is no inspection {id_}; `pyramidion results` lists those there are")


class LetGoError(UnknownInspectionError):
    """Retention has let the inspection go."""

    def __init__(self, id_: UUID, act: Event) -> None:
        Exception.__init__(
            self,
            f"inspection {id_} was let go by retention at {act.at:%Y-%m-%d %H:%M:%S} UTC (event {act.id}, by "
            f"policy {act.detail.get('policy')}: {act.detail.get('days')} days)",
        )


def search(session: Session, wanted: Filter, limit: int, after: UUID | None = None) -> list[Row]:
    """Give up to `limit` inspections, newest first.

    `after` is the last id of the page before: pages neither overlap nor shift while new inspections arrive.
    """
    query = _query(wanted).limit(limit)
    if after is not None:
        query = query.where(Inspection.id < after)
    return [_row(found) for found in session.execute(query)]


def stream(session: Session, wanted: Filter) -> Iterator[Row]:
    """Give all inspections that match, newest first, without holding them in memory."""
    for found in session.execute(_query(wanted).execution_options(yield_per=ROWS_AT_ONCE)):
        yield _row(found)


def inspection(session: Session, id_: UUID) -> Detail:
    """Give all there is about an inspection; raises UnknownInspectionError, LetGoError where it was."""
    found = session.get(Inspection, id_)
    acts = released.acts(session, id_)
    if found is None:
        if Kind.INSPECTION in acts:
            raise LetGoError(id_, acts[Kind.INSPECTION])
        raise UnknownInspectionError(id_)
    reviews = session.scalars(select(Review).where(Review.inspection_id == id_).order_by(Review.id))
    when = {kind: act.at for kind, act in acts.items()}
    return Detail(
        found,
        session.get(Result, id_),
        session.get(AnomalyMap, id_),
        list(reviews),
        image_let_go=when.get(released.IMAGE),
        map_let_go=when.get(released.MAP),
    )


def find(session: Session, prefix: str, limit: int = 20) -> list[UUID]:
    """Give up to `limit` inspections whose id begins with `prefix`, newest first.

    Hyphens and case don't matter. Raises ValueError where the prefix can't begin an id.
    """
    digits = prefix.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        raise ValueError(f"{prefix!r} can't begin an inspection's id, which is 32 hexadecimal digits")
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    query = select(Inspection.id).where(Inspection.id.between(first, last)).order_by(Inspection.id.desc())
    return list(session.scalars(query.limit(limit)))


COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (  # those of a Row, by name
    Inspection.id,
    Inspection.product,
    Inspection.station,
    Inspection.line,
    Inspection.serial,
    Inspection.lot,
    Inspection.captured_at,
    Inspection.received_at,
    Result.verdict,
    Result.score,
    Result.threshold,
    Result.model_version,
    Result.judged_at,
    Result.regions,
    Result.error,
)


def _query(wanted: Filter) -> Select[Any]:
    return matching(wanted, *COLUMNS).order_by(Inspection.id.desc())


def matching(wanted: Filter, *columns: Any) -> Select[Any]:
    """Select columns of the inspections that match, and of their results: not in any order."""
    return (
        select(*columns)
        .select_from(Inspection)
        .join(Result, Result.inspection_id == Inspection.id, isouter=not _judged(wanted))
        .where(*_conditions(wanted))
    )


def _judged(wanted: Filter) -> bool:
    """Whether only judged inspections can match: then a database may begin with the results."""
    asked = (
        wanted.model_version,
        wanted.min_score,
        wanted.max_score,
        wanted.min_defect_area,
        wanted.max_defect_area,
    )
    return wanted.verdict not in {None, PENDING} or any(value is not None for value in asked)


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    yield from _within(wanted)
    for column, value in (
        (Inspection.product, wanted.product),
        (Inspection.station, wanted.station),
        (Inspection.line, wanted.line),
        (Inspection.serial, wanted.serial),
        (Inspection.lot, wanted.lot),
        (Result.model_version, wanted.model_version),
        (Result.verdict, None if wanted.verdict == PENDING else wanted.verdict),
    ):
        if value is not None:
            yield column == value
    if wanted.verdict == PENDING:
        yield Result.inspection_id.is_(None)
    yield from _sizes(wanted)
    if wanted.reviewed == UNREVIEWED:
        yield ~select(Review.id).where(Review.inspection_id == Inspection.id).exists()
    elif wanted.reviewed is not None:
        said = select(Review.inspection_id).where(Review.verdict == wanted.reviewed, newest())
        yield Inspection.id.in_(said)


def _sizes(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    if wanted.min_score is not None:
        yield Result.score >= wanted.min_score
    if wanted.max_score is not None:
        yield Result.score <= wanted.max_score
    if wanted.min_defect_area is not None or wanted.max_defect_area is not None:
        yield has_regions()
    if wanted.min_defect_area is not None:
        yield largest_area() >= wanted.min_defect_area
    if wanted.max_defect_area is not None:
        yield largest_area() <= wanted.max_defect_area


def _within(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    """Bound the ids, which begin with the capture time, so that an index and whole partitions are skipped."""
    for key in (Inspection.id, Result.inspection_id) if _judged(wanted) else (Inspection.id,):
        if wanted.since is not None:
            yield key >= first_id(wanted.since)
        if wanted.until is not None:
            yield key < first_id(wanted.until)


def _row(found: SqlRow[Any]) -> Row:
    values = found._asdict()
    return Row(**{**values, "regions": values["regions"] or []})
