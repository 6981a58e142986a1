"""The rows of an export: those of a list, with what people said of each, and what retention let go of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.history import Row, search
from db.inspections import IDS_PER_QUERY
from db.ledger.released import IMAGE, MAP
from db.matching import Filter
from db.reviewed import newest
from db.tables import Event, ReleasedFact, Review


@dataclass(frozen=True)
class ExportRow(Row):
    """`review` is what the newest review says, whose fields are None where nobody reviewed.

    `review_signature` has printed name, time and meaning (21 CFR 11.50). `image_let_go` and `map_let_go` say
    when retention did it, None where they are kept or there never was one.
    """

    review: str | None
    review_reason_code: str | None
    review_reason: str | None
    reviewer: str | None
    reviewed_at: datetime | None
    review_signature: str | None
    image_let_go: datetime | None
    map_let_go: datetime | None


def page(session: Session, wanted: Filter, limit: int, after: UUID | None = None) -> list[ExportRow]:
    """Give up to `limit` inspections, newest first, those older than `after`."""
    rows = search(session, wanted, limit, after)
    return [
        row
        for start in range(0, len(rows), IDS_PER_QUERY)
        for row in _with_more(session, rows[start : start + IDS_PER_QUERY])
    ]


def _with_more(session: Session, rows: Sequence[Row]) -> Iterator[ExportRow]:
    ids = [row.id for row in rows]
    said = select(Review).where(Review.inspection_id.in_(ids), newest())
    reviews = {review.inspection_id: review for review in session.scalars(said)}
    released = (
        select(ReleasedFact.kind, ReleasedFact.fact, Event.at)
        .join(Event, Event.id == ReleasedFact.act)
        .where(ReleasedFact.kind.in_((IMAGE, MAP)), ReleasedFact.fact.in_(ids))
    )
    let_go = {(kind, fact): at for kind, fact, at in session.execute(released)}
    for row in rows:
        review = reviews.get(row.id)
        yield ExportRow(
            **vars(row),
            review=None if review is None else review.verdict,
            review_reason_code=None if review is None else review.reason_code,
            review_reason=None if review is None else review.reason,
            reviewer=None if review is None else review.reviewer,
            reviewed_at=None if review is None else review.created_at,
            review_signature=None if review is None else _signature(review.signature),
            image_let_go=let_go.get((IMAGE, row.id)),
            map_let_go=let_go.get((MAP, row.id)),
        )


def _signature(signature: dict[str, Any] | None) -> str | None:
    return None if signature is None else "{name}, {at}, {meaning}".format_map(signature)
