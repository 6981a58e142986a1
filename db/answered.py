"""What the API answered to requests with an Idempotency-Key: each is done once, however often it comes.

The row is inserted in the transaction of the act that the request asks for, and gets the answer afterwards.
So where there is a row the act was done, and where there is none it wasn't, whatever was killed meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.insert import insert_into
from db.tables import Answered

KEPT_FOR: Final = timedelta(hours=24)
DONE: Final = 0  # the status of what was done and has no answer, yet or for ever


@dataclass(frozen=True)
class Request:
    """Who asked, with which key, for what; of key and request (method, address, body) only hashes."""

    actor: str
    key: str
    sha256: str


def find(session: Session, request: Request) -> Answered | None:
    """Give what was asked for by the same actor with the same key, within the last KEPT_FOR."""
    return session.scalar(
        select(Answered).where(
            Answered.actor == request.actor,
            Answered.key == request.key,
            Answered.at > datetime.now(UTC) - KEPT_FOR,
        )
    )


def claim(session: Session, request: Request) -> bool:
    """Note that the request is done by this transaction; says no where another one has done it.

    On PostgreSQL it waits for another one that is about to; on SQLite there is none.
    """
    now = datetime.now(UTC)
    session.execute(
        delete(Answered).where(
            Answered.actor == request.actor, Answered.key == request.key, Answered.at <= now - KEPT_FOR
        )
    )
    row = {
        "actor": request.actor,
        "key": request.key,
        "request_sha256": request.sha256,
        "status": DONE,
        "headers": {},
        "body": b"",
        "at": now,
    }
    inserted = insert_into(session, Answered).values(row).on_conflict_do_nothing().returning(Answered.key)
    return session.scalar(inserted) is not None


def keep(session: Session, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Keep the answer to a request, and let go of those that are older than KEPT_FOR."""
    now = datetime.now(UTC)
    session.execute(delete(Answered).where(Answered.at <= now - KEPT_FOR))
    answer = {"status": status, "headers": dict(headers), "body": body}
    row = {"actor": request.actor, "key": request.key, "request_sha256": request.sha256, "at": now, **answer}
    session.execute(
        insert_into(session, Answered)
        .values(row)
        .on_conflict_do_update(index_elements=[Answered.actor, Answered.key], set_=answer)
    )
