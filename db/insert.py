"""INSERT ... ON CONFLICT: the one place that knows that each database spells it itself."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import JSON, Column, String, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from db.engine import dialect_of
from db.ledger import unsealed
from db.ledger.facts import OF_TABLE
from db.types import UTCDateTime, to_json

T = TypeVar("T")
Insert = postgresql.Insert | sqlite.Insert
_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


def insert_into(session: Session, table: type[DeclarativeBase]) -> Insert:
    """Begin an INSERT that understands on_conflict_do_nothing() and on_conflict_do_update()."""
    if dialect_of(session) == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_missing(
    session: Session,
    table: type[DeclarativeBase],
    key: InstrumentedAttribute[T],
    rows: Sequence[dict[str, Any]],
) -> list[T]:
    """Insert the rows that aren't there yet and give the `key` of those; the others are left as they are.

    All rows have the same columns. They go in by ascending key, so that two writers of the same rows wait for
    each other in one order: else PostgreSQL would end one of them as a deadlock. Facts are handed to the
    ledger along with it.
    """
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: row[key.key])
    if dialect_of(session) == "postgresql":
        inserted = _insert_columns(session, table, key, rows)
    else:
        statement = insert_into(session, table).on_conflict_do_nothing().returning(key)
        inserted = list(session.scalars(statement, rows))
    kind = OF_TABLE.get(table.__tablename__)
    if kind is not None:
        unsealed.add(session, kind, inserted)
    return inserted


def _insert_columns(
    session: Session,
    table: type[DeclarativeBase],
    key: InstrumentedAttribute[T],
    rows: Sequence[dict[str, Any]],
) -> list[T]:
    # An array a column instead of a parameter a value: a third of the time at both ends, and one statement,
    # prepared once, for any number of rows.
    names = tuple(rows[0])
    there = cast("Table", table.__table__)
    values = {name: [_bound(there.columns[name], row[name]) for row in rows] for name in names}
    session.flush()
    return list(session.connection().exec_driver_sql(_statement(there, names, key.key), values).scalars())


@cache
def _statement(table: Table, names: tuple[str, ...], key: str) -> str:
    # %()b: as text, the bytes of maps would be spelt out twice as long, and escaped.
    arrays = ", ".join(f"CAST(%({name})b AS {_type(table.columns[name])}[])" for name in names)
    listed = ", ".join(names)
    return (
        f"INSERT INTO {table.name} ({listed}) SELECT * FROM unnest({arrays}) "  # noqa: S608  # our own names
        f"ON CONFLICT DO NOTHING RETURNING {key}"
    )


def _type(column: Column[Any]) -> str:
    # A cast to varchar(n) would cut what is too long instead of refusing it.
    return "text" if isinstance(column.type, String) else column.type.compile(_POSTGRESQL)


def _bound(column: Column[Any], value: Any) -> Any:
    if isinstance(column.type, UTCDateTime):
        return column.type.process_bind_param(value, _POSTGRESQL)
    return to_json(value) if isinstance(column.type, JSON) else value
