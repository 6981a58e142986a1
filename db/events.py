"""The audit trail's events."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from db.ids import uuid7
from db.ledger import unsealed
from db.ledger.facts import Kind
from db.tables import Event
from db.text import readable, readable_json


def record(
    session: Session, kind: str, actor: str, subject: str | None = None, detail: dict[str, Any] | None = None
) -> UUID:
    """Note that `actor` did `kind` (such as model.promoted) to `subject`, and give the event's id."""
    at = datetime.now(UTC)
    event = Event(
        id=uuid7(at),
        at=at,
        kind=kind,
        actor=readable(actor),
        subject=None if subject is None else readable(subject),
        detail=readable_json(detail or {}),
    )
    session.add(event)
    session.flush()
    unsealed.add(session, Kind.EVENT, [event.id])
    return event.id
