"""The waiting room of facts that are in no block yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.engine import dialect_of
from db.ledger.facts import Kind, fact_id
from db.tables import UnsealedFact

_INSERT: Final = "INSERT INTO unsealed_facts (kind, fact, since)"
_NOW: Final = {"sqlite": "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')", "postgresql": "clock_timestamp()"}

# clock_timestamp: a transaction may have begun long before.
_ADD: Final = text(f"{_INSERT} SELECT :kind, unnest(CAST(:facts AS uuid[])), {_NOW['postgresql']}")


def add(session: Session, kind: Kind, keys: Sequence[Any]) -> None:
    """Note facts that this transaction has inserted, by primary key; they are sealed once it commits."""
    if not keys:
        return
    ids = [fact_id(kind, key) for key in keys]
    if dialect_of(session) == "postgresql":
        session.execute(_ADD, {"kind": kind.value, "facts": ids})
        return
    session.connection().exec_driver_sql(
        f"{_INSERT} VALUES (?, ?, {_NOW['sqlite']})",  # a constant
        [(kind.value, id_.bytes) for id_ in ids],
    )


def wait_anew(session: Session) -> None:
    """Let what waits have waited since now: in a backup nobody could have sealed it."""
    session.execute(text(f"UPDATE unsealed_facts SET since = {_NOW[dialect_of(session)]}"))  # noqa: S608


@dataclass(frozen=True)
class Backlog:
    """What waits to be sealed; `lag_s` is how long the first in line has waited, 0 where nothing waits."""

    facts: int
    since: datetime | None
    lag_s: float


def backlog(session: Session) -> Backlog:
    """Look into the waiting room; costs as much as it is long."""
    facts = session.scalar(select(func.count()).select_from(UnsealedFact)) or 0
    since = session.scalar(select(UnsealedFact.since).order_by(UnsealedFact.number).limit(1))
    lag = 0.0 if since is None else max(0.0, (datetime.now(UTC) - since).total_seconds())
    return Backlog(facts, since, lag)


def key_of(kind: Kind, fact: UUID) -> str:
    """Give a fact's id as people write it."""
    return fact.hex if kind is Kind.MODEL_VERSION else str(fact)
