"""What a small picture of a part is drawn from: asked for by the dozen, so without all the rest."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.history import UnknownInspectionError
from db.ledger.released import IMAGE, MAP
from db.tables import AnomalyMap, Event, Inspection, ReleasedFact, Result


@dataclass(frozen=True)
class Pictured:
    """An image and what its map is drawn by; `map_sha256` is None where there is none, or none any more."""

    image_sha256: str
    image_let_go: datetime | None
    is_judged: bool
    map_sha256: str | None
    low: float
    high: float
    threshold: float
    regions: list[dict[str, float]]


def pictured(session: Session, id_: UUID) -> Pictured:
    """Raises UnknownInspectionError."""
    query = (
        select(
            Inspection.image_sha256,
            Result.verdict,
            Result.threshold,
            Result.regions,
            AnomalyMap.sha256,
            AnomalyMap.low,
            AnomalyMap.high,
        )
        .outerjoin(Result, Result.inspection_id == Inspection.id)
        .outerjoin(AnomalyMap, AnomalyMap.inspection_id == Inspection.id)
        .where(Inspection.id == id_)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        raise UnknownInspectionError(id_)
    released = (
        select(ReleasedFact.kind, Event.at)
        .join(Event, Event.id == ReleasedFact.act)
        .where(ReleasedFact.kind.in_((IMAGE, MAP)), ReleasedFact.fact == id_)
    )
    let_go = {row[0]: row[1] for row in session.execute(released)}
    return Pictured(
        image_sha256=found.image_sha256,
        image_let_go=let_go.get(IMAGE),
        is_judged=found.verdict is not None,
        map_sha256=None if MAP in let_go else found.sha256,
        low=found.low or 0.0,
        high=found.high or 0.0,
        threshold=found.threshold or 0.0,
        regions=found.regions or [],
    )


def map_png(session: Session, id_: UUID) -> bytes:
    """Give the bytes of a map that there is."""
    return session.scalars(select(AnomalyMap.data).where(AnomalyMap.inspection_id == id_)).one()
