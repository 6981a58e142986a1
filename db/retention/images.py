"""Removing the files of images that acts have let go."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased, sessionmaker

from db import events, golden
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.ledger import released
from db.ledger.released import ACT, IMAGE
from db.retention.policy import holds
from db.retention.turn import Turn
from db.tables import Event, Inspection, ReleasedFact

REMOVED: Final = "retention.images_removed"  # the kind of the event
# Whoever stores an image that is there already makes it new after half of that (db.imagestore): what is
# younger may belong to an inspection whose row is about to be committed.
YOUNG: Final = timedelta(days=1)
_FILES_AT_ONCE: Final = 500  # after so many a hold that was set meanwhile is heeded
_IMAGES_AT_ONCE: Final = 20_000  # looked for among all inspections, which are read for it from end to end


@dataclass(frozen=True)
class _Files:
    """The files of some acts, by act, that no inspection that keeps its image needs, nor a golden sample.

    `lots` has the lots, by hash, of all inspections with that image. Inspections that come later needn't be
    looked for: they made the file younger than `old`.
    """

    of: dict[UUID, list[str]]
    lots: dict[str, set[str]]
    old: datetime


def remove_files(
    reading: sessionmaker[Session],
    sessions: sessionmaker[Session],
    store: ImageStore,
    actor: str,
    turn: Turn,
) -> bool:
    """Remove the files of acts that no event says it of, save those that others need or whose lot is held.

    Gives False where some are too young, or the turn ended before: they are looked for again the next time.
    Raises db.imagestore.ImageStoreUnavailableError.
    """
    young = 0
    for acts in _unfinished(reading):
        if store.is_empty():  # whose files would be taken for gone, and their names for let go
            raise ImageStoreUnavailableError(store.describe(), "it is empty; is its disk mounted?")
        if turn.is_over():
            return False
        with reading() as session:
            files = _unneeded(session, acts)
        for act, hashes in files.of.items():
            its_young = held = 0
            for start in range(0, len(hashes), _FILES_AT_ONCE):
                if turn.is_over():
                    return False
                some = hashes[start : start + _FILES_AT_ONCE]
                with reading() as session:
                    lots = set(holds(session))
                free = [sha256 for sha256 in some if not files.lots[sha256] & lots]
                held += len(some) - len(free)
                its_young += store.remove(free, older_than=files.old)
            young += its_young
            if not its_young and not held:
                with sessions.begin() as session:
                    events.record(session, REMOVED, actor, str(act), {"images": len(hashes)})
    if young:
        turn.left.append(f"{young} images that were stored within the last day, and the rows that name them")
    return not young


def _unfinished(reading: sessionmaker[Session]) -> Iterator[list[UUID]]:
    """Give the acts of which files may be left, as many at once as are looked for together."""
    with reading() as session:
        finished = set(session.scalars(select(Event.subject).where(Event.kind == REMOVED)))
        found = session.execute(select(Event.id, Event.detail).where(Event.kind == ACT).order_by(Event.id))
        acts = [
            (id_, int(detail.get("inspections", 0)))
            for id_, detail in found
            if detail.get("what") == "images" and str(id_) not in finished
        ]
    some: list[UUID] = []
    images = 0
    for id_, its_images in acts:
        if some and images + its_images > _IMAGES_AT_ONCE:
            yield some
            some, images = [], 0
        some.append(id_)
        images += its_images
    if some:
        yield some


def _unneeded(session: Session, acts: Sequence[UUID]) -> _Files:
    old = datetime.now(UTC) - YOUNG
    named = (
        select(ReleasedFact.act, Inspection.image_sha256)
        .join(Inspection, Inspection.id == ReleasedFact.fact)
        .where(ReleasedFact.act.in_(acts), ReleasedFact.kind == IMAGE)
    )
    mine = named.with_only_columns(Inspection.image_sha256)
    other = aliased(Inspection)
    # There is no index of hashes: they come in no order, so each insertion would write a page of its own.
    # As a list of hashes: joined to them, SQLite goes through all inspections for each.
    same = select(other.id, other.image_sha256, other.lot).where(other.image_sha256.in_(mine))
    found = session.execute(same).all()
    let_go = released.of(session.connection(), IMAGE, [id_ for id_, _, _ in found])
    needed = {sha256 for id_, sha256, _ in found if id_ not in let_go}
    needed.update(one.image_sha256 for one in golden.in_use(session))
    lots: dict[str, set[str]] = defaultdict(set)
    for _, sha256, lot in found:
        if lot is not None:
            lots[sha256].add(lot)
    of: dict[UUID, set[str]] = {act: set() for act in acts}
    for act, sha256 in session.execute(named):
        if sha256 not in needed:
            of[act].add(sha256)
    return _Files({act: sorted(hashes) for act, hashes in of.items()}, lots, old)
