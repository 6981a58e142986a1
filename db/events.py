"""The audit trail's events."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
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


def told(session: Session, asked: Asked, limit: int | None = None) -> Iterator[Event]:
    """Give events, newest first, without holding them in memory."""
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if asked.kind is not None:
        beginning = Event.kind.startswith(asked.kind.rstrip(".") + ".", autoescape=True)
        query = query.where((Event.kind == asked.kind) | beginning)
    if asked.subject is not None:
        query = query.where(Event.subject == asked.subject)
    if asked.since is not None:
        query = query.where(Event.id >= first_id(asked.since))
    if asked.until is not None:
        query = query.where(Event.id < first_id(asked.until))
    yield from session.scalars(query.execution_options(yield_per=500))


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
