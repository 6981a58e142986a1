"""Whether a lot is complete: what was captured of it, and what became of each part."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.inspections import counts
from db.ledger import lots_let_go
from db.reviewed import newest
from db.tables import Inspection, Review


@dataclass(frozen=True)
class LetGo:
    """How many inspections of a product and verdict went, by which act of retention (an event), and when."""

    act: UUID
    at: datetime
    product: str
    verdict: str
    inspections: int


@dataclass(frozen=True)
class Completeness:
    """captured = judged + error + pending + let_go, judged = ok + ng + inconclusive.

    `let_go` are those of which retention has removed all, by `acts`; the other counts are of what is left.
    `reviewed` are those that people looked at, `overridden` those of them whose newest review overrules. The
    same names and numbers stand in evidence, whose verifier counts them anew from the facts in it.
    """

    captured: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int
    reviewed: int
    overridden: int
    let_go: int = 0
    acts: tuple[LetGo, ...] = ()

    @property
    def judged(self) -> int:
        return self.ok + self.ng + self.inconclusive

    @property
    def is_complete(self) -> bool:
        """Whether each part that was captured has its verdict here, if only that it could not be judged."""
        return self.pending == 0 and self.let_go == 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "judged": self.judged, "complete": self.is_complete}


def completeness(session: Session, lot: str, product: str | None = None) -> Completeness:
    """Count a lot, or a product's part of it; all is 0 where nothing was captured of it.

    `session` reads one snapshot (db.ledger.seal.snapshot, db.partitions.keep): else what retention lets go
    meanwhile counts twice, or not at all.
    """
    found = counts(session, product=product, lot=lot)
    said = (
        select(Review.verdict, func.count())
        .join(Inspection, Inspection.id == Review.inspection_id)
        .where(Inspection.lot == lot, newest())
        .group_by(Review.verdict)
    )
    if product is not None:
        said = said.where(func.coalesce(Inspection.product, "") == product)  # by the index over lots
    reviews = {row[0]: row[1] for row in session.execute(said)}
    went = lots_let_go.of_lot(session, lot, product)
    acts = tuple(LetGo(act.id, act.at, one.product, one.verdict, one.inspections) for one, act in went)
    let_go = sum(one.inspections for one in acts)
    return Completeness(
        captured=found.accepted + let_go,
        ok=found.ok,
        ng=found.ng,
        inconclusive=found.inconclusive,
        error=found.error,
        pending=found.pending,
        reviewed=sum(reviews.values()),
        overridden=reviews.get("overrule", 0),
        let_go=let_go,
        acts=acts,
    )
