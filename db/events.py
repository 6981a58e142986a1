"""The audit trail's events."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import false, select, text, union_all
from sqlalchemy.orm import Session

from db.ids import first_id, uuid7
from db.ledger import unsealed
from db.ledger.facts import Kind
from db.ledger.heads import moment
from db.ledger.signed import SIGNATURE, bound
from db.tables import Event
from db.text import readable, readable_json


def record(
    session: Session,
    kind: str,
    actor: str,
    subject: str | None = None,
    detail: dict[str, Any] | None = None,
    at: datetime | None = None,
) -> UUID:
    """Note that `actor` did `kind` (such as model.promoted) to `subject`, and give the event's id.

    `at` is when: now by this machine's clock where None.
    What db.signatures.approval gives goes into `detail` as "signature", where it is bound to this event.
    """
    at = at or datetime.now(UTC)
    event = Event(
        id=uuid7(at),
        at=at,
        kind=kind,
        actor=readable(actor),
        subject=None if subject is None else readable(subject),
        detail=readable_json(detail or {}),
    )
    _bind(event)
    session.add(event)
    session.flush()
    unsealed.add(session, Kind.EVENT, [event.id])
    return event.id


@dataclass(frozen=True)
class Asked:
    """Which events to give; what is None doesn't matter. `kind` may be the beginning of one, up to a dot."""

    kind: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None


class UnknownEventError(Exception):
    """There is no such event."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"there is no event {id_}; `pyramidion audit events` lists those there are")


def told(
    session: Session, asked: Asked, limit: int | None = None, after: UUID | None = None
) -> Iterator[Event]:
    """Give events, newest first, those before `after`, without holding them in memory."""
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if asked.subject is not None:
        query = query.where(Event.subject == asked.subject)
    if asked.actor is not None:
        query = query.where(Event.actor == asked.actor)
    if asked.since is not None:
        query = query.where(Event.id >= first_id(asked.since))
    if asked.until is not None:
        query = query.where(Event.id < first_id(asked.until))
    if after is not None:
        query = query.where(Event.id < after)
    if asked.kind is not None:
        wanted = [one for one in kinds(session) if f"{one}.".startswith(f"{asked.kind.rstrip('.')}.")]
        if limit is None or asked.subject is not None or asked.actor is not None:
            query = query.where(Event.kind.in_(wanted))
        else:  # the newest of each kind by the index, instead of all events until there are enough
            each = [
                select(query.where(Event.kind == one).with_only_columns(Event.id).subquery())
                for one in wanted
            ]
            newest = union_all(*each).subquery() if each else None
            query = select(Event).order_by(Event.id.desc()).limit(limit)
            query = query.where(false() if newest is None else Event.id.in_(select(newest)))
    yield from session.scalars(query.execution_options(yield_per=500))


def kinds(session: Session) -> list[str]:
    """Give the kinds of the events that there are, in their order; costs as much as they are many."""
    following = "SELECT (SELECT min(kind) FROM events WHERE kind > kinds.kind)"
    names = text(
        "WITH RECURSIVE kinds(kind) AS (SELECT (SELECT min(kind) FROM events) UNION ALL "  # noqa: S608
        f"{following} FROM kinds WHERE kinds.kind IS NOT NULL) "  # a constant
        "SELECT kind FROM kinds WHERE kind IS NOT NULL"
    )
    return sorted(session.scalars(names))


def one(session: Session, id_: UUID) -> Event:
    """Raises UnknownEventError."""
    found = session.get(Event, id_)
    if found is None:
        raise UnknownEventError(id_)
    return found


def _bind(event: Event) -> None:
    signature = event.detail.pop(SIGNATURE, None)
    if signature is None:
        return
    record = {
        "id": str(event.id),
        "at": moment(event.at),
        "kind": event.kind,
        "actor": event.actor,
        "subject": event.subject,
        "detail": event.detail,
    }
    event.detail = {**event.detail, SIGNATURE: bound(signature, record)}
