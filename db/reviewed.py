"""Parts that people have looked at, and found bad."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, aliased

from db.ledger.released import IMAGE, is_let_go
from db.tables import Inspection, Result, Review


@dataclass(frozen=True)
class Defect:
    inspection_id: UUID
    image_sha256: str


def newest() -> ColumnElement[bool]:
    """Say of a review that its inspection has no newer one: a change of mind is a new row."""
    newer = aliased(Review)
    return ~select(newer.id).where(newer.inspection_id == Review.inspection_id, newer.id > Review.id).exists()


def passed_for_good() -> ColumnElement[bool]:
    """Say of an inspection and its result that it was judged ok, or rejected and overruled by a person.

    A verdict of inconclusive or error can't be overruled (db.reviews): nobody ever said that it was good. An
    ok that a person doubts is the caller's to leave out.
    """
    overruled = (
        select(Review.inspection_id)
        .where(Review.inspection_id == Inspection.id, newest(), Review.verdict == "overrule")
        .correlate(Inspection)
        .exists()
    )
    return or_(Result.verdict == "ok", and_(Result.verdict == "ng", overruled))


def defects(session: Session, product: str, limit: int) -> list[Defect]:
    """Give the product's newest `limit` parts that are bad by their newest review, each image there is once.

    Bad is a rejection that was confirmed, and an acceptance that was overruled.
    """
    found = session.execute(
        select(Inspection.id, Inspection.image_sha256)
        .join(Result, Result.inspection_id == Inspection.id)
        .join(Review, Review.inspection_id == Inspection.id)
        .where(
            Inspection.product == product,
            newest(),
            ~is_let_go(IMAGE, Inspection.id),
            or_(
                (Result.verdict == "ng") & (Review.verdict == "confirm"),
                (Result.verdict == "ok") & (Review.verdict == "overrule"),
            ),
        )
        .order_by(Inspection.id.desc())
        .limit(limit)
    )
    first_seen = {
        sha256: id_ for id_, sha256 in reversed(found.all())
    }  # the same picture is no second defect
    return [Defect(id_, sha256) for sha256, id_ in reversed(first_seen.items())]
