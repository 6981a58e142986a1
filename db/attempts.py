"""Inspections that wait for a verdict: which, since when, and how often it was tried."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from sqlalchemy import Delete, Select, bindparam, delete, select, update
from sqlalchemy.orm import Session

from db.among import among
from db.engine import dialect_of
from db.inspections import chunks
from db.tables import CHAMPION, Attempt, Inspection, ModelAlias, Product
from db.text import readable

_LOOKED_AT: Final = 200


@dataclass(frozen=True)
class Waiting:
    """An inspection without a verdict; `queued_again` says that the sweeper had to queue it once more.

    `due_at` is when the verdict is late, None where the product has no deadline.
    """

    inspection: Inspection
    attempts: int
    queued_again: bool
    last_error: str | None
    due_at: datetime | None = None


def waiting(session: Session, ids: Collection[UUID]) -> list[Waiting]:
    """Give the inspections among the ids that have no verdict, oldest first, with what was tried so far."""
    found: list[Waiting] = []
    for chunk in chunks(ids):
        rows = session.execute(
            _waiting_among(dialect_of(session)), {"ids": chunk, "first": chunk[0], "last": chunk[-1]}
        )
        found.extend(_waiting(*row) for row in rows)
    return sorted(found, key=lambda one: one.inspection.id)


@cache
def _waiting_among(
    dialect: str,
) -> Select[Inspection, int, datetime, datetime | None, str | None, int | None]:
    return (
        select(
            Inspection,
            Attempt.attempts,
            Attempt.waiting_since,
            Attempt.last_enqueued_at,
            Attempt.last_error,
            Product.deadline_ms,
        )
        .join(Attempt, Attempt.inspection_id == Inspection.id)
        .join(Product, Product.name == Inspection.product)
        .where(among(dialect, Attempt.inspection_id, "ids"))
        # What leaves months out: an array does not, and the attempts' ids come too late to plan with.
        .where(Inspection.id.between(bindparam("first"), bindparam("last")))
    )


def _waiting(
    row: Inspection,
    attempts: int,
    waiting_since: datetime,
    last_enqueued_at: datetime | None,
    last_error: str | None,
    deadline_ms: int | None,
) -> Waiting:
    again = last_enqueued_at is not None
    # By the database's clock, until a sweep overwrites it: a station's own may be off.
    accepted_at = row.received_at if again else waiting_since
    due_at = None if deadline_ms is None else accepted_at + timedelta(milliseconds=deadline_ms)
    return Waiting(row, attempts, again, last_error, due_at)


def overdue(session: Session, before: datetime, limit: int) -> list[UUID]:
    """Give up to `limit` unjudged inspections that were last enqueued, or else received, before `before`.

    Those that wait longest come first; those of a product without a champion wait for one, not for the queue.
    Costs as much as the answer is long, however many inspections are kept.
    """
    return list(
        session.scalars(
            select(Attempt.inspection_id)
            .join(Inspection, Inspection.id == Attempt.inspection_id)
            .join(ModelAlias, (ModelAlias.product == Inspection.product) & (ModelAlias.alias == CHAMPION))
            .where(Attempt.waiting_since < before)
            .order_by(Attempt.waiting_since, Attempt.inspection_id)
            .limit(limit)
        )
    )


def oldest(session: Session) -> datetime | None:
    """Give when the oldest inspection without a verdict was received, of those queued longest ago.

    Those of a product without a champion don't count: they wait for one. Costs little, however many wait.
    """
    longest = (
        select(Inspection.received_at)
        .join(Attempt, Attempt.inspection_id == Inspection.id)
        .join(ModelAlias, (ModelAlias.product == Inspection.product) & (ModelAlias.alias == CHAMPION))
        .order_by(Attempt.waiting_since)
        .limit(_LOOKED_AT)
    )
    return min(session.scalars(longest), default=None)


def mark_enqueued(session: Session, ids: Collection[UUID], at: datetime) -> None:
    """Note that the ids were handed to the queue at `at`; ids that have a verdict are left alone."""
    for chunk in chunks(ids):
        session.execute(_in_order().where(Attempt.inspection_id.in_(chunk))).all()
        session.execute(
            update(Attempt)
            .where(Attempt.inspection_id.in_(chunk))
            .values(last_enqueued_at=at, waiting_since=at)
            .execution_options(synchronize_session=False)
        )


def begin(session: Session, id_: UUID, reason: str | None) -> int:
    """Count an attempt at scoring and give how many there were, this one included.

    `reason` is the last failure, if there was one. Commit it before scoring starts, or a crash takes the
    count with it. Gives 0 where nothing waits to be scored: the inspection has its verdict, or is unknown.
    """
    values: dict[str, object] = {"attempts": Attempt.attempts + 1}
    if reason is not None:
        values["last_error"] = readable(reason)
    attempts = session.scalar(
        update(Attempt)
        .where(Attempt.inspection_id == id_)
        .values(values)
        .returning(Attempt.attempts)
        .execution_options(synchronize_session=False)
    )
    return attempts or 0


def end(session: Session, ids: Collection[UUID]) -> None:
    """Let the ids wait no longer; a rollback lets them wait again."""
    session.execute(_ended(dialect_of(session)), {"ids": list(ids)})


@cache
def _ended(dialect: str) -> Delete:
    within = among(dialect, Attempt.inspection_id, "ids")
    options = {"synchronize_session": False}
    if dialect != "postgresql":
        return delete(Attempt).where(within).execution_options(**options)
    locked = _in_order().where(within).cte("locked")
    return delete(Attempt).where(Attempt.inspection_id == locked.c.inspection_id).execution_options(**options)


def _in_order() -> Select[UUID]:
    """Lock waiting rows in one order, so that no two writers deadlock on PostgreSQL."""
    return select(Attempt.inspection_id).order_by(Attempt.inspection_id).with_for_update()
