"""Months as partitions of PostgreSQL: made ahead, and by nobody missed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from db import history, migrate, partitions
from db.engine import make_engine
from db.matching import Filter
from db.settings import DatabaseSettings

NOW = datetime.now(UTC)
pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has none


def rows_in(engine: Engine, part: str) -> int:
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM ONLY {part}")) or 0


def test_months_are_made_ahead_once(engine: Engine) -> None:
    later = NOW + timedelta(days=62)
    with engine.begin() as connection:
        there = partitions.months(connection)
        assert there[0] == partitions.month_of(NOW)
        assert len(there) == 1 + partitions.AHEAD
        made = partitions.make_ahead(connection, later)
        assert len(made) == 2
        assert partitions.make_ahead(connection, later) == []
        assert partitions.months(connection) == there + made
    migrate.require_head(engine)


def test_an_inspection_is_found_wherever_it_lies(
    engine: Engine, sessions: sessionmaker[Session], accepted: Callable[..., list[UUID]]
) -> None:
    (old,) = accepted(captured_at=datetime(2015, 5, 1, tzinfo=UTC))  # a camera whose clock was never set
    (new,) = accepted(captured_at=NOW)
    assert rows_in(engine, "inspections_rest") == 1
    assert rows_in(engine, partitions.name_of("inspections", partitions.month_of(NOW))) == 1
    with sessions() as session:
        assert [row.id for row in history.search(session, Filter(), 10)] == [new, old]


def test_a_month_whose_rows_came_before_it_stays_in_the_rest(
    engine: Engine, accepted: Callable[..., list[UUID]]
) -> None:
    ahead = partitions.month_of(NOW + timedelta(days=200))
    accepted(captured_at=ahead + timedelta(days=3))
    with engine.begin() as connection:
        assert partitions.make(connection, [ahead, partitions.after(ahead)]) == [partitions.after(ahead)]
    assert rows_in(engine, "inspections_rest") == 1


def test_what_was_kept_whole_is_moved_into_months(
    database: DatabaseSettings, new_postgres_database: Callable[..., str]
) -> None:
    # A database of the revision before: the tables hold rows, and are no partitions.
    from alembic import command

    engine = make_engine(DatabaseSettings(database_url=new_postgres_database()))
    with engine.begin() as connection:
        alembic = migrate.config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0003")
        insert = (
            "INSERT INTO products VALUES ('tile', now()); INSERT INTO stations VALUES ('s1', NULL, now()); "
            "INSERT INTO inspections SELECT CAST(id AS uuid), 'tile', 's1', NULL, NULL, NULL, now(), now(), "
            "repeat('a', 64), 'key', 1, 1, 1, 'PNG' FROM (VALUES ('0195a000-0000-7000-8000-000000000000'), "
            "('01200000-0000-7000-8000-000000000000')) AS given (id); "
            "INSERT INTO results SELECT id, 'error', NULL, NULL, NULL, 'w', 1, now(), '{}', '[]', 'why' "
            "FROM inspections; "
            "INSERT INTO anomaly_maps SELECT id, 'png', 8, 0, 1, 1, 1, 'x', 'hash' FROM inspections"
        )
        for statement in insert.split("; "):
            connection.execute(text(statement))
    migrate.upgrade(engine)
    migrate.require_head(engine)
    with engine.connect() as connection:
        assert partitions.months(connection)[:2] == [
            datetime(2009, 3, 1, tzinfo=UTC),
            datetime(2025, 3, 1, tzinfo=UTC),
        ]
    for table in partitions.TABLES:
        assert rows_in(engine, f"{table}_2025_03") == 1
        assert rows_in(engine, f"{table}_rest") == 0
    engine.dispose()
