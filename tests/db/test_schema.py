"""The migrated schema is the one that the code describes, and keeps facts as they were written."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import datasets, events, migrate, partitions, results
from db.ids import uuid7
from db.ledger import lots_let_go, released
from db.ledger.released import ACT, MAP
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.tables import INSERT_ONLY, Base, Review


def test_migrated_schema_is_the_metadata(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=migrate.options())
        assert compare_metadata(context, Base.metadata) == []


def test_checks_are_migrated_too(engine: Engine) -> None:
    # compare_metadata doesn't look at CHECK constraints.
    for table in Base.metadata.tables.values():
        wanted = {str(check.name) for check in table.constraints if isinstance(check, CheckConstraint)}
        found = {str(check["name"]) for check in inspect(engine).get_check_constraints(table.name)}
        assert found == wanted, table.name


@pytest.fixture
def facts(
    engine: Engine,
    sessions: sessionmaker[Session],
    accepted: Callable[..., list[UUID]],
    new_result: Callable[..., results.NewResult],
    model_version: str,
) -> None:
    """At least one row in each table of facts, and of the ledger."""
    (id_,) = accepted()
    with sessions.begin() as session:
        map_ = results.NewMap(bits=8, low=0, high=1, width=1, height=1, data=b"png", sha256="c" * 64)
        results.record(session, [new_result(id_, map=map_)])
        events.record(session, "test", "tester")
        datasets.keep(session, "tile", [], {})
        now = datetime.now(UTC)
        act = events.record(session, ACT, "test")
        released.add(session, act, MAP, [id_])
        lots_let_go.add(session, act, [lots_let_go.Went("L1", "tile", "ok", 1)])
        session.add(Review(id=uuid7(now), inspection_id=id_, verdict="confirm", reviewer="r", created_at=now))
    seal(engine, LedgerSettings())


@pytest.mark.parametrize("table", INSERT_ONLY)
def test_facts_are_never_changed_or_removed(table: str, engine: Engine, facts: None) -> None:
    column = inspect(engine).get_columns(table)[0]["name"]
    rows = text(f"SELECT count(*) FROM {table}")
    with engine.connect() as connection:
        before = connection.scalar(rows)
    assert before
    changes = [f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"]
    if engine.dialect.name == "postgresql":
        changes.append(f"TRUNCATE {table} CASCADE")
        if table in partitions.TABLES:
            part = partitions.name_of(table, partitions.month_of(datetime.now(UTC)))
            changes.append(f"TRUNCATE {part} CASCADE")
    else:
        changes.append(f"REPLACE INTO {table} SELECT * FROM {table}")  # deletes, past triggers unless told
    for change in changes:
        with pytest.raises(IntegrityError, match="is insert-only"), engine.begin() as connection:
            connection.execute(text(change))
    with engine.connect() as connection:
        assert connection.scalar(rows) == before


def violation(engine: Engine, statement: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(statement), values)


def test_the_database_itself_refuses_half_a_verdict(
    engine: Engine, accepted: Callable[..., list[UUID]]
) -> None:
    (id_,) = accepted()
    key: object = id_ if engine.dialect.name == "postgresql" else id_.bytes
    insert = (
        "INSERT INTO results (inspection_id, verdict, worker, attempts, judged_at, timings, regions, error) "
        "VALUES (:id, :verdict, 'w', 1, '2026-03-01T12:00:00.000000Z', '{}', '[]', :error)"
    )
    violation(engine, insert, {"id": key, "verdict": "maybe", "error": None})
    violation(engine, insert, {"id": key, "verdict": "ok", "error": None})  # no score
    violation(engine, insert, {"id": key, "verdict": "error", "error": None})  # no reason
