"""INSERT ... ON CONFLICT: the one place that knows that each database spells it itself."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from db.ledger import unsealed
from db.ledger.facts import OF_TABLE

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert


def insert_into(session: Session, table: type[DeclarativeBase]) -> Insert:
    """Begin an INSERT that understands on_conflict_do_nothing() and on_conflict_do_update()."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(
    session: Session,
    table: type[DeclarativeBase],
    key: InstrumentedAttribute[T],
    rows: Sequence[dict[str, Any]],
) -> list[T]:
    """Insert the rows that aren't there yet and give the `key` of those; the others are left as they are.

    Rows go in by ascending key, so that two writers of the same rows wait for each other in one order: else
    PostgreSQL would end one of them as a deadlock. Facts are handed to the ledger along with it.
    """
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: row[key.key])
    statement = insert_into(session, table).on_conflict_do_nothing().returning(key)
    inserted = list(session.scalars(statement, rows))
    kind = OF_TABLE.get(table.__tablename__)
    if kind is not None:
        unsealed.add(session, kind, inserted)
    return inserted
