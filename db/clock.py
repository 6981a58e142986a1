"""The one clock that stations and workers share: the database's."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """Give the time by the database's clock; SQLite's is this machine's."""
    if session.get_bind().dialect.name != "postgresql":
        return datetime.now(UTC)
    # Not now(): a transaction may have begun long before.
    at: datetime = session.scalars(select(func.clock_timestamp())).one()
    return at.astimezone(UTC)
