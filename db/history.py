"""Looking inspections up, with their verdicts: the one way in for command line, pages and exports."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.engine import Row as SqlRow
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.engine import one_by_one
from db.ledger import released
from db.ledger.facts import Kind
from db.matching import Filter, newest_ids
from db.tables import AnomalyMap, Event, Inspection, Result, Review

ROWS_AT_ONCE = 500


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


def search(
    session: Session, wanted: Filter, limit: int, after: UUID | None = None, before: UUID | None = None
) -> list[Row]:
    """Give up to `limit` inspections, newest first.

    `after` is the last id of the page before: pages neither overlap nor shift while new inspections arrive.
    `before` is the first id of the page after, and gives those that come just before it.
    """
    page = newest_ids(session, wanted, after, before).limit(limit).subquery("page")
    query = (
        select(*COLUMNS)
        .select_from(page)
        .join(Inspection, Inspection.id == page.c.id)
        .join(Result, Result.inspection_id == page.c.id, isouter=True)
        .order_by(page.c.id.desc())
    )
    with one_by_one(session):
        return [_row(found) for found in session.execute(query)]


def stream(session: Session, wanted: Filter) -> Iterator[Row]:
    """Give all inspections that match, newest first, without holding them in memory."""
    after = None
    while page := search(session, wanted, ROWS_AT_ONCE, after):
        yield from page
        after = page[-1].id


def inspection(session: Session, id_: UUID) -> Detail:
    """Give all there is about an inspection; raises UnknownInspectionError, LetGoError where it was."""
    query = (
        select(Inspection, Result, AnomalyMap)
        .outerjoin(Result, Result.inspection_id == Inspection.id)
        .outerjoin(AnomalyMap, AnomalyMap.inspection_id == Inspection.id)
        .where(Inspection.id == id_)
    )
    found = session.execute(query).one_or_none()
    acts = released.acts(session, id_)
    if found is None:
        if Kind.INSPECTION in acts:
            raise LetGoError(id_, acts[Kind.INSPECTION])
        raise UnknownInspectionError(id_)
    reviews = session.scalars(select(Review).where(Review.inspection_id == id_).order_by(Review.id))
    when = {kind: act.at for kind, act in acts.items()}
    row, result, kept_map = found
    return Detail(
        row,
        result,
        kept_map,
        list(reviews),
        image_let_go=when.get(released.IMAGE),
        map_let_go=when.get(released.MAP),
    )


def neighbours(session: Session, of: Inspection) -> tuple[UUID | None, UUID | None]:
    """Give the inspections of the same station just before and just after one, None where there is none."""
    station = Filter(station=of.station)
    both = (
        newest_ids(session, station, after=of.id).limit(1).subquery(),
        newest_ids(session, station, before=of.id).limit(1).subquery(),
    )
    found = list(session.scalars(union_all(*(select(one.c.id) for one in both))))
    older = next((id_ for id_ in found if id_ < of.id), None)
    return older, next((id_ for id_ in found if id_ > of.id), None)


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


def _row(found: SqlRow[Any]) -> Row:
    values = found._asdict()
    return Row(**{**values, "regions": values["regions"] or []})
