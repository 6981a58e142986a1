"""Who looks at which part just now: the queue gives no two people the same one.

A claim lapses by itself, so that nobody waits for who went home. It forbids nothing: whoever looks at a part
by another way is told, and db.reviews lets no two reviews be made without knowing of each other.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from db import clock, review_queue
from db.insert import insert_into
from db.review_queue import Wanted
from db.tables import ReviewClaim, ToReview

_TRIED: Final = 20  # candidates that are looked at together


@dataclass(frozen=True)
class Claim:
    """`holder` looks at the part until then, unless it is freed or prolonged."""

    inspection_id: UUID
    holder: str
    until: datetime


@dataclass(frozen=True)
class HandedOut:
    """A part that its claim's holder was given; `came_round` says that the queue began anew for it."""

    claim: Claim
    came_round: bool


def hand_out(
    session: Session, wanted: Wanted, holder: str, lasting: timedelta, after: UUID | None = None
) -> HandedOut | None:
    """Claim the next part that nobody else looks at; None where there is none.

    `after` is the part before: what comes behind it is given, or, where nothing does, what the queue begins
    with, but not that part itself. Two who ask at once get different parts.
    """
    now = clock.now(session)
    # Each clears away its own that lapsed: so nobody waits for another there.
    lapsed = (ReviewClaim.holder == holder, ReviewClaim.until <= now)
    session.execute(delete(ReviewClaim).where(*lapsed), execution_options={"synchronize_session": False})
    rounds = [(after, None)] if after is None else [(after, None), (None, after)]
    for number, (behind, but) in enumerate(rounds):
        claim = _first_free(session, wanted, holder, now + lasting, now, behind, but)
        if claim is not None:
            return HandedOut(claim, came_round=number > 0)
    return None


def claim(session: Session, id_: UUID, holder: str, lasting: timedelta) -> Claim:
    """Claim a part, or prolong the claim; gives the claim that stands then: another's, where there is one."""
    now = clock.now(session)
    taken = _take(session, id_, holder, now + lasting, now)
    return taken or holder_of(session, id_) or Claim(id_, holder, now)


def holder_of(session: Session, id_: UUID) -> Claim | None:
    """Give the claim of whoever looks at a part just now."""
    row = session.get(ReviewClaim, id_, populate_existing=True)
    return None if row is None or row.until <= clock.now(session) else Claim(id_, row.holder, row.until)


def free(session: Session, holder: str, id_: UUID | None = None, until: datetime | None = None) -> None:
    """Give up a claim, or all that somebody holds.

    With `until` only the claim that lasts so long: a window that closes late frees none that is newer.
    """
    mine = [ReviewClaim.holder == holder]
    mine += [] if id_ is None else [ReviewClaim.inspection_id == id_]
    mine += [] if until is None else [ReviewClaim.until == until]
    session.execute(delete(ReviewClaim).where(*mine), execution_options={"synchronize_session": False})


def _first_free(
    session: Session,
    wanted: Wanted,
    holder: str,
    until: datetime,
    now: datetime,
    behind: UUID | None,
    but: UUID | None,
) -> Claim | None:
    while found := list(session.scalars(_candidates(wanted, holder, now, behind, but))):
        for id_ in review_queue.without_those_gone(session, found):
            taken = _take(session, id_, holder, until, now)
            if taken is not None:
                return taken
        behind = found[-1]
    return None


def _candidates(
    wanted: Wanted, holder: str, now: datetime, behind: UUID | None, but: UUID | None
) -> Select[UUID]:
    others = select(ReviewClaim.inspection_id).where(
        ReviewClaim.inspection_id == ToReview.inspection_id,
        ReviewClaim.holder != holder,
        ReviewClaim.until > now,
    )
    query = review_queue.matching(wanted).where(~others.exists()).limit(_TRIED)
    if behind is not None:
        by = ToReview.inspection_id
        query = query.where(by < behind if wanted.newest_first else by > behind)
    return query if but is None else query.where(ToReview.inspection_id != but)


def _take(session: Session, id_: UUID, holder: str, until: datetime, now: datetime) -> Claim | None:
    """Claim a part unless another does: the second of two waits for the first, and then gets nothing."""
    values = {"holder": holder, "until": until}
    taken = (
        insert_into(session, ReviewClaim)
        .values(inspection_id=id_, **values)
        .on_conflict_do_update(
            index_elements=[ReviewClaim.inspection_id],
            set_=values,
            where=or_(ReviewClaim.until <= now, ReviewClaim.holder == holder),
        )
        .returning(ReviewClaim.holder)
    )
    return None if session.scalar(taken) is None else Claim(id_, holder, until)
