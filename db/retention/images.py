"""Removing the files of images that acts have let go."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased, sessionmaker

from db import events
from db.imagestore import ImageStore
from db.ledger.released import ACT, IMAGE, is_let_go
from db.retention.policy import holds
from db.tables import Event, Inspection, ReleasedFact

REMOVED: Final = "retention.images_removed"  # the kind of the event
# Whoever stores an image that is there already makes it new after half of that (db.imagestore): what is
# younger may belong to an inspection whose row is about to be committed.
_YOUNG: Final = timedelta(days=1)


def remove_files(
    reading: sessionmaker[Session], sessions: sessionmaker[Session], store: ImageStore, actor: str
) -> bool:
    """Remove the files of acts that no event says it of, save those that others need or whose lot is held.

    Gives False where some are too young: they are looked for again the next time. Raises
    db.imagestore.ImageStoreUnavailableError.
    """
    all_old = True
    for act in _unfinished(reading):
        with reading() as session:
            hashes, held = _unneeded(session, act)
        young = store.remove(sorted(hashes), older_than=datetime.now(UTC) - _YOUNG)
        all_old = all_old and not young
        if not young and not held:
            with sessions.begin() as session:
                events.record(session, REMOVED, actor, str(act), {"images": len(hashes)})
    return all_old


def _unfinished(reading: sessionmaker[Session]) -> list[UUID]:
    with reading() as session:
        finished = set(session.scalars(select(Event.subject).where(Event.kind == REMOVED)))
        acts = session.execute(select(Event.id, Event.detail).where(Event.kind == ACT).order_by(Event.id))
        return [id_ for id_, detail in acts if detail.get("what") == "images" and str(id_) not in finished]


def _unneeded(session: Session, act: UUID) -> tuple[set[str], set[str]]:
    """Give the hashes of the act's images that nobody needs any more, and those that lots on hold need."""
    mine = (
        select(Inspection.image_sha256)
        .join(ReleasedFact, ReleasedFact.fact == Inspection.id)
        .where(ReleasedFact.act == act, ReleasedFact.kind == IMAGE)
    )
    other = aliased(Inspection)
    # As a list of hashes: joined to them, SQLite goes through all inspections for each.
    same = select(other.image_sha256).where(other.image_sha256.in_(mine))
    needed = set(session.scalars(same.where(~is_let_go(IMAGE, other.id))))
    lots = list(holds(session))
    held = set(session.scalars(same.where(other.lot.in_(lots)))) if lots else set()
    return set(session.scalars(mine)) - needed - held, held - needed
