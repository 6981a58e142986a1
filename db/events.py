"""The audit trail's events."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from db.ids import uuid7
from db.ledger import unsealed
from db.ledger.facts import Kind
from db.ledger.heads import moment
from db.ledger.signed import SIGNATURE, bound
from db.tables import Event
from db.text import readable, readable_json


def record(
    session: Session, kind: str, actor: str, subject: str | None = None, detail: dict[str, Any] | None = None
) -> UUID:
    """Note that `actor` did `kind` (such as model.promoted) to `subject`, and give the event's id.

    What db.signatures.approval gives goes into `detail` as "signature", where it is bound to this event.
    """
    at = datetime.now(UTC)
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
