"""The one clock that stations and workers share: the database's."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import dialect_of

_NOW: Final = select(func.clock_timestamp())  # not now(): a transaction may have begun long before


def now(session: Session) -> datetime:
    """Give the time by the database's clock; SQLite's is this machine's."""
    if dialect_of(session) != "postgresql":
        return datetime.now(UTC)
    at: datetime = session.scalars(_NOW).one()
    return at.astimezone(UTC)
