"""Whole months on PostgreSQL: where every row is due, the partitions are dropped, which costs little."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, insert, literal, or_, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from db import events, partitions, rescores, review_queue
from db.again import BUSY, sqlstate
from db.ids import first_id
from db.ledger import lots_let_go, merkle, released
from db.ledger.facts import Kind
from db.ledger.released import ACT, IMAGE, is_let_go
from db.retention import archive as archives
from db.retention.due import Act, Due, unsealed
from db.retention.policy import holds, lock
from db.retention.turn import Turn
from db.tables import Inspection, ReleasedFact, Rescore, Result, Review, ToReview
from db.types import Id

_SOURCES: Final = (
    (Kind.INSPECTION.value, Inspection.id, Inspection.id),
    (Kind.RESULT.value, Result.inspection_id, Result.inspection_id),
    (Kind.REVIEW.value, Review.id, Review.inspection_id),
)


def let_go(
    sessions: sessionmaker[Session],
    todo: Sequence[Due],
    actor: str,
    turn: Turn,
    busy: list[datetime],
    *,
    archive: bool,
    signature: dict[str, Any] | None,
) -> Iterator[Act]:
    """Let whole months go; `busy` takes those that somebody reads just now, such as a long export."""
    rows = {(one.product, one.verdict or ""): one for one in todo if one.what == "rows"}
    with sessions() as session:
        there = partitions.months(session.connection())
    for place, month in enumerate(there):
        if not any(partitions.after(month) <= one.until for one in rows.values()):
            continue
        if turn.is_over():
            return
        try:
            with sessions.begin() as session:
                act = _month(session, month, rows, actor, archive=archive, signature=signature)
        except OperationalError as error:
            if sqlstate(error) not in BUSY:
                raise
            busy.extend(there[place:])  # each would let the line wait again
            turn.left.append(f"the month {month:%Y-%m} and those after it, which somebody reads just now")
            return
        if act is not None:
            yield act


def _month(
    session: Session,
    month: datetime,
    rows: dict[tuple[str, str], Due],
    actor: str,
    *,
    archive: bool,
    signature: dict[str, Any] | None,
) -> Act | None:
    lock(session)
    partitions.wait_briefly(session.connection())
    parts = ", ".join(
        [*(partitions.name_of(table, month) for table in partitions.TABLES), "reviews", "rescores"]
    )
    session.execute(text(f"LOCK TABLE {parts} IN SHARE ROW EXCLUSIVE MODE"))
    first, end = first_id(month), first_id(partitions.after(month))
    ones = _whole(session, month, rows)
    if ones is None or not all(one.still_in_force(session) for one in ones):
        return None
    if not ones:  # emptied row by row
        if all(partitions.after(month) <= one.until for one in rows.values()):
            partitions.remove(session.connection(), month, archive=False)
        return None
    numbers: dict[int, int] = {}

    def leaves() -> Iterator[bytes]:
        for kind, fact, inspection in _SOURCES:
            query = select(fact).where(inspection >= first, inspection < end).order_by(fact)
            for id_ in session.scalars(query, execution_options={"yield_per": 5000}):
                numbers[kind] = numbers.get(kind, 0) + 1
                yield released.leaf(kind, id_)

    root = merkle.root_of(leaves())
    # The shortest term is told, which the others have passed as well.
    one = replace(min(ones, key=lambda due: due.days), until=partitions.after(month), verdict=None)
    number = numbers[Kind.INSPECTION.value]
    went = lots_let_go.count(session, [(Inspection.id >= first) & (Inspection.id < end)])
    more = {"month": f"{month:%Y-%m}", "archived": archive, **lots_let_go.told(went)}
    detail = one.told(number, sum(numbers.values()), root, signature, **more)
    act = events.record(session, ACT, actor, None, detail)
    lots_let_go.add(session, act, went)
    for kind, fact, inspection in _SOURCES:
        named = select(literal(kind), fact, literal(act, Id())).where(inspection >= first, inspection < end)
        session.execute(insert(ReleasedFact).from_select(["kind", "fact", "act"], named))
    if archive:
        archives.keep(session, act, archives.REVIEWS)
    gone = delete(Review).where(Review.inspection_id >= first, Review.inspection_id < end)
    session.execute(gone, execution_options={"synchronize_session": False})
    rescores.let_go(session, (Rescore.inspection_id >= first) & (Rescore.inspection_id < end))
    review_queue.forget(session, (ToReview.inspection_id >= first) & (ToReview.inspection_id < end))
    partitions.remove(session.connection(), month, archive=archive)
    return Act(act, "rows", None, None, number, month)


def _whole(session: Session, month: datetime, rows: dict[tuple[str, str], Due]) -> list[Due] | None:
    """Give what all rows of a month are due by, nothing for an empty one; None where a row has to stay."""
    within = (Inspection.id >= first_id(month), Inspection.id < first_id(partitions.after(month)))
    query = (
        select(Inspection.product, Result.verdict, func.max(Result.judged_at))
        .join(Result, Result.inspection_id == Inspection.id, isouter=True)
        .where(*within)
        .group_by(Inspection.product, Result.verdict)
    )
    found = []
    for product, verdict, judged_at in session.execute(query):
        one = rows.get((product, verdict))
        if one is None or partitions.after(month) > one.until or judged_at >= one.until:
            return None
        found.append(one)
    stays = [Inspection.lot.in_(list(holds(session))), ~is_let_go(IMAGE, Inspection.id)]
    stays += [Inspection.id.in_(waiting) for waiting in unsealed()]
    return None if session.scalar(select(Inspection.id).where(*within, or_(*stays)).limit(1)) else found
