"""Removing the images of golden samples that were retired, where nothing else needs them."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import events, golden
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.ledger import released
from db.ledger.released import IMAGE
from db.retention import images
from db.retention.policy import holds
from db.retention.turn import Turn
from db.tables import Event, GoldenSample, Inspection

SETTLED: Final = "golden.image_settled"  # the kind of the event; the subject is the sample


def remove_files(
    reading: sessionmaker[Session],
    sessions: sessionmaker[Session],
    store: ImageStore,
    actor: str,
    turn: Turn,
) -> None:
    """Settle what becomes of each retired sample's image, with an event that says whether it was removed.

    An image that an inspection keeps goes with that one's act, and one of a sample in use with its own
    retirement. What was stored within the last day, or is of a held lot, is looked at again the next time.
    Raises db.imagestore.ImageStoreUnavailableError.
    """
    old = datetime.now(UTC) - images.YOUNG
    with reading() as session:
        settled = set(session.scalars(select(Event.subject).where(Event.kind == SETTLED)))
        query = select(GoldenSample.id, GoldenSample.image_sha256).where(GoldenSample.retired_at.is_not(None))
        retired = [(id_, sha256) for id_, sha256 in session.execute(query) if str(id_) not in settled]
    if not retired or turn.is_over():
        return
    if store.is_empty():  # its files would be taken for gone
        raise ImageStoreUnavailableError(store.describe(), "it is empty; is its disk mounted?")
    with reading() as session:
        hashes = {sha256 for _, sha256 in retired}
        same = select(Inspection.id, Inspection.image_sha256, Inspection.lot)
        found = session.execute(same.where(Inspection.image_sha256.in_(hashes))).all()
        let_go = released.of(session.connection(), IMAGE, [id_ for id_, _, _ in found])
        needed = {sha256 for id_, sha256, _ in found if id_ not in let_go}
        needed.update(one.image_sha256 for one in golden.in_use(session))
        lots = set(holds(session))
        held = {sha256 for _, sha256, lot in found if lot in lots}
    for id_, sha256 in retired:
        if turn.is_over():
            return
        removed = sha256 not in needed
        if removed and (sha256 in held or store.remove([sha256], older_than=old)):
            continue
        with sessions.begin() as session:
            told = {"image_sha256": sha256, "removed": removed}
            events.record(session, SETTLED, actor, str(id_), told)
